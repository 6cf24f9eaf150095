//! The beginning of an upstream's response: a usable one, or a failed attempt.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde::de::IgnoredAny;
use witgate_contract::{error_type::status_of, limits};

use crate::{
    fault::{Fault, Kind},
    ids::UpstreamId,
    message::{Body, BodyStream, RequestKind, Response, Target},
    pipeline::Translator,
    sse::{Decoder, Frame},
    telemetry::Usage,
};

use super::{
    envelope::envelope,
    error::AttemptError,
    limit::{too_long, too_much},
    translate,
};

/// A usable response. Nothing of it has been sent to the client, so a retry is still possible.
pub(crate) enum Received {
    Json(JsonResponse),
    Stream(StreamResponse),
}

impl Received {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Json(response) => response.status,
            Self::Stream(response) => response.status,
        }
    }
}

/// A complete JSON response.
pub(crate) struct JsonResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Read from the body, so that it is parsed only once.
    pub(crate) usage: Usage,
}

/// A stream whose first event has arrived.
pub(crate) struct StreamResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The complete frames received so far.
    pub(crate) frames: Vec<Frame>,
    pub(crate) decoder: Decoder,
    pub(crate) chunks: BodyStream,
}

/// The time by which a response must have begun.
pub(crate) struct Deadline {
    upstream: UpstreamId,
    /// What is awaited, for the error message.
    what: &'static str,
    limit: Duration,
    by: Instant,
}

impl Deadline {
    /// `limit` from now.
    pub(crate) fn of(target: &Target, what: &'static str, limit: Duration) -> Self {
        Self {
            upstream: target.upstream.clone(),
            what,
            limit,
            by: Instant::now() + limit,
        }
    }

    /// Waits for `future` until the deadline; a timeout is a fault that names the upstream.
    pub(crate) async fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Fault> {
        let waited = tokio::time::timeout_at(self.by.into(), future).await;
        waited.map_err(|_| {
            let Self { upstream, what, .. } = self;
            let limit = self.limit.as_secs_f64();
            let what = format!("upstream `{upstream}` sent no {what} for {limit} s");
            Fault::upstream(Kind::TimedOut, what)
        })
    }

    async fn or_fault(
        &self,
        next: impl Future<Output = Option<Result<Bytes, Fault>>>,
    ) -> Option<Result<Bytes, Fault>> {
        self.wait(next)
            .await
            .unwrap_or_else(|fault| Some(Err(fault)))
    }
}

/// The most that may come before the first event of a stream, in bytes: comments and pings that say
/// that the upstream is still at work.
const LONGEST_PRELUDE: usize = 1024 * 1024;

/// The most white space at the beginning of a response whose content type does not say what it is,
/// in bytes. Some servers send it to keep the connection open.
const LONGEST_BLANK: usize = 64 * 1024;

/// An error body is a line or two, sent at once.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads as much as is needed to tell. A response in another dialect is translated first.
pub(crate) async fn read_response(
    answer: Response,
    kind: RequestKind,
    target: &Target,
    due: &Deadline,
    translator: Option<Translator>,
) -> Result<Received, Box<AttemptError>> {
    let Response {
        status,
        headers,
        body,
    } = answer;
    let mut chunks = match body {
        Body::Whole(bytes) => stream::iter([Ok(bytes)]).boxed(),
        Body::Stream(chunks) => chunks,
    };
    if !status.is_success() {
        let body = read_error(&mut chunks).await;
        let error = AttemptError::status(target, status.as_u16(), headers, body);
        return Err(Box::new(error));
    }
    let invalid = |headers, body, fault| {
        Box::new(AttemptError::invalid_response(
            target, status, headers, body, fault,
        ))
    };
    let mut begun = BytesMut::new();
    let streamed = match form(&headers) {
        Form::Events => true,
        Form::Json => false,
        // Some upstreams label their stream as plain text; its first bytes show what it is.
        Form::Unclear => {
            let read = read_blank(&mut chunks, &mut begun, target, due).await;
            if let Err(fault) = read {
                return Err(invalid(headers, begun.freeze(), fault));
            }
            looks_like_events(&begun)
        }
    };
    if streamed && kind == RequestKind::Messages {
        let first = stream::iter((!begun.is_empty()).then(|| Ok(begun.freeze())));
        let mut chunks = first.chain(chunks).boxed();
        if let Some(translator) = translator {
            chunks = translate::stream_of(chunks, translator, &target.upstream);
        }
        return begin(status, headers, chunks, target, due).await;
    }
    let limit = match &translator {
        Some(_) => limits::EVENT,
        None => limits::RESPONSE,
    };
    let (mut body, fault) = read(&mut chunks, begun, limit, &target.upstream).await;
    let read = fault.map_or_else(|| usage(&body, &headers, target), Err);
    let usage = match read {
        Ok(usage) => usage,
        Err(fault) => return Err(invalid(headers, body, fault)),
    };
    if let Some(mut translator) = translator {
        if kind == RequestKind::Messages {
            let chunks = translate::stream_of_whole(&body, translator, &target.upstream).await;
            return begin(status, headers, chunks, target, due).await;
        }
        match translator.on_body(&body).await {
            Ok(translated) => body = translated.unwrap_or(body),
            Err(fault) => return Err(invalid(headers, body, fault)),
        }
    }
    if let Some(error) = envelope(&body) {
        let status = status_of(&error.kind);
        return Err(Box::new(AttemptError::status(
            target, status, headers, body,
        )));
    }
    Ok(Received::Json(JsonResponse {
        status,
        headers,
        body,
        usage,
    }))
}

