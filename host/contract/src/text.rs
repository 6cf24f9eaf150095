//! Cutting texts of a plugin for messages.

/// The beginning of a text, short enough for an error message.
pub(crate) fn clip(text: &str) -> &str {
    cut(text, 80)
}

/// The beginning of a text, at most so many bytes of it, and whole characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
