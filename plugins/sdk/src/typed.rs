//! The events of a Messages stream as types.

use std::{borrow::Cow, collections::BTreeMap, ops::Range};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{edit::EditError, response::Event};

/// An event of a Messages stream, as [`Event::typed`] reads it.
///
/// It is only for reading: an event that a plugin keeps goes to the client with the upstream's
/// bytes, and [`Event::replace`] edits one place of it. So members and kinds that are not here are
/// never lost.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StreamEvent {
    /// The beginning of the message.
    MessageStart {
        /// The message, still without content.
        message: MessageStart,
    },
    /// The beginning of a content block.
    ContentBlockStart {
        /// The index of the block.
        index: u64,
        /// The block, mostly still empty.
        content_block: ContentBlock,
    },
    /// The next part of a content block.
    ContentBlockDelta {
        /// The index of the block.
        index: u64,
        /// The part.
        delta: Delta,
    },
    /// The end of a content block.
    ContentBlockStop {
        /// The index of the block.
        index: u64,
    },
    /// The reason why the message ends.
    MessageDelta {
        /// The reason and, if it is a stop sequence, which one.
        delta: Stop,
        /// Token counts as the upstream sends them.
        #[serde(default)]
        usage: Value,
    },
    /// The end of the message.
    MessageStop,
    /// A keepalive.
    Ping,
    /// An error after the stream has begun.
    Error {
        /// The error.
        error: StreamError,
    },
    /// Any other event, or one with an unexpected shape. Leave it alone.
    #[serde(other)]
    Other,
}

/// The message of a `message_start`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct MessageStart {
    /// The id of the message.
    #[serde(default)]
    pub id: String,
    /// The model, in the upstream's words.
    #[serde(default)]
    pub model: String,
    /// Token counts as the upstream sends them.
    #[serde(default)]
    pub usage: Value,
}

/// The block of a `content_block_start`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContentBlock {
    /// A text.
    Text {
        /// Its beginning, mostly empty.
        #[serde(default)]
        text: String,
    },
    /// Thinking.
    Thinking {
        /// Its beginning, mostly empty.
        #[serde(default)]
        thinking: String,
    },
    /// Thinking that only the upstream can read.
    RedactedThinking {
        /// The encrypted thinking.
        #[serde(default)]
        data: String,
    },
    /// A call of a tool of the client.
    ToolUse {
        /// The id that the result names.
        id: String,
        /// The name of the tool.
        name: String,
    },
    /// A call of a tool that the upstream runs itself.
    ServerToolUse {
        /// The id that the result names.
        id: String,
        /// The name of the tool.
        name: String,
    },
    /// Any other block.
    #[serde(other)]
    Other,
}

/// The delta of a `content_block_delta`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum Delta {
    /// `text_delta`
    #[serde(rename = "text_delta")]
    Text {
        /// More of the text.
        text: String,
    },
    /// `thinking_delta`
    #[serde(rename = "thinking_delta")]
    Thinking {
        /// More of the thinking.
        thinking: String,
    },
    /// `signature_delta`
    #[serde(rename = "signature_delta")]
    Signature {
        /// The signature of the thinking.
        signature: String,
    },
    /// `input_json_delta`
    #[serde(rename = "input_json_delta")]
    InputJson {
        /// More of the JSON text of a tool's input.
        partial_json: String,
    },
    /// `citations_delta`
    #[serde(rename = "citations_delta")]
    Citations {
        /// The citation as the upstream sends it.
        citation: Value,
    },
    /// Any other delta.
    #[serde(other)]
    Other,
}

/// The delta of a `message_delta`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Stop {
    /// `end_turn`, `max_tokens`, `tool_use` and so on.
    #[serde(default)]
    pub stop_reason: Option<String>,
    /// The stop sequence that was found.
    #[serde(default)]
    pub stop_sequence: Option<String>,
}

/// The error of an `error` event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct StreamError {
    /// The Anthropic error type: `overloaded_error`.
    #[serde(rename = "type")]
    pub error_type: String,
    /// The message.
    #[serde(default)]
    pub message: String,
}

