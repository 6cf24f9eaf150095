//! Reads a client's HTTP request for an exchange: checks it, collects its body and finds its
//! session and conversation.

mod identity; // the session and the conversation of a request

use std::{sync::Arc, time::Duration};

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, Method,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT},
    request::Parts,
};
use http_body_util::BodyExt;
use witgate_contract::ErrorType;
use witgate_document::Document;

use crate::{
    config::Config,
    fault::{Fault, Kind},
    ids::ExchangeId,
    message::{Request, RequestKind, keep_for_upstream},
    off_worker::{LARGE, off_worker},
};

use super::{
    body_memory::{BodyMemory, Reservation},
    connection::body_fault,
};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a request for a message or a token count. `credentials` are the client's own, which the
/// headers no longer contain.
pub(super) async fn read(
    id: ExchangeId,
    kind: RequestKind,
    parts: Parts,
    body: Body,
    credentials: HeaderMap,
    config: &Config,
    memory: &Arc<BodyMemory>,
) -> Result<Request, Fault> {
    let Parts {
        mut headers, uri, ..
    } = parts;
    reject_compressed(&headers)?;
    let limits = Limits {
        body: config.body_limit,
        memory: config.max_body_memory,
    };
    let body = collect(body, &headers, limits, memory.reserve()).await?;
    keep_for_upstream(&mut headers);
    headers.remove(EXPECT);
    // The first look at a body reads all of it.
    off_worker(body.len() >= LARGE, || {
        let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body);
        if !text.trim_ascii_start().starts_with(b"{") {
            let what = "the request body is not a JSON object";
            return Err(Fault::client(Kind::BadRequest, what));
        }
        let body = Document::new(body);
        let session = identity::session(&headers, &body);
        let conversation = identity::conversation(session.as_ref(), &headers, &body);
        Ok(Request {
            id,
            kind,
            method: Method::POST,
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            credentials,
            session,
            conversation,
            stream: body
                .top("stream")
                .is_some_and(|value| &value[..] == b"true"),
            requested_model: model(&body, !config.routes.is_empty())?,
            headers: Arc::new(headers),
            body,
        })
    })
}

/// Rejects compressed bodies, because plugins read them.
fn reject_compressed(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(encoding) = headers.get(CONTENT_ENCODING) else {
        return Ok(());
    };
    let encoding = encoding.as_bytes().trim_ascii();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity") {
        return Ok(());
    }
    let what = format!(
        "`content-encoding: {}` is not supported for this request: send the body uncompressed",
        String::from_utf8_lossy(encoding)
    );
    let kind = Kind::Refused {
        status: 415,
        kind: ErrorType::InvalidRequest.as_str().to_owned(),
    };
    Err(Fault::client(kind, what))
}

/// The limits of a body and of all bodies together, in bytes.
#[derive(Clone, Copy)]
struct Limits {
    body: usize,
    memory: usize,
}

/// Collects the body. It is copied once if it arrives in several pieces, and not at all if in one.
async fn collect(
    mut body: Body,
    headers: &HeaderMap,
    limits: Limits,
    mut reservation: Reservation,
) -> Result<Bytes, Fault> {
    let limit = limits.body;
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > limit) {
        return Err(rejected(body, too_large(limit), limit).await);
    }
    // Before anything is read, if the client says how much it is.
    if let Err(fault) = reservation.grow_to(declared.unwrap_or(0), limits.memory) {
        return Err(rejected(body, fault, limit).await);
    }
    let Some(first) = next(&mut body).await? else {
        return Ok(Bytes::new());
    };
    if body.is_end_stream() && first.len() <= limit {
        reservation.grow_to(first.len(), limits.memory)?;
        return Ok(reservation.hold(first));
    }
    // The declared length is at most the limit, so a wrong one costs no more than a right one.
    let mut whole = BytesMut::with_capacity(declared.unwrap_or(2 * first.len()));
    let mut chunk = Some(first);
    while let Some(bytes) = chunk {
        if whole.len() + bytes.len() > limit {
            return Err(rejected(body, too_large(limit), limit).await);
        }
        if let Err(fault) = reservation.grow_to(whole.len() + bytes.len(), limits.memory) {
            return Err(rejected(body, fault, limit).await);
        }
        whole.extend_from_slice(&bytes);
        chunk = next(&mut body).await?;
    }
    Ok(reservation.hold(whole.freeze()))
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, Fault> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(body_fault)?;
        // Trailers are not part of the body.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Reads on for a while without keeping anything, because some clients read no response while they
