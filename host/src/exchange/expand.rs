//! One JSON message taken apart into the events that would have made it. Pure; `collect` is the way back.

use serde_json::{Map, Value, json};

use crate::message::Event;

/// `None` if the text is no message.
pub(crate) fn expand(message: &[u8]) -> Option<Vec<Event>> {
    let mut message: Map<String, Value> = serde_json::from_slice(message).ok()?;
    let Value::Array(content) = message.get_mut("content")?.take() else {
        return None;
    };
    let mut last = Map::new();
    for key in ["stop_reason", "stop_sequence"] {
        let value = message.insert(key.to_owned(), Value::Null);
        last.insert(key.to_owned(), value.unwrap_or_default());
    }
    let usage = message.get("usage").cloned().unwrap_or_else(|| json!({}));
    if let Some(tokens) = message
        .get_mut("usage")
        .and_then(|usage| usage.get_mut("output_tokens"))
    {
        // Nothing is written yet; the whole count comes at the end.
        *tokens = json!(0);
    }
    message.insert("content".to_owned(), json!([]));
    let mut events = vec![event(
        json!({ "type": "message_start", "message": message }),
    )];
    for (index, block) in content.into_iter().enumerate() {
        let (start, deltas) = take_apart(block);
        let block =
            json!({ "type": "content_block_start", "index": index, "content_block": start });
        events.push(event(block));
        events.extend(deltas.into_iter().map(|delta| {
            event(json!({ "type": "content_block_delta", "index": index, "delta": delta }))
        }));
        events.push(event(
            json!({ "type": "content_block_stop", "index": index }),
        ));
    }
    events.push(event(
        json!({ "type": "message_delta", "delta": last, "usage": usage }),
    ));
    events.push(event(json!({ "type": "message_stop" })));
    Some(events)
}

fn event(data: Value) -> Event {
    Event {
        name: data["type"].as_str().unwrap_or_default().to_owned(),
        data: data.to_string(),
    }
}

/// A block as it begins, and the deltas that complete it. A block of a kind that has no deltas begins complete.
fn take_apart(mut block: Value) -> (Value, Vec<Value>) {
    let mut deltas = Vec::new();
    let Some(fields) = block.as_object_mut() else {
        return (block, deltas);
    };
    let kind = fields
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match kind {
        "text" => {
            // Clients expect text before what it cites.
            deltas.extend(move_out(fields, "text", json!(""), "text_delta"));
            if let Some(Value::Array(citations)) = fields.get_mut("citations") {
                deltas.extend(
                    citations
                        .drain(..)
                        .map(|citation| json!({ "type": "citations_delta", "citation": citation })),
                );
            }
        }
        "thinking" => {
            deltas.extend(move_out(fields, "thinking", json!(""), "thinking_delta"));
            deltas.extend(move_out(fields, "signature", json!(""), "signature_delta"));
        }
        _ if kind.ends_with("tool_use") => {
            if let Some(input) = fields.insert("input".to_owned(), json!({})) {
                let text = input.to_string();
                deltas.push(json!({ "type": "input_json_delta", "partial_json": text }));
            }
        }
        _ => {}
    }
    (block, deltas)
}

fn move_out(
    fields: &mut Map<String, Value>,
    key: &str,
    empty: Value,
    delta: &str,
) -> Option<Value> {
    let value = fields.insert(key.to_owned(), empty.clone())?;
    (value != empty).then(|| json!({ "type": delta, key: value }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::collect::collect;

    fn message() -> Value {
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [
                { "type": "thinking", "thinking": "hm", "signature": "c2ln" },
                { "type": "text", "text": "é\nb", "citations": [{ "type": "x", "n": 1 }] },
                { "type": "tool_use", "id": "toolu_1", "name": "Bash", "input": { "command": "ls" } },
                { "type": "server_tool_result", "content": [1] },
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": { "input_tokens": 7, "output_tokens": 9 },
        })
    }

    #[test]
    fn the_events_are_those_of_a_stream() {
        let events = expand(message().to_string().as_bytes()).unwrap();
        let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
        let (start, delta, stop) = (
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
        );
        assert_eq!(
            names,
            [
                "message_start",
                start,
                delta,
                delta,
                stop,
                start,
                delta,
                delta,
                stop,
                start,
                delta,
                stop,
                start,
                stop,
                "message_delta",
                "message_stop",
            ]
        );
        assert!(events[0].data.contains("\"content\":[]"));
        assert!(events[0].data.contains("\"stop_reason\":null"));
    }

    #[test]
    fn collected_again_it_is_the_same_message() {
        let events = expand(message().to_string().as_bytes()).unwrap();
        let collected = collect(&events).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&collected).unwrap(),
            message()
        );
    }

    #[test]
    fn what_is_no_message_is_not_taken_apart() {
        assert!(expand(b"{\"input_tokens\":1}").is_none());
        assert!(expand(b"[]").is_none());
    }
}
