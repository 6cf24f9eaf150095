//! Turns that the strict upstream produces, as a message or as the stream of one.

use serde_json::{Value, json};

use super::check::Signer;

/// A block of a turn before it is signed.
#[derive(Clone, Debug)]
pub enum Part {
    Thinking(String),
    Redacted,
    Text(String),
    /// A call of the tool of this name with this input.
    Tool(String, Value),
}

/// What the model says next.
#[derive(Clone, Debug)]
pub struct Turn(pub Vec<Part>);

impl Turn {
    /// Thinking and then a text.
    pub fn text(text: &str) -> Self {
        let thought = Part::Thinking(format!("thought before {text}"));
        Self(vec![thought, Part::Text(text.to_owned())])
    }

    /// Thinking and then a call of this tool.
    pub fn tool(name: &str, input: Value) -> Self {
        let thought = Part::Thinking(format!("thought before {name}"));
        Self(vec![thought, Part::Tool(name.to_owned(), input)])
    }

    /// The same turn of a model whose thinking is disabled.
    pub(super) fn without_thinking(mut self) -> Self {
        self.0
            .retain(|part| !matches!(part, Part::Thinking(_) | Part::Redacted));
        self
    }

    /// The content blocks. `number` makes the ids of tool calls unique.
    pub(super) fn blocks(&self, number: usize, signer: &mut Signer) -> Vec<Value> {
        let mut thoughts = 0;
        let mut blocks = Vec::new();
        for (at, part) in self.0.iter().enumerate() {
            let others = at - thoughts;
            blocks.push(match part {
                Part::Thinking(text) => {
                    thoughts += 1;
                    let signature = signer.sign(false, others);
                    json!({"type": "thinking", "thinking": text, "signature": signature})
                }
                Part::Redacted => {
                    thoughts += 1;
                    json!({"type": "redacted_thinking", "data": signer.sign(true, others)})
                }
                Part::Text(text) => json!({"type": "text", "text": text}),
                Part::Tool(name, input) => {
                    let id = format!("toolu_{number:06}_{at}");
                    json!({"type": "tool_use", "id": id, "name": name, "input": input})
                }
            });
        }
        blocks
    }

    pub(super) fn stop_reason(&self) -> &'static str {
        let calls = self.0.iter().any(|part| matches!(part, Part::Tool(..)));
        if calls { "tool_use" } else { "end_turn" }
    }
}

/// The events of a complete message.
pub(super) fn stream(message: &Value) -> String {
    let mut start = message.clone();
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["usage"]["output_tokens"] = json!(1);
    let mut events = event(&json!({"type": "message_start", "message": start}));
    let blocks = message["content"].as_array().into_iter().flatten();
    for (index, block) in blocks.enumerate() {
        let (start, deltas) = pieces(block);
        let start = json!({"type": "content_block_start", "index": index, "content_block": start});
        events.push_str(&event(&start));
        for delta in deltas {
            let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
            events.push_str(&event(&delta));
        }
        events.push_str(&event(
            &json!({"type": "content_block_stop", "index": index}),
        ));
    }
    events.push_str(&event(&json!({
        "type": "message_delta",
        "delta": {"stop_reason": message["stop_reason"], "stop_sequence": null},
        "usage": {"output_tokens": message["usage"]["output_tokens"]},
    })));
    events + &event(&json!({"type": "message_stop"}))
}

fn event(data: &Value) -> String {
    let name = data["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}

/// How a block begins in a stream, and what follows.
fn pieces(block: &Value) -> (Value, Vec<Value>) {
    let mut start = block.clone();
    match block["type"].as_str() {
        Some("thinking") => {
            start["thinking"] = json!("");
            start["signature"] = json!("");
            let thinking = json!({"type": "thinking_delta", "thinking": block["thinking"]});
            let signature = json!({"type": "signature_delta", "signature": block["signature"]});
            (start, vec![thinking, signature])
        }
        Some("text") => {
            start["text"] = json!("");
            let delta = json!({"type": "text_delta", "text": block["text"]});
            (start, vec![delta])
        }
        Some("tool_use") => {
            start["input"] = json!({});
            let input = block["input"].to_string();
            let (first, rest) = input.split_at(1);
            let delta = |part| json!({"type": "input_json_delta", "partial_json": part});
            (start, vec![delta(first), delta(rest)])
        }
        _ => (start, Vec::new()),
    }
}
