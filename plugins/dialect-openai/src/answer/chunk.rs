//! Types for what an upstream sends: the chunks of a stream, or one whole completion.
//!
//! They contain only the members that the translation uses. Servers add members and vary types:
//! unknown members, and malformed ones beside the content itself, are ignored so that the chunk
//! stays readable.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value},
};
use serde_json::{Value, value::RawValue};

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Chunk<'a> {
    #[serde(borrow, default)]
    pub(crate) id: Text<'a>,
    #[serde(default)]
    pub(crate) created: Count,
    /// `None` if this is not a chunk at all.
    #[serde(borrow)]
    pub(crate) choices: Option<Vec<Choice<'a>>>,
    #[serde(default, deserialize_with = "if_readable")]
    pub(crate) usage: Option<Usage>,
    #[serde(borrow)]
    pub(crate) error: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Choice<'a> {
    #[serde(default)]
    pub(crate) index: Count,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    /// Used instead of `delta` in a whole completion.
    #[serde(borrow)]
    message: Option<Delta<'a>>,
    #[serde(borrow, default)]
    pub(crate) finish_reason: Text<'a>,
    /// vLLM: the stop sequence that was matched, or the number of a token.
    #[serde(borrow, default)]
    pub(crate) stop_reason: Text<'a>,
    /// OpenRouter: the error that ended this choice.
    #[serde(borrow)]
    pub(crate) error: Option<&'a RawValue>,
}

impl<'a> Choice<'a> {
    pub(crate) fn delta(&mut self) -> Delta<'a> {
        self.delta
            .take()
            .or(self.message.take())
            .unwrap_or_default()
    }
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Delta<'a> {
    #[serde(borrow, default)]
    pub(crate) content: Content<'a>,
    #[serde(borrow, default)]
    pub(crate) refusal: Text<'a>,
    #[serde(borrow, default)]
    reasoning_content: Text<'a>,
    #[serde(borrow, default)]
    reasoning: Text<'a>,
    #[serde(borrow, default, deserialize_with = "if_readable")]
    reasoning_details: Option<Vec<Part<'a>>>,
    #[serde(borrow)]
    pub(crate) tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(borrow)]
    pub(crate) function_call: Option<Function<'a>>,
    #[serde(borrow)]
    pub(crate) annotations: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) audio: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) images: Option<&'a RawValue>,
}

impl Delta<'_> {
    /// The reasoning under any of its names. Some servers send the same text under two.
    pub(crate) fn reasoning(&self) -> Cow<'_, str> {
        let plain = [&self.reasoning_content, &self.reasoning];
        if let Some(text) = plain.into_iter().find(|text| !text.is_empty()) {
            return Cow::Borrowed(text);
        }
        let details = self.reasoning_details.iter().flatten();
        let texts = details.flat_map(|part| [&part.text, &part.summary]);
        Cow::Owned(texts.map(|text| &**text).collect())
    }
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ToolCall<'a> {
    #[serde(default)]
    pub(crate) index: Count,
    #[serde(borrow, default)]
    pub(crate) id: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) function: Function<'a>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Function<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) arguments: Text<'a>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) prompt_tokens: Count,
    #[serde(default)]
    pub(crate) completion_tokens: Count,
    prompt_tokens_details: Option<PromptTokens>,
    /// Sent by DeepSeek.
    #[serde(default)]
    prompt_cache_hit_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct PromptTokens {
    #[serde(default)]
    cached_tokens: Count,
}

impl Usage {
    /// How many of the prompt's tokens were read from a cache.
    pub(crate) fn read(&self) -> Option<u64> {
        let details = self.prompt_tokens_details;
        details
            .and_then(|details| details.cached_tokens.0)
            .or(self.prompt_cache_hit_tokens.0)
    }
}

/// Text, or a list of parts as Mistral's reasoning models send it.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    Text(Text<'a>),
    Parts(Vec<Part<'a>>),
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self::Text(Text::default())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(from)?;
        if raw.get().starts_with('[') {
            return Ok(Self::Parts(
                serde_json::from_str(raw.get()).unwrap_or_default(),
            ));
        }
        Ok(Self::Text(
            serde_json::from_str(raw.get()).unwrap_or_default(),
        ))
    }
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Part<'a> {
    #[serde(borrow, default)]
    pub(crate) text: Text<'a>,
    #[serde(borrow, default)]
    summary: Text<'a>,
    #[serde(borrow, default)]
    thinking: Option<Box<Content<'a>>>,
}

