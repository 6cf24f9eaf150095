//! Collects the events of a stream into one JSON message. Pure; `expand` is the inverse.
//!
//! Values are never parsed and written again: they are what the upstream sent, piece by piece.

mod partial; // JSON that was cut, closed
#[cfg(test)]
mod properties;

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use witgate_contract::event::event_type_str;
use witgate_document::string;

use crate::{
    fault::{Fault, Kind, Retry},
    message::Event,
};

use super::members::Members;

/// Stop reasons of a message that was cut by a limit.
const CUT_SHORT: [&str; 2] = ["max_tokens", "model_context_window_exceeded"];

/// The most content blocks of a message, and the most members of a message, its usage or a block.
/// Real ones have some hundred blocks and some ten members.
const MAX_BLOCKS: usize = 16_384;
const MAX_MEMBERS: usize = 256;

/// Collects events into a message. A stream without its end is an error.
pub(super) fn collect(events: &[Event]) -> Result<Bytes, Fault> {
    let mut collector = Collector::default();
    for event in events {
        collector.take(event);
    }
    collector.finish()
}

/// Builds a message from its events, and keeps no more of them than the message needs.
#[derive(Default)]
pub(super) struct Collector {
    message: Option<Members<'static>>,
    /// The usage so far, once a `message_delta` came.
    usage: Option<Members<'static>>,
    blocks: Vec<Block>,
    /// Where in `blocks` the latest block of each index is.
    latest: HashMap<Option<u64>, usize>,
    complete: bool,
    too_large: bool,
}

impl Collector {
    /// Takes the next event.
    pub(super) fn take(&mut self, event: &Event) {
        let Some(data) = Members::read(&event.data) else {
            return;
        };
        let index = data.get("index").and_then(|index| index.parse().ok());
        match &*event_type_str(&event.name, &event.data) {
            "message_start" => self.message = data.object("message").map(Members::into_owned),
            "content_block_start" if self.blocks.len() == MAX_BLOCKS => self.too_large = true,
            "content_block_start" => {
                let fields = data.object("content_block").unwrap_or_default();
                self.latest.insert(index, self.blocks.len());
                self.blocks.push(Block {
                    fields: fields.into_owned(),
                    input: String::new(),
                });
            }
            "content_block_delta" => {
                let block = self.latest.get(&index).map(|at| &mut self.blocks[*at]);
                if let (Some(block), Some(delta)) = (block, data.object("delta")) {
                    self.too_large |= !block.take(&delta);
                }
            }
            "message_delta" => self.take_end(&data),
            "message_stop" => self.complete = true,
            _ => {}
        }
    }

    /// Takes a `message_delta`. With a stop reason the message is complete, even if nothing
    /// follows.
    fn take_end(&mut self, data: &Members<'_>) {
        let message = self.message.get_or_insert_default();
        let usage = self.usage.get_or_insert_with(|| {
            let usage = message.object("usage").unwrap_or_default();
            usage.into_owned()
        });
        let delta = data.object("delta").unwrap_or_default();
        self.complete |= delta.text("stop_reason").is_some();
        let more = data.object("usage").unwrap_or_default();
        self.too_large |= !(set_all(message, &delta) && set_all(usage, &more));
    }

    /// The message. A stream without its end is an error.
    pub(super) fn finish(self) -> Result<Bytes, Fault> {
        if self.too_large {
            return Err(invalid(
                "the message has too many content blocks or members",
            ));
        }
        let (Some(mut message), true) = (self.message, self.complete) else {
            return Err(invalid("the stream ended before `message_stop`"));
        };
        let stop_reason = message.text("stop_reason").unwrap_or_default();
        let cut_short = CUT_SHORT.contains(&&*stop_reason);
        let blocks = self.blocks.into_iter();
        let content = blocks
            .map(|block| block.finish(cut_short))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(usage) = self.usage {
            message.set("usage", usage.to_json());
        }
        message.set("content", format!("[{}]", content.join(",")));
        Ok(message.to_json().into())
    }
}

struct Block {
    fields: Members<'static>,
    /// The text of a tool's input so far, as within a JSON string: halves of a surrogate pair may
    /// be in two events.
    input: String,
}

