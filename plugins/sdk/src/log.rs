//! Lines in the gateway's log, under the plugin's name and the exchange's id.
//!
//! A line is cut at 2 KiB; after 64 lines in one exchange the rest is dropped and counted. Never write request or answer
//! texts at [`info`] or above: they are the user's.

use crate::host;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For who looks for the cause of something.
    Debug,
    /// For who wants to know what goes on.
    Info,
    /// For who has to do something before long.
    Warn,
    /// For who has to do something now.
    Error,
}

/// Writes a line at this level.
pub fn write(level: Level, message: impl AsRef<str>) {
    host::log(level, message.as_ref());
}

/// Writes a line for who looks for the cause of something.
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message);
}

/// Writes a line for who wants to know what goes on.
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, message);
}

/// Writes a line for who has to do something before long.
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, message);
}

/// Writes a line for who has to do something now.
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, message);
}
