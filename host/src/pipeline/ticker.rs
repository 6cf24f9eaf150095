//! The deadline clock: a thread that advances the engine's epoch while plugins run.
//!
//! It sleeps while no plugin runs, since a plain interval thread would wake an idle process two
//! hundred times a second. The thread looks at the number of calls and begins to wait under one
//! lock, so no call can begin between the two: either the thread sees the call, or the call sees
//! that the thread waits, and wakes it.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use wasmtime::Engine;

/// The resolution of deadlines. Each tick interrupts a running plugin, so fewer are cheaper.
const TICK: Duration = Duration::from_millis(5);
/// Ticks without a call after which the thread sleeps. Waking it costs more than a call, so it does
/// not sleep between the events of a stream.
const IDLE_TICKS: u32 = 40;

pub(super) struct Ticker(Arc<Shared>);

/// The number of ticks so far.
#[derive(Clone, Default)]
pub(super) struct Ticks(Arc<AtomicU64>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled while `asleep` is true: a call began, or the ticker stops.
    wake: Condvar,
    ticks: Ticks,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    /// Calls in progress.
    running: usize,
    /// The thread waits for `wake`. A call does not clear this, since the thread may find the call
    /// over and wait again.
    asleep: bool,
    stop: bool,
}

/// A call in progress. While it lives, the clock ticks.
pub(super) struct Running<'a>(&'a Shared);

/// The time that a call may still take, in its own code and in the host functions that it calls.
/// Time in which it has given its thread to others does not count.
pub(super) struct Allowance {
    ticks: Ticks,
    left: u64,
    /// The tick at which the call last got its thread.
    since: Arc<AtomicU64>,
}

/// A turn of other tasks: the call has yielded its thread, and gets it back.
pub(super) struct Turn {
    ticks: Ticks,
    since: Arc<AtomicU64>,
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let engine = engine.weak();
        Self::every(TICK, IDLE_TICKS, move || {
            let engine = engine.upgrade();
            engine.is_some_and(|engine| {
                engine.increment_epoch();
                true
            })
        })
    }

    /// Calls `tick` each `interval` until it returns false. Sleeps after `idle` ticks in a row
    /// without a call.
    fn every(
        interval: Duration,
        idle: u32,
        mut tick: impl FnMut() -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let clock = Arc::clone(&shared);
        thread::Builder::new()
            .name("plugin-ticker".to_owned())
            .spawn(move || {
                let mut unused = 0;
                while let Some(running) = clock.next(unused > idle) {
                    unused = if running { 0 } else { unused + 1 };
                    thread::sleep(interval);
                    clock.ticks.0.fetch_add(1, Relaxed);
                    if !tick() {
                        return;
                    }
                }
            })?;
        Ok(Self(shared))
    }

    /// Begins a call.
    pub(super) fn running(&self) -> Running<'_> {
        if self.0.state().begin() {
            self.0.wake.notify_one();
        }
        Running(&self.0)
    }

    pub(super) fn ticks(&self) -> Ticks {
        self.0.ticks.clone()
    }
}

