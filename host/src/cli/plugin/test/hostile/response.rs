//! Responses that are unusual but legal, and some that are not.

use serde_json::{Value, json};

use super::super::message::events;

/// The text of the answers: long words, several scripts, and what looks like placeholders.
const TEXT: &str = "Hello there: [[secret-1]] costs 3 \u{20ac}, \u{65e5}\u{672c}\u{8a9e} \u{1f642} \"quoted\" C:\\temp, sk-ant-0123456789abcdef, END.";

/// An answer with thinking, a text and a call of a tool.
pub(super) fn message() -> Value {
    json!({
        "id": "msg_01", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5",
        "content": [
            { "type": "thinking", "thinking": "I think, therefore.", "signature": "c2lnbmF0dXJlLW9m" },
            { "type": "redacted_thinking", "data": "b3BhcXVl" },
            { "type": "text", "text": TEXT },
            { "type": "tool_use", "id": "toolu_07", "name": "ls", "input": { "path": "/tmp/[[secret-1]]" } },
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": { "input_tokens": 12, "output_tokens": 34 },
    })
}

/// How texts are split into deltas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pieces {
    Whole,
    /// As models do.
    Words,
    Characters,
}

/// The stream of a message.
pub(super) fn stream(message: &Value, pieces: Pieces) -> String {
    let mut start = message.clone();
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    let mut events = vec![json!({ "type": "message_start", "message": start })];
    for (index, block) in message["content"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        block_events(index, block, pieces, &mut events);
    }
    let delta = json!({ "stop_reason": message["stop_reason"], "stop_sequence": null });
    let usage = json!({ "output_tokens": message["usage"]["output_tokens"] });
    events.push(json!({ "type": "message_delta", "delta": delta, "usage": usage }));
    events.push(json!({ "type": "message_stop" }));
    events.iter().map(event).collect()
}

fn block_events(index: usize, block: &Value, pieces: Pieces, events: &mut Vec<Value>) {
    let mut start = block.clone();
    let mut deltas = Vec::new();
    let mut deltas_of = |text: &str, kind: &str, key: &str| {
        deltas.extend(split(text, pieces).map(|part| json!({ "type": kind, key: part })));
    };
    match block["type"].as_str() {
        Some("text") => {
            start["text"] = json!("");
            deltas_of(text(block, "text"), "text_delta", "text");
        }
        Some("thinking") => {
            start["thinking"] = json!("");
            start["signature"] = json!("");
            deltas_of(text(block, "thinking"), "thinking_delta", "thinking");
            deltas.push(json!({ "type": "signature_delta", "signature": block["signature"] }));
        }
        Some("tool_use") => {
            start["input"] = json!({});
            let input = block["input"].to_string();
            deltas_of(&input, "input_json_delta", "partial_json");
        }
        _ => {}
    }
    events.push(json!({ "type": "content_block_start", "index": index, "content_block": start }));
    let delta = |delta| json!({ "type": "content_block_delta", "index": index, "delta": delta });
    events.extend(deltas.into_iter().map(delta));
    events.push(json!({ "type": "content_block_stop", "index": index }));
}

fn text<'a>(block: &'a Value, key: &str) -> &'a str {
    block[key].as_str().unwrap_or_default()
}

fn split(text: &str, pieces: Pieces) -> std::vec::IntoIter<&str> {
    let parts: Vec<&str> = match pieces {
        Pieces::Whole => vec![text],
        Pieces::Words => text.split_inclusive(' ').collect(),
        Pieces::Characters => text.split_inclusive(|_| true).collect(),
    };
    parts.into_iter()
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", text(data, "type"))
}

/// What [`odd`] adds to a stream and a plugin has no reason to remove.
pub(super) const ODD: [&str; 3] = ["x_unknown_event", "x_unknown_delta", "x_unknown_block"];

/// The stream with events, deltas and blocks of unknown kinds, empty deltas and pings.
pub(super) fn odd(stream: &str) -> String {
    let mut out = String::new();
    let mut next = 0;
    let mut added = false;
    for found in events(stream) {
        let data: Value = serde_json::from_str(&found.data).unwrap_or_default();
        let kind = text(&data, "type").to_owned();
        if kind == "message_delta" {
            let block = json!({ "type": ODD[2], "data": 1 });
            for data in [
                json!({ "type": "content_block_start", "index": next, "content_block": block }),
                json!({ "type": "content_block_stop", "index": next }),
            ] {
                out.push_str(&event(&data));
            }
        }
        out.push_str(&event(&data));
        match kind.as_str() {
            "message_start" => {
                out.push_str(": a comment\n\n");
                out.push_str(&event(&json!({ "type": "ping" })));
                out.push_str(&event(&json!({ "type": ODD[0], "value": 1 })));
            }
            "content_block_start" => next += 1,
            _ => {}
        }
        let index = data["index"].as_u64();
        if data["content_block"]["type"] == "text" && !added {
            added = true;
            for delta in [
                json!({ "type": "text_delta", "text": "" }),
                json!({ "type": ODD[1], "value": 1 }),
            ] {
                let delta =
                    json!({ "type": "content_block_delta", "index": index, "delta": delta });
                out.push_str(&event(&delta));
            }
        }
    }
    out
}

/// Answers of failing upstreams: status, content type and body.
pub(super) fn errors() -> Vec<(u16, &'static str, String)> {
    let json = "application/json";
    let envelope = |kind: &str, message: &str| {
        json!({ "type": "error", "error": { "type": kind, "message": message } }).to_string()
    };
    vec![
        (
            400,
            json,
            envelope(
                "invalid_request_error",
                "x_field: Extra inputs are not permitted",
            ),
        ),
        (
            400,
            json,
            envelope(
                "invalid_request_error",
                "prompt is too long: 300000 tokens > 200000 maximum",
            ),
        ),
        (400, json, "{}".to_owned()),
        (400, json, "[1, \"two\"]".to_owned()),
        (400, json, "null".to_owned()),
        (401, json, r#"{"error": "no"}"#.to_owned()),
        (
            403,
            "text/html",
            "<html><body>Blocked</body></html>".to_owned(),
        ),
        (404, "text/plain", String::new()),
        (
            413,
            json,
            r#"{"error": {"message": null, "type": 7}}"#.to_owned(),
        ),
        (429, json, envelope("rate_limit_error", "slow down")),
        (500, json, "{\"error\": {\"message\": \"cut o".to_owned()),
        (
            502,
            "text/html",
            "<html>\u{fffd} Bad gateway</html>".to_owned(),
        ),
        (529, json, envelope("overloaded_error", "Overloaded")),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::super::message::Message;
    use super::*;

    #[test]
    fn every_way_to_split_a_stream_is_the_same_message() {
        let whole = Message::of_json(&message());
        for pieces in [Pieces::Whole, Pieces::Words, Pieces::Characters] {
            let text = stream(&message(), pieces);
            let read = Message::of_stream(&text);
            assert!(read.problems.is_empty(), "{:?}", read.problems);
            assert!(read.complete && read.stop_reason == whole.stop_reason);
            let both = read.blocks.iter().zip(&whole.blocks);
            assert_eq!(
                both.filter(|(one, other)| one.same(other)).count(),
                4,
                "{text}"
            );
        }
    }

    #[test]
    fn an_odd_stream_is_still_one_message() {
        let text = odd(&stream(&message(), Pieces::Words));
        let read = Message::of_stream(&text);
        assert!(
            read.problems.is_empty() && read.complete,
            "{:?}",
            read.problems
        );
        assert_eq!(read.blocks.len(), 5);
        assert!(ODD.iter().all(|odd| text.contains(odd)), "{text}");
    }
}
