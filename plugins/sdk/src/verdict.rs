//! The decision of a request or attempt hook.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::error::Error;

/// The decision of a request or attempt hook. An [`Answer`] and a [`Refusal`] become one by
/// `into()`.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The exchange continues, with the edits that were made.
    Proceed,
    /// The client gets this answer at once, and no upstream is asked.
    Answer(Answer),
    /// The exchange, or only this attempt, ends with this error.
    Refuse(Refusal),
}

impl From<Answer> for Verdict {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// A response that the plugin makes itself.
///
/// For kind `messages` the body is a whole message object of the Messages API. A client that wants
/// a stream gets the events that make up this message.
///
/// ```
/// use witgate_plugin::{Answer, Verdict, json};
///
/// let verdict: Verdict = Answer::new(json!({"input_tokens": 7}))
///     .header("x-estimate", "true")
///     .note("counted here")
///     .into();
/// assert_eq!(verdict.expect_answer()["body"]["input_tokens"], 7);
/// ```
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    pub(crate) body: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

impl Answer {
    /// An answer with this body.
    pub fn new(body: impl Into<Value>) -> Self {
        let text = body.into().to_string();
        Self::with_body(RawValue::from_string(text).expect("a value prints as valid JSON"))
    }

    /// An answer with this text as its body, byte for byte. Fails if it is not valid JSON.
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

    /// Sets the HTTP status, 200 to 599; without it, 200.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Sets a header. Framing headers cannot be set.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sets the reason why the plugin answers, for the log and the record.
    #[must_use]
    pub fn note(mut self, reason: impl Into<String>) -> Self {
        self.note = Some(reason.into());
        self
    }

    /// The draft that the gateway gets, for tests.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn draft(&self) -> witgate_contract::verdict::AnswerDraft {
        let body = self.body.get().to_owned();
        let mut draft = witgate_contract::verdict::AnswerDraft::new(body);
        if let Some(status) = self.status {
            draft.set_status(status);
        }
        for (name, value) in &self.headers {
            draft.set_header(name, value);
        }
        if let Some(note) = &self.note {
            draft.set_note(note);
        }
        draft
    }

    /// `{"body", "status", "headers", "note"}`, for tests.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers always serialise")
    }
}

/// An error that the client gets, because of its request or of the target.
///
/// ```
/// use witgate_plugin::{Refusal, Verdict, json};
///
/// let refusal = Refusal::new(403, "permission_error", "not for this team");
/// let verdict: Verdict = refusal.details(json!({"team": "blue"})).try_next().into();
/// assert_eq!(verdict.expect_refusal()["status"], 403);
/// ```
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    pub(crate) status: u16,
    #[serde(rename = "type")]
    pub(crate) error_type: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) details: Option<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) try_next: bool,
}

impl Refusal {
    /// A refusal with this HTTP status, Anthropic error type (`permission_error`, ...) and message.
    pub fn new(status: u16, error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            error_type: error_type.into(),
            message: message.into(),
            details: None,
            try_next: false,
        }
    }

    /// 400 `invalid_request_error`: the client has to send something else.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// Sets the member `details` of the error object.
    #[must_use]
    pub fn details(mut self, details: impl Into<Value>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// Refuses only this target: the gateway tries the next upstream or account, if there is one.
    /// Only in an attempt hook.
    #[must_use]
    pub fn try_next(mut self) -> Self {
        self.try_next = true;
        self
    }

    /// The draft that the gateway gets, for tests.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn draft(&self) -> witgate_contract::verdict::RefusalDraft {
        let (error_type, message) = (self.error_type.clone(), self.message.clone());
        let mut draft =
            witgate_contract::verdict::RefusalDraft::new(self.status, error_type, message);
        if let Some(details) = &self.details {
            draft.set_details(details.to_string());
        }
        draft.set_try_next(self.try_next);
        draft
    }

    /// `{"status", "type", "message", "details", "try_next"}`, for tests.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers always serialise")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_has_only_what_was_set() {
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
    fn an_answer_that_is_not_json_is_an_error() {
        assert!(Answer::from_json("OK").is_err());
    }

    #[test]
    fn a_refusal_has_only_what_was_set() {
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
