//! The beginning of an upstream's response: a usable one, or a failed attempt.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde::de::IgnoredAny;
use witgate_contract::{error_type::status_of, limits};

use crate::{
    exchange::members::Members,
    fault::{Fault, Kind},
    ids::UpstreamId,
    message::{Body, BodyStream, RequestKind, Response, Target},
    pipeline::Translator,
    sse::{Decoder, Frame},
    telemetry::Usage,
};

use super::{
    content::{is_empty_message, is_response},
    envelope::{envelope, text},
    error::AttemptError,
    foreign_error::foreign_error,
    json_lines,
    limit::{too_long, too_much},
    opening::{Opening, Progress},
    translate,
};

/// A usable response. Nothing of it has been sent to the client, so a retry is still possible.
pub(in crate::exchange) enum Received {
    Json(JsonResponse),
    Stream(StreamResponse),
}

impl Received {
    pub(in crate::exchange) fn status(&self) -> StatusCode {
        match self {
            Self::Json(response) => response.status,
            Self::Stream(response) => response.status,
        }
    }

    /// Whether it is a message without content. Another attempt may bring one.
    pub(in crate::exchange) fn is_empty(&self) -> bool {
        match self {
            Self::Json(response) => response.empty,
            Self::Stream(response) => response.empty,
        }
    }

    pub(in crate::exchange) fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(match self {
            Self::Json(response) => &mut response.headers,
            Self::Stream(response) => &mut response.headers,
        })
    }
}

/// A complete JSON response.
pub(in crate::exchange) struct JsonResponse {
    pub(in crate::exchange) status: StatusCode,
    pub(in crate::exchange) headers: HeaderMap,
    pub(in crate::exchange) body: Bytes,
    /// Read from the body, so that it is parsed only once.
    pub(in crate::exchange) usage: Usage,
    /// Whether it is a message that the model ended without content.
    pub(in crate::exchange) empty: bool,
}

/// A stream whose first event has arrived.
pub(in crate::exchange) struct StreamResponse {
    pub(in crate::exchange) status: StatusCode,
    pub(in crate::exchange) headers: HeaderMap,
    /// The complete frames received so far.
    pub(in crate::exchange) frames: Vec<Frame>,
    pub(in crate::exchange) decoder: Decoder,
    pub(in crate::exchange) chunks: BodyStream,
    /// Whether the frames are a whole message that the model ended without content.
    pub(in crate::exchange) empty: bool,
}

/// The time by which a response must have begun.
#[derive(Clone)]
pub(in crate::exchange) struct Deadline {
    upstream: UpstreamId,
    /// What the upstream should send, for the error message.
    awaited: &'static str,
    limit: Duration,
    by: Instant,
}

impl Deadline {
    /// `limit` from now.
    pub(in crate::exchange) fn of(target: &Target, awaited: &'static str, limit: Duration) -> Self {
        Self {
            upstream: target.upstream.clone(),
            awaited,
            limit,
            by: Instant::now() + limit,
        }
    }

    /// The same limit from now: the upstream has shown that it is at work.
    fn renewed(&self) -> Self {
        Self {
            by: Instant::now() + self.limit,
            ..self.clone()
        }
    }

    /// Waits for `future` until the deadline; a timeout is a fault that names the upstream.
    pub(in crate::exchange) async fn wait<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> Result<T, Fault> {
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

/// How long a message that has begun is held for its first content. An upstream sends both at once,
/// or takes so long that the client should see the beginning.
const HOLD: Duration = Duration::from_millis(25);

/// An error body is a line or two, sent at once.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads as much of a response as shows whether it is usable. A response in another dialect is
/// translated first.
pub(in crate::exchange) async fn read_response(
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
        start: Bytes::new(),
        chunks,
        kind,
        target,
        deadline,
    };
    // Only a dialect knows what such lines mean.
    let is_lines = kind == RequestKind::Messages
        && translator.as_ref().is_some_and(Translator::has_dialect)
        && json_lines::is_json_lines(&content_type(&incoming.headers));
    match incoming.is_stream().await {
        Err(fault) => Err(incoming.invalid(fault)),
        Ok(_) if is_lines => incoming.read_lines(translator).await,
        Ok(true) if kind == RequestKind::Messages => incoming.read_stream(translator).await,
        Ok(_) => incoming.read_json(translator).await,
    }
}

/// A response with a success status, of which the body is being read.
struct Incoming<'a> {
    status: StatusCode,
    headers: HeaderMap,
    /// The beginning of the body, which has been read.
    start: Bytes,
    chunks: BodyStream,
    kind: RequestKind,
    target: &'a Target,
    deadline: &'a Deadline,
}

