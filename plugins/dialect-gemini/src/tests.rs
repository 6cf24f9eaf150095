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
    for settings in [
        json!({ "vertx": [] }),
        json!({ "safety": "NEVER" }),
        json!({ "models": { "*": { "safety": "NEVER" } } }),
        json!({ "models": { "*": { "vertex": [] } } }),
    ] {
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
fn settings_for_a_model_override_those_for_all_models() {
    for (model, most, threshold) in [
        ("gemini-2.5-pro", 60_000, "BLOCK_NONE"),
        ("gemini-2.5-flash-image", 32_768, "BLOCK_NONE"),
        ("gemini-2.5-flash-image-preview", 8_192, "OFF"),
    ] {
        let body = json!({ "model": model, "max_tokens": 64_000, "messages": [
            { "role": "user", "content": "hi" },
        ]});
        let mut exchange = Gemini::new(body).dialect("gemini").settings(json!({
            "max_output_tokens": 60_000,
            "safety": "BLOCK_NONE",
            "models": {
                "*-image-preview": { "max_output_tokens": 8_192, "safety": "OFF" },
                "*-image*": { "max_output_tokens": 32_768 },
            },
        }));
        exchange.on_attempt().unwrap();
        let sent: Value = serde_json::from_str(&exchange.body()).unwrap();
        assert_eq!(sent["generationConfig"]["maxOutputTokens"], most, "{model}");
        assert_eq!(sent["safetySettings"][0]["threshold"], threshold, "{model}");
    }
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
    for model in ["a/../b", "..", "models/./x", "a//b", ""] {
        let body = json!({ "model": model, "messages": [] });
        let mut exchange = Gemini::new(body).dialect("gemini");
        let refusal = exchange.on_attempt().unwrap().expect_refusal();
        assert_eq!(refusal["status"], 404, "{model}");
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
    let mut exchange = Gemini::new(&body).dialect("gemini");
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
    let mut later = exchange.next(&body).dialect("gemini");
    later.on_attempt().unwrap();
    assert!(
        later.body().contains("thoughtSignature"),
        "it is remembered"
    );
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
    assert_eq!(exchange.on_end().unwrap().len(), 3);
}

/// The conversation of a session whose first turn another provider answered, with the turns that
/// Gemini answered after it.
fn switched(own: &[&str]) -> Value {
    let turn = |id: String, signature: &str| {
        [
            json!({ "role": "assistant", "content": [
                { "type": "thinking", "thinking": "", "signature": signature },
                { "type": "tool_use", "id": id, "name": "ls", "input": {} },
            ]}),
            json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": id, "content": "x" }] }),
        ]
    };
    let foreign = "Rm9yZWlnbg".repeat(60);
    let mut messages = vec![json!({ "role": "user", "content": "go" })];
    messages.extend(turn("foreign".to_owned(), &foreign));
    for (at, signature) in own.iter().enumerate() {
        messages.extend(turn(format!("own{at}"), signature));
    }
    json!({ "model": "gemini-3.1-pro-preview", "max_tokens": 5, "messages": messages })
}

/// An answer with one call and this signature.
fn signed_call(signature: &str) -> witgate_plugin::Event {
    let part = json!({ "functionCall": { "name": "ls" }, "thoughtSignature": signature });
    let chunk =
        json!({ "candidates": [{ "content": { "parts": [part] }, "finishReason": "STOP" }] });
    witgate_plugin::Event::new("", chunk)
}

const CORRUPTED: &str = r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"Corrupted thought signature."}}"#;

#[test]
fn a_conversation_from_elsewhere_has_one_rejected_request() {
    let own = ["T3duMQ==", "T3duMg==", "T3duMw=="];
    for session in [Some("s"), None] {
        let begin = |exchange: Gemini| match session {
            Some(session) => exchange.session(session).dialect("gemini"),
            None => exchange.dialect("gemini"),
        };
        let mut exchange = begin(Gemini::new(switched(&[])));
        exchange.on_attempt().unwrap();
        assert!(exchange.body().contains("Rm9yZWlnbg"));
        let mut failed = Failed::new(400, "api_error", CORRUPTED);
        exchange.on_failure(&mut failed).unwrap();
        assert!(failed.retry().is_some());
        for turn in 0..own.len() {
            exchange.on_attempt().unwrap();
            let sent = exchange.body();
            assert!(!sent.contains("Rm9yZWlnbg"), "{turn}: {sent}");
            for signature in &own[..turn] {
                assert!(sent.contains(signature), "{turn}: {sent}");
            }
            exchange.stream([signed_call(own[turn])]).unwrap();
            exchange = begin(exchange.next(switched(&own[..=turn])));
        }
    }
}

