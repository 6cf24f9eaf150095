//! Lines that a plugin writes: for the record of an exchange, and for the log.

use std::borrow::Cow;

use crate::{limits, text::cut};

/// Lines for the record, each once, at most [`limits::NOTES`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes(Vec<String>);

impl Notes {
    /// Adds a line. It is cut at [`limits::NOTE`] bytes, control characters become blanks, and a
    /// line that is there already or exceeds the count is dropped.
    pub fn add(&mut self, line: &str) {
        if self.0.len() >= limits::NOTES {
            return;
        }
        let line = one_line(line, limits::NOTE);
        if !self.0.iter().any(|known| *known == line) {
            self.0.push(line.into_owned());
        }
    }

    /// The lines, in order.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.0
    }

    /// The lines, in order.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.0
    }
}

/// A line for the log, cut at [`limits::LOG_LINE`] bytes. Control characters become blanks, since a
/// line feed would begin a line that looks like the gateway's own.
#[must_use]
pub fn log_line(line: &str) -> Cow<'_, str> {
    one_line(line, limits::LOG_LINE)
}

/// The beginning of a text in one line.
fn one_line(text: &str, most: usize) -> Cow<'_, str> {
    // Editors and terminals break lines at these two as well.
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    match cut(text, most) {
        line if line.contains(breaks) => line.replace(breaks, " ").into(),
        line => line.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_counted_once_and_bounded() {
        let mut notes = Notes::default();
        let long = "ä".repeat(limits::NOTE);
        notes.add(&long);
        notes.add(&long);
        notes.add("a\nb\x1b");
        assert_eq!(notes.lines(), [&long[..limits::NOTE], "a b "]);
        for n in 0..100 {
            notes.add(&n.to_string());
        }
        assert_eq!(notes.into_lines().len(), limits::NOTES);
    }

    #[test]
    fn a_log_line_is_cut_between_characters() {
        assert_eq!(log_line(&"€".repeat(1000)).len(), 2046);
    }

    #[test]
    fn a_log_line_is_one_line() {
        let forged = "a\n2026-11-27T00:00:00Z  INFO exchange \r\u{85}\u{2028}\x1b[31m";
        let line = log_line(forged);
        assert_eq!(line, "a 2026-11-27T00:00:00Z  INFO exchange     [31m");
        assert!(matches!(log_line("plain"), Cow::Borrowed("plain")));
    }
}