impl<'a> Part<'a> {
    /// The reasoning in this part.
    pub(crate) fn thinking(&self) -> String {
        match self.thinking.as_deref() {
            None => String::new(),
            Some(Content::Text(text)) => text.to_string(),
            Some(Content::Parts(parts)) => parts.iter().map(|part| &*part.text).collect(),
        }
    }
}

/// A text. A value of another type becomes its JSON, `null` becomes empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text<'a>(Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyText)
    }
}

struct AnyText;

impl<'de> Visitor<'de> for AnyText {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(as_text(text))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(as_text(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(as_text(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(as_text(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(as_text(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let value = Value::deserialize(value::MapAccessDeserializer::new(map))?;
        Ok(as_text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        let value = Value::deserialize(value::SeqAccessDeserializer::new(list))?;
        Ok(as_text(value))
    }
}

fn as_text<'de>(value: impl ToString) -> Text<'de> {
    Text(Cow::Owned(value.to_string()))
}

/// Deserializes a value; one of another type becomes `None`.
fn if_readable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let raw = Option::<&RawValue>::deserialize(from)?;
    Ok(raw.and_then(|raw| serde_json::from_str(raw.get()).ok()))
}

/// A count. A value that is not a count is treated as missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(from)?;
        let number = raw.get().trim_matches('"').parse::<u64>().ok();
        // Some servers count in floating point.
        let rounded = || {
            raw.get()
                .parse::<f64>()
                .ok()
                .filter(|number| *number >= 0.0)
        };
        Ok(Self(
            number.or_else(|| rounded().map(|number| number as u64)),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unexpected_types_do_not_make_a_chunk_unreadable() {
        let chunk = r#"{"id":7,"created":1.5,"choices":[{"index":null,"delta":{"content":null,"tool_calls":[
            {"index":0,"id":null,"function":{"name":"f","arguments":{"b":1,"a":[2]}}}]},"finish_reason":null}],
            "usage":{"prompt_tokens":-1,"completion_tokens":3.0,"prompt_tokens_details":null}}"#;
        let mut chunk: Chunk = serde_json::from_str(chunk).unwrap();
        assert_eq!((&*chunk.id, chunk.created), ("7", Count(Some(1))));
        let usage = chunk.usage.unwrap();
        assert_eq!(
            (usage.prompt_tokens, usage.completion_tokens),
            (Count(None), Count(Some(3)))
        );
        let delta = chunk.choices.as_mut().unwrap()[0].delta();
        let call = &delta.tool_calls.unwrap()[0];
        let arguments: Value = serde_json::from_str(&call.function.arguments).unwrap();
        assert_eq!(arguments, serde_json::json!({"a": [2], "b": 1}));
    }

    #[test]
    fn counts_and_details_of_another_type_are_ignored() {
        let chunk = r#"{"choices":[{"delta":{"content":"a","reasoning_details":{},"tool_calls":[{"index":"1"}]}}],"usage":"none"}"#;
        let mut chunk: Chunk = serde_json::from_str(chunk).unwrap();
        assert!(chunk.usage.is_none());
        let delta = chunk.choices.as_mut().unwrap()[0].delta();
        assert_eq!(delta.reasoning(), "");
        assert_eq!(delta.tool_calls.unwrap()[0].index, Count(Some(1)));
    }

    #[test]
    fn reasoning_under_two_names_is_returned_once() {
        let delta = |json| {
            serde_json::from_str::<Delta>(json)
                .unwrap()
                .reasoning()
                .into_owned()
        };
        assert_eq!(delta(r#"{"reasoning":"a","reasoning_content":"a"}"#), "a");
        assert_eq!(
            delta(
                r#"{"reasoning":"a","reasoning_details":[{"type":"reasoning.text","text":"a"}]}"#
            ),
            "a"
        );
        assert_eq!(
            delta(
                r#"{"reasoning_details":[{"text":"a","signature":null},{"summary":"b"},{"data":"x"}]}"#
            ),
            "ab"
        );
        assert_eq!(delta("{}"), "");
    }
}
