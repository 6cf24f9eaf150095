//! Anthropic's error envelope.

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;

/// The content of an error in Anthropic's envelope.
pub(super) struct Envelope {
    pub(super) kind: String,
    pub(super) message: String,
}

/// The words of an error for the record: its type and message, or the beginning of another text.
pub(in crate::exchange) fn error_words(body: &Bytes) -> String {
    match envelope(body) {
        Some(Envelope { kind, message }) => format!("{kind}: {message}"),
        None => text(body),
    }
}

/// The beginning of a body, on one line, for an error message.
pub(super) fn text(body: &Bytes) -> String {
    const MAX_CHARS: usize = 300;
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * MAX_CHARS)]);
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(MAX_CHARS) {
        words.truncate(end);
        words.push_str(" ...");
    }
    words
}

/// Reads the envelope; `None` if the body is anything else.
pub(super) fn envelope(body: &Bytes) -> Option<Envelope> {
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
