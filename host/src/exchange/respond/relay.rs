//! What JSON and streamed responses share: passing events through the response hooks. Events that
//! no hook changes are kept byte for byte.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use witgate_contract::event::delta_type;

use crate::{
    fault::Fault,
    message::{Event, RequestKind},
    pipeline::{EventOutcome, LastEvent, ResponseRun},
    sse::{self, Frame},
    telemetry::Usage,
};

use crate::exchange::{
    attempt::{self, HostEdits},
    record::{Ending, Record},
};

/// Whether status and headers have been sent to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exchange) enum ClientHead {
    Unsent,
    Sent,
}

/// How the client wants its response, and what the gateway changed in its request.
#[derive(Clone, Copy)]
pub(super) struct ResponseMode {
    pub(super) kind: RequestKind,
    pub(super) stream: bool,
    pub(super) host_edits: HostEdits,
    pub(super) head: ClientHead,
    pub(super) ping_every: Duration,
    pub(super) idle: Duration,
}

impl ResponseMode {
    /// Whether the client gets a message as events.
    pub(super) fn sends_events(self) -> bool {
        self.stream && self.kind == RequestKind::Messages
    }
}

/// Sent during silence so that the client does not time out.
pub(super) const PING: Bytes = Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");

/// Passes events through the response hooks and observes how the response ends.
pub(super) struct Relay {
    pub(super) answering: ResponseRun,
    pub(super) usage: Usage,
    pub(super) ending: Option<Ending>,
    /// Whether the message has a stop reason: then a clean end completes it.
    pub(super) stopped: bool,
    /// Whether the upstream has sent more than pings since this was last cleared. Comments count
    /// until the stop reason, since nothing is worked on after it.
    pub(super) alive: bool,
    /// An error in another shape than Anthropic's, which ends the stream.
    pub(super) error: Option<Fault>,
    /// The words of an error event.
    note: Option<String>,
    /// The end of the message, which waits for what plugins return at the end.
    last: Vec<Frame>,
}

/// The most events at the end of a message that wait. A message has two.
const MAX_LAST: usize = 16;

impl Relay {
    pub(super) fn of(mut answering: ResponseRun, head: ClientHead) -> Self {
        if head == ClientHead::Sent {
            answering.head_is_sent();
        }
        Self {
            answering,
            usage: Usage::default(),
            ending: None,
            stopped: false,
            alive: false,
            error: None,
            note: None,
            last: Vec::new(),
        }
    }

    /// Records what was relayed.
    pub(super) fn report(&mut self, record: &mut Record, host_edits: HostEdits) {
        record.usage = self.usage.clone();
        if let Some(words) = self.note.take() {
            record.note = Some(words);
        }
        note(&mut self.answering, record, host_edits);
    }

    /// Shows frames to the hooks that want them, and returns what to send.
    pub(super) async fn show(
        &mut self,
        frames: impl Iterator<Item = Frame>,
    ) -> Result<Bytes, Fault> {
        let mut out = WriteBuffer::default();
        for frame in frames {
            self.pass(frame, &mut out).await?;
            if self.ending == Some(Ending::Error) || self.error.is_some() {
                break;
            }
        }
        Ok(out.joined())
    }

    async fn pass(&mut self, frame: Frame, out: &mut WriteBuffer) -> Result<(), Fault> {
        let kind = frame.event_type().into_owned();
        if !self.take_note(&kind, &frame) {
            return Ok(());
        }
        match &*kind {
            b"message_delta" if self.stopped && self.may_wait() => self.last.push(frame),
            b"message_stop" if self.answering.awaits_end() => {
                self.last.push(frame);
                self.end(true, out).await?;
            }
            b"" | b"ping" => self.show_one(&kind, frame, out).await?,
            b"error" => {
                let passed = self.outcome(&kind, &frame).await?;
                // Events that hooks held back come before the error; nothing comes after it.
                self.end(false, out).await?;
                self.write(&kind, frame, passed, out);
            }
            _ => {
                // The message goes on, so what waits was not its end.
                for waiting in std::mem::take(&mut self.last) {
                    self.show_one(b"message_delta", waiting, out).await?;
                }
                self.show_one(&kind, frame, out).await?;
            }
        }
        Ok(())
    }

    /// Whether the next event of the end of the message waits for the others.
    fn may_wait(&self) -> bool {
        self.last.len() < MAX_LAST && self.answering.awaits_end()
    }

    /// Shows the events that wait to the hooks, and ends the response for them, once.
    pub(super) async fn end(&mut self, complete: bool, out: &mut WriteBuffer) -> Result<(), Fault> {
        let (events, mut frames): (Vec<_>, Vec<_>) = std::mem::take(&mut self.last)
            .into_iter()
            .map(|frame| (last_event(&frame), Some(frame)))
            .unzip();
        // Boxed like each call into plugins here: a stream without hooks reserves no space for it.
        for event in Box::pin(self.answering.on_last(events, complete)).await? {
            match event {
                LastEvent::Received(nth) => {
                    if let Some(frame) = frames.get_mut(nth).and_then(Option::take) {
                        let kind = frame.event_type().into_owned();
                        self.write(&kind, frame, EventOutcome::Kept, out);
                    }
                }
                LastEvent::Made(event) => {
                    self.usage
                        .of_event(event.name.as_bytes(), event.data.as_bytes());
                    out.events(&[event]);
                }
            }
        }
        Ok(())
    }

