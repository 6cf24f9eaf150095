//! Translates the response of an upstream with another dialect to Anthropic's dialect as it
//! arrives.
//!
//! Everything that checks, collects or relays a response comes after this, and so knows one dialect
//! only. An error in the upstream's own dialect is a failed attempt like any other. A response that
//! is translated to nothing is an invalid one.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use witgate_contract::{event::event_type_str, limits};

use crate::{
    fault::Fault,
    ids::UpstreamId,
    message::{BodyStream, Event},
    pipeline::{EventOutcome, Translator},
    sse::{self, Decoder, Frame},
};

use super::limit::{too_long, too_much};

/// Translates a stream of the upstream's events to a stream of Anthropic's events. Where the
/// upstream speaks Anthropic's dialect and only wire plugins see them, events that they keep stay
/// as they came.
pub(super) fn stream_of(
    chunks: BodyStream,
    translator: Translator,
    upstream: &UpstreamId,
) -> BodyStream {
    translated(Translation::of(chunks, translator, upstream))
}

/// Translates a whole body to a stream: the plugin gets it as a single event.
pub(super) async fn stream_of_whole(
    body: &Bytes,
    translator: Translator,
    upstream: &UpstreamId,
) -> BodyStream {
    let mut translation = Translation::of(stream::empty().boxed(), translator, upstream);
    let mut out = BytesMut::new();
    let mut fault = None;
    if let Some(translator) = &mut translation.translator {
        match translator.on_whole(body).await {
            Ok(EventOutcome::Replaced(events)) => translation.write(&events, &mut out),
            Ok(EventOutcome::Kept) => {}
            Err(plugin_fault) => fault = Some(plugin_fault),
        }
    }
    translation.send(out, fault);
    translated(translation)
}

fn translated(translation: Translation) -> BodyStream {
    let chunks = stream::unfold(translation, |mut translation| async move {
        let next = translation.next().await?;
        Some((next, translation))
    });
    chunks.boxed()
}

struct Translation {
    chunks: BodyStream,
    decoder: Decoder,
    /// `None` once the message has ended: what follows is ignored.
    translator: Option<Translator>,
    /// Returned before anything more is read.
    ready: VecDeque<Result<Bytes, Fault>>,
    /// How many bytes were received since the last output.
    without_output: usize,
    /// Nothing more is read.
    ended: bool,
    upstream: UpstreamId,
}

impl Translation {
    fn of(chunks: BodyStream, translator: Translator, upstream: &UpstreamId) -> Self {
        Self {
            chunks,
            decoder: Decoder::default(),
            translator: Some(translator),
            ready: VecDeque::new(),
            without_output: 0,
            ended: false,
            upstream: upstream.clone(),
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if self.ended {
                return None;
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.take(chunk).await,
                Some(Err(fault)) => self.end(Some(fault)).await,
                None => self.end(None).await,
            }
        }
    }

    /// Translates the frames that end in this chunk. Their events are sent together.
    async fn take(&mut self, chunk: Bytes) {
        if self.translator.is_none() {
            return;
        }
        self.without_output += chunk.len();
        self.decoder.push(chunk);
        let mut at_work = false;
        let frames: Vec<Frame> = std::iter::from_fn(|| self.decoder.next_frame()).collect();
        let mut out = BytesMut::new();
        let mut fault = None;
        for frame in frames {
            at_work = true;
            fault = self.show(frame, &mut out).await.err();
            if self.translator.is_none() {
                break;
            }
        }
        if !out.is_empty() {
            self.without_output = 0;
        } else if at_work {
            // An empty chunk says that the upstream is at work.
            self.ready.push_back(Ok(Bytes::new()));
        }
        if self.translator.is_some() && self.decoder.is_too_long() {
            fault = Some(too_long(&self.upstream));
        }
        if self.without_output > limits::RESPONSE {
            let what = "without an event for the client";
            fault = Some(too_much(&self.upstream, limits::RESPONSE, what));
        }
        self.send(out, fault);
    }

    /// Translates one event and writes the result. After the end of the message, and after a
    /// failure, nothing more is translated.
    async fn show(&mut self, frame: Frame, out: &mut BytesMut) -> Result<(), Fault> {
        let Some(translator) = &mut self.translator else {
            return Ok(());
        };
        // A frame of comments only has no event.
        let Some(event) = frame.event() else {
            if !translator.has_dialect() {
                out.extend_from_slice(&frame.into_raw());
            }
            return Ok(());
        };
        match translator.on_event(event).await {
            Ok(EventOutcome::Kept) => {
                if is_last(&frame.event_type()) {
                    self.translator = None;
                }
                out.extend_from_slice(&frame.into_raw());
                Ok(())
            }
            Ok(EventOutcome::Replaced(events)) => {
                self.write(&events, out);
                Ok(())
            }
            Err(fault) => {
                self.translator = None;
                Err(fault)
            }
        }
    }

    fn write(&mut self, events: &[Event], out: &mut BytesMut) {
        for event in events {
            sse::encode(event, out);
            let kind = event_type_str(&event.name, &event.data);
            if is_last(kind.as_bytes()) {
                self.translator = None;
                return;
            }
        }
    }

    /// The upstream's stream has ended. Some plugins know only now how the message ends.
    async fn end(&mut self, fault: Option<Fault>) {
        let mut out = BytesMut::new();
        // The last event of some upstreams lacks its blank line.
        let last = self.decoder.last_frame().filter(|_| fault.is_none());
        if let Some(frame) = last
            && let Err(fault) = self.show(frame, &mut out).await
        {
            return self.send(out, Some(fault));
        }
        if let Some(mut translator) = self.translator.take() {
            if !translator.has_dialect() {
                out.extend_from_slice(&self.decoder.unfinished());
            }
            match translator.on_end(fault.is_none()).await {
                Ok(events) => self.write(&events, &mut out),
                Err(plugin_fault) => return self.send(out, Some(plugin_fault)),
            }
        }
        self.send(out, fault);
        self.ended = true;
    }

    /// Queues output. Nothing is sent after a fault.
    fn send(&mut self, out: BytesMut, fault: Option<Fault>) {
        if !out.is_empty() {
            self.ready.push_back(Ok(out.freeze()));
        }
        self.ended |= fault.is_some();
        self.ready.extend(fault.map(Err));
    }
}

/// Whether a message ends with an event of this type.
fn is_last(event_type: &[u8]) -> bool {
    matches!(event_type, b"message_stop" | b"error")
}

#[cfg(test)]
mod tests;
