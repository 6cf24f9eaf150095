use std::time::Duration;

use witgate_plugin::{
    Hook, RetryTarget, Value, json,
    testing::{Exchange, Failed},
};

use super::ContextOverflow;

type Overflowing = Exchange<ContextOverflow>;

fn exchange() -> Overflowing {
    Overflowing::new(json!({"model": "m", "max_tokens": 32000, "messages": []}))
}

fn fails(exchange: &mut Overflowing, status: u16, body: &str) -> Failed {
    let mut failed = Failed::new(status, "api_error", body);
    exchange.on_failure(&mut failed).unwrap();
    failed
}

#[track_caller]
fn message(failed: &Failed) -> String {
    let body: Value = witgate_plugin::serde_json::from_str(&failed.body()).unwrap();
    assert_eq!(body["type"], "error");
    assert_eq!(body["error"]["type"], "invalid_request_error");
    body["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn an_overflow_in_other_words_or_another_shape_gets_anthropics_words() {
    let table = [
        (
            500,
            r#"{"error":{"code":500,"message":"request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it","type":"exceed_context_size_error"}}"#,
            "prompt is too long: 9000 tokens > 8192 maximum",
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"BadRequestError","message":"Input length (9000) exceeds model's maximum context length (8192)."}}"#,
            "prompt is too long: 9000 tokens > 8192 maximum",
        ),
        (
            413,
            "prompt too long; exceeded max context length by 1234 tokens",
            "prompt is too long",
        ),
        (
            422,
            r#"{"error":{"message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
            "prompt is too long: 210000 tokens > 200000 maximum",
        ),
    ];
    for (status, body, wanted) in table {
        let mut exchange = exchange();
        exchange.on_attempt().unwrap();
        assert!(exchange.would_call(Hook::Failure));
        let failed = fails(&mut exchange, status, body);
        assert_eq!(failed.status(), 400, "{body}");
        assert_eq!(message(&failed), wanted, "{body}");
        assert_eq!(failed.retry(), None, "{body}");
    }
}

#[test]
fn other_errors_and_anthropics_envelope_are_not_changed() {
    for body in [
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"context_length_exceeded_behavior: Extra inputs are not permitted"}}"#,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"This model's maximum context length is 8192 tokens"},"request_id":"req_1"}"#,
        r#"{"type":"error","error":{"type":"api_error","message":"Your input exceeds the context window"}}"#,
        r#"{"error":{"message":"Rate limit reached for input tokens per min: Limit 30000"}}"#,
        r#"{"error":{"message":"Unknown tool: \"prompt is too long\""}}"#,
        "<html>no</html>",
        "",
    ] {
        let failed = fails(&mut exchange(), 400, body);
        assert_eq!(
            (failed.status(), failed.body().as_str()),
            (400, body),
            "{body}"
        );
    }
}

#[test]
fn a_prompt_that_fits_without_the_response_is_sent_again_with_what_is_left() {
    let body = r#"{"error":{"message":"You passed 40000 input tokens and requested 32000 output tokens. However, the model's context length is only 65536 tokens, resulting in a maximum input length of 33536 tokens."}}"#;
    let mut exchange = exchange();
    exchange.on_attempt().unwrap();
    let failed = fails(&mut exchange, 400, body);
    assert_eq!(
        failed.retry(),
        Some((RetryTarget::SameAccount, Duration::ZERO))
    );
    assert_eq!(
        message(&failed),
        "input length and `max_tokens` exceed context limit: 40000 + 32000 > 65536, decrease input length or `max_tokens` and try again"
    );
    assert!(exchange.would_call(Hook::Attempt));
    exchange.on_attempt().unwrap();
    assert_eq!(
        exchange.body(),
        r#"{"model":"m","max_tokens":25536,"messages":[]}"#
    );
    exchange.on_attempt().unwrap();
    assert!(
        exchange.body().contains("32000"),
        "it holds for one attempt"
    );
}

#[test]
fn too_little_room_is_not_another_attempt() {
    let request = json!({
        "model": "m", "max_tokens": 32000, "messages": [],
        "thinking": {"type": "enabled", "budget_tokens": 31000},
    });
    for (mut exchange, prompt) in [(exchange(), 65_000), (Overflowing::new(request), 40_000)] {
        let body = format!(
            "maximum context length is 65536 tokens, you requested {} tokens ({prompt} in the messages, 32000 in the completion)",
            prompt + 32_000
        );
        exchange.on_attempt().unwrap();
        let failed = fails(&mut exchange, 400, &body);
        assert_eq!(failed.retry(), None);
        assert!(message(&failed).starts_with("input length and `max_tokens` exceed"));
    }
}

#[test]
fn settings_add_phrases() {
    let mut exchange = exchange().settings(json!({"wordings": ["brain is full"]}));
    let failed = fails(&mut exchange, 400, "Sorry, my brain is full.");
    assert_eq!(message(&failed), "prompt is too long");
    let misspelt = Overflowing::new("{}")
        .settings(json!({"words": []}))
        .describe();
    assert!(misspelt.is_err());
}
