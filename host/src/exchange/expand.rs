//! Expands one JSON message into the events of a stream. Pure; `collect` is the inverse.
//!
//! Every value is moved as it is written: nothing below a block's members is parsed or serialised.

use std::borrow::Cow;

use serde_json::value::RawValue;
use witgate_document::string;

use crate::message::Event;

use super::members::Members;

/// The events of a message; `None` if the text is not a message.
pub(super) fn expand(message: &[u8]) -> Option<Vec<Event>> {
    let message = String::from_utf8_lossy(message);
    let mut message = Members::read(&message)?;
    let content = message.set("content", "[]")?;
    let content: Vec<&RawValue> = serde_json::from_str(&content).ok()?;
    let mut last = Members::default();
    for key in ["stop_reason", "stop_sequence"] {
        let value = message.set(key, "null");
        last.set(key, value.unwrap_or(Cow::Borrowed("null")));
    }
    let usage = message.get("usage").unwrap_or("{}").to_owned();
    if let Some(at_start) = without_output(&usage) {
        message.set("usage", at_start);
    }
    let mut events = Vec::with_capacity(3 + 3 * content.len());
    events.push(event(
        "message_start",
        &[",\"message\":", &message.to_json()],
    ));
    for (index, block) in content.into_iter().enumerate() {
        let index = index.to_string();
        let (start, deltas) = split(block.get());
        let at = [",\"index\":", &index];
        let named = |name: &str, key: &str, value: &str| {
            event(name, &[at[0], at[1], ",\"", key, "\":", value])
        };
        events.push(named("content_block_start", "content_block", &start));
        let delta = |delta: String| named("content_block_delta", "delta", &delta);
        events.extend(deltas.into_iter().map(delta));
        events.push(event("content_block_stop", &at));
    }
    let members = [",\"delta\":", &last.to_json(), ",\"usage\":", &usage];
    events.push(event("message_delta", &members));
    events.push(event("message_stop", &[]));
    Some(events)
}

/// An event of this type with these members, as parts of JSON.
fn event(name: &str, members: &[&str]) -> Event {
    let mut data = ["{\"type\":\"", name, "\""].concat();
    data.reserve(members.iter().map(|part| part.len()).sum::<usize>() + 1);
    data.extend(members.iter().copied());
    data.push('}');
    // In JSON, line breaks occur only between values and can be left out. In an event they would
    // end the line.
    if memchr::memchr2(b'\n', b'\r', data.as_bytes()).is_some() {
        data.retain(|c| !matches!(c, '\n' | '\r'));
    }
    let name = name.to_owned();
    Event { name, data }
}

/// The usage at the start of a message: no output yet, since the whole count comes at the end.
fn without_output(usage: &str) -> Option<String> {
    let mut usage = Members::read(usage)?;
    usage.get("output_tokens")?;
    usage.set("output_tokens", "0");
    Some(usage.to_json())
}

/// A block as it starts, and the deltas that complete it. A block of a type without deltas starts
/// complete.
fn split(block: &str) -> (Cow<'_, str>, Vec<String>) {
    let mut deltas = Vec::new();
    let Some(mut fields) = Members::read(block) else {
        return (Cow::Borrowed(block), deltas);
    };
    match fields.get("type").map(|kind| kind.trim_matches('"')) {
        Some("text") => {
            // Clients expect the text before its citations.
            deltas.extend(move_out(&mut fields, "text", "text_delta"));
            deltas.extend(citations(&mut fields));
        }
        Some("thinking") => {
            deltas.extend(move_out(&mut fields, "thinking", "thinking_delta"));
            deltas.extend(move_out(&mut fields, "signature", "signature_delta"));
        }
        Some(kind) if kind.ends_with("tool_use") => {
            if let Some(input) = fields.set("input", "{}") {
                let text = string::encode(&input);
                deltas.push(delta("input_json_delta", "partial_json", &text));
            }
        }
        _ => return (Cow::Borrowed(block), deltas),
    }
    (Cow::Owned(fields.to_json()), deltas)
}

fn move_out(fields: &mut Members<'_>, key: &'static str, kind: &str) -> Option<String> {
    let value = fields.set(key, "\"\"")?;
    (value != "\"\"").then(|| delta(kind, key, &value))
}

fn citations(fields: &mut Members<'_>) -> Vec<String> {
    let all = fields.get("citations").unwrap_or_default();
    let Ok(each) = serde_json::from_str::<Vec<&RawValue>>(all) else {
        return Vec::new();
    };
    let each = each.into_iter();
    let deltas = each.map(|one| delta("citations_delta", "citation", one.get()));
    let deltas = deltas.collect();
    fields.set("citations", "[]");
    deltas
}

fn delta(kind: &str, key: &str, value: &str) -> String {
    ["{\"type\":\"", kind, "\",\"", key, "\":", value, "}"].concat()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
    fn a_message_becomes_the_events_of_a_stream() {
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
    fn collecting_the_events_restores_the_message() {
        let events = expand(message().to_string().as_bytes()).unwrap();
        let collected = collect(&events).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&collected).unwrap(),
            message()
        );
    }

    #[test]
    fn values_are_kept_as_written_except_line_breaks_between_them() {
        let message = concat!(
            "{\"id\": \"a\",\r\n \"content\": [{\"type\":\"tool_use\",\"input\":{ \"n\":1.0e0,\n\"t\":\"\\n\" }},\n",
            "{\"type\":\"text\",\"text\":\"\\u00e9\"}],\n\"usage\":{\"output_tokens\":2,\"odd\":1E3}}",
        );
        let events = expand(message.as_bytes()).unwrap();
        let data: Vec<_> = events.iter().map(|event| event.data.as_str()).collect();
        assert_eq!(
            data,
            [
                r#"{"type":"message_start","message":{"id":"a","content":[],"usage":{"output_tokens":0,"odd":1E3},"stop_reason":null,"stop_sequence":null}}"#,
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","input":{}}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{ \"n\":1.0e0,\n\"t\":\"\\n\" }"}}"#,
                r#"{"type":"content_block_stop","index":0}"#,
                r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
                r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"\u00e9"}}"#,
                r#"{"type":"content_block_stop","index":1}"#,
                r#"{"type":"message_delta","delta":{"stop_reason":null,"stop_sequence":null},"usage":{"output_tokens":2,"odd":1E3}}"#,
                r#"{"type":"message_stop"}"#,
            ]
        );
    }

    #[test]
    fn the_last_of_several_members_with_the_same_name_counts() {
        let message = r#"{"content":[],"content":[{"type":"x"}],"c\u006fntent":[]}"#;
        let events = expand(message.as_bytes()).unwrap();
        assert_eq!(events.len(), 3, "the last is empty");
    }

    #[test]
    fn other_json_is_not_expanded() {
        assert!(expand(b"{\"input_tokens\":1}").is_none());
        assert!(expand(b"[]").is_none());
    }
}
