//! Forwards the other routes below `/v1/`, such as files and batches, without plugins or retries.
//!
//! Files and batches belong to an account, so it is always the same one: the first account of the
//! first upstream with Anthropic's dialect. A file that was uploaded before the accounts changed is
//! still looked for where it is.

use std::{sync::Arc, time::Instant};

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, LOCATION},
    request::Parts,
};
use witgate_contract::limits;

use crate::{
    accounts::Made,
    exchange::{Answer, AttemptError, Ending, Record, Snapshot, keys_sent},
    fault::{Fault, Kind},
    ids::AccountId,
    message::{self, ANTHROPIC, BodyStream, Response, Target, keep_for_upstream},
    secret::Secret,
    upstream::{self, Credential, PassthroughRequest, Upstream},
};

use super::{batches, connection::body_fault, files};

/// The largest batch object or list of them, in bytes. A list has 1,000 of some 500 bytes.
const LARGEST_BATCHES: usize = 16 << 20;

/// A request to forward.
pub(super) struct Forwarded {
    pub(super) parts: Parts,
    pub(super) body: Body,
    /// The client's own credentials.
    pub(super) own: HeaderMap,
    /// The URL by which the client reached this gateway: `http://127.0.0.1:8045`.
    pub(super) gateway: String,
}

/// Forwards a request and streams the response.
pub(super) async fn forward(
    snapshot: &Snapshot,
    forwarded: Forwarded,
    mut record: Box<Record>,
) -> Answer {
    let method = forwarded.parts.method.clone();
    let path = forwarded.parts.uri.path().to_owned();
    record.passthrough = Some((method.clone(), path));
    let mut origin = HeaderMap::new();
    let outcome = match Route::of(snapshot, forwarded.parts.uri.path()) {
        Ok(route) => {
            record.passed_to(&route.upstream.config.name, route.account.cloned());
            origin.extend(route.origin(snapshot));
            route.send(snapshot, forwarded, &mut record).await
        }
        Err(fault) => Err(fault),
    };
    match outcome {
        Ok(response) => streamed(response, &method, origin, record),
        Err(fault) => {
            record.end(Ending::Error);
            record.note = Some(fault.chain());
            Answer {
                outcome: Err(fault),
                headers: origin,
                record: Some(record),
            }
        }
    }
}

/// Where passthrough requests go.
struct Route<'a> {
    index: usize,
    upstream: &'a Upstream,
    account: Option<&'a AccountId>,
}

impl<'a> Route<'a> {
    fn of(snapshot: &'a Snapshot, path: &str) -> Result<Self, Fault> {
        if let Some(route) = files::id_in(path).and_then(|id| Self::of_file(snapshot, id)) {
            return Ok(route);
        }
        let mut upstreams = snapshot.upstreams.iter().enumerate();
        let first = upstreams.find(|(_, upstream)| *upstream.config.dialect == *ANTHROPIC);
        let (index, upstream) = first.ok_or_else(|| {
            let what =
                format!("no upstream with dialect `{ANTHROPIC}` is configured to serve `{path}`");
            Fault::client(Kind::NotFound, what)
        })?;
        Ok(Self {
            index,
            upstream,
            account: snapshot.accounts.first(index),
        })
    }

    /// To the account that holds a file, if that is known.
    fn of_file(snapshot: &'a Snapshot, id: &str) -> Option<Self> {
        let (index, account) = snapshot.accounts.made(&Made::File(id), Instant::now())?;
        Some(Self {
            index,
            upstream: snapshot.upstreams.at(index)?,
            account: snapshot.accounts.named(index, &account),
        })
    }

    /// The headers that say where the response came from.
    fn origin(&self, snapshot: &Snapshot) -> HeaderMap {
        let named = self.account.filter(|_| snapshot.config.expose_accounts);
        let value = named.and_then(|name| HeaderValue::from_str(name.as_str()).ok());
        let header = |value| (HeaderName::from_static("x-account-email"), value);
        value.map(header).into_iter().collect()
    }

