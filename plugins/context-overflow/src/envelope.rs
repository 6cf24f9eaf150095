//! Anthropic's error envelope.

use serde::Deserialize;
use witgate_plugin::{ErrorType, serde_json};

/// Whether the body is an error in Anthropic's envelope, with one of Anthropic's types.
///
/// Some servers use the envelope with types of their own, such as vLLM's `BadRequestError`.
pub(crate) fn is_anthropic(body: &str) -> bool {
    #[derive(Deserialize)]
    struct Envelope {
        r#type: String,
        error: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        r#type: String,
    }
    serde_json::from_str::<Envelope>(body).is_ok_and(|envelope| {
        envelope.r#type == "error"
            && ErrorType::all().any(|known| known.as_str() == envelope.error.r#type)
    })
}
