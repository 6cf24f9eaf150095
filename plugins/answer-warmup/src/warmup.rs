//! What a warm-up is, and what it is told.

use serde::Deserialize;
use witgate_plugin::{Value, json, serde_json};

/// Holds for every warm-up and for next to nothing else: among the last messages (system messages may follow the user's)
/// is one whose content, or one of whose texts, is the word.
pub(crate) const MAY_BE: &str = concat!(
    r#"$.messages[-4:][?match(@, "[\\p{Z}\\t\\n\\r]*[Ww][Aa][Rr][Mm][Uu][Pp][\\p{Z}\\t\\n\\r]*")"#,
    r#" || @[?match(@.text, "[\\p{Z}\\t\\n\\r]*[Ww][Aa][Rr][Mm][Uu][Pp][\\p{Z}\\t\\n\\r]*")]]"#,
);

/// The messages that somebody wrote.
pub(crate) const NOT_SYSTEM: &str = r#"$.messages[?@.role != "system"]"#;

/// What clients put into a user's message on their own.
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

/// The query for the message at this pointer, which ends with its index.
pub(crate) fn message_at(pointer: &str) -> String {
    let index = pointer.rsplit('/').next().unwrap_or_default();
    format!("$.messages[{index}]")
}

/// A user's message that, reminders aside, is one text equal to `warmup`. A tool's result never is, nor is a text that
/// only begins with the word.
pub(crate) fn is_warmup(message: Value) -> bool {
    // What is not shaped like a message is for the upstream to refuse.
    let Ok(Message { role, content }) = serde_json::from_value(message) else {
        return false;
    };
    let word = |text: &str| text.trim().eq_ignore_ascii_case("warmup");
    role == "user"
        && match content {
            Content::Text(text) => word(&text),
            Content::Blocks(blocks) => {
                let mut said = blocks.iter().filter(|block| !is_reminder(block));
                let first = said.next();
                first.is_some_and(|block| block.r#type == "text" && word(&block.text))
                    && said.next().is_none()
            }
        }
}

fn is_reminder(block: &Block) -> bool {
    block.r#type == "text" && block.text.trim_start().starts_with(REMINDER)
}

/// A whole message of the asked model that says `OK` and costs next to nothing.
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
