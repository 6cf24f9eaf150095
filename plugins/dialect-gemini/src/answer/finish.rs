//! Translates the reasons for which the model stopped.

use witgate_plugin::ErrorType;

use crate::{error::UpstreamError, learned::Lesson};

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

/// A reason that the upstream has sent, until the stream ends. Some upstreams send one with each
/// chunk, so it is final only then.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finish {
    reason: String,
    message: Option<String>,
}

/// What a message has so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content {
    /// Any block, thinking included.
    pub(super) begun: bool,
    /// A text or a call.
    pub(super) speaks: bool,
    /// A call.
    pub(super) calls: bool,
}

impl Finish {
    pub(super) fn new(reason: String, message: Option<String>) -> Self {
        Self { reason, message }
    }

    /// Whether nothing more can follow: the last output is invalid, or the account is.
    pub(super) fn is_final(&self) -> bool {
        let reason = self.reason.as_str();
        BROKEN.contains(&reason)
            || matches!(reason, "MISSING_THOUGHT_SIGNATURE" | "PUP_LIMITED_DISABLED")
    }

    /// Takes the place of an earlier reason, unless that one says more.
    pub(super) fn replaces(&self, earlier: &Self) -> bool {
        self.weight() >= earlier.weight()
    }

    fn weight(&self) -> u8 {
        match self.reason.as_str() {
            "FINISH_REASON_UNSPECIFIED" => 0,
            "STOP" => 1,
            _ => 2,
        }
    }

    /// How a message with this content ends.
    pub(super) fn end(&self, content: Content) -> End {
        let Content {
            begun,
            speaks,
            calls,
        } = content;
        let natural = if calls { "tool_use" } else { "end_turn" };
        let of = |list: &[&'static str]| list.iter().copied().find(|known| *known == self.reason);
        if let Some(reason) = of(&REFUSALS) {
            return End::Noted("refusal", reason);
        }
        if let Some(reason) = of(&BROKEN) {
            return End::Fail(self.failed(ErrorType::Api, reason));
        }
        match self.reason.as_str() {
            "STOP" if speaks => End::Stop(natural),
            "STOP" => End::Fail(self.failed(ErrorType::Api, "STOP, but without a text or a call")),
            "MAX_TOKENS" => End::Stop("max_tokens"),
            // The response could be continued with a token that a message cannot carry.
            "CONTINUATION" => End::Noted("max_tokens", "CONTINUATION"),
            "MISSING_THOUGHT_SIGNATURE" => End::Fail(UpstreamError {
                lesson: Some(Lesson::SIGNATURES),
                ..self.failed(ErrorType::InvalidRequest, "MISSING_THOUGHT_SIGNATURE")
            }),
            "PUP_LIMITED_DISABLED" => {
                // The account is disabled for violating a policy. Once a response has begun, no
                // other account can take over, and the client's login is not the problem.
                let kind = match begun {
                    true => ErrorType::Permission,
                    false => ErrorType::Authentication,
                };
                End::Fail(self.failed(kind, "PUP_LIMITED_DISABLED"))
            }
            _ if speaks => End::Noted(natural, of(&VAGUE).unwrap_or("unknown")),
            _ => {
                let reason = of(&VAGUE).unwrap_or("an unknown reason");
                End::Fail(self.failed(ErrorType::Api, reason))
            }
        }
    }

    fn failed(&self, kind: ErrorType, reason: &str) -> UpstreamError {
        let more = self.message.as_ref();
        let more = more
            .map(|message| format!(": {message}"))
            .unwrap_or_default();
        UpstreamError::found(kind, format!("the model stopped with {reason}{more}"))
    }
}

/// A documented block reason, or `unknown`: the record must not contain foreign text.
pub(super) fn known_block(reason: &str) -> &'static str {
    BLOCKS
        .into_iter()
        .find(|known| *known == reason)
        .unwrap_or("unknown")
}
