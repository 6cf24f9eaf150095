//! Measures queries and edits on bodies of real size. It asserts no times, which vary on shared
//! machines: `cargo test --release -p witgate-document --test cost -- --ignored --nocapture` prints
//! them.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use witgate_document::{Document, Operation, Path};

/// A conversation of about `size` bytes with four cache marks, as an agent sends it.
fn body(size: usize) -> String {
    let prose = "fn main() {\\n    println!(\\\"hello, world\\\");\\n}\\n // and then some prose about it, ".repeat(14);
    let mut text = String::from(r#"{"model":"claude-sonnet-4-5","max_tokens":32000,"#);
    text.push_str(
        r#""system":[{"type":"text","text":"you are","cache_control":{"type":"ephemeral"}}],"#,
    );
    text.push_str(r#""tools":[{"name":"read","input_schema":{"type":"object","properties":{}}}],"messages":["#);
    let mut turn = 0;
    while text.len() < size {
        let role = if turn % 2 == 0 { "user" } else { "assistant" };
        let block = format!(r#"{{"type":"text","text":"{prose}"}}"#);
        let tool = format!(
            r#"{{"type":"tool_use","id":"toolu_{turn:08}","name":"read","input":{{"path":"/a/b"}}}}"#
        );
        text.push_str(&format!(
            r#"{{"role":"{role}","content":[{block},{tool}]}},"#
        ));
        turn += 1;
    }
    for _ in 0..3 {
        text.push_str(r#"{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]},"#);
    }
    text.pop();
    text.push_str(r#"],"metadata":{"user_id":"u"},"stream":true}"#);
    text
}

/// The best of many runs, since the others measure other work of the machine.
fn time<T>(what: &str, mut act: impl FnMut() -> T) {
    let mut best = Duration::MAX;
    for _ in 0..60 {
        let start = Instant::now();
        black_box(act());
        best = best.min(start.elapsed());
    }
    eprintln!("  {what:<48} {:>8.1} us", best.as_secs_f64() * 1e6);
}

#[test]
#[ignore = "prints timings, decides nothing"]
fn timings() {
    for size in [100_000, 574_000, 2_500_000] {
        let document = Document::new(body(size));
        let path = |text: &str| Path::parse(text).expect("a path");
        eprintln!("{} bytes", document.len());
        time("the first question, whatever it is", || {
            Document::new(document.bytes()).may_have("absent")
        });
        time("every other name", || document.may_have("absent"));
        time("walk over everything, $..*", || {
            document.matches(&path("$..[?@.absent < @.nothing]"))
        });
        time("top model", || document.top("model"));
        time("top stream", || document.top("stream"));
        for query in [
            "$.model",
            "$.stream",
            "$..absent",
            "$..cache_control",
            "$.messages[*].content[*].cache_control",
            "$.messages[-1].content",
            "$.messages[*].content[?@.type == 'thinking']",
            "$.messages[*].content[?@.type == 'tool_use']",
        ] {
            let parsed = path(query);
            time(&format!("select {query}"), || document.select(&parsed));
        }
        time("remove_all $..cache_control", || {
            document.clone().remove_all(&path("$..cache_control"))
        });
        time("remove_all $.messages[*].content[*].cache_control", || {
            document
                .clone()
                .remove_all(&path("$.messages[*].content[*].cache_control"))
        });
        let replace = |at: String| Operation::Replace {
            at,
            value: "\"x\"".into(),
        };
        let one = [replace("/model".into())];
        let hundred: Vec<Operation> = (0..100)
            .map(|i| replace(format!("/messages/{}/content/0/type", i % 80)))
            .collect();
        for (what, edits) in [
            ("patch of 1, and bytes", &one[..]),
            ("patch of 100, and bytes", &hundred),
        ] {
            time(what, || {
                let mut document = document.clone();
                document.patch(edits).expect("applies");
                document.bytes()
            });
        }
    }
}

/// The edits of a redaction: a secret in the middle of a text, with its escapes, in one string and
/// in many.
#[test]
#[ignore = "prints timings, decides nothing"]
fn matches_in_strings() {
    const SECRET: &str = "AKIAABCDEFGHIJKLMNOP";
    let regex = "AKIA[0-9A-Z]{16}";
    let several =
        "(AKIA[0-9A-Z]{16})|(gh[pousr]_[A-Za-z0-9]{36,255})|(xox[abpr]\\-[A-Za-z0-9]{10,200})";
    let code = "    println!(\\\"hello, world\\\");\\n";
    for size in [1 << 20, 16 << 20] {
        let half = code.repeat(size / code.len() / 2);
        let one = format!(r#"{{"messages":[{{"content":"{half}{SECRET}{half}"}}]}}"#);
        let clean = one.replace(SECRET, "");
        eprintln!("{size} bytes");
        let path = Path::parse("$.messages[*].content").expect("a path");
        for (what, text, regex) in [
            ("one secret", &one, regex),
            ("one secret, three patterns", &one, several),
            ("none", &clean, regex),
            ("none, three patterns", &clean, several),
        ] {
            let document = Document::new(text.clone());
            time(&format!("find, {what}"), || {
                document.clone().find_matches(&path, regex).expect("finds")
            });
            time(&format!("replace, {what}"), || {
                let mut document = document.clone();
                let edits = document.replace_matches(&path, regex, "[[secret]]");
                (edits.expect("applies"), document.bytes())
            });
        }
        let block = format!(r#"{{"content":"{}{SECRET}"}}"#, code.repeat(100));
        let many = vec![block.as_str(); size / block.len()].join(",");
        let document = Document::new(format!(r#"{{"messages":[{many}]}}"#));
        time("replace, one in each of many strings", || {
            let mut document = document.clone();
            document
                .replace_matches(&path, regex, "[[secret]]")
                .expect("applies")
        });
        let found = document.find_matches(&path, regex).expect("finds");
        let parts: Vec<_> = found.into_iter().map(|found| found.part).collect();
        time("replace parts, one in each of many strings", || {
            document.clone().replace_parts(&parts).expect("applies");
        });
    }
}

/// The path of a guard that looks for a word in messages.
#[test]
#[ignore = "prints timings, decides nothing"]
fn a_word_that_is_nowhere() {
    let turns: Vec<String> = (0..4_000)
        .map(|turn| {
            let role = if turn % 2 == 0 { "user" } else { "assistant" };
            format!(r#"{{"role":"{role}","content":[{{"type":"text","text":"what was wanted, and how warm it was: {turn:060}"}}]}}"#)
        })
        .collect();
    let text = format!(r#"{{"model":"m","messages":[{}]}}"#, turns.join(","));
    let document = Document::new(text);
    let word = "[\\\\p{Z}\\\\t\\\\n\\\\r]*[Ww][Aa][Rr][Mm][Uu][Pp][\\\\p{Z}\\\\t\\\\n\\\\r]*";
    let path = format!(r#"$.messages[-4:][?match(@, "{word}") || @[?match(@.text, "{word}")]]"#);
    let path = Path::parse(&path).expect("a path");
    eprintln!("{} bytes, 4000 messages", document.len());
    time("in the last messages", || document.matches(&path));
    let anywhere = Path::parse(&format!(
        r#"$.messages[?search(@.content[0].text, "{word}")]"#
    ));
    let anywhere = anywhere.expect("a path");
    time("in all of them, by going there", || {
        document.matches(&anywhere)
    });
    time("in all of them, by a search", || {
        assert!(!Document::new(document.bytes()).may_select(&anywhere));
    });
}

/// Three kinds of conversation of about `size` bytes: code with its quotes, JSON inside of strings,
/// and prose.
fn conversation(kind: &str, size: usize) -> String {
    let text = match kind {
        "code" => "let value = self.next(\\\"text\\\");\\n    match value {\\n        mut next => self.next,\\n".repeat(30),
        "json" => r#"{\"id\": 17, \"thr\": \"x\", \"path\": \"/a/b\", \"the\": [\"c\", \"mod\"]},\n"#.repeat(40),
        _ => "and then some prose about it, which goes on and on without an end or any quote,\\n".repeat(30),
    };
    let mut body = String::from(
        r#"{"model":"m","max_tokens":32000,"system":[{"type":"text","text":"you are","cache_control":{"type":"ephemeral"}}],"messages":["#,
    );
    let mut turn = 0;
    loop {
        let mark = if turn == 0 {
            r#","cache_control":{"type":"ephemeral"}"#
        } else {
            ""
        };
        let round = format!(
            concat!(
                r#"{{"role":"assistant","content":[{{"type":"text","text":"Next."}},{{"type":"tool_use","id":"toolu_{0:024}","name":"read","input":{{"command":"sed -n 1,20p","timeout":1000}}}}]}},"#,
                r#"{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"toolu_{0:024}","content":"{1}","is_error":false{2}}}]}},"#,
            ),
            turn, text, mark
        );
        body.push_str(&round);
        turn += 1;
        if body.len() + round.len() > size {
            break;
        }
    }
    body.push_str(r#"{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}},{"type":"text","text":"y","cache_control":{"type":"ephemeral"}}]}"#);
    body.push_str(r#"],"metadata":{"user_id":"u"},"stream":true}"#);
    body
}

/// The queries of the gateway on every request, and the edit that strips cache marks.
#[test]
#[ignore = "prints timings, decides nothing"]
fn the_way_of_a_request() {
    let marks = Path::parse("$..cache_control").expect("a path");
    let paths: Vec<Path> = [
        "$.thread",
        r#"$.messages[*].content[?@.type == "thinking"].signature"#,
        r#"$.messages[-4:][?match(@, "[Ww][Aa][Rr][Mm][Uu][Pp]") || @[?match(@.text, "[Ww][Aa][Rr][Mm][Uu][Pp]")]]"#,
    ]
    .iter()
    .map(|path| Path::parse(path).expect("a path"))
    .collect();
    let ten: Vec<Path> = (0..10)
        .map(|n| Path::parse(&format!("$..absent_{n}")).expect("a path"))
        .collect();
    for kind in ["code", "json", "prose"] {
        for size in [1_000, 100_000, 600_000, 2_500_000] {
            let text = bytes::Bytes::from(conversation(kind, size));
            eprintln!("{kind}, {} bytes", text.len());
            time("a copy, to compare", || text.to_vec());
            let more: Vec<Path> = paths.iter().chain(&ten).cloned().collect();
            for (what, paths) in [
                ("no rule fires", &paths),
                ("no rule fires, ten more", &more),
            ] {
                time(what, || {
                    let body = Document::new(text.clone());
                    for name in ["model", "stream", "metadata", "thread"] {
                        black_box(body.top(name));
                    }
                    let selects = |path| body.may_select(path) && body.matches(path).expect("json");
                    assert!(!paths.iter().any(selects));
                });
            }
            let known = Document::new(text.clone());
            assert!(known.may_have("model"));
            time("a rule strips four marks", || {
                let mut body = known.clone();
                let places = body.select(&marks).expect("json");
                let remove = |at| Operation::Remove { at };
                let edits: Vec<_> = places.into_iter().map(remove).collect();
                body.patch(&edits).expect("applies");
                body
            });
            time("the same, and the guard and the first question", || {
                let mut body = Document::new(text.clone());
                assert!(body.matches(&marks).expect("json"));
                let places = body.select(&marks).expect("json");
                assert_eq!(places.len(), 4);
                let edits: Vec<_> = places
                    .into_iter()
                    .map(|at| Operation::Remove { at })
                    .collect();
                body.patch(&edits).expect("applies");
                body.bytes()
            });
        }
    }
    let message = r#"{"role":"user","content":[{"type":"text","text":"some words of the user","cache_control":{"type":"ephemeral"}}]}"#;
    let many = format!(r#"{{"messages":[{}]}}"#, vec![message; 4_000].join(","));
    let many = bytes::Bytes::from(many);
    time("4,000 marks", || {
        let mut body = Document::new(many.clone());
        let places = body.select(&marks).expect("json");
        let edits: Vec<_> = places
            .into_iter()
            .map(|at| Operation::Remove { at })
            .collect();
        body.patch(&edits).expect("applies");
        body.bytes()
    });
}
