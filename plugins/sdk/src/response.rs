//! The upstream's answer on its way to the client.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{edit::EditError, host, request::owned};

/// The upstream's answer on its way to the client.
#[derive(Debug)]
pub struct Response<'a> {
    host: &'a host::Response,
}

impl<'a> Response<'a> {
    pub(crate) fn over(host: &'a host::Response) -> Self {
        Self { host }
    }

    /// The HTTP status that the client gets.
    pub fn status(&self) -> u16 {
        self.host.status()
    }

    /// All values of a header of the answer, as the client will get it.
    pub fn header(&self, name: &str) -> Vec<String> {
        self.host.header(name)
    }

    /// Sets a header of the answer; no value removes it. Possible until the first event or the body has gone to the
    /// client. Framing headers are refused.
    pub fn set_header<V: Into<String>>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), EditError> {
        self.host.set_header(name, &owned(values))
    }

    /// The exchange's id, as in [`Request::id`](crate::Request::id).
    pub fn id(&self) -> String {
        self.host.id()
    }

    /// The upstream's name from the gateway's configuration.
    pub fn upstream(&self) -> String {
        self.host.upstream()
    }

    /// The protocol that the upstream speaks.
    pub fn dialect(&self) -> String {
        self.host.dialect()
    }

    /// The model that was sent to the upstream.
    pub fn model(&self) -> String {
        self.host.model()
    }

    /// The model that the client asked for.
    pub fn asked_model(&self) -> String {
        self.host.asked_model()
    }

    /// The conversation, as in [`Request::session`](crate::Request::session).
    pub fn session(&self) -> Option<String> {
        self.host.session()
    }

    /// Whether the client gets a stream.
    pub fn streaming(&self) -> bool {
        self.host.streaming()
    }

    /// Whether the answer has come to its own end. False while it is under way, and for good after it was cut short.
    pub fn complete(&self) -> bool {
        self.host.complete()
    }

    /// Puts a line into the exchange's record, as [`Request::note`](crate::Request::note) does.
    pub fn note(&mut self, line: &str) {
        self.host.note(line);
    }
}

/// One event of a stream, as the HTML standard's "server-sent events" defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The `event:` field; empty when the event has none.
    pub name: String,
    /// The `data:` lines, joined by line feeds. Mostly one JSON text, but not always: some upstreams end with `[DONE]`.
    pub data: String,
}

impl Event {
    /// An event with this name and JSON value: `Event::new("ping", json!({"type": "ping"}))`.
    pub fn new(name: impl Into<String>, data: impl Into<Value>) -> Self {
        Self {
            name: name.into(),
            data: data.into().to_string(),
        }
    }

    /// The data as a Rust value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.data)
    }
}

/// What becomes of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventVerdict {
    /// It goes to the client as it came: the very bytes of the upstream.
    Keep,
    /// It does not go to the client.
    Discard,
    /// These events go to the client in its place, in this order.
    Replace(Vec<Event>),
}
