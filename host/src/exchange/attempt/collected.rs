//! Streams that are read to their end, for clients that want JSON.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use http::{HeaderValue, header::CONTENT_TYPE};
use witgate_contract::limits;

use crate::{
    exchange::{collect::Collector, members::Members},
    fault::{Fault, Kind},
    message::Target,
    sse::Frame,
    telemetry::Usage,
};

use super::{
    content::is_empty_message,
    error::AttemptError,
    foreign_error::foreign_error,
    limit::{only_pings, too_long, too_much},
    response::{JsonResponse, StreamResponse},
};

impl StreamResponse {
    /// Reads the whole stream, for a client that wants JSON. It can still be retried: nothing has
    /// been sent to the client. The upstream may send nothing but pings for at most `idle`.
    pub(in crate::exchange) async fn collect(
        mut self,
        target: &Target,
        idle: Duration,
    ) -> Result<JsonResponse, Box<AttemptError>> {
        let no_response = |fault| Box::new(AttemptError::no_response(target, fault));
        let mut collected = Collected::default();
        let mut frames = std::mem::take(&mut self.frames);
        let mut received: usize = frames.iter().map(Frame::len).sum();
        let mut alive_at = Instant::now();
        loop {
            if let Some(error) = collected.take(&frames) {
                return Err(Box::new(AttemptError::event(target, error, self.headers)));
            }
            // Nothing after the end event is needed, and it may never arrive.
            if collected.complete {
                break;
            }
            if self.decoder.is_too_long() {
                return Err(no_response(too_long(&target.upstream)));
            }
            let now = Instant::now();
            if std::mem::take(&mut collected.alive) {
                alive_at = now;
            } else if !frames.is_empty() && now - alive_at >= idle {
                return Err(no_response(only_pings(&target.upstream, idle)));
            }
            let Some(chunk) = self.chunks.next().await else {
                let last: Vec<Frame> = self.decoder.last_frame().into_iter().collect();
                collected.take(&last);
                break;
            };
            let chunk = chunk.map_err(no_response)?;
            received += chunk.len();
            if received > limits::RESPONSE {
                let fault = too_much(&target.upstream, limits::RESPONSE, "in one response");
                return Err(no_response(fault));
            }
            // A translated stream says by an empty chunk that its upstream is at work.
            collected.alive = chunk.is_empty();
            self.decoder.push(chunk);
            frames = std::iter::from_fn(|| self.decoder.next_frame()).collect();
        }
        self.into_json(collected.collector, target)
    }

    fn into_json(
        self,
        collector: Collector,
        target: &Target,
    ) -> Result<JsonResponse, Box<AttemptError>> {
        let body = collector.finish().map_err(|fault| {
            let what = format!("upstream `{}` sent an invalid response", target.upstream);
            let retry = fault.retry;
            let fault = Fault::upstream(Kind::InvalidResponse, what).from(fault);
            Box::new(AttemptError::no_response(target, fault.retry(retry)))
        })?;
        let mut headers = self.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut usage = Usage::default();
        usage.of_message(&body);
        let empty = Members::read(&String::from_utf8_lossy(&body))
            .is_some_and(|message| is_empty_message(&message));
        Ok(JsonResponse {
            status: self.status,
            headers,
            body,
            usage,
            empty,
        })
    }
}

/// What has been read of a stream.
#[derive(Default)]
struct Collected {
    collector: Collector,
    complete: bool,
    /// Whether there was more than pings since this was last cleared.
    alive: bool,
}

impl Collected {
    /// Takes frames. Returns the error that ends the stream, if one does.
    fn take<'a>(&mut self, frames: &'a [Frame]) -> Option<&'a Frame> {
        for frame in frames {
            let kind = frame.event_type();
            let data = || frame.data().unwrap_or_default();
            self.alive |= *kind != *b"ping";
            match &*kind {
                b"error" => return Some(frame),
                b"message" if foreign_error(&data()).is_some() => return Some(frame),
                b"message_stop" => self.complete = true,
                _ => {}
            }
            if let Some(event) = frame.event() {
                self.collector.take(&event);
            }
        }
        None
    }
}
