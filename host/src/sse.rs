//! Bytes to events and back, without losing a byte: every event keeps the very bytes it came as.
//!
//! The format is that of the "server-sent events" section of the HTML standard. No I/O, not async.
