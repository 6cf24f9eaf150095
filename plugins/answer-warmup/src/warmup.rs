//! Recognises a warm-up, and makes its answer.

use serde::Deserialize;
use witgate_plugin::{Value, json, serde_json};

/// Selects something for every warm-up and for almost nothing else: one of the last messages has
/// the word as its content or as one of its texts. Several are looked at because system messages
/// may follow the user's.
pub(crate) const MAY_BE: &str = concat!(
    r#"$.messages[-4:][?match(@, "[\\p{Z}\\t\\n\\r]*[Ww][Aa][Rr][Mm][Uu][Pp][\\p{Z}\\t\\n\\r]*")"#,
    r#" || @[?match(@.text, "[\\p{Z}\\t\\n\\r]*[Ww][Aa][Rr][Mm][Uu][Pp][\\p{Z}\\t\\n\\r]*")]]"#,
);

/// The messages of users and assistants.
pub(crate) const NOT_SYSTEM: &str = r#"$.messages[?@.role != "system"]"#;

/// The start of a text that clients add to a user's message.
const REMINDER: &str = "<system-reminder>";

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Debug, Deserialize)]
struct Block {
    r#type: String,
    #[serde(default)]
    text: String,
}

/// The query for the message at this pointer. The pointer ends with the message's index.
pub(crate) fn message_at(pointer: &str) -> String {
    let index = pointer.rsplit('/').next().unwrap_or_default();
    format!("$.messages[{index}]")
}

/// Whether this is a user's message that, without reminders, is one text equal to `warmup`. Tool
/// results and texts that only begin with the word are not warm-ups.
pub(crate) fn is_warmup(message: Value) -> bool {
    // The upstream rejects what does not have the shape of a message.
    let Ok(Message { role, content }) = serde_json::from_value(message) else {
        return false;
    };
    let word = |text: &str| text.trim().eq_ignore_ascii_case("warmup");
    role == "user"
        && match content {
            Content::Text(text) => word(&text),
            Content::Blocks(blocks) => {
                let mut written = blocks.iter().filter(|block| !is_reminder(block));
                let first = written.next();
                first.is_some_and(|block| block.r#type == "text" && word(&block.text))
                    && written.next().is_none()
            }
        }
}

fn is_reminder(block: &Block) -> bool {
    block.r#type == "text" && block.text.trim_start().starts_with(REMINDER)
}

/// A whole message of the requested model that says `OK` and has a usage of one token each way.
pub(crate) fn message(exchange: &str, model: &str) -> Value {
    json!({
        "id": format!("msg_warmup_{exchange}"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{ "type": "text", "text": "OK" }],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": { "input_tokens": 1, "output_tokens": 1 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_user_text_that_is_the_word_is_a_warm_up() {
        let warm = [
            json!({"role": "user", "content": "Warmup"}),
            json!({"role": "user", "content": " \n warmUP\u{a0}"}),
            json!({"role": "user", "content": [{"type": "text", "text": "Warmup"}]}),
            json!({"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>be nice</system-reminder>"},
                {"type": "text", "text": "WARMUP", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "\n<system-reminder>really</system-reminder>"},
            ], "zzz": 1}),
        ];
        for message in warm {
            assert!(is_warmup(message.clone()), "{message}");
        }
        let not = [
            json!({"role": "assistant", "content": "Warmup"}),
            json!({"role": "user", "content": "Warmup function in PyTorch"}),
            json!({"role": "user", "content": "Warmup\nplease"}),
            json!({"role": "user", "content": ""}),
            json!({"role": "user", "content": []}),
            json!({"role": "user", "content": [{"type": "text", "text": "<system-reminder>warmup"}]}),
            json!({"role": "user", "content": [{"type": "text", "text": "Warmup"},
                {"type": "text", "text": "Warmup"}]}),
            json!({"role": "user", "content": [{"type": "text", "text": "Warmup"},
                {"type": "image", "source": {"type": "url", "url": "x"}}]}),
            json!({"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "is_error": true, "content": "Warmup"}]}),
            json!({"role": "user", "content": [{"type": "tool_result", "text": "Warmup"}]}),
            json!({"role": "user", "content": [{"text": "Warmup"}]}),
            json!({"role": "user"}),
            json!("Warmup"),
        ];
        for message in not {
            assert!(!is_warmup(message.clone()), "{message}");
        }
    }

    #[test]
    fn the_message_is_found_by_its_pointer() {
        assert_eq!(message_at("/messages/12"), "$.messages[12]");
    }

    #[test]
    fn the_answer_echoes_any_model_name() {
        let answer = message("e1", "a\"b\\c").to_string();
        assert!(answer.contains(r#""model":"a\"b\\c""#), "{answer}");
    }
}
