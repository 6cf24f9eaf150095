//! Outlines: long strings replaced by placeholders and restored.

use bytes::Bytes;
use serde_json::{Value, json};
use witgate_document::{Document, Error, Outline};

fn outline(source: &str) -> Outline {
    Document::new(source.to_owned())
        .outline(5, 7)
        .expect("a source")
}

fn filled(outline: &Outline, new: &str) -> Value {
    serde_json::from_slice(&outline.fill(new).expect("a text")).expect("JSON")
}

#[test]
fn long_strings_are_replaced_and_keys_and_short_strings_stay() {
    let outline = outline(r#"{"a long key" : "short", "b": ["a long text", 1234567, "123456"]}"#);
    assert_eq!(
        outline.text(),
        r#"{"a long key" : "short", "b": ["~0000000000000007:0~", 1234567, "~0000000000000007:1~"]}"#
    );
}

#[test]
fn an_unchanged_outline_fills_to_the_source_byte_for_byte() {
    let source = r#"{ "a":"x\u00e9y\"zé\\", "b":[ "another \/ text" ],"c":1e999 }"#;
    let outline = outline(source);
    assert_ne!(outline.text(), source);
    assert_eq!(outline.fill(outline.text()).unwrap(), source);
}

#[test]
fn a_placeholder_may_appear_anywhere_in_strings_and_many_times() {
    let outline = outline(r#"{"data":"AAAABBBB"}"#);
    let new = r#"["data:image/png;base64,~0000000000000007:0~","~0000000000000007:0~~0000000000000007:0~"]"#;
    let wanted = json!(["data:image/png;base64,AAAABBBB", "AAAABBBBAAAABBBB"]);
    assert_eq!(filled(&outline, new), wanted);
}

#[test]
fn a_placeholder_in_nested_json_is_escaped_as_often_as_it_says() {
    let text = "a \"quoted\" line\nand a \\ slash";
    let source = json!({ "command": text }).to_string();
    let outline = outline(&source);
    let mut nested = json!({ "command": text });
    for escapes in 1..4 {
        nested = json!(nested.to_string());
        let mut new = json!({ "command": format!("~0000000000000007:0:{escapes}~") });
        for _ in 0..escapes {
            new = json!(new.to_string());
        }
        assert_eq!(filled(&outline, &new.to_string()), nested, "{escapes}");
    }
}

#[test]
fn a_placeholder_that_occurs_in_the_source_is_not_chosen() {
    let outline = outline(r#"["~0000000000000007:0~ by chance"]"#);
    assert_eq!(outline.text(), r#"["~0000000000000008:0~"]"#);
}

#[test]
fn invalid_json_and_unknown_placeholders_are_errors() {
    for source in ["{", "", "[\"not closed", "[nul]", "[1] 2"] {
        let bytes = Bytes::copy_from_slice(source.as_bytes());
        let error = Document::new(bytes).outline(5, 7).unwrap_err();
        assert!(matches!(error, Error::BadDocument { .. }), "{source}");
    }
    let outline = outline(r#"["a long text"]"#);
    for new in [
        "{",
        r#"["~0000000000000007:1~"]"#,
        r#"["~0000000000000007:0:9~"]"#,
        r#"["~0000000000000007:0"]"#,
        r#"["~0000000000000007:é~"]"#,
    ] {
        let error = outline.fill(new).unwrap_err();
        assert!(matches!(error, Error::BadValue(_)), "{new}: {error}");
    }
}

#[test]
fn a_new_text_beyond_the_limit_is_refused_before_it_is_written() {
    let outline = outline(&format!(r#"["{}"]"#, r#"\""#.repeat(1 << 20)));
    let placeholder = |escapes: u32| format!("~0000000000000007:0:{escapes}~");
    // Two characters for each quote, and 63 more for each of them.
    let large = outline.fill(&format!(r#"["{}"]"#, placeholder(6)));
    assert_eq!(large.unwrap().len(), (2 << 20 << 6) + 4);
    let many = placeholder(0).repeat(200);
    for new in [placeholder(8), placeholder(6).repeat(2), many] {
        let error = outline.fill(&format!(r#"["{new}"]"#)).unwrap_err();
        assert!(matches!(error, Error::TooMuch(_)), "{error}");
    }
}
