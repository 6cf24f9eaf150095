//! What differs between two JSON texts, at which places. Linear in the size of the texts for each
//! level of nesting, since parts with the same bytes are not looked into.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A place at which two texts differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// A JSON pointer in the first text, or in the second if only that has the value.
    pub(crate) at: String,
    /// `None` if only the second text has a value there. Long values are excerpts around what
    /// differs.
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// The differences of two texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Changes {
    pub(crate) list: Vec<Change>,
    /// The number of changes that are not in the list.
    pub(crate) left_out: usize,
}

/// The most changes in a list.
const MOST: usize = 100;
/// The deepest level that is looked into.
const DEEPEST: usize = 64;
/// The characters of an excerpt before and after what differs.
const CONTEXT: usize = 30;
/// The most characters of what differs.
const LONGEST: usize = 300;

/// Compares two texts. What is not JSON is compared as text.
pub(crate) fn changes(before: &[u8], after: &[u8]) -> Changes {
    let mut changes = Changes::default();
    if before == after {
        return changes;
    }
    let (before, after) = (
        String::from_utf8_lossy(before),
        String::from_utf8_lossy(after),
    );
    compare(&before, &after, &mut String::new(), 0, &mut changes);
    changes
}

/// A JSON value as it is written, one level deep.
enum Level<'a> {
    Object(BTreeMap<Cow<'a, str>, &'a RawValue>),
    Array(Vec<&'a RawValue>),
    Other,
}

fn level(text: &str) -> Level<'_> {
    #[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    #[serde(transparent)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
    match text.trim_start().as_bytes().first() {
        Some(b'{') => match serde_json::from_str::<BTreeMap<Name<'_>, &RawValue>>(text) {
            Ok(members) => {
                let members = members.into_iter();
                Level::Object(members.map(|(name, value)| (name.0, value)).collect())
            }
            Err(_) => Level::Other,
        },
        Some(b'[') => serde_json::from_str(text).map_or(Level::Other, Level::Array),
        _ => Level::Other,
    }
}

fn compare(before: &str, after: &str, at: &mut String, depth: usize, changes: &mut Changes) {
    if before == after {
        return;
    }
    let found = changes.list.len() + changes.left_out;
    if depth < DEEPEST {
        match (level(before), level(after)) {
            (Level::Object(before), Level::Object(after)) => {
                members(&before, &after, at, depth, changes);
            }
            (Level::Array(before), Level::Array(after)) => {
                elements(&before, &after, at, depth, changes);
            }
            _ => {}
        }
    }
    // Otherwise the values differ in white space or in the order of their members.
    if changes.list.len() + changes.left_out == found {
        let (before, after) = excerpts(before, after);
        changes.add(at, Some(before), Some(after));
    }
}

fn members(
    before: &BTreeMap<Cow<'_, str>, &RawValue>,
    after: &BTreeMap<Cow<'_, str>, &RawValue>,
    at: &mut String,
    depth: usize,
    changes: &mut Changes,
) {
    for (name, old) in before {
        within(at, &escaped(name), |at| match after.get(name) {
            Some(new) => compare(old.get(), new.get(), at, depth + 1, changes),
            None => changes.add(at, Some(clipped(old.get())), None),
        });
    }
    for (name, new) in after {
        if !before.contains_key(name) {
            within(at, &escaped(name), |at| {
                changes.add(at, None, Some(clipped(new.get())));
            });
        }
    }
}

/// Compares two arrays. An element that the other array has too was not changed, so what is
/// before it was added or removed.
fn elements(
    before: &[&RawValue],
    after: &[&RawValue],
    at: &mut String,
    depth: usize,
    changes: &mut Changes,
) {
    let old_texts: HashSet<&str> = before.iter().map(|one| one.get()).collect();
    let new_texts: HashSet<&str> = after.iter().map(|one| one.get()).collect();
    let (mut old, mut new) = (0, 0);
    while let (Some(one), Some(other)) = (before.get(old), after.get(new)) {
        let (one, other) = (one.get(), other.get());
        let (was_kept, is_old) = (new_texts.contains(one), old_texts.contains(other));
        match (was_kept, is_old) {
            (false, true) => removed(at, old, one, changes),
            (true, false) => added(at, new, other, changes),
            _ => within(at, &old.to_string(), |at| {
                compare(one, other, at, depth + 1, changes);
            }),
        }
        old += usize::from(was_kept == is_old || is_old);
        new += usize::from(was_kept == is_old || was_kept);
    }
    for (index, one) in before.iter().enumerate().skip(old) {
        removed(at, index, one.get(), changes);
    }
    for (index, one) in after.iter().enumerate().skip(new) {
        added(at, index, one.get(), changes);
    }
}

fn removed(at: &mut String, index: usize, value: &str, changes: &mut Changes) {
    within(at, &index.to_string(), |at| {
        changes.add(at, Some(clipped(value)), None);
    });
}

fn added(at: &mut String, index: usize, value: &str, changes: &mut Changes) {
    within(at, &index.to_string(), |at| {
        changes.add(at, None, Some(clipped(value)));
    });
}

/// Calls `f` with the pointer of a child.
fn within(at: &mut String, token: &str, f: impl FnOnce(&mut String)) {
    let length = at.len();
    at.push('/');
    at.push_str(token);
    f(at);
    at.truncate(length);
}

