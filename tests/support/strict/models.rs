//! What the models differ in: whether they check prefixes, whose thinking they read, and whether
//! their thinking is bound to an account.

/// What happens to thinking that fails the prefix check when the request does not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Check {
    /// A 400 on every account.
    Always,
    /// A 400 on new accounts; old ones are let through.
    ByAccount,
    Never,
}

#[derive(Clone, Copy, PartialEq)]
enum Family {
    Fable52,
    Fable51,
    Opus55,
    Sonnet55,
    Haiku55,
    Opus5,
    Earlier,
}

const FAMILIES: [(&str, Family); 8] = [
    ("claude-fable-5-2", Family::Fable52),
    ("claude-mythos-5-2", Family::Fable52),
    ("claude-fable-5-1", Family::Fable51),
    ("claude-mythos-5-1", Family::Fable51),
    ("claude-opus-5-5", Family::Opus55),
    ("claude-sonnet-5-5", Family::Sonnet55),
    ("claude-haiku-5-5", Family::Haiku55),
    ("claude-opus-5", Family::Opus5),
];

const UNCHECKED: [&str; 6] = [
    "claude-opus-5",
    "claude-sonnet-5",
    "claude-opus-4",
    "claude-sonnet-4",
    "claude-haiku-4",
    "claude-3",
];

fn family(model: &str) -> Family {
    let of = FAMILIES.iter().find(|(name, _)| model.starts_with(name));
    of.map_or(Family::Earlier, |(_, family)| *family)
}

/// An unknown model checks, so that a test with an invented name checks something.
pub fn check(model: &str) -> Check {
    match family(model) {
        Family::Fable52 => Check::Always,
        Family::Fable51 if model.starts_with("claude-mythos") => Check::Always,
        Family::Opus5 | Family::Earlier if UNCHECKED.iter().any(|name| model.starts_with(name)) => {
            Check::Never
        }
        _ => Check::ByAccount,
    }
}

pub fn reads(reader: &str, maker: &str) -> bool {
    let (by, of) = (family(reader), family(maker));
    let earlier = matches!(of, Family::Opus5 | Family::Earlier);
    by == of
        || match by {
            Family::Fable52 | Family::Haiku55 => false,
            Family::Fable51 => of != Family::Fable52,
            Family::Opus55 => earlier || matches!(of, Family::Sonnet55 | Family::Haiku55),
            Family::Sonnet55 => matches!(of, Family::Earlier | Family::Haiku55),
            Family::Opus5 | Family::Earlier => earlier,
        }
}

pub fn is_account_bound(model: &str) -> bool {
    matches!(family(model), Family::Sonnet55 | Family::Haiku55)
}
