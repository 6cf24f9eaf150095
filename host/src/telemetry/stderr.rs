//! A queue in front of standard error, so that a stalled reader delays no request.
//!
//! A thread gathers lines for a moment and writes them in one call: waking it for each line costs a
//! busy gateway more than formatting the line. A warning is written at once, together with the
//! lines before it. A full queue drops lines and counts them. `tracing-appender` does the
//! same, but limits its queue in lines and not in bytes, does not log where lines are missing, and
//! its guard may block on standard output.

use std::{
    io::{self, Write},
    mem,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use parking_lot::{Condvar, Mutex, MutexGuard};
use prometheus_client::metrics::counter::Counter;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// The size of the queue, in bytes: some ten thousand lines.
const QUEUE: usize = 4 * 1024 * 1024;

/// How long lines are gathered before they are written. Short enough that a reader of the log does
/// not notice, long enough that a busy gateway wakes the thread a hundred times a second and not
/// once per exchange.
const GATHER: Duration = Duration::from_millis(10);

/// The gathered lines, in bytes, that are written without waiting for more. Also the memory that
/// stays allocated after a burst.
const FULL: usize = 64 * 1024;

/// The lines that wait to be written.
pub(super) struct Queue {
    /// The most bytes that may wait.
    limit: usize,
    /// How long the thread waits for more lines.
    gather: Duration,
    state: Mutex<State>,
    added: Condvar,
    written: Condvar,
    /// The total of dropped lines.
    dropped: Counter,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    /// Whether the lines are to be written without waiting for more.
    is_urgent: bool,
    /// Lines dropped since the thread last took lines.
    dropped: u64,
    thread: Thread,
}

/// What the thread is doing.
#[derive(Default, PartialEq)]
enum Thread {
    /// Waits for a first line, and has to be woken.
    #[default]
    Idle,
    /// Waits for more lines, and has to be woken only for lines that cannot wait.
    Gathering,
    /// Writes the lines that it took, and looks for others afterwards.
    Writing,
}

impl Queue {
    /// Starts a queue in front of standard error.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        Self::before(io::stderr(), QUEUE, GATHER)
    }

    fn before(
        out: impl Write + Send + 'static,
        limit: usize,
        gather: Duration,
    ) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            limit,
            gather,
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
    pub(super) fn add(&self, line: &[u8], urgency: Urgency) {
        let mut state = self.state();
        if state.lines.len() + line.len() > self.limit {
            state.dropped += 1;
            self.dropped.inc();
            return;
        }
        state.lines.extend_from_slice(line);
        if urgency == Urgency::AtOnce || state.lines.len() >= FULL {
            self.hurry(&mut state);
        } else if state.thread == Thread::Idle {
            self.added.notify_one();
        }
    }

    /// Waits until everything is written, for at most this time.
    pub(super) fn flush(&self, limit: Duration) {
        let mut state = self.state();
        if !state.lines.is_empty() {
            self.hurry(&mut state);
        }
        let waits = |state: &mut State| state.thread == Thread::Writing || !state.lines.is_empty();
        // Lines that are not written by then are lost.
        self.written.wait_while_for(&mut state, waits, limit);
    }

    /// Has the lines written without waiting for more.
    fn hurry(&self, state: &mut State) {
        state.is_urgent = true;
        // A thread that is writing looks at the state before it waits.
        if state.thread != Thread::Writing {
            self.added.notify_one();
        }
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
            lines.shrink_to(FULL);
        }
    }

    /// Waits for lines and swaps them with the written ones. Returns how many were dropped after
    /// them.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        let mut state = self.state();
        state.thread = Thread::Idle;
        self.written.notify_all();
        self.added
            .wait_while(&mut state, |state| state.lines.is_empty());
        state.thread = Thread::Gathering;
        self.added
            .wait_while_for(&mut state, |state| !state.is_urgent, self.gather);
        state.thread = Thread::Writing;
        state.is_urgent = false;
        mem::swap(&mut state.lines, lines);
        mem::take(&mut state.dropped)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Whether a line may wait for others.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Urgency {
    /// Written together with the lines of the next moment.
    Gathered,
    AtOnce,
}

