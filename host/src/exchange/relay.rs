//! The answer on its way to the client: through the response hooks, the bytes kept wherever the hooks keep them.
//!
//! From [`Held::deliver`] on there is no way back: what could be tried again is gone.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use memchr::memmem;

use crate::{
    fault::{Fault, Kind},
    message::{Body, BodyStream, Event, RequestKind, Response},
    pipeline::{Answering, Passed},
    sse::{self, Decoder, Frame},
    telemetry::Usage,
};

use super::{
    Answer,
    arrival::{self, Held, Whole},
    attempt::{self, Own},
    collect::collect,
    expand::expand,
    record::{Ending, Record},
};

/// What the client wants of an answer, and what the gateway changed in its request.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) kind: RequestKind,
    pub(crate) stream: bool,
    pub(crate) own: Own,
}

impl Held {
    /// Begins to answer the client. The first events pass the hooks before the head is made, so that hooks can set
    /// headers, and a hook that fails now still has its real status.
    pub(crate) async fn deliver(
        self,
        answering: Answering,
        mut record: Record,
        wanted: Wanted,
    ) -> Answer {
        let Self {
            frames,
            decoder,
            chunks,
            status,
            ..
        } = self;
        record.first_event();
        record.streams();
        let mut passage = Passage {
            answering,
            usage: Usage::default(),
            ending: None,
        };
        let first = match passage.show(frames).await {
            Ok(first) => first,
            Err(fault) => {
                note(&passage.answering, &mut record, wanted.own);
                return Answer::fault(fault, record);
            }
        };
        // Also where no hook was shown an event.
        passage.answering.head_is_sent();
        let headers = streamed(passage.answering.head().headers.clone());
        record.status = status.as_u16();
        let over = passage.ending == Some(Ending::Error);
        let ready = VecDeque::from([Ok(first)]);
        let own = wanted.own;
        let streaming = Streaming {
            decoder,
            chunks,
            passage,
            record,
            own,
            ready,
            over,
        };
        let body = stream::unfold(streaming, |mut streaming| async move {
            let next = streaming.next().await?;
            Some((next, streaming))
        });
        Answer::streaming(Response {
            status,
            headers,
            body: Body::Stream(body.boxed()),
        })
    }

    /// Reads all of it, for a client that wants JSON. Still to be tried again: nothing has gone to the client.
    pub(crate) async fn collected(self) -> Result<Whole, Fault> {
        let Self {
            status,
            mut headers,
            mut frames,
            mut decoder,
            mut chunks,
        } = self;
        while let Some(chunk) = chunks.next().await {
            decoder.push(chunk?);
            while let Some(frame) = decoder.next_frame() {
                if *arrival::kind(&frame) == *b"error" {
                    let said = frame.data().unwrap_or_default();
                    let said = String::from_utf8_lossy(&said);
                    let what = format!("the upstream ended its answer with an error: {said}");
                    return Err(Fault::upstream(Kind::BrokenAnswer, what));
                }
                frames.push(frame);
            }
        }
        let events: Vec<Event> = frames.iter().filter_map(Frame::event).collect();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Whole {
            status,
            headers,
            body: collect(&events)?,
        })
    }
}

/// A stream that has begun to go to the client.
struct Streaming {
    decoder: Decoder,
    chunks: BodyStream,
    passage: Passage,
    record: Record,
    own: Own,
    /// What goes out before anything more is read.
    ready: VecDeque<Result<Bytes, Fault>>,
    /// Nothing more is read.
    over: bool,
}