impl Block {
    /// Takes a delta. Returns false if the block has too many members.
    fn take(&mut self, delta: &Members<'_>) -> bool {
        if delta.text("type").as_deref() == Some("input_json_delta") {
            let more = delta.get("partial_json").and_then(inside);
            self.input.push_str(more.unwrap_or_default());
            return true;
        }
        for (key, value) in delta.iter() {
            if self.fields.len() == MAX_MEMBERS {
                return false;
            }
            match key {
                "type" => {}
                "citation" => push(self.fields.value_mut("citations"), value),
                _ => append(self.fields.value_mut(key.to_owned()), value),
            }
        }
        true
    }

    fn finish(mut self, cut_short: bool) -> Result<String, Fault> {
        if !self.input.is_empty() {
            let text = string::decode(format!("\"{}\"", self.input).as_bytes());
            let input = text.and_then(|text| input(&text, cut_short));
            // The client would get the same from another attempt, or pay for it as well.
            let input = input.ok_or_else(|| {
                invalid("the input of a tool use is not valid JSON").retry(Retry::Never)
            })?;
            self.fields.set("input", input);
        }
        Ok(self.fields.to_json())
    }
}

/// A tool's input: as it was sent if it is JSON, closed if the message was cut by a limit.
fn input(text: &str, cut_short: bool) -> Option<String> {
    if text.trim().is_empty() {
        return Some("{}".to_owned());
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(json) => Some(json.get().to_owned()),
        Err(_) if cut_short => partial::closed(text),
        Err(_) => None,
    }
}

/// Sets members. Returns false if there are too many.
fn set_all(members: &mut Members<'static>, more: &Members<'_>) -> bool {
    for (key, value) in more.iter() {
        if members.len() == MAX_MEMBERS {
            return false;
        }
        members.set(key.to_owned(), value.to_owned());
    }
    true
}

/// A string is appended, whatever its key; any other value is set.
fn append(value: &mut String, more: &str) {
    match inside(more) {
        Some(more) if inside(value).is_some() => {
            value.pop();
            value.push_str(more);
            value.push('"');
        }
        _ => more.clone_into(value),
    }
}

/// Adds an item to an array. Anything else is replaced.
fn push(array: &mut String, item: &str) {
    let items = array.trim_end().strip_suffix(']').map(str::len);
    let Some(end) = items else {
        *array = format!("[{item}]");
        return;
    };
    array.truncate(end);
    if !array.trim_end().ends_with('[') {
        array.push(',');
    }
    array.extend([item, "]"]);
}

