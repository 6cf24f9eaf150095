//! The deadline clock: a thread that advances the engine's epoch while plugins run.
//!
//! It sleeps while no plugin runs, since a plain interval thread would wake an idle process two
//! hundred times a second.

mod clock; // when it sleeps, and how a call wakes it

/// What [`clock`] synchronises with.
mod sync {
    pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
}

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use wasmtime::Engine;

use self::clock::Clock;

/// The unit of deadlines, and the interval of the clock while a call is long: a plugin that loops
/// gives its thread to others as often.
const TICK: Duration = Duration::from_millis(1);
/// Ticks at a time while no call is long. Each time interrupts a running plugin, so fewer are
/// cheaper.
const SLOW: u32 = 5;
/// Rounds without a call after which the thread sleeps. Waking it costs more than a call, so it
/// does not sleep between the events of a stream.
const IDLE_TICKS: u32 = 40;

pub(super) struct Ticker(Arc<Shared>);

/// The number of ticks so far.
#[derive(Clone, Default)]
pub(super) struct Ticks(Arc<Passed>);

#[derive(Default)]
struct Passed {
    ticks: AtomicU64,
    /// Whether a long call was interrupted since the last tick.
    long: AtomicBool,
}

struct Shared {
    clock: Clock,
    ticks: Ticks,
    interval: Duration,
    idle: u32,
    tick: Box<dyn Fn() -> bool + Send + Sync>,
    /// The number of the thread that ticks. One that was replaced ends.
    thread: AtomicU64,
    /// The tick at the last check, if calls were in progress.
    checked: Mutex<Option<u64>>,
}

/// The time that a call may still take, in its own code and in the host functions that it calls.
/// Time in which it has given its thread to others does not count.
pub(super) struct Allowance {
    /// Whether the call was interrupted before.
    interrupted: bool,
    time: Arc<CallTime>,
}

/// A turn of other tasks: the call has yielded its thread, and gets it back.
pub(super) struct Turn(Arc<CallTime>);

/// The time of the current call, for what it waits for.
pub(super) struct CallTime {
    ticks: Ticks,
    /// In ticks.
    left: AtomicU64,
    /// The tick at which the call last got its thread.
    since: AtomicU64,
    /// Whether the call has waited until its time was over.
    is_over: AtomicBool,
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

    /// Calls `tick` each `interval`, or less often while no call is long, until it returns false.
    /// Sleeps after `idle` calls of it in a row without a call of a plugin.
    fn every(
        interval: Duration,
        idle: u32,
        tick: impl Fn() -> bool + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            clock: Clock::new(),
            ticks: Ticks::default(),
            interval,
            idle,
            tick: Box::new(tick),
            thread: AtomicU64::new(0),
            checked: Mutex::default(),
        });
        Shared::start_thread(&shared)?;
        Ok(Self(shared))
    }

    /// Replaces the clock's thread if it has not ticked since the last check, although calls were
    /// in progress then and are now. Returns whether it did. Checks are far more than a tick apart.
    pub(super) fn check(&self) -> std::io::Result<bool> {
        let running = self.0.clock.is_running().then(|| self.0.ticks.now());
        let before = std::mem::replace(&mut *self.0.checked.lock(), running);
        if running.is_none() || running != before {
            return Ok(false);
        }
        Shared::start_thread(&self.0)?;
        self.0.clock.wake();
        Ok(true)
    }

    /// Begins a call. While the result lives, the clock ticks.
    pub(super) fn running(&self) -> impl Sized {
        self.0.clock.begin()
    }

    pub(super) fn ticks(&self) -> Ticks {
        self.0.ticks.clone()
    }
}

impl Shared {
    /// Starts a thread that ticks. One that did until now ends at its next step.
    fn start_thread(shared: &Arc<Self>) -> std::io::Result<()> {
        let number = shared.thread.fetch_add(1, Relaxed) + 1;
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new().name("plugin-ticker".to_owned());
        thread.spawn(move || shared.run(number)).map(drop)
    }

    fn run(&self, number: u64) {
        let mut unused = 0;
        while let Some(running) = self.clock.next(unused > self.idle) {
            if self.thread.load(Relaxed) != number {
                return;
            }
            unused = if running { 0 } else { unused + 1 };
            let ticks = self.ticks.next();
            thread::sleep(self.interval * ticks);
            self.ticks.pass(ticks);
            if !(self.tick)() {
                return;
            }
        }
    }
}

impl Ticks {
    pub(super) fn now(&self) -> u64 {
        self.0.ticks.load(Relaxed)
    }

    fn pass(&self, ticks: u32) {
        self.0.ticks.fetch_add(ticks.into(), Relaxed);
    }

    /// The number of ticks until the clock interrupts calls again.
    fn next(&self) -> u32 {
        match self.0.long.swap(false, Relaxed) {
            true => 1,
            false => SLOW,
        }
    }
}