impl Incoming<'_> {
    /// An invalid response, with what is in `start`.
    fn invalid(self, fault: Fault) -> Box<AttemptError> {
        Box::new(AttemptError::invalid_response(
            self.target,
            self.status,
            self.headers,
            self.start,
            fault,
        ))
    }

    /// An error in the body of a response with a success status.
    fn error(self, status: u16, body: Bytes) -> Box<AttemptError> {
        let error = AttemptError::status(self.target, status, self.headers, body);
        Box::new(error)
    }

    /// Reads as much as shows whether the body is a stream of events.
    async fn is_stream(&mut self) -> Result<bool, Fault> {
        let labelled = content_type(&self.headers) == "text/event-stream";
        let mut start = BytesMut::new();
        // How much white space the body begins with.
        let mut blank = 0;
        while let Some(chunk) = self.deadline.or_fault(self.chunks.next()).await {
            let chunk = chunk?;
            if blank == start.len() {
                blank += chunk.len() - chunk.trim_ascii_start().len();
            }
            if blank > LONGEST_BLANK {
                let upstream = &self.target.upstream;
                return Err(too_much(upstream, LONGEST_BLANK, "of white space"));
            }
            // Usually the first chunk decides, and is not copied.
            if start.is_empty()
                && let Some(is_stream) = sniff(&chunk[blank..], labelled)
            {
                self.start = chunk;
                return Ok(is_stream);
            }
            start.extend_from_slice(&chunk);
            if let Some(is_stream) = sniff(&start[blank..], labelled) {
                self.start = start.freeze();
                return Ok(is_stream);
            }
        }
        self.start = start.freeze();
        Ok(labelled)
    }

    /// Reads a stream up to its first event.
    async fn read_stream(
        mut self,
        translator: Option<Translator>,
    ) -> Result<Received, Box<AttemptError>> {
        if let Some(translator) = translator {
            let start = std::mem::take(&mut self.start);
            let chunks = stream::iter([Ok(start)]).chain(self.chunks).boxed();
            self.chunks = translate::stream_of(chunks, translator, &self.target.upstream);
        }
        self.read_opening().await
    }

    /// Reads a stream of JSON lines up to its first event.
    async fn read_lines(
        mut self,
        translator: Option<Translator>,
    ) -> Result<Received, Box<AttemptError>> {
        let start = std::mem::take(&mut self.start);
        let chunks = stream::iter([Ok(start)]).chain(self.chunks).boxed();
        self.chunks = json_lines::as_events(chunks);
        self.read_stream(translator).await
    }

    /// Reads a whole body.
    async fn read_json(
        mut self,
        translator: Option<Translator>,
    ) -> Result<Received, Box<AttemptError>> {
        let target = self.target;
        let limit = match &translator {
            Some(_) => limits::EVENT,
            None => limits::RESPONSE,
        };
        let start = std::mem::take(&mut self.start);
        let (mut body, fault) = read(&mut self.chunks, start, limit, &target.upstream).await;
        let read = fault.map_or_else(|| usage(&body, &self.headers, target), Err);
        let mut usage = match read {
            Ok(usage) => usage,
            Err(fault) => {
                self.start = body;
                return Err(self.invalid(fault));
            }
        };
        if let Some(mut translator) = translator {
            if self.kind == RequestKind::Messages && translator.has_dialect() {
                // Boxed, as below: most responses are not translated.
                let translated = translate::stream_of_whole(&body, translator, &target.upstream);
                self.chunks = Box::pin(translated).await;
                return self.read_opening().await;
            }
            match Box::pin(translator.on_body(&body)).await {
                Ok(None) => {}
                Ok(Some(translated)) => {
                    body = translated;
                    if self.kind == RequestKind::Messages {
                        usage = Usage::default();
                        usage.of_message(&body);
                    }
                }
                Err(fault) => {
                    self.start = body;
                    return Err(self.invalid(fault));
                }
            }
        }
        self.judge(body, usage)
    }

    /// A JSON body is a response of the requested kind, or an error, or neither.
    fn judge(mut self, body: Bytes, usage: Usage) -> Result<Received, Box<AttemptError>> {
        if let Some(error) = envelope(&body) {
            return Err(self.error(status_of(&error.kind), body));
        }
        // Checking valid UTF-8 takes a fraction of the time of the lossy conversion.
        let json = match std::str::from_utf8(&body) {
            Ok(json) => json.into(),
            Err(_) => String::from_utf8_lossy(&body),
        };
        let members = Members::read(&json).unwrap_or_default();
        if is_response(self.kind, &members) {
            let empty = self.kind == RequestKind::Messages && is_empty_message(&members);
            drop(members);
            drop(json);
            return Ok(Received::Json(JsonResponse {
                status: self.status,
                headers: self.headers,
                body,
                usage,
                empty,
            }));
        }
        if let Some(status) = foreign_error(&body) {
            return Err(self.error(status, body.clone()));
        }
        let what = format!(
            "upstream `{}` sent an invalid response: got other JSON, expected {}: {}",
            self.target.upstream,
            match self.kind {
                RequestKind::CountTokens => "`input_tokens`",
                _ => "a message",
            },
            text(&body),
        );
        self.start = body.clone();
        Err(self.invalid(Fault::upstream(Kind::InvalidResponse, what)))
    }

    /// Reads up to the first event of a message. The comments and pings before it are dropped: an
    /// upstream may send them for ever.
    async fn read_opening(mut self) -> Result<Received, Box<AttemptError>> {
        let mut opening = Opening::default();
        let mut deadline = self.deadline.clone();
        let mut next = Some(std::mem::take(&mut self.start));
        loop {
            let ended = next.is_none();
            // The upstream is at work if its events are translated to nothing.
            let translated = next.as_ref().is_some_and(Bytes::is_empty);
            let progress = match next {
                Some(chunk) => opening.push(chunk),
                None => opening.end(),
            };
            match progress {
                Progress::Error(frame) => {
                    let error = AttemptError::event(self.target, &frame, self.headers);
                    return Err(Box::new(error));
                }
                Progress::Content => return Ok(self.begun(opening, false)),
                Progress::Complete { empty } => return Ok(self.begun(opening, empty)),
                Progress::Begun => return Ok(self.hold(opening).await),
                Progress::Waiting { comment } if comment || translated => {
                    deadline = deadline.renewed();
                }
                Progress::Waiting { .. } => {}
            }
            if let Some(fault) = self.opening_fault(&mut opening, ended) {
                return Err(self.invalid(fault));
            }
            next = match deadline.or_fault(self.chunks.next()).await.transpose() {
                Ok(next) => next,
                Err(fault) => return Err(self.invalid(fault)),
            };
        }
    }

    /// Why no message can follow this opening.
    fn opening_fault(&mut self, opening: &mut Opening, ended: bool) -> Option<Fault> {
        let upstream = &self.target.upstream;
        if opening.size > LONGEST_PRELUDE {
            let what = "of comments and pings before its first event";
            return Some(too_much(upstream, LONGEST_PRELUDE, what));
        }
        if opening.decoder.is_too_long() {
            return Some(too_long(upstream));
        }
        if !ended {
            return None;
        }
        let why = match opening.other.take() {
            Some(other) => {
                let why = format!("the stream has no message: {}", text(&other));
                self.start = other;
                why
            }
            None => {
                self.start = opening.decoder.unfinished();
                "the stream ended before its first event".to_owned()
            }
        };
        let what = format!("upstream `{upstream}` sent an invalid response: {why}");
        Some(Fault::upstream(Kind::InvalidResponse, what))
    }

    /// Holds a message that has begun until it has content or has ended, but for at most [`HOLD`]:
    /// one that ends without content can still be retried.
    async fn hold(mut self, mut opening: Opening) -> Received {
        let until = Instant::now() + HOLD;
        while opening.size <= LONGEST_PRELUDE && !opening.decoder.is_too_long() {
            let next = tokio::time::timeout_at(until.into(), self.chunks.next()).await;
            let progress = match next {
                Ok(Some(Ok(chunk))) => opening.push(chunk),
                Ok(None) => {
                    self.chunks = stream::empty().boxed();
                    opening.end()
                }
                Ok(Some(Err(fault))) => {
                    self.chunks = stream::iter([Err(fault)]).boxed();
                    break;
                }
                Err(_) => break,
            };
            match progress {
                Progress::Complete { empty } => return self.begun(opening, empty),
                Progress::Content => break,
                Progress::Begun | Progress::Waiting { .. } | Progress::Error(_) => {}
            }
        }
        self.begun(opening, false)
    }

    fn begun(self, opening: Opening, empty: bool) -> Received {
        Received::Stream(StreamResponse {
            status: self.status,
            headers: self.headers,
            frames: opening.frames,
            decoder: opening.decoder,
            chunks: self.chunks,
            empty,
        })
    }
}

