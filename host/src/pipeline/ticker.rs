//! The clock of deadlines: a thread that advances the engine's epoch while plugins run, and sleeps while none does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::Duration,
};

use wasmtime::Engine;

/// How finely deadlines are counted: a tick makes a running plugin look up, so fewer are cheaper.
pub(super) const TICK: Duration = Duration::from_millis(5);
/// Ticks without a call after which the thread sleeps. Waking it costs more than a call, so it does not sleep between
/// the events of a stream.
const IDLE_TICKS: u32 = 40;

pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    /// Calls under way.
    running: AtomicUsize,
    asleep: AtomicBool,
    stop: AtomicBool,
}

/// While it lives the clock goes.
pub(super) struct Running<'a>(&'a Shared);

impl Ticker {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (clock, engine) = (Arc::clone(&shared), engine.weak());
        let handle = thread::Builder::new().name("plugin-ticker".to_owned()).spawn(move || {
            let mut idle = 0;
            while !clock.stop.load(SeqCst) {
                if clock.running.load(SeqCst) > 0 {
                    idle = 0;
                } else {
                    idle += 1;
                }
                if idle > IDLE_TICKS {
                    clock.sleep();
                    idle = 0;
                }
                thread::sleep(TICK);
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
            }
        })?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// A call begins.
    pub(super) fn running(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, SeqCst);
        // Either this sees that the thread is about to sleep, or the thread sees the call: both orders are sequentially
        // consistent.
        if self.shared.asleep.swap(false, SeqCst) {
            self.thread.unpark();
        }
        Running(&self.shared)
    }
}

impl Shared {
    fn sleep(&self) {
        self.asleep.store(true, SeqCst);
        while self.running.load(SeqCst) == 0 && !self.stop.load(SeqCst) {
            thread::park();
            // Woken for a call that has ended meanwhile: be wakeable for the next.
            if self.running.load(SeqCst) == 0 {
                self.asleep.store(true, SeqCst);
            }
        }
        self.asleep.store(false, SeqCst);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.thread.unpark();
    }
}
