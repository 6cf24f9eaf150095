//! Recognises errors about a rejected signature.

/// In lower case. As narrow as the known texts: `thinking block` alone, for example, occurs in
/// other errors too.
const TEXTS: &[&str] = &[
    "invalid `signature` in `thinking` block",
    "thinking.signature: field required",
    "invalid signature",
    // Google's, if a dialect shows it unchanged.
    "corrupted thought signature",
];

/// Whether an error is about a signature. Gateways on the way may wrap the text in their own JSON,
/// even twice, so it is searched for anywhere in the body.
pub(crate) fn is_signature_error(error_type: &str, body: &str) -> bool {
    let body = body.to_lowercase();
    error_type == "invalid_request_error" && TEXTS.iter().any(|text| body.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_signature_is_distinguished_from_other_errors() {
        let rejected = [
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.content.0: Invalid `signature` in `thinking` block"}}"#,
            "messages.1.content.0.thinking.signature: Field required",
            r#"{"error":{"code":400,"message":"{\"error\":{\"message\":\"messages.1.content.0: Invalid signature in thinking block\"}}"}}"#,
            "Corrupted thought signature.",
        ];
        for body in rejected {
            assert!(is_signature_error("invalid_request_error", body), "{body}");
            assert!(!is_signature_error("api_error", body), "{body}");
        }
        let others = [
            "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`",
            "When thinking is disabled, an `assistant` message in the final position cannot contain `thinking`",
            "failed to deserialise the thinking block",
            "thinking.budget_tokens: Field required",
            "prompt is too long: 200001 tokens > 200000 maximum",
        ];
        for body in others {
            assert!(!is_signature_error("invalid_request_error", body), "{body}");
        }
    }
}
