//! A queue in front of standard error, so that a stalled reader delays no request.
//!
//! A thread writes the queue. A full queue drops lines and counts them. `tracing-appender` does the
//! same, but limits its queue in lines and not in bytes, does not log where lines are missing, and
//! its guard may block on standard output.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use prometheus_client::metrics::counter::Counter;

/// The size of the queue, in bytes: some ten thousand lines.
const QUEUE: usize = 4 * 1024 * 1024;

/// The memory that stays allocated after a burst, in bytes.
const KEPT: usize = 64 * 1024;

/// The lines that wait to be written.
pub(super) struct Queue {
    limit: usize,
    state: Mutex<State>,
    added: Condvar,
    written: Condvar,
    /// The total of dropped lines.
    dropped: Counter,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    /// Lines dropped since the thread last took lines.
    dropped: u64,
    /// Whether the thread is writing the lines that it took.
    is_writing: bool,
}

impl Queue {
    /// Starts a queue in front of standard error.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        Self::before(io::stderr(), QUEUE)
    }

    fn before(out: impl Write + Send + 'static, limit: usize) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            limit,
            state: Mutex::default(),
            added: Condvar::new(),
            written: Condvar::new(),
            dropped: Counter::default(),
        });
        let writes = Arc::clone(&queue);
        let thread = thread::Builder::new().name("log".to_owned());
        // The thread ends with the process.
        thread.spawn(move || writes.write_to(out))?;
        Ok(queue)
    }

    /// Adds a line, or drops it if the queue is full. Never waits for the reader.
    pub(super) fn add(&self, line: &[u8]) {
        let mut state = self.state();
        if state.lines.len() + line.len() > self.limit {
            state.dropped += 1;
            self.dropped.inc();
            return;
        }
        state.lines.extend_from_slice(line);
        if !state.is_writing {
            self.added.notify_one();
        }
    }

    /// Waits until everything is written, for at most this time.
    pub(super) fn flush(&self, limit: Duration) {
        let waits = |state: &mut State| state.is_writing || !state.lines.is_empty();
        // Lines that are not written by then are lost.
        drop(self.written.wait_timeout_while(self.state(), limit, waits));
    }

    /// Returns the counter of dropped lines.
    pub(super) fn dropped(&self) -> Counter {
        self.dropped.clone()
    }

    fn write_to(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        loop {
            let dropped = self.take(&mut lines);
            // After an error, later writes may succeed: it may be a full disk.
            let _ = out.write_all(&lines);
            if dropped > 0 {
                let now = SystemTime::now().max(SystemTime::UNIX_EPOCH);
                let now = humantime::format_rfc3339_micros(now);
                let module = module_path!();
                let line = format!("{now}  WARN {module}: {dropped} log lines dropped\n");
                let _ = out.write_all(line.as_bytes());
            }
            lines.clear();
            lines.shrink_to(KEPT);
        }
    }

    /// Waits for lines and swaps them with the written ones. Returns how many were dropped after
    /// them.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        let mut state = self.state();
        state.is_writing = false;
        self.written.notify_all();
        let mut state = self
            .added
            .wait_while(state, |state| state.lines.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state.is_writing = true;
        mem::swap(&mut state.lines, lines);
        mem::take(&mut state.dropped)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log writes each line in one call.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// A reader that reads once for each message that it gets.
    struct Reader {
        may: Receiver<()>,
        begun: Sender<()>,
        read: Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.begun.send(());
            self.may.recv().map_err(io::Error::other)?;
            let _ = self.read.send(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Stalled {
        queue: Arc<Queue>,
        may: Sender<()>,
        begun: Receiver<()>,
        read: Receiver<String>,
    }

    fn stalled(limit: usize) -> Stalled {
        let ((may, allowed), (begins, begun), (reads, read)) =
            (mpsc::channel(), mpsc::channel(), mpsc::channel());
        let reader = Reader {
            may: allowed,
            begun: begins,
            read: reads,
        };
        Stalled {
            queue: Queue::before(reader, limit).unwrap(),
            may,
            begun,
            read,
        }
    }

    impl Stalled {
        fn next(&self) -> String {
            self.may.send(()).unwrap();
            self.read.recv_timeout(LIMIT).unwrap()
        }
    }

    #[test]
    fn a_full_queue_drops_lines_counts_them_and_says_so_where_they_are_missing() {
        let log = stalled(8);
        log.queue.add(b"first\n");
        log.begun.recv_timeout(LIMIT).unwrap();
        // The thread is stuck with the first line; 8 bytes fit after it.
        for line in ["1\n", "2\n", "3\n", "4\n", "5\n", "6\n"] {
            log.queue.add(line.as_bytes());
        }
        assert_eq!(log.queue.dropped().get(), 2);
        assert_eq!(log.next(), "first\n");
        assert_eq!(log.next(), "1\n2\n3\n4\n");
        let missing = log.next();
        assert!(
            missing.ends_with("Z  WARN witgate::telemetry::stderr: 2 log lines dropped\n"),
            "{missing}"
        );
        log.queue.add(b"7\n");
        assert_eq!(log.next(), "7\n");
    }

    #[test]
    fn a_flush_waits_for_the_reader_and_not_for_ever() {
        let log = stalled(100);
        log.queue.add(b"1\n");
        log.queue.add(b"2\n");
        log.queue.flush(Duration::from_millis(1));
        assert!(log.read.try_recv().is_err());
        for _ in 0..2 {
            log.may.send(()).unwrap();
        }
        log.queue.flush(LIMIT);
        let read: String = log.read.try_iter().collect();
        assert_eq!(read, "1\n2\n");
    }
}
