use std::time::Duration;

use witgate_plugin::{
    Hook, RetryTarget, Value, json, serde_json,
    testing::{Exchange, Failed},
};

use super::DialectGemini;

type Gemini = Exchange<DialectGemini>;

#[track_caller]
fn sent(model: &str, messages: &Value) -> Value {
    let body = json!({ "model": model, "max_tokens": 100, "messages": messages });
    let mut exchange = Gemini::new(body).dialect("gemini");
    assert!(exchange.on_attempt().unwrap().is_proceed());
    serde_json::from_str(&exchange.body()).unwrap()
}

#[test]
fn the_plugin_is_called_for_every_kind_of_request() {
    for hook in [Hook::Attempt, Hook::Failure, Hook::Response] {
        let body = json!({ "model": "gemini-2.5-pro" });
        assert!(Gemini::new(&body).dialect("gemini").would_call(hook));
        let counted = Gemini::new(&body).dialect("gemini").count_tokens();
        assert!({ counted }.would_call(hook));
    }
}

#[test]
fn invalid_settings_are_rejected() {
    for settings in [json!({ "vertx": [] }), json!({ "safety": "NEVER" })] {
        let mut exchange = Gemini::new("{}").settings(settings);
        assert!(exchange.describe().is_err());
    }
    assert!(
        Gemini::new("{}")
            .settings(json!({ "safety": "OFF", "vertex": ["x"] }))
            .describe()
            .is_ok()
    );
}

#[test]
fn the_path_follows_the_models_name_and_is_escaped() {
    for (model, path) in [
        ("gemini-2.5-pro", "/models/gemini-2.5-pro:"),
        ("models/gemini-2.5-pro", "/models/gemini-2.5-pro:"),
        ("tunedModels/mine", "/tunedModels/mine:"),
        ("odd?name#:x é", "/models/odd%3Fname%23%3Ax%20%C3%A9:"),
    ] {
        let body = json!({ "model": model, "messages": [] });
        let mut exchange = Gemini::new(body).dialect("gemini");
        exchange.on_attempt().unwrap();
        let wanted = format!("{path}streamGenerateContent?alt=sse");
        assert_eq!(exchange.path_and_query(), wanted);
    }
}

#[test]
fn models_are_listed_except_by_vertex() {
    let mut exchange = Gemini::new("").dialect("gemini").models();
    assert!(exchange.on_attempt().unwrap().is_proceed());
    assert_eq!(exchange.path_and_query(), "/models?pageSize=1000");
    let body = json!({ "models": [{ "name": "models/g", "supportedGenerationMethods": ["generateContent"] }] });
    let list = exchange.on_body(body).unwrap().unwrap();
    assert_eq!(
        list,
        r#"{"data":[{"type":"model","id":"g","display_name":"g"}]}"#
    );
    let settings = json!({ "vertex": ["v"] });
    let mut vertex = Gemini::new("").upstream("v").settings(settings).models();
    assert_eq!(vertex.on_attempt().unwrap().expect_refusal()["status"], 404);
}

/// Each request of a growing conversation begins with the bytes of the one before. Otherwise the
/// upstream's cache would not hit.
#[test]
fn a_growing_conversation_never_changes_what_was_sent_before() {
    let long = "x".repeat(1_000);
    let call = |id: &str| json!({ "type": "tool_use", "id": id, "name": "3d render", "input": { "path": long } });
    let result = |id: &str, content: Value| json!({ "type": "tool_result", "tool_use_id": id, "content": content });
    let image = json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "aGk=" } });
    let grown = json!([
        { "role": "user", "content": "draw" },
        { "role": "system", "content": [{ "type": "text", "text": long, "output_config": { "effort": "low" } }] },
        { "role": "assistant", "content": [{ "type": "thinking", "thinking": "", "signature": "c2ln" }, call("a"), call("b")] },
        { "role": "user", "content": [result("b", json!("B")), result("a", json!([image])), { "type": "text", "text": "go on" }] },
        { "role": "assistant", "content": [{ "type": "text", "text": "well" }, call("c")] },
        { "role": "user", "content": [] },
        { "role": "user", "content": [result("c", json!("")), result("lost", json!("?"))] },
        { "role": "assistant", "content": [call("d")] },
        { "role": "user", "content": "never mind" },
        { "role": "assistant", "content": "fine" },
        { "role": "user", "content": "bye" },
    ]);
    let messages = grown.as_array().unwrap();
    for model in ["gemini-2.5-flash", "gemini-3.1-pro-preview"] {
        let mut before = String::new();
        // A request ends with a user's turn.
        for length in [2, 4, 7, 9, 11] {
            let body = sent(model, &json!(messages[..length]));
            let contents = serde_json::to_string(&body["contents"]).unwrap();
            let open = contents.strip_suffix(']').unwrap();
            assert!(
                contents.starts_with(&before),
                "{model} {length}: {contents}"
            );
            before = open.to_owned();
        }
    }
}

