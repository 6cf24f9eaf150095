//! A string that prints as `[secret]`, so that it cannot appear in logs, errors or panics, and the
//! same for keys in texts that others wrote.

use std::fmt;

use memchr::memmem;
use subtle::ConstantTimeEq;

const HIDDEN: &str = "[secret]";

/// A key of at least this length is hidden wherever it is.
const LONG_KEY: usize = 8;

/// A key shorter than this is never hidden.
const SHORTEST_KEY: usize = 4;

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
        f.write_str(HIDDEN)
    }
}

/// Replaces a key in a text by `[secret]`. Returns `None` if there is nothing to replace.
///
/// A short key is replaced only where it is a whole word, and never if it has only letters: local
/// servers are configured with keys such as `none`, and their errors must stay readable.
pub(crate) fn hide(text: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let is_long = key.len() >= LONG_KEY;
    if !is_long && (key.len() < SHORTEST_KEY || key.iter().all(u8::is_ascii_alphabetic)) {
        return None;
    }
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut hidden = Vec::new();
    let mut copied = 0;
    for at in memmem::find_iter(text, key) {
        let (before, after) = (&text[..at], &text[at + key.len()..]);
        if is_long || !before.last().is_some_and(is_word) && !after.first().is_some_and(is_word) {
            hidden.extend_from_slice(&text[copied..at]);
            hidden.extend_from_slice(HIDDEN.as_bytes());
            copied = at + key.len();
        }
    }
    (copied > 0).then(|| [&hidden, &text[copied..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("sk-1")), "[secret]");
    }

    #[test]
    fn a_key_is_hidden_in_a_text_and_an_ordinary_word_is_not() {
        let table = [
            (
                "no key sk-long-1 (sk-long-1)",
                "sk-long-1",
                Some("no key [secret] ([secret])"),
            ),
            ("xsk-long-1x", "sk-long-1", Some("x[secret]x")),
            ("sk-long-", "sk-long-1", None),
            ("key \"sk-1\"", "sk-1", Some("key \"[secret]\"")),
            ("sk-1", "sk-1", Some("[secret]")),
            ("sk-12, ask-1", "sk-1", None),
            ("there is none", "none", None),
            ("a x b", "x", None),
            ("anything", "", None),
        ];
        for (text, key, expected) in table {
            let hidden = hide(text.as_bytes(), key.as_bytes());
            let hidden = hidden.map(|hidden| String::from_utf8(hidden).unwrap());
            assert_eq!(hidden.as_deref(), expected, "{key} in {text}");
        }
    }

    #[test]
    fn an_empty_secret_matches_nothing() {
        assert!(!Secret::new("").matches(b""));
        assert!(Secret::new("sk-1").matches(b"sk-1"));
        assert!(!Secret::new("sk-1").matches(b"sk-2"));
    }
}