impl Event {
    /// Reads the event as a type. Never fails: any other event, or one with an unexpected shape, is
    /// [`StreamEvent::Other`].
    ///
    /// ```
    /// use witgate_plugin::{Event, StreamEvent};
    ///
    /// let event = Event::block_stop(3);
    /// assert_eq!(event.typed(), StreamEvent::ContentBlockStop { index: 3 });
    /// ```
    pub fn typed(&self) -> StreamEvent {
        serde_json::from_str(&self.data).unwrap_or(StreamEvent::Other)
    }

    /// Replaces one value in the data and leaves every other byte as it is:
    /// `event.replace("/delta/text", "***")`.
    ///
    /// The error says that the data is not JSON, or has no value at this location.
    ///
    /// ```
    /// use witgate_plugin::Event;
    ///
    /// let mut event = Event::text_delta(0, "hi");
    /// event.replace("/delta/text", "HI")?;
    /// assert_eq!(event, Event::text_delta(0, "HI"));
    /// # Ok::<(), witgate_plugin::EditError>(())
    /// ```
    pub fn replace(&mut self, pointer: &str, value: impl Into<Value>) -> Result<(), EditError> {
        let range = locate(&self.data, pointer)?;
        self.data.replace_range(range, &value.into().to_string());
        Ok(())
    }

    /// A `content_block_start`.
    ///
    /// ```
    /// use witgate_plugin::{Event, json};
    ///
    /// let event = Event::block_start(0, json!({"type": "text", "text": ""}));
    /// assert_eq!(event.name, "content_block_start");
    /// ```
    pub fn block_start(index: u64, block: impl Into<Value>) -> Self {
        let block: Value = block.into();
        Self::new(
            "content_block_start",
            json!({ "type": "content_block_start", "index": index, "content_block": block }),
        )
    }

    /// A `content_block_stop`.
    pub fn block_stop(index: u64) -> Self {
        Self::new(
            "content_block_stop",
            json!({ "type": "content_block_stop", "index": index }),
        )
    }

    /// A `content_block_delta` with more text for a text block, for instance one that was held
    /// back.
    pub fn text_delta(index: u64, text: &str) -> Self {
        Self::delta(index, json!({ "type": "text_delta", "text": text }))
    }

    /// A `content_block_delta` with more of the JSON text of a tool's input.
    ///
    /// ```
    /// use witgate_plugin::{Delta, Event, StreamEvent};
    ///
    /// let event = Event::input_json_delta(1, r#"{"path": "#);
    /// let delta = Delta::InputJson { partial_json: r#"{"path": "#.to_owned() };
    /// assert_eq!(event.typed(), StreamEvent::ContentBlockDelta { index: 1, delta });
    /// ```
    pub fn input_json_delta(index: u64, json: &str) -> Self {
        Self::delta(
            index,
            json!({ "type": "input_json_delta", "partial_json": json }),
        )
    }

    fn delta(index: u64, delta: Value) -> Self {
        Self::new(
            "content_block_delta",
            json!({ "type": "content_block_delta", "index": index, "delta": delta }),
        )
    }
}

impl StreamEvent {
    /// The index of the block and the text, if the event is more of a text.
    ///
    /// ```
    /// use witgate_plugin::Event;
    ///
    /// assert_eq!(Event::text_delta(2, "hi").typed().text(), Some((2, "hi")));
    /// assert_eq!(Event::block_stop(2).typed().text(), None);
    /// ```
    pub fn text(&self) -> Option<(u64, &str)> {
        match self {
            Self::ContentBlockDelta {
                index,
                delta: Delta::Text { text },
            } => Some((*index, text)),
            _ => None,
        }
    }
}

