//! What an upstream sends: the chunks of a stream, or one whole completion.
//!
//! Servers add members and vary types. Only what the translation uses is read, and a member of an
//! unexpected type counts as absent, so that one odd member never makes a chunk unreadable.

use serde_json::{Map, Value};

use super::{
    counts::{Counts, count},
    json_text,
};
use crate::state::{self, is_empty};

type Object = Map<String, Value>;

/// The members under which servers send reasoning. Some send the same text under two of them.
const THOUGHTS: [&str; 8] = [
    "reasoning_content",
    "reasoning",
    "reasoning_text",
    "thinking",
    "thinking_content",
    "thinking_text",
    "thought",
    "thoughts",
];

#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) id: String,
    pub(crate) created: Option<u64>,
    /// Whether it says that it is a whole completion.
    pub(crate) is_completion: bool,
    /// `None` if there is no list of choices.
    pub(crate) choices: Option<Vec<Choice>>,
    pub(crate) counts: Counts,
    pub(crate) error: Value,
}

#[derive(Debug, Default)]
pub(crate) struct Choice {
    pub(crate) index: u64,
    pub(crate) delta: Option<Delta>,
    /// Used instead of `delta` in a whole completion.
    pub(crate) message: Option<Delta>,
    pub(crate) finish_reason: String,
    /// vLLM: the stop sequence that was matched, or the number of a token.
    pub(crate) stop_reason: String,
    /// OpenRouter: the error that ended this choice.
    pub(crate) error: Value,
}

#[derive(Debug, Default)]
pub(crate) struct Delta {
    pub(crate) thinking: String,
    pub(crate) content: Vec<Piece>,
    pub(crate) refusal: String,
    pub(crate) calls: Vec<CallPiece>,
    /// What the upstream wants back with the message.
    pub(crate) state: Object,
    /// The names of members that cannot be expressed.
    pub(crate) left_out: Vec<&'static str>,
}

/// A piece of the content, which is a text or a list of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Thinking(String),
}

#[derive(Debug, Default)]
pub(crate) struct CallPiece {
    pub(crate) index: Option<u64>,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
    /// What the upstream wants back with the call, and with its function.
    pub(crate) state: [Object; 2],
}

impl Chunk {
    /// Reads an event's data. `None` if it is not JSON.
    ///
    /// JSON that is not an object contains nothing, such as a server's `null` before the first
    /// chunk. Of equal keys the last one holds.
    pub(crate) fn read(data: &str) -> Option<Self> {
        let value = match serde_json::from_str(data) {
            Ok(value) => value,
            Err(_) => serde_json::from_str(&json_text::repaired(data)).ok()?,
        };
        Some(match value {
            Value::Object(object) => Self::of(object),
            _ => Self::default(),
        })
    }

    fn of(mut chunk: Object) -> Self {
        let mut counts = Counts::of(&chunk);
        let choices = match chunk.remove("choices") {
            None | Some(Value::Null) => None,
            Some(choices) => Some(objects(choices)),
        };
        for choice in choices.iter().flatten() {
            counts.add(Counts::of(choice));
        }
        Self {
            id: text(chunk.remove("id")),
            created: count(chunk.get("created")),
            is_completion: text(chunk.remove("object")) == "chat.completion",
            choices: choices.map(|choices| choices.into_iter().map(Choice::of).collect()),
            counts,
            error: chunk.remove("error").unwrap_or_default(),
        }
    }
}

impl Choice {
    fn of(mut choice: Object) -> Self {
        let mut delta = |name| object(choice.remove(name)).map(Delta::of);
        let (mut delta, message) = (delta("delta"), delta("message"));
        if delta.is_none() && message.is_none() {
            // The older API of completions.
            delta = choice.remove("text").map(|text| Delta {
                content: content(text, &mut Delta::default()),
                ..Delta::default()
            });
        }
        Self {
            index: count(choice.get("index")).unwrap_or_default(),
            delta,
            message,
            finish_reason: text(choice.remove("finish_reason")),
            stop_reason: text(choice.remove("stop_reason")),
            error: choice.remove("error").unwrap_or_default(),
        }
    }
}