    async fn send(
        &self,
        snapshot: &Snapshot,
        forwarded: Forwarded,
        record: &mut Record,
    ) -> Result<Response, Fault> {
        let Forwarded {
            parts,
            body,
            own,
            gateway,
        } = forwarded;
        let path = parts.uri.path().to_owned();
        let has_body = parts.method != Method::HEAD;
        let is_upload = files::is_upload(&parts.method, &path);
        let key = match self.account {
            Some(account) => {
                let key = snapshot.accounts.credential(self.index, account).await;
                // Without a credential there is no response.
                Some(key.inspect_err(|_| record.passed(0))?)
            }
            None => None,
        };
        let credential = key
            .as_ref()
            .map_or(Credential::Client(&own), Credential::Account);
        let sent = self.upstream.passthrough(request(parts, body), credential);
        let sent = sent.await;
        // No response has status 0.
        record.passed(sent.as_ref().map_or(0, |response| response.status.as_u16()));
        let response = sent?;
        if is_error(&response) {
            let error = self.error(snapshot, response, key.as_ref(), &own).await?;
            record.note = Some(error.reason);
            return Ok(error.response);
        }
        if has_body && is_json(&response.headers) && batches::are_at(&path) {
            return batch_objects(response, &gateway).await;
        }
        if is_upload && is_json(&response.headers) {
            return self.remember_file(snapshot, response).await;
        }
        Ok(response)
    }

    /// Remembers which account holds the file that was uploaded.
    async fn remember_file(
        &self,
        snapshot: &Snapshot,
        mut response: Response,
    ) -> Result<Response, Fault> {
        let (begun, more) = collect(response.body, files::LARGEST_UPLOADED).await?;
        if let Some(account) = self.account
            && let Some(id) = files::uploaded(&begun)
        {
            let now = Instant::now();
            snapshot
                .accounts
                .remember(&Made::File(&id), self.index, account, now);
        }
        response.body = match more {
            None => message::Body::Whole(begun),
            Some(more) => message::Body::Stream(prepended(begun, more)),
        };
        Ok(response)
    }

    /// An error passes unmodified, without keys that it repeats, unless it is about the gateway: a
    /// credential of the gateway that was rejected, or a redirect.
    async fn error(
        &self,
        snapshot: &Snapshot,
        response: Response,
        key: Option<&Secret>,
        own: &HeaderMap,
    ) -> Result<Passed, Fault> {
        let Response {
            status,
            headers,
            body,
        } = response;
        let (mut begun, mut more) = collect(body, limits::ERROR_BODY).await?;
        let mut headers = headers;
        if headers.contains_key(CONTENT_ENCODING) {
            // Empty if it cannot be read: the client gets the status, and no key.
            begun = upstream::decoded(&mut headers, &begun, limits::ERROR_BODY).unwrap_or_default();
            more = None;
        }
        let mut error = AttemptError::status(&self.target(), status.as_u16(), headers, begun);
        error.hide(keys_sent(key, own));
        let rejected = error.rejected_our_credential();
        if let (true, Some(account), Some(key)) = (rejected, self.account, key) {
            snapshot
                .accounts
                .credential_rejected(self.index, account, key);
        }
        let reason = error.reason();
        let is_unread = more.is_none() && error.failure.body.is_empty();
        if rejected || status.is_redirection() || is_unread {
            let response = error.into_outcome().0?;
            return Ok(Passed { response, reason });
        }
        let response = shown(status, error, more);
        Ok(Passed { response, reason })
    }

    fn target(&self) -> Target {
        let config = &self.upstream.config;
        Target {
            upstream: config.name.clone(),
            index: self.index,
            dialect: ANTHROPIC.into(),
            account: self.account.cloned(),
            model: "".into(),
            requested_model: "".into(),
            attempt: 1,
            lacks: Arc::default(),
            version: config.version,
        }
    }
}

/// An error that goes to the client.
struct Passed {
    response: Response,
    reason: String,
}

