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
        .upstream(upstream)
        .lacks("foreign-signatures");
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
fn a_request_without_thinking_creates_no_instance() {
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

/// A conversation of which this many turns are answered, each by a block, a call and its result.
fn conversation(thinking_config: Value, signatures: &[&str]) -> Value {
    let mut messages = vec![json!({"role": "user", "content": "hi"})];
    for (turn, signature) in signatures.iter().enumerate() {
        messages.push(json!({"role": "assistant", "content": [
            thinking(signature),
            {"type": "tool_use", "id": format!("t{turn}"), "name": "n", "input": {}},
        ]}));
        messages.push(json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": format!("t{turn}"), "content": "ok"},
        ]}));
    }
    let mut body = json!({"model": "m", "messages": messages});
    if !thinking_config.is_null() {
        body["thinking"] = thinking_config;
    }
    body
}

/// The signatures that are sent.
fn signatures(exchange: &Signed) -> Vec<String> {
    let body = sent(exchange);
    let messages = body["messages"].as_array().unwrap().iter();
    let blocks = messages
        .filter_map(|message| message["content"].as_array())
        .flatten();
    blocks
        .filter_map(|block| Some(block["signature"].as_str()?.to_owned()))
        .collect()
}

fn fails(exchange: &mut Signed, text: &str) -> Option<(RetryTarget, Duration)> {
    let mut failed = Failed::new(400, "invalid_request_error", text);
    exchange.on_failure(&mut failed).unwrap();
    failed.retry()
}

const AT_ONCE: Option<(RetryTarget, Duration)> = Some((RetryTarget::SameAccount, Duration::ZERO));

const BOUND: &str = r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation. Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to \"drop_block\". That setting requires the `thinking-binding-controls-2026-08-01` value in the `anthropic-beta` header."}}"#;

const EXTRA: &str = "thinking.adaptive.block_binding: Extra inputs are not permitted";

fn adaptive() -> Value {
    json!({"type": "adaptive"})
}

#[test]
fn a_changed_prefix_is_recovered_once_and_the_upstream_drops_blocks_from_then_on() {
    let body = conversation(adaptive(), &["a", "b"]);
    let mut exchange = Signed::new(&body).header("anthropic-beta", "x-1,y-2");
    exchange.on_attempt().unwrap();
    assert_eq!(sent(&exchange), body);
    assert_eq!(fails(&mut exchange, BOUND), AT_ONCE);
    assert_eq!(exchange.log().len(), 1);

    let mut bound = body.clone();
    bound["thinking"]["block_binding"] = json!({"prefix_mismatch_behavior": "drop_block"});
    let beta = "x-1,y-2,thinking-binding-controls-2026-08-01";
    exchange.on_attempt().unwrap();
    assert_eq!(sent(&exchange), bound);
    assert_eq!(exchange.request_header("anthropic-beta"), [beta]);
    assert_eq!(exchange.notes().len(), 1);

    let grown = conversation(adaptive(), &["a", "b", "c"]);
    let mut later = exchange.next(&grown).count_tokens();
    assert!(later.would_call(Hook::Attempt));
    later.wait(Duration::from_secs(6 * 24 * 60 * 60));
    later.on_attempt().unwrap();
    assert_eq!(signatures(&later), ["a", "b", "c"]);
    assert_eq!(sent(&later)["thinking"], bound["thinking"]);
    assert_eq!(later.log().len(), 1, "it is logged once");

    let mut still = later.next(&grown);
    still.wait(Duration::from_secs(6 * 24 * 60 * 60));
    still.on_attempt().unwrap();
    assert_eq!(
        sent(&still)["thinking"],
        bound["thinking"],
        "refreshed on use"
    );

    let mut other = still.next(&grown).conversation("other");
    assert!(!other.would_call(Hook::Attempt));
}

#[test]
fn where_the_field_is_not_taken_all_up_to_the_break_is_left_out_and_later_thinking_is_kept() {
    let exchanges: [(Value, &str, &str); 5] = [
        (Value::Null, "anthropic", ""),
        (json!({"type": "disabled"}), "anthropic", ""),
        (json!({"type": "between_tools"}), "anthropic", ""),
        (adaptive(), "anthropic", "thinking-binding"),
        (adaptive(), "gemini", ""),
    ];
    for (config, dialect, lacks) in exchanges {
        let of = |signatures: &[&str]| conversation(config.clone(), signatures);
        let mut exchange = Signed::new(of(&["a", "b"])).dialect(dialect).lacks(lacks);
        exchange.on_attempt().unwrap();
        assert_eq!(fails(&mut exchange, BOUND), AT_ONCE);
        exchange.on_attempt().unwrap();
        assert_eq!(signatures(&exchange), [""; 0], "{config} {dialect} {lacks}");

        let grown = of(&["a", "b", "c", "d"]);
        let mut later = exchange.next(&grown).dialect(dialect).lacks(lacks);
        later.on_attempt().unwrap();
        assert_eq!(signatures(&later), ["c", "d"], "{config} {dialect} {lacks}");
        assert_eq!(sent(&later).get("thinking"), grown.get("thinking"));

        // The client rewound to the first turn, and went on from there.
        let rewound = of(&["a", "e"]);
        let mut rewound = later.next(rewound).dialect(dialect).lacks(lacks);
        rewound.on_attempt().unwrap();
        assert_eq!(signatures(&rewound), ["e"]);

        // The client compacted what was before the second turn.
        let mut compacted = rewound
            .next(of(&["b", "c", "d"]))
            .dialect(dialect)
            .lacks(lacks);
        compacted.on_attempt().unwrap();
        assert_eq!(signatures(&compacted), ["c", "d"]);
    }
}

