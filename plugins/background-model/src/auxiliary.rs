//! Recognises auxiliary requests: background requests that the client makes for itself.
//!
//! Claude Code marks its requests with `x-claude-code-request-class` if
//! `CLAUDE_CODE_GATEWAY_HINT_HEADERS=1` is set. Without the header only their shape is left. Other
//! requests may have the same shape, so recognising it is a setting of its own.

use witgate_plugin::{EditError, Guard, Request};

const CLASS: &str = "x-claude-code-request-class";
const AUXILIARY: &str = "auxiliary";

/// Sent only by Claude Code, and with every request.
const SESSION: &str = "x-claude-code-session-id";

/// The shape: no thinking, and tools that are an empty list or a single server tool, which has a
/// type and no schema. The filter runs on the one member of `metadata`, so it is evaluated once.
const SHAPE: &str = concat!(
    "$.metadata[?!$.thinking && $.tools && ",
    "(length($.tools) == 0 || (length($.tools) == 1 && $.tools[0].type && !$.tools[0].input_schema))]",
);

/// A cache breakpoint: the client expects to send this prefix again, so this is a conversation.
const CACHED: &str = "$..cache_control";

pub(crate) fn marked() -> Guard {
    Guard::new().header(CLASS, [AUXILIARY])
}

pub(crate) fn shaped_like_one() -> Guard {
    Guard::new().path(SHAPE)
}

pub(crate) fn is_one(request: &Request, unmarked: bool) -> Result<bool, EditError> {
    let class = request.header(CLASS);
    if !class.is_empty() || !unmarked {
        return Ok(class == [AUXILIARY]);
    }
    Ok(!request.header(SESSION).is_empty()
        && request.matches(SHAPE)?
        && !request.matches(CACHED)?)
}
