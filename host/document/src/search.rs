//! Finds keys by searching memory instead of walking.
//!
//! In valid JSON an unescaped quote begins or ends a string. So `"name"` after such a quote,
//! followed by optional whitespace and a `:`, is always a key. A key may also spell its name with
//! `\u` escapes, which are found by searching for the escapes.

use std::ops::Range;

use memchr::{memmem, memrchr};

use crate::{
    scan::{Children, is_escaped, root, skip_space, string_end, value_end},
    string,
};

/// The places where a name may occur as a key.
///
/// At most `LIMIT` places are kept. For a more frequent name walking is as fast.
#[derive(Debug)]
pub(crate) struct Occurrences {
    /// Offsets of the opening quotes, ascending.
    at: Vec<usize>,
    /// The offset up to which the text was searched.
    searched_to: usize,
}

const LIMIT: usize = 1_024;

impl Occurrences {
    /// Searches for `name` as a key in the part `range` of `text`.
    pub(crate) fn of(text: &[u8], range: Range<usize>, name: &str) -> Self {
        Self::find(text, range, name, true)
    }

    /// Searches for `word` as a string, either a key or a value.
    pub(crate) fn of_string(text: &[u8], word: &str) -> Self {
        Self::find(text, 0..text.len(), word, false)
    }

    /// No occurrence in the whole text.
    pub(crate) fn nowhere(text: &[u8]) -> Self {
        Self {
            at: Vec::new(),
            searched_to: text.len(),
        }
    }

    /// The same as [`of`](Self::of) for a whole text whose keys with backslashes are known.
    /// `escaped` are their tokens.
    pub(crate) fn of_key_among(text: &[u8], name: &str, escaped: &[Range<usize>]) -> Self {
        if !is_searchable(name) {
            return Self::find(text, 0..text.len(), name, true);
        }
        let mut occurrences = Self::plain(text, 0..text.len(), name, true);
        let spelt = |token: &&Range<usize>| string::spells(&text[(*token).clone()], name);
        let escaped = escaped.iter().filter(spelt).map(|token| token.start);
        let searched_to = occurrences.searched_to;
        occurrences
            .at
            .extend(escaped.filter(|&at| at < searched_to));
        occurrences.at.sort_unstable();
        occurrences
    }

    fn find(text: &[u8], range: Range<usize>, name: &str, key: bool) -> Self {
        let end = range.end.min(text.len());
        let start = range.start.min(end);
        if !is_searchable(name) {
            return Self {
                at: Vec::new(),
                searched_to: start,
            };
        }
        let Self {
            mut at,
            mut searched_to,
        } = Self::plain(text, start..end, name, key);
        let plain = at.len();
        let part = &text[..searched_to];
        for hit in memmem::find_iter(&part[start..], escape_of(name)) {
            if let Some(open) = escaped(text, start + hit, name, key) {
                at.push(open);
                if at.len() == plain + LIMIT {
                    searched_to = open + 1;
                    break;
                }
            }
        }
        at.sort_unstable();
        at.dedup();
        Self { at, searched_to }
    }

    /// Searches for spellings without escapes.
    fn plain(text: &[u8], range: Range<usize>, name: &str, key: bool) -> Self {
        let mut searched_to = range.end;
        let mut at = Vec::new();
        let token = format!("\"{name}\"");
        for hit in memmem::find_iter(&text[range.clone()], &token) {
            let open = range.start + hit;
            let end = open + token.len();
            if if key {
                is_key(text, open, end)
            } else {
                !is_escaped(text, open)
            } {
                at.push(open);
                if at.len() == LIMIT {
                    searched_to = open + 1;
                    break;
                }
            }
        }
        Self { at, searched_to }
    }

    /// Whether the name may be a key in this part of the text. `false` is certain.
    pub(crate) fn may_be_in(&self, range: Range<usize>) -> bool {
        let next = self.at.partition_point(|&at| at < range.start);
        self.at.get(next).is_some_and(|&at| at < range.end) || range.end > self.searched_to
    }

