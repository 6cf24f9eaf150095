//! The log: lines on standard error, filtered as the configuration says. Fixed sentences, varying fields. And the counts,
//! in `metrics`.

mod line; // what a line of the log looks like
mod stderr; // where it goes, whether it is read or not
mod metrics; // what /metrics shows
mod usage; // tokens, as upstreams report them

use std::{
    io::{self, IsTerminal},
    sync::Arc,
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::{
    Registry,
    filter::{ParseError, Targets},
    fmt,
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::fault::Fault;

use line::{Fields, Line};
use stderr::Queue;

pub(crate) use self::{
    metrics::{Call, Ended, HookMeter, Metrics, Moment, OPEN_METRICS, OpenStream},
    usage::Usage,
};

/// How long the process waits at its end for the log to be read.
const FLUSH: Duration = Duration::from_secs(1);

/// The running log, whose filter can be changed.
#[derive(Clone)]
pub(crate) struct Log {
    filter: reload::Handle<Targets, Registry>,
    queue: Arc<Queue>,
}

/// Begins to log. Once per process.
pub(crate) fn init(filter: &str) -> Result<Log, Fault> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let queue = Queue::start()
        .map_err(|error| Fault::gateway("cannot start the thread of the log").from(error))?;
    let lines = fmt::layer()
        .event_format(Line::default())
        .fmt_fields(Fields)
        .with_writer(Arc::clone(&queue))
        .with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|error| Fault::gateway("the log cannot be started").from(error))?;
    Ok(Log {
        filter: handle,
        queue,
    })
}

impl Log {
    /// Logs by another filter from now on.
    pub(crate) fn filter(&self, filter: &str) -> Result<(), Fault> {
        let filter = parse(filter)?;
        self.filter
            .reload(filter)
            .map_err(|error| Fault::gateway("the log's filter cannot be changed").from(error))
    }

    /// Writes a text that is no line of the log, in its order.
    pub(crate) fn print(&self, text: &str) {
        self.queue.add(text.as_bytes());
    }

    /// Waits for what was logged to be written, but not for a reader that has stalled. To be called
    /// before the process ends.
    pub(crate) fn flush(&self) {
        self.queue.flush(FLUSH);
    }

    fn dropped_lines(&self) -> Counter {
        self.queue.dropped()
    }
}

fn parse(filter: &str) -> Result<Targets, Fault> {
    targets(filter).map_err(|error| {
        Fault::gateway(format!(
            "`{filter}` is no log filter; wanted is a level or a list like `info,witgate=debug`"
        ))
        .from(error)
    })
}

/// Reads a filter: a level, or levels by module. Empty parts are ignored, because the parser would
/// take one for the level `error`.
pub(crate) fn targets(filter: &str) -> Result<Targets, ParseError> {
    let parts = filter.split(',').map(str::trim);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join(",").parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named() {
        assert!(parse("info,witgate=debug").is_ok());
        assert!(parse("witgate=loud").is_err_and(|fault| fault.to_string().contains("loud")));
    }

    #[test]
    fn an_empty_part_of_a_filter_is_ignored() {
        let filter = targets("info,witgate=debug").unwrap();
        assert_eq!(targets(" info,, witgate=debug,").unwrap(), filter);
    }
}
