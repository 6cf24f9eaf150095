//! Translates the reasons for which the model stopped.

use witgate_plugin::ErrorType;

use crate::error::{Signature, UpstreamError};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The message ends with this stop reason.
    Stop(&'static str),
    /// The same, and the record notes the reason because Anthropic has no word for it.
    Noted(&'static str, &'static str),
    /// There is no message, or it must not be treated as complete.
    Fail(UpstreamError),
}

/// Reasons that mean that the response is withheld.
const REFUSALS: [&str; 11] = [
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "ESCALATION",
    "MODEL_ARMOR",
];

/// The model's last output could not be parsed, so the content before it is incomplete.
const BROKEN: [&str; 3] = [
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "UNEXPECTED_TOOL_CALL",
];

/// Reasons that say little. If there is content, it counts as the response.
const VAGUE: [&str; 5] = [
    "OTHER",
    "TOO_MANY_TOOL_CALLS",
    "IMAGE_OTHER",
    "NO_IMAGE",
    "FINISH_REASON_UNSPECIFIED",
];

/// The documented reasons for which a prompt is blocked.
const BLOCKS: [&str; 7] = [
    "SAFETY",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "IMAGE_SAFETY",
    "MODEL_ARMOR",
    "JAILBREAK",
];

pub(super) fn end(reason: &str, message: Option<&str>, has_content: bool, has_calls: bool) -> End {
    let natural = if has_calls { "tool_use" } else { "end_turn" };
    let of = |list: &[&'static str]| list.iter().copied().find(|known| *known == reason);
    if let Some(reason) = of(&REFUSALS) {
        return End::Noted("refusal", reason);
    }
    if let Some(reason) = of(&BROKEN) {
        return End::Fail(failed(ErrorType::Api, reason, message));
    }
    match reason {
        "STOP" => End::Stop(natural),
        "MAX_TOKENS" => End::Stop("max_tokens"),
        // The response could be continued with a token that a message cannot carry.
        "CONTINUATION" => End::Noted("max_tokens", "CONTINUATION"),
        "MISSING_THOUGHT_SIGNATURE" => End::Fail(UpstreamError {
            signature: Some(Signature::Missing),
            ..failed(
                ErrorType::InvalidRequest,
                "MISSING_THOUGHT_SIGNATURE",
                message,
            )
        }),
        "PUP_LIMITED_DISABLED" => {
            // The account is disabled for violating a policy. Once a response has begun, no other
            // account can take over, and the client's login is not the problem.
            let kind = match has_content {
                true => ErrorType::Permission,
                false => ErrorType::Authentication,
            };
            End::Fail(failed(kind, "PUP_LIMITED_DISABLED", message))
        }
        _ if has_content => End::Noted(natural, of(&VAGUE).unwrap_or("unknown")),
        _ => {
            let reason = of(&VAGUE).unwrap_or("an unknown reason");
            End::Fail(failed(ErrorType::Api, reason, message))
        }
    }
}

/// A documented block reason, or `unknown`: the record must not contain foreign text.
pub(super) fn known_block(reason: &str) -> &'static str {
    BLOCKS
        .into_iter()
        .find(|known| *known == reason)
        .unwrap_or("unknown")
}

fn failed(kind: ErrorType, reason: &str, message: Option<&str>) -> UpstreamError {
    let more = message.map(|message| format!(": {message}"));
    let more = more.unwrap_or_default();
    UpstreamError::found(kind, format!("the model stopped with {reason}{more}"))
}
