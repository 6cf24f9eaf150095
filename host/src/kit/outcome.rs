//! What happened in an exchange of the kit.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::answer::is_event_stream;
use crate::{
    gateway::WholeResponse,
    message::Event,
    pipeline::Trace,
    sse::{Decoder, Frame},
};

/// What one exchange did.
pub(crate) struct Outcome {
    /// What the upstream received, one for each attempt that reached it.
    pub(crate) sent: Vec<Sent>,
    /// What the client received.
    pub(crate) reply: Reply,
    /// What the plugins did. The record is its end.
    pub(crate) trace: Trace,
}

/// A request as the upstream received it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) method: Method,
    /// The path and query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A response as the client received it.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the body ended as it should.
    pub(crate) complete: bool,
}

impl Outcome {
    /// Why plugins failed, each as the plugin and the reason.
    pub(crate) fn failures(&self) -> Vec<(&str, &str)> {
        let steps = self.trace.steps.iter();
        steps
            .filter_map(|step| Some((step.plugin.as_str(), step.failure()?)))
            .collect()
    }
}

impl Reply {
    pub(super) fn of(response: WholeResponse) -> Self {
        Self {
            status: response.status,
            headers: response.headers,
            body: response.body,
            complete: response.complete,
        }
    }

    /// Whether it is a stream of events.
    pub(crate) fn is_stream(&self) -> bool {
        is_event_stream(&self.headers)
    }

    /// The events of a stream; none of any other body.
    pub(crate) fn events(&self) -> Vec<Event> {
        match self.is_stream() {
            true => events(&self.body),
            false => Vec::new(),
        }
    }
}

/// The events of a stream.
fn events(stream: &Bytes) -> Vec<Event> {
    let mut decoder = Decoder::default();
    decoder.push(stream.clone());
    let mut frames: Vec<_> = std::iter::from_fn(|| decoder.next_frame()).collect();
    frames.extend(decoder.last_frame());
    frames.iter().filter_map(Frame::event).collect()
}
