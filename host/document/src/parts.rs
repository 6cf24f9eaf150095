//! Parts of strings: where a pattern matches in them, and their replacement.
//!
//! Offsets are bytes of the UTF-8 that a string spells.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    ops::{ControlFlow, Range},
    sync::{Mutex, MutexGuard, PoisonError},
};

use memchr::memchr;

use crate::{
    Error, MAX_SELECTED, Operation, Path,
    budget::Budget,
    index::Index,
    patch::{fits_limit, spans},
    path::{Duplicates, Finder, Found, Walk},
    pointer,
    remove::Pointers,
    spelling::{Spelling, check_utf8, no_string},
    splice::{self, Cut},
    string,
};

/// A part of a string value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The JSON Pointer (RFC 6901) of the string.
    pub at: String,
    /// Where the part begins, in bytes of the UTF-8 that the string spells.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The text of the part, or the text that replaces it.
    pub text: String,
}

/// A part of a string that a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The match as a whole.
    pub part: Part,
    /// What each group of the pattern matched last.
    pub groups: Vec<Option<Part>>,
}

/// The last pattern that was looked for. Plugins look for one in many places, and compiling it
/// takes longer than most searches.
#[derive(Debug, Default)]
pub(crate) struct LastFinder(Mutex<Option<Finder>>);

impl Clone for LastFinder {
    /// Clones look for patterns of their own.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl LastFinder {
    fn take(&self, pattern: &str, groups: bool, budget: &mut Budget) -> Result<Finder, Error> {
        let last = self.lock().take();
        match last.filter(|last| last.is_for(pattern, groups)) {
            Some(last) => Ok(last),
            None => Finder::new(pattern, groups, budget),
        }
    }