impl Delta {
    fn of(mut delta: Object) -> Self {
        let mut read = Self {
            thinking: thinking(&delta),
            refusal: text(delta.remove("refusal")),
            ..Self::default()
        };
        read.content = content(delta.remove("content").unwrap_or_default(), &mut read);
        let legacy = object(delta.remove("function_call"));
        read.calls.extend(legacy.map(|function| CallPiece {
            index: Some(0),
            ..CallPiece::of_function(function)
        }));
        let calls = objects(delta.remove("tool_calls").unwrap_or_default());
        read.calls.extend(calls.into_iter().map(CallPiece::of));
        for name in ["annotations", "audio", "images"] {
            if delta.get(name).is_some_and(|value| !is_empty(value)) {
                read.left_out.push(name);
            }
        }
        read.state = state::of_message(delta);
        read
    }

    /// Whether it carries nothing.
    pub(crate) fn is_empty(&self) -> bool {
        let no_content = self.content.iter().all(|piece| {
            let (Piece::Text(text) | Piece::Thinking(text)) = piece;
            text.is_empty()
        });
        no_content
            && self.thinking.is_empty()
            && self.refusal.is_empty()
            && self.calls.is_empty()
            && self.state.is_empty()
            && self.left_out.is_empty()
    }
}

impl CallPiece {
    fn of(mut call: Object) -> Self {
        let index = count(call.get("index"));
        let id = text(call.remove("id"));
        let mut piece = match object(call.remove("function")) {
            Some(function) => Self::of_function(function),
            // Then they may be members of the call itself.
            None => Self {
                name: text(call.remove("name")),
                arguments: text(call.remove("arguments")),
                ..Self::default()
            },
        };
        piece.state[0] = state::of_call(call);
        Self { index, id, ..piece }
    }

    fn of_function(mut function: Object) -> Self {
        Self {
            name: text(function.remove("name")),
            arguments: text(function.remove("arguments")),
            state: [Object::new(), state::of_call(function)],
            ..Self::default()
        }
    }
}

/// The reasoning under any of its names.
fn thinking(delta: &Object) -> String {
    let plain = THOUGHTS.iter().filter_map(|name| delta.get(*name));
    let mut texts = plain.map(gathered).filter(|text| !text.is_empty());
    texts.next().unwrap_or_else(|| {
        let lists = ["reasoning_details", "thinking_blocks"];
        let lists = lists.iter().filter_map(|name| delta.get(*name));
        let mut texts = lists.map(gathered).filter(|text| !text.is_empty());
        texts.next().unwrap_or_default()
    })
}

/// The pieces of a content. What it contains besides text is added to the delta.
fn content(content: Value, delta: &mut Delta) -> Vec<Piece> {
    match content {
        Value::Array(parts) => parts
            .into_iter()
            .filter_map(|value| part(value, delta))
            .collect(),
        part @ Value::Object(_) => self::part(part, delta).into_iter().collect(),
        other => vec![Piece::Text(text(Some(other)))],
    }
}

fn part(value: Value, delta: &mut Delta) -> Option<Piece> {
    let Value::Object(part) = value else {
        return Some(Piece::Text(text(Some(value))));
    };
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    if has(&["image"]) {
        delta.left_out.push("images");
        return None;
    }
    if has(&["audio"]) {
        delta.left_out.push("audio");
        return None;
    }
    if let Some(refusal) = part.get("refusal").and_then(Value::as_str) {
        delta.refusal.push_str(refusal);
        return None;
    }
    let of_kind = has(&["think", "reason", "thought", "summary"]);
    let unnamed = kind.is_empty() && !part.contains_key("text") && part.contains_key("thinking");
    let gathered = gathered(&Value::Object(part));
    Some(if of_kind || unnamed {
        Piece::Thinking(gathered)
    } else {
        Piece::Text(gathered)
    })
}

