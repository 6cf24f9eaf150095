//! Streams that are read to their end, for clients that want JSON.

use futures_util::StreamExt;
use http::{HeaderValue, header::CONTENT_TYPE};
use witgate_contract::limits;

use crate::{
    exchange::collect::Collector,
    fault::{Fault, Kind},
    message::Target,
    sse::Frame,
    telemetry::Usage,
};

use super::{
    error::AttemptError,
    limit::{too_long, too_much},
    response::{JsonResponse, StreamResponse},
};

impl StreamResponse {
    /// Reads the whole stream, for a client that wants JSON. It can still be retried: nothing has
    /// been sent to the client.
    pub(crate) async fn collect(self, target: &Target) -> Result<JsonResponse, Box<AttemptError>> {
        let Self {
            status,
            mut headers,
            frames,
            mut decoder,
            mut chunks,
        } = self;
        let no_response = |fault| Box::new(AttemptError::no_response(target, fault));
        let mut collector = Collector::default();
        let mut pending = frames;
        let mut received: usize = pending.iter().map(Frame::len).sum();
        // Stops at the end event: nothing after it is needed, and it may never arrive.
        loop {
            let mut complete = false;
            for frame in &pending {
                match &*frame.event_type() {
                    b"error" => {
                        return Err(Box::new(AttemptError::event(target, frame, headers)));
                    }
                    b"message_stop" => complete = true,
                    _ => {}
                }
                if let Some(event) = frame.event() {
                    collector.take(&event);
                }
            }
            if decoder.is_too_long() {
                return Err(no_response(too_long(&target.upstream)));
            }
            let next = if complete { None } else { chunks.next().await };
            let Some(chunk) = next else { break };
            let chunk = chunk.map_err(no_response)?;
            received += chunk.len();
            if received > limits::RESPONSE {
                let fault = too_much(&target.upstream, limits::RESPONSE, "in one response");
                return Err(no_response(fault));
            }
            decoder.push(chunk);
            pending = std::iter::from_fn(|| decoder.next_frame()).collect();
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = collector.finish().map_err(|fault| {
            let what = format!("upstream `{}` sent an invalid response", target.upstream);
            no_response(Fault::upstream(Kind::InvalidResponse, what).from(fault))
        })?;
        let mut usage = Usage::default();
        usage.of_message(&body);
        Ok(JsonResponse {
            status,
            headers,
            body,
            usage,
        })
    }
}
