//! Checks how often a text is read, by ratios of times within one run, so no machine's clock
//! decides.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use wide::u8x16;
use witgate_document::{Document, Path};

/// A conversation of about 600 KB, with the quotes and line breaks of code.
fn conversation() -> bytes::Bytes {
    let code =
        r#"let value = self.next(\"text\");\n    match value {\n        mut next => self.next,\n"#
            .repeat(30);
    let turn = format!(
        concat!(
            r#"{{"role":"assistant","content":[{{"type":"tool_use","id":"toolu_1","name":"read","input":{{"command":"ls"}}}}]}},"#,
            r#"{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"toolu_1","content":"{}"}}]}},"#,
        ),
        code
    );
    let turns = turn.repeat(600_000 / turn.len());
    format!(r#"{{"model":"m","messages":[{turns}{{"role":"user","content":"x"}}],"stream":true}}"#)
        .into()
}

/// Returns the best of many rounds for each act. The acts take turns, so that other work of the
/// machine affects all alike. A round is shorter than a scheduler's time slice, so some are
/// undisturbed on any machine.
fn best<const N: usize>(mut acts: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut best = [Duration::MAX; N];
    for _ in 0..500 {
        for (act, best) in acts.iter_mut().zip(&mut best) {
            let begun = Instant::now();
            act();
            *best = begun.elapsed().min(*best);
        }
    }
    best.map(|best| best.as_secs_f64())
}

#[test]
fn a_text_is_read_once_for_all_queries() {
    let text = conversation();
    let paths = [
        "$.thread",
        "$..absent",
        r#"$.messages[*].content[?@.type == "thinking"].signature"#,
    ];
    let paths = paths.map(|path| Path::parse(path).expect("a path"));
    let [yardstick, first, all] = best([
        // In the same vectors as the search, which depend on the machine.
        &mut || {
            let (quote, slash) = (u8x16::splat(b'"'), u8x16::splat(b'\\'));
            let count = |sixteen: &[u8; 16]| {
                let sixteen = u8x16::new(*sixteen);
                let found = sixteen.simd_eq(quote) | sixteen.simd_eq(slash);
                found.to_bitmask().count_ones()
            };
            let (all, _) = text.as_chunks::<16>();
            black_box(black_box(all).iter().map(count).sum::<u32>());
        },
        &mut || assert!(!Document::new(text.clone()).may_have("absent")),
        &mut || {
            let body = Document::new(text.clone());
            for name in ["model", "stream", "metadata", "thread"] {
                black_box(body.top(name));
            }
            let selects = |path| body.may_select(path) && body.matches(path).expect("json");
            assert!(!paths.iter().any(selects));
        },
    ]);
    let (first, all) = (first / yardstick, all / first);
    eprintln!("first query: {first:.2} yardsticks, all queries: {all:.2} times that");
    // Measured: 1.00, since the first query builds the index and the others use it. Reading the
    // text again, even at the speed of the fastest walk, the first query, makes it 2.
    assert!(
        all < 1.3,
        "all queries of a request take {all:.2} times as long as the first; something reads the text again"
    );
    // Measured: 1.25. The cheapest second walk that looks at every byte is the yardstick itself:
    // 2.25.
    assert!(
        first < 1.9,
        "the first query takes {first:.2} times as long as counting quotes; something reads the text twice"
    );
}