#[test]
fn signatures_of_the_upstream_itself_survive_a_rejection() {
    let mut exchange = Gemini::new(switched(&[])).session("s").dialect("gemini");
    exchange.on_attempt().unwrap();
    exchange.stream([signed_call("T3duMQ==")]).unwrap();
    let mut exchange = exchange
        .next(switched(&["T3duMQ=="]))
        .session("s")
        .dialect("gemini");
    exchange.on_attempt().unwrap();
    let mut failed = Failed::new(400, "api_error", CORRUPTED);
    exchange.on_failure(&mut failed).unwrap();
    let mut exchange = exchange
        .next(switched(&["T3duMQ=="]))
        .session("s")
        .dialect("gemini");
    exchange.on_attempt().unwrap();
    let sent = exchange.body();
    assert!(
        sent.contains("T3duMQ==") && !sent.contains("Rm9yZWlnbg"),
        "{sent}"
    );

    let mut other = exchange
        .next(switched(&["T3duMQ=="]))
        .session("t")
        .dialect("gemini");
    other.on_attempt().unwrap();
    assert!(
        other.body().contains("Rm9yZWlnbg"),
        "another session is not affected"
    );
}

/// Fails an attempt with this message, and returns what the next one sends.
#[track_caller]
fn after(mut exchange: Gemini, message: &str) -> (Gemini, Value) {
    exchange.on_attempt().unwrap();
    let error =
        json!({ "error": { "code": 400, "status": "INVALID_ARGUMENT", "message": message } });
    let mut failed = Failed::new(400, "invalid_request_error", &error);
    exchange.on_failure(&mut failed).unwrap();
    let again = Some((RetryTarget::SameAccount, Duration::ZERO));
    assert_eq!(failed.retry(), again, "{message}");
    exchange.on_attempt().unwrap();
    let sent = serde_json::from_str(&exchange.body()).unwrap();
    let mut failed = Failed::new(400, "invalid_request_error", &error);
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(failed.retry(), None, "a lesson is learned once: {message}");
    (exchange, sent)
}

#[test]
fn what_an_error_teaches_holds_for_later_exchanges() {
    let body = json!({ "model": "my-model", "max_tokens": 90_000, "top_k": 60, "system": "Be kind.",
        "messages": [{ "role": "user", "content": "hi" }] });
    let new = || Gemini::new(&body).dialect("gemini");
    let (_, sent) = after(
        new(),
        "Developer instruction is not enabled for models/my-model",
    );
    assert_eq!(sent.get("systemInstruction"), None);
    let parts = json!([{ "text": "Be kind." }, { "text": "hi" }]);
    assert_eq!(
        sent["contents"],
        json!([{ "role": "user", "parts": parts }])
    );
    let (exchange, sent) = after(
        new(),
        "it has a topK value of 60 but the supported range is from 1 (inclusive) to 41 (exclusive).",
    );
    assert_eq!(sent["generationConfig"]["topK"], 40);
    let (exchange, sent) = after(
        exchange.next(&body).dialect("gemini"),
        "it has a maxOutputTokens value of 90000 but the supported range is from 1 (inclusive) to 32769 (exclusive).",
    );
    assert_eq!(sent["generationConfig"]["maxOutputTokens"], 32_768);
    let mut later = exchange.next(&body).dialect("gemini");
    later.on_attempt().unwrap();
    let sent: Value = later.body().parse().unwrap();
    let config = &sent["generationConfig"];
    assert_eq!(
        (&config["topK"], &config["maxOutputTokens"]),
        (&json!(40), &json!(32_768))
    );
    let mut elsewhere = later.next(&body).upstream("other").dialect("gemini");
    elsewhere.on_attempt().unwrap();
    let sent: Value = elsewhere.body().parse().unwrap();
    assert_eq!(sent["generationConfig"]["topK"], 60);
}

