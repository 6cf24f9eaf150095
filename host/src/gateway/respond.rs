//! Responses to the client. One table maps a fault to its status and error type.

use std::convert::Infallible;

use axum::{body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;
use serde_json::value::RawValue;
use witgate_contract::ErrorType;

use crate::{
    exchange::Answer,
    fault::{Blame, Fault, Kind, Retry},
    ids::ExchangeId,
    message::{self, BodyStream, Event},
    shutdown::Stopping,
    sse,
};

/// The status and error type of a fault.
struct ErrorResponse<'a> {
    status: u16,
    kind: &'a str,
    /// Whether the response says that a retry cannot help. Otherwise clients decide by the status,
    /// and Claude Code retries a 401 or a 500 for three minutes, which looks like a hang.
    no_retry: bool,
}

/// Maps a fault to its status and error type.
fn error_response(fault: &Fault) -> ErrorResponse<'_> {
    let (status, no_retry) = match &fault.kind {
        Kind::BadRequest => (400, true),
        Kind::Unauthenticated => (401, true),
        Kind::Forbidden => (403, true),
        Kind::NotFound => (404, true),
        Kind::MethodNotAllowed => (405, true),
        Kind::TooLarge => (413, true),
        Kind::RateLimited => (429, false),
        Kind::Overloaded => (529, false),
        Kind::Unavailable => (503, false),
        Kind::Unreachable => (502, false),
        Kind::InvalidResponse => (502, fault.retry == Retry::Never),
        // Some clients retry a request that they had not sent completely.
        Kind::TimedOut if fault.blame == Blame::Client => (408, false),
        Kind::TimedOut => (504, false),
        Kind::BadCredential => (502, true),
        // The same request meets the same plugin.
        Kind::Internal => (500, matches!(fault.blame, Blame::Plugin(_))),
        // These are about the account or the size. After a 400, clients may retry a smaller
        // request.
        Kind::Refused { status, .. } => (
            *status,
            // A loop stays one.
            *status == 508
                || fault.blame == Blame::Upstream && matches!(status, 401 | 402 | 403 | 413),
        ),
    };
    let kind = match &fault.kind {
        Kind::Refused { kind, .. } => kind,
        _ => ErrorType::from_status(status).as_str(),
    };
    ErrorResponse {
        status,
        kind,
        no_retry,
    }
}

/// Turns the result of an exchange into an HTTP response, and records status and size.
pub(super) fn answer(id: &ExchangeId, answer: Answer, ending: &Stopping) -> Response {
    let Answer {
        outcome,
        headers,
        record,
    } = answer;
    let mut response = match outcome {
        Ok(answer) => from_message(id, answer, ending),
        Err(fault) => from_fault(id, &fault),
    };
    // The gateway's headers about the origin replace those of the upstream.
    response.headers_mut().extend(headers);
    if let Some(mut record) = record {
        record.status = response.status().as_u16();
        let length = http_body::Body::size_hint(response.body())
            .exact()
            .unwrap_or(0);
        record.bytes_out = usize::try_from(length).unwrap_or(usize::MAX);
    }
    name(id, &mut response);
    response
}

/// Turns a fault into an HTTP response.
pub(super) fn fault(id: &ExchangeId, fault: &Fault) -> Response {
    let mut response = from_fault(id, fault);
    name(id, &mut response);
    response
}

/// Returns a JSON response of the gateway itself.
pub(super) fn json(id: &ExchangeId, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    name(id, &mut response);
    response
}

/// Returns a text for a person.
pub(super) fn text(id: &ExchangeId, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    name(id, &mut response);
    response
}

/// Returns a response without a body.
pub(super) fn empty(id: &ExchangeId, status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    name(id, &mut response);
    response
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Adds the exchange's id as `request-id`, unless the upstream has set one.
fn name(id: &ExchangeId, response: &mut Response) {
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().entry("request-id").or_insert(id);
    }
}

