use witgate_plugin::{
    Hook,
    testing::{Exchange, Failed},
};

use super::DropUnsupported;

type Drop = Exchange<DropUnsupported>;

const BODY: &str = r#"{"model":"m","context_management":{},"messages":[]}"#;

fn refusal(message: &str) -> Failed {
    Failed::new(400, "invalid_request_error", message)
}

fn to_server(body: &str) -> Drop {
    Drop::new(body).lacks("new-features")
}

#[test]
fn nothing_is_called_until_something_is_learned() {
    let mut first = to_server(BODY);
    assert!(!first.would_call(Hook::Attempt));
    assert!(first.would_call(Hook::Failure));
    first.on_attempt().unwrap();
    assert_eq!(first.body(), BODY);
    let mut failed = refusal("context_management: Extra inputs are not permitted");
    first.on_failure(&mut failed).unwrap();
    assert!(failed.retry().is_some());
    let mut next = first.next(BODY).lacks("new-features");
    assert!(next.would_call(Hook::Attempt));
    next.on_attempt().unwrap();
    assert_eq!(next.body(), r#"{"model":"m","messages":[]}"#);
    let mut changed = next.next(BODY).lacks("new-features").reconfigured();
    assert!(!changed.would_call(Hook::Attempt));
}

#[test]
fn other_errors_teach_nothing() {
    let body = r#"{"model":"m","max_tokens":9,"temperature":3,"tool_choice":{"type":"any"},"tools":[{"name":"ls","input_schema":{"type":"object","properties":{"unknown":{}}}}],"messages":[{"role":"user","content":[{"type":"text","text":"unknown"}]}]}"#;
    for message in [
        "max_tokens: 64000 > 8192, which is the maximum allowed",
        "messages.0.content.0.text: Input should be a valid string",
        "temperature: must be at most 1",
        "prompt is too long: 9 tokens > 8 maximum",
        "model `m` is not supported",
        "messages: unknown order",
        "tools.0.custom.input_schema.properties.unknown: unknown property in schema",
    ] {
        let mut exchange = to_server(body);
        exchange.on_attempt().unwrap();
        let mut failed = refusal(message);
        exchange.on_failure(&mut failed).unwrap();
        assert_eq!(failed.retry(), None, "{message}");
    }
}

#[test]
fn the_same_error_is_no_reason_for_a_second_retry() {
    let mut exchange = to_server(
        r#"{"model":"m","tools":[{"type":"new_1","name":"n"}],"messages":[{"role":"assistant","content":[{"type":"tool_use","name":"n","input":{}}]}]}"#,
    );
    exchange.on_attempt().unwrap();
    let mut failed = refusal("tools.0: unknown variant `new_1`");
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(failed.retry(), None, "a used tool is kept");
}

#[test]
fn what_did_not_help_is_forgotten() {
    let mut first = to_server(BODY);
    first.on_attempt().unwrap();
    let mut failed = refusal("context_management: Extra inputs are not permitted");
    first.on_failure(&mut failed).unwrap();
    first.on_attempt().unwrap();
    assert_eq!(first.body(), r#"{"model":"m","messages":[]}"#);
    let mut again = refusal("context_management: Extra inputs are not permitted");
    first.on_failure(&mut again).unwrap();
    assert_eq!(again.retry(), None);
    let mut next = first.next(BODY).lacks("new-features");
    assert!(!next.would_call(Hook::Attempt));
}

#[test]
fn a_servers_own_words_can_be_added() {
    let settings = witgate_plugin::json!({"wordings": ["kenne ich nicht"]});
    let mut exchange = to_server(BODY).settings(settings);
    exchange.on_attempt().unwrap();
    let mut failed = refusal("context_management kenne ich nicht");
    exchange.on_failure(&mut failed).unwrap();
    assert!(failed.retry().is_some());
}