#[test]
fn vertex_is_recognised_when_it_counts_tokens() {
    let body =
        json!({ "model": "gemini-2.5-pro", "messages": [{ "role": "user", "content": "hi" }] });
    let counted = Gemini::new(&body).dialect("gemini").count_tokens();
    let unknown = "Invalid JSON payload received. Unknown name \"generateContentRequest\": Cannot find field.";
    let (exchange, sent) = after(counted, unknown);
    assert!(sent.get("contents").is_some(), "{sent}");
    let mut later = exchange.next(&body).dialect("gemini").count_tokens();
    later.on_attempt().unwrap();
    assert!(!later.body().contains("generateContentRequest"));
}

#[test]
fn spent_credits_are_the_accounts() {
    let body = json!({ "model": "gemini-2.5-pro", "messages": [] });
    let mut exchange = Gemini::new(&body).dialect("gemini");
    exchange.on_attempt().unwrap();
    let spent = json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED",
        "message": "Your prepayment credits are depleted." } });
    let mut failed = Failed::new(429, "rate_limit_error", &spent);
    exchange.on_failure(&mut failed).unwrap();
    assert_eq!(
        (failed.status(), failed.error_type().as_str()),
        (402, "billing_error")
    );
    assert_eq!(
        failed.retry(),
        Some((RetryTarget::OtherAccount, Duration::ZERO))
    );
    assert_eq!(failed.cooldown(), Some(Duration::from_secs(3_600)));
}

#[test]
fn a_conversation_begins_with_the_user_and_roles_alternate() {
    let call = json!({ "role": "assistant", "content": [{ "type": "tool_use", "id": "a", "name": "ls", "input": {} }] });
    let empty = json!({ "role": "user", "content": [{ "type": "text", "text": "" }] });
    let user = json!({ "role": "user", "content": "hi" });
    let model = json!({ "role": "assistant", "content": "well" });
    for messages in [
        json!([call]),
        json!([empty, call]),
        json!([model, user, call]),
        json!([user, model, empty, call]),
        json!([user, { "role": "assistant", "content": [{ "type": "redacted_thinking", "data": "x" }] }, user, call]),
    ] {
        let body = sent("gemini-2.5-flash", &messages);
        let roles: Vec<&str> = body["contents"]
            .as_array()
            .unwrap()
            .iter()
            .map(|content| content["role"].as_str().unwrap())
            .collect();
        assert_eq!(roles[0], "user", "{messages}");
        assert!(
            roles.windows(2).all(|pair| pair[0] != pair[1]),
            "{messages}: {roles:?}"
        );
        for content in body["contents"].as_array().unwrap() {
            assert!(!content["parts"].as_array().unwrap().is_empty());
        }
    }
}

#[test]
fn older_models_on_vertex_get_calls_without_ids() {
    let messages = json!([
        { "role": "user", "content": "go" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "a", "name": "ls", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "a", "content": "x" }] },
    ]);
    for (model, upstream, has_ids) in [
        ("gemini-2.5-pro", "v", false),
        ("gemini-3.1-pro-preview", "v", true),
        ("gemini-2.5-pro", "public", true),
    ] {
        let body = json!({ "model": model, "messages": messages });
        let settings = json!({ "vertex": ["v"] });
        let exchange = Gemini::new(body).dialect("gemini").upstream(upstream);
        let mut exchange = exchange.settings(settings);
        exchange.on_attempt().unwrap();
        let ids = exchange.body().matches(r#""id":"a""#).count();
        assert_eq!(ids, if has_ids { 2 } else { 0 }, "{model} at {upstream}");
    }
}

#[test]
fn a_signature_without_a_part_is_left_out() {
    let messages = json!([
        { "role": "user", "content": "go" },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "a", "signature": "T25l" },
            { "type": "thinking", "thinking": "b", "signature": "VHdv" },
            { "type": "text", "text": "c" },
            { "type": "thinking", "thinking": "d", "signature": "VGhyZWU=" },
        ]},
        { "role": "user", "content": "on" },
    ]);
    let sent = sent("gemini-3.1-pro-preview", &messages);
    let parts = json!([{ "text": "c", "thoughtSignature": "VHdv" }]);
    assert_eq!(sent["contents"][1]["parts"], parts);
}

