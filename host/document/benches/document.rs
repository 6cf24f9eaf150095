//! Measures queries and edits by the size of the text: `cargo bench -p witgate-document`. A name
//! after `--` selects benchmarks.

use bytes::Bytes;
use divan::{Bencher, black_box, counter::BytesCount};
use witgate_document::{Document, Operation, Path};

const SIZES: [usize; 5] = [1_000, 100_000, 600_000, 2_500_000, 8_000_000];

fn main() {
    divan::main();
}

/// A copy of the text, for comparison.
#[divan::bench(args = SIZES)]
fn copy(bencher: Bencher<'_, '_>, size: usize) {
    let text = body(size);
    counted(bencher, &text).bench_local(|| text.to_vec());
}

/// The first query of any kind builds the index.
#[divan::bench(args = SIZES)]
fn scan(bencher: Bencher<'_, '_>, size: usize) {
    let text = body(size);
    counted(bencher, &text).bench_local(|| Document::new(text.clone()).may_have("absent"));
}

#[divan::bench(args = SIZES)]
fn top(bencher: Bencher<'_, '_>, size: usize) {
    let document = known(body(size));
    bencher.bench_local(|| document.top("stream"));
}

#[divan::bench(args = SIZES)]
fn select(bencher: Bencher<'_, '_>, size: usize) {
    let (document, marks) = (known(body(size)), path("$..cache_control"));
    bencher.bench_local(|| document.select(&marks));
}

#[divan::bench(args = SIZES)]
fn select_what_is_nowhere(bencher: Bencher<'_, '_>, size: usize) {
    let (document, absent) = (known(body(size)), path("$..absent"));
    bencher.bench_local(|| document.select(&absent));
}

#[divan::bench(args = SIZES)]
fn select_in_the_last_messages(bencher: Bencher<'_, '_>, size: usize) {
    let last = path(r#"$.messages[-4:].content[?@.type == "tool_result"]"#);
    let document = known(body(size));
    bencher.bench_local(|| document.select(&last));
}

/// Includes the texts of all selected nodes, which are most of the body.
#[divan::bench(args = SIZES)]
fn read(bencher: Bencher<'_, '_>, size: usize) {
    let (document, results) = (known(body(size)), path("$.messages[*].content[*].content"));
    bencher.bench_local(|| document.read(&results));
}

/// Joins the text again, as do all edits below.
#[divan::bench(args = SIZES)]
fn patch_and_write(bencher: Bencher<'_, '_>, size: usize) {
    let document = known(body(size));
    let edits = [Operation::Replace {
        at: "/model".into(),
        value: "\"other\"".into(),
    }];
    bencher
        .with_inputs(|| document.clone())
        .bench_local_values(|mut document| {
            let patched = document.patch(black_box(&edits));
            patched.map(|()| document.bytes())
        });
}

#[divan::bench(args = SIZES)]
fn remove_all_and_write(bencher: Bencher<'_, '_>, size: usize) {
    let (document, marks) = (known(body(size)), path("$..cache_control"));
    bencher
        .with_inputs(|| document.clone())
        .bench_local_values(|mut document| {
            let removed = document.remove_all(&marks);
            removed.map(|_| document.bytes())
        });
}

/// The work of a dialect plugin: long strings are replaced by placeholders and restored.
#[divan::bench(args = SIZES)]
fn outline_and_fill(bencher: Bencher<'_, '_>, size: usize) {
    let document = known(body(size));
    bencher.bench_local(|| {
        let outline = document.outline(200, 7)?;
        outline.fill(outline.text())
    });
}

fn counted<'a, 'b>(bencher: Bencher<'a, 'b>, text: &Bytes) -> Bencher<'a, 'b> {
    bencher.counter(BytesCount::new(text.len()))
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A document whose index was built.
fn known(text: Bytes) -> Document {
    let document = Document::new(text);
    assert!(document.may_have("model"));
    document
}

/// A conversation of about `size` bytes, with the quotes and line breaks of code and three cache
/// marks.
fn body(size: usize) -> Bytes {
    const MARK: &str = r#","cache_control":{"type":"ephemeral"}"#;
    let code =
        r#"let value = self.next(\"text\");\n    match value {\n        mut next => self.next,\n"#;
    let code = code.repeat(if size < 10_000 { 2 } else { 30 });
    let mut body = format!(
        r#"{{"model":"m","max_tokens":32000,"system":[{{"type":"text","text":"you are"{MARK}}}],"messages":["#
    );
    for turn in 0.. {
        if body.len() + code.len() + 500 > size {
            break;
        }
        body.push_str(&format!(
            concat!(
                r#"{{"role":"assistant","content":[{{"type":"tool_use","id":"toolu_{0:024}","name":"read","input":{{"command":"sed -n 1,20p"}}}}]}},"#,
                r#"{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"toolu_{0:024}","content":"{1}"}}]}},"#,
            ),
            turn, code
        ));
    }
    let last = format!(r#"{{"type":"text","text":"x"{MARK}}}"#);
    body.push_str(&format!(
        r#"{{"role":"user","content":[{last},{last}]}}],"stream":true}}"#
    ));
    Bytes::from(body)
}
