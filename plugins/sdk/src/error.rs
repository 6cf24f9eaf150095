//! How a hook reports that the plugin itself failed.

use std::fmt;

use crate::{edit::EditError, kv::KvError};

/// A failure of the plugin, with a text for the log.
///
/// To refuse a request, return [`Verdict::Refuse`](crate::Verdict::Refuse) instead. `?` makes an
/// error of an [`EditError`], a [`KvError`], a `serde_json::Error` or a text.
///
/// One error is the client's fault and not the plugin's: [`EditError::BadDocument`]. If a request
/// or attempt hook passes it up, the client gets a 400 `invalid_request_error` and the plugin has
/// not failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    text: String,
    blame: Blame,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    Plugin,
    Client,
}

impl Error {
    /// An error with this text: lower case, no full stop, names in back-ticks.
    ///
    /// ```
    /// use witgate_plugin::Error;
    ///
    /// let error = Error::new("got 0, expected tokens").context("settings: `most`");
    /// assert_eq!(error.to_string(), "settings: `most`: got 0, expected tokens");
    /// ```
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            blame: Blame::Plugin,
        }
    }

    /// The same error, with the action that failed in front of its text.
    #[must_use]
    pub fn context(self, action: impl fmt::Display) -> Self {
        Self {
            text: format!("{action}: {}", self.text),
            ..self
        }
    }

    /// Whether the client's body is at fault: it is not valid JSON where the plugin had to read it.
    pub(crate) fn is_bad_document(&self) -> bool {
        self.blame == Blame::Client
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<EditError> for Error {
    fn from(error: EditError) -> Self {
        match error {
            EditError::BadDocument(text) => Self {
                text,
                blame: Blame::Client,
            },
            other => Self::new(other.to_string()),
        }
    }
}

impl From<KvError> for Error {
    fn from(error: KvError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Error {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}
