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
    events.extend(answer.end(true));
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
        ("STOP", "end_turn", "end_turn"),
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
    let chunk: Chunk = serde_json::from_str(chunk).unwrap();
    let wanted = Usage {
        input: 12,
        output: 3,
        ..Usage::default()
    };
    assert_eq!(usage(&chunk.usage_metadata.unwrap()), wanted);
}
