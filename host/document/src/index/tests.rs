use proptest::prelude::*;

use super::*;
use crate::{
    Outline, Path,
    scan::{MAX_DEPTH, is_escaped},
    splice::{Cut, splice},
};

/// Mostly invalid JSON of the significant bytes, with runs long enough to fill blocks.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "\"", "\\", "{", "}", "[", "]", ":", ",", " ", "a", "\"a\":", "\"\\\"", "{\"b\":", "\"}", "\"x\" :\n",
        ]).prop_map(str::to_owned),
        1 => (prop::sample::select(vec!["a", "\\", " ", "[", "\\\"", "\\\\"]), 1..150_usize)
            .prop_map(|(piece, times)| piece.repeat(times)),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat().into_bytes())
}

/// JSON with long and short values of all kinds.
fn json() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        "[a-z]{0,9}",
        "[a-z ]{40,300}",
        "(\\\\\"|\\\\\\\\|x|\\{|\\[|:){0,150}",
    ];
    let leaf = prop_oneof![
        text.prop_map(|text| format!("\"{text}\"")),
        Just("17".to_owned()),
        Just("{ }".to_owned()),
    ];
    let key = prop::sample::select(vec![
        "a",
        "b",
        "cache\\u005fcontrol",
        "c\\\"",
        "",
        "a rather long name",
    ]);
    leaf.prop_recursive(4, 60, 6, move |inner| {
        let member =
            (key.clone(), inner.clone(), prop::bool::ANY).prop_map(|(key, value, space)| {
                format!("\"{key}\"{}:{value}", if space { " " } else { "" })
            });
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..6)
                .prop_map(|items| format!("{{{}}}", items.join(", "))),
        ]
    })
}

/// The spans of values and keys in a text, found byte by byte.
#[derive(Default)]
struct Slow {
    values: Vec<(usize, usize)>,
    keys: Vec<Range<usize>>,
}

fn slowly(text: &[u8]) -> Slow {
    let mut found = Slow::default();
    let mut open = Vec::new();
    let mut string = None;
    for (at, &byte) in text.iter().enumerate() {
        match (string, byte) {
            (Some(start), b'"') if !is_escaped(&text[start + 1..at], at - start - 1) => {
                found.values.push((start, at + 1));
                if text.get(scan::skip_space(text, at + 1)) == Some(&b':') {
                    found.keys.push(start..at + 1);
                }
                string = None;
            }
            (None, b'"') => string = Some(at),
            (None, b'{' | b'[') => open.push(at),
            (None, b'}' | b']') => found.values.extend(open.pop().map(|start| (start, at + 1))),
            _ => {}
        }
    }
    found.values.sort_unstable();
    found
}