/// still send.
async fn rejected(mut body: Body, fault: Fault, limit: usize) -> Fault {
    const WHILE: Duration = Duration::from_secs(5);
    let read = async {
        let mut left = limit.saturating_add(64 * 1024 * 1024);
        while let Ok(Some(bytes)) = next(&mut body).await {
            left = left.saturating_sub(bytes.len());
            if left == 0 {
                break;
            }
        }
    };
    // The response is the same whether the body ended or not.
    let _ = tokio::time::timeout(WHILE, read).await;
    fault
}

fn too_large(limit: usize) -> Fault {
    let what = format!(
        "the request body is larger than `body_limit` of this gateway, which is {limit} bytes"
    );
    Fault::client(Kind::TooLarge, what)
}

/// Returns the requested model. Without routes, the upstream reports an invalid one.
fn model(body: &Document, needed: bool) -> Result<Arc<str>, Fault> {
    let fault = |what| Err(Fault::client(Kind::BadRequest, what));
    match body.top_str("model") {
        Some(model) if !model.is_empty() => Ok(model.into()),
        _ if !needed => Ok("".into()),
        Some(_) => fault("model: String should have at least 1 character"),
        None if body.top("model").is_some() => fault("model: Input should be a valid string"),
        None => fault("model: Field required"),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_model_is_required_only_if_there_are_routes() {
        let model = |body: &'static str, needed| model(&Document::new(body), needed);
        assert_eq!(&*model(r#"{"model":"m"}"#, true).unwrap(), "m");
        assert_eq!(&*model(r#"{"model":1}"#, false).unwrap(), "");
        assert!(model("{}", true).is_err_and(|fault| fault.to_string().starts_with("model:")));
        assert!(model(r#"{"model":""}"#, true).is_err());
    }

    async fn collected(
        body: &'static str,
        headers: &HeaderMap,
        memory: &Arc<BodyMemory>,
    ) -> Result<Bytes, Fault> {
        let limits = Limits {
            body: 8,
            memory: 10,
        };
        collect(Body::from(body), headers, limits, memory.reserve()).await
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_rejected_whatever_length_it_declares() {
        let memory = Arc::default();
        let mut headers = HeaderMap::new();
        let small = collected("12345678", &headers, &memory).await;
        assert_eq!(small.unwrap(), "12345678");
        let large = collected("123456789", &headers, &memory).await;
        assert_eq!(large.unwrap_err().kind, Kind::TooLarge);
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("99"));
        let declared = collected("1", &headers, &memory).await;
        assert_eq!(declared.unwrap_err().kind, Kind::TooLarge);
    }

    #[tokio::test]
    async fn bodies_that_are_too_much_together_are_rejected_whether_declared_or_not() {
        let memory = Arc::default();
        let mut headers = HeaderMap::new();
        let held = collected("12345", &headers, &memory).await.unwrap();
        assert!(collected("12345", &headers, &memory).await.is_ok());
        let too_much = collected("123456", &headers, &memory).await;
        assert_eq!(too_much.unwrap_err().kind, Kind::Overloaded);
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("6"));
        let too_much = collected("1", &headers, &memory).await;
        assert_eq!(too_much.unwrap_err().kind, Kind::Overloaded);
        drop(held);
        assert!(collected("123456", &headers, &memory).await.is_ok());
    }

    #[test]
    fn a_compressed_body_is_an_unsupported_media_type() {
        let reject = |encoding: &'static str| {
            let value = HeaderValue::from_static(encoding);
            reject_compressed(&HeaderMap::from_iter([(CONTENT_ENCODING, value)]))
        };
        for encoding in ["", " ", "identity", "Identity"] {
            assert!(reject(encoding).is_ok(), "`{encoding}`");
        }
        let fault = reject("gzip").unwrap_err();
        assert!(matches!(fault.kind, Kind::Refused { status: 415, .. }));
    }
}
