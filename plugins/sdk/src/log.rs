//! Lines in the gateway's log, with the plugin's name and the exchange's id.
//!
//! A line is cut at 2 KiB. After 64 lines in one exchange further lines are dropped and counted.
//! Never write the text of requests or responses at [`info`] or above: it is the user's.
//!
//! ```
//! use witgate_plugin::log;
//!
//! log::info("upstream `a` rejected `top_k`");
//! ```

use crate::host;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Details for finding the cause of a problem.
    Debug,
    /// Normal events.
    Info,
    /// A problem that may need action.
    Warn,
    /// A problem that needs action now.
    Error,
}

/// Writes a line at this level.
pub fn write(level: Level, message: impl AsRef<str>) {
    host::log(level, message.as_ref());
}

/// Writes a line with details for finding the cause of a problem.
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message);
}

/// Writes a line about a normal event.
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, message);
}

/// Writes a line about a problem that may need action.
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, message);
}

/// Writes a line about a problem that needs action now.
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, message);
}
