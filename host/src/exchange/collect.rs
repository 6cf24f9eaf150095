//! Collects the events of a stream into one JSON message. Pure; `expand` is the inverse.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::{
    fault::{Fault, Kind},
    message::Event,
};

type Fields = Map<String, Value>;

/// Collects events into a message. A stream without its end is an error.
pub(crate) fn collect(events: &[Event]) -> Result<Bytes, Fault> {
    let mut collector = Collector::default();
    for event in events {
        collector.take(event);
    }
    collector.finish()
}

/// Builds a message from its events, and keeps no more of them than the message needs.
#[derive(Default)]
pub(crate) struct Collector {
    message: Option<Fields>,
    blocks: Vec<Block>,
    /// Where in `blocks` the latest block of each index is.
    latest: HashMap<Option<u64>, usize>,
    complete: bool,
}

impl Collector {
    /// Takes the next event.
    pub(crate) fn take(&mut self, event: &Event) {
        let Ok(mut data) = serde_json::from_str::<Fields>(&event.data) else {
            return;
        };
        let index = data.get("index").and_then(Value::as_u64);
        match data.get("type").and_then(Value::as_str).unwrap_or_default() {
            "message_start" => self.message = object(&mut data, "message"),
            "content_block_start" => {
                self.latest.insert(index, self.blocks.len());
                self.blocks.push(Block {
                    fields: object(&mut data, "content_block").unwrap_or_default(),
                    input: String::new(),
                });
            }
            "content_block_delta" => {
                let block = self.latest.get(&index).map(|at| &mut self.blocks[*at]);
                if let (Some(block), Some(delta)) = (block, object(&mut data, "delta")) {
                    block.take(delta);
                }
            }
            "message_delta" => {
                let message = self.message.get_or_insert_default();
                message.extend(object(&mut data, "delta").unwrap_or_default());
                let usage = message.entry("usage").or_insert_with(|| json!({}));
                if let (Some(usage), Some(more)) =
                    (usage.as_object_mut(), object(&mut data, "usage"))
                {
                    usage.extend(more);
                }
            }
            "message_stop" => self.complete = true,
            _ => {}
        }
    }

    /// The message. A stream without its end is an error.
    pub(crate) fn finish(self) -> Result<Bytes, Fault> {
        let (Some(mut message), true) = (self.message, self.complete) else {
            return Err(invalid("the stream ended before `message_stop`"));
        };
        let content = self
            .blocks
            .into_iter()
            .map(Block::finish)
            .collect::<Result<Vec<_>, _>>()?;
        message.insert("content".to_owned(), Value::Array(content));
        Ok(Value::Object(message).to_string().into())
    }
}

struct Block {
    fields: Fields,
    /// The text of a tool's input so far; parsed once, at the end.
    input: String,
}

impl Block {
    fn take(&mut self, mut delta: Fields) {
        let kind = delta.shift_remove("type");
        if kind.as_ref().and_then(Value::as_str) == Some("input_json_delta") {
            self.input.push_str(
                delta
                    .get("partial_json")
                    .and_then(Value::as_str)
                    .unwrap_or_default(),
            );
            return;
        }
        if let Some(citation) = delta.shift_remove("citation")
            && let Value::Array(citations) = self.fields.entry("citations").or_insert(json!([]))
        {
            citations.push(citation);
        }
        // A string is appended, whatever its key; any other value is set.
        for (key, value) in delta {
            match (self.fields.get_mut(&key), value) {
                (Some(Value::String(text)), Value::String(more)) => text.push_str(&more),
                (_, value) => drop(self.fields.insert(key, value)),
            }
        }
    }

    fn finish(mut self) -> Result<Value, Fault> {
        if !self.input.is_empty() {
            let input = serde_json::from_str(&self.input).map_err(|error| {
                invalid("the input of a tool use is not valid JSON").from(error)
            })?;
            self.fields.insert("input".to_owned(), input);
        }
        Ok(Value::Object(self.fields))
    }
}

fn object(data: &mut Fields, key: &str) -> Option<Fields> {
    match data.remove(key) {
        Some(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

fn invalid(what: &'static str) -> Fault {
    Fault::upstream(Kind::InvalidResponse, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &str) -> Event {
        Event {
            name: String::new(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn a_stream_without_its_end_is_a_fault() {
        let start = event(r#"{"type":"message_start","message":{"id":"m"}}"#);
        assert!(collect(std::slice::from_ref(&start)).is_err());
        assert!(collect(&[start, event(r#"{"type":"message_stop"}"#)]).is_ok());
    }

    #[test]
    fn an_invalid_tool_input_is_a_fault() {
        let events = [
            event(r#"{"type":"message_start","message":{}}"#),
            event(
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use"}}"#,
            ),
            event(
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
            ),
            event(r#"{"type":"message_stop"}"#),
        ];
        assert!(collect(&events).is_err_and(|fault| fault.to_string().contains("tool use")));
    }
}
