//! Forwards the other routes below `/v1/`, such as files and batches, without plugins or retries.
//!
//! Files and batches belong to an account, so it is always the same one: the first account of the
//! first upstream with Anthropic's dialect.

use axum::body::{Body, HttpBody};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, header::EXPECT, request::Parts};

use crate::{
    exchange::{Answer, Ending, Record, Snapshot},
    fault::{Fault, Kind},
    message::{self, ANTHROPIC, BodyStream, keep_end_to_end},
    upstream::{Credential, PassthroughRequest},
};

use super::connection::body_fault;

/// Forwards a request and streams the response.
pub(super) async fn forward(
    snapshot: &Snapshot,
    parts: Parts,
    body: Body,
    own: HeaderMap,
    mut record: Box<Record>,
) -> Answer {
    let mut origin = HeaderMap::new();
    let outcome = send(snapshot, parts, body, own, &mut record, &mut origin).await;
    record.passed(
        outcome
            .as_ref()
            .map_or(0, |response| response.status.as_u16()),
    );
    let response = match outcome {
        Ok(response) => response,
        Err(fault) => {
            record.end(Ending::Error);
            record.note = Some(fault.chain());
            return Answer {
                outcome: Err(fault),
                headers: origin,
                record: Some(record),
            };
        }
    };
    record.status = response.status.as_u16();
    let message::Response {
        status,
        headers,
        body,
    } = response;
    let body = match body {
        message::Body::Stream(chunks) => message::Body::Stream(counted(chunks, record)),
        whole @ message::Body::Whole(_) => whole,
    };
    Answer {
        outcome: Ok(message::Response {
            status,
            headers,
            body,
        }),
        headers: origin,
        record: None,
    }
}

async fn send(
    snapshot: &Snapshot,
    parts: Parts,
    body: Body,
    own: HeaderMap,
    record: &mut Record,
    origin: &mut HeaderMap,
) -> Result<message::Response, Fault> {
    let Parts {
        method,
        uri,
        mut headers,
        ..
    } = parts;
    let mut upstreams = snapshot.upstreams.iter().enumerate();
    let first = upstreams.find(|(_, upstream)| *upstream.config.dialect == *ANTHROPIC);
    let Some((index, upstream)) = first else {
        let what = format!(
            "no upstream with dialect `{ANTHROPIC}` is configured to serve `{}`",
            uri.path()
        );
        return Err(Fault::client(Kind::NotFound, what));
    };
    let account = snapshot.accounts.first(index);
    record.passed_to(&upstream.config.name, account.cloned());
    if let Some(account) = account.filter(|_| snapshot.config.expose_accounts)
        && let Ok(name) = HeaderValue::from_str(account.as_str())
    {
        origin.insert("x-account-email", name);
    }
    keep_end_to_end(&mut headers);
    headers.remove(EXPECT);
    let request = PassthroughRequest {
        method,
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers,
        length: body.size_hint().exact(),
        body: incoming(body),
    };
    let key = match account {
        Some(account) => Some(snapshot.accounts.credential(index, account).await?),
        None => None,
    };
    let credential = key
        .as_ref()
        .map_or(Credential::Client(&own), Credential::Account);
    upstream.passthrough(request, credential).await
}

fn incoming(body: Body) -> BodyStream {
    body.into_data_stream()
        .map(|chunk| chunk.map_err(body_fault))
        .boxed()
}

/// Streams the response, and records its size and how it ended.
fn counted(chunks: BodyStream, record: Box<Record>) -> BodyStream {
    let counted = stream::unfold((chunks, record), |(mut chunks, mut record)| async move {
        let next = chunks.next().await;
        match &next {
            Some(Ok(bytes)) => record.bytes_out += bytes.len(),
            Some(Err(_)) => record.end(Ending::Truncated),
            None => record.end(Ending::Complete),
        }
        Some((next?, (chunks, record)))
    });
    counted.boxed()
}
