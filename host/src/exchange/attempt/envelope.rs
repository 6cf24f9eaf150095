//! Anthropic's error envelope.

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;

/// What an error in Anthropic's envelope says.
pub(crate) struct Envelope {
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// `None` if the body is anything else.
pub(crate) fn envelope(body: &Bytes) -> Option<Envelope> {
    // By far most are something else, and are not read for it. An unescaped `"error"` may stand in a text as well.
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
