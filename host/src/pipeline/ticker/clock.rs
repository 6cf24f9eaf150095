//! When the deadline clock sleeps, and how a call wakes it.
//!
//! The thread looks at the number of calls and begins to wait under one lock, so no call can begin
//! between the two: either the thread sees the call, or the call sees that the thread waits, and
//! wakes it. `tests/loom` compiles this file with its own `sync` and tries every order of steps, so
//! it names nothing else of the gateway.

use std::sync::PoisonError;

use super::sync::{Condvar, Mutex, MutexGuard};

pub(super) struct Clock {
    state: Mutex<State>,
    /// Signalled while `asleep` is true: a call began, or the clock stops.
    wake: Condvar,
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
pub(super) struct Running<'a>(&'a Clock);

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
        }
    }

    /// Begins a call.
    pub(super) fn begin(&self) -> Running<'_> {
        if self.state().begin() {
            self.wake.notify_all();
        }
        Running(self)
    }

    /// Whether a call is in progress; `None` once the clock stops. With `sleep` it waits for a
    /// call.
    pub(super) fn next(&self, sleep: bool) -> Option<bool> {
        let mut state = self.state();
        while sleep && state.sleeps() {
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        (!state.stop).then_some(state.running > 0)
    }

    pub(super) fn stop(&self) {
        self.state().stop = true;
        self.wake.notify_all();
    }

    /// Wakes a thread that should not wait.
    pub(super) fn wake(&self) {
        self.wake.notify_all();
    }

    pub(super) fn is_running(&self) -> bool {
        self.state().running > 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

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

    impl Clock {
        /// Whether the thread waits for a call.
        pub(in super::super) fn is_asleep(&self) -> bool {
            self.state().asleep
        }
    }
}
