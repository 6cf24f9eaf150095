//! The short status of an attempt, for the log, the metrics and `x-witgate-attempts`.

use std::fmt;

/// A status code, or a word if there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exchange) enum AttemptStatus {
    Code(u16),
    Word(&'static str),
}

impl fmt::Display for AttemptStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(status) => write!(f, "{status}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}
