//! How a response ended, by the finish reason. Providers use many more values than OpenAI's.

/// What a finish reason means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The model had said everything, or called tools.
    Complete,
    /// The response reached its largest length.
    MaxTokens,
    /// The response filled the model's context.
    ContextFull,
    /// The content was withheld.
    Refused,
    /// The server has no resources left, or was ordered to stop.
    Overloaded,
    /// The response is broken.
    Failed,
    /// A value whose meaning is not known.
    Unknown,
}

/// Words of finish reasons with their meaning. The first word that a reason contains decides.
const WORDS: [(Finish, &[&str]); 6] = [
    (
        Finish::Overloaded,
        &[
            "resource",
            "abort",
            "overload",
            "unavailable",
            "capacity",
            "rate_limit",
            "quota",
            "busy",
        ],
    ),
    (
        Finish::Failed,
        &[
            "error",
            "fail",
            "timeout",
            "timed_out",
            "malformed",
            "unexpected_tool",
            "cancel",
            "interrupt",
            "disconnect",
            "incomplete",
            "missing_thought",
        ],
    ),
    (
        Finish::Refused,
        &[
            "filter",
            "sensitive",
            "safety",
            "refus",
            "prohibited",
            "block",
            "recitation",
            "guardrail",
            "moderat",
            "violat",
            "policy",
            "spii",
            "risk",
        ],
    ),
    (Finish::ContextFull, &["context", "window"]),
    (
        Finish::MaxTokens,
        &["length", "max", "limit", "truncat", "budget", "too_long"],
    ),
    (
        Finish::Complete,
        &[
            "stop", "tool", "function", "eos", "end_turn", "end_of", "complete", "finish", "done",
            "success",
        ],
    ),
];

impl Finish {
    /// The meaning of a finish reason. `None` if the value says that the response goes on.
    pub(crate) fn of(reason: &str) -> Option<Self> {
        let lower = reason.trim().to_ascii_lowercase();
        if ["", "null", "none", "false", "0", "undefined", "unspecified"].contains(&lower.as_str())
        {
            return None;
        }
        let known = WORDS
            .iter()
            .find(|(_, words)| words.iter().any(|word| lower.contains(word)));
        Some(known.map_or(Self::Unknown, |(finish, _)| *finish))
    }

    /// Whether a response without any content can end in this way.
    pub(crate) fn explains_emptiness(self) -> bool {
        matches!(self, Self::MaxTokens | Self::ContextFull | Self::Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_understood_by_their_sense() {
        for (finish, reasons) in [
            (
                Some(Finish::Complete),
                &[
                    "stop",
                    "tool_calls",
                    "function_call",
                    "eos",
                    "end_turn",
                    "STOP",
                    "tool_use",
                    "stop_sequence",
                    "COMPLETE",
                ][..],
            ),
            (
                Some(Finish::MaxTokens),
                &[
                    "length",
                    "max_tokens",
                    "model_length",
                    "MAX_TOKENS",
                    "repetition_truncation",
                    "max_output_tokens",
                ],
            ),
            (
                Some(Finish::ContextFull),
                &["model_context_window_exceeded", "context_length"],
            ),
            (
                Some(Finish::Refused),
                &[
                    "content_filter",
                    "sensitive",
                    "SAFETY",
                    "refusal",
                    "PROHIBITED_CONTENT",
                    "guardrail_intervened",
                ],
            ),
            (
                Some(Finish::Overloaded),
                &["insufficient_system_resource", "abort", "engine_overloaded"],
            ),
            (
                Some(Finish::Failed),
                &[
                    "error",
                    "network_error",
                    "server_error",
                    "MALFORMED_FUNCTION_CALL",
                ],
            ),
            (Some(Finish::Unknown), &["weary", "pending", "42"]),
            (None, &["", "null", "None", " "]),
        ] {
            for reason in reasons {
                assert_eq!(Finish::of(reason), finish, "{reason}");
            }
        }
    }
}
