//! Translates the response of an upstream with another dialect to Anthropic's as it arrives.
//!
//! It happens below everything that judges, collects or relays a response, so that all of that knows
//! one dialect only. An error in the upstream's own words is a failed attempt like any other, and a
//! response that is translated to nothing is an invalid one.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use witgate_contract::{event::event_type_str, limits};

use crate::{
    fault::Fault,
    ids::UpstreamId,
    message::{BodyStream, Event},
    pipeline::Translator,
    sse::{self, Decoder, Frame},
};

use super::limit::{too_long, too_much};

/// A stream of the upstream's events as a stream of Anthropic's.
pub(crate) fn stream_of(
    chunks: BodyStream,
    translator: Translator,
    upstream: &UpstreamId,
) -> BodyStream {
    translated(Translation::of(chunks, translator, upstream))
}

/// A body that is no stream, shown as a single event.
pub(crate) async fn stream_of_whole(
    body: &Bytes,
    translator: Translator,
    upstream: &UpstreamId,
) -> BodyStream {
    let mut translation = Translation::of(stream::empty().boxed(), translator, upstream);
    let event = Event {
        name: String::new(),
        data: String::from_utf8_lossy(body).into_owned(),
    };
    let mut out = BytesMut::new();
    let shown = translation.show(event, &mut out).await;
    translation.hand_out(out, shown.err());
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
    /// None once the answer is over: what else comes is of no use to anybody.
    translator: Option<Translator>,
    /// Handed out before anything more is read.
    ready: VecDeque<Result<Bytes, Fault>>,
    /// How much has come since something was handed out, in bytes.
    unanswered: usize,
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
            unanswered: 0,
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

    /// The frames that end in this chunk are handed out together.
    async fn take(&mut self, chunk: Bytes) {
        if self.translator.is_none() {
            return;
        }
        self.unanswered += chunk.len();
        self.decoder.push(chunk);
        let frames: Vec<Frame> = std::iter::from_fn(|| self.decoder.next_frame()).collect();
        let mut out = BytesMut::new();
        let mut failed = None;
        for frame in frames {
            // Comments alone are no event.
            let Some(event) = frame.event() else { continue };
            failed = self.show(event, &mut out).await.err();
            if self.translator.is_none() {
                break;
            }
        }
        if !out.is_empty() {
            self.unanswered = 0;
        }
        if self.translator.is_some() && self.decoder.is_too_long() {
            failed = Some(too_long(&self.upstream));
        }
        if self.unanswered > limits::RESPONSE {
            let what = "a stream that holds no event for the client";
            failed = Some(too_much(&self.upstream, limits::RESPONSE, what));
        }
        self.hand_out(out, failed);
    }

    /// Shows one event and writes what becomes of it. After the end of the message, and after a failure, there is nothing
    /// more to translate.
    async fn show(&mut self, event: Event, out: &mut BytesMut) -> Result<(), Fault> {
        let Some(translator) = &mut self.translator else {
            return Ok(());
        };
        match translator.on_event(event).await {
            Ok(events) => {
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
            if matches!(&*kind, "message_stop" | "error") {
                self.translator = None;
                return;
            }
        }
    }

    /// The upstream has said its last; it may be that only now the plugin knows how the message ends.
    async fn end(&mut self, fault: Option<Fault>) {
        let mut out = BytesMut::new();
        if let Some(mut translator) = self.translator.take() {
            match translator.on_end(fault.is_none()).await {
                Ok(events) => self.write(&events, &mut out),
                Err(failed) => return self.hand_out(out, Some(failed)),
            }
        }
        self.hand_out(out, fault);
        self.ended = true;
    }

    /// A fault is the last that comes.
    fn hand_out(&mut self, out: BytesMut, fault: Option<Fault>) {
        if !out.is_empty() {
            self.ready.push_back(Ok(out.freeze()));
        }
        self.ended |= fault.is_some();
        self.ready.extend(fault.map(Err));
    }
}

#[cfg(test)]
mod tests;
