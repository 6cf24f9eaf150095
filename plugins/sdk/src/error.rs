//! How a hook says that the plugin itself failed.

use std::fmt;

use crate::{
    edit::EditError,
    verdict::{Refusal, Verdict},
};

/// The plugin failed: a sentence for the log.
///
/// It is no way to refuse a request; that is [`Verdict::refuse`]. `?` makes one of an [`EditError`], a
/// `serde_json::Error` or a text.
///
/// One error is nobody's but the client's: [`EditError::BadDocument`]. Where a request or attempt hook passes it up, the
/// request is refused as an `invalid_request_error` and the plugin has not failed.
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
    pub fn while_doing(self, what: impl fmt::Display) -> Self {
        Self {
            what: format!("{what}: {}", self.what),
            ..self
        }
    }

    /// What a request or attempt hook comes to when it ends like this.
    pub(crate) fn into_verdict(self) -> Result<Verdict, Self> {
        match self.blame {
            Blame::Plugin => Err(self),
            Blame::Client => Ok(Verdict::refuse(Refusal::invalid_request(format!(
                "the body is not valid JSON: {}",
                self.what
            )))),
        }
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
