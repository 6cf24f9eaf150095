use std::time::Duration;

use witgate_plugin::{
    Event, Hook, RetryTarget, Value, json,
    testing::{Exchange, Failed},
};

use super::SignatureFallback;

type Signed = Exchange<SignatureFallback>;

const REJECTED: &str = r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.content.0: Invalid `signature` in `thinking` block"}}"#;

/// An exchange in which `upstream` has signed a block in session `s`.
fn after_signing(upstream: &str, signature: &str) -> Signed {
    let mut exchange = Signed::new(json!({"model": "m"}))
        .session("s")
        .upstream(upstream);
    let delta = json!({"type": "content_block_delta", "index": 0,
        "delta": {"type": "signature_delta", "signature": signature}});
    let event = Event::new("content_block_delta", delta);
    let out = exchange.stream([event.clone()]).unwrap();
    assert_eq!(out, [event]);
    exchange
}

fn thinking(signature: &str) -> Value {
    json!({"type": "thinking", "thinking": "", "signature": signature})
}

fn with(blocks: &[Value]) -> Value {
    json!({"model": "m", "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": "and?"},
    ]})
}

fn sent(exchange: &Signed) -> Value {
    exchange.body().parse().unwrap()
}

#[test]
fn a_block_of_another_upstream_is_dropped_and_nothing_else_changes() {
    let body = concat!(
        r#"{ "model":"m", "thinking": {"type":"adaptive"},"#,
        r#" "messages": [ {"role":"user","content":"hi"},"#,
        r#" {"role":"assistant", "content":[ {"type":"thinking","thinking":"\u0041","signature":"c2\/ln"},"#,
        r#" {"type":"thinking","thinking":"","signature":"b3du"}, {"type":"text", "text":"\u0041"} ]},"#,
        r#" {"role":"user","content":1.0e0} ] }"#,
    );
    let mut exchange = after_signing("other", "c2/ln")
        .next(body)
        .session("s")
        .lacks("foreign-signatures");
    assert!(exchange.would_call(Hook::Attempt));

    assert!(exchange.on_attempt().unwrap().is_proceed());

    assert_eq!(
        exchange.body(),
        concat!(
            r#"{ "model":"m", "thinking": {"type":"adaptive"},"#,
            r#" "messages": [ {"role":"user","content":"hi"},"#,
            r#" {"role":"assistant", "content":["#,
            r#" {"type":"thinking","thinking":"","signature":"b3du"}, {"type":"text", "text":"\u0041"} ]},"#,
            r#" {"role":"user","content":1.0e0} ] }"#,
        )
    );
}

#[test]
fn own_and_unknown_blocks_are_trusted() {
    let body = with(&[
        thinking("c2ln"),
        json!({"type": "redacted_thinking", "data": "x"}),
    ]);
    let mut own = after_signing("test", "c2ln")
        .next(&body)
        .session("s")
        .lacks("foreign-signatures");
    own.on_attempt().unwrap();
    assert_eq!(sent(&own), body);

    let mut unknown = Signed::new(&body).session("s").lacks("foreign-signatures");
    unknown.on_attempt().unwrap();
    assert_eq!(sent(&unknown), body);

    let mut of_another_session = after_signing("other", "c2ln")
        .next(&body)
        .session("t")
        .lacks("foreign-signatures");
    of_another_session.on_attempt().unwrap();
    assert_eq!(sent(&of_another_session), body);

    let mut forgotten = after_signing("other", "c2ln")
        .next(&body)
        .session("s")
        .lacks("foreign-signatures");
    forgotten.wait(Duration::from_secs(25 * 60 * 60));
    forgotten.on_attempt().unwrap();
    assert_eq!(sent(&forgotten), body);
}

#[test]
fn a_redacted_block_is_dropped_with_the_signed_one_of_its_message() {
    let redacted = json!({"type": "redacted_thinking", "data": "x"});
    let text = json!({"type": "text", "text": "ok"});
    let body = with(&[thinking("c2ln"), redacted.clone(), text.clone()]);
    let mut exchange = after_signing("other", "c2ln")
        .next(body)
        .session("s")
        .lacks("foreign-signatures");
    exchange.on_attempt().unwrap();
    assert_eq!(sent(&exchange), with(&[text]));
}

#[test]
fn an_unsigned_block_is_dropped_where_the_target_rejects_it() {
    let never = json!({"type": "thinking", "thinking": "hm"});
    let text = json!({"type": "text", "text": "ok"});
    let body = with(&[thinking(""), never, thinking("c2ln"), text.clone()]);
    let mut accepted = Signed::new(&body).lacks("foreign-signatures");
    accepted.on_attempt().unwrap();
    assert_eq!(sent(&accepted), body);

    let mut rejected = Signed::new(&body).lacks("unsigned-thinking");
    assert!(rejected.would_call(Hook::Attempt));
    rejected.on_attempt().unwrap();
    assert_eq!(sent(&rejected), with(&[thinking("c2ln"), text]));

    let signed = with(&[thinking("c2ln")]);
    assert!(
        !Signed::new(signed)
            .lacks("unsigned-thinking")
            .would_call(Hook::Attempt)
    );
}