/// Everything the index reports matches the byte-by-byte result.
fn agrees(text: &[u8], index: &Index) -> Result<(), TestCaseError> {
    let slow = slowly(text);
    let long = slow
        .values
        .iter()
        .filter(|(start, end)| end - start >= LONG);
    if index.keys.is_some() {
        let known: Vec<(usize, usize)> = index
            .starts
            .iter()
            .zip(&index.ends)
            .map(|(&start, &end)| (start as usize, end as usize))
            .collect();
        prop_assert_eq!(&known, &long.copied().collect::<Vec<_>>());
        // In any order.
        for &(start, end) in known.iter().rev().chain(&known) {
            prop_assert_eq!(index.end_of(start), Some(end));
        }
    }
    for (start, end) in slow.values.iter().rev().chain(&slow.values) {
        prop_assert_eq!(index.value_end(text, *start, 0).ok(), Some(*end));
    }
    for key in &slow.keys {
        if let Some(name) = string::decode(&text[key.clone()]) {
            prop_assert!(index.may_have(text, &name), "{}", name);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_end_where_a_walk_says(text in soup()) {
        let index = Index::of(&text);
        if index.keys.is_some() {
            agrees(&text, &index)?;
        }
    }

    #[test]
    fn every_json_text_has_an_index(text in json()) {
        let index = Index::of(text.as_bytes());
        prop_assert!(index.keys.is_some());
        agrees(text.as_bytes(), &index)?;
        prop_assert_eq!(index.members.is_some(), text.starts_with('{'));
    }

    #[test]
    fn an_outline_leaves_out_the_same_strings(text in json(), longest in 50..120_usize) {
        let outline = |index: &Index| {
            let outline = Outline::of(text.clone().into(), index, longest, 7);
            outline.map(|outline| outline.text().to_owned())
        };
        prop_assert_eq!(outline(&Index::of(text.as_bytes())), outline(&Index::default()));
    }

    #[test]
    fn an_index_follows_the_edits(text in json(), seed in any::<prop::sample::Index>(), new in json()) {
        let bytes = text.as_bytes();
        let old = Index::of(bytes);
        let values = slowly(bytes).values;
        // Two separate values, one replaced and one emptied. A key is not a value.
        let is_key = |end: usize| bytes.get(scan::skip_space(bytes, end)) == Some(&b':');
        let mut spans: Vec<_> = values.into_iter().filter(|&(_, end)| !is_key(end)).collect();
        prop_assume!(!spans.is_empty());
        let first = seed.index(spans.len());
        spans.rotate_left(first);
        let (start, end) = spans[0];
        let mut cuts = vec![Cut { span: start..end, replacement: new.into() }];
        cuts.extend(spans.iter().find(|other| other.0 >= end).map(|&(start, end)| Cut {
            span: start..end,
            replacement: "0".into(),
        }));
        let edited = splice(bytes, &cuts);
        let Some(index) = old.after(&cuts, &edited) else {
            return Err(TestCaseError::fail("there is an index"));
        };
        let slow = slowly(&edited);
        for (start, end) in index.starts.iter().zip(&index.ends) {
            prop_assert!(slow.values.contains(&(*start as usize, *end as usize)));
        }
        for name in ["a", "b", "cache_control", "c\"", "", "a rather long name"] {
            let there = slow.keys.iter().any(|key| string::spells(&edited[key.clone()], name));
            prop_assert!(!there || index.may_have(&edited, name));
            let fresh = Index::of(&edited);
            prop_assert_eq!(index.top(&edited, name), fresh.top(&edited, name));
            let (mine, theirs) = (index.occurrences(&edited, name, true), fresh.occurrences(&edited, name, true));
            prop_assert_eq!(mine.all(edited.len()), theirs.all(edited.len()));
        }
    }
}

/// The ends of arrays whose elements are long, short, or far apart.
#[test]
fn the_last_elements_are_found_backwards_or_not_at_all() {
    let long = |n: usize| format!(r#"{{"n":[{n},"{}"]}}"#, "x".repeat(80));
    let list = |items: &[String], between: &str| format!(r#"{{"l":[ {} ]}}"#, items.join(between));
    let items: Vec<String> = (0..9).map(long).collect();
    for between in [",", " ,\n "] {
        let text = list(&items, between);
        for most in 1..12 {
            let found = Index::of(text.as_bytes()).last_elements(text.as_bytes(), 5, most);
            let found: Vec<&str> = found
                .expect("long")
                .into_iter()
                .map(|span| &text[span])
                .collect();
            assert_eq!(found, items[9 - most.min(9)..], "{most}");
        }
    }
    let short = [
        r#"{"a":{"b":"\"]{"}}"#,
        "[ ]",
        "\"\\\\\"",
        "-1.5e+7",
        "null",
        "{}",
    ];
    // Enough elements to make the array itself long.
    let short: Vec<String> = short.repeat(2).into_iter().map(str::to_owned).collect();
    let mixed: Vec<String> = short.iter().cloned().chain([long(1)]).collect();
    for items in [short, mixed] {
        let text = list(&items, " ,");
        for most in 1..=items.len() {
            let text = text.as_bytes();
            let found = Index::of(text).last_elements(text, 5, most);
            let found: Vec<&[u8]> = found
                .expect("all of it is JSON")
                .into_iter()
                .map(|span| &text[span])
                .collect();
            assert_eq!(
                found,
                items[items.len() - most..]
                    .iter()
                    .map(|item| item.as_bytes())
                    .collect::<Vec<_>>()
            );
        }
    }
    let odd = [long(1), String::new(), long(2)];
    for (text, most) in [
        (list(&items, " "), 2),
        (list(&items, ":"), 2),
        (list(&odd, ","), 2),
        (r#"{"l":[]}"#.to_owned(), 1),
        (list(&["1".to_owned(), "nul".to_owned(), long(2)], ","), 2),
        (
            list(&["1".to_owned(), r#""a"b"#.to_owned(), long(2)], ","),
            2,
        ),
        (format!(r#"{{"l":{{"a":{}}}}}"#, long(1)), 1),
    ] {
        let found = Index::of(text.as_bytes()).last_elements(text.as_bytes(), 5, most);
        assert_eq!(found, None, "{text}");
    }
}

#[test]
fn most_names_that_are_not_keys_are_ruled_out() {
    let text: String = (0..100)
        .map(|n| format!(r#""name_{n}":"other_{n}","#))
        .collect();
    let text = format!("{{{text}\"last\":1}}");
    let index = Index::of(text.as_bytes());
    let may = |name: String| index.may_have(text.as_bytes(), &name);
    assert!((0..100).all(|n| may(format!("name_{n}"))));
    let wrong = (0..1_000).filter(|n| may(format!("absent_{n}"))).count();
    assert!(wrong < 20, "{wrong} of a thousand");
    assert!(may("a/b".to_owned()), "it could be spelt `a\\/b`");
}

#[test]
fn a_key_with_escapes_may_be_any_name_it_spells() {
    let text = br#"{"a":{"cache\u005fcontrol" : 1, "\u0061bc":2}}"#;
    let index = Index::of(text);
    for (name, may) in [("cache_control", true), ("abc", true), ("model", false)] {
        assert_eq!(index.may_have(text, name), may, "{name}");
    }
    let occurrences = index.occurrences(text, "cache_control", true);
    assert_eq!(occurrences.all(text.len()), Some(&[6][..]));
    let many = format!("{{{}\"z\":1}}", r#""\u0061":0,"#.repeat(1_000));
    assert!(Index::of(many.as_bytes()).may_have(many.as_bytes(), "any"));
}

#[test]
fn a_text_that_a_walk_could_read_differently_has_no_index() {
    let deep = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
    for (text, has) in [
        (br#"{"a":\"}"#.to_vec(), false),
        (br#"{"a":"\\"}"#.to_vec(), true),
        (deep(MAX_DEPTH), true),
        (deep(MAX_DEPTH + 1), false),
        (Vec::new(), true),
    ] {
        assert_eq!(
            Index::of(&text).keys.is_some(),
            has,
            "{}",
            text.escape_ascii()
        );
    }
    assert!(Index::default().may_have(b"", "any"));
}

#[test]
fn whether_a_path_selects_anything_is_looked_up_once() {
    let index = Index::of(b"{}");
    let mut looks = 0;
    for matches in [false, true] {
        // Each plugin parses its own path, and many use the same text.
        let path = Path::parse("$.a").expect("a path");
        let found = index.matches(path.text(), || {
            looks += 1;
            Ok(matches)
        });
        assert_eq!(found, Ok(false));
    }
    assert_eq!(looks, 1);
    let broken = || Err(Error::document(0, "broken"));
    let other = Path::parse("$.b").expect("a path");
    assert_eq!(index.matches(other.text(), broken), broken());
    assert_eq!(index.matches(other.text(), || Ok(true)), Ok(true));
}
