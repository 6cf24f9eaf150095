//! What can be wrong, told apart by who must act.

use std::fmt;

/// Why a query or an edit was not done. The document is then as it was before.
///
/// The text of each is lower case without a full stop and names the operation, the pointer and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The JSONPath (RFC 9535) or JSON Pointer (RFC 6901) is malformed: its author must act.
    BadPath(String),
    /// The document is not JSON at a place the query or the edit had to read: whoever sent it must act.
    BadDocument {
        /// Offset in bytes from the start of the document, in a patch of the document before that patch.
        at: usize,
        /// What is wrong there.
        what: String,
    },
    /// A value or a patch handed in is not what it must be: the author of the edit must act.
    BadValue(String),
    /// The edit is well formed but this document has no such place, or a `test` did not hold.
    NotApplicable(String),
    /// The query or the edit would cost or produce more than the limits of this crate allow.
    TooMuch(String),
}

impl Error {
    pub(crate) fn document(at: usize, what: impl Into<String>) -> Self {
        Self::BadDocument {
            at,
            what: what.into(),
        }
    }

    /// The same error with `context` and a colon in front of it.
    pub(crate) fn within(self, context: &str) -> Self {
        let add = |what: String| format!("{context}: {what}");
        match self {
            Self::BadPath(what) => Self::BadPath(add(what)),
            Self::BadDocument { at, what } => Self::BadDocument {
                at,
                what: add(what),
            },
            Self::BadValue(what) => Self::BadValue(add(what)),
            Self::NotApplicable(what) => Self::NotApplicable(add(what)),
            Self::TooMuch(what) => Self::TooMuch(add(what)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadDocument { at, what } => {
                write!(f, "the document is not valid json at byte {at}: {what}")
            }
            Self::BadPath(what)
            | Self::BadValue(what)
            | Self::NotApplicable(what)
            | Self::TooMuch(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}