    /// Returns every place, or `None` if there are too many or the name cannot be searched for.
    pub(crate) fn all(&self, text_len: usize) -> Option<&[usize]> {
        (self.searched_to >= text_len).then_some(&self.at)
    }
}

/// Whether the name can be searched for: its only spellings are itself and `\u` escapes. A name
/// with a character that has a short escape or that replaces undecodable bytes has to be found by
/// walking.
pub(crate) fn is_searchable(name: &str) -> bool {
    let odd = |c: char| c < ' ' || matches!(c, '"' | '\\' | '/' | char::REPLACEMENT_CHARACTER);
    !name.contains(odd)
}

/// Returns the prefix of every escape that could spell a part of `name`.
pub(crate) fn escape_of(name: &str) -> &'static str {
    if name.is_ascii() { "\\u00" } else { "\\u" }
}

/// Whether the token `open..end`, including both quotes, is followed by a colon and not escaped.
pub(crate) fn is_key(text: &[u8], open: usize, end: usize) -> bool {
    text.get(skip_space(text, end)) == Some(&b':') && !is_escaped(text, open)
}

/// Returns the start of the string, or `key`, that contains the `\u` escape at `escape`, if it
/// spells `name`.
fn escaped(text: &[u8], escape: usize, name: &str, key: bool) -> Option<usize> {
    let unit = string::unit(text.get(escape + 2..)?)?;
    if !name.encode_utf16().any(|wanted| wanted == unit) {
        return None;
    }
    let token = string_around(text, escape, name.len())?;
    let spelt = string::spells(&text[token.clone()], name)
        && (!key || is_key(text, token.start, token.end));
    spelt.then_some(token.start)
}

/// Returns the string token around `at`, if it is short enough to spell `len` bytes.
pub(crate) fn string_around(text: &[u8], at: usize, len: usize) -> Option<Range<usize>> {
    // Six bytes are the longest spelling of a UTF-16 unit, and no text has more units than bytes.
    let reach = 6 * len + 2;
    let from = at.saturating_sub(reach);
    let mut before = at;
    loop {
        let open = from + memrchr(b'"', &text[from..before])?;
        if !is_escaped(text, open) {
            let end = string_end(text, open).ok()?;
            return (end - open <= reach).then_some(open..end);
        }
        before = open;
    }
}

/// Returns the span of the value of a top-level member, the last of that name. It searches for the
/// key, so the rest of the text need not be JSON.
pub(crate) fn top(text: &[u8], name: &str) -> Option<Range<usize>> {
    let open = root(text);
    if text.get(open) != Some(&b'{') {
        return None;
    }
    let occurrences = Occurrences::of(text, open + 1..text.len(), name);
    match top_start(text, open, &occurrences) {
        Some(start) => {
            let start = start?;
            Some(start..value_end(text, start, 1).ok()?)
        }
        None => walk_top(text, open, name),
    }
}

/// Returns the start of the value of the last of the `occurrences` that is a member of the
/// top-level object at `open`. `Some(None)` if none of them is a member, `None` if only a walk can
/// tell.
pub(crate) fn top_start(
    text: &[u8],
    open: usize,
    occurrences: &Occurrences,
) -> Option<Option<usize>> {
    /// For more places than this, one walk is faster than counting brackets for each.
    const FEW: usize = 8;

    let at = occurrences.all(text.len()).filter(|at| at.len() <= FEW)?;
    let Some(&key) = at.iter().rev().find(|&&key| depth_of(text, open, key) == 1) else {
        return Some(None);
    };
    let colon = skip_space(text, string_end(text, key).ok()?);
    Some(Some(skip_space(text, colon + 1)))
}