/// Reads up to the first byte that is not white space.
async fn read_blank(
    chunks: &mut BodyStream,
    begun: &mut BytesMut,
    target: &Target,
    due: &Deadline,
) -> Result<(), Fault> {
    while let Some(chunk) = due.or_fault(chunks.next()).await {
        let chunk = chunk?;
        let blank = chunk.len() - chunk.trim_ascii_start().len();
        // All of what came before is white space.
        if begun.len() + blank > LONGEST_BLANK {
            return Err(too_much(&target.upstream, LONGEST_BLANK, "white space"));
        }
        begun.extend_from_slice(&chunk);
        if blank < chunk.len() {
            break;
        }
    }
    Ok(())
}

/// Reads up to the first event other than a ping. The comments and pings before it are dropped: they
/// do not show that an event will come, and an upstream may send them for ever.
async fn begin(
    status: StatusCode,
    headers: HeaderMap,
    mut chunks: BodyStream,
    target: &Target,
    due: &Deadline,
) -> Result<Received, Box<AttemptError>> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    let mut prelude = 0;
    let invalid = |headers, body, fault| {
        Box::new(AttemptError::invalid_response(
            target, status, headers, body, fault,
        ))
    };
    loop {
        match due.or_fault(chunks.next()).await {
            Some(Ok(chunk)) => decoder.push(chunk),
            Some(Err(fault)) => return Err(invalid(headers, Bytes::new(), fault)),
            None => {
                let what = format!(
                    "the stream of upstream `{}` ended before its first event",
                    target.upstream
                );
                let fault = Fault::upstream(Kind::InvalidResponse, what);
                return Err(invalid(headers, decoder.rest(), fault));
            }
        }
        let mut begun = false;
        while let Some(frame) = decoder.next_frame() {
            if !begun {
                match &*frame.event_type() {
                    b"" | b"ping" => {
                        prelude += frame.len();
                        continue;
                    }
                    b"error" => {
                        return Err(Box::new(AttemptError::event(target, &frame, headers)));
                    }
                    _ => begun = true,
                }
            }
            frames.push(frame);
        }
        if prelude > LONGEST_PRELUDE {
            let what = "comments and pings before its first event";
            let fault = too_much(&target.upstream, LONGEST_PRELUDE, what);
            return Err(invalid(headers, Bytes::new(), fault));
        }
        if begun {
            return Ok(Received::Stream(StreamResponse {
                status,
                headers,
                frames,
                decoder,
                chunks,
            }));
        }
        if decoder.is_too_long() {
            return Err(invalid(headers, Bytes::new(), too_long(&target.upstream)));
        }
    }
}

enum Form {
    Events,
    Json,
    Unclear,
}

fn form(headers: &HeaderMap) -> Form {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if kind == "text/event-stream" {
        Form::Events
    } else if kind == "application/json" || kind.ends_with("+json") {
        Form::Json
    } else {
        Form::Unclear
    }
}

fn looks_like_events(begun: &[u8]) -> bool {
    let begun = begun
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(begun)
        .trim_ascii_start();
    [&b"event:"[..], b"data:", b"id:", b"retry:", b":"]
        .iter()
        .any(|field| begun.starts_with(field))
}

