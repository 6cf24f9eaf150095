//! The log and the metrics.
//!
//! The log has lines on standard error: a fixed sentence, and fields that vary.

mod stderr; // writes the log without waiting for its reader
mod metrics; // the counts that `/metrics` shows
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

use stderr::{Lines, Queue, Urgency};

pub(crate) use self::{
    metrics::{Call, Ended, HookMeter, Metrics, Moment, OPEN_METRICS, OpenStream},
    usage::Usage,
};

/// How long the process waits for the log to be read before it ends.
const FLUSH: Duration = Duration::from_secs(1);

/// The running log. Its filter can be changed.
#[derive(Clone)]
pub(crate) struct Log {
    filter: reload::Handle<Targets, Registry>,
    queue: Arc<Queue>,
}

/// Starts the log, once per process.
pub(crate) fn init(filter: &str) -> Result<Log, Fault> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let queue = Queue::start()
        .map_err(|error| Fault::gateway("cannot start the log thread").from(error))?;
    let lines = fmt::layer()
        .with_writer(Lines(Arc::clone(&queue)))
        .with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|error| Fault::gateway("cannot start the log").from(error))?;
    Ok(Log {
        filter: handle,
        queue,
    })
}

impl Log {
    /// Changes the filter.
    pub(crate) fn filter(&self, filter: &str) -> Result<(), Fault> {
        let filter = parse(filter)?;
        self.filter
            .reload(filter)
            .map_err(|error| Fault::gateway("cannot change the log filter").from(error))
    }

    /// Writes a text that is not a log line, in order with the lines.
    pub(crate) fn print(&self, text: &str) {
        self.queue.add(text.as_bytes(), Urgency::AtOnce);
    }

    /// Waits until the log is written, for a limited time. Called before the process ends.
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
            "got log filter `{filter}`, expected a level or a list such as `info,witgate=debug`"
        ))
        .from(error)
    })
}

/// Parses a filter: a level, or levels by module. Empty parts are ignored, because the parser would
/// read one as the level `error`, and so would it `=`.
pub(crate) fn targets(filter: &str) -> Result<Targets, String> {
    let parts = filter.split(',').map(str::trim);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    if let Some(part) = parts
        .iter()
        .find(|part| part.starts_with('=') || part.ends_with('='))
    {
        return Err(format!("`{part}` has no module or no level"));
    }
    let targets = parts.join(",").parse();
    targets.map_err(|error: ParseError| error.to_string())
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
