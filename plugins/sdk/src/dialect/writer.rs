//! Writes an Anthropic message event by event.

use serde_json::{Value, json};

use crate::response::Event;

/// The token counts of a message, as Anthropic counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, without those that were read from or written to a cache.
    pub input: u64,
    /// Tokens of the prompt that were read from a cache.
    pub cache_read: u64,
    /// Tokens of the prompt that were written to a cache.
    pub cache_write: u64,
    /// Tokens of the output, thinking included.
    pub output: u64,
}

/// Writes a message as events, in the order that clients rely on: `message_start`, the blocks in
/// sequence, one `message_delta`, `message_stop`.
///
/// Blocks open and close automatically: a text after thinking closes the thinking. Everything after
/// the end is ignored.
///
/// ```
/// use witgate_plugin::dialect::{Usage, Writer};
///
/// let mut writer = Writer::default();
/// writer.begin("msg_1", "claude-opus-5-5", Usage::default());
/// writer.text("hel");
/// writer.text("lo");
/// writer.end("end_turn", None, Usage { output: 2, ..Usage::default() });
/// let names: Vec<_> = writer.take().into_iter().map(|event| event.name).collect();
/// assert_eq!(names, ["message_start", "content_block_start", "content_block_delta",
///     "content_block_delta", "content_block_stop", "message_delta", "message_stop"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Writer {
    stage: Stage,
    /// The index of the next block.
    next: u32,
    events: Vec<Event>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Before,
    /// The message has begun, and no block is open.
    Between,
    Text,
    Thinking {
        signed: bool,
    },
    ToolUse {
        input: bool,
    },
    /// A block without pieces.
    Whole,
    Ended,
}

impl Writer {
    /// Begins the message, once. `model` is the requested model, and `usage` the counts that are
    /// known so far.
    pub fn begin(&mut self, id: &str, model: &str, usage: Usage) {
        if self.stage != Stage::Before {
            return;
        }
        self.stage = Stage::Between;
        let message = json!({
            "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": tokens(usage),
        });
        let data = json!({ "type": "message_start", "message": message });
        self.events.push(Event::new("message_start", data));
    }