/// The token usage of a JSON response, or why the body is invalid.
fn usage(body: &Bytes, headers: &HeaderMap, target: &Target) -> Result<Usage, Fault> {
    let upstream = &target.upstream;
    let broken = |what: String| Err(Fault::upstream(Kind::InvalidResponse, what));
    let trimmed = body.trim_ascii();
    if trimmed.is_empty() {
        return broken(format!("upstream `{upstream}` answered with an empty body"));
    }
    // In other dialects a list is a response as well.
    let begins = trimmed.starts_with(b"{") || (target.is_foreign() && trimmed.starts_with(b"["));
    let mut usage = Usage::default();
    if begins && (usage.of_message(body) || serde_json::from_slice::<IgnoredAny>(body).is_ok()) {
        return Ok(usage);
    }
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    broken(format!(
        "upstream `{upstream}` sent {}, expected a JSON object",
        kind.unwrap_or("something without a content type")
    ))
}

/// As much of an error body as arrives within its timeout.
async fn read_error(chunks: &mut BodyStream) -> Bytes {
    let mut body = BytesMut::new();
    let all = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            body.extend_from_slice(&chunk);
            if body.len() > limits::ERROR_BODY {
                break;
            }
        }
    };
    // The status says most of it, and that has arrived.
    let _ = tokio::time::timeout(ERROR_BODY_TIMEOUT, all).await;
    body.freeze()
}

/// The whole body, or what was received of it and why it is incomplete. Of a body over the limit only the beginning is kept.
async fn read(
    chunks: &mut BodyStream,
    mut body: BytesMut,
    limit: usize,
    upstream: &UpstreamId,
) -> (Bytes, Option<Fault>) {
    // Most responses arrive in one chunk, which is not copied.
    let mut only = Bytes::new();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) if only.is_empty() && body.is_empty() => only = chunk,
            Ok(chunk) => {
                body.extend_from_slice(&std::mem::take(&mut only));
                body.extend_from_slice(&chunk);
            }
            Err(fault) => return (joined(only, body), Some(fault)),
        }
        if only.len() + body.len() > limit {
            let body = joined(only, body);
            let kept = Bytes::copy_from_slice(&body[..body.len().min(limits::ERROR_BODY)]);
            return (kept, Some(too_much(upstream, limit, "one response")));
        }
    }
    (joined(only, body), None)
}

