//! The log and the metrics.
//!
//! The log has lines on standard error: a fixed sentence, and fields that vary.

mod stderr; // writes the log without waiting for its reader
mod metrics; // the counts that `/metrics` shows
mod format; // the text formats of `/metrics`
mod usage; // tokens, as upstreams report them

use std::{
    fmt,
    io::{self, IsTerminal},
    sync::Arc,
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tracing::field::Field;
use tracing_subscriber::{
    Layer, Registry,
    field::MakeExt,
    filter::{LevelFilter, ParseError, Targets},
    fmt::{
        FormatFields,
        format::{Writer, debug_fn},
        layer,
    },
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::fault::Fault;

use stderr::{Lines, Queue, Urgency};

pub(crate) use self::{
    format::MetricsFormat,
    metrics::{Call, Ended, HookMeter, Metrics, Moment, OpenStream},
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
    let lines = layer().with_writer(Lines(Arc::clone(&queue)));
    let lines = match io::stderr().is_terminal() {
        true => lines.boxed(),
        false => lines.with_ansi(false).fmt_fields(plain_fields()).boxed(),
    };
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

/// Writes fields as the default does without colours. The default asks for the style of each name
/// and each `=`, which costs 3 % of the instructions of a small request.
fn plain_fields() -> impl for<'writer> FormatFields<'writer> {
    let field = |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        if field.name() != "message" {
            writer.write_str(field.name())?;
            writer.write_char('=')?;
        }
        write!(writer, "{value:?}")
    };
    debug_fn(field).delimited(" ")
}

fn parse(filter: &str) -> Result<Targets, Fault> {
    targets(filter).map_err(|error| {
        Fault::gateway(format!(
            "got log filter `{filter}`, expected a level or a list such as `info,witgate=debug`"
        ))
        .from(error)
    })
}

/// The words for levels in other programs, with the level that each means.
const LEVELS_OF_OTHERS: [(&str, &str); 14] = [
    ("all", "trace"),
    ("critical", "error"),
    ("crit", "error"),
    ("err", "error"),
    ("fatal", "error"),
    ("information", "info"),
    ("none", "off"),
    ("notice", "info"),
    ("quiet", "off"),
    ("silent", "off"),
    ("verbose", "debug"),
    ("warning", "warn"),
    ("warnings", "warn"),
    ("disabled", "off"),
];

/// Parses a filter: a level, or levels by module.
///
/// A part without `=` must be a level: the parser would take any other word for a module, and the
/// rest of the log would be off. Empty parts are ignored, because the parser would read one as the
/// level `error`, and so would it `=`.
pub(crate) fn targets(filter: &str) -> Result<Targets, String> {
    let parts = filter.split(',').map(str::trim);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    if let Some(part) = parts
        .iter()
        .find(|part| part.starts_with('=') || part.ends_with('='))
    {
        return Err(format!("`{part}` has no module or no level"));
    }
    for part in &parts {
        let level = part.rsplit_once('=').map_or(*part, |(_, level)| level);
        check_level(level.trim())?;
    }
    let targets = parts.join(",").parse();
    targets.map_err(|error: ParseError| error.to_string())
}

fn check_level(level: &str) -> Result<(), String> {
    if level.parse::<LevelFilter>().is_ok() {
        return Ok(());
    }
    let mut known = LEVELS_OF_OTHERS.iter();
    let meant = known.find(|(word, _)| level.eq_ignore_ascii_case(word));
    let meant = meant.map(|(_, meant)| format!(", did you mean `{meant}`?"));
    Err(format!(
        "`{level}` is not a level, expected `off`, `error`, `warn`, `info`, `debug` or `trace`{}",
        meant.unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_not_a_level_is_rejected_with_the_level_that_is_meant() {
        for (filter, meant) in [
            ("warning", "`warn`?"),
            ("WARNING", "`warn`?"),
            ("info,witgate=warning", "`warn`?"),
            ("witgate=debug,fatal", "`error`?"),
            ("warm", "or `trace`"),
            ("witgate", "or `trace`"),
        ] {
            let error = targets(filter).unwrap_err();
            assert!(error.ends_with(meant), "{filter}: {error}");
        }
        for filter in ["off", "WARN", "warn,witgate::exchange=debug", "3"] {
            assert!(targets(filter).is_ok(), "{filter}");
        }
    }

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
