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
    /// What the upstream should send, for the error message.
    awaited: &'static str,
    limit: Duration,
    by: Instant,
}

impl Deadline {
    /// `limit` from now.
    pub(crate) fn of(target: &Target, awaited: &'static str, limit: Duration) -> Self {
        Self {
            upstream: target.upstream.clone(),
            awaited,
            limit,
            by: Instant::now() + limit,
        }
    }

    /// Waits for `future` until the deadline; a timeout is a fault that names the upstream.
    pub(crate) async fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Fault> {
        let waited = tokio::time::timeout_at(self.by.into(), future).await;
        waited.map_err(|_| {
            let Self {
                upstream, awaited, ..
            } = self;
            let limit = self.limit.as_secs_f64();
            let what = format!("upstream `{upstream}` sent no {awaited} within {limit} s");
            Fault::upstream(Kind::TimedOut, what)
        })
    }

    /// The next chunk; a timeout is an item with a fault.
    async fn or_fault(
        &self,
        next: impl Future<Output = Option<Result<Bytes, Fault>>>,
    ) -> Option<Result<Bytes, Fault>> {
        self.wait(next)
            .await
            .unwrap_or_else(|fault| Some(Err(fault)))
    }
}

/// The most comments and pings before the first event of a stream, in bytes. They say that the
/// upstream is still working.
const LONGEST_PRELUDE: usize = 1024 * 1024;

/// The most white space before a response whose content type does not say what it is, in bytes.
/// Some servers send it to keep the connection open.
const LONGEST_BLANK: usize = 64 * 1024;

/// An error body is a line or two, sent at once.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads as much of a response as shows whether it is usable. A response in another dialect is
/// translated first.
pub(crate) async fn read_response(
    response: Response,
    kind: RequestKind,
    target: &Target,
    deadline: &Deadline,
    translator: Option<Translator>,
) -> Result<Received, Box<AttemptError>> {
    let Response {
        status,
        headers,
        body,
    } = response;
    let mut chunks = match body {
        Body::Whole(bytes) => stream::iter([Ok(bytes)]).boxed(),
        Body::Stream(chunks) => chunks,
    };
    if !status.is_success() {
        let body = read_error(&mut chunks).await;
        let error = AttemptError::status(target, status.as_u16(), headers, body);
        return Err(Box::new(error));
    }
    let mut incoming = Incoming {
        status,
        headers,
        chunks,
        target,
        deadline,
    };
    let mut start = BytesMut::new();
    let is_stream = match form(&incoming.headers) {
        Form::Events => true,
        Form::Json => false,
        // Some upstreams label their stream as plain text; its first bytes show what it is.
        Form::Unclear => {
            if let Err(fault) = incoming.read_blank(&mut start).await {
                return Err(incoming.invalid(start.freeze(), fault));
            }
            looks_like_events(&start)
        }
    };
    if is_stream && kind == RequestKind::Messages {
        incoming.read_stream(start, translator).await
    } else {
        incoming.read_json(start, kind, translator).await
    }
}

/// A response with a success status, of which the body is being read.
struct Incoming<'a> {
    status: StatusCode,
    headers: HeaderMap,
    chunks: BodyStream,
    target: &'a Target,
    deadline: &'a Deadline,
}

