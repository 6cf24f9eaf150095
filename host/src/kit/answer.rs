//! What the scripted upstream answers.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use witgate_contract::ErrorType;

/// One response of the upstream.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body, in the pieces in which it arrives.
    pub(crate) pieces: Vec<Bytes>,
    /// Whether the connection breaks after the last piece.
    pub(crate) cut: bool,
    /// Whether nothing comes after the last piece, as from an upstream that is still at work.
    pub(crate) stalls: bool,
}

impl Answer {
    /// A response with this body: a stream if it begins like one, else JSON. An error in
    /// Anthropic's shape has the status of its type, everything else 200.
    pub(crate) fn of(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let kind = match is_stream(&body) {
            true => "text/event-stream; charset=utf-8",
            false => "application/json",
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Self {
            status: status_of(&body),
            headers,
            pieces: vec![body],
            cut: false,
            stalls: false,
        }
    }

    /// Whether it is a stream of events.
    pub(crate) fn is_stream(&self) -> bool {
        is_event_stream(&self.headers)
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The whole body.
    pub(crate) fn body(&self) -> Bytes {
        match self.pieces.as_slice() {
            [one] => one.clone(),
            pieces => pieces.concat().into(),
        }
    }

    /// The same response, of which only this many bytes come for now.
    pub(crate) fn stall_at(&self, at: usize) -> Self {
        Self {
            cut: false,
            stalls: true,
            ..self.cut_at(at)
        }
    }

    /// The same response, broken off after this many bytes.
    pub(crate) fn cut_at(&self, at: usize) -> Self {
        let body = self.body();
        Self {
            pieces: vec![body.slice(..at.min(body.len()))],
            cut: true,
            ..self.clone()
        }
    }
}

/// Whether headers say that the body is a stream of events.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// Whether a text is a stream of events: JSON cannot begin like a field or a comment of one.
fn is_stream(body: &[u8]) -> bool {
    let text = body.trim_ascii_start();
    let fields: [&[u8]; 5] = [b"event:", b"data:", b"id:", b"retry:", b":"];
    fields.iter().any(|field| text.starts_with(field))
}

fn status_of(body: &[u8]) -> StatusCode {
    #[derive(Deserialize)]
    struct Envelope {
        r#type: String,
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        r#type: String,
    }
    let envelope = serde_json::from_slice::<Envelope>(body).ok();
    let envelope = envelope.filter(|envelope| envelope.r#type == "error");
    let status = envelope
        .and_then(|envelope| ErrorType::from_name(&envelope.error.r#type))
        .map(ErrorType::status);
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    status.unwrap_or(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_says_which_kind_of_response_it_is() {
        let table = [
            ("event: a\ndata: {}\n\n", "text/event-stream", 200),
            ("\n: ping\n\n", "text/event-stream", 200),
            ("{\"type\":\"message\"}", "application/json", 200),
            (
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"m"}}"#,
                "application/json",
                429,
            ),
            (r#"{"error":{"type":"x"}}"#, "application/json", 200),
        ];
        for (body, kind, status) in table {
            let answer = Answer::of(body);
            let found = answer.headers[CONTENT_TYPE].to_str().unwrap();
            assert!(found.starts_with(kind), "{body}: {found}");
            assert_eq!(answer.status.as_u16(), status, "{body}");
        }
    }

    #[test]
    fn a_response_can_be_cut() {
        let answer = Answer::of("data: 1\n\n");
        assert_eq!(answer.cut_at(4).body(), "data");
        let cut = answer.cut_at(100);
        assert!(cut.cut && cut.body() == answer.body());
    }
}