/// Returns the nesting depth of the key at `key`, counted over the shorter side of the text.
fn depth_of(text: &[u8], open: usize, key: usize) -> i64 {
    if key - open < text.len() - key {
        brackets(&text[open..key])
    } else {
        -brackets(&text[key..])
    }
}

/// Opening minus closing brackets outside of strings.
fn brackets(text: &[u8]) -> i64 {
    let mut open = 0;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at = match byte {
            b'"' => string_end(text, at).unwrap_or(text.len()),
            b'{' | b'[' => {
                open += 1;
                at + 1
            }
            b'}' | b']' => {
                open -= 1;
                at + 1
            }
            _ => at + 1,
        };
    }
    open
}

fn walk_top(text: &[u8], open: usize, name: &str) -> Option<Range<usize>> {
    let mut children = Children::of(text, open).ok()?;
    let mut found = None;
    while let Some(child) = children.next().ok()? {
        let end = value_end(text, child.start, 1).ok()?;
        if child
            .key
            .is_some_and(|key| string::spells(&text[key], name))
        {
            found = Some(child.start..end);
        }
        children.passed(end);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;

    #[track_caller]
    fn occurrences(text: &str, name: &str) -> Vec<usize> {
        let occurrences = Occurrences::of(text.as_bytes(), 0..text.len(), name);
        occurrences.all(text.len()).expect("few").to_vec()
    }

    #[test]
    fn keys_are_found_and_lookalikes_are_not() {
        assert_eq!(occurrences(r#"{"a":1,"b":{"a" :2}}"#, "a"), [1, 12]);
        assert_eq!(
            occurrences(r#"{"b":"a","c":"\"a\":1","d":"\\","a":1}"#, "a"),
            [32]
        );
        assert_eq!(occurrences(r#"{"b\"a":1}"#, "a"), []);
    }

    #[test]
    fn escaped_spellings_are_found() {
        assert_eq!(
            occurrences(r#"{"cache\u005fcontrol":1}"#, "cache_control"),
            [1]
        );
        assert_eq!(occurrences(r#"{"\u0061\u0062":1,"x":"\u0061"}"#, "ab"), [1]);
        assert_eq!(occurrences(r#"{"gr\u00fcn":1}"#, "grün"), [1]);
        assert_eq!(occurrences(r#"{"\ud83d\ude00":1}"#, "\u{1f600}"), [1]);
        assert_eq!(occurrences(r#"{"x\\u0061":1}"#, "xa"), []);
    }

    #[test]
    fn past_the_limit_nothing_is_ruled_out() {
        let text = r#"{"a":1},"#.repeat(LIMIT + 10);
        let occurrences = Occurrences::of(text.as_bytes(), 0..text.len(), "a");
        assert!(occurrences.may_be_in(0..8));
        assert!(occurrences.may_be_in(text.len() - 8..text.len()));
        assert!(!occurrences.may_be_in(2..8));
        assert!(occurrences.all(text.len()).is_none());
    }

    #[test]
    fn a_top_level_member_is_distinguished_from_a_deeper_one() {
        fn top<'t>(text: &'t [u8], name: &str) -> Option<&'t [u8]> {
            let searched = super::top(text, name);
            assert_eq!(Index::of(text).find_top(text, name), searched);
            searched.map(|span| &text[span])
        }

        let text = br#" {"x":{"model":"inner"},"model":"outer","y":[{"model":"later"}],"z":"}}"}"#;
        assert_eq!(top(text, "model"), Some(&b"\"outer\""[..]));
        let text = br#"{"a":1,"\u0061":2,"b":3}"#;
        assert_eq!(top(text, "a"), Some(&b"2"[..]));
        assert_eq!(top(b"[{\"a\":1}]", "a"), None);
        assert_eq!(top(b"", "a"), None);
        let many = format!("{{{}\"a\":7}}", r#""b":{"a":1},"#.repeat(20));
        assert_eq!(top(many.as_bytes(), "a"), Some(&b"7"[..]));
    }
}