/// What is between the quotes of a string.
fn inside(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
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

    const START: &str = r#"{"type":"message_start","message":{"id":"m","stop_reason":null}}"#;
    const STOP: &str = r#"{"type":"message_stop"}"#;

    fn stopped(reason: &str) -> String {
        format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}"}}}}"#)
    }

    /// A message with one block, from its start, these deltas and this stop reason.
    fn block(start: &str, deltas: &[&str], reason: &str) -> Result<String, String> {
        let mut events = vec![
            event(START),
            event(&format!(
                r#"{{"type":"content_block_start","index":0,"content_block":{start}}}"#
            )),
        ];
        events.extend(deltas.iter().map(|delta| {
            event(&format!(
                r#"{{"type":"content_block_delta","index":0,"delta":{delta}}}"#
            ))
        }));
        events.extend([event(&stopped(reason)), event(STOP)]);
        let message = collect(&events).map_err(|fault| fault.to_string())?;
        let message = String::from_utf8(message.to_vec()).unwrap();
        let content = Members::read(&message).unwrap();
        Ok(content.get("content").unwrap().to_owned())
    }

    fn tool(partial: &[&str], reason: &str) -> Result<String, String> {
        let deltas: Vec<String> = partial
            .iter()
            .map(|json| format!(r#"{{"type":"input_json_delta","partial_json":{json}}}"#))
            .collect();
        let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
        let content = block(r#"{"type":"tool_use","input":{}}"#, &deltas, reason)?;
        let input = content.strip_prefix(r#"[{"type":"tool_use","input":"#);
        Ok(input.unwrap().strip_suffix("}]").unwrap().to_owned())
    }

    #[test]
    fn a_message_ends_with_a_stop_reason_or_its_last_event() {
        let end = stopped("end_turn");
        assert!(collect(&[event(START)]).is_err());
        assert!(collect(&[event(STOP)]).is_err());
        assert!(collect(&[event(START), event(STOP)]).is_ok());
        assert!(collect(&[event(START), event(&end)]).is_ok());
        let usage = r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{}}"#;
        assert!(collect(&[event(START), event(usage)]).is_err());
    }

    #[test]
    fn a_tools_input_is_collected_as_it_was_sent() {
        for input in [
            r#"{"n":12345678901234567890123,"m":100000000000000000000,"x":1e400}"#,
            r#"{"lone":"\ud800"}"#,
            r#"{ "a" : [1.0,
 2] }"#,
            r#"{"a":1,"a":2}"#,
            &format!("{{\"d\":{}{}}}", "[".repeat(500), "]".repeat(500)),
        ] {
            let half = input.len() / 2;
            let (first, second) = input.split_at(half);
            let pieces = [string::encode(first), string::encode(second)];
            let collected = tool(&[&pieces[0], &pieces[1]], "tool_use");
            assert_eq!(collected.as_deref(), Ok(input));
        }
    }

    #[test]
    fn halves_of_a_surrogate_pair_are_joined() {
        let pieces = [r#""{\"a\":\"\ud83d""#, r#""\ude00\"}""#];
        assert_eq!(tool(&pieces, "tool_use").unwrap(), "{\"a\":\"\u{1f600}\"}");
        let deltas = [
            r#"{"type":"text_delta","text":"\ud83d"}"#,
            r#"{"type":"text_delta","text":"\ude00"}"#,
        ];
        let text = block(r#"{"type":"text","text":""}"#, &deltas, "end_turn").unwrap();
        assert_eq!(text, r#"[{"type":"text","text":"\ud83d\ude00"}]"#);
    }

    #[test]
    fn an_input_that_a_limit_cut_is_closed_and_any_other_is_a_fault() {
        let cut = [r#""{\"command\":\"ls\",\"why\":\"to s""#];
        for reason in CUT_SHORT {
            assert_eq!(tool(&cut, reason).unwrap(), r#"{"command":"ls"}"#);
        }
        for (pieces, reason) in [(cut, "tool_use"), ([r#""soon""#], "max_tokens")] {
            assert!(tool(&pieces, reason).is_err_and(|fault| fault.contains("tool use")));
        }
        assert_eq!(tool(&[r#"" ""#], "tool_use").unwrap(), "{}");
        assert_eq!(tool(&[r#""""#], "tool_use").unwrap(), "{}");
    }

    #[test]
    fn a_message_has_at_most_so_many_blocks_and_members() {
        let start = event(r#"{"type":"content_block_start","index":0,"content_block":{}}"#);
        let collect_blocks = |count: usize| {
            let mut events = vec![event(START)];
            events.extend(vec![start.clone(); count]);
            events.push(event(STOP));
            collect(&events).is_ok()
        };
        assert!(collect_blocks(MAX_BLOCKS));
        assert!(!collect_blocks(MAX_BLOCKS + 1));
        // The block has a `type` already.
        for (count, fits) in [(MAX_MEMBERS - 1, true), (MAX_MEMBERS, false)] {
            let deltas: Vec<String> = (0..count).map(|nth| format!(r#"{{"{nth}":1}}"#)).collect();
            let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
            assert_eq!(block(r#"{"type":"x"}"#, &deltas, "end_turn").is_ok(), fits);
        }
    }

    #[test]
    fn a_broken_input_costs_one_generation() {
        let events = [
            event(START),
            event(r#"{"type":"content_block_start","index":0,"content_block":{}}"#),
            event(
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
            ),
            event(&stopped("tool_use")),
        ];
        assert_eq!(collect(&events).unwrap_err().retry, Retry::Never);
    }

    #[test]
    fn deltas_append_to_strings_and_citations_and_set_anything_else() {
        let deltas = [
            r#"{"type":"text_delta","text":"b\n"}"#,
            r#"{"type":"citations_delta","citation":{"n":1}}"#,
            r#"{"type":"citations_delta","citation":{"n":2}}"#,
            r#"{"type":"x","odd":1E3}"#,
        ];
        let start = r#"{"type":"text","text":"a"}"#;
        assert_eq!(
            block(start, &deltas, "end_turn").unwrap(),
            r#"[{"type":"text","text":"ab\n","citations":[{"n":1},{"n":2}],"odd":1E3}]"#
        );
    }
}
