//! A watchdog outside of the runtime: once a second it checks that the clock of plugin deadlines
//! ticks and that the runtime's workers run tasks.
//!
//! It needs no worker, and its log lines go through a queue, so it works whatever else is stuck.

use std::{
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
    time::Duration,
};

use tokio::runtime::Handle;
use tracing::{error, info};

use crate::fault::Fault;

const INTERVAL: Duration = Duration::from_secs(1);

/// Starts the watchdog. It calls `clock` once a second, and ends with the runtime.
pub(crate) fn start(runtime: Handle, clock: impl Fn() + Send + 'static) -> Result<(), Fault> {
    let watch = move || {
        let mut workers = Workers::new(runtime);
        loop {
            thread::sleep(INTERVAL);
            clock();
            if workers.check() == Workers::ENDED {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("watchdog".to_owned());
    let started = thread.spawn(watch);
    started.map_err(|error| Fault::gateway("cannot start the watchdog").from(error))?;
    Ok(())
}

/// Whether any worker runs tasks: each check spawns one, which has to be over at the next check.
struct Workers {
    runtime: Handle,
    spawned: Receiver<()>,
    are_stuck: bool,
}

/// What a check has found: whether the workers are stuck. `None` if the runtime has ended.
type Found = Option<bool>;

impl Workers {
    const ENDED: Found = None;

    fn new(runtime: Handle) -> Self {
        Self {
            spawned: spawn(&runtime),
            runtime,
            are_stuck: false,
        }
    }

    fn check(&mut self) -> Found {
        let are_stuck = match self.spawned.try_recv() {
            Ok(()) => false,
            Err(TryRecvError::Empty) => true,
            // The runtime dropped the task.
            Err(TryRecvError::Disconnected) => return Self::ENDED,
        };
        if are_stuck && !self.are_stuck {
            error!("no worker thread has run a new task for a second");
        } else if self.are_stuck && !are_stuck {
            info!("worker threads run tasks again");
        }
        self.are_stuck = are_stuck;
        if !are_stuck {
            self.spawned = spawn(&self.runtime);
        }
        Some(are_stuck)
    }
}

/// Spawns a task that sends when it runs.
fn spawn(runtime: &Handle) -> Receiver<()> {
    let (send, sent) = channel();
    runtime.spawn(async move {
        // Without a receiver the watchdog has ended.
        let _ = send.send(());
    });
    sent
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// Checks until this is found.
    #[track_caller]
    fn finds(workers: &mut Workers, expected: Found) {
        let begun = Instant::now();
        while workers.check() != expected {
            assert!(begun.elapsed() < LIMIT, "never {expected:?}");
            thread::yield_now();
        }
    }

    #[test]
    fn stuck_workers_are_found_and_so_is_their_recovery_and_the_end() {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).build().unwrap();
        let mut workers = Workers::new(runtime.handle().clone());
        finds(&mut workers, Some(false));
        let (release, held) = channel::<()>();
        let (begun, begins) = channel();
        runtime.spawn(async move {
            begun.send(()).unwrap();
            let _ = held.recv();
        });
        begins.recv_timeout(LIMIT).unwrap();
        finds(&mut workers, Some(true));
        drop(release);
        finds(&mut workers, Some(false));
        drop(runtime);
        finds(&mut workers, Workers::ENDED);
    }
}
