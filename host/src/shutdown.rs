//! Shutdown by signals: the first one drains, the second one ends everything.
//!
//! This works even if all workers of the runtime are stuck. Signals and the time limit have their
//! own threads. The main thread waits for both, and only briefly for workers.
//!
//! Two stages need a `watch` channel. Cancellation tokens would be two, one for each stage, and a
//! task tracker would not replace the connections' own set, which also ends them.

use std::{io, sync::mpsc, thread, time::Duration};

use tokio::{
    runtime::{self, Runtime},
    sync::{oneshot, watch},
};

use crate::fault::Fault;

/// How long to wait for workers at the end.
const WORKERS: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Stage {
    Running,
    /// Exchanges in flight continue, and no new ones start.
    Draining,
    /// Exchanges in flight end as well.
    Ended,
}

/// The sender of the signal to stop.
pub(crate) struct Stop(watch::Sender<Stage>);

/// A receiver of the signal to stop.
#[derive(Clone)]
pub(crate) struct Stopping(watch::Receiver<Stage>);

pub(crate) fn channel() -> (Stop, Stopping) {
    let (sender, receiver) = watch::channel(Stage::Running);
    (Stop(sender), Stopping(receiver))
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// Drain; end at once if it is the second.
    Stop,
    /// Drain. More than one counts as one: the kernel and the shell may both send it.
    Drain,
    Reload,
    /// The signal has no meaning here. Without a handler it would end the process.
    Nothing,
}

/// Starts to listen to signals, or to Ctrl-C on Windows. Calls `reload` when one asks for a reload.
pub(crate) fn on_signals(reload: impl Fn() + Send + 'static) -> Result<Stopping, Fault> {
    let cannot = |error: io::Error| Fault::gateway("cannot listen to signals").from(error);
    let (stop, stopping) = channel();
    let (ready, listens) = mpsc::channel();
    let listening = move || {
        if let Err(error) = listen(stop, &reload, &ready) {
            // Without a receiver the process is ending.
            let _ = ready.send(Err(error));
        }
    };
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(listening).map_err(cannot)?;
    listens
        .recv()
        .unwrap_or_else(|ended| Err(io::Error::other(ended)))
        .map_err(cannot)?;
    Ok(stopping)
}

/// Listens to signals on this thread. Sends to `ready` when it does.
fn listen(
    mut stop: Stop,
    reload: &dyn Fn(),
    ready: &mpsc::Sender<io::Result<()>>,
) -> io::Result<()> {
    let mut runtime = runtime::Builder::new_current_thread();
    runtime.enable_io().build()?.block_on(async {
        let mut signals = Signals::listen()?;
        // Without a receiver the process is ending.
        let _ = ready.send(Ok(()));
        while let Some(request) = signals.next().await {
            match request {
                Request::Stop => stop.advance(),
                Request::Drain => stop.drain(),
                Request::Reload => reload(),
                Request::Nothing => {}
            }
        }
        Ok(())
    })
}

/// Waits for some time on a separate thread.
pub(crate) async fn elapsed(time: Duration) {
    let (done, passed) = oneshot::channel();
    let wait = move || {
        thread::sleep(time);
        // Without a receiver the wait is no longer needed.
        let _ = done.send(());
    };
    let thread = thread::Builder::new().name("drain".to_owned());
    match thread.spawn(wait) {
        Ok(_) => {
            // An error means that the thread has ended, so the time is over.
            let _ = passed.await;
        }
        // The runtime's own timer works unless all workers are stuck.
        Err(_) => tokio::time::sleep(time).await,
    }
}

/// Ends a runtime and drops its tasks. A worker that does not return in time ends with the process.
pub(crate) fn end(runtime: Runtime) {
    runtime.shutdown_timeout(WORKERS);
}

impl Stop {
    /// Advances to draining at the first call, and to the end at the second.
    pub(crate) fn advance(&mut self) {
        // Not `send`, which changes nothing without a subscriber.
        self.0.send_modify(|stage| {
            *stage = match stage {
                Stage::Running => Stage::Draining,
                Stage::Draining | Stage::Ended => Stage::Ended,
            };
        });
    }

    /// Advances to draining, and never further.
    fn drain(&mut self) {
        self.0.send_modify(|stage| {
            if *stage == Stage::Running {
                *stage = Stage::Draining;
            }
        });
    }

    /// Ends exchanges in flight.
    pub(crate) fn end(&mut self) {
        self.0.send_replace(Stage::Ended);
    }
}

impl Stopping {
    /// Whether exchanges in flight must end.
    pub(crate) fn is_ended(&self) -> bool {
        *self.0.borrow() == Stage::Ended
    }

    /// Waits until no new exchange may start. Waits for ever if the sender is gone.
    pub(crate) async fn draining(&mut self) {
        self.reached(Stage::Draining).await;
    }

    /// Waits until exchanges in flight must end.
    pub(crate) async fn ended(&mut self) {
        self.reached(Stage::Ended).await;
    }

