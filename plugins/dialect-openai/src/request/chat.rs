//! Types of a chat completion request, as in OpenAI's own SDK.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Number, Value};

#[derive(Debug, Serialize)]
pub(crate) struct Chat {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Tool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_choice: Option<ToolChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_completion_tokens: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<Number>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stop: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_format: Option<ResponseFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_cache_key: Option<String>,
    pub(crate) stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream_options: Option<StreamOptions>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(crate) enum Message {
    System {
        content: Text,
    },
    User {
        content: Parts,
    },
    Assistant {
        content: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
        /// What the upstream wants back, as it came.
        #[serde(flatten)]
        state: Map<String, Value>,
    },
    Tool {
        tool_call_id: String,
        content: Text,
    },
}

impl Message {
    /// Sets the cache breakpoint after this message. Returns false for a message that has none.
    pub(crate) fn set_breakpoint(&mut self, breakpoint: Value) -> bool {
        match self {
            Self::System { content } | Self::Tool { content, .. } => {
                content.breakpoint = Some(breakpoint);
            }
            Self::User { content } => content.breakpoint = Some(breakpoint),
            Self::Assistant { .. } => return false,
        }
        true
    }
}

/// A content that is one text: a plain string, which every server accepts, unless it has a
/// breakpoint.
#[derive(Debug, Default)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) breakpoint: Option<Value>,
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self {
            text,
            breakpoint: None,
        }
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.breakpoint {
            None => to.serialize_str(&self.text),
            Some(breakpoint) => [Marked {
                part: &Part::text(self.text.as_str()),
                cache_control: Some(breakpoint),
            }]
            .serialize(to),
        }
    }
}

/// The content of a user message. A single text without a breakpoint is a plain string.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) parts: Vec<Part>,
    pub(crate) breakpoint: Option<Value>,
}

impl From<Vec<Part>> for Parts {
    fn from(parts: Vec<Part>) -> Self {
        Self {
            parts,
            breakpoint: None,
        }
    }
}

impl Serialize for Parts {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if let ([Part::Text { text }], None) = (&self.parts[..], &self.breakpoint) {
            return to.serialize_str(text);
        }
        let last = self.parts.len().saturating_sub(1);
        let marked = |(index, part)| Marked {
            part,
            cache_control: self.breakpoint.as_ref().filter(|_| index == last),
        };
        to.collect_seq(self.parts.iter().enumerate().map(marked))
    }
}

/// A part with its cache breakpoint, as OpenRouter, LiteLLM and DashScope define it.
#[derive(Serialize)]
struct Marked<'a> {
    #[serde(flatten)]
    part: &'a Part,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<&'a Value>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part {
    Text { text: String },
    ImageUrl { image_url: ImageUrl },
    File { file: File },
}

impl Part {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    pub(crate) fn image(url: String) -> Self {
        let image_url = ImageUrl { url };
        Self::ImageUrl { image_url }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ImageUrl {
    url: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct File {
    pub(crate) filename: String,
    pub(crate) file_data: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    pub(crate) r#type: Function,
    pub(crate) function: Call,
    #[serde(flatten)]
    pub(crate) state: Map<String, Value>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) arguments: String,
    #[serde(flatten)]
    pub(crate) state: Map<String, Value>,
}

/// The only value of `type` for tools and calls.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Function {
    Function,
}

#[derive(Debug, Serialize)]
pub(crate) struct Tool {
    pub(crate) r#type: Function,
    pub(crate) function: Definition,
    /// The cache breakpoint, as OpenRouter and LiteLLM define it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_control: Option<Value>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Definition {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    pub(crate) parameters: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<bool>,
}

#[derive(Debug)]
pub(crate) enum ToolChoice {
    Word(&'static str),
    Named(String),
}

impl Serialize for ToolChoice {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Named<'a> {
            name: &'a str,
        }
        match self {
            Self::Word(word) => to.serialize_str(word),
            Self::Named(name) => {
                let mut map = to.serialize_map(Some(2))?;
                map.serialize_entry("type", "function")?;
                map.serialize_entry("function", &Named { name })?;
                map.end()
            }
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat {
    JsonSchema { json_schema: JsonSchema },
    JsonObject,
}

#[derive(Debug, Serialize)]
pub(crate) struct JsonSchema {
    pub(crate) name: &'static str,
    pub(crate) schema: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<bool>,
}

#[derive(Debug, Serialize)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: bool,
}
