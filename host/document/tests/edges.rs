//! Texts at and past the limits: invalid JSON, texts that readers disagree about, too much depth or
//! cost. docs/document.md has the same as a table.

mod support;

use std::thread;

use proptest::prelude::*;
use support::{Chance, text};
use witgate_document::{Document, Error, Operation, Path, string};

fn path(text: &str) -> Path {
    Path::parse(text).expect("a path")
}

/// Runs on a stack far smaller than that of any server thread.
fn on_a_small_stack(act: impl FnOnce() + Send + 'static) {
    // Unoptimised frames are several times larger.
    let size = if cfg!(debug_assertions) {
        1 << 20
    } else {
        256 << 10
    };
    let thread = thread::Builder::new().stack_size(size).spawn(act);
    thread.expect("a thread").join().expect("no panic");
}

fn nested(depth: usize) -> Vec<u8> {
    [vec![b'['; depth], vec![b']'; depth]].concat()
}

/// Every kind of query. None may panic or change a byte.
fn ask_everything(document: &Document) {
    let before = document.bytes();
    for query in [
        "$",
        "$.a",
        "$..a",
        "$..*",
        "$[0]",
        "$[-1]",
        "$[?@.a == 'x']",
        "$..[?length(@) > 1]",
        "$..[::-1]",
    ] {
        let query = path(query);
        let _ = document.may_select(&query);
        let _ = document.matches(&query);
        let _ = document.select(&query);
        for node in document.read(&query).unwrap_or_default() {
            let _ = document.get(&node.at);
        }
    }
    for pointer in ["", "/a", "/0", "/a/b/0", "/-"] {
        let _ = document.get(pointer);
        let _ = string::decode(&document.get(pointer).ok().flatten().unwrap_or_default());
    }
    for name in ["a", "", "\u{fffd}", "a/b", "ü"] {
        let _ = document.top(name);
        let _ = document.top_str(name);
        let _ = document.may_have(name);
    }
    let _ = Operation::parse_list(&before);
    assert_eq!(document.bytes(), before);
}

/// Every kind of edit. After one that fails, every byte is unchanged.
fn edit_everything(document: &Document) {
    let value = || r#"{"b":[1]}"#.into();
    for edit in [
        Operation::Add {
            at: "/a".into(),
            value: value(),
        },
        Operation::Add {
            at: "/0".into(),
            value: value(),
        },
        Operation::Add {
            at: "/-".into(),
            value: value(),
        },
        Operation::Remove { at: "/a".into() },
        Operation::Replace {
            at: "/a/b".into(),
            value: value(),
        },
        Operation::Replace {
            at: String::new(),
            value: value(),
        },
        Operation::Move {
            from: "/a".into(),
            to: "/b".into(),
        },
        Operation::Copy {
            from: String::new(),
            to: "/a".into(),
        },
        Operation::Test {
            at: "/a".into(),
            value: value(),
        },
        Operation::Test {
            at: String::new(),
            value: document.bytes(),
        },
        Operation::Add {
            at: "/a".into(),
            value: document.bytes(),
        },
    ] {
        let mut edited = document.clone();
        if edited.patch(&[edit]).is_err() {
            assert_eq!(edited.bytes(), document.bytes());
            assert!(!edited.is_edited());
        }
        ask_everything(&edited);
    }
    for query in ["$.a", "$..a", "$..*", "$[0]", "$[?@.a]", "$"] {
        let mut edited = document.clone();
        if edited.remove_all(&path(query)).is_err() {
            assert_eq!(edited.bytes(), document.bytes());
        }
    }
}