    async fn reached(&mut self, target: Stage) {
        if self.0.wait_for(|stage| *stage >= target).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    alarm: tokio::signal::unix::Signal,
    user1: tokio::signal::unix::Signal,
    user2: tokio::signal::unix::Signal,
    terminal: Terminal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        // Before the handler of SIGHUP replaces what the process inherited.
        let terminal = Terminal::at_start();
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            alarm: signal(SignalKind::alarm())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            terminal,
        })
    }

    /// Waits for a signal. `None` if there will be none.
    async fn next(&mut self) -> Option<Request> {
        let (signal, request) = tokio::select! {
            signal = self.terminate.recv() => (signal, Request::Stop),
            signal = self.interrupt.recv() => (signal, Request::Stop),
            signal = self.quit.recv() => (signal, Request::Stop),
            signal = self.hangup.recv() => (signal, self.terminal.on_hangup()),
            signal = self.alarm.recv() => (signal, Request::Nothing),
            signal = self.user1.recv() => (signal, Request::Nothing),
            signal = self.user2.recv() => (signal, Request::Nothing),
        };
        signal.map(|()| request)
    }
}

/// The terminal that the process was started from. Closing it sends SIGHUP, like an operator who
/// asks for a reload.
#[cfg(unix)]
struct Terminal {
    /// Whether its end should end the process.
    ends_the_process: bool,
}

#[cfg(unix)]
impl Terminal {
    fn at_start() -> Self {
        Self {
            ends_the_process: Self::exists() && !Self::is_hangup_ignored(),
        }
    }

    fn on_hangup(&self) -> Request {
        if self.ends_the_process && !Self::exists() {
            Request::Drain
        } else {
            Request::Reload
        }
    }

    /// Whether the process has a controlling terminal.
    fn exists() -> bool {
        std::fs::File::open("/dev/tty").is_ok()
    }

    /// Whether SIGHUP was ignored at the start, as `nohup` has it. Known on Linux only.
    fn is_hangup_ignored() -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        ignores_hangup(&status)
    }
}

/// Reads the set of ignored signals in the text of `/proc/self/status`. SIGHUP is the first bit.
#[cfg(unix)]
fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    ignored.is_some_and(|set| set & 1 == 1)
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Option<Request> {
        let signal = tokio::signal::ctrl_c().await;
        signal.ok().map(|()| Request::Stop)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn the_first_signal_drains_and_the_second_ends() {
        let (mut stop, mut stopping) = channel();
        assert!(stopping.draining().now_or_never().is_none());
        stop.advance();
        assert!(stopping.draining().now_or_never().is_some());
        assert!(stopping.ended().now_or_never().is_none());
        stop.advance();
        assert!(stopping.ended().now_or_never().is_some());
    }

    #[test]
    fn a_closed_terminal_drains_and_never_ends_at_once() {
        let (mut stop, mut stopping) = channel();
        stop.drain();
        stop.drain();
        assert!(stopping.draining().now_or_never().is_some());
        assert!(stopping.ended().now_or_never().is_none());
    }

    #[cfg(unix)]
    #[test]
    fn a_hangup_that_the_process_inherited_as_ignored_is_recognised() {
        assert!(ignores_hangup("Name:\tx\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hangup("SigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }

    /// A runtime whose only worker is stuck until the sender is dropped.
    fn stuck() -> (Runtime, mpsc::Sender<()>) {
        let mut runtime = runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        runtime.spawn(async move {
            begun.send(()).unwrap();
            let _ = held.recv();
        });
        begins.recv_timeout(LIMIT).unwrap();
        (runtime, release)
    }

    #[cfg(unix)]
    #[test]
    fn signals_are_heard_while_all_workers_are_stuck() {
        let (runtime, release) = stuck();
        let mut stopping = on_signals(|| ()).unwrap();
        let terminate = || {
            let id = std::process::id().to_string();
            let mut kill = std::process::Command::new("kill");
            let sent = kill.args(["-s", "TERM", &id]).status();
            assert!(sent.unwrap().success());
        };
        terminate();
        let heard = runtime.block_on(async {
            tokio::select! {
                () = stopping.draining() => true,
                () = elapsed(LIMIT) => false,
            }
        });
        assert!(heard, "the first");
        terminate();
        let heard = runtime.block_on(async {
            tokio::select! {
                () = stopping.ended() => true,
                () = elapsed(LIMIT) => false,
            }
        });
        assert!(heard, "the second");
        drop(release);
    }

    #[test]
    fn time_passes_while_all_workers_are_stuck() {
        let (runtime, release) = stuck();
        let (send, passed) = mpsc::channel();
        let waiter = thread::spawn(move || {
            runtime.block_on(elapsed(Duration::from_millis(1)));
            send.send(()).unwrap();
        });
        assert_eq!(passed.recv_timeout(LIMIT), Ok(()));
        drop(release);
        waiter.join().unwrap();
    }

    #[test]
    fn a_stuck_worker_does_not_keep_the_runtime() {
        let (runtime, release) = stuck();
        let (send, ended) = mpsc::channel();
        thread::spawn(move || {
            end(runtime);
            send.send(()).unwrap();
        });
        assert_eq!(ended.recv_timeout(LIMIT), Ok(()));
        drop(release);
    }
}
