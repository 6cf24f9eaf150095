use witgate_plugin::{Value, json};

use super::*;

/// The stop reason or error type of a response with this finish reason.
#[track_caller]
fn ended(reason: &str, text: &str) -> String {
    let names = Names::default();
    let about = About {
        names: &names,
        exchange: "x",
        model: "m",
    };
    let mut answer = Answer::default();
    let candidate = json!({ "content": { "parts": [{ "text": text }] }, "finishReason": reason });
    let mut events = answer.event(&json!({ "candidates": [candidate] }).to_string(), about);
    events.extend(answer.end(true, about));
    let parsed = events
        .iter()
        .rev()
        .map(|event| event.parse::<Value>().unwrap());
    let ends = parsed.filter_map(|data| {
        let stop = data["delta"]["stop_reason"].as_str();
        stop.or(data["error"]["type"].as_str()).map(str::to_owned)
    });
    ends.into_iter().next().unwrap()
}

/// Covers every reason that google-genai 3.4.0 knows.
#[test]
fn every_finish_reason_is_translated() {
    let table = [
        ("STOP", "end_turn", "api_error"),
        ("MAX_TOKENS", "max_tokens", "max_tokens"),
        ("CONTINUATION", "max_tokens", "max_tokens"),
        ("SAFETY", "refusal", "refusal"),
        ("RECITATION", "refusal", "refusal"),
        ("LANGUAGE", "refusal", "refusal"),
        ("BLOCKLIST", "refusal", "refusal"),
        ("PROHIBITED_CONTENT", "refusal", "refusal"),
        ("SPII", "refusal", "refusal"),
        ("IMAGE_SAFETY", "refusal", "refusal"),
        ("IMAGE_PROHIBITED_CONTENT", "refusal", "refusal"),
        ("IMAGE_RECITATION", "refusal", "refusal"),
        ("ESCALATION", "refusal", "refusal"),
        ("MODEL_ARMOR", "refusal", "refusal"),
        ("OTHER", "end_turn", "api_error"),
        ("IMAGE_OTHER", "end_turn", "api_error"),
        ("NO_IMAGE", "end_turn", "api_error"),
        ("TOO_MANY_TOOL_CALLS", "end_turn", "api_error"),
        ("FINISH_REASON_UNSPECIFIED", "end_turn", "api_error"),
        ("SOMETHING_NEW", "end_turn", "api_error"),
        ("MALFORMED_FUNCTION_CALL", "api_error", "api_error"),
        ("MALFORMED_RESPONSE", "api_error", "api_error"),
        ("UNEXPECTED_TOOL_CALL", "api_error", "api_error"),
        (
            "MISSING_THOUGHT_SIGNATURE",
            "invalid_request_error",
            "invalid_request_error",
        ),
        (
            "PUP_LIMITED_DISABLED",
            "permission_error",
            "authentication_error",
        ),
    ];
    for (reason, with_text, without) in table {
        assert_eq!(ended(reason, "hello"), with_text, "{reason}");
        assert_eq!(ended(reason, ""), without, "{reason} without a text");
    }
}

#[test]
fn an_invalid_chunk_is_an_error_and_an_end_marker_is_not() {
    let names = Names::default();
    let about = About {
        names: &names,
        exchange: "x",
        model: "m",
    };
    let mut answer = Answer::default();
    assert!(answer.event("[DONE]", about).is_empty());
    assert!(
        answer.event("{}", about).is_empty(),
        "nothing is sent before there is content"
    );
    assert_eq!(answer.event("<html>", about)[0].name, "error");
}

#[test]
fn malformed_counts_do_not_fail_the_response() {
    let chunk = r#"{"usageMetadata":{"promptTokenCount":"12","candidatesTokenCount":3.0,"thoughtsTokenCount":null,"cachedContentTokenCount":-1}}"#;
    let chunk: Chunk = lenient::read(chunk).unwrap();
    let wanted = Usage {
        input: 12,
        output: 3,
        ..Usage::default()
    };
    assert_eq!(usage(&chunk.usage_metadata.unwrap()), wanted);
}

