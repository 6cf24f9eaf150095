//! Colours of the terminal.

use std::io::{self, IsTerminal};

use clap::ValueEnum;

use crate::config;

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// If standard output is a terminal and `NO_COLOR` is not set
    Auto,
    Always,
    Never,
}

/// Paints texts, or leaves them as they are.
#[derive(Clone, Copy)]
pub(super) struct Paint(bool);

impl Color {
    pub(super) fn paint(self) -> Paint {
        Paint(match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => io::stdout().is_terminal() && !config::wants_no_color(),
        })
    }
}

impl Paint {
    /// What was removed, or failed.
    pub(super) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    /// What was added, or held.
    pub(super) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        match self.0 {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}
