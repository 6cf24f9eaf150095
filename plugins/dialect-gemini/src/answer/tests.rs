use witgate_plugin::{Value, json};

use super::*;

/// Why an answer with this reason ends: the stop reason, or the type of the error.
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
    let said = events
        .iter()
        .rev()
        .map(|event| event.parse::<Value>().unwrap());
    let told = said.filter_map(|data| {
        let stop = data["delta"]["stop_reason"].as_str();
        stop.or(data["error"]["type"].as_str()).map(str::to_owned)
    });
    told.into_iter().next().unwrap()
}

/// Every reason that google-genai 3.4.0 knows.
#[test]
fn every_finish_reason_has_an_end() {
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
fn an_event_that_is_no_chunk_is_an_error_and_a_mark_of_the_end_is_none() {
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
        "nothing is said before there is content"
    );
    assert_eq!(answer.event("<html>", about)[0].name, "error");
}

#[test]
fn odd_counts_do_not_cost_the_answer() {
    let chunk = r#"{"usageMetadata":{"promptTokenCount":"12","candidatesTokenCount":3.0,"thoughtsTokenCount":null,"cachedContentTokenCount":-1}}"#;
    let chunk: Chunk = serde_json::from_str(chunk).unwrap();
    let wanted = Usage {
        input: 12,
        cache_read: 0,
        output: 3,
    };
    assert_eq!(usage(&chunk.usage_metadata.unwrap()), wanted);
}
