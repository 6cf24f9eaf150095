//! Formats log lines exactly as the library does by default, in less time.
//!
//! The library applies a style to each piece of a line, even without colours, and the line of an
//! exchange has twenty fields.

use std::{
    fmt::{self, Debug},
    time::SystemTime,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput},
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{DefaultVisitor, Format, Writer},
    },
    registry::LookupSpan,
};

/// Time, level, target, fields.
#[derive(Default)]
pub(super) struct Line {
    /// Formats what this module does not: colours, and spans, which only libraries use.
    library: Format,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if writer.has_ansi_escapes() || context.event_scope().is_some() {
            return self.library.format_event(context, writer, event);
        }
        // A time before 1970 has no such format.
        let now = SystemTime::now().max(SystemTime::UNIX_EPOCH);
        write!(writer, "{}", humantime::format_rfc3339_micros(now))?;
        writer.write_str(match *event.metadata().level() {
            Level::TRACE => " TRACE ",
            Level::DEBUG => " DEBUG ",
            Level::INFO => "  INFO ",
            Level::WARN => "  WARN ",
            Level::ERROR => " ERROR ",
        })?;
        writer.write_str(event.metadata().target())?;
        writer.write_str(": ")?;
        Fields.format_fields(writer.by_ref(), event)?;
        writer.write_char('\n')
    }
}

/// Formats fields as `name=value`, and the message without its name.
pub(super) struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut writing = Writing {
            writer,
            is_first: true,
            result: Ok(()),
        };
        fields.record(&mut writing);
        writing.result
    }
}

struct Writing<'a> {
    writer: Writer<'a>,
    is_first: bool,
    /// The first error. Nothing is written after it.
    result: fmt::Result,
}

impl Writing<'_> {
    fn named(&mut self, field: &Field, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.write_named(field, write);
        }
    }

    fn write_named(
        &mut self,
        field: &Field,
        write: impl FnOnce(&mut Writer<'_>) -> fmt::Result,
    ) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        self.writer.write_str(field.name())?;
        self.writer.write_char('=')?;
        write(&mut self.writer)
    }

    /// Lets the library format a field with rules of its own. A line has few of them.
    fn by_library(&mut self, record: impl FnOnce(&mut DefaultVisitor<'_>)) {
        if self.result.is_err() {
            return;
        }
        let mut library = DefaultVisitor::new(self.writer.by_ref(), self.is_first);
        record(&mut library);
        self.result = library.finish();
        self.is_first = false;
    }

    fn is_plain(&self, field: &Field) -> bool {
        !self.writer.has_ansi_escapes()
            && field.name() != "message"
            && !field.name().starts_with("r#")
    }
}

impl Visit for Writing<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if !self.is_plain(field) {
            return self.record_debug(field, &value);
        }
        self.named(field, |writer| {
            let mut digits = [0; 20];
            writer.write_str(decimal(value, &mut digits))
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // Such bytes need no escape.
        let plain = |byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if !self.is_plain(field) {
            return self.by_library(|library| library.record_str(field, value));
        }
        if !value.bytes().all(plain) {
            return self.record_debug(field, &value);
        }
        self.named(field, |writer| {
            writer.write_char('"')?;
            writer.write_str(value)?;
            writer.write_char('"')
        });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.by_library(|library| library.record_error(field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.is_plain(field) {
            self.named(field, |writer| write!(writer, "{value:?}"));
        } else {
            self.by_library(|library| library.record_debug(field, value));
        }
    }
}

fn decimal(mut value: u64, digits: &mut [u8; 20]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        // A digit fits into a byte.
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return std::str::from_utf8(&digits[at..]).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing::{debug, error, info, info_span, subscriber, trace, warn};
    use tracing_subscriber::{Layer, Registry, fmt, layer::SubscriberExt};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Logs the same events and returns the lines without their times.
    fn written(layer: impl FnOnce(Lines) -> Box<dyn Layer<Registry> + Send + Sync>) -> String {
        let lines = Lines::default();
        let logs = tracing_subscriber::registry().with(layer(lines.clone()));
        subscriber::with_default(logs, || {
            let failed = io::Error::other("a \"cause\"\u{1b}[31m");
            trace!("no field");
            debug!(id = %"req_1", text = "plain", n = 0_u64, most = u64::MAX, "message");
            info!(
                less = -1_i64,
                small = 7_u16,
                yes = true,
                part = 0.5,
                none = None::<u64>,
                "x"
            );
            warn!(
                quote = "a \"b\" \\ 'c'",
                line = "a\nb",
                wide = "é\u{301}\u{200b}",
                "{}",
                "\u{1b}[31m\u{9b}"
            );
            error!(error = &failed as &(dyn std::error::Error + 'static), r#type = "t", list = ?[1], "y");
            info!(only = "a field");
            info!(message = "a text", r#type = 7_u64);
            info_span!("span", of = "a library").in_scope(|| info!(a = 1_u64, "within"));
        });
        let bytes = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        let time = "2026-11-22T00:00:00.000000Z".len();
        let untimed = text.lines().map(|line| {
            let (time, after) = line.split_at(time);
            assert!(
                humantime::parse_rfc3339(time).is_ok() && time.ends_with('Z'),
                "{line}"
            );
            format!("{after}\n")
        });
        untimed.collect()
    }

    #[test]
    fn a_line_is_the_same_as_from_the_library() {
        let ours = written(|lines| {
            let layer = fmt::layer()
                .event_format(Line::default())
                .fmt_fields(Fields);
            let layer = layer.with_ansi(false);
            Box::new(layer.with_writer(move || lines.clone()))
        });
        let theirs = written(|lines| {
            let layer = fmt::layer().with_ansi(false);
            Box::new(layer.with_writer(move || lines.clone()))
        });
        assert_eq!(ours, theirs);
        assert!(
            ours.starts_with(" TRACE witgate::telemetry::line::tests: no field\n"),
            "{ours}"
        );
    }
}