/// The response with an upstream's error. `more` follows what was read of it.
fn shown(status: StatusCode, error: AttemptError, more: Option<BodyStream>) -> Response {
    let mut headers = error.failure.headers;
    // Of the body before keys were hidden.
    headers.remove(CONTENT_LENGTH);
    let begun = error.failure.body;
    let body = match more {
        None => message::Body::Whole(begun),
        // Far more than an error has.
        Some(more) => message::Body::Stream(prepended(begun, more)),
    };
    Response {
        status,
        headers,
        body,
    }
}

/// The request as it is forwarded.
fn request(parts: Parts, body: Body) -> PassthroughRequest {
    let Parts {
        method,
        uri,
        mut headers,
        ..
    } = parts;
    keep_for_upstream(&mut headers);
    headers.remove(EXPECT);
    let path = uri.path().to_owned();
    if !is_download(&path) {
        // What is read here must not be compressed: errors and batch objects.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    let length = body.size_hint().exact();
    if length == Some(0) && matches!(method, Method::POST | Method::PUT | Method::PATCH) {
        // Some servers reject a request with such a method and no length.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    }
    PassthroughRequest {
        method,
        path,
        query: uri.query().unwrap_or_default().to_owned(),
        headers,
        length,
        body: incoming(body),
    }
}

/// Whether the response is a file or the results of a batch, which may be large.
fn is_download(path: &str) -> bool {
    path.ends_with("/content") || path.ends_with("/results")
}

/// Whether a response is not the one that the client asked for.
fn is_error(response: &Response) -> bool {
    let Response {
        status, headers, ..
    } = response;
    let is_redirect = status.is_redirection() && headers.contains_key(LOCATION);
    status.is_client_error() || status.is_server_error() || is_redirect
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/json"))
        && !headers.contains_key(CONTENT_ENCODING)
}

/// Rewrites the batch objects of a response.
async fn batch_objects(response: Response, gateway: &str) -> Result<Response, Fault> {
    let Response {
        status,
        mut headers,
        body,
    } = response;
    let (begun, more) = collect(body, LARGEST_BATCHES).await?;
    if more.is_some() {
        let what = format!(
            "a list of batches has more than {} MiB",
            LARGEST_BATCHES >> 20
        );
        return Err(Fault::upstream(Kind::InvalidResponse, what));
    }
    headers.remove(CONTENT_LENGTH);
    Ok(Response {
        status,
        headers,
        body: message::Body::Whole(batches::with_results_here(begun, gateway)),
    })
}

/// Reads a body up to a limit. Returns the rest if it is longer.
async fn collect(body: message::Body, limit: usize) -> Result<(Bytes, Option<BodyStream>), Fault> {
    let mut chunks = match body {
        message::Body::Whole(bytes) => return Ok((bytes, None)),
        message::Body::Stream(chunks) => chunks,
    };
    let mut read = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        read.extend_from_slice(&chunk?);
        if read.len() > limit {
            return Ok((read.freeze(), Some(chunks)));
        }
    }
    Ok((read.freeze(), None))
}

fn prepended(begun: Bytes, more: BodyStream) -> BodyStream {
    stream::iter([Ok(begun)]).chain(more).boxed()
}

fn incoming(body: Body) -> BodyStream {
    body.into_data_stream()
        .map(|chunk| chunk.map_err(body_fault))
        .boxed()
}

/// The answer with the response. Its record is written at the end of a streamed body.
fn streamed(
    response: Response,
    method: &Method,
    headers: HeaderMap,
    mut record: Box<Record>,
) -> Answer {
    let Response {
        status,
        headers: of_response,
        body,
    } = response;
    record.status = status.as_u16();
    let (body, record) = match body {
        message::Body::Stream(chunks) if *method != Method::HEAD => {
            (message::Body::Stream(counted(chunks, record)), None)
        }
        // The HTTP library never reads the body of a response to `HEAD`.
        body => {
            let is_error = status.is_client_error() || status.is_server_error();
            record.end(if is_error {
                Ending::Error
            } else {
                Ending::Complete
            });
            (body, Some(record))
        }
    };
    Answer {
        outcome: Ok(Response {
            status,
            headers: of_response,
            body,
        }),
        headers,
        record,
    }
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