#[test]
fn a_path_with_places_from_both_ends_of_a_list_matches_where_it_selects() {
    // Longer than the values the index skips.
    let last = "y".repeat(70);
    let document = Document::new(format!(r#"[["x"],2,"{last}"]"#));
    for places in ["0,-1", "-1,0", "0:,-1", "-1:,0", "0", "0:"] {
        let path = path(&format!("$[{places}][*]"));
        assert!(
            document
                .select(&path)
                .expect("valid")
                .contains(&"/0/0".into()),
            "{path}"
        );
        assert_eq!(document.matches(&path), Ok(true), "{path}");
    }
    assert_eq!(document.matches(&path("$[-1][*]")), Ok(false));
}

#[test]
fn a_million_brackets_are_an_error_on_a_small_stack() {
    on_a_small_stack(|| {
        for deep in [
            vec![b'['; 1_000_000],
            nested(1_000_000),
            b"{\"a\":".repeat(200_000),
        ] {
            let document = Document::new(deep.clone());
            assert!(matches!(
                document.select(&path("$..*")),
                Err(Error::BadDocument { .. })
            ));
            assert!(matches!(
                document.read(&path("$")),
                Err(Error::BadDocument { .. })
            ));
            assert!(matches!(document.get(""), Err(Error::BadDocument { .. })));
            let add = |value: Vec<u8>| Operation::Add {
                at: "/0".into(),
                value: value.into(),
            };
            assert!(document.clone().patch(&[add(b"1".to_vec())]).is_err());
            assert!(matches!(
                Document::new("[]").patch(&[add(deep)]),
                Err(Error::BadValue(_))
            ));
            edit_everything(&document);
            ask_everything(&document);
        }
    });
}

#[test]
fn a_thousand_levels_pass_and_one_more_does_not() {
    on_a_small_stack(|| {
        let pointer = "/0".repeat(999);
        let document = Document::new(nested(1_000));
        assert_eq!(
            document.select(&path("$..*")).map(|nodes| nodes.len()),
            Ok(999)
        );
        assert_eq!(document.get(&pointer), Ok(Some("[]".into())));
        let mut edited = document.clone();
        let add = |at: &str, value: &'static str| Operation::Add {
            at: format!("{at}/-"),
            value: value.into(),
        };
        edited.patch(&[add(&pointer, "1")]).expect("fits");
        assert_eq!(edited.bytes().len(), 2_001);
        assert_eq!(
            edited.select(&path("$..*")).map(|nodes| nodes.len()),
            Ok(1_000)
        );
        let test = Operation::Test {
            at: String::new(),
            value: edited.bytes(),
        };
        edited.patch(&[test]).expect("equal");
        assert!(matches!(
            edited.patch(&[add(&pointer, "[]")]),
            Err(Error::BadValue(_))
        ));
        let copy = Operation::Copy {
            from: String::new(),
            to: "/-".into(),
        };
        assert!(edited.patch(&[copy]).is_err());
        drop(edited);

        let deeper = Document::new(nested(1_001));
        assert!(matches!(
            deeper.select(&path("$..*")),
            Err(Error::BadDocument { .. })
        ));
        assert!(deeper.clone().patch(&[add("", "1")]).is_err());
    });
}

#[test]
fn the_largest_queries_fit_a_small_stack() {
    on_a_small_stack(|| {
        let filters = |depth: usize| format!("${}@.a{}", "[?".repeat(depth), "]".repeat(depth));
        let nested = |depth: usize| format!("$[?{}@.a{}]", "(".repeat(depth), ")".repeat(depth));
        let filtered =
            |depth: usize| format!("$[?{}@.a{}]", "@[?".repeat(depth), "]".repeat(depth));
        let functions =
            |depth: usize| format!("$[?{}@{} == 1]", "length(".repeat(depth), ")".repeat(depth));
        for largest in [nested(23), filtered(23), functions(23)] {
            let largest = path(&largest);
            let text = format!("{}{{\"a\":1}}{}", "[".repeat(99), "]".repeat(99));
            assert!(Document::new(text).select(&largest).is_ok());
        }
        for too_much in [
            nested(100_000),
            filtered(100_000),
            filters(2),
            functions(100_000),
            "!(".repeat(100_000),
        ] {
            assert!(Path::parse(&too_much).is_err());
        }
        let long = path(&format!("${}", "[*]".repeat(100)));
        assert_eq!(
            Document::new(self::nested(101))
                .select(&long)
                .map(|nodes| nodes.len()),
            Ok(1)
        );
        let deep = path(&format!("${}", "..*".repeat(100)));
        assert!(matches!(
            Document::new(self::nested(1_000)).select(&deep),
            Err(Error::TooMuch(_))
        ));
        assert!(matches!(
            Path::parse(&format!("${}", ".a".repeat(101))),
            Err(Error::TooMuch(_))
        ));
        let groups = format!("$[?match(@, '{}{}')]", "(".repeat(2_000), ")".repeat(2_000));
        assert_eq!(Document::new("[\"\"]").matches(&path(&groups)), Ok(false));
    });
}

#[test]
fn a_literal_of_a_pattern_is_searched_for_only_below_the_member_that_the_path_begins_at() {
    let document = Document::new(
        r#"{"model":"warm","system":[{"text":"cold"}],"messages":[{"text":"so WARM\n"},{"text":"\u0077arm"}]}"#,
    );
    let table = [
        (r#"$.system[?search(@.text, "cold")]"#, true, true),
        (r#"$.system[?search(@.text, "[Ww]arm")]"#, false, false),
        (r#"$.absent[?search(@.text, "[Ww]arm")]"#, false, false),
        (
            r#"$.messages[?match(@.text, "so [Ww][Aa][Rr][Mm].")]"#,
            true,
            false,
        ),
        (
            r#"$.messages[?search(@.text, "[Ww][Aa][Rr][Mm]")]"#,
            true,
            true,
        ),
        (r#"$.messages[?match(@.text, "warm")]"#, true, true),
        (r#"$..[?match(@.text, "warm")]"#, true, true),
        (r#"$[?search(@, "warm")]"#, true, true),
        // The pattern applies to another member.
        (r#"$.system[?match($.model, "warm")]"#, true, true),
        (
            r#"$.system[?$.messages[?match(@.text, "warm")]]"#,
            true,
            true,
        ),
    ];
    for (query, may, does) in table {
        let path = path(query);
        assert_eq!(document.may_select(&path), may, "{query}");
        assert_eq!(document.matches(&path), Ok(does), "{query}");
    }
    let warm = path(r#"$[?search(@, "warm")]"#);
    assert_eq!(Document::new(r#"["\x", "warm"]"#).matches(&warm), Ok(true));
    let broken = Document::new(r#"["\x warm"]"#).matches(&warm);
    assert!(
        matches!(broken, Err(Error::BadDocument { .. })),
        "{broken:?}"
    );
}

#[test]
fn every_budget_ends_in_an_error() {
    let too_much = |result: Result<Vec<String>, Error>| matches!(result, Err(Error::TooMuch(_)));
    let wide = Document::new(format!("[{}1]", "1,".repeat(100_000)));
    assert!(too_much(wide.select(&path("$[*]"))), "selected");
    assert!(
        matches!(
            wide.clone().remove_all(&path("$[*]")),
            Err(Error::TooMuch(_))
        ),
        "removed"
    );
    let wider = Document::new(format!("[{}1]", "1,".repeat(1_000_000)));
    assert!(too_much(wider.select(&path("$[-1]"))), "visited");
    let long = Document::new(format!(
        "{}\"{}\"{}",
        "[".repeat(900),
        "x".repeat(1 << 20),
        "]".repeat(900)
    ));
    assert!(too_much(long.select(&path("$..*"))), "bytes");
    let name = "x".repeat(1 << 20);
    let named = Document::new(format!("{{\"{name}\":[{}1]}}", "1,".repeat(100)));
    assert!(too_much(named.select(&path("$.*[*]"))), "pointers");
    let filters = Document::new(format!("[{}1]", "1,".repeat(2_000)));
    assert!(
        too_much(filters.select(&path("$[?count($[*]) == 0]"))),
        "filters"
    );

    let selectors = path(&format!("$[{}0:].*", "0:,".repeat(5_000)));
    assert!(
        too_much(Document::new(format!("[{}1]", "1,".repeat(2_000))).select(&selectors)),
        "selectors"
    );
    let deep = format!("{}1{}", "{\"a\":".repeat(900), ",\"b\":[[[]]]}".repeat(900));
    let deep = deep.replacen('1', &format!("\"{}\"", "x".repeat(1 << 20)), 1);
    let pointer = format!("{}/b", "/a".repeat(899));
    assert!(
        matches!(Document::new(deep).get(&pointer), Err(Error::TooMuch(_))),
        "pointer"
    );

    let double = Operation::Copy {
        from: String::new(),
        to: "/-".into(),
    };
    let mut bomb = Document::new("[\"0123456789\"]");
    assert!(
        matches!(bomb.patch(&vec![double; 40]), Err(Error::TooMuch(_))),
        "copies"
    );
    assert_eq!(bomb.bytes(), "[\"0123456789\"]");

    // In the middle of an array each removal shifts half of it. The add prevents the patch from
    // being applied as cuts.
    let mut list = Document::new(format!("[{}1]", "1,".repeat(200_000)));
    let before = list.bytes();
    let remove = Operation::Remove {
        at: "/100000".into(),
    };
    let mut edits = vec![remove; 1_000];
    edits.push(Operation::Add {
        at: "/-".into(),
        value: "2".into(),
    });
    assert!(
        matches!(list.patch(&edits), Err(Error::TooMuch(_))),
        "shifted"
    );
    assert_eq!(list.bytes(), before);
}

#[test]
fn a_long_list_is_emptied_into_another_from_the_front() {
    let numbers: Vec<String> = (0..60_000).map(|number| number.to_string()).collect();
    let numbers = numbers.join(",");
    let mut lists = Document::new(format!("[[-1],[{numbers}]]"));
    let one = Operation::Move {
        from: "/1/0".into(),
        to: "/0/-".into(),
    };
    lists
        .patch(&vec![one; 60_000])
        .expect("each move shifts nothing");
    assert_eq!(lists.bytes(), format!("[[-1,{numbers}],[]]"));
}

#[test]
fn an_evil_pattern_takes_linear_time() {
    let document = Document::new(format!("[\"{}\"]", "a".repeat(50_000)));
    assert_eq!(document.matches(&path("$[?match(@, '(a*)*b')]")), Ok(false));
    assert_eq!(
        document.matches(&path("$[?search(@, '(a|a)*c')]")),
        Ok(false)
    );
}

/// A text of `a` and `b` in no order that repeats soon.
fn shuffled(length: u32) -> String {
    let letter = |at: u32| match at.wrapping_mul(2_654_435_761) >> 13 & 1 {
        0 => 'a',
        _ => 'b',
    };
    (0..length).map(letter).collect()
}

#[test]
fn a_pattern_that_costs_too_much_on_a_text_is_an_error() {
    let document = Document::new(format!(r#"["{}"]"#, shuffled(1_000_000)));
    for pattern in ["[ab]*a[ab]{3000}c", "[ab]*a(([ab]{50}){50})c"] {
        for filter in ["search", "match"] {
            let query = path(&format!("$[?{filter}(@, '{pattern}')]"));
            let error = document.select(&query).expect_err(pattern).to_string();
            assert!(error.contains("regular expression"), "{error}");
            assert!(matches!(document.matches(&query), Err(Error::TooMuch(_))));
        }
    }
    // The same patterns on texts for which they are cheap, and cheap ones on the same text.
    let short = Document::new(format!(r#"["{}"]"#, shuffled(1_000)));
    assert_eq!(
        short.select(&path("$[?search(@, '[ab]*a[ab]{3000}c')]")),
        Ok(vec![])
    );
    for (pattern, found) in [("[ab]*a[ab]{8}c", 0), ("a[ab]{100}", 1), ("\\\\p{Lu}", 0)] {
        let nodes = document.select(&path(&format!("$[?search(@, '{pattern}')]")));
        assert_eq!(nodes.map(|nodes| nodes.len()), Ok(found), "{pattern}");
    }
}

#[test]
fn patterns_of_a_document_cost_what_compiling_them_takes() {
    let nodes = |pattern: fn(usize) -> String, count: usize| {
        let node = |at| format!(r#"{{"text":"a","pattern":"{}"}}"#, pattern(at));
        let nodes: Vec<String> = (0..count).map(node).collect();
        Document::new(format!("[{}]", nodes.join(",")))
    };
    let query = path("$[?search(@.text, @.pattern)]");
    let small = nodes(|at| format!("a|{at}"), 200);
    assert_eq!(small.select(&query).map(|nodes| nodes.len()), Ok(200));
    for large in [
        nodes(|at| format!(r"\\p{{L}}{{{}}}", 900 + at), 100),
        nodes(|at| r"\\p{L}".repeat(700 + at), 100),
        nodes(|at| format!("a{{{at}}}"), 10_000),
    ] {
        assert!(matches!(large.select(&query), Err(Error::TooMuch(_))));
    }
}

#[test]
fn edits_of_an_object_with_many_or_long_keys_end_in_an_error() {
    let object = |name: &str, count: usize| {
        let member = |at: usize| format!(r#""{name}{at}":1"#);
        let members: Vec<String> = (0..count).map(member).collect();
        Document::new(format!("{{{}}}", members.join(",")))
    };
    let add = |at: usize| Operation::Add {
        at: format!("/key{at}"),
        value: "1".into(),
    };
    let long = "k".repeat(1_000);
    let removal = |at: usize| Operation::Remove {
        at: format!("/{long}{at}"),
    };
    let adds: Vec<Operation> = (0..100_000).map(add).collect();
    let mut removals: Vec<Operation> = vec![add(0); 1_000];
    removals.extend((0..1_000).map(removal));
    for (mut document, edits) in [(object("k", 0), &adds), (object(&long, 10_000), &removals)] {
        let before = document.bytes();
        assert!(matches!(document.patch(edits), Err(Error::TooMuch(_))));
        assert_eq!(document.bytes(), before);
    }
    object("k", 1_000)
        .patch(&adds[..1_000])
        .expect("what a rule may add");
}

/// A text, a path, and the result or `None` for an error.
type Reading = (
    &'static [u8],
    &'static str,
    Option<&'static [&'static [u8]]>,
);

/// Texts that `serde_json` rejects or reads differently.
#[test]
fn texts_that_other_readers_reject_are_defined() {
    let cases: &[Reading] = &[
        // A lone surrogate is ordinary text and reads as U+FFFD when decoded.
        (br#"{"a":"\ud800"}"#, "$.a", Some(&[br#""\ud800""#])),
        (br#"{"\ud800":1}"#, "$['\u{fffd}']", Some(&[b"1"])),
        (
            br#"["\ud800","x"]"#,
            "$[?@ == '\u{fffd}']",
            Some(&[br#""\ud800""#]),
        ),
        // Numbers are unbounded.
        (b"[1e999,1e998]", "$[?@ > 1e998]", Some(&[b"1e999"])),
        (
            b"[9007199254740993]",
            "$[?@ == 9007199254740992]",
            Some(&[]),
        ),
        (b"[-0]", "$[?@ == 0]", Some(&[b"-0"])),
        // A byte order mark is skipped and stays.
        (b"\xef\xbb\xbf{\"a\":1}", "$.a", Some(&[b"1"])),
        (b"\xef\xbb\xbf{\"a\":1}", "$", Some(&[b"{\"a\":1}"])),
        // Only `$` sees text after the value.
        (b"{\"a\":1} x", "$.a", Some(&[b"1"])),
        (b"{\"a\":1} x", "$", None),
        // Bytes that are not UTF-8 are kept, and read as U+FFFD when decoded.
        (b"{\"a\":\"\xff\"}", "$.a", Some(&[b"\"\xff\""])),
        (b"{\"\xff\":1}", "$['\u{fffd}']", Some(&[b"1"])),
        // Skipped text need not be JSON, visited text must be.
        (b"{\"x\":[1 2,],\"a\":1}", "$.*", Some(&[b"[1 2,]", b"1"])),
        (b"{\"x\":\"\x01\\q\",\"a\":1}", "$.a", Some(&[b"1"])),
        (b"{\"\\q\":1,\"a\":2}", "$.a", Some(&[b"2"])),
        (b"{\"\\q\":1,\"a\":2}", "$.*", None),
        (b"{\"a\":\"\\q\"}", "$.a", Some(&[b"\"\\q\""])),
        (b"[\"\\q\"]", "$[?@ != 'q']", None),
        (b"{\"a\":01}", "$.*", None),
        (b"{\"a\":nul}", "$.*", None),
        (b"{\"a\":1,}", "$.*", None),
        (b"{'a':1}", "$.*", None),
        (b"[1,2", "$[*]", None),
        (b"[1,2", "$[0]", Some(&[b"1"])),
        (b"", "$", None),
        (b"", "$.a", None),
        (b" ", "$..a", None),
        // Of equal keys the last counts.
        (br#"{"a":1,"a":2}"#, "$.a", Some(&[b"2"])),
        (br#"{"a":1,"\u0061":2}"#, "$.*", Some(&[b"2"])),
        (br#"{"a":{"b":1},"a":{}}"#, "$..b", Some(&[])),
    ];
    for (text, query, wanted) in cases {
        let document = Document::new(text.to_vec());
        let read = document.read(&path(query));
        let shown = text.escape_ascii();
        match (read, wanted) {
            (Ok(nodes), Some(wanted)) => {
                let values: Vec<&[u8]> = nodes.iter().map(|node| &node.value[..]).collect();
                assert_eq!(values, *wanted, "{shown} {query}");
            }
            (Err(_), None) => {}
            (read, _) => panic!("{shown} {query}: {read:?}"),
        }
        assert_eq!(document.bytes(), text.to_vec());
    }
}

#[test]
fn edits_of_broken_texts_are_defined() {
    let replaced = |text: &[u8]| {
        let mut document = Document::new(text.to_vec());
        let edit = Operation::Replace {
            at: "/a".into(),
            value: "2".into(),
        };
        document.patch(&[edit]).map(|()| document.bytes().to_vec())
    };
    assert_eq!(
        replaced(b"\xef\xbb\xbf {\"a\":1}\n"),
        Ok(b"\xef\xbb\xbf {\"a\":2}\n".to_vec())
    );
    assert_eq!(
        replaced(b"{\"x\":[1 2,],\"a\":1}"),
        Ok(b"{\"x\":[1 2,],\"a\":2}".to_vec())
    );
    assert_eq!(
        replaced(b"{\"x\":\"\xff\\q\",\"a\":1}"),
        Ok(b"{\"x\":\"\xff\\q\",\"a\":2}".to_vec())
    );
    assert_eq!(
        replaced(br#"{"a":0,"a":1}"#),
        Ok(br#"{"a":0,"a":2}"#.to_vec())
    );
    // A single replace reads only the way to its place. Any other patch reads the containers on the
    // way to their ends.
    for (broken, done) in [
        ("{\"a\":1} x", "{\"a\":2} x"),
        ("{\"a\":1", "{\"a\":2"),
        ("{\"a\":1,}", "{\"a\":2,}"),
    ] {
        assert_eq!(replaced(broken.as_bytes()), Ok(done.as_bytes().to_vec()));
        let mut document = Document::new(broken);
        let add = Operation::Add {
            at: "/a".into(),
            value: "2".into(),
        };
        assert!(
            matches!(document.patch(&[add]), Err(Error::BadDocument { .. })),
            "{broken}"
        );
        assert_eq!(document.bytes(), broken);
    }
    // The offset counts from the start of the whole text, at any depth.
    let mut document = Document::new(r#"{"x":{"y":[1 2]}}"#);
    let error = document
        .patch(&[Operation::Remove {
            at: "/x/y/0".into(),
        }])
        .expect_err("broken");
    assert!(
        matches!(error, Error::BadDocument { at: 13, .. }),
        "{error}"
    );
    for value in ["", "x", "1 2", "[1,]", "\"\u{1}\"", "\u{feff}1", "01"] {
        let edit = Operation::Replace {
            at: "/a".into(),
            value: value.into(),
        };
        let error = Document::new("{\"a\":1}").patch(&[edit]).expect_err(value);
        assert!(matches!(error, Error::BadValue(_)), "{error}");
    }
    let lone = Operation::Replace {
        at: "/a".into(),
        value: " \"\\ud800\" ".into(),
    };
    let mut document = Document::new("{\"a\":1}");
    document.patch(&[lone]).expect("valid");
    assert_eq!(document.bytes(), "{\"a\":\"\\ud800\"}");
}

#[test]
fn edits_take_the_bytes_that_the_documentation_says() {
    let edited = |text: &'static str, edit: Operation| {
        let mut document = Document::new(text);
        document.patch(&[edit]).expect("applies");
        document.bytes()
    };
    let remove = |at: &str| Operation::Remove { at: at.into() };
    let add = |at: &str| Operation::Add {
        at: at.into(),
        value: " 2 ".into(),
    };
    let text = r#"{ "a" : 1 , "b":[2,3] }"#;
    assert_eq!(edited(text, remove("/a")), r#"{ "b":[2,3] }"#);
    assert_eq!(edited(text, remove("/b")), r#"{ "a" : 1 }"#);
    assert_eq!(edited(text, remove("/b/1")), r#"{ "a" : 1 , "b":[2] }"#);
    assert_eq!(edited(r#"{ "a" : 1 }"#, remove("/a")), "{ }");
    assert_eq!(edited(r#"{ "a" : 1 }"#, add("/c")), r#"{ "a" : 1,"c":2 }"#);
    assert_eq!(edited(r#"{ "a" : 1 }"#, add("/a")), r#"{ "a" : 2 }"#);
    assert_eq!(edited("{ }", add("/c")), r#"{"c":2 }"#);
    assert_eq!(edited("[ 1 , 3 ]", add("/1")), "[ 1 ,2, 3 ]");
    assert_eq!(edited("[ 1 , 3 ]", add("/-")), "[ 1 , 3,2 ]");
}

#[test]
fn an_error_names_the_operation_and_the_place() {
    let mut document = Document::new(r#"{"a":[1]}"#);
    let remove = |at: &str| Operation::Remove { at: at.into() };
    for (edit, fault) in [
        (
            remove("/a/1"),
            "operation 1, remove `/a/1`: no value at `/a/1`",
        ),
        (
            remove("/b/c"),
            "operation 1, remove `/b/c`: no value at `/b`",
        ),
        (
            remove("/a/0/x"),
            "operation 1, remove `/a/0/x`: `/a/0` is not an array or object",
        ),
        (
            remove(""),
            "operation 1, remove ``: cannot remove the whole document",
        ),
        (
            remove("a"),
            "operation 1, remove `a`: pointer `a` does not begin with `/`",
        ),
        (
            Operation::Move {
                from: "/a".into(),
                to: "/a/0".into(),
            },
            "operation 1, move `/a` to `/a/0`: cannot move a value into itself",
        ),
        (
            Operation::Test {
                at: "/a".into(),
                value: "[2]".into(),
            },
            "operation 1, test `/a`: the value differs",
        ),
        (
            Operation::Add {
                at: "/b".into(),
                value: "{".into(),
            },
            "operation 1, add `/b`: the value: not valid JSON at byte 1: got the end of the text, expected `,` or `}`",
        ),
    ] {
        let first = Operation::Add {
            at: "/new".into(),
            value: "1".into(),
        };
        let error = document.patch(&[first, edit]).expect_err(fault);
        assert_eq!(error.to_string(), fault);
        assert_eq!(document.bytes(), r#"{"a":[1]}"#);
    }
    for (text, fault) in [
        (
            "$.",
            "path `$.`: got the end, expected a name or `*` at byte 2",
        ),
        (
            "$[?@.a = 1]",
            "path `$[?@.a = 1]`: got `=`, expected `,` or `]` at byte 7",
        ),
        (
            "$[?foo(@)]",
            "path `$[?foo(@)]`: unknown function `foo` at byte 3",
        ),
        ("$[01]", "path `$[01]`: `01` is not an integer at byte 2"),
    ] {
        assert_eq!(Path::parse(text).expect_err(text).to_string(), fault);
    }
}

#[test]
fn documents_and_paths_are_send_and_sync() {
    fn is_send_and_sync<T: Send + Sync + 'static>() {}
    is_send_and_sync::<Document>();
    is_send_and_sync::<Path>();
}

#[test]
fn clones_are_edited_independently() {
    let first = Document::new(r#"{"a":{"b":1}}"#);
    let mut one = first.clone();
    let replace = |at: &str, value: &'static str| {
        [Operation::Replace {
            at: at.into(),
            value: value.into(),
        }]
    };
    one.patch(&replace("/a/b", "2")).expect("applies");
    let mut two = one.clone();
    two.patch(&replace("/a/b", "3")).expect("applies");
    assert_eq!(first.bytes(), r#"{"a":{"b":1}}"#);
    assert_eq!(one.bytes(), r#"{"a":{"b":2}}"#);
    assert_eq!(two.bytes(), r#"{"a":{"b":3}}"#);
    assert_eq!(
        two.bytes().as_ptr(),
        two.clone().bytes().as_ptr(),
        "made once"
    );
    assert!(!first.is_edited() && two.is_edited());
}

#[test]
fn literals_are_the_names_that_a_path_requires() {
    for (query, names) in [
        ("$", &[][..]),
        ("$..cache_control", &["cache_control"]),
        (
            "$.messages[*].content[?@.type == 'thinking']",
            &["content", "messages", "type"],
        ),
        ("$['a','b'].c", &["c"]),
        ("$[?@.a && @.b || @.c].d", &["d"]),
        ("$[?@.a && (@.b || @.c) && !@.e]", &["a"]),
        ("$[?@.a != 1]", &[]),
        ("$[?@.a == @.b]", &[]),
        ("$[?match(@.a, 'x')]", &["a"]),
    ] {
        let path = path(query);
        let mut found: Vec<&str> = path.literals().collect();
        found.sort_unstable();
        assert_eq!(found, names, "{query}");
        assert_eq!(path.to_string(), query);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn broken_texts_never_panic(text in text(), seed in any::<u64>(), count in 1usize..4) {
        const BYTES: &[u8] = b"\"\\[]{},:u0-.eE \x00\xff\xc3atn";
        let mut chance = Chance(seed | 1);
        let mut bytes = text.into_bytes();
        for _ in 0..count {
            let at = chance.below(bytes.len());
            let byte = BYTES[chance.below(BYTES.len())];
            match chance.below(4) {
                0 => bytes.insert(at, byte),
                1 if !bytes.is_empty() => {
                    bytes.remove(at);
                }
                2 => bytes.truncate(at),
                _ if !bytes.is_empty() => bytes[at] = byte,
                _ => {}
            }
        }
        let document = Document::new(bytes);
        ask_everything(&document);
        edit_everything(&document);
    }

    #[test]
    fn random_paths_never_panic(query in r#"\$[\[\].*?@$'",:!()<>=&|0-9a-c_\\ -]{0,24}"#) {
        if let Ok(path) = Path::parse(&query) {
            let document = Document::new(r#"{"a":[1,{"b":"c"}],"b":null,"c":{"a":[]}}"#);
            let _ = document.read(&path);
        }
    }

    #[test]
    fn random_patterns_never_panic(pattern in r#"[\[\].*?^$(){}|,a-c0-3\\pL-]{0,16}"#) {
        let quoted = string::encode(&pattern);
        if let Ok(path) = Path::parse(&format!("$[?search(@, {quoted})]")) {
            let _ = Document::new(r#"["abc","","1\n"]"#).read(&path);
        }
    }
}
