//! The text formats of `/metrics`.

use std::{borrow::Cow, fmt::Write};

/// A format that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricsFormat {
    /// Only for those who ask for it: the others show it as a download.
    OpenMetrics,
    /// Prometheus's own text format, which every scraper and browser reads.
    Text,
}

impl MetricsFormat {
    /// The format for these values of the `accept` header.
    pub(crate) fn accepted<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let mut ranges = accept.into_iter().flat_map(|value| value.split(','));
        let is_open = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            kind.eq_ignore_ascii_case("application/openmetrics-text")
                && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
        };
        match ranges.any(is_open) {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Converts a text in `OpenMetrics` to this format.
    pub(super) fn of_open_metrics(self, text: String) -> String {
        match self {
            Self::OpenMetrics => text,
            Self::Text => {
                let mut converted = String::with_capacity(text.len());
                for line in text.lines().filter_map(text_line) {
                    // Writing to a string cannot fail.
                    let _ = writeln!(converted, "{line}");
                }
                converted
            }
        }
    }
}

/// Converts a line. In the text format, `TYPE` has the name of the samples. The types `info` and
/// `unknown` and the comments `UNIT` and `EOF` do not exist in it.
fn text_line(line: &str) -> Option<Cow<'_, str>> {
    let Some(comment) = line.strip_prefix("# ") else {
        return Some(line.into());
    };
    let mut words = comment.splitn(3, ' ');
    match (words.next()?, words.next(), words.next()) {
        ("UNIT" | "EOF", _, _) => None,
        ("TYPE", Some(name), Some("counter")) => {
            Some(format!("# TYPE {name}_total counter").into())
        }
        ("TYPE", Some(name), Some("info")) => Some(format!("# TYPE {name}_info gauge").into()),
        ("TYPE", Some(name), Some("unknown")) => Some(format!("# TYPE {name} untyped").into()),
        _ => Some(line.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_accept_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5,*/*;q=0.1";
        for (accept, expected) in [
            (&[][..], MetricsFormat::Text),
            (&["*/*"], MetricsFormat::Text),
            (&["text/html,application/xhtml+xml"], MetricsFormat::Text),
            (&[prometheus], MetricsFormat::OpenMetrics),
            (
                &["text/plain", "Application/OpenMetrics-Text"],
                MetricsFormat::OpenMetrics,
            ),
            (&["application/openmetrics-text; q=0"], MetricsFormat::Text),
        ] {
            let accepted = MetricsFormat::accepted(accept.iter().copied());
            assert_eq!(accepted, expected, "{accept:?}");
        }
    }

    #[test]
    fn types_have_the_names_of_their_samples_in_the_text_format() {
        let open = "# HELP a_seconds A.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                    a_seconds_total{x=\"# EOF\"} 1\n# TYPE build info\nbuild_info 1\n\
                    # TYPE g gauge\ng 2\n# EOF\n";
        let text = "# HELP a_seconds A.\n# TYPE a_seconds_total counter\n\
                    a_seconds_total{x=\"# EOF\"} 1\n# TYPE build_info gauge\nbuild_info 1\n\
                    # TYPE g gauge\ng 2\n";
        assert_eq!(MetricsFormat::Text.of_open_metrics(open.to_owned()), text);
        assert_eq!(
            MetricsFormat::OpenMetrics.of_open_metrics(open.to_owned()),
            open
        );
    }
}