    fn keep(&self, finder: Finder) {
        *self.lock() = Some(finder);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Finder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a pattern finds in the strings that a path selects. A string that is selected twice is
/// searched once.
pub(crate) fn matches(
    (text, index, last): (&[u8], &Index, &LastFinder),
    path: &Path,
    pattern: &str,
) -> Result<Vec<Match>, Error> {
    let mut budget = Budget::new();
    let mut finder = last.take(pattern, true, &mut budget)?;
    let mut all = Vec::new();
    let mut count = 0;
    for (at, span) in strings(text, index, path, Duplicates::Last, &mut budget)? {
        let token = &text[span.clone()];
        if !finder.may_match(token) {
            continue;
        }
        let decoded = decoded(token, span.start, &mut budget)?;
        let part = |span: Range<usize>| Part {
            at: at.clone(),
            start: span.start,
            end: span.end,
            text: decoded[span].to_owned(),
        };
        finder.each(&decoded, &mut budget, &mut |found, budget| {
            count += 1 + found.groups.len();
            few(count)?;
            budget.spend(1, at.len() * (1 + found.groups.len()))?;
            all.push(Match {
                part: part(found.span),
                groups: found
                    .groups
                    .into_iter()
                    .map(|group| group.map(part))
                    .collect(),
            });
            Ok(())
        })?;
    }
    last.keep(finder);
    Ok(all)
}

/// Replaces what a pattern finds in the strings that a path selects, in all members of the same
/// name. Returns the cuts, and the operations that they are equal to: of each string from the last
/// to the first, so that they can be applied in order.
pub(crate) fn replaced(
    (text, index, last): (&[u8], &Index, &LastFinder),
    path: &Path,
    (pattern, replacement): (&str, &str),
) -> Result<(Vec<Cut>, Vec<Operation>), Error> {
    let mut budget = Budget::new();
    let template = Template::parse(replacement)?;
    let mut finder = last.take(pattern, template.has_groups(), &mut budget)?;
    template.check(finder.group_count())?;
    let (mut cuts, mut edits) = (Vec::new(), Vec::new());
    // Removing a text from one member must not reveal it in another.
    for (at, span) in strings(text, index, path, Duplicates::All, &mut budget)? {
        let token = &text[span.clone()];
        if !finder.may_match(token) {
            continue;
        }
        let decoded = decoded(token, span.start, &mut budget)?;
        let mut spelling = Spelling::of(token, span.start);
        let first = edits.len();
        finder.each(&decoded, &mut budget, &mut |found, budget| {
            few(edits.len() + 1)?;
            let new = template.fill(&decoded, &found);
            budget.spend(1, at.len() + new.len())?;
            cuts.push(spelling.cut(found.span.clone(), &new)?);
            edits.push(Operation::ReplacePart {
                at: at.clone(),
                start: found.span.start,
                end: found.span.end,
                text: new,
            });
            Ok(())
        })?;
        edits[first..].reverse();
    }
    last.keep(finder);
    cuts.sort_unstable_by_key(|cut: &Cut| cut.span.start);
    fits_limit(splice::length(text.len(), &cuts), text.len())?;
    Ok((cuts, edits))
}

/// Returns the cuts that replace these parts. All offsets are those of the text as it is.
pub(crate) fn cuts(text: &[u8], index: &Index, parts: &[Part]) -> Result<Vec<Cut>, Error> {
    few(parts.len())?;
    let mut by_string: BTreeMap<&str, Vec<(usize, &Part)>> = BTreeMap::new();
    for (place, part) in parts.iter().enumerate() {
        by_string.entry(&part.at).or_default().push((place, part));
    }
    let mut cuts = Vec::with_capacity(parts.len());
    let mut budget = Budget::new();
    let known = spans(text, index, by_string.keys().copied());
    let mut known = known.into_iter().flatten();
    for (at, mut parts) in by_string {
        let named = |place: usize, error: Error| error.within(&format!("part {place}, `{at}`"));
        let first = parts[0].0;
        let span = string_at((text, index), at, known.next(), &mut budget);
        let span = span.map_err(|error| named(first, error))?;
        let token = &text[span.clone()];
        check_utf8(token, span.start).map_err(|error| named(first, error))?;
        parts.sort_by_key(|(_, part)| (part.start, part.end));
        let mut spelling = Spelling::of(token, span.start);
        for (place, part) in parts {
            let cut = spelling.cut(part.start..part.end, &part.text);
            cuts.push(cut.map_err(|error| named(place, error))?);
        }
    }
    cuts.sort_by_key(|cut| (cut.span.start, cut.span.end));
    fits_limit(splice::length(text.len(), &cuts), text.len())?;
    Ok(cuts)
}

/// The strings that a path selects, in the order of RFC 9535.
fn strings(
    text: &[u8],
    index: &Index,
    path: &Path,
    duplicates: Duplicates,
    budget: &mut Budget,
) -> Result<Vec<(String, Range<usize>)>, Error> {
    let mut pointers = Pointers::default();
    let mut spans = Vec::new();
    let mut seen = HashSet::new();
    let mut walk = Walk::new(text, index, path, duplicates);
    walk.budget = budget.clone();
    walk.run(&mut |walk, place| {
        if text.get(place.start) == Some(&b'"') && seen.insert(place.start) {
            pointers.take(walk)?;
            spans.push(walk.span(place)?);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    *budget = walk.budget;
    Ok(pointers.all.into_iter().zip(spans).collect())
}

/// Returns the span of the string that a pointer leads to, which may be known.
fn string_at(
    (text, index): (&[u8], &Index),
    at: &str,
    known: Option<Range<usize>>,
    budget: &mut Budget,
) -> Result<Range<usize>, Error> {
    let found = match known {
        Some(span) => Some(span),
        None => pointer::locate_within(text, index, &pointer::parse(at)?, budget)?,
    };
    let span = found.ok_or_else(|| Error::NotApplicable("it does not exist".to_owned()))?;
    match text.get(span.start) {
        Some(b'"') => Ok(span),
        _ => Err(no_string()),
    }
}

/// The text that a token at this offset spells.
fn decoded<'t>(token: &'t [u8], offset: usize, budget: &mut Budget) -> Result<Cow<'t, str>, Error> {
    budget.spend(1, token.len())?;
    check_utf8(token, offset)?;
    string::inside(token).ok_or_else(|| Error::document(offset, "a string that cannot be decoded"))
}

fn few(count: usize) -> Result<(), Error> {
    if count > MAX_SELECTED {
        return Err(Error::TooMuch(format!(
            "finds more than {MAX_SELECTED} matches and groups"
        )));
    }
    Ok(())
}

/// A replacement: texts, and groups of the match.
struct Template<'r>(Vec<Piece<'r>>);

enum Piece<'r> {
    Text(&'r str),
    /// 0 is the whole match.
    Group(usize),
}

impl<'r> Template<'r> {
    /// Reads a replacement: `$` and one digit is a group, `$$` a dollar sign.
    fn parse(replacement: &'r str) -> Result<Self, Error> {
        let mut pieces = Vec::new();
        let mut rest = replacement;
        while let Some(at) = memchr(b'$', rest.as_bytes()) {
            pieces.push(Piece::Text(&rest[..at]));
            let after = &rest[at + 1..];
            pieces.push(match after.as_bytes().first() {
                Some(b'$') => Piece::Text("$"),
                Some(digit @ b'0'..=b'9') => Piece::Group(usize::from(digit - b'0')),
                _ => {
                    return Err(Error::BadValue(format!(
                        "the replacement `{replacement}` has a `$` without a digit after it; `$$` \
                         is a dollar sign"
                    )));
                }
            });
            rest = &after[1..];
        }
        pieces.push(Piece::Text(rest));
        Ok(Self(pieces))
    }

    /// Whether a group other than the whole match is used.
    fn has_groups(&self) -> bool {
        self.highest() > 0
    }

    fn highest(&self) -> usize {
        let groups = self.0.iter().map(|piece| match piece {
            Piece::Group(group) => *group,
            Piece::Text(_) => 0,
        });
        groups.max().unwrap_or(0)
    }

    fn check(&self, groups: usize) -> Result<(), Error> {
        let highest = self.highest();
        if highest > groups {
            return Err(Error::BadValue(format!(
                "the replacement has `${highest}`, the regular expression has {groups} groups"
            )));
        }
        Ok(())
    }

    fn fill(&self, text: &str, found: &Found) -> String {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Group(0) => filled.push_str(&text[found.span.clone()]),
                Piece::Group(group) => {
                    // A group that took no part in the match is empty.
                    if let Some(Some(span)) = found.groups.get(group - 1) {
                        filled.push_str(&text[span.clone()]);
                    }
                }
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;

    fn path(text: &str) -> Path {
        Path::parse(text).expect("a path")
    }

    #[track_caller]
    fn replaced(text: &str, regex: &str, replacement: &str) -> String {
        let mut body = Document::new(text.to_owned());
        let edits = body
            .replace_matches(&path("$..*"), regex, replacement)
            .expect("applies");
        let new = body.bytes();
        // What is reported is a patch with the same result.
        let mut patched = Document::new(text.to_owned());
        patched.patch(&edits).expect("applies");
        assert_eq!(patched.bytes(), new);
        // And so are the matches, as parts.
        let mut spliced = Document::new(text.to_owned());
        let found = spliced.find_matches(&path("$..*"), regex).expect("finds");
        if !replacement.contains('$') {
            let with = |found: Match| Part {
                text: replacement.to_owned(),
                ..found.part
            };
            let parts: Vec<Part> = found.into_iter().map(with).collect();
            spliced.replace_parts(&parts).expect("applies");
            assert_eq!(spliced.bytes(), new);
        }
        String::from_utf8(new.to_vec()).expect("text")
    }

    #[test]
    fn only_the_matches_change() {
        for (text, regex, replacement, wanted) in [
            (
                r#"{"a" : "x 12 y 3" }"#,
                "[0-9]+",
                "#",
                r##"{"a" : "x # y #" }"##,
            ),
            // Other escapes keep their spelling.
            (
                r#"["\u0061\/\n12\ud83d\ude0012\u00e9"]"#,
                "12",
                "-",
                r#"["\u0061\/\n-\ud83d\ude00-\u00e9"]"#,
            ),
            // A match may be spelt with escapes, in part or as a whole.
            (r#"["x\u0031\u0032y"]"#, "12", "-", r#"["x-y"]"#),
            (r#"["x1\u0032y"]"#, "12", "-", r#"["x-y"]"#),
            (r#"["a\nb"]"#, "\n", " ", r#"["a b"]"#),
            // What replaces it is escaped as far as JSON requires.
            (r#"["a b"]"#, " ", "\"\\\n\u{1}é", r#"["a\"\\\n\u0001éb"]"#),
            (r#"["é1\u00e92"]"#, "[0-9]", "", r#"["é\u00e9"]"#),
            // A lone surrogate is one character, which a pattern sees as U+FFFD.
            (r#"["\ud8001"]"#, "1", "", r#"["\ud800"]"#),
            (r#"["\ud8001"]"#, "\u{fffd}", "", r#"["1"]"#),
            // Keys and other values are not searched.
            (
                r#"{"12":12,"b":["12",{"c":"12"}]}"#,
                "12",
                "x",
                r#"{"12":12,"b":["x",{"c":"x"}]}"#,
            ),
            (r#"{"a":"12"}"#, "absent", "x", r#"{"a":"12"}"#),
        ] {
            assert_eq!(replaced(text, regex, replacement), wanted, "{text} {regex}");
        }
    }

    #[test]
    fn a_replacement_names_groups() {
        for (replacement, wanted) in [
            ("$1=(gone)", r#"["key=(gone) x"]"#),
            ("$2$1", r#"["abckey x"]"#),
            ("<$0>", r#"["<key=abc> x"]"#),
            ("$$1", r#"["$1 x"]"#),
            ("$3", r#"[" x"]"#),
            ("$10", r#"["key0 x"]"#),
        ] {
            assert_eq!(
                replaced(r#"["key=abc x"]"#, "([a-z]+)=([a-z]+)(!)?", replacement),
                wanted
            );
        }
        let mut body = Document::new(r#"["a"]"#);
        let mut refused = |replacement: &str| {
            body.replace_matches(&path("$.*"), "(a)", replacement)
                .expect_err(replacement)
        };
        for replacement in ["$", "a$", "$a", "$2"] {
            assert!(
                matches!(refused(replacement), Error::BadValue(_)),
                "{replacement}"
            );
        }
    }

    #[test]
    fn all_members_of_a_name_are_replaced() {
        let text = r#"{"a":"12","a":"12"}"#;
        let mut body = Document::new(text);
        let edits = body
            .replace_matches(&path("$.a"), "12", "x")
            .expect("applies");
        assert_eq!(body.bytes(), r#"{"a":"x","a":"x"}"#);
        assert_eq!(edits.len(), 2);
        let found = Document::new(text).find_matches(&path("$.a"), "12");
        assert_eq!(found.expect("finds").len(), 1, "a reader sees the last");
    }

    #[test]
    fn a_match_has_its_place_and_its_groups() {
        let body = Document::new(r#"{"a":["\u00e9 k=v"]}"#);
        let found = body
            .find_matches(&path("$.a[*]"), "([a-z])=([a-z])")
            .expect("finds");
        let part = |start, end, text: &str| Part {
            at: "/a/0".to_owned(),
            start,
            end,
            text: text.to_owned(),
        };
        assert_eq!(
            found,
            [Match {
                part: part(3, 6, "k=v"),
                groups: vec![Some(part(3, 4, "k")), Some(part(5, 6, "v"))],
            }]
        );
        // Selected twice, found once.
        let twice = body.find_matches(&path("$.a[0,0]"), "k").expect("finds");
        assert_eq!(twice.len(), 1);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused_and_nothing_changes() {
        let text = r#"{"a":"\u00e9b","n":1}"#;
        let part = |at: &str, start, end| Part {
            at: at.to_owned(),
            start,
            end,
            text: "x".to_owned(),
        };
        for parts in [
            vec![part("/a", 1, 2)],
            vec![part("/a", 0, 1)],
            vec![part("/a", 2, 4)],
            vec![part("/a", 2, 0)],
            vec![part("/a", 0, 3), part("/a", 2, 3)],
            vec![part("/n", 0, 1)],
            vec![part("/b", 0, 1)],
            vec![part("/a", 0, 2), part("/b", 0, 1)],
        ] {
            let mut body = Document::new(text);
            let error = body.replace_parts(&parts).expect_err("does not fit");
            assert!(
                matches!(error, Error::NotApplicable(_)),
                "{parts:?}: {error}"
            );
            assert_eq!(body.bytes(), text);
            assert!(!body.is_edited());
        }
        let mut body = Document::new(text);
        body.replace_parts(&[part("/a", 3, 3), part("/a", 0, 0), part("/a", 2, 3)])
            .expect("insertions fit");
        assert_eq!(body.bytes(), r#"{"a":"x\u00e9xx","n":1}"#);
    }

    #[test]
    fn parts_of_very_many_strings_are_replaced_without_a_walk_to_each() {
        let count = 50_000;
        let mut body = Document::new(format!("[{}]", vec!["\"ab\""; count].join(",")));
        let part = |nth| Part {
            at: format!("/{nth}"),
            start: 0,
            end: 1,
            text: "x".to_owned(),
        };
        let parts: Vec<Part> = (0..count).map(part).collect();
        body.replace_parts(&parts).expect("applies");
        assert_eq!(
            body.bytes(),
            format!("[{}]", vec!["\"xb\""; count].join(","))
        );
    }

    #[test]
    fn a_string_that_is_not_text_is_the_documents_fault() {
        for text in [&b"[\"\xff 12\"]"[..], b"[\"\\x 12\"]"] {
            let mut body = Document::new(text.to_vec());
            let found = body.find_matches(&path("$[*]"), "12");
            assert!(matches!(found, Err(Error::BadDocument { .. })), "{found:?}");
            let replaced = body.replace_matches(&path("$[*]"), "12", "x");
            assert!(
                matches!(replaced, Err(Error::BadDocument { .. })),
                "{replaced:?}"
            );
        }
    }

    #[test]
    fn a_text_with_too_many_matches_is_too_much() {
        let body = Document::new(format!(r#"["{}"]"#, "a".repeat(MAX_SELECTED + 1)));
        let found = body.find_matches(&path("$[*]"), "a");
        assert!(matches!(found, Err(Error::TooMuch(_))));
    }
}
