//! A string that prints as `[secret]`, so that it cannot appear in logs, errors or panics.

use std::fmt;

use subtle::ConstantTimeEq;

/// A key or credential. Only [`Secret::expose`] returns the text; there is no `Display`.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, to be sent in a header.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in constant time. An empty secret matches nothing.
    pub(crate) fn matches(&self, presented: &[u8]) -> bool {
        !self.0.is_empty() && bool::from(self.0.as_bytes().ct_eq(presented))
    }
}

/// Compares in constant time. Unlike with [`Secret::matches`], two empty secrets are equal.
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
