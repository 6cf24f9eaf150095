//! Properties of all texts and edits, tested on many, and agreement with a plain implementation on
//! values.

mod naive; // the same on `serde_json::Value`, regardless of cost
mod support;

use naive::{apply, values_equal};
use proptest::prelude::*;
use serde_json::Value;
use support::{Chance, Json, json, name, text};
use witgate_document::{Document, Operation, Path};

fn everything(document: &Document) -> Vec<String> {
    let mut all = vec![String::new()];
    all.extend(
        document
            .select(&Path::parse("$..*").expect("a path"))
            .expect("valid"),
    );
    all
}

/// Returns the offset of a slice in `whole`.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

fn pick<'a, T>(list: &'a [T], chance: &mut Chance) -> &'a T {
    &list[chance.below(list.len())]
}

/// Returns how many bytes two texts share at the front and at the back.
fn shared(a: &[u8], b: &[u8]) -> (usize, usize) {
    let front = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let most = a.len().min(b.len()) - front;
    let back = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take(most)
        .take_while(|(a, b)| a == b)
        .count();
    (front, back)
}

fn random_operations(document: &Document, values: &[Json], seed: u64) -> Vec<Operation> {
    let mut chance = Chance(seed | 1);
    let all = everything(document);
    let place = |chance: &mut Chance| {
        let mut at = pick(&all, chance).clone();
        match chance.below(6) {
            0 => at.push_str("/-"),
            1 => at.push_str("/0"),
            2 => at.push_str("/a"),
            3 => at.push_str("/~01"),
            _ => {}
        }
        at
    };
    let operation = |value: &Json| {
        let value = value.spell(chance.next()).into();
        let at = place(&mut chance);
        match chance.below(6) {
            0 => Operation::Remove { at },
            1 => Operation::Replace { at, value },
            2 => Operation::Move {
                from: place(&mut chance),
                to: at,
            },
            3 => Operation::Copy {
                from: place(&mut chance),
                to: at,
            },
            4 => {
                // Mostly existing values, or all tests would fail.
                let there = document
                    .get(&at)
                    .expect("valid")
                    .filter(|_| !chance.one_in(3));
                Operation::Test {
                    value: there.unwrap_or(value),
                    at,
                }
            }
            _ => Operation::Add { at, value },
        }
    };
    values.iter().map(operation).collect()
}

/// The text that a pattern of one escaped or plain character matches.
fn literal(regex: &str) -> &str {
    match regex {
        "\\\\" => "\\",
        plain => plain,
    }
}

