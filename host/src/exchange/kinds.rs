//! Anthropic's error types, their statuses and their envelope.

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;

/// The type of an error that has only a status.
pub(crate) fn kind_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// The status of an error that has only a type, as the first event of a stream has.
pub(crate) fn status_of(kind: &str) -> u16 {
    match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "conflict_error" => 409,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    }
}

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