#[test]
fn stop_sequences_and_top_k_are_within_what_is_accepted() {
    let body = json!({ "model": "gemini-2.5-flash", "top_k": 250, "messages": [],
        "stop_sequences": ["", "a", "b", "a", "c", "d", "e", "f"] });
    let mut exchange = Gemini::new(body).dialect("gemini");
    exchange.on_attempt().unwrap();
    let sent: Value = exchange.body().parse().unwrap();
    let config = &sent["generationConfig"];
    assert_eq!(config["stopSequences"], json!(["a", "b", "c", "d", "e"]));
    assert_eq!(config["topK"], 64);
    let note = "left out: stop_sequences(2); changed: top_k lowered to 64";
    assert_eq!(exchange.notes(), [note]);
}

#[test]
fn a_web_search_alone_is_a_search_with_google() {
    let body = |tools: Value| {
        json!({ "model": "gemini-2.5-flash", "max_tokens": 5, "tools": tools,
            "tool_choice": { "type": "tool", "name": "web_search" },
            "messages": [{ "role": "user", "content": "rust 2.0" }] })
    };
    let search = json!({ "type": "web_search_20250305", "name": "web_search", "max_uses": 8 });
    let mut exchange = Gemini::new(body(json!([search]))).dialect("gemini");
    assert!(exchange.on_attempt().unwrap().is_proceed());
    let sent: Value = exchange.body().parse().unwrap();
    assert_eq!(sent["tools"], json!([{ "googleSearch": {} }]));
    assert_eq!(sent.get("toolConfig"), None);
    let found = json!({ "candidates": [{ "content": { "parts": [{ "text": "News." }] }, "finishReason": "STOP",
        "groundingMetadata": { "webSearchQueries": ["rust 2.0"],
            "groundingChunks": [{ "web": { "uri": "https://a.example/", "title": "A" } }] } }] });
    let events = exchange
        .stream([witgate_plugin::Event::new("", found)])
        .unwrap();
    let kinds: Vec<Value> = events
        .iter()
        .map(|event| event.parse::<Value>().unwrap()["content_block"]["type"].clone())
        .filter(|kind| !kind.is_null())
        .collect();
    assert_eq!(kinds, ["text", "server_tool_use", "web_search_tool_result"]);
    assert_eq!(exchange.notes(), ["left out: web_search.max_uses"]);

    let beside = json!([search, { "name": "ls", "input_schema": {} }]);
    let mut exchange = Gemini::new(body(beside)).dialect("gemini");
    let refusal = exchange.on_attempt().unwrap().expect_refusal();
    assert_eq!(
        refusal["message"],
        "capability_rejected: web_search_20250305"
    );
}

#[test]
fn limits_of_a_web_search_are_translated_or_noted() {
    let search = |limit: &str, domains: Value| json!({ "type": "web_search_20250305", "name": "web_search", limit: domains });
    let blocked = "blocked_domains";
    let one = json!({ "excludeDomains": ["a.example"] });
    for (vertex, limit, domains, sent, note) in [
        (true, blocked, json!(["a.example"]), &one, None),
        (true, blocked, json!([]), &json!({}), None),
        (
            true,
            blocked,
            json!(["a.example", "b.example/c"]),
            &one,
            Some(blocked),
        ),
        (
            false,
            blocked,
            json!(["a.example"]),
            &json!({}),
            Some(blocked),
        ),
        (
            true,
            "allowed_domains",
            json!(["a.example"]),
            &json!({}),
            Some("allowed_domains"),
        ),
        (
            false,
            "allowed_domains",
            json!(["a.example"]),
            &json!({}),
            Some("allowed_domains"),
        ),
    ] {
        let body = json!({ "model": "gemini-3.1-pro-preview", "max_tokens": 5,
            "tools": [search(limit, domains)],
            "messages": [{ "role": "user", "content": "rust 2.0" }] });
        let mut exchange = Gemini::new(body).upstream("google").dialect("gemini");
        if vertex {
            exchange = exchange.settings(json!({ "vertex": ["google"] }));
        }
        exchange.on_attempt().unwrap();
        let body: Value = exchange.body().parse().unwrap();
        assert_eq!(&body["tools"][0]["googleSearch"], sent, "{vertex} {limit}");
        let note = note.map(|name| format!("left out: web_search.{name}"));
        assert_eq!(exchange.notes(), Vec::from_iter(note), "{vertex} {limit}");
    }
}
