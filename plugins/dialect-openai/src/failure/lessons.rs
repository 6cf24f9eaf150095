//! Reads what an upstream's refusal teaches: one row per kind of refusal. Pure.
//!
//! Servers word the same refusal differently, so each reader looks for the sense: what is refused,
//! and that it is. A reader sees what the attempt used, and nothing is learned about what it did
//! not use.

mod content;
mod effort;
mod limits;
mod members;
mod roles;
mod tools;

pub(crate) use effort::EFFORTS;

use witgate_plugin::learned;

use super::{refusal::Refusal, upstream_error::UpstreamError};
use crate::settings::{Format, MaxTokens, Thoughts, ToolForce};

/// Members that can be dropped without making the response wrong.
pub(crate) const OPTIONAL: [&str; 7] = [
    "stream_options",
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "reasoning_effort",
    "prompt_cache_key",
    "stop",
];

/// What an upstream accepts instead of what it refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lesson {
    /// The name of the limit of a response.
    MaxTokens(MaxTokens),
    /// The largest value of that limit.
    MaxOutput(u64),
    /// The smallest value of that limit.
    LeastOutput(u64),
    /// System messages only at the beginning.
    SystemFirst,
    /// System messages only at the beginning, and roles that alternate.
    AlternatingRoles,
    /// No user message directly after a tool message.
    NoUserAfterTool,
    /// No system message at all.
    NoSystem,
    /// The member in which the thinking of earlier turns is sent back.
    Reasoning(Thoughts),
    /// How JSON of a schema can be asked for.
    Format(Format),
    /// How a tool can be forced.
    ToolForce(ToolForce),
    NoImages,
    /// Contents that are a text and not a list of parts.
    PlainContent,
    /// The supported values of `reasoning_effort`.
    Efforts(Vec<String>),
    /// No reasoning if there are tools.
    NoEffortWithTools,
    /// The largest number of stop sequences.
    MaxStops(usize),
    /// One of [`OPTIONAL`].
    Without(String),
}

/// What an attempt used of the things that an upstream may refuse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) max_tokens: Option<(MaxTokens, u64)>,
    /// Of [`OPTIONAL`].
    pub(crate) optional: Vec<&'static str>,
    /// A system message at the beginning.
    pub(crate) system: bool,
    /// A system message after the first message.
    pub(crate) mid_system: bool,
    /// A user message directly after a tool message.
    pub(crate) user_after_tool: bool,
    /// The roles that chat templates insist on, as far as they can be kept.
    pub(crate) alternating_roles: bool,
    pub(crate) reasoning: bool,
    pub(crate) format: Option<Format>,
    pub(crate) tool_force: Option<ToolForce>,
    pub(crate) tools: bool,
    pub(crate) images: bool,
    /// Contents that are lists.
    pub(crate) parts: bool,
    /// Cache breakpoints (`cache_control`).
    pub(crate) breakpoints: bool,
    pub(crate) effort: Option<&'static str>,
    pub(crate) stops: usize,
}

type Reader = fn(&Refusal<'_>, &Used) -> Option<Lesson>;

/// The kinds of refusals, with the name under which the log reports them. The first reader that
/// understands a refusal decides, so the specific ones come first.
const KINDS: [(&str, Reader); 10] = [
    ("the order of roles", roles::roles),
    ("the thinking of earlier turns", content::reasoning),
    ("a forced tool", tools::force),
    ("the response format", tools::format),
    ("images", content::images),
    ("a list of parts", content::parts),
    ("the limit of the response", limits::limit),
    ("the effort", effort::effort),
    ("the stop sequences", members::stops),
    ("a member", members::member),
];

/// What a refusal teaches, and which kind it is.
pub(crate) fn read(reported: &UpstreamError, used: &Used) -> Option<(&'static str, Lesson)> {
    let refusal = Refusal::of(reported);
    learned::first(&KINDS, |read| read(&refusal, used))
}

#[cfg(test)]
mod tests;