/// The text in a value: itself, or that of its parts.
fn gathered(value: &Value) -> String {
    const MEMBERS: [&str; 6] = [
        "text",
        "thinking",
        "summary",
        "reasoning",
        "content",
        "value",
    ];
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(gathered).collect(),
        Value::Object(object) => {
            let members = MEMBERS.iter().filter_map(|name| object.get(*name));
            let mut texts = members.map(gathered).filter(|text| !text.is_empty());
            texts.next().unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// A text. A value of another type becomes its JSON, `null` becomes empty.
fn text(value: Option<Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    }
}

fn object(value: Option<Value>) -> Option<Object> {
    match value {
        Some(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// The objects of a list. An object alone is a list of one.
fn objects(value: Value) -> Vec<Object> {
    match value {
        Value::Array(list) => list
            .into_iter()
            .filter_map(|value| object(Some(value)))
            .collect(),
        Value::Object(object) => vec![object],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(json: &str) -> Delta {
        let chunk = format!(r#"{{"choices":[{{"delta":{json}}}]}}"#);
        let mut choices = Chunk::read(&chunk).unwrap().choices.unwrap();
        choices.remove(0).delta.unwrap()
    }

    #[test]
    fn unexpected_types_do_not_make_a_chunk_unreadable() {
        let chunk = r#"{"id":7,"created":1.5,"choices":[{"index":null,"delta":{"content":null,"tool_calls":[
            {"index":"1","id":null,"function":{"name":"f","arguments":{"b":1,"a":[2]}}}]},"finish_reason":null}]}"#;
        let chunk = Chunk::read(chunk).unwrap();
        assert_eq!((&*chunk.id, chunk.created), ("7", Some(1)));
        let mut choices = chunk.choices.unwrap();
        let delta = choices.remove(0).delta.unwrap();
        let call = &delta.calls[0];
        assert_eq!(
            (call.index, &*call.arguments),
            (Some(1), r#"{"b":1,"a":[2]}"#)
        );
        for odd in [
            "null",
            "[]",
            "7",
            r#""text""#,
            "{}",
            r#"{"choices":null,"usage":[]}"#,
            r#"{"choices":7,"error":[]}"#,
            r#"{"choices":[null,"a",{"delta":null},{"delta":"a","message":[]},{}]}"#,
            r#"{"choices":[{"delta":{"content":{},"tool_calls":{"function":null},"function_call":7}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[null,{"function":[]}],"reasoning":{},"reasoning_details":7}}]}"#,
        ] {
            let chunk = Chunk::read(odd).unwrap_or_else(|| panic!("{odd}"));
            assert!(is_empty(&chunk.error), "{odd}");
        }
    }

    #[test]
    fn the_last_of_equal_keys_holds() {
        let delta = delta(r#"{"content":"a","content":"b","reasoning":"x","reasoning":"y"}"#);
        assert_eq!(delta.content, [Piece::Text("b".to_owned())]);
        assert_eq!(delta.thinking, "y");
    }

    #[test]
    fn reasoning_is_found_under_any_name_and_returned_once() {
        for (json, wanted) in [
            (r#"{"reasoning":"a","reasoning_content":"a"}"#, "a"),
            (
                r#"{"reasoning":"a","reasoning_details":[{"type":"reasoning.text","text":"a"}]}"#,
                "a",
            ),
            (
                r#"{"reasoning_details":[{"text":"a","signature":null},{"summary":"b"},{"data":"x"}]}"#,
                "ab",
            ),
            (r#"{"reasoning_text":"a"}"#, "a"),
            (
                r#"{"reasoning":{"summary":[{"type":"summary_text","text":"a"}]}}"#,
                "a",
            ),
            (r#"{"thinking":"a","reasoning":""}"#, "a"),
            (
                r#"{"thinking_blocks":[{"type":"thinking","thinking":"a"}]}"#,
                "a",
            ),
            (r#"{"thought":true}"#, ""),
            ("{}", ""),
        ] {
            assert_eq!(delta(json).thinking, wanted, "{json}");
        }
    }

    #[test]
    fn parts_are_text_thinking_or_left_out_by_their_type() {
        let delta = delta(
            r#"{"content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"a"}]},
            {"type":"thinking","thinking":[{"type":"text","text":"b"}]},{"thinking":"c"},
            {"type":"text","text":"d"},{"text":{"value":"e"}},"f",
            {"type":"refusal","refusal":"no"},{"type":"image_url"}]}"#,
        );
        let thinking = |text: &str| Piece::Thinking(text.to_owned());
        let text = |text: &str| Piece::Text(text.to_owned());
        let wanted = [
            thinking("a"),
            thinking("b"),
            thinking("c"),
            text("d"),
            text("e"),
            text("f"),
        ];
        assert_eq!(delta.content, wanted);
        assert_eq!(
            (&*delta.refusal, &delta.left_out[..]),
            ("no", &["images"][..])
        );
    }
}