impl Incoming<'_> {
    fn invalid(self, body: Bytes, fault: Fault) -> Box<AttemptError> {
        Box::new(AttemptError::invalid_response(
            self.target,
            self.status,
            self.headers,
            body,
            fault,
        ))
    }

    /// Reads up to the first byte that is not white space.
    async fn read_blank(&mut self, start: &mut BytesMut) -> Result<(), Fault> {
        while let Some(chunk) = self.deadline.or_fault(self.chunks.next()).await {
            let chunk = chunk?;
            let blank = chunk.len() - chunk.trim_ascii_start().len();
            // Everything in `start` so far is white space.
            if start.len() + blank > LONGEST_BLANK {
                let upstream = &self.target.upstream;
                return Err(too_much(upstream, LONGEST_BLANK, "of white space"));
            }
            start.extend_from_slice(&chunk);
            if blank < chunk.len() {
                break;
            }
        }
        Ok(())
    }

    /// Reads a stream, of which `start` has been read, up to its first event.
    async fn read_stream(
        mut self,
        start: BytesMut,
        translator: Option<Translator>,
    ) -> Result<Received, Box<AttemptError>> {
        let first = stream::iter((!start.is_empty()).then(|| Ok(start.freeze())));
        self.chunks = first.chain(self.chunks).boxed();
        if let Some(translator) = translator {
            self.chunks = translate::stream_of(self.chunks, translator, &self.target.upstream);
        }
        self.read_first_event().await
    }

    /// Reads a whole body, of which `start` has been read.
    async fn read_json(
        mut self,
        start: BytesMut,
        kind: RequestKind,
        translator: Option<Translator>,
    ) -> Result<Received, Box<AttemptError>> {
        let target = self.target;
        let limit = match &translator {
            Some(_) => limits::EVENT,
            None => limits::RESPONSE,
        };
        let (mut body, fault) = read(&mut self.chunks, start, limit, &target.upstream).await;
        let read = fault.map_or_else(|| usage(&body, &self.headers, target), Err);
        let mut usage = match read {
            Ok(usage) => usage,
            Err(fault) => return Err(self.invalid(body, fault)),
        };
        if let Some(mut translator) = translator {
            if kind == RequestKind::Messages && translator.has_dialect() {
                self.chunks = translate::stream_of_whole(&body, translator, &target.upstream).await;
                return self.read_first_event().await;
            }
            match translator.on_body(&body).await {
                Ok(None) => {}
                Ok(Some(translated)) => {
                    body = translated;
                    if kind == RequestKind::Messages {
                        usage = Usage::default();
                        usage.of_message(&body);
                    }
                }
                Err(fault) => return Err(self.invalid(body, fault)),
            }
        }
        if let Some(error) = envelope(&body) {
            let status = status_of(&error.kind);
            let error = AttemptError::status(target, status, self.headers, body);
            return Err(Box::new(error));
        }
        Ok(Received::Json(JsonResponse {
            status: self.status,
            headers: self.headers,
            body,
            usage,
        }))
    }

    /// Reads up to the first event other than a ping. The comments and pings before it are dropped:
    /// they do not show that an event will follow, and an upstream may send them for ever.
    async fn read_first_event(mut self) -> Result<Received, Box<AttemptError>> {
        let target = self.target;
        let upstream = &target.upstream;
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        let mut prelude = 0;
        loop {
            let next = self.deadline.or_fault(self.chunks.next()).await;
            match next {
                Some(Ok(chunk)) => decoder.push(chunk),
                Some(Err(fault)) => return Err(self.invalid(Bytes::new(), fault)),
                None => {
                    let what = format!(
                        "upstream `{upstream}` sent an invalid response: the stream ended before its first event"
                    );
                    let fault = Fault::upstream(Kind::InvalidResponse, what);
                    return Err(self.invalid(decoder.unfinished(), fault));
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
                            let error = AttemptError::event(target, &frame, self.headers);
                            return Err(Box::new(error));
                        }
                        _ => begun = true,
                    }
                }
                frames.push(frame);
            }
            if prelude > LONGEST_PRELUDE {
                let what = "of comments and pings before its first event";
                let fault = too_much(upstream, LONGEST_PRELUDE, what);
                return Err(self.invalid(Bytes::new(), fault));
            }
            if begun {
                return Ok(Received::Stream(StreamResponse {
                    status: self.status,
                    headers: self.headers,
                    frames,
                    decoder,
                    chunks: self.chunks,
                }));
            }
            if decoder.is_too_long() {
                return Err(self.invalid(Bytes::new(), too_long(upstream)));
            }
        }
    }
}

/// What a response is by its content type.
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

fn looks_like_events(start: &[u8]) -> bool {
    let start = start
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(start)
        .trim_ascii_start();
    [&b"event:"[..], b"data:", b"id:", b"retry:", b":"]
        .iter()
        .any(|field| start.starts_with(field))
}

/// The token usage of a JSON response, or why the body is invalid.
fn usage(body: &Bytes, headers: &HeaderMap, target: &Target) -> Result<Usage, Fault> {
    let upstream = &target.upstream;
    let invalid = |why: String| {
        let what = format!("upstream `{upstream}` sent an invalid response: {why}");
        Err(Fault::upstream(Kind::InvalidResponse, what))
    };
    let trimmed = body.trim_ascii();
    if trimmed.is_empty() {
        return invalid("the body is empty".to_owned());
    }
    // In other dialects a list can be a response too.
    let may_be_json =
        trimmed.starts_with(b"{") || (target.is_foreign() && trimmed.starts_with(b"["));
    let mut usage = Usage::default();
    if may_be_json && (usage.of_message(body) || serde_json::from_slice::<IgnoredAny>(body).is_ok())
    {
        return Ok(usage);
    }
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let got = match kind {
        Some(kind) => format!("a body of type `{kind}`"),
        None => "a body without a content type".to_owned(),
    };
    invalid(format!("got {got}, expected a JSON object"))
}

/// Reads as much of an error body as arrives within its timeout.
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
    // A timeout is no error here: the status says most of it, and that has arrived.
    let _ = tokio::time::timeout(ERROR_BODY_TIMEOUT, all).await;
    body.freeze()
}

