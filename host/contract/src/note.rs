//! Lines that a plugin writes: for the record of an exchange, and for the log.

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
        let line = cut(line, limits::NOTE).replace(char::is_control, " ");
        if !self.0.contains(&line) {
            self.0.push(line);
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

/// A line for the log, cut at [`limits::LOG_LINE`] bytes.
#[must_use]
pub fn log_line(line: &str) -> &str {
    cut(line, limits::LOG_LINE)
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
}
