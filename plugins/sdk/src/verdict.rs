//! What becomes of the exchange after a request or attempt hook.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::error::Error;

/// What becomes of the exchange after a request or attempt hook.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Go on, with whatever edits were made.
    Proceed,
    /// Answer the client at once, without asking the upstream.
    Answer(Answer),
    /// End the exchange, or this attempt, with an error.
    Refuse(Refusal),
}

impl Verdict {
    /// Go on, with whatever edits were made.
    #[must_use]
    pub fn proceed() -> Self {
        Self::Proceed
    }

    /// Answer the client at once, without asking the upstream.
    #[must_use]
    pub fn answer(answer: Answer) -> Self {
        Self::Answer(answer)
    }

    /// End the exchange, or this attempt, with an error that is the request's fault or the target's.
    #[must_use]
    pub fn refuse(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// An answer that the plugin makes itself.
///
/// For kind `messages` the body is a whole message object of the Messages API; a client that wants a stream gets the events
/// that would have made it.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    body: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Answer {
    /// An answer with this body.
    pub fn new(body: impl Into<Value>) -> Self {
        let text = body.into().to_string();
        Self::with_body(RawValue::from_string(text).expect("a value prints as valid JSON"))
    }

    /// An answer with this JSON text as its body, byte for byte. The error says why it is no JSON text.
    pub fn from_json(text: impl Into<String>) -> Result<Self, Error> {
        Ok(Self::with_body(RawValue::from_string(text.into())?))
    }

    fn with_body(body: Box<RawValue>) -> Self {
        Self {
            body,
            status: None,
            headers: BTreeMap::new(),
            note: None,
        }
    }

    /// The HTTP status in place of 200.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// A header of the answer.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Why the answer was made here, for the log and the record.
    #[must_use]
    pub fn note(mut self, why: impl Into<String>) -> Self {
        self.note = Some(why.into());
        self
    }

    /// The JSON text of the contract (`verdict.answer` in `wit/exchange.wit`).
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers always serialise")
    }
}

/// An error that ends the exchange, or this attempt.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    status: u16,
    #[serde(rename = "type")]
    kind: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    try_next: bool,
}

impl Refusal {
    /// A refusal with this HTTP status, Anthropic error type (`permission_error`, ...) and message.
    pub fn new(status: u16, kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: kind.into(),
            message: message.into(),
            details: None,
            try_next: false,
        }
    }

    /// 400 `invalid_request_error`: the client has to send something else.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// What goes into the error object as `details`.
    #[must_use]
    pub fn details(mut self, details: impl Into<Value>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// In an attempt hook: only this target is refused, the gateway tries the next upstream or account if there is one.
    #[must_use]
    pub fn try_next(mut self) -> Self {
        self.try_next = true;
        self
    }

    /// The JSON text of the contract (`verdict.refuse` in `wit/exchange.wit`).
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers always serialise")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_says_only_what_was_set() {
        assert_eq!(Answer::new(json!({})).to_json(), r#"{"body":{}}"#);
        let full = Answer::from_json(r#"{ "a": 1.0e0 }"#)
            .unwrap()
            .status(201)
            .header("x-a", "b")
            .note("why");
        assert_eq!(
            full.to_json(),
            r#"{"body":{ "a": 1.0e0 },"status":201,"headers":{"x-a":"b"},"note":"why"}"#
        );
    }

    #[test]
    fn an_answer_that_is_no_json_is_an_error() {
        assert!(Answer::from_json("OK").is_err());
    }

    #[test]
    fn a_refusal_says_only_what_was_set() {
        let refusal = Refusal::invalid_request("no");
        assert_eq!(
            refusal.to_json(),
            r#"{"status":400,"type":"invalid_request_error","message":"no"}"#
        );
        let full = refusal.details(json!({"error_code": "x"})).try_next();
        assert_eq!(
            full.to_json(),
            r#"{"status":400,"type":"invalid_request_error","message":"no","details":{"error_code":"x"},"try_next":true}"#
        );
    }
}