/// Reads the whole body, or what can be received of it and why it is incomplete. Of a body over the
/// limit only the beginning is kept.
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
            return (kept, Some(too_much(upstream, limit, "in one response")));
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

    /// Reads an upstream's response in these chunks.
    async fn received(kind: &'static str, chunks: Vec<Bytes>) -> Result<Received, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let response = Response {
            status: StatusCode::OK,
            headers,
            body: Body::Stream(stream::iter(chunks.into_iter().map(Ok)).boxed()),
        };
        let target = target();
        let deadline = Deadline::of(&target, "event", Duration::from_secs(60));
        read_response(response, RequestKind::Messages, &target, &deadline, None)
            .await
            .map_err(|error| why(error.fault().unwrap()))
    }

    /// The text of a fault that may be retried.
    fn why(fault: &Fault) -> String {
        assert_eq!(fault.kind, Kind::InvalidResponse);
        assert_eq!(fault.retry, crate::fault::Retry::Again);
        fault.to_string()
    }

    /// Comments of this total size, a chunk each.
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
        let Ok(Received::Stream(begun)) =
            received("text/event-stream", stream(LONGEST_PRELUDE)).await
        else {
            panic!("the first event did not arrive");
        };
        let kept = begun.frames.into_iter().map(Frame::into_raw);
        assert_eq!(kept.collect::<Vec<_>>(), [START]);

        let fault = received("text/event-stream", stream(LONGEST_PRELUDE + 1)).await;
        let expected = "upstream `up` sent an invalid response: more than 1 MiB of comments and pings before its first event";
        assert_eq!(fault.err().unwrap(), expected);
    }

    #[tokio::test]
    async fn white_space_before_a_response_has_a_limit_and_is_scanned_once() {
        let spaces = |size: usize| vec![Bytes::from_static(b" "); size];
        let response = |size, content: &'static str| {
            let mut chunks = spaces(size);
            chunks.push(content.into());
            chunks
        };
        let Ok(Received::Json(whole)) = received("text/plain", response(LONGEST_BLANK, "{}")).await
        else {
            panic!("not taken for JSON");
        };
        assert_eq!(whole.body.len(), LONGEST_BLANK + 2);
        let events = received("text/plain", response(LONGEST_BLANK, START)).await;
        assert!(matches!(events, Ok(Received::Stream(_))));

        let expected = "upstream `up` sent an invalid response: more than 64 KiB of white space";
        for content in ["{}", START, ""] {
            let fault = received("text/plain", response(LONGEST_BLANK + 1, content)).await;
            assert_eq!(fault.err().unwrap(), expected);
        }
        let in_one = format!("{}{{}}", " ".repeat(LONGEST_BLANK + 1));
        let fault = received("text/plain", vec![in_one.into()]).await;
        assert_eq!(fault.err().unwrap(), expected);
    }

    #[tokio::test]
    async fn only_the_beginning_of_a_response_over_the_limit_is_kept() {
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
            "upstream `up` sent an invalid response: more than 4 MiB in one response"
        );
        assert_eq!(kept.len(), limits::ERROR_BODY);
    }

    #[tokio::test]
    async fn a_collected_stream_has_a_limit() {
        let collect = async |size: usize| {
            let mut chunks = vec![Bytes::from_static(START.as_bytes())];
            chunks.extend(comments(size - START.len() - STOP.len()));
            chunks.push(STOP.into());
            let Ok(Received::Stream(begun)) = received("text/event-stream", chunks).await else {
                panic!("the first event did not arrive");
            };
            match begun.collect(&target()).await {
                Ok(whole) => Ok(whole.body),
                Err(error) => Err(why(error.fault().unwrap())),
            }
        };
        assert_eq!(
            collect(limits::RESPONSE).await.unwrap(),
            r#"{"content":[]}"#
        );
        assert_eq!(
            collect(limits::RESPONSE + 1).await.unwrap_err(),
            "upstream `up` sent an invalid response: more than 128 MiB in one response"
        );
    }

    #[tokio::test]
    async fn a_collected_stream_without_its_end_is_an_invalid_response() {
        let Ok(Received::Stream(begun)) = received("text/event-stream", vec![START.into()]).await
        else {
            panic!("the first event did not arrive");
        };
        let error = begun.collect(&target()).await.err().unwrap();
        assert_eq!(
            error.fault().unwrap().chain(),
            "upstream `up` sent an invalid response: the stream ended before `message_stop`"
        );
    }

    #[tokio::test]
    async fn an_event_without_an_end_has_a_limit_in_every_stage() {
        let piece = Bytes::from(vec![b'x'; 1024 * 1024]);
        let endless = |before: &'static str| {
            let mut chunks = vec![Bytes::from(format!("{before}data: "))];
            chunks.extend(vec![piece.clone(); limits::EVENT / piece.len()]);
            chunks
        };
        let expected = "upstream `up` sent an invalid response: an event of more than 32 MiB";
        let fault = received("text/event-stream", endless("")).await;
        assert_eq!(fault.err().unwrap(), expected);

        let Ok(Received::Stream(begun)) = received("text/event-stream", endless(START)).await
        else {
            panic!("the first event did not arrive");
        };
        match begun.collect(&target()).await {
            Err(error) => assert_eq!(why(error.fault().unwrap()), expected),
            _ => panic!("the limit was not applied"),
        }
    }
}
