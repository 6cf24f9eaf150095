//! How a hook says that the plugin itself failed.

use std::fmt;

use crate::edit::EditError;

/// The plugin failed: a sentence for the log and for `x-witgate-edits`.
///
/// It is no way to refuse a request; that is [`Verdict::refuse`](crate::Verdict::refuse). `?` makes one of an
/// [`EditError`], a `serde_json::Error` or a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// An error with this sentence: lower case, no full stop, names in back-ticks.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// The same error, with what was being done in front of it.
    #[must_use]
    pub fn while_doing(self, what: impl fmt::Display) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<EditError> for Error {
    fn from(error: EditError) -> Self {
        Self(error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<String> for Error {
    fn from(what: String) -> Self {
        Self(what)
    }
}

impl From<&str> for Error {
    fn from(what: &str) -> Self {
        Self(what.to_owned())
    }
}