impl Streaming {
    async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        loop {
            if let Some(ending) = self.passage.ending {
                // The client has all of it, even if it goes before the upstream does.
                self.record.end(ending);
            }
            match self.ready.pop_front() {
                Some(Ok(bytes)) if bytes.is_empty() => continue,
                Some(Ok(bytes)) => {
                    self.record.bytes_out += bytes.len();
                    return Some(Ok(bytes));
                }
                Some(Err(fault)) => return Some(Err(fault)),
                None if self.over => return None,
                None => {}
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.take(chunk).await,
                Some(Err(fault)) => self.end(Some(fault)).await,
                None => self.end(None).await,
            }
        }
    }

    /// The frames that end in this chunk leave together.
    async fn take(&mut self, chunk: Bytes) {
        self.decoder.push(chunk);
        let frames: Vec<Frame> = std::iter::from_fn(|| self.decoder.next_frame()).collect();
        match self.passage.show(frames).await {
            Ok(out) => self.ready.push_back(Ok(out)),
            Err(fault) => return self.cut(fault, Ending::Error),
        }
        self.over |= self.passage.ending == Some(Ending::Error);
        if self.decoder.held() > arrival::LARGEST_EVENT {
            let fault = arrival::too_long(&self.passage.answering.head().target);
            self.cut(fault, Ending::Truncated);
        }
    }

    /// The upstream has said its last. What came behind the last blank line goes along only if nothing is missing:
    /// half an event before our error would spoil it.
    async fn end(&mut self, fault: Option<Fault>) {
        self.over = true;
        let complete = self.passage.ending == Some(Ending::Complete);
        let mut out = Pieces::default();
        if complete {
            out.raw(&self.decoder.rest());
        }
        match self.passage.answering.on_end(complete).await {
            Ok(events) => out.events(&events),
            Err(fault) => return self.cut(fault, Ending::Error),
        }
        self.ready.push_back(Ok(out.joined()));
        if !complete {
            let fault = fault.unwrap_or_else(|| {
                let upstream = &self.passage.answering.head().target.upstream;
                let what =
                    format!("the stream of upstream `{upstream}` ended before `message_stop`");
                Fault::upstream(Kind::BrokenAnswer, what)
            });
            self.cut(fault, Ending::Truncated);
        }
    }

    fn cut(&mut self, fault: Fault, ending: Ending) {
        self.over = true;
        self.record.note = Some(fault.chain());
        self.passage.ending = Some(ending);
        self.ready.push_back(Err(fault));
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.record.usage = self.passage.usage;
        note(&self.passage.answering, &mut self.record, self.own);
    }
}

/// The hooks, and what was seen of the answer's end.
struct Passage {
    answering: Answering,
    usage: Usage,
    ending: Option<Ending>,
}

impl Passage {
    /// Shows frames to the hooks that want them and gives what is to go out.
    async fn show(&mut self, frames: Vec<Frame>) -> Result<Bytes, Fault> {
        let mut out = Pieces::default();
        for frame in frames {
            let kind = arrival::kind(&frame);
            let passed = self.show_one(&frame, &kind).await?;
            match &*kind {
                b"message_stop" => self.ending = Some(Ending::Complete),
                b"error" => {
                    // What hooks held back comes before the error, and nothing after it.
                    let held = self.answering.on_end(false).await?;
                    out.events(&held);
                    self.ending = Some(Ending::Error);
                }
                _ => {}
            }
            match passed {
                Passed::Kept => {
                    if Usage::is_in(&kind) {
                        let data = frame.data().unwrap_or_default();
                        self.usage.of_event(&kind, &data);
                    }
                    out.raw(frame.raw());
                }
                Passed::Became(events) => {
                    for event in &events {
                        self.usage
                            .of_event(event.name.as_bytes(), event.data.as_bytes());
                    }
                    out.events(&events);
                }
            }
            if self.ending == Some(Ending::Error) {
                break;
            }
        }
        Ok(out.joined())
    }

    async fn show_one(&mut self, frame: &Frame, kind: &[u8]) -> Result<Passed, Fault> {
        if !self.answering.listens() {
            return Ok(Passed::Kept);
        }
        let Ok(name) = std::str::from_utf8(kind) else {
            return Ok(Passed::Kept);
        };
        let delta = if name == "content_block_delta" {
            frame.data()
        } else {
            None
        };
        if !self
            .answering
            .wants(name, delta.as_deref().and_then(delta_type))
        {
            return Ok(Passed::Kept);
        }
        match frame.event() {
            Some(event) => self.answering.on_event(event).await,
            None => Ok(Passed::Kept),
        }
    }
}

/// A JSON answer through the hooks. If they keep everything, the upstream's bytes go out.
pub(crate) async fn whole(
    status: StatusCode,
    body: Bytes,
    mut answering: Answering,
    mut record: Record,
    wanted: Wanted,
) -> Answer {
    let through = through(&body, &mut answering, wanted).await;
    note(&answering, &mut record, wanted.own);
    let headers = answering.head().headers.clone();
    if wanted.kind == RequestKind::Messages {
        record.usage.of_message(&body);
    }
    let (headers, body) = match through {
        Ok(Through::Json(body)) => (headers, body),
        Ok(Through::Events(body)) => {
            record.first_event();
            (streamed(headers), body)
        }
        Err(fault) => return Answer::fault(fault, record),
    };
    record.end(Ending::Complete);
    Answer::whole(
        Response {
            status,
            headers,
            body: Body::Whole(body),
        },
        record,
    )
}

enum Through {
    Json(Bytes),
    Events(Bytes),
}

