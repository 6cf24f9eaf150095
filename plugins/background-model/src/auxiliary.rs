//! What an auxiliary request is: one that the client made for itself, and says so.
//!
//! Claude Code marks its requests with `x-claude-code-request-class` where `CLAUDE_CODE_GATEWAY_HINT_HEADERS=1` is set. Without the
//! header there is only their shape, which others may have too; therefore that is another setting.

use witgate_plugin::{EditError, Guard, Request};

const CLASS: &str = "x-claude-code-request-class";
const AUXILIARY: &str = "auxiliary";

/// Said by Claude Code only, and with every request.
const SESSION: &str = "x-claude-code-session-id";

/// No thinking, and tools that are an empty list or a single one of the server's, which has a type and no schema. Asked of the
/// one member of `metadata`, so that it is asked once.
const SHAPE: &str = concat!(
    "$.metadata[?!$.thinking && $.tools && ",
    "(length($.tools) == 0 || (length($.tools) == 1 && $.tools[0].type && !$.tools[0].input_schema))]",
);

/// Somebody thought the prefix worth keeping: that is a conversation.
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
