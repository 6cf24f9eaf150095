//! The deadline clock of the gateway, in every order in which its threads can take their steps.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --manifest-path tests/loom/Cargo.toml`

#![cfg(all(test, loom))]

#[allow(dead_code, reason = "the gateway's own tests look into the clock")]
#[path = "../../../host/src/pipeline/ticker/clock.rs"]
mod clock;

/// What the clock synchronises with: types that hand each step to loom.
mod sync {
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
}

use loom::{sync::Arc, thread};

use clock::Clock;
use sync::{Condvar, Mutex};

/// The number of ticks, which calls wait for.
struct Ticks {
    count: Mutex<u32>,
    more: Condvar,
}

impl Ticks {
    fn tick(&self) {
        *self.count.lock().unwrap() += 1;
        self.more.notify_all();
    }

    /// Waits for the next tick. If there is none, every thread waits, which loom reports.
    fn wait(&self) {
        let mut count = self.count.lock().unwrap();
        let before = *count;
        while *count == before {
            count = self.more.wait(count).unwrap();
        }
    }
}

/// A clock whose thread sleeps whenever no call is in progress, and calls by `call`.
fn clock(call: impl Fn(&Clock, &Ticks) + Sync + Send + 'static) {
    loom::model(move || {
        let clock = Arc::new(Clock::new());
        let ticks = Arc::new(Ticks {
            count: Mutex::new(0),
            more: Condvar::new(),
        });
        let thread = {
            let (clock, ticks) = (Arc::clone(&clock), Arc::clone(&ticks));
            thread::spawn(move || {
                while clock.next(true).is_some() {
                    ticks.tick();
                    thread::yield_now();
                }
            })
        };
        call(&clock, &ticks);
        clock.stop();
        thread.join().unwrap();
    });
}

#[test]
fn a_call_gets_a_tick_after_one_that_ended_while_the_clock_woke() {
    clock(|clock, ticks| {
        drop(clock.begin());
        let running = clock.begin();
        ticks.wait();
        drop(running);
    });
}

#[test]
fn a_call_gets_a_tick_after_the_clock_has_slept() {
    clock(|clock, ticks| {
        for _ in 0..2 {
            let running = clock.begin();
            ticks.wait();
            drop(running);
        }
    });
}

#[test]
fn a_clock_that_sleeps_stops() {
    clock(|_, _| {});
}