/// The events of a response with these chunks, as JSON.
fn events(answer: &mut Answer, chunks: &[Value]) -> Vec<Value> {
    let names = Names::default();
    let about = About {
        names: &names,
        exchange: "x",
        model: "m",
    };
    let mut events = Vec::new();
    for chunk in chunks {
        events.extend(answer.event(&chunk.to_string(), about));
    }
    events.extend(answer.end(true, about));
    events.iter().map(|event| event.parse().unwrap()).collect()
}

/// A chunk with these parts and this finish reason.
fn chunk(parts: Value, reason: Option<&str>) -> Value {
    json!({ "responseId": "R", "candidates": [{ "content": { "parts": parts }, "finishReason": reason }] })
}

/// The blocks of a response in short.
fn blocks(events: &[Value]) -> Vec<String> {
    let starts = events
        .iter()
        .filter(|event| event["type"] == "content_block_start");
    let names = starts.map(|event| {
        let block = &event["content_block"];
        let id = block["id"].as_str().map(|id| format!(" {id}"));
        format!(
            "{}{}",
            block["type"].as_str().unwrap(),
            id.unwrap_or_default()
        )
    });
    names.collect()
}

fn stop_reason(events: &[Value]) -> Option<&str> {
    events
        .iter()
        .find_map(|event| event["delta"]["stop_reason"].as_str())
}

#[test]
fn a_finish_reason_with_each_chunk_is_final_only_at_the_end() {
    let text = |text: &str, reason| chunk(json!([{ "text": text }]), Some(reason));
    for reason in ["STOP", "FINISH_REASON_UNSPECIFIED", ""] {
        let chunks = [text("a", reason), text("b", reason), text("c", "STOP")];
        let events = events(&mut Answer::default(), &chunks);
        assert_eq!(blocks(&events), ["text"], "{reason}");
        assert_eq!(stop_reason(&events), Some("end_turn"), "{reason}");
    }
    let call = chunk(
        json!([{ "functionCall": { "id": "c1", "name": "ls" } }]),
        Some("STOP"),
    );
    let empty = chunk(json!([]), Some("STOP"));
    let all = events(&mut Answer::default(), &[empty, text("a", "STOP"), call]);
    assert_eq!(blocks(&all), ["text", "tool_use c1"]);
    assert_eq!(stop_reason(&all), Some("tool_use"));
    let cut = [text("a", "MAX_TOKENS"), text("", "STOP")];
    let cut = events(&mut Answer::default(), &cut);
    assert_eq!(stop_reason(&cut), Some("max_tokens"), "STOP says less");
}

#[test]
fn a_response_without_a_text_or_a_call_is_an_error() {
    let thought = json!([{ "text": "hm", "thought": true }]);
    for (parts, error) in [
        (json!([]), "api_error"),
        (json!([{ "text": "" }]), "api_error"),
        (
            json!([{ "text": "", "thoughtSignature": "c2ln" }]),
            "api_error",
        ),
        (thought, "api_error"),
        (json!([{ "inlineData": {} }]), "invalid_request_error"),
    ] {
        let mut answer = Answer::new(HashSet::new(), true);
        let events = events(&mut answer, &[chunk(parts.clone(), Some("STOP"))]);
        let last = events.last().unwrap();
        assert_eq!(last["error"]["type"], error, "{parts}");
        assert_eq!(answer.error.unwrap().kind, error);
    }
}

#[test]
fn a_signed_text_is_the_first_block_of_a_client_that_did_not_ask_for_thinking() {
    let signed = [chunk(
        json!([{ "text": "a", "thoughtSignature": "c2ln" }]),
        Some("STOP"),
    )];
    for (asked, wanted) in [(false, &["text"][..]), (true, &["thinking", "text"])] {
        let mut answer = Answer::new(HashSet::new(), asked);
        let events = events(&mut answer, &signed);
        assert_eq!(blocks(&events), wanted);
        assert_eq!(answer.take_signatures().len(), wanted.len() - 1);
    }
    let call = [chunk(
        json!([{ "functionCall": { "id": "c", "name": "ls" }, "thoughtSignature": "c2ln" }]),
        Some("STOP"),
    )];
    let events = events(&mut Answer::new(HashSet::new(), false), &call);
    assert_eq!(
        blocks(&events),
        ["thinking", "tool_use c"],
        "a call needs its signature"
    );
}

