//! Reads a client's HTTP request for an exchange: checks it, collects its body and finds its
//! session.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, Method,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT},
    request::Parts,
};
use http_body_util::BodyExt;
use serde::Deserialize;
use witgate_document::Document;

use crate::{
    config::Config,
    fault::{Fault, Kind},
    ids::ExchangeId,
    message::{Request, RequestKind, keep_end_to_end},
};

use super::connection::body_fault;

/// Reads a request for a message or a token count. `credentials` are the client's own, which the
/// headers no longer contain.
pub(super) async fn read(
    id: ExchangeId,
    kind: RequestKind,
    parts: Parts,
    body: Body,
    credentials: HeaderMap,
    config: &Config,
) -> Result<Request, Fault> {
    let Parts {
        mut headers, uri, ..
    } = parts;
    reject_compressed(&headers)?;
    let body = collect(body, &headers, config.body_limit).await?;
    keep_end_to_end(&mut headers);
    headers.remove(EXPECT);
    if !body.trim_ascii_start().starts_with(b"{") {
        let what = "the request body is not a JSON object";
        return Err(Fault::client(Kind::BadRequest, what));
    }
    let body = Document::new(body);
    Ok(Request {
        id,
        kind,
        method: Method::POST,
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        credentials,
        session: session(&headers, &body),
        stream: body
            .top("stream")
            .is_some_and(|value| &value[..] == b"true"),
        requested_model: model(&body, !config.routes.is_empty())?,
        headers: Arc::new(headers),
        body,
    })
}

/// Rejects compressed bodies, because plugins read them.
fn reject_compressed(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(encoding) = headers.get(CONTENT_ENCODING) else {
        return Ok(());
    };
    if encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
        return Ok(());
    }
    let what = format!(
        "`content-encoding: {}` is not supported for this request: send the body uncompressed",
        encoding.to_str().unwrap_or("?")
    );
    Err(Fault::client(Kind::BadRequest, what))
}

/// Collects the body. It is copied once if it arrives in several pieces, and not at all if in one.
async fn collect(mut body: Body, headers: &HeaderMap, limit: usize) -> Result<Bytes, Fault> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > limit) {
        return Err(too_large(body, limit).await);
    }
    let Some(first) = next(&mut body).await? else {
        return Ok(Bytes::new());
    };
    if body.is_end_stream() && first.len() <= limit {
        return Ok(first);
    }
    // The declared length is at most the limit, so a wrong one costs no more than a right one.
    let mut whole = BytesMut::with_capacity(declared.unwrap_or(2 * first.len()));
    let mut chunk = Some(first);
    while let Some(bytes) = chunk {
        if whole.len() + bytes.len() > limit {
            return Err(too_large(body, limit).await);
        }
        whole.extend_from_slice(&bytes);
        chunk = next(&mut body).await?;
    }
    Ok(whole.freeze())
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

/// Reads on for a while, because some clients read no response while they still send.
async fn too_large(mut body: Body, limit: usize) -> Fault {
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

/// Returns the client's session from its header or from either form of `metadata.user_id`. The
/// messages are never used for this.
fn session(headers: &HeaderMap, body: &Document) -> Option<Arc<str>> {
    let header = headers
        .get("x-claude-code-session-id")
        .and_then(|value| value.to_str().ok());
    if let Some(session) = header.filter(|session| !session.is_empty()) {
        return Some(session.into());
    }
    #[derive(Deserialize)]
    struct Metadata {
        user_id: String,
    }
    let metadata: Metadata = serde_json::from_slice(&body.top("metadata")?).ok()?;
    session_of_user(&metadata.user_id)
}

fn session_of_user(user: &str) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct User {
        session_id: String,
    }
    let session = match serde_json::from_str::<User>(user) {
        Ok(user) => user.session_id,
        Err(_) => user.rsplit_once("_session_")?.1.to_owned(),
    };
    (!session.is_empty()).then(|| session.into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn session_in(body: &str) -> Option<String> {
        let body = Document::new(body.to_owned());
        session(&HeaderMap::new(), &body).map(|session| session.to_string())
    }

    #[test]
    fn a_session_is_found_in_both_forms_of_user_id() {
        let json = r#"{"metadata":{"user_id":"{\"device_id\":\"d\",\"session_id\":\"s-1\"}"}}"#;
        assert_eq!(session_in(json).unwrap(), "s-1");
        let text = r#"{"metadata":{"user_id":"user_ab_account__session_s-2"}}"#;
        assert_eq!(session_in(text).unwrap(), "s-2");
        assert_eq!(session_in(r#"{"metadata":{"user_id":"someone"}}"#), None);
        assert_eq!(session_in(r#"{"metadata":{}}"#), None);
        assert_eq!(session_in("{}"), None);
    }

    #[test]
    fn the_header_takes_precedence_for_the_session() {
        let mut headers = HeaderMap::new();
        headers.insert("x-claude-code-session-id", HeaderValue::from_static("s-3"));
        let body = Document::new(r#"{"metadata":{"user_id":"a_session_s-2"}}"#);
        assert_eq!(&*session(&headers, &body).unwrap(), "s-3");
    }

    #[test]
    fn a_model_is_required_only_if_there_are_routes() {
        let model = |body: &'static str, needed| model(&Document::new(body), needed);
        assert_eq!(&*model(r#"{"model":"m"}"#, true).unwrap(), "m");
        assert_eq!(&*model(r#"{"model":1}"#, false).unwrap(), "");
        assert!(model("{}", true).is_err_and(|fault| fault.to_string().starts_with("model:")));
        assert!(model(r#"{"model":""}"#, true).is_err());
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_rejected_whatever_length_it_declares() {
        let mut headers = HeaderMap::new();
        let small = collect(Body::from("12345678"), &headers, 8).await;
        assert_eq!(small.unwrap(), "12345678");
        let large = collect(Body::from("123456789"), &headers, 8).await;
        assert_eq!(large.unwrap_err().kind, Kind::TooLarge);
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("99"));
        let declared = collect(Body::from("1"), &headers, 8).await;
        assert_eq!(declared.unwrap_err().kind, Kind::TooLarge);
    }
}
