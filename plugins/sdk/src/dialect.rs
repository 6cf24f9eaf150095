//! For plugins that translate: the client's half of every dialect.
//!
//! A dialect stands between a client that speaks Anthropic's Messages API and an upstream that speaks another protocol. What
//! differs from dialect to dialect is the upstream's half; the client's is the same for all, and it is here: [`Asked`] reads
//! a request, [`Writer`] writes an answer in the order of events that clients rely on, [`LeftOut`] keeps account of what the
//! protocol cannot express.
//!
//! A request is read from its [`Outline`](crate::Outline), so texts in it may be stand-ins: put them where they belong, and do not look into
//! them.

mod asked;
mod fields;
mod left_out;
mod read;
mod writer;

pub use asked::{
    Asked, Block, Document, Message, Offered, Role, Source, Thinking, Tool, ToolChoice, ToolResult,
    ToolUse,
};
pub use left_out::LeftOut;
pub use writer::{Usage, Writer};