    /// Writes more of a text. An empty text opens no block.
    pub fn text(&mut self, more: &str) {
        if more.is_empty() || !self.writes() {
            return;
        }
        if self.stage != Stage::Text {
            self.open(Stage::Text, r#"{"type":"text","text":""}"#);
        }
        self.delta(&format!(
            r#"{{"type":"text_delta","text":{}}}"#,
            quoted(more)
        ));
    }

    /// Writes more thinking. An empty text opens no block.
    pub fn thinking(&mut self, more: &str) {
        if more.is_empty() || !self.writes() {
            return;
        }
        self.open_thinking();
        let text = quoted(more);
        self.delta(&format!(r#"{{"type":"thinking_delta","thinking":{text}}}"#));
    }

    /// Signs the open thinking block. Without one, opens and signs an empty block.
    pub fn signature(&mut self, signature: &str) {
        if signature.is_empty() || !self.writes() {
            return;
        }
        self.open_thinking();
        let text = quoted(signature);
        self.delta(&format!(
            r#"{{"type":"signature_delta","signature":{text}}}"#
        ));
        self.stage = Stage::Thinking { signed: true };
    }

    /// Begins a tool call.
    pub fn tool_use(&mut self, id: &str, name: &str) {
        if !self.writes() {
            return;
        }
        let (id, name) = (quoted(id), quoted(name));
        let block = format!(r#"{{"type":"tool_use","id":{id},"name":{name},"input":{{}}}}"#);
        self.open(Stage::ToolUse { input: false }, &block);
    }

    /// Writes more of the open call's input: a piece of a JSON text.
    pub fn tool_input(&mut self, more: &str) {
        if more.is_empty() || !matches!(self.stage, Stage::ToolUse { .. }) {
            return;
        }
        let text = quoted(more);
        self.delta(&format!(
            r#"{{"type":"input_json_delta","partial_json":{text}}}"#
        ));
        self.stage = Stage::ToolUse { input: true };
    }

    /// Writes a block that has no pieces, such as the result of a server tool.
    pub fn block(&mut self, block: &Value) {
        if !self.writes() {
            return;
        }
        self.open(Stage::Whole, &block.to_string());
        self.close();
    }

    /// Closes the open block. A call without input gets the input `{}`.
    pub fn close(&mut self) {
        match self.stage {
            Stage::Before | Stage::Between | Stage::Ended => return,
            Stage::ToolUse { input: false } => self.tool_input("{}"),
            _ => {}
        }
        let data = format!(r#"{{"type":"content_block_stop","index":{}}}"#, self.next);
        self.push("content_block_stop", data);
        self.next += 1;
        self.stage = Stage::Between;
    }

    /// Ends the message, once. Does nothing before it has begun.
    pub fn end(&mut self, stop_reason: &str, stop_sequence: Option<&str>, usage: Usage) {
        if !self.writes() {
            return;
        }
        self.close();
        let delta = json!({ "stop_reason": stop_reason, "stop_sequence": stop_sequence });
        let data = json!({ "type": "message_delta", "delta": delta, "usage": tokens(usage) });
        self.events.push(Event::new("message_delta", data));
        self.push("message_stop", r#"{"type":"message_stop"}"#.to_owned());
        self.stage = Stage::Ended;
    }

    /// Ends the stream with an error of this Anthropic type instead of the rest of the message.
    pub fn fail(&mut self, error_type: &str, message: &str) {
        if self.stage == Stage::Ended {
            return;
        }
        let error = json!({ "type": error_type, "message": message });
        let data = json!({ "type": "error", "error": error });
        self.events.push(Event::new("error", data));
        self.stage = Stage::Ended;
    }

    /// Whether the message has begun.
    pub fn has_begun(&self) -> bool {
        self.stage != Stage::Before
    }

    /// Whether the message has ended, completely or with an error.
    pub fn has_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Whether any block has begun.
    pub fn has_content(&self) -> bool {
        self.next > 0 || !matches!(self.stage, Stage::Before | Stage::Between | Stage::Ended)
    }

    /// The events written since the last call.
    pub fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn writes(&self) -> bool {
        !matches!(self.stage, Stage::Before | Stage::Ended)
    }

    fn open_thinking(&mut self) {
        // A thinking block has one signature.
        if self.stage != (Stage::Thinking { signed: false }) {
            let block = r#"{"type":"thinking","thinking":"","signature":""}"#;
            self.open(Stage::Thinking { signed: false }, block);
        }
    }

    fn open(&mut self, stage: Stage, block: &str) {
        self.close();
        self.stage = stage;
        let index = self.next;
        let data =
            format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#);
        self.push("content_block_start", data);
    }

    fn delta(&mut self, delta: &str) {
        let index = self.next;
        let data = format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#);
        self.push("content_block_delta", data);
    }

    fn push(&mut self, name: &str, data: String) {
        let name = name.to_owned();
        self.events.push(Event { name, data });
    }
}

fn tokens(usage: Usage) -> serde_json::Value {
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summaries(events: &[Event]) -> Vec<String> {
        events
            .iter()
            .map(|event| {
                let data: Value = event.parse().unwrap();
                assert_eq!(data["type"], event.name.as_str());
                let block = data["delta"]["type"]
                    .as_str()
                    .or(data["content_block"]["type"].as_str());
                let index = &data["index"];
                format!("{} {index} {}", event.name, block.unwrap_or_default())
            })
            .collect()
    }

    fn begun() -> Writer {
        let mut writer = Writer::default();
        writer.begin("msg_1", "m", Usage::default());
        writer.take();
        writer
    }

    #[test]
    fn blocks_are_in_sequence_and_never_overlap() {
        let mut writer = begun();
        writer.thinking("hm");
        writer.signature("c2ln");
        writer.text("a");
        writer.tool_use("t1", "ls");
        writer.tool_input("{}");
        writer.tool_use("t2", "ls");
        writer.close();
        assert_eq!(
            summaries(&writer.take()),
            [
                "content_block_start 0 thinking",
                "content_block_delta 0 thinking_delta",
                "content_block_delta 0 signature_delta",
                "content_block_stop 0 ",
                "content_block_start 1 text",
                "content_block_delta 1 text_delta",
                "content_block_stop 1 ",
                "content_block_start 2 tool_use",
                "content_block_delta 2 input_json_delta",
                "content_block_stop 2 ",
                "content_block_start 3 tool_use",
                "content_block_delta 3 input_json_delta",
                "content_block_stop 3 ",
            ]
        );
    }

    #[test]
    fn a_block_without_pieces_is_complete_in_its_start() {
        let mut writer = begun();
        writer.text("a");
        writer
            .block(&json!({ "type": "web_search_tool_result", "tool_use_id": "s", "content": [] }));
        let events = writer.take();
        assert_eq!(
            summaries(&events)[3..],
            [
                "content_block_start 1 web_search_tool_result",
                "content_block_stop 1 "
            ]
        );
        assert!(events[3].data.contains(r#""tool_use_id":"s""#));
    }

    #[test]
    fn a_second_signature_opens_another_thinking_block() {
        let mut writer = begun();
        writer.signature("a");
        writer.signature("b");
        let starts = summaries(&writer.take());
        let starts = starts.iter().filter(|line| line.contains("start")).count();
        assert_eq!(starts, 2);
    }

    #[test]
    fn nothing_is_written_before_the_beginning_or_after_the_end() {
        let mut writer = Writer::default();
        writer.text("x");
        writer.end("end_turn", None, Usage::default());
        assert!(writer.take().is_empty() && !writer.has_begun() && !writer.has_content());
        let mut writer = begun();
        writer.text("");
        writer.end("end_turn", None, Usage::default());
        assert!(writer.has_ended() && !writer.has_content());
        writer.take();
        writer.text("x");
        writer.fail("api_error", "late");
        writer.end("end_turn", None, Usage::default());
        assert!(writer.take().is_empty());
    }

    #[test]
    fn an_error_replaces_the_rest_of_the_message() {
        let mut writer = begun();
        writer.text("half");
        writer.take();
        writer.fail("overloaded_error", "busy");
        let events = writer.take();
        assert_eq!(events.len(), 1);
        assert_eq!(
            events[0].data,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#
        );
    }
}