async fn through(
    body: &Bytes,
    answering: &mut Answering,
    wanted: Wanted,
) -> Result<Through, Fault> {
    if wanted.kind != RequestKind::Messages {
        let changed = answering.on_body(body).await?;
        return Ok(Through::Json(changed.unwrap_or_else(|| body.clone())));
    }
    if !wanted.stream && !answering.listens() {
        return Ok(Through::Json(body.clone()));
    }
    let Some(events) = expand(body) else {
        return Ok(Through::Json(body.clone()));
    };
    let mut out = Vec::with_capacity(events.len());
    let mut changed = false;
    for event in events {
        if !answering.wants(&event.name, delta_type(event.data.as_bytes())) {
            out.push(event);
            continue;
        }
        match answering.on_event(event.clone()).await? {
            Passed::Kept => out.push(event),
            Passed::Became(events) => {
                changed = true;
                out.extend(events);
            }
        }
    }
    let held = answering.on_end(true).await?;
    changed |= !held.is_empty();
    out.extend(held);
    if wanted.stream {
        return Ok(Through::Events(written(&out)));
    }
    Ok(Through::Json(if changed {
        collect(&out)?
    } else {
        body.clone()
    }))
}

/// An answer that a plugin made, as the client wants it.
pub(crate) fn local(
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
    wanted: Wanted,
) -> Response {
    let streams = wanted.stream && wanted.kind == RequestKind::Messages && status.is_success();
    let (headers, body) = match expand(&body).filter(|_| streams) {
        Some(events) => (streamed(headers), written(&events)),
        None => {
            let json = HeaderValue::from_static("application/json");
            headers.entry(CONTENT_TYPE).or_insert(json);
            (headers, body)
        }
    };
    Response {
        status,
        headers,
        body: Body::Whole(body),
    }
}

/// The headers of a stream: nobody on the way may keep it or hold it back.
fn streamed(mut headers: HeaderMap) -> HeaderMap {
    let is_stream = |value: &HeaderValue| value.as_bytes().starts_with(b"text/event-stream");
    if !headers.get(CONTENT_TYPE).is_some_and(is_stream) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers
}

fn note(answering: &Answering, record: &mut Record, own: Own) {
    let receipt = answering.receipt();
    record.receipt(receipt, attempt::edits(receipt, own));
}

fn written(events: &[Event]) -> Bytes {
    let mut out = Pieces::default();
    out.events(events);
    out.joined()
}

/// What goes out in one write.
#[derive(Default)]
struct Pieces {
    /// Not copied as long as it is the only one.
    only: Bytes,
    joined: BytesMut,
}

impl Pieces {
    fn raw(&mut self, bytes: &Bytes) {
        if self.only.is_empty() && self.joined.is_empty() {
            self.only = bytes.clone();
        } else {
            self.flow().extend_from_slice(bytes);
        }
    }

    fn events(&mut self, events: &[Event]) {
        for event in events {
            sse::encode(event, self.flow());
        }
    }

    fn flow(&mut self) -> &mut BytesMut {
        let only = std::mem::take(&mut self.only);
        self.joined.extend_from_slice(&only);
        &mut self.joined
    }

    fn joined(self) -> Bytes {
        if self.joined.is_empty() {
            self.only
        } else {
            self.joined.freeze()
        }
    }
}

/// The type of the delta in a `content_block_delta`, found by search: an unescaped `"delta"` before a colon is a key.
fn delta_type(data: &[u8]) -> Option<&str> {
    let delta = value_of(data, b"\"delta\"")?;
    let kind = value_of(delta, b"\"type\"")?.strip_prefix(b"\"")?;
    std::str::from_utf8(&kind[..memchr::memchr(b'"', kind)?]).ok()
}

fn value_of<'a>(data: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    memmem::find_iter(data, key).find_map(|at| {
        let value = data[at + key.len()..]
            .trim_ascii_start()
            .strip_prefix(b":")?;
        Some(value.trim_ascii_start())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_delta_is_found_without_parsing() {
        let data = br#"{"type":"content_block_delta","index":0,"delta": {"type" : "text_delta","text":"\"type\":"}}"#;
        assert_eq!(delta_type(data), Some("text_delta"));
        assert_eq!(delta_type(br#"{"type":"message_stop"}"#), None);
    }

    #[test]
    fn pieces_that_leave_together_are_one() {
        let mut out = Pieces::default();
        let kept = Bytes::from_static(b"data: 1\r\n\r\n");
        out.raw(&kept);
        out.events(&[Event {
            name: "x".to_owned(),
            data: "2".to_owned(),
        }]);
        out.raw(&kept);
        assert_eq!(
            out.joined(),
            "data: 1\r\n\r\nevent: x\ndata: 2\n\ndata: 1\r\n\r\n"
        );
    }
}
