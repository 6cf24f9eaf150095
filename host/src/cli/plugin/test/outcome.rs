//! What an exchange came to: what the upstream got, and what the client got.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use super::message::Message;

/// The result of one exchange.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// The requests to the upstream, one for each attempt.
    pub(super) sent: Vec<Sent>,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether the response ended properly. Otherwise its connection was closed in the middle.
    pub(super) whole: bool,
    /// The notes of the tested plugin.
    pub(super) notes: Vec<String>,
    /// Each failure of the tested plugin, with the hook.
    pub(super) failures: Vec<String>,
    /// Whether the tested plugin corrected what a failed attempt means.
    pub(super) corrected: bool,
    /// The name of the tested plugin.
    pub(super) plugin: String,
}

/// A request that the upstream got.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Path and query below the base URL.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Outcome {
    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(super) fn is_stream(&self) -> bool {
        self.header("content-type").starts_with("text/event-stream")
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body without the id that the gateway puts into its errors.
    pub(super) fn json(&self) -> Option<Value> {
        let mut body: Value = serde_json::from_slice(&self.body).ok()?;
        if let Some(members) = body.as_object_mut() {
            members.shift_remove("request_id");
        }
        Some(body)
    }

    /// The response as a client reads it.
    pub(super) fn message(&self) -> Message {
        if self.is_stream() {
            return Message::of_stream(&self.text());
        }
        self.json()
            .map_or_else(Message::default, |body| Message::of_json(&body))
    }
}

impl Sent {
    /// The body as JSON; null if it is not JSON or empty, as for a list of models.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}
