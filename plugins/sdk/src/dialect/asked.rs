//! What an Anthropic client asks for, as typed blocks.

use serde_json::{Number, Value};

use crate::{
    dialect::{LeftOut, read},
    edit::EditError,
    outline::Outline,
    request::Request,
    verdict::Refusal,
};

/// A request of the Messages API, or of `count_tokens`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// The top-level `system`; one text where the client sent a string.
    pub system: Vec<Block>,
    /// The conversation, in order. Contents that are plain strings are one text, empty ones are none.
    pub messages: Vec<Message>,
    /// In the client's order.
    pub tools: Vec<Offered>,
    /// How tools may be used.
    pub tool_choice: ToolChoice,
    /// Whether more than one tool may be called at once.
    pub parallel_tools: bool,
    /// The client's `max_tokens`.
    pub max_tokens: Option<Number>,
    /// As the client spelt it.
    pub temperature: Option<Number>,
    /// As the client spelt it.
    pub top_p: Option<Number>,
    /// As the client spelt it.
    pub top_k: Option<Number>,
    /// Texts that end the answer.
    pub stop_sequences: Vec<String>,
    /// Whether the model shall think.
    pub thinking: Thinking,
    /// Whether the client wants to see thoughts: not where `thinking.display` is `omitted`.
    pub shows_thinking: bool,
    /// `output_config.effort`: `low`, `medium`, `high`, or what newer clients say.
    pub effort: Option<String>,
    /// The JSON schema that the answer must have, from `output_config.format` or the older `output_format`.
    pub schema: Option<Value>,
    /// Fields that none of the above stands for, by their names. Keys of blocks are told with the block's kind: `text.citations`.
    pub left_out: LeftOut,
}

/// One message of the conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Whose it is.
    pub role: Role,
    /// In order; empty where the client's content is.
    pub content: Vec<Block>,
}

/// Whose a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The client's, tool results included.
    User,
    /// The model's.
    Assistant,
    /// Instructions in the middle of a conversation, which newer clients send.
    System,
}

/// One block of a content.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A text, perhaps empty.
    Text(String),
    /// A picture.
    Image(Source),
    /// A PDF or a text.
    Document(Document),
    /// What the model thought, and the signature of whoever made it; either may be empty.
    Thinking {
        /// The thought in words.
        text: String,
        /// As it came from the upstream that made it.
        signature: String,
    },
    /// A thought that only Anthropic can read.
    RedactedThinking,
    /// A call of a tool.
    ToolUse(ToolUse),
    /// What came of it.
    ToolResult(ToolResult),
    /// The name of a tool that a search has found.
    ToolReference(String),
    /// A passage that was found by the client's own search.
    SearchResult {
        /// Where it was found.
        source: String,
        /// What it is called.
        title: String,
        /// Texts.
        content: Vec<Block>,
    },
    /// A kind of block that is none of these, by its `type`.
    Other(String),
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolUse {
    /// What its result names.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Mostly an object; members in the order in which the model wrote them.
    pub input: Value,
}

/// What came of the call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// The id of the call.
    pub id: String,
    /// Texts, images, documents, references; empty where the tool said nothing.
    pub content: Vec<Block>,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// A document in a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What is in it.
    pub source: Source,
    /// What it is called.
    pub title: Option<String>,
    /// What the client says about it.
    pub context: Option<String>,
}

/// Where the content of an image or document is.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Here.
    Base64 {
        /// `image/png`, `application/pdf`.
        media_type: String,
        /// Standard base64.
        data: String,
    },
    /// To be fetched by the upstream.
    Url(String),
    /// A plain text.
    Text(String),
    /// A document made of blocks.
    Content(Vec<Block>),
    /// The id of a file that was uploaded to Anthropic.
    File(String),
    /// A kind of source that is none of these, by its `type`.
    Other(String),
}

/// An entry of `tools`.
#[derive(Debug, Clone, PartialEq)]
pub enum Offered {
    /// A tool of the client's.
    Tool(Tool),
    /// A tool that Anthropic runs, or whose schema only Anthropic knows.
    Server {
        /// Its `type`: `web_search_20250305`.
        kind: String,
        /// Its `name`: `web_search`.
        name: String,
    },
}

/// A tool of the client's.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// What calls name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The JSON schema of its input.
    pub schema: Value,
    /// Whether inputs must have the schema to the letter.
    pub strict: Option<bool>,
    /// Whether it was not to be shown to the model before a search has found it.
    pub deferred: bool,
}

/// How tools may be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The client did not say, which means `auto`.
    #[default]
    Unsaid,
    /// As the model likes.
    Auto,
    /// At least one.
    Any,
    /// This one.
    Tool(String),
    /// None.
    None,
}

/// Whether the model shall think.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Thinking {
    /// The client did not say, which means no.
    #[default]
    Unsaid,
    /// No.
    Disabled,
    /// As much as the model likes.
    Adaptive,
    /// Up to so many tokens.
    Enabled {
        /// `budget_tokens`.
        budget: Option<u64>,
    },
}

impl Asked {
    /// Reads a request without its long texts: those of more than `longest` bytes are stand-ins. The outline is there to be
    /// asked about them and to [quote](Outline::quoted) by.
    ///
    /// A request that cannot be read because it is not of the Messages API is refused by the name of the field.
    pub fn read(
        request: &mut Request<'_>,
        longest: u32,
    ) -> Result<(Outline, Result<Self, Refusal>), EditError> {
        let outline = request.outline(longest)?;
        let asked = Self::parse(&outline.body);
        Ok((outline, asked))
    }

    /// Reads a request from its JSON text.
    pub fn parse(body: &str) -> Result<Self, Refusal> {
        read::asked(body)
    }
}