    async fn show_one(
        &mut self,
        kind: &[u8],
        frame: Frame,
        out: &mut WriteBuffer,
    ) -> Result<(), Fault> {
        let passed = self.outcome(kind, &frame).await?;
        self.write(kind, frame, passed, out);
        Ok(())
    }

    /// What the hooks make of a frame.
    async fn outcome(&mut self, kind: &[u8], frame: &Frame) -> Result<EventOutcome, Fault> {
        if let Some(event) = self.wanted(frame, kind) {
            return Box::pin(self.answering.on_event(event)).await;
        }
        if self.answering.follows(kind)
            && let Some(event) = frame.event()
        {
            self.answering.passes(&event)?;
        }
        Ok(EventOutcome::Kept)
    }

    fn write(&mut self, kind: &[u8], frame: Frame, outcome: EventOutcome, out: &mut WriteBuffer) {
        match outcome {
            EventOutcome::Kept => {
                if Usage::is_in(kind) {
                    let data = frame.data().unwrap_or_default();
                    self.usage.of_event(kind, &data);
                }
                out.raw(frame.into_raw());
            }
            EventOutcome::Replaced(events) => {
                for event in &events {
                    self.usage
                        .of_event(event.name.as_bytes(), event.data.as_bytes());
                }
                out.events(&events);
            }
        }
    }

    /// Takes note of what a frame says about the stream. Returns false if it is not to be sent.
    fn take_note(&mut self, kind: &[u8], frame: &Frame) -> bool {
        let data = || frame.data().unwrap_or_default();
        match kind {
            b"ping" => return true,
            b"" => {
                self.alive |= !self.stopped;
                return true;
            }
            // Nothing makes a complete message an error.
            b"error" if self.ending == Some(Ending::Complete) => return false,
            b"error" => {
                self.note = Some(attempt::error_words(&data()));
                self.ending = Some(Ending::Error);
            }
            b"message_stop" => self.ending = Some(Ending::Complete),
            b"message_delta" => self.stopped |= attempt::has_stop_reason(&data()),
            b"message" if self.ending.is_none() && attempt::foreign_error(&data()).is_some() => {
                let target = &self.answering.head().target;
                self.error = Some(attempt::foreign_error_fault(&target.upstream, &data()));
                return false;
            }
            _ => {}
        }
        self.alive = true;
        true
    }

    /// The event, if a hook wants it.
    fn wanted(&self, frame: &Frame, kind: &[u8]) -> Option<Event> {
        if !self.answering.listens() {
            return None;
        }
        let name = std::str::from_utf8(kind).ok()?;
        let delta = if name == "content_block_delta" && self.answering.asks_for_deltas() {
            frame.data()
        } else {
            None
        };
        let delta = delta.as_deref().and_then(delta_type);
        self.answering
            .wants(name, delta.as_deref())
            .then(|| frame.event())
            .flatten()
    }
}

/// An event at the end of a message. Some upstreams send it without data.
fn last_event(frame: &Frame) -> Event {
    frame.event().unwrap_or_else(|| Event {
        name: String::from_utf8_lossy(frame.name()).into_owned(),
        data: String::new(),
    })
}

/// The headers of a stream: no proxy on the way may cache or buffer it.
pub(super) fn streamed(mut headers: HeaderMap) -> HeaderMap {
    let is_stream = |value: &HeaderValue| value.as_bytes().starts_with(b"text/event-stream");
    if !headers.get(CONTENT_TYPE).is_some_and(is_stream) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers
}

/// Records what plugins and the gateway have done so far.
pub(super) fn note(answering: &mut ResponseRun, record: &mut Record, host_edits: HostEdits) {
    let receipt = answering.receipt();
    record.receipt(receipt, attempt::edits(receipt, host_edits));
}

pub(super) fn written(events: &[Event]) -> Bytes {
    let mut out = WriteBuffer::default();
    out.events(events);
    out.joined()
}

/// Collects what is sent in one write.
#[derive(Default)]
pub(super) struct WriteBuffer {
    /// The first piece, which is not copied as long as it is the only one.
    only: Bytes,
    joined: BytesMut,
}

impl WriteBuffer {
    pub(super) fn is_empty(&self) -> bool {
        self.only.is_empty() && self.joined.is_empty()
    }

    pub(super) fn raw(&mut self, bytes: Bytes) {
        if self.is_empty() {
            self.only = bytes;
        } else if !bytes.is_empty() {
            self.buffer().extend_from_slice(&bytes);
        }
    }

    pub(super) fn events(&mut self, events: &[Event]) {
        for event in events {
            sse::encode(event, self.buffer());
        }
    }

    fn buffer(&mut self) -> &mut BytesMut {
        let only = std::mem::take(&mut self.only);
        self.joined.extend_from_slice(&only);
        &mut self.joined
    }

    pub(super) fn joined(self) -> Bytes {
        if self.joined.is_empty() {
            self.only
        } else {
            self.joined.freeze()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_in_order() {
        let mut out = WriteBuffer::default();
        let kept = Bytes::from_static(b"data: 1\r\n\r\n");
        out.raw(kept.clone());
        out.events(&[Event {
            name: "x".to_owned(),
            data: "2".to_owned(),
        }]);
        out.raw(kept);
        assert_eq!(
            out.joined(),
            "data: 1\r\n\r\nevent: x\ndata: 2\n\ndata: 1\r\n\r\n"
        );
    }
}
