//! Whether a failure says that a signature is refused.

/// In lower case. As narrow as the texts that are known: `thinking block` alone, say, is in refusals of other kinds.
const TEXTS: &[&str] = &[
    "invalid `signature` in `thinking` block",
    "thinking.signature: field required",
    "invalid signature",
    // Google's, where a dialect shows it as it came.
    "corrupted thought signature",
];

/// Gateways on the way wrap the text in JSON of their own, even twice, so it is looked for wherever it stands.
pub(crate) fn is_one(kind: &str, body: &str) -> bool {
    let body = body.to_lowercase();
    kind == "invalid_request_error" && TEXTS.iter().any(|text| body.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_signature_is_told_from_other_refusals() {
        let refused = [
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.content.0: Invalid `signature` in `thinking` block"}}"#,
            "messages.1.content.0.thinking.signature: Field required",
            r#"{"error":{"code":400,"message":"{\"error\":{\"message\":\"messages.1.content.0: Invalid signature in thinking block\"}}"}}"#,
            "Corrupted thought signature.",
        ];
        for body in refused {
            assert!(is_one("invalid_request_error", body), "{body}");
            assert!(!is_one("api_error", body), "{body}");
        }
        let others = [
            "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`",
            "When thinking is disabled, an `assistant` message in the final position cannot contain `thinking`",
            "failed to deserialise the thinking block",
            "thinking.budget_tokens: Field required",
            "prompt is too long: 200001 tokens > 200000 maximum",
        ];
        for body in others {
            assert!(!is_one("invalid_request_error", body), "{body}");
        }
    }
}
