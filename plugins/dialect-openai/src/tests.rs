mod answers; // what becomes of the pieces of a response
mod order; // events are in Anthropic's order
mod learning; // refusals and the attempts after them

use std::time::Duration;

use serde_json::{Value, json};
use witgate_plugin::{
    Event, Hook, RetryTarget,
    testing::{Exchange, Failed},
};

use crate::DialectOpenai;

type Openai = Exchange<DialectOpenai>;

fn exchange(body: &Value) -> Openai {
    Openai::new(body)
        .dialect("openai")
        .upstream("up")
        .account("ada")
}

fn hello() -> Value {
    json!({ "model": "m", "max_tokens": 128_000, "temperature": 0.5, "messages": [{ "role": "user", "content": "hi" }] })
}

/// The body of the next attempt.
#[track_caller]
fn attempt(exchange: &mut Openai) -> Value {
    let verdict = exchange.on_attempt().unwrap();
    assert!(verdict.is_proceed(), "{verdict:?}");
    serde_json::from_str(&exchange.body()).unwrap()
}

fn rejected(message: &str, param: &str) -> Failed {
    let error = json!({ "message": message, "type": "invalid_request_error", "param": param, "code": null });
    Failed::new(400, "invalid_request_error", json!({ "error": error }))
}

fn event(name: &str, data: &str) -> Event {
    Event {
        name: name.to_owned(),
        data: data.to_owned(),
    }
}

fn chunk(delta: &Value) -> Event {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": null });
    event("", &json!({ "id": "c", "choices": [choice] }).to_string())
}

#[test]
fn the_plugin_is_called_for_every_kind_of_request() {
    for hook in [Hook::Attempt, Hook::Failure, Hook::Response] {
        assert!(exchange(&hello()).would_call(hook));
        assert!(exchange(&hello()).count_tokens().would_call(hook));
    }
}

#[test]
fn invalid_settings_are_rejected() {
    let describe = |settings: Value| exchange(&hello()).settings(settings).describe();
    assert!(describe(json!({ "upstreams": { "up": { "files": true } } })).is_ok());
    let error = describe(json!({ "upstreams": { "up": { "pdf": true } } })).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("settings.upstreams.up: unknown field `pdf`"),
        "{error}"
    );
}

#[test]
fn counting_is_rejected_with_a_hint() {
    let mut exchange = exchange(&hello()).count_tokens();
    let refusal = exchange.on_attempt().unwrap().expect_refusal();
    assert_eq!(refusal["status"], 400);
    assert!(
        refusal["message"]
            .as_str()
            .unwrap()
            .starts_with("capability_rejected: count_tokens")
    );
}

#[test]
fn a_list_of_models_is_translated() {
    let mut exchange = exchange(&hello());
    let list = exchange
        .on_body(json!({ "object": "list", "data": [{ "id": "a", "object": "model" }] }))
        .unwrap();
    let wanted = json!({ "data": [{ "type": "model", "id": "a", "display_name": "a" }] });
    assert_eq!(list, Some(wanted.to_string()));
}

#[test]
fn a_rejected_member_is_replaced_at_once_and_in_later_exchanges() {
    let mut exchange = exchange(&hello());
    assert_eq!(attempt(&mut exchange)["max_tokens"], 128_000);
    let mut failed = rejected(
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "max_tokens",
    );
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(
        failed.retry(),
        Some((RetryTarget::SameAccount, Duration::ZERO))
    );
    let again = attempt(&mut exchange);
    assert_eq!(
        (&again["max_completion_tokens"], again.get("max_tokens")),
        (&json!(128_000), None)
    );

    let mut failed = rejected(
        "Unsupported value: 'temperature' does not support 0.5 with this model.",
        "temperature",
    );
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(
        failed.retry(),
        Some((RetryTarget::SameAccount, Duration::ZERO))
    );
    let mut later = exchange.next(hello()).dialect("openai").upstream("up");
    let body = attempt(&mut later);
    assert_eq!(
        (&body["max_completion_tokens"], body.get("temperature")),
        (&json!(128_000), None)
    );
    assert_eq!(later.notes(), ["left out: temperature"]);

    let mut other = later.next(hello()).dialect("openai").upstream("other");
    assert_eq!(attempt(&mut other)["temperature"], 0.5);
}

#[test]
fn a_member_that_is_rejected_again_is_not_retried() {
    let mut exchange = exchange(&hello());
    for (turn, retry) in [
        (1, Some((RetryTarget::SameAccount, Duration::ZERO))),
        (2, None),
    ] {
        attempt(&mut exchange);
        let mut failed = rejected("Unsupported parameter: 'stream_options'", "stream_options");
        exchange.on_failure(&mut failed).unwrap();
        assert_eq!(failed.retry(), retry, "{turn}");
    }
}

