//! How often a text is read, as ratios of times within one run: no clock of any machine decides.

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

/// The best of many rounds for each, taken in turn, so that what else the machine does hits all of them alike. A round is
/// shorter than a turn of the scheduler, so some go undisturbed on any machine.
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
fn a_text_is_read_once_whatever_is_asked_of_it() {
    let text = conversation();
    let paths = [
        "$.thread",
        "$..absent",
        r#"$.messages[*].content[?@.type == "thinking"].signature"#,
    ];
    let paths = paths.map(|path| Path::parse(path).expect("a path"));
    let [yardstick, first, all] = best([
        // In the same vectors as the search, whatever those are on this machine.
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
    eprintln!("the first question: {first:.2} yardsticks, all of them: {all:.2} times that");
    // Measured: 1.00, since the first question makes an index and the others are asked of that. Whatever reads the text
    // again, at the speed of the fastest walk there is, which is the first's, makes it 2.
    assert!(
        all < 1.3,
        "all questions of a request take {all:.2} times as long as the first: something reads the text again"
    );
    // Measured: 1.25. The cheapest second walk that looks at every byte is the yardstick itself: 2.25.
    assert!(
        first < 1.9,
        "the first question takes {first:.2} times as long as to count quotes: something reads the text twice"
    );
}
