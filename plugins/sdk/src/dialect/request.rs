//! The request of an Anthropic client, as typed blocks.

use serde_json::{Map, Number, Value};

use crate::dialect::DroppedFields;

/// A request of the Messages API, or of `count_tokens`.
///
/// ```
/// use witgate_plugin::dialect::{Block, ClientRequest, Role};
///
/// let body = r#"{"model": "m", "max_tokens": 16, "container": "c",
///     "messages": [{"role": "user", "content": "hi"}]}"#;
/// let request = ClientRequest::parse(body).expect("a request");
/// assert_eq!(request.messages[0].role, Role::User);
/// assert_eq!(request.messages[0].content, [Block::Text("hi".to_owned())]);
/// assert_eq!(request.dropped.line().as_deref(), Some("left out: container"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientRequest {
    /// The top-level `system`; one text if the client sent a string.
    pub system: Vec<Block>,
    /// The last `cache_control` within `system`, for protocols that have cache breakpoints.
    pub system_breakpoint: Option<Value>,
    /// The conversation, in order. A content that is a string is one text; an empty string is no
    /// block.
    pub messages: Vec<Message>,
    /// The tools, in the client's order.
    pub tools: Vec<ToolDef>,
    /// How tools may be used.
    pub tool_choice: ToolChoice,
    /// Whether more than one tool may be called at once.
    pub parallel_tools: bool,
    /// The client's `max_tokens`.
    pub max_tokens: Option<Number>,
    /// The client's `temperature`, spelt as it was.
    pub temperature: Option<Number>,
    /// The client's `top_p`, spelt as it was.
    pub top_p: Option<Number>,
    /// The client's `top_k`, spelt as it was.
    pub top_k: Option<Number>,
    /// Texts that end the message.
    pub stop_sequences: Vec<String>,
    /// Whether the model thinks.
    pub thinking: Thinking,
    /// Whether the client wants to see thinking: false if `thinking.display` is `omitted`.
    pub shows_thinking: bool,
    /// `output_config.effort`: `low`, `medium`, `high`, or any newer value.
    pub effort: Option<String>,
    /// The JSON schema of the output, from `output_config.format` or the older `output_format`.
    pub schema: Option<Value>,
    /// The names of fields that have no member here, and of every `cache_control`. Keys of blocks
    /// include the block's kind: `text.citations`.
    pub dropped: DroppedFields,
}

/// One message of the conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who wrote it.
    pub role: Role,
    /// The blocks, in order; empty if the client's content is.
    pub content: Vec<Block>,
    /// The last `cache_control` among the blocks, for protocols that have cache breakpoints.
    pub breakpoint: Option<Value>,
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The client, tool results included.
    User,
    /// The model.
    Assistant,
    /// Instructions in the middle of a conversation, which newer clients send.
    System,
}

/// One block of a content.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A text, which may be empty.
    Text(String),
    /// An image.
    Image(Source),
    /// A PDF or a text.
    Document(Document),
    /// Thinking and its signature; either may be empty.
    Thinking {
        /// The thinking as text.
        text: String,
        /// The signature of the upstream that made it.
        signature: String,
    },
    /// Thinking that only Anthropic can read.
    RedactedThinking,
    /// A call of a tool.
    ToolUse(ToolUse),
    /// The result of a tool call.
    ToolResult(ToolResult),
    /// The name of a tool that a search has found.
    ToolReference(String),
    /// A passage that the client's own search found.
    SearchResult {
        /// Its source.
        source: String,
        /// Its title.
        title: String,
        /// Its texts.
        content: Vec<Block>,
    },
    /// Any other kind of block, by its `type`.
    Other(String),
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolUse {
    /// The id that its result names.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The input, mostly an object, with members in the order in which the model wrote them.
    pub input: Value,
}

/// The result of a tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// The id of the call.
    pub id: String,
    /// Texts, images, documents and references; empty if the tool returned nothing.
    pub content: Vec<Block>,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// A document in a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its content.
    pub source: Source,
    /// Its title.
    pub title: Option<String>,
    /// The client's remarks about it.
    pub context: Option<String>,
}

/// Where the content of an image or document is.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// In the request itself.
    Base64 {
        /// `image/png`, `application/pdf`.
        media_type: String,
        /// The content in standard base64.
        data: String,
    },
    /// A URL that the upstream fetches.
    Url(String),
    /// A plain text.
    Text(String),
    /// A document made of blocks.
    Content(Vec<Block>),
    /// The id of a file that was uploaded to Anthropic.
    File(String),
    /// Any other kind of source, by its `type`.
    Other(String),
}

/// An entry of `tools`.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolDef {
    /// A tool of the client.
    Tool(Tool),
    /// A tool that Anthropic runs, or whose schema only Anthropic knows.
    Server {
        /// Its `type`: `web_search_20250305`.
        kind: String,
        /// Its `name`: `web_search`.
        name: String,
        /// Its other members, such as `allowed_domains`. A dialect that leaves out the tool itself
        /// reports the tool; one that sends it reports what it does not translate of them.
        settings: Map<String, Value>,
    },
}

/// A tool of the client.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// The name that calls use.
    pub name: String,
    /// What the tool is for.
    pub description: Option<String>,
    /// The JSON schema of its input.
    pub schema: Value,
    /// Whether inputs must match the schema exactly.
    pub strict: Option<bool>,
    /// Whether the model sees the tool only after a search has found it.
    pub deferred: bool,
    /// Its `cache_control`, for protocols that have cache breakpoints.
    pub breakpoint: Option<Value>,
}

/// How tools may be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// Not set by the client, which means `auto`.
    #[default]
    Unsaid,
    /// The model decides.
    Auto,
    /// At least one call.
    Any,
    /// This tool.
    Tool(String),
    /// No calls.
    None,
}

/// Whether the model thinks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Thinking {
    /// Not set by the client, which means no.
    #[default]
    Unsaid,
    /// No.
    Disabled,
    /// As much as the model decides.
    Adaptive,
    /// Up to a number of tokens.
    Enabled {
        /// `budget_tokens`.
        budget: Option<u64>,
    },
}