/// A reference token of a JSON pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Two texts from shortly before to shortly after what differs.
fn excerpts(before: &str, after: &str) -> (String, String) {
    let equal = |(old, new): &(char, char)| old == new;
    let start: usize = before
        .chars()
        .zip(after.chars())
        .take_while(equal)
        .map(|(c, _)| c.len_utf8())
        .sum();
    let (old, new) = (&before[start..], &after[start..]);
    let end: usize = old
        .chars()
        .rev()
        .zip(new.chars().rev())
        .take_while(equal)
        .map(|(c, _)| c.len_utf8())
        .sum();
    let lead = tail(&before[..start]);
    let trail = head(&old[old.len() - end..]);
    let excerpt = |text: &str| format!("{lead}{}{trail}", clipped(&text[..text.len() - end]));
    (excerpt(old), excerpt(new))
}

/// The last characters of a text.
fn tail(text: &str) -> String {
    match text.char_indices().rev().nth(CONTEXT) {
        Some(_) => {
            let at = text.char_indices().rev().nth(CONTEXT - 1);
            format!("…{}", &text[at.map_or(0, |(at, _)| at)..])
        }
        None => text.to_owned(),
    }
}

/// The first characters of a text.
fn head(text: &str) -> String {
    match text.char_indices().nth(CONTEXT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A text without its middle if it is long.
pub(crate) fn clipped(text: &str) -> String {
    let Some((end, _)) = text.char_indices().nth(LONGEST) else {
        return text.to_owned();
    };
    let left_out = text[end..].chars().count();
    format!("{}… ({left_out} more characters)", &text[..end])
}

impl Changes {
    fn add(&mut self, at: &str, before: Option<String>, after: Option<String>) {
        if self.list.len() >= MOST {
            self.left_out += 1;
            return;
        }
        self.list.push(Change {
            at: at.to_owned(),
            before,
            after,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(before: &str, after: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let changes = changes(before.as_bytes(), after.as_bytes());
        let list = changes.list.into_iter();
        list.map(|change| (change.at, change.before, change.after))
            .collect()
    }

    #[track_caller]
    fn finds(before: &str, after: &str, wanted: &[(&str, &str, &str)]) {
        let found = of(before, after);
        let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let found: Vec<(String, String, String)> = found
            .into_iter()
            .map(|(at, before, after)| (at, text(before), text(after)))
            .collect();
        let wanted: Vec<(String, String, String)> = wanted
            .iter()
            .map(|(at, before, after)| {
                ((*at).to_owned(), (*before).to_owned(), (*after).to_owned())
            })
            .collect();
        assert_eq!(found, wanted, "{before} {after}");
    }

    #[test]
    fn the_places_that_differ_are_named_with_both_values() {
        finds(r#"{"a":1}"#, r#"{"a":1}"#, &[]);
        finds(
            r#"{"a":1,"b":2}"#,
            r#"{"a":3}"#,
            &[("/a", "1", "3"), ("/b", "2", "-")],
        );
        finds(
            r#"{"a/b":{}}"#,
            r#"{"a/b":{"~":[]}}"#,
            &[("/a~1b/~0", "-", "[]")],
        );
        finds("[1,2,3,4]", "[1,3,4]", &[("/1", "2", "-")]);
        finds("[1,3]", "[1,2,3]", &[("/1", "-", "2")]);
        finds("[1,{\"x\":1},3]", "[1,{\"x\":2},3]", &[("/1/x", "1", "2")]);
        finds("[[1]]", "{}", &[("", "[[1]]", "{}")]);
        finds(
            r#"[{"a":1},5,{"z":1}]"#,
            r#"[9,{"a":1},5,{"z":2}]"#,
            &[("/0", "-", "9"), ("/2/z", "1", "2")],
        );
        finds(
            "[1,2,{}]",
            "[2,{},3]",
            &[("/0", "1", "-"), ("/2", "-", "3")],
        );
        finds("[1,2]", "[2,1]", &[("/0", "1", "2"), ("/1", "2", "1")]);
    }

    #[test]
    fn what_only_differs_in_its_spelling_is_a_change_too() {
        finds(
            r#"{"a": 1}"#,
            r#"{"a":1}"#,
            &[("", "{\"a\": 1}", "{\"a\":1}")],
        );
        finds(r#""\u0061""#, r#""a""#, &[("", "\"\\u0061\"", "\"a\"")]);
        finds("no json", "no jsom", &[("", "no json", "no jsom")]);
    }

    #[test]
    fn a_long_string_is_shown_around_what_differs() {
        let long = |word: &str| format!("\"{}{word}{}\"", "é".repeat(1_000), "y".repeat(1_000));
        let found = of(&long("old"), &long("new"));
        let (lead, trail) = ("é".repeat(CONTEXT), "y".repeat(CONTEXT));
        assert_eq!(found[0].1.as_deref(), Some(&*format!("…{lead}old{trail}…")));
        assert_eq!(found[0].2.as_deref(), Some(&*format!("…{lead}new{trail}…")));
    }

    #[test]
    fn the_list_is_bounded_and_the_others_are_counted() {
        let array = |value: u32| format!("{:?}", vec![value; MOST + 7]);
        let found = changes(array(1).as_bytes(), array(2).as_bytes());
        assert_eq!((found.list.len(), found.left_out), (MOST, 7));
    }

    #[test]
    fn a_deep_text_is_compared_without_exhausting_the_stack() {
        let deep = |value: &str| format!("{}{value}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(of(&deep("1"), &deep("2")).len(), 1);
    }
}