#[test]
fn a_server_that_accepts_system_messages_only_first_gets_user_messages() {
    let body = json!({ "model": "m", "messages": [
        { "role": "user", "content": "hi" }, { "role": "system", "content": "be brief" },
    ] });
    let mut exchange = exchange(&body);
    assert_eq!(attempt(&mut exchange)["messages"][1]["role"], "system");
    // llama.cpp uses status 500 for it.
    let error = json!({ "code": 500, "message": "Jinja Exception: System message must be at the beginning.", "type": "server_error" });
    let mut failed = Failed::new(500, "api_error", json!({ "error": error }));
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(failed.status(), 400, "the account is not at fault");
    assert_eq!(
        failed.retry(),
        Some((RetryTarget::SameAccount, Duration::ZERO))
    );
    assert_eq!(
        attempt(&mut exchange)["messages"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn a_response_that_does_not_fit_the_context_is_requested_shorter() {
    let mut exchange = exchange(&hello());
    attempt(&mut exchange);
    let mut failed = rejected(
        "This model's maximum context length is 32768 tokens. However, you requested 130000 tokens (2000 in the messages, 128000 in the completion).",
        "",
    );
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(
        failed.retry(),
        Some((RetryTarget::SameAccount, Duration::ZERO))
    );
    assert!(
        !failed.body().contains("context length"),
        "the prompt is not too long: {}",
        failed.body()
    );
    assert_eq!(attempt(&mut exchange)["max_tokens"], 30_768);
    assert_eq!(exchange.notes(), ["changed: max_tokens 128000 as 30768"]);
    let mut later = exchange.next(hello()).dialect("openai").upstream("up");
    assert_eq!(
        attempt(&mut later)["max_tokens"],
        128_000,
        "another prompt leaves a different number of tokens"
    );
}

#[test]
fn an_account_without_credit_is_on_cooldown_and_another_is_tried() {
    let error = json!({ "message": "no money", "type": "insufficient_quota", "code": "insufficient_quota" });
    let mut failed = Failed::new(429, "rate_limit_error", json!({ "error": error }));
    exchange(&hello()).on_failure(&mut failed).unwrap();
    assert_eq!(
        (failed.status(), failed.error_type().as_str()),
        (402, "billing_error")
    );
    assert_eq!(failed.cooldown(), Some(Duration::from_secs(300)));
    assert_eq!(
        failed.retry(),
        Some((RetryTarget::OtherAccount, Duration::ZERO))
    );
}

#[test]
fn a_delay_is_a_cooldown_wherever_it_is_stated() {
    let limited = |body: Value| Failed::new(429, "rate_limit_error", body);
    let words = json!({ "error": { "message": "Please try again in 1.2s.", "code": "rate_limit_exceeded" } });
    let provided = json!({ "error": { "message": "busy", "code": 429, "metadata": { "headers": { "X-RateLimit-Reset": "7" } } } });
    for (mut failed, cooldown) in [
        (limited(words.clone()), Some(1_200)),
        (limited(words).header("retry-after", "3"), None),
        (limited(provided), Some(7_000)),
        (
            limited(json!({ "error": { "message": "busy" } }))
                .header("x-ratelimit-reset-tokens", "6m0s"),
            Some(360_000),
        ),
    ] {
        exchange(&hello()).on_failure(&mut failed).unwrap();
        assert_eq!(failed.cooldown(), cooldown.map(Duration::from_millis));
    }
}

#[test]
fn an_error_instead_of_the_first_event_is_treated_like_one_with_a_status() {
    let mut exchange = exchange(&hello());
    attempt(&mut exchange);
    let error = json!({ "error": { "message": "Please try again in 20s.", "code": "rate_limit_exceeded" } });
    let events = exchange
        .stream([
            chunk(&json!({ "role": "assistant", "content": "" })),
            event("", &error.to_string()),
        ])
        .unwrap();
    let [event] = &events[..] else {
        panic!("{events:?}");
    };
    let mut failed = Failed::new(429, "rate_limit_error", &event.data);
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(failed.body(), event.data);
    assert_eq!(failed.cooldown(), Some(Duration::from_secs(20)));
}

#[test]
fn a_failure_without_a_json_response_is_left_to_the_gateway() {
    for (status, body) in [
        (0, "connection refused"),
        (502, "<html>bad gateway</html>"),
        (500, ""),
    ] {
        let mut failed = Failed::new(status, "api_error", body);
        exchange(&hello()).on_failure(&mut failed).unwrap();
        assert_eq!(
            (failed.status(), failed.body().as_str(), failed.retry()),
            (status, body, None)
        );
    }
}

#[test]
fn a_missing_path_hints_at_the_version_in_any_format() {
    for (body, hint) in [
        ("404 page not found\n", "404 page not found (is the version"),
        (
            "<html><body>Not Found</body></html>",
            "the upstream does not have this path (is the version",
        ),
        ("", "the upstream does not have this path (is the version"),
    ] {
        let mut failed = Failed::new(404, "not_found_error", body);
        exchange(&hello()).on_failure(&mut failed).unwrap();
        assert!(failed.body().contains(hint), "{}", failed.body());
    }
}

#[test]
fn a_truncated_response_is_not_completed() {
    for end in [Openai::on_cut, Openai::on_end] {
        let mut exchange = exchange(&hello());
        attempt(&mut exchange);
        exchange
            .on_event(chunk(&json!({ "content": "hi" })))
            .unwrap();
        assert_eq!(end(&mut exchange).unwrap(), []);
    }
}

#[test]
fn a_retried_attempt_starts_from_scratch() {
    let mut exchange = exchange(&hello());
    attempt(&mut exchange);
    exchange
        .on_event(chunk(&json!({ "content": " " })))
        .unwrap();
    attempt(&mut exchange);
    let done = json!({ "choices": [{ "index": 0, "delta": { "content": "hi" }, "finish_reason": "stop" }] });
    let events = exchange.stream([event("", &done.to_string())]).unwrap();
    assert!(
        events
            .iter()
            .any(|event| event.data.contains(r#""text":"hi""#)),
        "{events:?}"
    );
    assert_eq!(
        events.last().map(|event| event.name.as_str()),
        Some("message_stop")
    );
}

/// Only with the setting, because OpenAI does not define these members.
#[test]
fn thinking_is_sent_back_in_the_member_that_the_setting_names() {
    let thought = |text: &str| json!({ "type": "thinking", "thinking": text, "signature": "" });
    let call = json!({ "type": "tool_use", "id": "a", "name": "f", "input": {} });
    let body = json!({ "model": "m", "thinking": { "type": "adaptive", "display": "omitted" }, "messages": [
        { "role": "assistant", "content": [thought("one"), { "type": "text", "text": "hi" }, thought("two")] },
        { "role": "user", "content": "go on" },
        { "role": "assistant", "content": [call] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "a" }] },
    ] });
    for (member, of_calls) in [("reasoning_content", Some(&json!(""))), ("reasoning", None)] {
        let settings = json!({ "upstreams": { "up": { "reasoning": member } } });
        let mut exchange = exchange(&body).settings(settings);
        let sent = attempt(&mut exchange);
        assert_eq!(sent["messages"][0][member], "one\n\ntwo");
        assert_eq!(
            sent["messages"][2].get(member),
            of_calls,
            "DeepSeek requires it for each call"
        );
        assert_eq!(exchange.notes(), ["left out: thinking"]);
        let events = exchange
            .stream([chunk(&json!({ "reasoning_content": "three" }))])
            .unwrap();
        assert!(
            events.iter().any(|event| event.data.contains("three")),
            "thinking that is sent back is shown"
        );
    }
}

#[test]
fn a_server_that_requires_thinking_gets_it_back() {
    let body = json!({ "model": "m", "messages": [
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "a", "name": "f", "input": {} }] },
    ] });
    let mut exchange = exchange(&body);
    assert_eq!(
        attempt(&mut exchange)["messages"][0].get("reasoning_content"),
        None
    );
    let mut failed = rejected(
        "The `reasoning_content` in the thinking mode must be passed back to the API.",
        "",
    );
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(
        failed.retry(),
        Some((RetryTarget::SameAccount, Duration::ZERO))
    );
    assert_eq!(
        attempt(&mut exchange)["messages"][0]["reasoning_content"],
        ""
    );
}

