//! How a hook reports that the plugin itself failed.

use std::fmt;

use crate::{edit::EditError, kv::KvError};

/// The plugin failed: a sentence for the log.
///
/// To refuse a request, return [`Verdict::Refuse`](crate::Verdict::Refuse) instead. `?` makes an
/// error of an [`EditError`], a [`KvError`], a `serde_json::Error` or a text.
///
/// One error is the client's fault and not the plugin's: [`EditError::BadDocument`]. If a request
/// or attempt hook passes it up, the client gets a 400 `invalid_request_error` and the plugin has
/// not failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    what: String,
    blame: Blame,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    Plugin,
    Client,
}

impl Error {
    /// An error with this sentence: lower case, no full stop, names in back-ticks.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            blame: Blame::Plugin,
        }
    }

    /// The same error, with what was being done in front of it.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        Self {
            what: format!("{what}: {}", self.what),
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
        f.write_str(&self.what)
    }
}

impl std::error::Error for Error {}

impl From<EditError> for Error {
    fn from(error: EditError) -> Self {
        match error {
            EditError::BadDocument(what) => Self {
                what,
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
    fn from(what: String) -> Self {
        Self::new(what)
    }
}

impl From<&str> for Error {
    fn from(what: &str) -> Self {
        Self::new(what)
    }
}
