//! Extracts literals that a text must contain for a pattern to match. A memory search can look for
//! them first.

use super::{Logic, Operand, Pattern, Query, Selector};

/// Shorter literals occur in almost every text.
const SHORTEST: usize = 3;

/// Returns literals, in lower case, that must all occur in any letter case for the query to select
/// anything. Whatever is not certain is left out. A query for a few elements at the end of an array
/// returns none, since looking at them costs less than a search.
pub(super) fn of_query(query: &Query) -> Vec<String> {
    let mut literals = Vec::new();
    for segment in &query.segments {
        if segment.tail().is_some() && query.absolute {
            return Vec::new();
        }
        if let [Selector::Filter(logic)] = segment.selectors.as_slice() {
            literals.extend(of_logic(logic));
        }
    }
    literals.sort_unstable();
    literals.dedup();
    literals
}

fn of_logic(logic: &Logic) -> Vec<String> {
    match logic {
        Logic::And(parts) => parts.iter().flat_map(of_logic).collect(),
        Logic::Or(parts) => {
            let mut all = parts.iter().map(of_logic);
            let mut common = all.next().unwrap_or_default();
            for other in all {
                common.retain(|literal| other.contains(literal));
            }
            common
        }
        Logic::Exists(query) if !query.absolute => of_query(query),
        Logic::Regex {
            // A string in the query itself does not count.
            input: Operand::Node(query) | Operand::Value(query),
            pattern: Pattern::Fixed(Some(regex)),
            ..
        } if !query.absolute => {
            let mut literals = of_query(query);
            literals.extend(regex.required_literal.clone());
            literals
        }
        // A query from `$` leads elsewhere, and reading its result is usually faster than a search.
        Logic::Exists(_) | Logic::Regex { .. } => Vec::new(),
        Logic::Not(_) | Logic::Compare(..) => Vec::new(),
    }
}

/// Returns the longest literal in everything the pattern matches. `pattern` is a valid I-Regexp.
pub(super) fn of_pattern(pattern: &str) -> Option<String> {
    let mut best = String::new();
    let mut run = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let certain = match c {
            // Either branch may match, so nothing is certain.
            '|' => return None,
            '(' => {
                rest = after_group(rest)?;
                None
            }
            '[' => {
                let (letter, after) = class(rest)?;
                rest = after;
                letter
            }
            '\\' => {
                rest = after_escape(rest)?;
                None
            }
            c => Some(c).filter(is_plain),
        };
        let (least, after) = quantity(rest);
        rest = after.unwrap_or(rest);
        match certain.filter(|_| least > 0) {
            Some(c) => run.push(c.to_ascii_lowercase()),
            None => keep_longer(&mut best, &mut run),
        }
        if after.is_some() {
            // The text after a repetition need not follow its first iteration.
            keep_longer(&mut best, &mut run);
        }
    }
    keep_longer(&mut best, &mut run);
    (best.len() >= SHORTEST).then_some(best)
}

fn keep_longer(best: &mut String, run: &mut String) {
    if run.len() > best.len() {
        std::mem::swap(best, run);
    }
    run.clear();
}

/// Whether JSON spells the character only as itself or as a `\u` escape.
fn is_plain(c: &char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-')
}

/// Returns whether an atom occurs at least once, as 0 or 1, and the text after the quantifier if
/// there is one.
fn quantity(rest: &str) -> (usize, Option<&str>) {
    match rest.as_bytes().first() {
        Some(b'*' | b'?') => (0, Some(&rest[1..])),
        Some(b'+') => (1, Some(&rest[1..])),
        Some(b'{') => match rest[1..].split_once('}') {
            Some((count, after)) => {
                let least = count.split(',').next().unwrap_or_default();
                // A number too long to parse is not 0, and a 0 guarantees nothing.
                (
                    usize::from(!least.bytes().all(|digit| digit == b'0')),
                    Some(after),
                )
            }
            None => (0, None),
        },
        _ => (1, None),
    }
}

fn after_group(mut rest: &str) -> Option<&str> {
    let mut open = 1;
    while open > 0 {
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            '[' => rest = class(rest)?.1,
            '\\' => rest = after_escape(rest)?,
            _ => {}
        }
    }
    Some(rest)
}

fn after_escape(rest: &str) -> Option<&str> {
    let c = rest.chars().next()?;
    let after = &rest[c.len_utf8()..];
    match c {
        'p' | 'P' => Some(after.split_once('}')?.1),
        _ => Some(after),
    }
}

/// Returns the letter of a class that has only that letter, alone or in both cases, and the text
/// after the class.
fn class(inside: &str) -> Option<(Option<char>, &str)> {
    let mut rest = inside;
    loop {
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = after_escape(rest)?,
            ']' => break,
            _ => {}
        }
    }
    let members = &inside[..inside.len() - rest.len() - 1];
    let letter = match members.as_bytes() {
        [one] => Some(char::from(*one)),
        [one, other] if one.eq_ignore_ascii_case(other) => Some(char::from(*one)),
        _ => None,
    };
    Some((letter.filter(is_plain), rest))
}

#[cfg(test)]
mod tests {
    use super::super::{Path, regex::Regex};

    #[test]
    fn the_literal_that_a_pattern_requires_is_found() {
        let table = [
            ("warmup", Some("warmup")),
            (
                r"[\p{Z}\t]*[Ww][Aa][Rr][Mm][Uu][Pp][\p{Z}]*",
                Some("warmup"),
            ),
            ("abc|def", None),
            ("(abc|def)ghi", Some("ghi")),
            ("(abcd)?Xy", None),
            ("abcd?efgh+ij", Some("efgh")),
            ("abc{0,2}def{1,}ghij", Some("ghij")),
            ("abcx{00}y", Some("abc")),
            ("abc.def4", Some("def4")),
            (r"a\.b\-cde", Some("cde")),
            (r"abc\p{Lu}de", Some("abc")),
            ("^abc$", Some("abc")),
            ("[^a]bcd", Some("bcd")),
            ("[a-c][x]yz", Some("xyz")),
            ("äbcd", Some("bcd")),
            ("ab", None),
            ("", None),
        ];
        for (pattern, wanted) in table {
            let regex = Regex::new(pattern, true).expect(pattern);
            assert_eq!(regex.required_literal.as_deref(), wanted, "{pattern}");
        }
    }

    #[test]
    fn a_query_requires_what_all_its_branches_require() {
        let literals = |text: &str| {
            Path::parse(text)
                .expect("a path")
                .pattern_literals()
                .to_vec()
        };
        let both = r#"$.m[4:][?match(@, "[Ww]arm.*") || @[?match(@.text, "warm")]]"#;
        assert_eq!(literals(both), ["warm"]);
        assert_eq!(
            literals(r#"$[?search(@, "abc") && search(@, "def")]"#),
            ["abc", "def"]
        );
        let none = [
            r#"$[?match(@, "warm") || @.x]"#,
            r#"$[?!match(@, "warm")]"#,
            r#"$[?match("warm", "warm")]"#,
            r#"$[?match(@, "warm"), 0]"#,
            r#"$[?match(@, @.warm)]"#,
            r#"$[?match($.model, "warm")]"#,
            r#"$[?$.a[?match(@, "warm")]]"#,
            r#"$.m[-4:][?match(@, "warm")]"#,
        ];
        for text in none {
            assert_eq!(literals(text), [""; 0], "{text}");
        }
    }
}