impl Ticks {
    pub(super) fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Allowance {
    pub(super) fn new(ticks: Ticks) -> Self {
        Self {
            ticks,
            left: 0,
            since: Arc::default(),
        }
    }

    /// Begins a call with this time limit.
    pub(super) fn begin(&mut self, limit: Duration) {
        let ticks = limit.as_millis().div_ceil(TICK.as_millis());
        self.left = u64::try_from(ticks).unwrap_or(u64::MAX);
        self.since.store(self.ticks.now(), Relaxed);
    }

    /// Charges all ticks since the call got its thread, at least one. `None` if no time is left.
    pub(super) fn charge(&mut self) -> Option<Turn> {
        let used = self.ticks.now().saturating_sub(self.since.load(Relaxed));
        self.left = self.left.checked_sub(used.max(1))?;
        Some(Turn {
            ticks: self.ticks.clone(),
            since: Arc::clone(&self.since),
        })
    }
}

impl Turn {
    /// Resumes the call, which has its thread again.
    pub(super) fn resume(self) {
        self.since.store(self.ticks.now(), Relaxed);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call is in progress; `None` once the ticker stops. With `sleep` it waits for a
    /// call.
    fn next(&self, sleep: bool) -> Option<bool> {
        let mut state = self.state();
        while sleep && state.sleeps() {
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        (!state.stop).then_some(state.running > 0)
    }
}

/// Each step is taken under the lock under which the thread begins to wait.
impl State {
    /// Begins a call. Returns whether the thread has to be woken for it.
    fn begin(&mut self) -> bool {
        self.running += 1;
        self.asleep
    }

    fn end(&mut self) {
        self.running -= 1;
    }

    /// Whether the thread, which wants to sleep, may wait.
    fn sleeps(&mut self) -> bool {
        self.asleep = self.running == 0 && !self.stop;
        self.asleep
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state().end();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.state().stop = true;
        self.0.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
        time::Instant,
    };

    use super::*;

    /// No tick takes as long, however busy the machine is.
    const LIMIT: Duration = Duration::from_secs(20);

    /// A clock that sleeps at once if no call is in progress, and its ticks, which are not queued.
    fn clock() -> (Ticker, Receiver<()>) {
        let (send, ticks) = sync_channel(0);
        let tick = move || {
            // Without a receiver that waits for it, the tick is dropped.
            let _ = send.try_send(());
            true
        };
        (Ticker::every(Duration::ZERO, 0, tick).unwrap(), ticks)
    }

    /// What the thread of a clock that wants to sleep does next.
    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    enum Thread {
        Looks,
        Waits { notified: bool },
        Ticks,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    enum Call {
        Begins,
        Ends,
        Over,
    }

    #[test]
    fn in_no_order_of_steps_does_the_clock_sleep_through_a_call() {
        let begin = (State::default(), Thread::Looks, [Call::Begins; 3]);
        let mut seen = HashSet::from([begin]);
        let mut open = vec![begin];
        while let Some((state, thread, calls)) = open.pop() {
            let sleeps_on = thread == Thread::Waits { notified: false };
            assert!(
                !sleeps_on || state.running == 0,
                "the clock sleeps through a call: {state:?}"
            );
            let mut next = Vec::new();
            let mut after = state;
            let does = match thread {
                Thread::Looks if after.sleeps() => Thread::Waits { notified: false },
                Thread::Looks => Thread::Ticks,
                // Notified or not, since a condition variable may wake a thread without a cause.
                Thread::Waits { .. } | Thread::Ticks => Thread::Looks,
            };
            next.push((after, does, calls));
            for (index, call) in calls.into_iter().enumerate() {
                let (mut after, mut does, mut calls) = (state, thread, calls);
                calls[index] = match call {
                    Call::Begins => {
                        if after.begin() && matches!(does, Thread::Waits { .. }) {
                            does = Thread::Waits { notified: true };
                        }
                        Call::Ends
                    }
                    Call::Ends => {
                        after.end();
                        Call::Over
                    }
                    Call::Over => continue,
                };
                next.push((after, does, calls));
            }
            open.extend(next.into_iter().filter(|step| seen.insert(*step)));
        }
        assert!(seen.len() > 50, "{} states", seen.len());
    }

    #[test]
    fn a_clock_without_calls_sleeps_until_the_next() {
        let (ticker, ticks) = clock();
        for _ in 0..100 {
            falls_asleep(&ticker);
            let running = ticker.running();
            ticks
                .recv_timeout(LIMIT)
                .expect("the clock ticks during a call");
            drop(running);
        }
    }

    #[test]
    fn a_dropped_clock_ends_its_thread() {
        for sleeping in [true, false] {
            let (ticker, ticks) = clock();
            if sleeping {
                falls_asleep(&ticker);
            }
            drop(ticker);
            let ended = loop {
                match ticks.recv_timeout(LIMIT) {
                    Ok(()) => {}
                    Err(ended) => break ended,
                }
            };
            // The sender is dropped with the thread.
            assert_eq!(ended, RecvTimeoutError::Disconnected);
        }
    }

    #[track_caller]
    fn falls_asleep(ticker: &Ticker) {
        let begun = Instant::now();
        while !ticker.0.state().asleep {
            assert!(begun.elapsed() < LIMIT, "the clock does not sleep");
            thread::yield_now();
        }
    }

    #[test]
    fn a_call_pays_for_every_tick_in_which_it_has_its_thread() {
        let ticks = Ticks::default();
        let pass = |count| ticks.0.fetch_add(count, Relaxed);
        let mut allowance = Allowance::new(ticks.clone());
        pass(7);
        allowance.begin(6 * TICK);
        pass(1);
        let turn = allowance.charge().expect("5 left");
        pass(100);
        turn.resume();
        // A host function that takes its time.
        pass(4);
        let turn = allowance.charge().expect("1 left");
        turn.resume();
        pass(2);
        assert!(allowance.charge().is_none(), "1 left, 2 used");

        allowance.begin(2 * TICK);
        pass(3);
        assert!(allowance.charge().is_none(), "the first turn counts, too");
    }

    #[test]
    fn an_interrupted_call_pays_at_least_one_tick() {
        let mut allowance = Allowance::new(Ticks::default());
        allowance.begin(2 * TICK);
        assert!(allowance.charge().is_some());
        assert!(allowance.charge().is_some());
        assert!(allowance.charge().is_none());
    }
}
