//! What a plugin writes: lines of its log, and its standard output and standard error, whose lines
//! are logged at `debug`.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::{Level, debug, enabled};
use wasmtime_wasi_io::{
    async_trait,
    poll::Pollable,
    streams::{OutputStream, StreamError},
};
use witgate_contract::{limits, note};

use super::Tenant;
use crate::ids::ExchangeId;

/// How much of its standard error is kept, for the text of a panic.
const STDERR_LIMIT: usize = 4 << 10;
/// The longest line of output that is kept until it ends.
const LINE: usize = 4 << 10;
/// What may be written at once.
const AT_ONCE: usize = 64 << 10;

/// What the instance has written so far.
#[derive(Default)]
pub(in crate::pipeline) struct Written {
    /// The end of standard error.
    stderr: Mutex<Vec<u8>>,
    lines: AtomicU32,
}

impl Written {
    /// Counts a line for the log. Returns whether there is room for it.
    pub(super) fn has_room_for_line(&self) -> bool {
        self.lines.fetch_add(1, Relaxed) < limits::LOG_LINES
    }

    /// How many lines were not logged.
    pub(super) fn dropped(&self) -> u32 {
        self.lines.load(Relaxed).saturating_sub(limits::LOG_LINES)
    }

    /// The text of the last panic in standard error, in one line: where it happened and what it
    /// said.
    pub(in crate::pipeline) fn panic(&self) -> Option<String> {
        panic_text(&String::from_utf8_lossy(&self.stderr.lock()))
    }

    /// Whether something was written to standard error, where most languages say what went wrong.
    pub(in crate::pipeline) fn has_stderr(&self) -> bool {
        !self.stderr.lock().is_empty()
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.stderr.lock();
        kept.extend_from_slice(bytes);
        if kept.len() > STDERR_LIMIT {
            let over = kept.len() - STDERR_LIMIT;
            kept.drain(..over);
        }
    }
}

fn panic_text(stderr: &str) -> Option<String> {
    let (_, text) = stderr.rsplit_once("panicked at ")?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<_> = lines
        .take_while(|line| !line.starts_with("note: "))
        .collect();
    Some(
        lines
            .join(" ")
            .chars()
            .filter(|c| !c.is_control())
            .take(500)
            .collect(),
    )
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Standard output or standard error.
pub(super) struct Output {
    pub(super) stream: Stream,
    pub(super) tenant: Arc<Tenant>,
    pub(super) exchange: Option<ExchangeId>,
    pub(super) written: Arc<Written>,
    /// A line that has not ended.
    pub(super) line: Vec<u8>,
}

impl Output {
    fn log(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        let room = LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        if text.trim().is_empty() || !self.written.has_room_for_line() {
            return;
        }
        let exchange = self.exchange.as_ref().map_or("none", ExchangeId::as_str);
        let stream = match self.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let message = note::log_line(text.trim_end());
        debug!(plugin = %self.tenant.id, exchange, stream, "{message}");
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.end_line();
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        if self.stream == Stream::Stderr {
            self.written.keep(&bytes);
        }
        if enabled!(Level::DEBUG) {
            self.log(&bytes);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(AT_ONCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_reported_in_one_line() {
        let text = "earlier\n\nthread '<unnamed>' (1) panicked at src/lib.rs:7:5:\nboom:\n  two lines\n\
                    note: run with `RUST_BACKTRACE=1`\n";
        assert_eq!(
            panic_text(text).as_deref(),
            Some("src/lib.rs:7:5: boom: two lines")
        );
        assert_eq!(panic_text("no panic here"), None);
    }

    #[test]
    fn only_the_end_of_standard_error_is_kept() {
        let written = Written::default();
        written.keep(&vec![b'x'; 3 * STDERR_LIMIT]);
        written.keep(b"panicked at a.rs:1:1:\nlast");
        assert_eq!(written.panic().as_deref(), Some("a.rs:1:1: last"));
        assert!(written.stderr.lock().len() <= STDERR_LIMIT);
    }
}
