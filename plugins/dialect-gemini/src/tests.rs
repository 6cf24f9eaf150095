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
fn every_kind_of_request_is_this_plugins() {
    for hook in [Hook::Attempt, Hook::Failure, Hook::Response] {
        let body = json!({ "model": "gemini-2.5-pro" });
        assert!(Gemini::new(&body).dialect("gemini").would_call(hook));
        let counted = Gemini::new(&body).dialect("gemini").count_tokens();
        assert!({ counted }.would_call(hook));
    }
}

#[test]
fn settings_that_mean_nothing_are_refused() {
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
fn a_model_is_asked_where_its_name_says_and_never_elsewhere() {
    for (model, path) in [
        ("gemini-2.5-pro", "/models/gemini-2.5-pro:"),
        ("models/gemini-2.5-pro", "/models/gemini-2.5-pro:"),
        ("tunedModels/mine", "/tunedModels/mine:"),
        ("odd?name#:x é", "/models/odd%3Fname%23%3Ax%20%C3%A9:"),
    ] {
        let body = json!({ "model": model, "messages": [] });
        let mut exchange = Gemini::new(body).dialect("gemini");
        exchange.on_attempt().unwrap();
        let asked = format!("{path}streamGenerateContent?alt=sse");
        assert_eq!(exchange.path_and_query(), asked);
    }
}

#[test]
fn models_are_listed_but_not_by_vertex() {
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

/// A conversation as it grows: what was sent for it before is the beginning of what is sent now, byte by byte, or the upstream's
/// cache is of no use.
#[test]
fn a_growing_conversation_never_changes_what_was_said_before() {
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
        // A request ends with a turn of the user's.
        for told in [2, 4, 7, 9, 11] {
            let body = sent(model, &json!(messages[..told]));
            let contents = serde_json::to_string(&body["contents"]).unwrap();
            let open = contents.strip_suffix(']').unwrap();
            assert!(contents.starts_with(&before), "{model} {told}: {contents}");
            before = open.to_owned();
        }
    }
}

#[test]
fn a_model_that_turns_out_to_want_signatures_gets_them_at_the_second_try() {
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
fn after_a_refused_signature_none_is_sent() {
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
fn a_failure_within_a_stream_keeps_its_words_and_tells_how_long_to_rest() {
    let mut exchange = Gemini::new(r#"{"model":"gemini-2.5-pro","messages":[]}"#).dialect("gemini");
    exchange.on_attempt().unwrap();
    let error = json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota",
        "details": [{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12s" }] } });
    let told = exchange
        .stream([witgate_plugin::Event::new("", error)])
        .unwrap();
    let envelope = r#"{"type":"error","error":{"type":"rate_limit_error","message":"quota"}}"#;
    assert_eq!(told[0].data, envelope);
    let mut failed = Failed::new(200, "rate_limit_error", envelope);
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!((failed.status(), failed.body().as_str()), (429, envelope));
    assert_eq!(failed.cooldown(), Some(Duration::from_secs(12)));
}

#[test]
fn an_answer_that_was_cut_has_no_end() {
    let mut exchange = Gemini::new(r#"{"model":"gemini-2.5-pro","messages":[]}"#).dialect("gemini");
    exchange.on_attempt().unwrap();
    let text = json!({ "candidates": [{ "content": { "parts": [{ "text": "half" }] } }] });
    exchange
        .on_event(witgate_plugin::Event::new("", text))
        .unwrap();
    assert_eq!(
        exchange.on_end().unwrap(),
        [],
        "no finish reason, so the gateway calls it cut"
    );
    let stop = json!({ "candidates": [{ "finishReason": "STOP" }] });
    exchange
        .on_event(witgate_plugin::Event::new("", stop))
        .unwrap();
    assert_eq!(exchange.on_cut().unwrap(), []);
    assert_eq!(exchange.on_end().unwrap().len(), 2);
}
