//! Anthropic's error envelope.

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;

/// The content of an error in Anthropic's envelope.
pub(crate) struct Envelope {
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// Reads the envelope; `None` if the body is anything else.
pub(crate) fn envelope(body: &Bytes) -> Option<Envelope> {
    // Most bodies are something else, and this check spares parsing them. A match proves nothing:
    // `"error"` can be part of other JSON.
    memmem::find(body, b"\"error\"")?;
    #[derive(Deserialize)]
    struct Outer {
        r#type: String,
        error: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        r#type: String,
        #[serde(default)]
        message: String,
    }
    let outer: Outer = serde_json::from_slice(body).ok()?;
    (outer.r#type == "error").then_some(Envelope {
        kind: outer.error.r#type,
        message: outer.error.message,
    })
}
