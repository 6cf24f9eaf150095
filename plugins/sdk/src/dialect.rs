//! The client's half of every dialect, for plugins that translate.
//!
//! A dialect translates between a client that speaks Anthropic's Messages API and an upstream that
//! speaks another protocol. Only the upstream's half differs from dialect to dialect; the client's
//! half is here. [`ClientRequest`] reads a request, [`Writer`] writes a message in the order of
//! events that clients rely on, and [`DroppedFields`] counts what the protocol cannot express.
//! [`Overflow`] and [`output_limit`] read an upstream's errors about a prompt or a response that is
//! too long, in any words.
//!
//! A request is read from its [`Outline`](crate::Outline), so its texts may be placeholders: put
//! them where they belong, and do not interpret them.

mod dropped;
mod fields;
mod overflow;
mod reader;
mod request;
mod writer;

pub use dropped::DroppedFields;
pub use overflow::{Overflow, OverflowWordings, output_limit};
pub use request::{
    Block, ClientRequest, Document, Message, Role, Source, Thinking, Tool, ToolChoice, ToolDef,
    ToolResult, ToolUse,
};
pub use writer::{Usage, Writer};