/// Replaces in all strings of a value, but not in keys.
fn replace_in(value: &mut Value, regex: &str, new: &str) {
    match value {
        Value::String(text) if regex == "[a-c]+" => {
            let is_found = |c: char| ('a'..='c').contains(&c);
            let mut out = String::new();
            let mut inside = false;
            for c in text.chars() {
                if !is_found(c) {
                    out.push(c);
                } else if !inside {
                    out.push_str(new);
                }
                inside = is_found(c);
            }
            *text = out;
        }
        Value::String(text) => *text = text.replace(literal(regex), new),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| replace_in(item, regex, new)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|member| replace_in(member, regex, new)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_unedited_text_is_the_same_bytes(text in text()) {
        let bytes = bytes::Bytes::from(text);
        let document = Document::new(bytes.clone());
        everything(&document);
        prop_assert_eq!(document.bytes().as_ptr(), bytes.as_ptr());
        prop_assert_eq!(document.bytes().len(), bytes.len());
        prop_assert!(!document.is_edited());
    }

    #[test]
    fn replacing_any_value_by_its_own_text_changes_no_byte(text in text()) {
        let first = Document::new(text.clone());
        let mut together = first.clone();
        let mut edits = Vec::new();
        for at in everything(&first) {
            let value = first.get(&at).expect("valid").expect("selected");
            edits.push(Operation::Replace { at, value });
        }
        // From the leaves up, since a replaced container no longer has the same pieces.
        for edit in edits.iter().rev() {
            let mut alone = first.clone();
            alone.patch(std::slice::from_ref(edit)).expect("applies");
            prop_assert_eq!(&alone.bytes()[..], text.as_bytes());
            together.patch(std::slice::from_ref(edit)).expect("applies");
        }
        prop_assert_eq!(&together.bytes()[..], text.as_bytes());
        let mut at_once = first.clone();
        at_once.patch(&edits).expect("applies");
        prop_assert_eq!(&at_once.bytes()[..], text.as_bytes());
        prop_assert!(at_once.is_edited());
    }

    #[test]
    fn replacing_matches_is_replacing_them_in_the_values(
        text in text(),
        regex in prop::sample::select(&["a", "ü", "\u{1f600}", "[a-c]+", "\"", "\n", "\\\\"][..]),
        new in prop::sample::select(&["", "x", "\"\\\n\u{1}", "é"][..]),
    ) {
        let mut document = Document::new(text.clone());
        let all = Path::parse("$..*").expect("a path");
        let edits = document.replace_matches(&all, regex, new).expect("valid");
        let mut wanted: Value = serde_json::from_str(&text).expect("valid");
        if !wanted.is_string() {
            replace_in(&mut wanted, regex, new);
        }
        let found: Value = serde_json::from_slice(&document.bytes()).expect("still valid");
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(document.is_edited(), !edits.is_empty());
        // Nothing else changed, so nothing is left to change.
        if edits.is_empty() {
            prop_assert_eq!(&document.bytes()[..], text.as_bytes());
        }
    }

    #[test]
    fn adding_and_removing_changes_no_byte(text in text(), value in json(), seed in any::<u64>()) {
        let first = Document::new(text.clone());
        let mut chance = Chance(seed | 1);
        let value = value.spell(seed);
        for above in everything(&first) {
            let container = first.get(&above).expect("valid").expect("selected");
            let len = |path: &str| Document::new(container.clone()).select(&Path::parse(path).expect("a path")).expect("valid").len();
            let at = match container[0] {
                b'{' => format!("{above}/new"),
                b'[' => format!("{above}/{}", chance.below(len("$[*]") + 1)),
                _ => continue,
            };
            let add = Operation::Add { at: at.clone(), value: value.clone().into() };
            let remove = Operation::Remove { at };
            let mut document = first.clone();
            document.patch(std::slice::from_ref(&add)).expect("applies");
            let added = document.bytes();
            let (front, back) = shared(text.as_bytes(), &added);
            prop_assert_eq!(front + back, text.len(), "more than an insertion");
            document.patch(std::slice::from_ref(&remove)).expect("applies");
            prop_assert_eq!(&document.bytes()[..], text.as_bytes());
            let mut again = Document::new(added);
            again.patch(&[remove]).expect("applies");
            prop_assert_eq!(&again.bytes()[..], text.as_bytes());
        }
    }

    #[test]
    fn an_edit_leaves_every_byte_outside_of_its_span(text in text(), value in json(), seed in any::<u64>()) {
        let text = bytes::Bytes::from(text);
        let first = Document::new(text.clone());
        let mut chance = Chance(seed | 1);
        let at = pick(&everything(&first), &mut chance).clone();
        let old = first.get(&at).expect("valid").expect("selected");
        let start = offset(&text, &old);
        let new = value.spell(seed);

        let mut replaced = first.clone();
        replaced.patch(&[Operation::Replace { at: at.clone(), value: new.clone().into() }]).expect("applies");
        let wanted = [&text[..start], new.trim().as_bytes(), &text[start + old.len()..]].concat();
        prop_assert_eq!(replaced.bytes(), wanted);

        if !at.is_empty() {
            let mut removed = first.clone();
            removed.patch(&[Operation::Remove { at: at.clone() }]).expect("applies");
            let left: serde_json::Value = serde_json::from_slice(&removed.bytes()).expect("still json");
            let mut value: Value = serde_json::from_slice(&text).expect("json");
            apply(&mut value, &Operation::Remove { at }).expect("applies");
            prop_assert_eq!(left, value);
        }
    }

    #[test]
    fn patches_agree_with_plain_values(
        text in text(),
        values in prop::collection::vec(json(), 1..7),
        seed in any::<u64>(),
    ) {
        let mut document = Document::new(text.clone());
        let edits = random_operations(&document, &values, seed);
        let mut value: Value = serde_json::from_str(&text).expect("json");
        let wanted = edits.iter().try_for_each(|edit| apply(&mut value, edit));
        let read_back = Operation::parse_list(Operation::write_list(&edits).as_bytes());
        let done = document.patch(&edits);
        prop_assert_eq!(done.is_ok(), wanted.is_ok(), "{:?} {:?} {:?}", done, wanted, edits);
        if done.is_ok() {
            let after: Value = serde_json::from_slice(&document.bytes()).expect("still json");
            prop_assert_eq!(after, value);
            let mut again = Document::new(text.clone());
            again.patch(&read_back.expect("a patch")).expect("applies");
            prop_assert_eq!(again.bytes(), document.bytes());
            // One by one, with the text joined in between.
            let mut singly = Document::new(text);
            for edit in &edits {
                singly.patch(std::slice::from_ref(edit)).expect("applies");
                singly = Document::new(singly.bytes());
            }
            prop_assert_eq!(singly.bytes(), document.bytes());
        } else {
            prop_assert_eq!(&document.bytes()[..], text.as_bytes());
            prop_assert!(!document.is_edited());
        }
    }

    /// Most real patches: separate places in any order, which sometimes overlap.
    #[test]
    fn removals_and_replacements_at_once_equal_those_one_by_one(
        text in text(),
        picks in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(json())), 1..9),
        backwards in any::<bool>(),
    ) {
        let first = Document::new(text.clone());
        let all = everything(&first);
        let mut picks: Vec<_> = picks.into_iter().map(|(place, value)| (place.index(all.len()), value)).collect();
        if backwards {
            picks.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        }
        let edit = |(place, value): (usize, Option<Json>)| {
            let at = all[place].clone();
            match value {
                Some(value) => Operation::Replace { at, value: value.spell(1).into() },
                None => Operation::Remove { at },
            }
        };
        let edits: Vec<Operation> = picks.into_iter().map(edit).collect();
        let mut at_once = first.clone();
        let done = at_once.patch(&edits);
        let mut singly = first.clone();
        let each = edits.iter().try_for_each(|edit| {
            singly.patch(std::slice::from_ref(edit))?;
            singly = Document::new(singly.bytes());
            Ok::<(), witgate_document::Error>(())
        });
        prop_assert_eq!(done.is_ok(), each.is_ok(), "{:?} {:?} {:?}", done, each, edits);
        if done.is_ok() {
            prop_assert_eq!(at_once.bytes(), singly.bytes());
            // The index after an edit agrees with a fresh one.
            let fresh = Document::new(at_once.bytes());
            prop_assert_eq!(everything(&at_once), everything(&fresh));
            for name in support::NAMES {
                prop_assert_eq!(at_once.top(name), fresh.top(name));
                prop_assert!(at_once.may_have(name) || !fresh.may_have(name));
            }
        } else {
            prop_assert_eq!(&at_once.bytes()[..], text.as_bytes());
        }
    }

    #[test]
    fn queries_agree_with_plain_values(text in text(), query in naive::query()) {
        let document = Document::new(text.clone());
        let value: Value = serde_json::from_str(&text).expect("json");
        let path = Path::parse(&query.to_string()).expect("a path");
        let nodes = document.read(&path).expect("valid");
        let mut ours: Vec<(String, String)> = nodes
            .iter()
            .map(|node| (node.at.clone(), serde_json::from_slice::<Value>(&node.value).expect("json").to_string()))
            .collect();
        let mut theirs: Vec<(String, String)> =
            query.select(&value).into_iter().map(|(at, value)| (at, value.to_string())).collect();
        // Plain values do not keep the order of members.
        ours.sort();
        theirs.sort();
        prop_assert_eq!(&ours, &theirs, "{}", path);
        prop_assert_eq!(document.matches(&path), Ok(!theirs.is_empty()));
        for node in &nodes {
            prop_assert_eq!(document.get(&node.at), Ok(Some(node.value.clone())));
        }
        if !nodes.is_empty() {
            for name in path.literals() {
                prop_assert!(document.may_have(name));
                let token = witgate_document::string::encode(name);
                prop_assert!(text.contains(&token) || text.contains('\\'));
            }
        }
    }

    /// Guards use `matches`, which takes shortcuts that `select` does not.
    #[test]
    fn a_path_matches_exactly_where_it_selects(text in naive::lists(), query in naive::list_query()) {
        let value: Value = serde_json::from_str(&text).expect("json");
        let path = Path::parse(&query.to_string()).expect("a path");
        let document = Document::new(text);
        let matched = document.matches(&path);
        let mut ours = document.select(&path).expect("valid");
        prop_assert_eq!(&matched, &Ok(!ours.is_empty()), "{}", path);
        // Again, now that the index caches more of the text.
        prop_assert_eq!(&document.matches(&path), &matched, "{}", path);
        let mut theirs: Vec<String> = query.select(&value).into_iter().map(|(at, _)| at).collect();
        // Plain values do not keep the order of members.
        ours.sort();
        theirs.sort();
        prop_assert_eq!(ours, theirs, "{}", path);
    }

    #[test]
    fn removing_all_leaves_nothing_to_select(text in text(), query in naive::query(), name in name()) {
        let token = witgate_document::string::encode(name);
        for path in [query.to_string(), format!("$..[{token}]")] {
            let path = Path::parse(&path).expect("a path");
            let mut document = Document::new(text.clone());
            let selected = document.select(&path).expect("valid");
            let outcome = document.remove_all(&path);
            if selected.iter().any(String::is_empty) {
                prop_assert!(outcome.is_err());
                continue;
            }
            let count = outcome.expect("valid") as usize;
            prop_assert!(selected.is_empty() || count > 0);
            prop_assert!(serde_json::from_slice::<Value>(&document.bytes()).is_ok(), "{:?}", document.bytes());
            prop_assert_eq!(document.is_edited(), count > 0);
            if count == 0 {
                prop_assert_eq!(&document.bytes()[..], text.as_bytes());
            }
        }
        let path = Path::parse(&format!("$..[{token}]")).expect("a path");
        let mut document = Document::new(text);
        document.remove_all(&path).expect("valid");
        prop_assert_eq!(document.matches(&path), Ok(false));
    }

    #[test]
    fn removing_all_is_removing_each(value in json(), seed in any::<u64>(), query in naive::query()) {
        // Without duplicates, which a pointer cannot distinguish.
        let plain: Value = serde_json::from_str(&value.spell(seed)).expect("json");
        let text = serde_json::to_string_pretty(&plain).expect("json");
        let path = Path::parse(&query.to_string()).expect("a path");
        let mut at_once = Document::new(text);
        let mut singly = at_once.clone();
        let mut places = singly.select(&path).expect("valid");
        if places.iter().any(String::is_empty) {
            return Ok(());
        }
        // Nested nodes go with their container. The last goes first, so that indexes stay valid.
        places.sort_by_key(|at| naive::order(&singly, at));
        places.dedup();
        let inside = |at: &String| places.iter().any(|above| at.starts_with(&format!("{above}/")));
        let outer: Vec<&String> = places.iter().filter(|at| !inside(at)).collect();
        for at in outer.iter().rev() {
            singly.patch(&[Operation::Remove { at: (*at).clone() }]).expect("applies");
        }
        prop_assert_eq!(at_once.remove_all(&path), Ok(outer.len() as u32));
        prop_assert_eq!(at_once.bytes(), singly.bytes());
    }

    #[test]
    fn what_was_removed_is_what_would_have_been_selected(text in text(), query in naive::query()) {
        let path = Path::parse(&query.to_string()).expect("a path");
        let first = Document::new(text);
        let selected = first.select(&path).expect("valid");
        let (mut noted, mut plain) = (first.clone(), first.clone());
        match noted.remove_all_noted(&path) {
            Ok((count, pointers)) => {
                prop_assert_eq!(&pointers, &selected);
                if !selected.is_empty() {
                    prop_assert_eq!(plain.remove_all(&path), Ok(count));
                }
                prop_assert_eq!(noted.bytes(), plain.bytes());
            }
            Err(error) => prop_assert_eq!(plain.remove_all(&path), Err(error)),
        }
    }

    #[test]
    fn top_level_members_are_found(text in text(), name in name()) {
        let document = Document::new(text.clone());
        let value: Value = serde_json::from_str(&text).expect("json");
        let there = value.as_object().and_then(|members| members.get(name));
        let found = document.top(name).map(|text| serde_json::from_slice::<Value>(&text).expect("json"));
        prop_assert_eq!(found.as_ref(), there);
        let text = document.top_str(name);
        prop_assert_eq!(text.as_deref(), there.and_then(Value::as_str));
    }

    #[test]
    fn equality_is_that_of_values(a in json(), b in json(), seed in any::<u64>()) {
        for (a, b) in [(&a, &b), (&a, &a)] {
            let (a, b) = (a.spell(seed), b.spell(seed.rotate_left(7)));
            let mut document = Document::new(a.clone());
            let test = Operation::Test { at: String::new(), value: b.clone().into() };
            let (a, b): (Value, Value) = (serde_json::from_str(&a).expect("json"), serde_json::from_str(&b).expect("json"));
            prop_assert_eq!(document.patch(&[test]).is_ok(), values_equal(&a, &b));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Long enough that names are too frequent to keep all their places.
    #[test]
    fn long_texts_are_read_like_plain_values(
        values in prop::collection::vec(json(), 1..4),
        seed in any::<u64>(),
        query in naive::query(),
    ) {
        let part = |index: usize| values[index % values.len()].spell(seed.rotate_left(index as u32));
        let parts: Vec<String> = (0..1_500).map(part).collect();
        let spelt = format!("[{}]", parts.join(","));
        let value: Value = serde_json::from_str(&spelt).expect("json");
        let path = Path::parse(&query.to_string()).expect("a path");
        let theirs = query.select(&value);
        prop_assert_eq!(Document::new(spelt).select(&path).expect("valid").len(), theirs.len());
        // Serialised again, members are in the order of plain values, so order counts here.
        let document = Document::new(value.to_string());
        let places: Vec<String> = theirs.into_iter().map(|(at, _)| at).collect();
        prop_assert_eq!(document.matches(&path), Ok(!places.is_empty()));
        prop_assert_eq!(document.select(&path).expect("valid"), places);
    }
}