impl Allowance {
    pub(super) fn new(ticks: Ticks) -> Self {
        let time = CallTime {
            ticks,
            left: AtomicU64::new(0),
            since: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        };
        Self {
            interrupted: false,
            time: Arc::new(time),
        }
    }

    /// Begins a call with this time limit.
    pub(super) fn begin(&mut self, limit: Duration) {
        let ticks = limit.as_millis().div_ceil(TICK.as_millis());
        let time = &*self.time;
        time.left
            .store(u64::try_from(ticks).unwrap_or(u64::MAX), Relaxed);
        time.is_over.store(false, Relaxed);
        self.interrupted = false;
        time.since.store(time.ticks.now(), Relaxed);
    }

    /// Charges all ticks since the call got its thread, at least one. `None` if no time is left.
    pub(super) fn charge(&mut self) -> Option<Turn> {
        let time = &*self.time;
        let left = time.left.load(Relaxed).checked_sub(time.used().max(1))?;
        time.left.store(left, Relaxed);
        // Few calls take long enough to be interrupted twice.
        if std::mem::replace(&mut self.interrupted, true) {
            time.ticks.0.long.store(true, Relaxed);
        }
        Some(Turn(Arc::clone(&self.time)))
    }

    /// The time of each call, one after the other.
    pub(super) fn time(&self) -> Arc<CallTime> {
        Arc::clone(&self.time)
    }
}

impl CallTime {
    /// The ticks since the call got its thread.
    fn used(&self) -> u64 {
        let since = self.since.load(Relaxed);
        self.ticks.now().saturating_sub(since)
    }

    /// How long the call may still wait.
    pub(super) fn left(&self) -> Duration {
        let left = self.left.load(Relaxed).saturating_sub(self.used());
        TICK.saturating_mul(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// Ends the call, which waits for something that comes too late.
    pub(super) fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    /// Whether the call has waited until its time was over.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

impl Turn {
    /// Resumes the call, which has its thread again.
    pub(super) fn resume(self) {
        self.0.since.store(self.0.ticks.now(), Relaxed);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.clock.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::{
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
    fn a_clock_that_stands_still_during_a_call_is_replaced() {
        let (send, ticks) = sync_channel(0);
        let ends = std::sync::atomic::AtomicBool::new(true);
        // The first thread ends at its first tick.
        let tick = move || {
            let _ = send.try_send(());
            !ends.swap(false, Relaxed)
        };
        let ticker = Ticker::every(Duration::ZERO, 0, tick).unwrap();
        let running = ticker.running();
        let begun = Instant::now();
        while ticker.ticks().now() == 0 {
            assert!(begun.elapsed() < LIMIT, "the clock does not tick");
            thread::yield_now();
        }
        assert!(!ticker.check().unwrap(), "the first look");
        assert!(ticker.check().unwrap(), "no tick since then");
        ticks.recv_timeout(LIMIT).expect("the clock ticks again");
        drop(running);
    }

    #[test]
    fn a_clock_without_calls_is_not_replaced() {
        let (ticker, _ticks) = clock();
        falls_asleep(&ticker);
        for _ in 0..3 {
            assert!(!ticker.check().unwrap());
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
        while !ticker.0.clock.is_asleep() {
            assert!(begun.elapsed() < LIMIT, "the clock does not sleep");
            thread::yield_now();
        }
    }

    #[test]
    fn a_call_pays_for_every_tick_in_which_it_has_its_thread() {
        let ticks = Ticks::default();
        let pass = |count| ticks.pass(count);
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
    fn a_call_may_wait_for_what_is_left_of_its_time() {
        let ticks = Ticks::default();
        let mut allowance = Allowance::new(ticks.clone());
        let time = allowance.time();
        allowance.begin(6 * TICK);
        assert_eq!(time.left(), 6 * TICK);
        ticks.pass(1);
        assert_eq!(time.left(), 5 * TICK);
        allowance.charge().expect("5 left").resume();
        ticks.pass(9);
        assert_eq!(time.left(), Duration::ZERO);
        time.end();
        assert!(time.is_over());
        allowance.begin(2 * TICK);
        assert!(!time.is_over() && time.left() == 2 * TICK, "the next call");
    }

    #[test]
    fn the_clock_is_fast_while_a_call_is_long() {
        let ticks = Ticks::default();
        let mut allowance = Allowance::new(ticks.clone());
        for _ in 0..2 {
            allowance.begin(100 * TICK);
            assert_eq!(ticks.next(), SLOW);
            allowance.charge().expect("time is left");
            assert_eq!(
                ticks.next(),
                SLOW,
                "most calls are interrupted once at most"
            );
            for _ in 0..3 {
                allowance.charge().expect("time is left");
                assert_eq!(ticks.next(), 1);
            }
        }
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
