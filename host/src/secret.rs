//! A string that prints as `[secret]`, so that no log line, error or panic can carry it.

use std::fmt;

use subtle::ConstantTimeEq;

/// A key or credential. There is no `Display`; [`Secret::expose`] is the one way to the text.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that writes it into a header.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not depend on where the first difference is. An empty secret equals nothing.
    pub(crate) fn matches(&self, presented: &[u8]) -> bool {
        !self.0.is_empty() && bool::from(self.0.as_bytes().ct_eq(presented))
    }
}

/// As constant in time as [`Secret::matches`]; here an empty one equals another empty one.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("sk-1")), "[secret]");
    }

    #[test]
    fn an_empty_secret_matches_nothing() {
        assert!(!Secret::new("").matches(b""));
        assert!(Secret::new("sk-1").matches(b"sk-1"));
        assert!(!Secret::new("sk-1").matches(b"sk-2"));
    }
}
