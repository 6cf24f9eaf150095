//! An upstream's refusal of a request, as the readers of lessons see it. Pure.

use super::upstream_error::UpstreamError;

/// Words that refuse something that the request has.
const REFUSING: &[&str] = &[
    "unsupported",
    "not support",
    "n't support",
    "unrecognized",
    "unknown",
    "unexpected",
    "unavailable",
    "not available",
    "not permitted",
    "not allowed",
    "not accept",
    "n't accept",
    "not implemented",
    "not enabled",
    "not valid",
    "not compatible",
    "incompatible",
    "invalid",
    "deprecated",
    "must be",
    "must only",
    "should be",
    "can only",
    "cannot",
    "can't",
    "only ",
    "no longer",
    "extra inputs",
    "expected",
    "did not match",
    "received ",
    "got ",
];

/// A refusal, in lower case.
#[derive(Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) reported: &'a UpstreamError,
    pub(crate) message: String,
    /// The member of the request that is at fault: `messages` of `messages[1].content`.
    pub(crate) member: String,
}

impl<'a> Refusal<'a> {
    pub(crate) fn of(reported: &'a UpstreamError) -> Self {
        let param = reported.param.to_ascii_lowercase();
        let member = param.split(['.', '[']).next().unwrap_or_default();
        Self {
            reported,
            message: reported.message.to_ascii_lowercase(),
            member: member.to_owned(),
        }
    }

    /// Whether the message contains one of these words.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.message.contains(word))
    }

    /// Whether the message or the code refuses anything at all.
    pub(crate) fn refuses(&self) -> bool {
        self.says(REFUSING) || self.reported.names(&["unsupported", "unknown_parameter"])
    }

    /// Whether it is about this member: named by the error, or by its message.
    pub(crate) fn is_about(&self, member: &str, words: &[&str]) -> bool {
        if self.member.is_empty() || self.member == "body" {
            return self.says(&[member]) || self.says(words);
        }
        self.member == member
    }
}
