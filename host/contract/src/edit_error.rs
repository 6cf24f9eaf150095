//! Why a query or an edit was refused.

use std::fmt;

/// Why a query or an edit was refused. Nothing has changed when one of these is returned.
///
/// The cases are those of `edit-error` in the contract's `exchange.wit`. Each text is lower case,
/// without a full stop, and says what was expected and what it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The query is not a valid JSONPath, or a header name, path or pointer is malformed.
    BadQuery(String),
    /// The document is not valid JSON at a place that the query had to read.
    BadDocument(String),
    /// A value is not one valid JSON text, not a valid header value, or not a legal status or type.
    BadValue(String),
    /// An operation points at nothing, or its `test` does not hold.
    NotApplicable(String),
    /// The query or the edit exceeds a limit of [`crate::limits`] or of the document engine.
    TooMuch(String),
    /// The hook does not allow the edit, or the header belongs to the gateway.
    NotAllowed(String),
}

impl EditError {
    /// The text, without the case.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::BadQuery(text)
            | Self::BadDocument(text)
            | Self::BadValue(text)
            | Self::NotApplicable(text)
            | Self::TooMuch(text)
            | Self::NotAllowed(text) => text,
        }
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let case = match self {
            Self::BadQuery(_) => "bad query",
            Self::BadDocument(_) => "bad document",
            Self::BadValue(_) => "bad value",
            Self::NotApplicable(_) => "not applicable",
            Self::TooMuch(_) => "too much",
            Self::NotAllowed(_) => "not allowed",
        };
        write!(f, "{case}: {}", self.text())
    }
}

impl std::error::Error for EditError {}

#[cfg(feature = "policy")]
impl From<witgate_document::Error> for EditError {
    fn from(error: witgate_document::Error) -> Self {
        use witgate_document::Error;
        let text = error.to_string();
        match error {
            Error::BadPath(_) => Self::BadQuery(text),
            Error::BadDocument { .. } => Self::BadDocument(text),
            Error::BadValue(_) => Self::BadValue(text),
            Error::NotApplicable(_) => Self::NotApplicable(text),
            Error::TooMuch(_) => Self::TooMuch(text),
        }
    }
}