#[test]
fn a_target_that_refuses_the_field_or_ignores_it_is_remembered() {
    for refusal in [EXTRA, BOUND] {
        let body = conversation(adaptive(), &["a"]);
        let mut exchange = Signed::new(&body);
        exchange.on_attempt().unwrap();
        assert_eq!(fails(&mut exchange, BOUND), AT_ONCE);
        exchange.on_attempt().unwrap();
        assert_eq!(fails(&mut exchange, refusal), AT_ONCE);
        exchange.on_attempt().unwrap();
        assert_eq!(signatures(&exchange), [""; 0]);
        assert_eq!(sent(&exchange)["thinking"], adaptive());
        assert_eq!(fails(&mut exchange, BOUND), None);

        let mut other = exchange.next(&body).conversation("other");
        other.on_attempt().unwrap();
        assert_eq!(fails(&mut other, BOUND), AT_ONCE);
        other.on_attempt().unwrap();
        assert_eq!(signatures(&other), [""; 0], "the field is not tried again");
    }
}

#[test]
fn a_later_break_costs_one_more_request_and_extends_what_is_left_out() {
    let of = |signatures: &[&str]| conversation(Value::Null, signatures);
    let mut exchange = Signed::new(of(&["a"]));
    exchange.on_attempt().unwrap();
    fails(&mut exchange, BOUND);
    let mut second = exchange.next(of(&["a", "b", "c"]));
    second.on_attempt().unwrap();
    assert_eq!(signatures(&second), ["b", "c"]);
    assert_eq!(fails(&mut second, BOUND), AT_ONCE);
    second.on_attempt().unwrap();
    assert_eq!(signatures(&second), [""; 0]);
    let mut third = second.next(of(&["a", "b", "c", "d"]));
    third.on_attempt().unwrap();
    assert_eq!(signatures(&third), ["d"]);
}

#[test]
fn a_client_that_decides_itself_gets_the_error() {
    for choice in [json!("error"), json!("drop_block"), Value::Null] {
        let config = json!({"type": "adaptive",
            "block_binding": {"prefix_mismatch_behavior": choice}});
        let body = conversation(config, &["a"]);
        let mut exchange = Signed::new(&body);
        exchange.on_attempt().unwrap();
        assert_eq!(fails(&mut exchange, BOUND), None, "{choice}");

        let mut recovered = exchange.next(conversation(adaptive(), &["a"]));
        recovered.on_attempt().unwrap();
        assert_eq!(fails(&mut recovered, BOUND), AT_ONCE);
        let mut decides = recovered.next(&body);
        decides.on_attempt().unwrap();
        assert_eq!(sent(&decides), body);
    }
}

#[test]
fn an_empty_binding_of_the_client_is_no_choice_and_its_other_members_stay() {
    for (binding, expected) in [
        (
            Value::Null,
            json!({"prefix_mismatch_behavior": "drop_block"}),
        ),
        (json!({}), json!({"prefix_mismatch_behavior": "drop_block"})),
        (
            json!({"x": 1}),
            json!({"x": 1, "prefix_mismatch_behavior": "drop_block"}),
        ),
    ] {
        let config = json!({"type": "adaptive", "block_binding": binding});
        let mut exchange = Signed::new(conversation(config, &["a"]));
        exchange.on_attempt().unwrap();
        assert_eq!(fails(&mut exchange, BOUND), AT_ONCE);
        exchange.on_attempt().unwrap();
        assert_eq!(sent(&exchange)["thinking"]["block_binding"], expected);
    }
}

#[test]
fn an_altered_or_edited_block_is_left_out_since_the_field_does_not_help() {
    for text in [
        REJECTED,
        "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
        "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified",
    ] {
        let text_block = json!({"type": "text", "text": "ok"});
        let redacted = json!({"type": "redacted_thinking", "data": "x"});
        let body = with(&[thinking("a"), redacted, text_block.clone()]);
        let mut exchange = Signed::new(&body);
        exchange.on_attempt().unwrap();
        assert_eq!(fails(&mut exchange, text), AT_ONCE, "{text}");
        exchange.on_attempt().unwrap();
        assert_eq!(sent(&exchange), with(&[text_block]));
    }
}

#[test]
fn what_another_upstream_signed_leaves_an_unbroken_run_except_where_no_chain_is_checked() {
    let blocks = [thinking("before"), thinking("c2ln"), thinking("after")];
    for (dialect, left) in [
        ("anthropic", &blocks[2..]),
        ("gemini", &[thinking("before"), thinking("after")]),
    ] {
        let mut exchange = after_signing("other", "c2ln")
            .next(with(&blocks))
            .session("s")
            .dialect(dialect)
            .lacks("foreign-signatures");
        exchange.on_attempt().unwrap();
        assert_eq!(sent(&exchange), with(left), "{dialect}");
    }
}

#[test]
fn the_origin_of_a_block_is_remembered_from_its_last_use() {
    let body = with(&[thinking("c2ln"), thinking("own")]);
    let mut exchange = after_signing("other", "c2ln");
    for _ in 0..4 {
        exchange = exchange
            .next(&body)
            .session("s")
            .lacks("foreign-signatures");
        exchange.wait(Duration::from_secs(20 * 60 * 60));
        exchange.on_attempt().unwrap();
        assert_eq!(sent(&exchange), with(&[thinking("own")]));
    }
}

#[test]
fn required_thinking_becomes_adaptive_where_the_client_binds_blocks() {
    let config = json!({"type": "enabled", "budget_tokens": 1024, "block_binding": {}});
    let mut exchange = Signed::new(conversation(config, &["a"]));
    exchange.on_attempt().unwrap();
    fails(&mut exchange, REJECTED);
    exchange.on_attempt().unwrap();
    assert_eq!(
        sent(&exchange)["thinking"],
        json!({"type": "adaptive", "block_binding": {}})
    );
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