#[test]
fn an_id_comes_once_in_a_conversation() {
    let call = |id: Value| json!({ "functionCall": { "id": id, "name": "ls" } });
    let calls = [chunk(
        json!([
            call(json!("c1")),
            call(json!("c2")),
            call(json!("c2")),
            call(json!(null))
        ]),
        Some("STOP"),
    )];
    let used = ["c1", "toolu_R_0", "toolu_R_3", "toolu_x_3"].map(str::to_owned);
    let events = events(&mut Answer::new(used.into(), false), &calls);
    assert_eq!(
        blocks(&events),
        [
            "tool_use toolu_x_0",
            "tool_use c2",
            "tool_use toolu_R_2",
            "tool_use toolu_x_3_0"
        ]
    );
}

#[test]
fn counts_never_shrink() {
    let counts = |counts: Value| json!({ "usageMetadata": counts });
    let chunks = [
        counts(
            json!({ "promptTokenCount": 1000, "cachedContentTokenCount": 800, "thoughtsTokenCount": 30 }),
        ),
        chunk(json!([{ "text": "a" }]), Some("STOP")),
        counts(json!({ "promptTokenCount": 1000, "candidatesTokenCount": 20 })),
        counts(json!({})),
    ];
    let events = events(&mut Answer::default(), &chunks);
    let usage = events
        .iter()
        .rfind(|event| event["type"] == "message_delta")
        .unwrap();
    let usage = &usage["usage"];
    assert_eq!(usage["input_tokens"], 200);
    assert_eq!(usage["cache_read_input_tokens"], 800);
    assert_eq!(usage["output_tokens"], 50);
}

#[test]
fn an_odd_member_does_not_lose_the_response_around_it() {
    let odd = [
        r#"{"candidates":[7,{"content":{"parts":[null,{"text":"a","thought":"no"},{"text":5}]}}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"x","text":"b\ud83d"}]},"finishReason":1}],"responseId":{}}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"c"}]},"finishReason":"STOP"}],"candidates":[{"content":{"parts":[{"text":"d"}]},"finishReason":"STOP"}],"usageMetadata":[1]}"#,
    ];
    let names = Names::default();
    let about = About {
        names: &names,
        exchange: "x",
        model: "m",
    };
    let mut answer = Answer::default();
    let mut events = Vec::new();
    for data in odd {
        events.extend(answer.event(data, about));
    }
    events.extend(answer.end(true, about));
    let events: Vec<Value> = events.iter().map(|event| event.parse().unwrap()).collect();
    let texts = events
        .iter()
        .filter_map(|event| event["delta"]["text"].as_str());
    assert_eq!(texts.collect::<String>(), "ab\u{fffd}d");
    assert_eq!(stop_reason(&events), Some("end_turn"));
}

#[test]
fn the_input_of_a_call_is_an_object() {
    for (args, wanted) in [
        (json!({ "a": 1 }), r#"{"a":1}"#),
        (json!(null), "{}"),
        (json!("{\"a\":1}"), r#"{"a":1}"#),
        (json!("ls"), r#"{"input":"ls"}"#),
        (json!([1]), r#"{"input":[1]}"#),
    ] {
        let call = json!([{ "functionCall": { "id": "c", "name": "ls", "args": args } }]);
        let events = events(&mut Answer::default(), &[chunk(call, Some("STOP"))]);
        let input = events
            .iter()
            .find_map(|event| event["delta"]["partial_json"].as_str());
        assert_eq!(input, Some(wanted), "{args}");
    }
}

#[test]
fn a_disabled_account_is_not_rejected_once_thinking_was_sent() {
    let thought = chunk(json!([{ "text": "hm", "thought": true }]), None);
    let disabled = chunk(json!([]), Some("PUP_LIMITED_DISABLED"));
    let events = events(&mut Answer::new(HashSet::new(), true), &[thought, disabled]);
    assert_eq!(events.last().unwrap()["error"]["type"], "permission_error");
}
