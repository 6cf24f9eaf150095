//! The beginning of an upstream's answer: good enough to be given to the client, or a failed attempt.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::de::IgnoredAny;
use witgate_contract::{error_type::status_of, event::event_type, limits};

use crate::{
    fault::{Fault, Kind},
    ids::UpstreamId,
    message::{Body, BodyStream, RequestKind, Response, Target},
    pipeline::Translator,
    sse::{Decoder, Frame},
    telemetry::Usage,
};

use super::{failed::Bad, kinds::envelope, translate};

/// An answer whose beginning is good. None of it has gone to the client, so another attempt is still possible.
pub(crate) enum Arrived {
    Whole(Whole),
    Begun(Begun),
}

impl Arrived {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Whole(whole) => whole.status,
            Self::Begun(begun) => begun.status,
        }
    }
}

/// A JSON answer, all of it.
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// As it stands in the body, which thus is read only once.
    pub(crate) usage: Usage,
}

/// A stream whose first event is here.
pub(crate) struct Begun {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Up to the last that has come whole.
    pub(crate) frames: Vec<Frame>,
    pub(crate) decoder: Decoder,
    pub(crate) chunks: BodyStream,
}

/// Until when an answer must have begun.
pub(crate) struct Due {
    upstream: UpstreamId,
    /// What is waited for.
    what: &'static str,
    limit: Duration,
    by: Instant,
}

impl Due {
    /// Counted from now.
    pub(crate) fn of(target: &Target, what: &'static str, limit: Duration) -> Self {
        Self {
            upstream: target.upstream.clone(),
            what,
            limit,
            by: Instant::now() + limit,
        }
    }

