//! What a request or attempt hook decides: a local answer or a refusal, as the JSON texts of
//! `verdict.answer` and `verdict.refuse` in `wit/exchange.wit`. They are read strictly: what cannot
//! be used is the plugin's failure.

use std::collections::BTreeMap;

use http::{HeaderMap, StatusCode};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{failure, header, status};

/// A response that a plugin makes itself, without an upstream.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 200 to 599; 200 unless the plugin says otherwise.
    pub status: StatusCode,
    /// Headers of the response.
    pub headers: HeaderMap,
    /// The body, byte for byte as the plugin wrote it: one JSON text.
    pub body: String,
    /// Why the answer was made here, for the record.
    pub note: Option<String>,
}

/// An error with which a plugin ends the exchange or the attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400 to 599.
    pub status: u16,
    /// The error type: [`failure::check_error_type`].
    pub error_type: String,
    /// The message in the error object.
    pub message: String,
    /// `details` in the error object, byte for byte as the plugin wrote it: one JSON text.
    pub details: Option<String>,
    /// In an attempt hook: the gateway goes on to the next upstream or account.
    pub try_next: bool,
}

impl Answer {
    /// Reads and checks the JSON text of an answer.
    ///
    /// # Errors
    ///
    /// A missing or unknown member, an illegal status, header name or value, or a header that a
    /// plugin cannot set in a response.
    pub fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written<'a> {
            #[serde(borrow)]
            body: &'a RawValue,
            status: Option<u16>,
            #[serde(default)]
            headers: BTreeMap<String, String>,
            note: Option<String>,
        }
        let written: Written<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let status = written.status.unwrap_or(200);
        status::check_answer(status).map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        for (name, value) in &written.headers {
            let set = |headers: &mut HeaderMap| {
                let name = header::name(name)?;
                header::check_in_response(&name)?;
                let value = header::value(&name, value)?;
                headers.append(name, value);
                Ok(())
            };
            set(&mut headers).map_err(|error: crate::EditError| error.to_string())?;
        }
        Ok(Self {
            status: StatusCode::from_u16(status).map_err(|error| error.to_string())?,
            headers,
            body: written.body.get().to_owned(),
            note: written.note,
        })
    }
}

impl Refusal {
    /// Reads and checks the JSON text of a refusal.
    ///
    /// # Errors
    ///
    /// A missing or unknown member, an illegal status or error type.
    pub fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written<'a> {
            status: u16,
            #[serde(rename = "type")]
            error_type: String,
            message: String,
            #[serde(borrow)]
            details: Option<&'a RawValue>,
            #[serde(default)]
            try_next: bool,
        }
        let written: Written<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        status::check_error(written.status).map_err(|error| error.to_string())?;
        failure::check_error_type(&written.error_type)
            .map_err(|error| format!("`type`: {error}"))?;
        Ok(Self {
            status: written.status,
            error_type: written.error_type,
            message: written.message,
            details: written.details.map(|details| details.get().to_owned()),
            try_next: written.try_next,
        })
    }
}

/// Whether a text is one JSON value, as the body that a response hook returns has to be.
#[must_use]
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_keeps_the_text_of_its_body() {
        let text = r#"{"body": { "a":1.0e0 }, "headers": {"X-A": "b"}, "note": "why"}"#;
        let answer = Answer::parse(text).unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["x-a"], "b");
        assert_eq!(answer.body, r#"{ "a":1.0e0 }"#);
        assert_eq!(answer.note.as_deref(), Some("why"));
    }

    #[test]
    fn a_refusal_has_status_type_details_and_where_to_go_on() {
        let text = r#"{"status": 422, "type": "invalid_request_error", "message": "no",
            "details": {"code": 1}, "try_next": true}"#;
        let wanted = Refusal {
            status: 422,
            error_type: "invalid_request_error".to_owned(),
            message: "no".to_owned(),
            details: Some(r#"{"code": 1}"#.to_owned()),
            try_next: true,
        };
        assert_eq!(Refusal::parse(text), Ok(wanted));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let answers = [
            ("{}", "body"),
            (r#"{"body": 1, "stauts": 200}"#, "stauts"),
            (r#"{"body": 1, "status": 99}"#, "got 99"),
            (
                r#"{"body": 1, "headers": {"content-length": "3"}}"#,
                "content-length",
            ),
            (r#"{"body": 1, "headers": {"x": "a\r\nb"}}"#, "`x`"),
        ];
        for (text, wanted) in answers {
            let why = Answer::parse(text).unwrap_err();
            assert!(why.contains(wanted), "{text}: {why}");
        }
        let refusals = [
            (r#"{"status": 200, "type": "a", "message": ""}"#, "got 200"),
            (r#"{"status": 400, "type": "A b", "message": ""}"#, "`type`"),
            (r#"{"status": 400, "type": "a"}"#, "message"),
        ];
        for (text, wanted) in refusals {
            let why = Refusal::parse(text).unwrap_err();
            assert!(why.contains(wanted), "{text}: {why}");
        }
    }
}
