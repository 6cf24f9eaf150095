use witgate_plugin::{Hook, testing::Exchange};

use super::{ReplaceImages, TEXT};

type Replace = Exchange<ReplaceImages>;

const IMAGE: &str =
    r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}}"#;

fn text() -> String {
    format!(r#"{{"type":"text","text":"{TEXT}"}}"#)
}

#[test]
fn images_become_texts_wherever_they_are_and_nothing_else_changes() {
    let marked = IMAGE.replacen('{', r#"{ "cache_control": {"type":"ephemeral"}, "#, 1);
    let body = |image: &str, marked: &str| {
        format!(
            concat!(
                r#"{{ "model":"m", "messages": [ {{"role":"user","content":[{image}, {{"type":"text","text":"a"}}]}},"#,
                r#" {{"role":"user","content":[{{"type":"tool_result","content":[{image},{marked}]}},"#,
                r#" {{"type":"document","source":{{"type":"content","content":[{image}]}}}}]}},"#,
                r#" {{"role":"assistant","content":[{{"type":"tool_use","input":{{"type":"image"}}}}]}} ] }}"#,
            ),
            image = image,
            marked = marked,
        )
    };
    let mut exchange = Replace::new(&*body(IMAGE, &marked)).lacks("images");
    assert!(exchange.would_call(Hook::Attempt));
    assert!(exchange.on_attempt().unwrap().is_proceed());
    let kept =
        format!(r#"{{"type":"text","text":"{TEXT}","cache_control":{{"type":"ephemeral"}}}}"#);
    assert_eq!(exchange.body(), body(&text(), &kept));
}

#[test]
fn a_target_that_accepts_images_gets_them() {
    let body = format!(r#"{{"messages":[{{"role":"user","content":[{IMAGE}]}}]}}"#);
    assert!(!Replace::new(&*body).would_call(Hook::Attempt));
    let mut counts = Replace::new(&*body).lacks("images").count_tokens();
    assert!(counts.would_call(Hook::Attempt));
}

#[test]
fn data_of_the_same_form_is_left_alone() {
    let body = r#"{"metadata":{"x":[{"type":"image"}]}}"#;
    let mut exchange = Replace::new(body).lacks("images");
    assert!(exchange.on_attempt().unwrap().is_proceed());
    assert_eq!(exchange.body(), body);
}