/// Adds lines to a queue: warnings and errors at once.
pub(super) struct Lines(pub(super) Arc<Queue>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            queue: &self.0,
            urgency: Urgency::Gathered,
        }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a> {
        let urgency = if *event.level() <= Level::WARN {
            Urgency::AtOnce
        } else {
            Urgency::Gathered
        };
        Line {
            queue: &self.0,
            urgency,
        }
    }
}

/// Adds one line, which the log writes in one call.
pub(super) struct Line<'a> {
    queue: &'a Queue,
    urgency: Urgency,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.add(line, self.urgency);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use tracing_subscriber::layer::SubscriberExt;

    use super::{
        Urgency::{AtOnce, Gathered},
        *,
    };

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

    fn stalled(limit: usize, gather: Duration) -> Stalled {
        let ((may, allowed), (begins, begun), (reads, read)) =
            (mpsc::channel(), mpsc::channel(), mpsc::channel());
        let reader = Reader {
            may: allowed,
            begun: begins,
            read: reads,
        };
        Stalled {
            queue: Queue::before(reader, limit, gather).unwrap(),
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
        let log = stalled(8, Duration::ZERO);
        log.queue.add(b"first\n", Gathered);
        log.begun.recv_timeout(LIMIT).unwrap();
        // The thread is stuck with the first line; 8 bytes fit after it.
        for line in ["1\n", "2\n", "3\n", "4\n", "5\n", "6\n"] {
            log.queue.add(line.as_bytes(), Gathered);
        }
        assert_eq!(log.queue.dropped().get(), 2);
        assert_eq!(log.next(), "first\n");
        assert_eq!(log.next(), "1\n2\n3\n4\n");
        let missing = log.next();
        assert!(
            missing.ends_with("Z  WARN witgate::telemetry::stderr: 2 log lines dropped\n"),
            "{missing}"
        );
        log.queue.add(b"7\n", Gathered);
        assert_eq!(log.next(), "7\n");
    }

    #[test]
    fn a_flush_waits_for_the_reader_and_not_for_ever() {
        let log = stalled(100, Duration::ZERO);
        log.queue.add(b"1\n", Gathered);
        log.queue.add(b"2\n", Gathered);
        log.queue.flush(Duration::from_millis(1));
        assert!(log.read.try_recv().is_err());
        for _ in 0..2 {
            log.may.send(()).unwrap();
        }
        log.queue.flush(LIMIT);
        let read: String = log.read.try_iter().collect();
        assert_eq!(read, "1\n2\n");
    }

    #[test]
    fn lines_are_gathered_until_one_cannot_wait() {
        let log = stalled(100, LIMIT);
        log.queue.add(b"1\n", Gathered);
        log.queue.add(b"2\n", Gathered);
        log.queue.add(b"a warning\n", AtOnce);
        assert_eq!(log.next(), "1\n2\na warning\n");
    }

    #[test]
    fn gathered_lines_are_written_when_they_are_many() {
        let log = stalled(2 * FULL, LIMIT);
        log.queue.add(&[b'a'; FULL - 1], Gathered);
        log.queue.add(b"b", Gathered);
        assert_eq!(log.next().len(), FULL);
    }

    #[test]
    fn a_flush_does_not_wait_for_more_lines() {
        let log = stalled(100, LIMIT);
        log.queue.add(b"1\n", Gathered);
        log.may.send(()).unwrap();
        log.queue.flush(LIMIT);
        assert_eq!(log.read.try_recv().unwrap(), "1\n");
    }

    #[test]
    fn a_warning_is_written_at_once_with_the_lines_before_it() {
        let log = stalled(1000, LIMIT);
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(Lines(Arc::clone(&log.queue)))
            .without_time()
            .with_target(false)
            .with_ansi(false);
        let logs = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(logs, || {
            tracing::info!("1");
            tracing::warn!("2");
        });
        assert_eq!(log.next(), " INFO 1\n WARN 2\n");
    }
}
