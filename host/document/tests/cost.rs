//! What queries and edits cost on bodies of real size. Not a test of time, which shared machines do not keep:
//! `cargo test --release -p witgate-document --test cost -- --ignored --nocapture` prints it.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use witgate_document::{Document, Names, Operation, Path};

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

/// The best of many runs, since the others measure the machine's other work.
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
        time("memory search for an absent name", || {
            Names::new(["absent"]).find_in(&document)
        });
        let many = [
            "a1",
            "a2",
            "a3",
            "a4",
            "a5",
            "model",
            "type",
            "messages",
            "cache_control",
            "thread",
        ];
        let names = Names::new(many);
        time("ten names, six absent", || names.find_in(&document));
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

/// The path of a guard that asks for a word in the last messages, which a walk finds at the end of a long list.
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
    time("the walk", || document.matches(&path));
    let names = Names::new(path.literals());
    time("search for the names", || names.find_in(&document));
    let words = Names::of_paths([&path]);
    assert!(!words.find_in(&document).allows(&path));
    time("search for names and words", || words.find_in(&document));
}
