//! Recognises errors about thinking blocks, and what each of them says.

/// Why an upstream rejected thinking blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// What precedes a block differs from when it was made, or a block before it is missing.
    Prefix,
    /// A signature, or the data of a redacted block, is not what the upstream made.
    Signature,
    /// The thinking of the latest assistant message differs from what the upstream made.
    LatestEdited,
}

impl Rejection {
    /// The reason in words, for the log.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Prefix => "what precedes them was changed",
            Self::Signature => "a signature is not its own",
            Self::LatestEdited => "those of the latest assistant message were changed",
        }
    }
}

/// In lower case, without back-ticks, the most telling first. As narrow as the known texts:
/// `thinking block` alone, for example, occurs in other errors too.
const TEXTS: &[(&str, Rejection)] = &[
    ("bound to a different conversation", Rejection::Prefix),
    (
        "thinking blocks in the latest assistant message cannot be modified",
        Rejection::LatestEdited,
    ),
    ("invalid signature", Rejection::Signature),
    (
        "invalid data in redacted_thinking block",
        Rejection::Signature,
    ),
    ("thinking.signature: field required", Rejection::Signature),
    // Google's, if a dialect shows it unchanged.
    ("corrupted thought signature", Rejection::Signature),
];

/// Why the upstream rejected thinking blocks, if that is what the error says. Gateways on the way
/// may wrap the text in their own JSON, even twice, so it is searched for anywhere in the body.
pub(crate) fn of(error_type: &str, body: &str) -> Option<Rejection> {
    if error_type != "invalid_request_error" {
        return None;
    }
    let body = body.to_lowercase().replace('`', "");
    let found = TEXTS.iter().find(|(text, _)| body.contains(text));
    found.map(|&(_, rejection)| rejection)
}

/// Whether an error is about the field or the beta by which the API drops blocks itself. To be
/// asked only if both were sent: the text about a prefix recommends them.
pub(crate) fn names_binding(body: &str) -> bool {
    body.contains("block_binding") || body.contains("thinking-binding-controls")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wording_is_recognised_also_in_the_json_of_another_gateway() {
        let bound = "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation.";
        let table = [
            (bound, Rejection::Prefix),
            (
                "messages.1.content.0: Invalid `data` in `redacted_thinking` block. The block is bound to a different conversation. The `tools` list differs from the one this block was created with.",
                Rejection::Prefix,
            ),
            (
                "messages.1.content.0: Invalid `signature` in `thinking` block",
                Rejection::Signature,
            ),
            (
                "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
                Rejection::Signature,
            ),
            (
                "messages.3.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must remain as they were in the original response.",
                Rejection::LatestEdited,
            ),
            (
                "messages.1.content.0.thinking.signature: Field required",
                Rejection::Signature,
            ),
            (
                "messages.1.content.0: Invalid signature in thinking block",
                Rejection::Signature,
            ),
            ("Corrupted thought signature.", Rejection::Signature),
        ];
        for (text, expected) in table {
            let anthropic = format!(
                r#"{{"type":"error","error":{{"type":"invalid_request_error","message":"{text}"}}}}"#
            );
            let quoted = format!("{anthropic:?}");
            let wrapped = format!(r#"{{"error":{{"code":400,"message":{quoted}}}}}"#);
            for body in [text, &anthropic, &wrapped] {
                assert_eq!(of("invalid_request_error", body), Some(expected), "{body}");
                assert_eq!(of("api_error", body), None, "{body}");
            }
        }
    }

    #[test]
    fn other_errors_are_not_about_thinking_blocks() {
        let others = [
            "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`",
            "When thinking is disabled, an `assistant` message in the final position cannot contain `thinking`",
            "failed to deserialise the thinking block",
            "thinking.budget_tokens: Field required",
            "thinking.adaptive.block_binding: Extra inputs are not permitted",
            "prompt is too long: 200001 tokens > 200000 maximum",
        ];
        for body in others {
            assert_eq!(of("invalid_request_error", body), None, "{body}");
        }
    }

    #[test]
    fn a_refusal_of_the_field_or_of_its_beta_is_recognised() {
        for body in [
            "thinking.adaptive.block_binding: Extra inputs are not permitted",
            "Unexpected value(s) `thinking-binding-controls-2026-08-01` for the `anthropic-beta` header.",
        ] {
            assert!(names_binding(body), "{body}");
        }
        assert!(!names_binding("max_tokens: Field required"));
    }
}