    /// Waits for it until then.
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

/// An error is a line or two, sent at once.
const ERROR_PATIENCE: Duration = Duration::from_secs(10);

/// Reads as far as it must to know. What the upstream says in another protocol is translated first.
pub(crate) async fn look(
    answer: Response,
    kind: RequestKind,
    target: &Target,
    due: &Due,
    translator: Option<Translator>,
) -> Result<Arrived, Bad> {
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
        return Err(Bad::Error {
            status: status.as_u16(),
            headers,
            body,
        });
    }
    let mut begun = BytesMut::new();
    let streamed = match form(&headers) {
        Form::Events => true,
        Form::Json => false,
        // Some upstreams call their stream plain text; what it is shows in its first bytes.
        Form::Unclear => {
            let read = read_blank(&mut chunks, &mut begun, target, due).await;
            if let Err(fault) = read {
                return Err(Bad::Broken {
                    status: status.as_u16(),
                    headers,
                    body: begun.freeze(),
                    fault,
                });
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
    let broken = |headers, body, fault| Bad::Broken {
        status: status.as_u16(),
        headers,
        body,
        fault,
    };
    let read = fault.map_or_else(|| usage(&body, &headers, target), Err);
    let usage = match read {
        Ok(usage) => usage,
        Err(fault) => return Err(broken(headers, body, fault)),
    };
    if let Some(mut translator) = translator {
        if kind == RequestKind::Messages {
            let chunks = translate::stream_of_whole(&body, translator, &target.upstream).await;
            return begin(status, headers, chunks, target, due).await;
        }
        match translator.on_body(&body).await {
            Ok(translated) => body = translated.unwrap_or(body),
            Err(fault) => return Err(broken(headers, body, fault)),
        }
    }
    if let Some(error) = envelope(&body) {
        return Err(Bad::Error {
            status: status_of(&error.kind),
            headers,
            body,
        });
    }
    Ok(Arrived::Whole(Whole {
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
    due: &Due,
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
    due: &Due,
) -> Result<Arrived, Bad> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    let mut prelude = 0;
    let broken = |headers, body, fault| Bad::Broken {
        status: status.as_u16(),
        headers,
        body,
        fault,
    };
    loop {
        match due.or_fault(chunks.next()).await {
            Some(Ok(chunk)) => decoder.push(chunk),
            Some(Err(fault)) => return Err(broken(headers, Bytes::new(), fault)),
            None => {
                let what = format!(
                    "the stream of upstream `{}` ended before its first event",
                    target.upstream
                );
                let fault = Fault::upstream(Kind::InvalidResponse, what);
                return Err(broken(headers, decoder.rest(), fault));
            }
        }
        let mut begun = false;
        while let Some(frame) = decoder.next_frame() {
            if !begun {
                match &*kind(&frame) {
                    b"" | b"ping" => {
                        prelude += frame.len();
                        continue;
                    }
                    b"error" => return Err(error_event(&frame, headers)),
                    _ => begun = true,
                }
            }
            frames.push(frame);
        }
        if prelude > LONGEST_PRELUDE {
            let what = "comments and pings before its first event";
            let fault = too_much(&target.upstream, LONGEST_PRELUDE, what);
            return Err(broken(headers, Bytes::new(), fault));
        }
        if begun {
            return Ok(Arrived::Begun(Begun {
                status,
                headers,
                frames,
                decoder,
                chunks,
            }));
        }
        if decoder.is_too_long() {
            return Err(broken(headers, Bytes::new(), too_long(&target.upstream)));
        }
    }
}

/// An error that came as an event, as if it had come as an answer.
pub(crate) fn error_event(frame: &Frame, mut headers: HeaderMap) -> Bad {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = frame.data().unwrap_or_default();
    let status = envelope(&body).map_or(500, |error| status_of(&error.kind));
    Bad::Error {
        status,
        headers,
        body,
    }
}

pub(crate) fn too_long(upstream: &UpstreamId) -> Fault {
    let what = format!(
        "upstream `{upstream}` sent an event of more than {} MiB",
        limits::EVENT / 1024 / 1024
    );
    Fault::upstream(Kind::InvalidResponse, what)
}

/// The upstream sent more than the limit of `what`.
pub(crate) fn too_much(upstream: &UpstreamId, limit: usize, what: &str) -> Fault {
    let limit = match limit >> 20 {
        0 => format!("{} KiB", limit >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    };
    let what = format!("upstream `{upstream}` sent more than {limit} of {what}");
    Fault::upstream(Kind::InvalidResponse, what)
}

/// The type of an event; empty for comments, which are not events.
pub(crate) fn kind(frame: &Frame) -> Cow<'_, [u8]> {
    match frame.name() {
        b"" => frame.data().map_or_else(Cow::default, |data| {
            event_type(b"", &data).into_owned().into()
        }),
        name => name.into(),
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

/// What a JSON answer cost, or why the body is none.
fn usage(body: &Bytes, headers: &HeaderMap, target: &Target) -> Result<Usage, Fault> {
    let upstream = &target.upstream;
    let broken = |what: String| Err(Fault::upstream(Kind::InvalidResponse, what));
    let trimmed = body.trim_ascii();
    if trimmed.is_empty() {
        return broken(format!("upstream `{upstream}` answered with an empty body"));
    }
    // In other protocols a list is an answer as well.
    let begins = trimmed.starts_with(b"{") || (target.is_foreign() && trimmed.starts_with(b"["));
    let mut usage = Usage::default();
    if begins && (usage.of_message(body) || serde_json::from_slice::<IgnoredAny>(body).is_ok()) {
        return Ok(usage);
    }
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    broken(format!(
        "upstream `{upstream}` answered with {}, where a JSON object was wanted",
        kind.unwrap_or("something without a content type")
    ))
}

/// As much of an error as comes while it is worth waiting for.
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
    // Its status says the most of it, and that is here.
    let _ = tokio::time::timeout(ERROR_PATIENCE, all).await;
    body.freeze()
}

/// All that comes, and why it is not all. Of a body over the limit only the beginning is kept.
async fn read(
    chunks: &mut BodyStream,
    mut body: BytesMut,
    limit: usize,
    upstream: &UpstreamId,
) -> (Bytes, Option<Fault>) {
    // Most answers come in one piece, which then is not copied.
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
    use std::sync::Arc;

    use super::*;

    const START: &str =
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n";
    const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    fn target() -> Target {
        Target {
            upstream: "up".parse().unwrap(),
            index: 0,
            dialect: "anthropic".into(),
            account: None,
            model: "m".into(),
            requested_model: "m".into(),
            attempt: 1,
            lacks: Arc::default(),
        }
    }

    /// What an upstream's response in these chunks is taken for.
    async fn seen(kind: &'static str, chunks: Vec<Bytes>) -> Result<Arrived, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let answer = Response {
            status: StatusCode::OK,
            headers,
            body: Body::Stream(stream::iter(chunks.into_iter().map(Ok)).boxed()),
        };
        let target = target();
        let due = Due::of(&target, "event", Duration::from_secs(60));
        match look(answer, RequestKind::Messages, &target, &due, None).await {
            Ok(arrived) => Ok(arrived),
            Err(Bad::Broken { fault, .. } | Bad::Nothing(fault)) => Err(why(&fault)),
            Err(bad) => panic!("{bad:?}"),
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
        let Ok(Arrived::Begun(begun)) = seen("text/event-stream", stream(LONGEST_PRELUDE)).await
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
        let Ok(Arrived::Whole(whole)) = seen("text/plain", response(LONGEST_BLANK, "{}")).await
        else {
            panic!("not taken for JSON");
        };
        assert_eq!(whole.body.len(), LONGEST_BLANK + 2);
        let events = seen("text/plain", response(LONGEST_BLANK, START)).await;
        assert!(matches!(events, Ok(Arrived::Begun(_))));

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
            let Ok(Arrived::Begun(begun)) = seen("text/event-stream", chunks).await else {
                panic!("the first event did not arrive");
            };
            match begun.collected(&target().upstream).await {
                Ok(whole) => Ok(whole.body),
                Err(Bad::Nothing(fault)) => Err(why(&fault)),
                Err(bad) => panic!("{bad:?}"),
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

        let Ok(Arrived::Begun(begun)) = seen("text/event-stream", endless(START)).await else {
            panic!("the first event did not arrive");
        };
        match begun.collected(&target().upstream).await {
            Err(Bad::Nothing(fault)) => assert_eq!(why(&fault), wanted),
            _ => panic!("the limit was not asked"),
        }
    }
}