#[test]
fn a_message_with_no_blocks_left_is_dropped() {
    let mut exchange = after_signing("other", "c2ln")
        .next(with(&[thinking("c2ln")]))
        .session("s")
        .lacks("foreign-signatures");
    exchange.on_attempt().unwrap();
    assert_eq!(
        sent(&exchange)["messages"],
        json!([{"role": "user", "content": "hi"}, {"role": "user", "content": "and?"}])
    );
}

#[test]
fn a_target_that_lacks_nothing_creates_no_instance() {
    let body = with(&[thinking("c2ln")]);
    assert!(!Signed::new(&body).would_call(Hook::Attempt));
    assert!(!Signed::new(&body).would_call(Hook::Response));
    assert!(
        Signed::new(&body)
            .lacks("foreign-signatures")
            .would_call(Hook::Response)
    );
    assert!(
        !Signed::new(json!({"messages": [{"role": "user", "content": "signature"}]}))
            .lacks("foreign-signatures")
            .would_call(Hook::Attempt)
    );
    assert!(
        Signed::new(&body)
            .count_tokens()
            .lacks("foreign-signatures")
            .would_call(Hook::Attempt)
    );
}

#[test]
fn a_rejected_signature_is_retried_once_without_thinking() {
    let text = json!({"type": "text", "text": "ok"});
    let body = with(&[
        thinking("c2ln"),
        json!({"type": "redacted_thinking", "data": "x"}),
        text.clone(),
    ]);
    let mut exchange = Signed::new(&body);
    exchange.on_attempt().unwrap();
    assert_eq!(sent(&exchange), body);

    let mut failed = Failed::new(400, "invalid_request_error", REJECTED);
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(
        failed.retry(),
        Some((RetryTarget::SameAccount, Duration::ZERO))
    );
    assert_eq!(failed.body(), REJECTED);
    assert!(exchange.would_call(Hook::Attempt));
    exchange.on_attempt().unwrap();
    assert_eq!(sent(&exchange), with(&[text]));

    let mut again = Failed::new(400, "invalid_request_error", REJECTED);
    exchange.on_failure(&mut again).unwrap();
    assert_eq!(again.retry(), None);
}

#[test]
fn another_upstream_gets_the_blocks_that_one_rejected() {
    let body = with(&[thinking("c2ln")]);
    let mut exchange = Signed::new(&body);
    exchange.on_attempt().unwrap();
    let mut failed = Failed::new(400, "invalid_request_error", REJECTED);
    exchange.on_failure(&mut failed).unwrap();
    exchange.fail_over("other", &["foreign-signatures"]);
    exchange.on_attempt().unwrap();
    assert_eq!(sent(&exchange), body);
}

#[test]
fn other_failures_are_left_alone() {
    let body = with(&[thinking("c2ln")]);
    let without =
        json!({"model": "m", "messages": [{"role": "user", "content": "Invalid signature"}]});
    let table = [
        (&body, "api_error", REJECTED),
        (
            &body,
            "invalid_request_error",
            "the thinking block is too long",
        ),
        (&without, "invalid_request_error", REJECTED),
    ];
    for (body, error_type, text) in table {
        let mut exchange = Signed::new(body);
        exchange.on_attempt().unwrap();
        let mut failed = Failed::new(400, error_type, text);
        exchange.on_failure(&mut failed).unwrap();
        assert_eq!(failed.retry(), None, "{error_type}: {text}");
    }
}

#[test]
fn thinking_is_disabled_only_where_the_api_requires_a_block() {
    let tool = json!({"type": "tool_use", "id": "t", "name": "n", "input": {}});
    let text = json!({"type": "text", "text": "ok"});
    let enabled = json!({"type": "enabled", "budget_tokens": 1024});
    let table = [
        (enabled.clone(), vec![thinking("c2ln"), tool.clone()], false),
        (enabled.clone(), vec![thinking("c2ln"), text], true),
        (enabled, vec![tool.clone(), thinking("c2ln")], true),
        (
            json!({"type": "adaptive"}),
            vec![thinking("c2ln"), tool],
            true,
        ),
    ];
    for (config, blocks, stays) in table {
        let mut body = with(&blocks);
        body["thinking"] = config.clone();
        body["context_management"] = json!({"edits": [
            {"type": "clear_thinking_20251015", "keep": "all"},
            {"type": "clear_tool_uses_20250919"},
        ]});
        let mut exchange = Signed::new(&body);
        exchange.on_attempt().unwrap();
        let mut failed = Failed::new(400, "invalid_request_error", REJECTED);
        exchange.on_failure(&mut failed).unwrap();
        exchange.on_attempt().unwrap();
        let sent = sent(&exchange);
        assert_eq!(sent.get("thinking").is_some(), stays, "{config} {blocks:?}");
        let edits = sent["context_management"]["edits"]
            .as_array()
            .unwrap()
            .len();
        assert_eq!(edits, if stays { 2 } else { 1 });
    }
}
