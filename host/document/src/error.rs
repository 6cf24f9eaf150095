//! Errors, grouped by who must act.

use std::fmt;

/// Why a query or an edit failed. The document is unchanged.
///
/// The message is lower case without a full stop. It names the operation, the pointer and what was
/// found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The JSONPath (RFC 9535) or JSON Pointer (RFC 6901) is malformed. Its author must act.
    BadPath(String),
    /// The document is not JSON at a place the query or the edit had to read. Its sender must act.
    BadDocument {
        /// Offset in bytes from the start of the document. For a patch, of the document before it.
        at: usize,
        /// What is wrong there.
        what: String,
    },
    /// A value or a patch passed in is invalid. The author of the edit must act.
    BadValue(String),
    /// The edit is well formed, but this document has no such place, or a `test` failed.
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

    /// The same error, prefixed with `context` and a colon.
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
                write!(f, "the document is not valid JSON at byte {at}: {what}")
            }
            Self::BadPath(what)
            | Self::BadValue(what)
            | Self::NotApplicable(what)
            | Self::TooMuch(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}
