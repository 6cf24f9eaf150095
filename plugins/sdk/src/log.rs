//! Lines in the gateway's log, with the plugin's name and the exchange's id.
//!
//! A line is cut at 2 KiB. After 64 lines in one exchange further lines are dropped and counted.
//! Never write the text of requests or responses at [`info`] or above: it is the user's.

use crate::host;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For someone who searches for the cause of a problem.
    Debug,
    /// For someone who wants to know what happens.
    Info,
    /// For someone who has to act soon.
    Warn,
    /// For someone who has to act now.
    Error,
}

/// Writes a line at this level.
pub fn write(level: Level, message: impl AsRef<str>) {
    host::log(level, message.as_ref());
}

/// Writes a line for someone who searches for the cause of a problem.
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message);
}

/// Writes a line for someone who wants to know what happens.
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, message);
}

/// Writes a line for someone who has to act soon.
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, message);
}

/// Writes a line for someone who has to act now.
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, message);
}
