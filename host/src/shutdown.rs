//! When to stop: the first signal ends the accepting of connections, the second ends everything.

use tokio::sync::watch;

use crate::fault::Fault;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Stage {
    Running,
    /// What runs may end, nothing new begins.
    Draining,
    /// Not even that.
    Ended,
}

/// Says when to stop, to any number of listeners.
pub(crate) struct Stop(watch::Sender<Stage>);

/// Hears when to stop.
#[derive(Clone)]
pub(crate) struct Stopping(watch::Receiver<Stage>);

pub(crate) fn channel() -> (Stop, Stopping) {
    let (sender, receiver) = watch::channel(Stage::Running);
    (Stop(sender), Stopping(receiver))
}

/// Listens to SIGTERM and SIGINT, on Windows to Ctrl-C, from now on.
pub(crate) fn on_signals() -> Result<Stopping, Fault> {
    let (mut stop, stopping) = channel();
    let mut signals = Signals::listen()?;
    tokio::spawn(async move {
        while signals.next().await {
            stop.advance();
        }
    });
    Ok(stopping)
}

impl Stop {
    /// First call: drain. Second call: end.
    pub(crate) fn advance(&mut self) {
        // `send_modify`, because `send` changes nothing when nobody is subscribed.
        self.0.send_modify(|stage| {
            *stage = match stage {
                Stage::Running => Stage::Draining,
                Stage::Draining | Stage::Ended => Stage::Ended,
            };
        });
    }
}

impl Stopping {
    /// Waits until nothing new may begin. For ever, if whoever could say so is gone.
    pub(crate) async fn draining(&mut self) {
        self.reached(Stage::Draining).await;
    }

    /// Waits until what runs must end at once.
    pub(crate) async fn ended(&mut self) {
        self.reached(Stage::Ended).await;
    }

    async fn reached(&mut self, wanted: Stage) {
        if self.0.wait_for(|stage| *stage >= wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Result<Self, Fault> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind).map_err(|error| Fault::gateway("cannot listen to signals").from(error))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Whether there was a signal; `false` means that there will be none.
    async fn next(&mut self) -> bool {
        tokio::select! {
            signal = self.terminate.recv() => signal.is_some(),
            signal = self.interrupt.recv() => signal.is_some(),
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Result<Self, Fault> {
        Ok(Self)
    }

    async fn next(&mut self) -> bool {
        tokio::signal::ctrl_c().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

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
}