fn joined(only: Bytes, body: BytesMut) -> Bytes {
    if body.is_empty() { only } else { body.freeze() }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::exchange::attempt::test_target as target;

    const START: &str =
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n";
    const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    /// What an upstream's response in these chunks is taken for.
    async fn seen(kind: &'static str, chunks: Vec<Bytes>) -> Result<Received, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let answer = Response {
            status: StatusCode::OK,
            headers,
            body: Body::Stream(stream::iter(chunks.into_iter().map(Ok)).boxed()),
        };
        let target = target();
        let due = Deadline::of(&target, "event", Duration::from_secs(60));
        match read_response(answer, RequestKind::Messages, &target, &due, None).await {
            Ok(arrived) => Ok(arrived),
            Err(error) => Err(why(error.fault().unwrap())),
        }
    }

    /// The words of a fault, which another attempt may follow.
    fn why(fault: &Fault) -> String {
        assert_eq!(fault.kind, Kind::InvalidResponse);
        assert_eq!(fault.retry, crate::fault::Retry::Again);
        fault.to_string()
    }

    /// Comments of this size in all, a chunk each.
    fn comments(size: usize) -> Vec<Bytes> {
        const EACH: usize = 64 * 1024;
        let comment = |size: usize| Bytes::from(format!(":{}\n\n", " ".repeat(size - 3)));
        let (each, last) = (comment(EACH), comment(EACH + size % EACH));
        let mut chunks = vec![each; size / EACH - 1];
        chunks.push(last);
        chunks
    }

    #[tokio::test]
    async fn comments_and_pings_before_the_first_event_are_dropped_and_have_a_limit() {
        let stream = |size| {
            let mut chunks = comments(size - 15);
            chunks.push(Bytes::from_static(b"event: ping\n\n\n\n"));
            chunks.push(START.into());
            chunks
        };
        let Ok(Received::Stream(begun)) = seen("text/event-stream", stream(LONGEST_PRELUDE)).await
        else {
            panic!("the first event did not arrive");
        };
        let kept = begun.frames.into_iter().map(Frame::into_raw);
        assert_eq!(kept.collect::<Vec<_>>(), [START]);

        let fault = seen("text/event-stream", stream(LONGEST_PRELUDE + 1)).await;
        let wanted =
            "upstream `up` sent more than 1 MiB of comments and pings before its first event";
        assert_eq!(fault.err().unwrap(), wanted);
    }

    #[tokio::test]
    async fn white_space_before_a_response_has_a_limit_and_is_looked_at_once() {
        let spaces = |size: usize| vec![Bytes::from_static(b" "); size];
        let response = |size, rest: &'static str| {
            let mut chunks = spaces(size);
            chunks.push(rest.into());
            chunks
        };
        let Ok(Received::Json(whole)) = seen("text/plain", response(LONGEST_BLANK, "{}")).await
        else {
            panic!("not taken for JSON");
        };
        assert_eq!(whole.body.len(), LONGEST_BLANK + 2);
        let events = seen("text/plain", response(LONGEST_BLANK, START)).await;
        assert!(matches!(events, Ok(Received::Stream(_))));

        let wanted = "upstream `up` sent more than 64 KiB of white space";
        for rest in ["{}", START, ""] {
            let fault = seen("text/plain", response(LONGEST_BLANK + 1, rest)).await;
            assert_eq!(fault.err().unwrap(), wanted);
        }
        let in_one = format!("{}{{}}", " ".repeat(LONGEST_BLANK + 1));
        let fault = seen("text/plain", vec![in_one.into()]).await;
        assert_eq!(fault.err().unwrap(), wanted);
    }

    #[tokio::test]
    async fn of_a_response_over_the_limit_only_the_beginning_is_kept() {
        let body = |size: usize| {
            let chunks = vec![Bytes::from(vec![b'x'; size / 2]); 2];
            stream::iter(chunks.into_iter().map(Ok)).boxed()
        };
        let upstream = "up".parse().unwrap();
        let limit = 4 * limits::ERROR_BODY;
        let (whole, fault) = read(&mut body(limit), BytesMut::new(), limit, &upstream).await;
        assert!(fault.is_none());
        assert_eq!(whole.len(), limit);
        let (kept, fault) = read(&mut body(limit + 2), BytesMut::new(), limit, &upstream).await;
        assert_eq!(
            why(&fault.unwrap()),
            "upstream `up` sent more than 4 MiB of one response"
        );
        assert_eq!(kept.len(), limits::ERROR_BODY);
    }

    #[tokio::test]
    async fn a_stream_that_is_collected_has_a_limit() {
        let collected = async |size: usize| {
            let mut chunks = vec![Bytes::from_static(START.as_bytes())];
            chunks.extend(comments(size - START.len() - STOP.len()));
            chunks.push(STOP.into());
            let Ok(Received::Stream(begun)) = seen("text/event-stream", chunks).await else {
                panic!("the first event did not arrive");
            };
            match begun.collect(&target()).await {
                Ok(whole) => Ok(whole.body),
                Err(error) => Err(why(error.fault().unwrap())),
            }
        };
        assert_eq!(
            collected(limits::RESPONSE).await.unwrap(),
            r#"{"content":[]}"#
        );
        assert_eq!(
            collected(limits::RESPONSE + 1).await.unwrap_err(),
            "upstream `up` sent more than 128 MiB of one response"
        );
    }

    #[tokio::test]
    async fn an_event_that_does_not_end_has_a_limit_in_every_stage() {
        let piece = Bytes::from(vec![b'x'; 1024 * 1024]);
        let endless = |before: &'static str| {
            let mut chunks = vec![Bytes::from(format!("{before}data: "))];
            chunks.extend(vec![piece.clone(); limits::EVENT / piece.len()]);
            chunks
        };
        let wanted = "upstream `up` sent an event of more than 32 MiB";
        let fault = seen("text/event-stream", endless("")).await;
        assert_eq!(fault.err().unwrap(), wanted);

        let Ok(Received::Stream(begun)) = seen("text/event-stream", endless(START)).await else {
            panic!("the first event did not arrive");
        };
        match begun.collect(&target()).await {
            Err(error) => assert_eq!(why(error.fault().unwrap()), wanted),
            _ => panic!("the limit was not asked"),
        }
    }
}
