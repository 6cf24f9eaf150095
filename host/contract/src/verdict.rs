//! What a request or attempt hook decides: an answer or a refusal, as the plugin fills it in. It is
//! checked when the hook returns it: what cannot be used is the plugin's failure.

use http::{HeaderMap, StatusCode};
use serde::de::IgnoredAny;

use crate::{EditError, failure, header, limits, note, status};

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

/// An answer that a plugin is filling in: the resource `answer` of the contract.
#[derive(Clone, Debug)]
pub struct AnswerDraft {
    answer: Answer,
    problem: Option<String>,
}

/// A refusal that a plugin is filling in: the resource `refusal` of the contract.
#[derive(Clone, Debug)]
pub struct RefusalDraft {
    refusal: Refusal,
    problem: Option<String>,
}

impl AnswerDraft {
    /// An answer with status 200 and this body.
    #[must_use]
    pub fn new(body: String) -> Self {
        let problem = check_json("the body", &body).err();
        let answer = Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body,
            note: None,
        };
        Self { answer, problem }
    }

    /// Sets the status.
    pub fn set_status(&mut self, status: u16) {
        let checked = status::check_answer(status).and_then(|()| {
            StatusCode::from_u16(status).map_err(|error| EditError::BadValue(error.to_string()))
        });
        match checked {
            Ok(status) => self.answer.status = status,
            Err(error) => note_problem(&mut self.problem, error),
        }
    }

    /// Adds a header.
    pub fn set_header(&mut self, name: &str, value: &str) {
        if let Err(error) = self.try_header(name, value) {
            note_problem(&mut self.problem, error);
        }
    }

    fn try_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        let headers = &mut self.answer.headers;
        if headers.len() >= limits::HEADER_EDITS {
            let most = limits::HEADER_EDITS;
            return Err(EditError::TooMuch(format!("more than {most} headers")));
        }
        let name = header::name(name)?;
        header::check_in_response(&name)?;
        let value = header::value(&name, value)?;
        header::check_room(&name, &[&value], headers, 0)?;
        headers.append(name, value);
        Ok(())
    }

    /// Sets the reason, cut at [`limits::LOG_LINE`] bytes.
    pub fn set_note(&mut self, reason: &str) {
        self.answer.note = Some(note::log_line(reason).into_owned());
    }

    /// The answer, if it can be used.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it: a body that is not JSON, an illegal status, a header
    /// that is malformed or that a plugin cannot set in a response, or too many headers.
    pub fn finish(self) -> Result<Answer, String> {
        match self.problem {
            Some(problem) => Err(problem),
            None => Ok(self.answer),
        }
    }
}

impl RefusalDraft {
    /// A refusal with this status, error type and message.
    #[must_use]
    pub fn new(status: u16, error_type: String, message: String) -> Self {
        let checked =
            status::check_error(status).and_then(|()| failure::check_error_type(&error_type));
        let refusal = Refusal {
            status,
            error_type,
            message,
            details: None,
            try_next: false,
        };
        Self {
            refusal,
            problem: checked.err().map(|error| error.text().to_owned()),
        }
    }

    /// Sets `details` of the error object.
    pub fn set_details(&mut self, details: String) {
        if let Err(problem) = check_json("`details`", &details) {
            self.problem.get_or_insert(problem);
        }
        self.refusal.details = Some(details);
    }

    /// Sets whether only this target is refused.
    pub fn set_try_next(&mut self, try_next: bool) {
        self.refusal.try_next = try_next;
    }

    /// The refusal, if it can be used.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it: an illegal status or error type, or details that are
    /// not JSON.
    pub fn finish(self) -> Result<Refusal, String> {
        match self.problem {
            Some(problem) => Err(problem),
            None => Ok(self.refusal),
        }
    }
}

fn note_problem(problem: &mut Option<String>, error: EditError) {
    problem.get_or_insert_with(|| error.text().to_owned());
}

fn check_json(what: &str, text: &str) -> Result<(), String> {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(IgnoredAny) => Ok(()),
        Err(error) => Err(format!("{what} is not JSON: {error}")),
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
        let mut draft = AnswerDraft::new(r#"{ "a":1.0e0 }"#.to_owned());
        draft.set_header("X-A", "b");
        draft.set_note("why");
        let answer = draft.finish().unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["x-a"], "b");
        assert_eq!(answer.body, r#"{ "a":1.0e0 }"#);
        assert_eq!(answer.note.as_deref(), Some("why"));
    }

    #[test]
    fn a_refusal_has_status_type_details_and_what_is_tried_next() {
        let mut draft = RefusalDraft::new(422, "invalid_request_error".to_owned(), "no".to_owned());
        draft.set_details(r#"{"code": 1}"#.to_owned());
        draft.set_try_next(true);
        let wanted = Refusal {
            status: 422,
            error_type: "invalid_request_error".to_owned(),
            message: "no".to_owned(),
            details: Some(r#"{"code": 1}"#.to_owned()),
            try_next: true,
        };
        assert_eq!(draft.finish(), Ok(wanted));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let answer = |set: fn(&mut AnswerDraft)| {
            let mut draft = AnswerDraft::new("1".to_owned());
            set(&mut draft);
            draft.finish().unwrap_err()
        };
        let table = [
            (
                AnswerDraft::new("OK".to_owned()).finish().unwrap_err(),
                "the body is not JSON",
            ),
            (answer(|draft| draft.set_status(99)), "got 99"),
            (
                answer(|draft| draft.set_header("content-length", "3")),
                "`content-length`",
            ),
            (answer(|draft| draft.set_header("x", "a\r\nb")), "`x`"),
            (
                answer(|draft| {
                    for _ in 0..=limits::HEADER_EDITS {
                        draft.set_header("x", "a");
                    }
                }),
                "more than 64 headers",
            ),
        ];
        for (why, wanted) in table {
            assert!(why.contains(wanted), "{wanted}: {why}");
        }
        let refusal = |status, error_type: &str, details: &str| {
            let mut draft = RefusalDraft::new(status, error_type.to_owned(), String::new());
            draft.set_details(details.to_owned());
            draft.finish().unwrap_err()
        };
        let table = [
            (refusal(200, "a", "1"), "got 200"),
            (refusal(400, "A b", "1"), "`A b`"),
            (refusal(400, "a", "{"), "`details` is not JSON"),
        ];
        for (why, wanted) in table {
            assert!(why.contains(wanted), "{wanted}: {why}");
        }
    }

    #[test]
    fn the_first_problem_is_the_one_that_is_named() {
        let mut draft = AnswerDraft::new("1".to_owned());
        draft.set_status(99);
        draft.set_header("host", "a");
        draft.set_status(200);
        let why = draft.finish().unwrap_err();
        assert!(why.contains("got 99"), "{why}");
    }
}