#[test]
fn a_model_that_turns_out_to_require_signatures_gets_them_on_retry() {
    let body = json!({ "model": "my-tuned-model", "max_tokens": 5, "messages": [
        { "role": "user", "content": "go" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "a", "name": "ls", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "a", "content": "x" }] },
    ]});
    let mut exchange = Gemini::new(body).dialect("gemini");
    exchange.on_attempt().unwrap();
    assert!(!exchange.body().contains("thoughtSignature"));
    let missing = json!({ "error": { "code": 400, "status": "INVALID_ARGUMENT",
        "message": "Function call is missing a thought_signature in functionCall parts." } });
    let mut failed = Failed::new(400, "invalid_request_error", &missing);
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(
        failed.retry(),
        Some((RetryTarget::SameAccount, Duration::ZERO))
    );
    exchange.on_attempt().unwrap();
    assert!(
        exchange
            .body()
            .contains(r#""thoughtSignature":"skip_thought_signature_validator""#)
    );
    let mut failed = Failed::new(400, "invalid_request_error", &missing);
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(failed.retry(), None, "once is enough");
}

#[test]
fn after_a_rejected_signature_none_is_sent() {
    let body = json!({ "model": "gemini-3.1-pro-preview", "max_tokens": 5, "messages": [
        { "role": "user", "content": "go" },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "hm", "signature": "Zm9yZWlnbg==" },
            { "type": "tool_use", "id": "a", "name": "ls", "input": {} },
        ]},
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "a", "content": "x" }] },
    ]});
    let mut exchange = Gemini::new(body).dialect("gemini");
    exchange.on_attempt().unwrap();
    assert!(exchange.body().contains("Zm9yZWlnbg=="));
    let refused = json!({ "error": { "code": 400, "status": "INVALID_ARGUMENT", "message": "Corrupted thought signature." } });
    let mut failed = Failed::new(400, "api_error", &refused);
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(
        failed.retry(),
        Some((RetryTarget::SameAccount, Duration::ZERO))
    );
    assert_eq!(failed.error_type(), "invalid_request_error");
    exchange.on_attempt().unwrap();
    assert!(!exchange.body().contains("Zm9yZWlnbg=="));
    assert_eq!(exchange.notes(), ["left out: thinking.signature"]);
}

#[test]
fn an_error_within_a_stream_keeps_its_message_and_sets_the_cooldown() {
    let mut exchange = Gemini::new(r#"{"model":"gemini-2.5-pro","messages":[]}"#).dialect("gemini");
    exchange.on_attempt().unwrap();
    let error = json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota",
        "details": [{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12s" }] } });
    let sent = exchange
        .stream([witgate_plugin::Event::new("", error)])
        .unwrap();
    let envelope = r#"{"type":"error","error":{"type":"rate_limit_error","message":"quota"}}"#;
    assert_eq!(sent[0].data, envelope);
    let mut failed = Failed::new(200, "rate_limit_error", envelope);
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!((failed.status(), failed.body().as_str()), (429, envelope));
    assert_eq!(failed.cooldown(), Some(Duration::from_secs(12)));
}

#[test]
fn a_truncated_response_is_not_completed() {
    let mut exchange = Gemini::new(r#"{"model":"gemini-2.5-pro","messages":[]}"#).dialect("gemini");
    exchange.on_attempt().unwrap();
    let text = json!({ "candidates": [{ "content": { "parts": [{ "text": "half" }] } }] });
    exchange
        .on_event(witgate_plugin::Event::new("", text))
        .unwrap();
    assert_eq!(
        exchange.on_end().unwrap(),
        [],
        "without a finish reason the gateway treats it as truncated"
    );
    let stop = json!({ "candidates": [{ "finishReason": "STOP" }] });
    exchange
        .on_event(witgate_plugin::Event::new("", stop))
        .unwrap();
    assert_eq!(exchange.on_cut().unwrap(), []);
    assert_eq!(exchange.on_end().unwrap().len(), 2);
}