/// The media type of a response, in lower case.
fn content_type(headers: &HeaderMap) -> String {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

/// Whether a body with this beginning is a stream of events; `None` if more of it is needed. Its
/// content type decides only where the content does not.
fn sniff(content: &[u8], labelled: bool) -> Option<bool> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    const FIELDS: [&[u8]; 5] = [b"event:", b"data:", b"id:", b"retry:", b":"];
    let content = content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(content);
    let is_cut = |whole: &[u8]| content.len() < whole.len() && whole.starts_with(content);
    if is_cut(BYTE_ORDER_MARK) {
        return None;
    }
    match content[0] {
        b'{' | b'[' => Some(false),
        _ if labelled || FIELDS.iter().any(|field| content.starts_with(field)) => Some(true),
        _ if FIELDS.iter().any(|field| is_cut(field)) => None,
        _ => Some(false),
    }
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
    start: Bytes,
    limit: usize,
    upstream: &UpstreamId,
) -> (Bytes, Option<Fault>) {
    // Most responses arrive in one chunk, which is not copied.
    let mut only = start;
    let mut body = BytesMut::new();
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

    /// Longer than any of these tests.
    const IDLE: Duration = Duration::from_secs(60);

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
        let json = r#"{"content":[]}"#;
        let Ok(Received::Json(whole)) = received("text/plain", response(LONGEST_BLANK, json)).await
        else {
            panic!("not taken for JSON");
        };
        assert_eq!(whole.body.len(), LONGEST_BLANK + json.len());
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
        let (whole, fault) = read(&mut body(limit), Bytes::new(), limit, &upstream).await;
        assert!(fault.is_none());
        assert_eq!(whole.len(), limit);
        let (kept, fault) = read(&mut body(limit + 2), Bytes::new(), limit, &upstream).await;
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
            match begun.collect(&target(), IDLE).await {
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
        let error = begun.collect(&target(), IDLE).await.err().unwrap();
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
        match begun.collect(&target(), IDLE).await {
            Err(error) => assert_eq!(why(error.fault().unwrap()), expected),
            _ => panic!("the limit was not applied"),
        }
    }
}