fn from_message(id: &ExchangeId, answer: message::Response, ending: &Stopping) -> Response {
    let message::Response {
        status,
        headers,
        body,
    } = answer;
    let is_stream = |value: &HeaderValue| value.as_bytes().starts_with(b"text/event-stream");
    let body = match body {
        message::Body::Whole(bytes) => Body::from(bytes),
        message::Body::Stream(chunks) if headers.get(CONTENT_TYPE).is_some_and(is_stream) => {
            Body::from_stream(with_final_error(id.clone(), chunks, ending.clone()))
        }
        // The connection breaks where the response is truncated, so that it does not look complete.
        message::Body::Stream(chunks) => Body::from_stream(chunks),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Ends a truncated stream with an error event, never with a made-up end. A stream that is cut
/// because the gateway ends is truncated too.
fn with_final_error(
    id: ExchangeId,
    chunks: BodyStream,
    mut ending: Stopping,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    let ended = Box::pin(async move { ending.ended().await });
    stream::unfold(Some((id, chunks, ended)), |state| async move {
        let (id, mut chunks, mut ended) = state?;
        let next = tokio::select! {
            biased;
            next = chunks.next() => next?,
            () = &mut ended => Err(Fault::gateway("the gateway is shutting down")),
        };
        match next {
            Ok(bytes) => Some((Ok(bytes), Some((id, chunks, ended)))),
            Err(fault) => Some((Ok(error_event(&id, &fault)), None)),
        }
    })
}

fn error_event(id: &ExchangeId, fault: &Fault) -> Bytes {
    let mut out = BytesMut::new();
    let data = envelope(id, error_response(fault).kind, fault);
    sse::encode(
        &Event {
            name: "error".to_owned(),
            data,
        },
        &mut out,
    );
    out.freeze()
}

fn from_fault(id: &ExchangeId, fault: &Fault) -> Response {
    let error = error_response(fault);
    let mut response = Response::new(Body::from(envelope(id, error.kind, fault)));
    *response.status_mut() =
        StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    if error.no_retry {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    if let Some(wait) = fault.retry_after {
        // Rounded up, because a retry that is too early fails.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn envelope(id: &ExchangeId, kind: &str, fault: &Fault) -> String {
    #[derive(Serialize)]
    struct Envelope<'a> {
        r#type: &'a str,
        error: Error<'a>,
        request_id: &'a str,
    }
    #[derive(Serialize)]
    struct Error<'a> {
        r#type: &'a str,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<&'a RawValue>,
    }
    let details = fault
        .details
        .as_deref()
        .and_then(|json| serde_json::from_str(json).ok());
    let error = Error {
        r#type: kind,
        message: fault.chain(),
        details,
    };
    let envelope = Envelope {
        r#type: "error",
        error,
        request_id: id.as_str(),
    };
    // Strings and valid JSON cannot fail to serialise.
    serde_json::to_string(&envelope).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_kind_of_fault_has_its_status_and_type() {
        let client = |kind| Fault::client(kind, "x");
        let upstream = |kind| Fault::upstream(kind, "x");
        let refused = Kind::Refused {
            status: 418,
            kind: "teapot_error".to_owned(),
        };
        let forbidden = Kind::Refused {
            status: 403,
            kind: "permission_error".to_owned(),
        };
        let table = [
            (client(Kind::BadRequest), 400, "invalid_request_error", true),
            (
                client(Kind::Unauthenticated),
                401,
                "authentication_error",
                true,
            ),
            (client(Kind::Forbidden), 403, "permission_error", true),
            (client(Kind::NotFound), 404, "not_found_error", true),
            (
                client(Kind::MethodNotAllowed),
                405,
                "invalid_request_error",
                true,
            ),
            (client(Kind::TooLarge), 413, "request_too_large", true),
            (upstream(Kind::RateLimited), 429, "rate_limit_error", false),
            (Fault::gateway("x"), 500, "api_error", false),
            (
                Fault::plugin(&"redact".parse().unwrap(), "x"),
                500,
                "api_error",
                true,
            ),
            (upstream(Kind::Unreachable), 502, "api_error", false),
            (upstream(Kind::InvalidResponse), 502, "api_error", false),
            (
                upstream(Kind::InvalidResponse).retry(Retry::Never),
                502,
                "api_error",
                true,
            ),
            (upstream(Kind::BadCredential), 502, "api_error", true),
            (client(Kind::TimedOut), 408, "timeout_error", false),
            (upstream(Kind::TimedOut), 504, "timeout_error", false),
            (upstream(Kind::Overloaded), 529, "overloaded_error", false),
            (upstream(Kind::Unavailable), 503, "overloaded_error", false),
            (upstream(refused), 418, "teapot_error", false),
            (upstream(forbidden), 403, "permission_error", true),
        ];
        for (fault, status, kind, no_retry) in table {
            let error = error_response(&fault);
            assert_eq!(
                (error.status, error.kind, error.no_retry),
                (status, kind, no_retry),
                "{fault:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_fault_is_an_error_object_with_a_request_id() {
        let id = ExchangeId::new();
        let fault = Fault::client(Kind::RateLimited, "all \"busy\"")
            .after(Duration::from_millis(1200))
            .with_details(r#"{"error_code":"x"}"#.to_owned());
        let response = super::fault(&id, &fault);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["request-id"], id.as_str());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "error");
        assert_eq!(body["error"]["message"], "all \"busy\"");
        assert_eq!(body["error"]["details"]["error_code"], "x");
        assert_eq!(body["request_id"], id.as_str());
    }
}