/// The bytes of the value at a JSON Pointer.
fn locate(json: &str, pointer: &str) -> Result<Range<usize>, EditError> {
    let nothing = || EditError::NotApplicable(format!("nothing at `{pointer}` of the event"));
    let mut tokens = pointer.split('/');
    if tokens.next() != Some("") {
        return Err(EditError::BadQuery(format!(
            "`{pointer}` is not a JSON Pointer: it must begin with `/`"
        )));
    }
    let mut here = parse::<&RawValue>(json)?;
    for token in tokens {
        let token = token.replace("~1", "/").replace("~0", "~");
        let text = here.get();
        here = if text.starts_with('{') {
            let members: BTreeMap<Cow<'_, str>, &RawValue> = parse(text)?;
            members.get(token.as_str()).copied().ok_or_else(nothing)?
        } else if text.starts_with('[') {
            let elements: Vec<&RawValue> = parse(text)?;
            let index: usize = token.parse().map_err(|_| nothing())?;
            elements.get(index).copied().ok_or_else(nothing)?
        } else {
            return Err(nothing());
        };
    }
    // A raw value is a part of the text that it was read from.
    let start = here.get().as_ptr().addr() - json.as_ptr().addr();
    Ok(start..start + here.get().len())
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, EditError> {
    serde_json::from_str(text).map_err(|error| EditError::BadDocument(error.to_string()))
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
    fn known_events_are_typed() {
        let typed = |data: &str| event(data).typed();
        assert_eq!(
            typed(
                r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"a\n"}}"#
            ),
            StreamEvent::ContentBlockDelta {
                index: 1,
                delta: Delta::Text {
                    text: "a\n".to_owned()
                },
            }
        );
        assert_eq!(
            typed(
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"ls","input":{}}}"#
            ),
            StreamEvent::ContentBlockStart {
                index: 0,
                content_block: ContentBlock::ToolUse {
                    id: "t".to_owned(),
                    name: "ls".to_owned(),
                },
            }
        );
        let StreamEvent::MessageStart { message } = typed(
            r#"{"type":"message_start","message":{"id":"m","type":"message","usage":{"input_tokens":3}}}"#,
        ) else {
            panic!("not the beginning of a message");
        };
        assert_eq!(
            (message.id.as_str(), &message.usage["input_tokens"]),
            ("m", &json!(3))
        );
        let StreamEvent::MessageDelta { delta, .. } = typed(
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null}}"#,
        ) else {
            panic!("not the end of a message");
        };
        assert_eq!(delta.stop_reason.as_deref(), Some("end_turn"));
        assert_eq!(
            typed(r#"{"type":"message_stop"}"#),
            StreamEvent::MessageStop
        );
        let StreamEvent::Error { error } =
            typed(r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#)
        else {
            panic!("not an error");
        };
        assert_eq!(error.error_type, "overloaded_error");
    }

    #[test]
    fn what_is_not_known_is_other() {
        for data in [
            "[DONE]",
            "",
            r#"{"choices":[]}"#,
            r#"{"type":"content_block_gone","index":0}"#,
            r#"{"type":"content_block_stop"}"#,
        ] {
            assert_eq!(event(data).typed(), StreamEvent::Other, "{data}");
        }
        let delta =
            event(r#"{"type":"content_block_delta","index":2,"delta":{"type":"new_delta","x":1}}"#);
        assert_eq!(
            delta.typed(),
            StreamEvent::ContentBlockDelta {
                index: 2,
                delta: Delta::Other
            }
        );
    }

    #[test]
    fn a_replaced_value_changes_no_other_byte() {
        let mut event = event(
            r#" {"type" :"content_block_delta","delta":{"n":1.0e0,"text": "a\u00e9" },"z":[1, 2]} "#,
        );
        event.replace("/delta/text", "b\"c").unwrap();
        event.replace("/z/1", 3).unwrap();
        assert_eq!(
            event.data,
            r#" {"type" :"content_block_delta","delta":{"n":1.0e0,"text": "b\"c" },"z":[1, 3]} "#
        );
    }

    #[test]
    fn keys_of_a_pointer_may_be_escaped() {
        let mut event = event(r#"{"a/b~":{"\u0063":1}}"#);
        event.replace("/a~1b~0/c", 2).unwrap();
        assert_eq!(event.data, r#"{"a/b~":{"\u0063":2}}"#);
    }

    #[test]
    fn a_value_that_does_not_exist_is_not_replaced() {
        let mut event = event(r#"{"a":[1]}"#);
        for pointer in ["/b", "/a/1", "/a/x", "/a/0/c"] {
            let error = event.replace(pointer, 1).unwrap_err();
            assert!(
                matches!(error, EditError::NotApplicable(_)),
                "{pointer}: {error}"
            );
        }
        assert!(matches!(event.replace("a", 1), Err(EditError::BadQuery(_))));
        event.data = "[DONE]".to_owned();
        assert!(matches!(
            event.replace("/a", 1),
            Err(EditError::BadDocument(_))
        ));
        assert_eq!(event.data, "[DONE]");
    }
}
