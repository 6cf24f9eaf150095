//! What JSON and events say: whether they are a message, and whether it has any content. Pure.

use serde_json::value::RawValue;

use crate::{exchange::members::Members, message::RequestKind, sse::Frame};

use super::foreign_error::foreign_error;

/// Whether JSON has what a response of this kind must have.
pub(super) fn is_response(kind: RequestKind, json: &Members<'_>) -> bool {
    match kind {
        RequestKind::Messages => json.get("content").is_some_and(is_array),
        RequestKind::CountTokens => json.get("input_tokens").is_some_and(is_number),
        RequestKind::Models => true,
    }
}

/// Whether a message ended on its own without text or a call, so that another attempt may say more.
pub(super) fn is_empty_message(message: &Members<'_>) -> bool {
    let content = message.get("content").unwrap_or("[]");
    ended_on_its_own(message) && !blocks(content).any(|block| is_shown(&block))
}

/// Whether the model ended the message, and no limit, call or refusal. `end` has the stop reason.
pub(super) fn ended_on_its_own(end: &Members<'_>) -> bool {
    matches!(end.text("stop_reason").as_deref(), None | Some("end_turn"))
}

/// Whether the data of a `message_delta` has a stop reason.
pub(in crate::exchange) fn has_stop_reason(data: &[u8]) -> bool {
    let data = String::from_utf8_lossy(data);
    let data = Members::read(&data);
    let delta = data.as_ref().and_then(|data| data.object("delta"));
    delta.is_some_and(|delta| delta.text("stop_reason").is_some())
}

/// Whether an event can be the last of a stream: the end of the message, or an error.
pub(in crate::exchange) fn is_last(frame: &Frame) -> bool {
    let data = || frame.data().unwrap_or_default();
    match &*frame.event_type() {
        b"message_stop" | b"error" => true,
        b"message_delta" => has_stop_reason(&data()),
        b"message" => foreign_error(&data()).is_some(),
        _ => false,
    }
}

/// Whether an event of a message brings content: text, thinking, or a block of another type.
pub(super) fn has_content(kind: &[u8], data: &str) -> bool {
    let Some(data) = Members::read(data) else {
        return false;
    };
    match kind {
        b"message_start" => {
            let message = data.object("message").unwrap_or_default();
            blocks(message.get("content").unwrap_or("[]")).any(|block| is_shown(&block))
        }
        b"content_block_start" => {
            let block = data.object("content_block").unwrap_or_default();
            block.text("type").as_deref() != Some("thinking") && is_shown(&block)
        }
        b"content_block_delta" => {
            let delta = data.object("delta").unwrap_or_default();
            delta
                .iter()
                .any(|(key, value)| key != "type" && value != "\"\"")
        }
        _ => false,
    }
}

/// Whether a block is more than thinking or an empty text.
fn is_shown(block: &Members<'_>) -> bool {
    match block.text("type").as_deref() {
        Some("text") => block
            .text("text")
            .is_some_and(|text| !text.trim().is_empty()),
        Some("thinking" | "redacted_thinking") => false,
        _ => true,
    }
}

fn blocks(content: &str) -> impl Iterator<Item = Members<'_>> {
    let blocks: Vec<&RawValue> = serde_json::from_str(content).unwrap_or_default();
    blocks
        .into_iter()
        .filter_map(|block| Members::read(block.get()))
}

fn is_array(value: &str) -> bool {
    value.starts_with('[')
}

fn is_number(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_a_response_of_its_kind_or_not() {
        let (messages, counts) = (RequestKind::Messages, RequestKind::CountTokens);
        let table = [
            (messages, r#"{"content":[]}"#, true),
            (messages, r#"{"content":"hello"}"#, false),
            (messages, r#"{"code":500,"msg":"404 NOT_FOUND"}"#, false),
            (
                messages,
                r#"{"choices":[{"message":{"content":[]}}]}"#,
                false,
            ),
            (messages, "{}", false),
            (counts, r#"{"input_tokens":0}"#, true),
            (counts, r#"{"input_tokens":null}"#, false),
            (counts, r#"{"content":[]}"#, false),
            (RequestKind::Models, "{}", true),
        ];
        for (kind, json, expected) in table {
            let json_members = Members::read(json).unwrap();
            assert_eq!(is_response(kind, &json_members), expected, "{json}");
        }
    }

    #[test]
    fn a_message_is_empty_if_the_model_ended_it_without_text_or_a_call() {
        let table = [
            (r#"{"content":[],"stop_reason":"end_turn"}"#, true),
            (r#"{"content":[],"stop_reason":null}"#, true),
            (r#"{"content":[{"type":"text","text":" \n"}]}"#, true),
            (
                r#"{"content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":""}]}"#,
                true,
            ),
            (r#"{"content":[{"type":"text","text":"x"}]}"#, false),
            (r#"{"content":[{"type":"tool_use","input":{}}]}"#, false),
            (r#"{"content":[],"stop_reason":"max_tokens"}"#, false),
            (r#"{"content":[],"stop_reason":"refusal"}"#, false),
            (r#"{"content":[],"stop_reason":"stop_sequence"}"#, false),
        ];
        for (message, expected) in table {
            let members = Members::read(message).unwrap();
            assert_eq!(is_empty_message(&members), expected, "{message}");
        }
    }

    #[test]
    fn events_bring_content_or_not() {
        let table = [
            ("message_start", r#"{"message":{"content":[]}}"#, false),
            (
                "message_start",
                r#"{"message":{"content":[{"type":"text","text":"x"}]}}"#,
                true,
            ),
            (
                "content_block_start",
                r#"{"content_block":{"type":"text","text":""}}"#,
                false,
            ),
            (
                "content_block_start",
                r#"{"content_block":{"type":"thinking","thinking":""}}"#,
                false,
            ),
            (
                "content_block_start",
                r#"{"content_block":{"type":"tool_use"}}"#,
                true,
            ),
            (
                "content_block_delta",
                r#"{"delta":{"type":"text_delta","text":""}}"#,
                false,
            ),
            (
                "content_block_delta",
                r#"{"delta":{"type":"thinking_delta","thinking":"h"}}"#,
                true,
            ),
            ("message_delta", r#"{"delta":{"stop_reason":"x"}}"#, false),
            ("content_block_delta", "soon", false),
        ];
        for (kind, data, expected) in table {
            assert_eq!(
                has_content(kind.as_bytes(), data),
                expected,
                "{kind} {data}"
            );
        }
    }

    #[test]
    fn a_stop_reason_is_a_text() {
        assert!(has_stop_reason(br#"{"delta":{"stop_reason":"end_turn"}}"#));
        for data in [r#"{"delta":{"stop_reason":null}}"#, r#"{"delta":{}}"#, "x"] {
            assert!(!has_stop_reason(data.as_bytes()), "{data}");
        }
    }
}
