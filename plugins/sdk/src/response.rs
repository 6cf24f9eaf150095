//! The upstream's response on its way to the client, and its events.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{edit::EditError, host, request::owned};

/// The upstream's response on its way to the client.
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

    /// All values of a header of the response, as the client will get it.
    pub fn header(&self, name: &str) -> Vec<String> {
        self.host.header(name)
    }

    /// Sets a header to exactly these values; no values remove it. Refused once the first event or
    /// the body has been sent to the client, and always for framing headers.
    pub fn set_header<V: Into<String>>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), EditError> {
        self.host.set_header(name, &owned(values))
    }

    /// The id of the exchange, as in [`Request::id`](crate::Request::id).
    pub fn id(&self) -> String {
        self.host.id()
    }

    /// The upstream's name in the gateway's configuration.
    pub fn upstream(&self) -> String {
        self.host.upstream()
    }

    /// The protocol that the upstream speaks.
    pub fn dialect(&self) -> String {
        self.host.dialect()
    }

    /// The model that was sent to the upstream.
    pub fn mapped_model(&self) -> String {
        self.host.mapped_model()
    }

    /// The model that the client requested.
    pub fn requested_model(&self) -> String {
        self.host.requested_model()
    }

    /// The session, as in [`Request::session`](crate::Request::session).
    pub fn session(&self) -> Option<String> {
        self.host.session()
    }

    /// The conversation, as in [`Request::conversation`](crate::Request::conversation).
    pub fn conversation(&self) -> String {
        self.host.conversation()
    }

    /// Whether the client gets a stream.
    pub fn streaming(&self) -> bool {
        self.host.streaming()
    }

    /// Whether the response reached its own end. False until then, and for good after it was cut
    /// short.
    pub fn complete(&self) -> bool {
        self.host.complete()
    }

    /// Adds a line to the record of the exchange, as [`Request::note`](crate::Request::note) does.
    pub fn note(&mut self, line: &str) {
        self.host.note(line);
    }
}

/// One event of a stream, as the HTML standard's section "Server-sent events" defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The `event:` field; empty if the event has none.
    pub name: String,
    /// The `data:` lines, joined by line feeds. Mostly one JSON text, but not always: some
    /// upstreams end with `[DONE]`.
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
    ///
    /// ```
    /// use witgate_plugin::{Event, Value};
    ///
    /// let data: Value = Event::text_delta(2, "hi").parse()?;
    /// assert_eq!(data["index"], 2);
    /// # Ok::<(), witgate_plugin::serde_json::Error>(())
    /// ```
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.data)
    }
}

/// The decision about one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventVerdict {
    /// The event goes to the client with the very bytes of the upstream.
    Keep,
    /// The event does not go to the client.
    Discard,
    /// These events go to the client instead, in this order.
    Replace(Vec<Event>),
}