/// Each request of a growing conversation begins with the bytes of the one before. Otherwise the
/// upstream's cache would not hit.
#[test]
fn a_growing_conversation_never_changes_what_was_sent_before() {
    let long = "x".repeat(2_000);
    let image = json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": long } });
    let call = |id: &str| json!({ "type": "tool_use", "id": id, "name": "web.get", "input": { "b": long, "a": 1 } });
    let result = |id: &str, content: Value| json!({ "type": "tool_result", "tool_use_id": id, "content": content });
    let grown = json!([
        { "role": "user", "content": [{ "type": "text", "text": "draw" }] },
        { "role": "system", "content": [{ "type": "text", "text": long }], "output_config": { "effort": "low" } },
        { "role": "assistant", "content": [{ "type": "thinking", "thinking": "hm", "signature": "" }, call("a"), call(&long[..60])] },
        { "role": "system", "content": "be quick" },
        { "role": "user", "content": [result(&long[..60], json!("B")), result("a", json!([image])), { "type": "text", "text": "go on" }] },
        { "role": "assistant", "content": [{ "type": "text", "text": "well" }, call("c")] },
        { "role": "user", "content": [] },
        { "role": "user", "content": [result("c", json!("")), result("lost", json!("?"))] },
        { "role": "assistant", "content": [call("d")] },
        { "role": "user", "content": "never mind" },
        { "role": "assistant", "content": "fine" },
        { "role": "user", "content": "bye" },
    ]);
    let grown = grown.as_array().unwrap();
    for settings in [
        json!({}),
        json!({ "mid_system": "user", "reasoning": "reasoning_content" }),
    ] {
        let mut before = String::new();
        for length in [2, 5, 8, 10, 12] {
            let mut messages = grown[..length].to_vec();
            // Clients encode a message differently once it is no longer the last one.
            if length > 2 {
                messages[0]["content"] = json!("draw");
            }
            let body = json!({ "model": "m", "system": "be kind", "messages": messages });
            let mut exchange = exchange(&body).settings(settings.clone());
            let sent = attempt(&mut exchange)["messages"].to_string();
            assert!(sent.starts_with(&before), "{length}: {sent}\n{before}");
            sent.trim_end_matches(']').clone_into(&mut before);
        }
    }
}
