//! What `/metrics` shows: counts that whoever sees a thing happen adds to, written out when they are asked for.
//!
//! Labels take their values from lists and from what the operator named, never from a request: what clients may choose, such
//! as a model, would make series without end.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text},
    metrics::{
        counter::{self, Counter},
        family::Family,
        gauge::Gauge,
        histogram::Histogram,
        info::Info,
    },
    registry::{Registry, Unit},
};

use super::{Log, Usage};
use crate::ids::{AccountId, PluginId, UpstreamId};

/// The content type of what [`Metrics::write`] writes: the text format that Prometheus asks for first.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From what a person does not notice to the longest answers, in seconds.
const BUCKETS: [f64; 14] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 45.0, 90.0, 180.0, 300.0, 600.0,
];

/// Series that are there from the start, so that the first of a kind shows as a rise from 0.
const KINDS: [&str; 3] = ["messages", "count_tokens", "pass"];
const ENDINGS: [&str; 5] = ["complete", "truncated", "client_gone", "error", "answered"];
const RELOADS: [(&str, &str); 4] = [
    ("config", "applied"),
    ("config", "refused"),
    ("plugins", "applied"),
    ("plugins", "refused"),
];

/// The counts of the process; made once and handed down.
pub(crate) struct Metrics {
    registry: Registry,
    exchanges: Family<OfExchange, Counter>,
    saved: Counter,
    total: Family<OfKind, Histogram, fn() -> Histogram>,
    first_event: Histogram,
    streams: Gauge,
    attempts: Family<OfAttempt, Counter>,
    retries: Family<OfRetry, Counter>,
    tokens: Family<OfTokens, Counter>,
    calls: Family<OfHook, Counter>,
    guarded: Family<OfHook, Counter>,
    failures: Family<OfHook, Counter>,
    busy: Family<OfHook, Counter<f64, Nanos>>,
    reloads: Family<OfReload, Counter>,
    dropped_lines: Counter,
}

/// What came of an exchange.
pub(crate) struct Ended<'a> {
    pub(crate) kind: &'static str,
    pub(crate) ending: &'static str,
    /// Whether a plugin answered so that no upstream was asked.
    pub(crate) saved: bool,
    /// The last that was asked.
    pub(crate) upstream: Option<&'a UpstreamId>,
    pub(crate) usage: Usage,
    pub(crate) total: Duration,
    pub(crate) first_event: Option<Duration>,
}

/// What is not counted but looked at when the metrics are asked for.
pub(crate) struct Moment {
    pub(crate) generation: u64,
    /// Plugin instances that live, and how many may.
    pub(crate) slots: (usize, usize),
    /// How many accounts rest, by upstream, or whether one rests, by account.
    pub(crate) resting: Vec<(UpstreamId, Option<AccountId>, usize)>,
}

/// The counts of one plugin's hook, looked up once.
#[derive(Clone, Debug, Default)]
pub(crate) struct HookMeter {
    calls: Counter,
    guarded: Counter,
    failures: Counter,
    busy: Counter<f64, Nanos>,
}

/// A call under way; its time is counted when this is dropped, so that one that is cut short counts as well.
pub(crate) struct Call<'a> {
    meter: &'a HookMeter,
    begun: Instant,
}

/// A stream that is going to a client.
pub(crate) struct OpenStream(Gauge);

impl Metrics {
    pub(crate) fn new() -> Self {
        Self::counting(Counter::default())
    }

    /// With the lines that this log drops.
    pub(crate) fn of(log: &Log) -> Self {
        Self::counting(log.dropped_lines())
    }

    fn counting(dropped_lines: Counter) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let mut metrics = Self {
            registry: Registry::with_prefix("witgate"),
            exchanges: Family::default(),
            saved: Counter::default(),
            total: Family::new_with_constructor(histogram),
            first_event: histogram(),
            streams: Gauge::default(),
            attempts: Family::default(),
            retries: Family::default(),
            tokens: Family::default(),
            calls: Family::default(),
            guarded: Family::default(),
            failures: Family::default(),
            busy: Family::default(),
            reloads: Family::default(),
            dropped_lines,
        };
        metrics.register();
        for kind in KINDS {
            for ending in ENDINGS {
                drop(
                    metrics
                        .exchanges
                        .get_or_create(&OfExchange { kind, ending }),
                );
            }
            drop(metrics.total.get_or_create(&OfKind { kind }));
        }
        for (what, result) in RELOADS {
            drop(metrics.reloads.get_or_create(&OfReload { what, result }));
        }
        metrics
    }

    /// An exchange has ended, however it did.
    pub(crate) fn ended(&self, ended: &Ended<'_>) {
        let Ended {
            kind,
            ending,
            saved,
            upstream,
            usage,
            total,
            first_event,
        } = *ended;
        self.exchanges
            .get_or_create(&OfExchange { kind, ending })
            .inc();
        self.total
            .get_or_create(&OfKind { kind })
            .observe(total.as_secs_f64());
        if let Some(first_event) = first_event {
            self.first_event.observe(first_event.as_secs_f64());
        }
        if saved {
            self.saved.inc();
        }
        let Some(upstream) = upstream else { return };
        for (r#type, count) in usage.counts() {
            let upstream = upstream.clone();
            self.tokens
                .get_or_create(&OfTokens { upstream, r#type })
                .inc_by(count);
        }
    }

    /// An attempt has ended with this status of the upstream, 0 where none came.
    pub(crate) fn attempt(&self, upstream: &UpstreamId, status: u16) {
        let upstream = upstream.clone();
        let status = Status(status);
        self.attempts
            .get_or_create(&OfAttempt { upstream, status })
            .inc();
    }

    /// Another attempt is made, because of this.
    pub(crate) fn retry(&self, cause: &'static str) {
        self.retries.get_or_create(&OfRetry { cause }).inc();
    }

    pub(crate) fn stream(&self) -> OpenStream {
        self.streams.inc();
        OpenStream(self.streams.clone())
    }

    /// The handles of a plugin's hook. They stay the same for as long as the process lives, whatever is loaded under the name.
    pub(crate) fn hook(&self, plugin: &PluginId, hook: &'static str) -> HookMeter {
        let plugin = plugin.clone();
        let of = OfHook { plugin, hook };
        HookMeter {
            calls: self.calls.get_or_create_owned(&of),
            guarded: self.guarded.get_or_create_owned(&of),
            failures: self.failures.get_or_create_owned(&of),
            busy: self.busy.get_or_create_owned(&of),
        }
    }

    /// `what` is `config` or `plugins`.
    pub(crate) fn reload(&self, what: &'static str, applied: bool) {
        let result = if applied { "applied" } else { "refused" };
        self.reloads.get_or_create(&OfReload { what, result }).inc();
    }

    /// All of it as text.
    pub(crate) fn write(&self, moment: &Moment) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode_registry(&mut text, &self.registry)?;
        // A registry of its own, so that two who ask at the same time do not get into each other's way.
        text::encode_registry(&mut text, &moment.registry())?;
        text::encode_eof(&mut text)?;
        Ok(text)
    }

    /// Names and what they mean; docs/operations.md has the same table.
    fn register(&mut self) {
        let registry = &mut self.registry;
        let version = OfBuild {
            version: env!("CARGO_PKG_VERSION"),
        };
        registry.register("build", "This gateway", Info::new(version));
        let exchanges = self.exchanges.clone();
        registry.register(
            "exchanges",
            "Exchanges that ended, by kind and ending",
            exchanges,
        );
        let help = "Exchanges that a plugin answered so that no upstream was asked";
        registry.register("exchanges_saved", help, self.saved.clone());
        let help = "Time from a request's head to the end of its answer";
        let seconds = || Unit::Seconds;
        registry.register_with_unit("exchange_duration", help, seconds(), self.total.clone());
        let help = "Time from a request's head to the first event of a streamed answer";
        registry.register_with_unit("first_event", help, seconds(), self.first_event.clone());
        let help = "Streams that are going to clients now";
        registry.register("open_streams", help, self.streams.clone());
        let help = "Attempts by upstream and its status, `none` where no answer came";
        registry.register("attempts", help, self.attempts.clone());
        let help = "Attempts made because an earlier one failed, by the cause of that";
        registry.register("retries", help, self.retries.clone());
        let help = "Tokens as upstreams reported them, by upstream and type";
        registry.register("tokens", help, self.tokens.clone());
        registry.register(
            "plugin_calls",
            "Calls of a plugin's hook",
            self.calls.clone(),
        );
        let help = "Calls of a plugin's hook not made because its guard did not hold";
        registry.register("plugin_guard_skips", help, self.guarded.clone());
        let help = "Calls of a plugin's hook that failed";
        registry.register("plugin_failures", help, self.failures.clone());
        let help = "Time that calls of a plugin's hook took";
        registry.register_with_unit("plugin_call", help, seconds(), self.busy.clone());
        let help = "Changes of files that came into force or were refused";
        registry.register("reloads", help, self.reloads.clone());
        let help = "Lines of the log that were dropped because standard error was not read";
        registry.register("log_lines_dropped", help, self.dropped_lines.clone());
    }
}

impl Moment {
    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("witgate");
        let gauge = |value: usize| {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            gauge
        };
        let generation = Gauge::<u64, AtomicU64>::default();
        generation.set(self.generation);
        registry.register("generation", "The set of plugins in force", generation);
        let (used, all) = self.slots;
        let help = "Plugin instances that live or are reserved";
        registry.register("plugin_slots_in_use", help, gauge(used));
        registry.register("plugin_slots", "Plugin instances that may live", gauge(all));
        // A list, because where accounts are not to be named the label is not there at all.
        let resting = Family::<Vec<(&str, String)>, Gauge>::default();
        for (upstream, account, count) in &self.resting {
            let upstream = ("upstream", upstream.to_string());
            let account = account.as_ref().map(|name| ("account", name.to_string()));
            let of = std::iter::once(upstream).chain(account).collect();
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            resting.get_or_create(&of).inc_by(count);
        }
        registry.register("accounts_resting", "Accounts that rest now", resting);
        registry
    }
}

impl HookMeter {
    /// A call begins.
    pub(crate) fn call(&self) -> Call<'_> {
        self.calls.inc();
        Call {
            meter: self,
            begun: Instant::now(),
        }
    }

    /// A call was not made, because the guard did not hold.
    pub(crate) fn guarded(&self) {
        self.guarded.inc();
    }

    pub(crate) fn failed(&self) {
        self.failures.inc();
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.meter.busy.inner().add(self.begun.elapsed());
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Time as a whole number, because a sum of them is one atomic step, and shown in seconds.
#[derive(Debug, Default)]
struct Nanos(AtomicU64);

impl Nanos {
    fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Relaxed);
    }
}

impl counter::Atomic<f64> for Nanos {
    fn inc(&self) -> f64 {
        self.inc_by(1.0)
    }

    fn inc_by(&self, seconds: f64) -> f64 {
        let before = self.get();
        self.add(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        before
    }

    fn get(&self) -> f64 {
        Duration::from_nanos(self.0.load(Relaxed)).as_secs_f64()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBuild {
    version: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfExchange {
    kind: &'static str,
    ending: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAttempt {
    upstream: UpstreamId,
    status: Status,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRetry {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTokens {
    upstream: UpstreamId,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHook {
    plugin: PluginId,
    hook: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReload {
    what: &'static str,
    result: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Status(u16);

impl EncodeLabelValue for Status {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self.0 {
            0 => "none".encode(encoder),
            status => status.encode(encoder),
        }
    }
}

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                self.as_str().encode(encoder)
            }
        }
    )*};
}

as_text!(PluginId UpstreamId);

#[cfg(test)]
mod tests {
    use super::*;

    fn written(metrics: &Metrics, resting: &[(&str, Option<&str>, usize)]) -> String {
        let resting = resting.iter().map(|(upstream, account, count)| {
            let account = account.map(|name| name.parse().unwrap());
            (upstream.parse().unwrap(), account, *count)
        });
        let moment = Moment {
            generation: 3,
            slots: (2, 1_000),
            resting: resting.collect(),
        };
        metrics.write(&moment).unwrap()
    }

    #[track_caller]
    fn has(text: &str, line: &str) {
        assert!(
            text.lines().any(|other| other == line),
            "no `{line}` in {text}"
        );
    }

    fn ended<'a>(ending: &'static str, upstream: Option<&'a UpstreamId>) -> Ended<'a> {
        Ended {
            kind: "messages",
            ending,
            saved: false,
            upstream,
            usage: Usage::default(),
            total: Duration::from_millis(700),
            first_event: None,
        }
    }

    #[test]
    fn an_exchange_is_counted_with_its_ending_time_and_tokens() {
        let metrics = Metrics::new();
        let upstream = "up".parse().unwrap();
        let mut usage = Usage::default();
        usage.of_message(br#"{"usage":{"input_tokens":7,"output_tokens":3}}"#);
        metrics.ended(&Ended {
            usage,
            first_event: Some(Duration::from_millis(60)),
            ..ended("complete", Some(&upstream))
        });
        metrics.ended(&Ended {
            saved: true,
            ..ended("answered", None)
        });
        let text = written(&metrics, &[]);
        for line in [
            r#"witgate_exchanges_total{kind="messages",ending="complete"} 1"#,
            r#"witgate_exchanges_total{kind="messages",ending="error"} 0"#,
            "witgate_exchanges_saved_total 1",
            r#"witgate_exchange_duration_seconds_bucket{le="0.5",kind="messages"} 0"#,
            r#"witgate_exchange_duration_seconds_bucket{le="1.0",kind="messages"} 2"#,
            r#"witgate_first_event_seconds_bucket{le="0.1"} 1"#,
            "witgate_first_event_seconds_count 1",
            r#"witgate_tokens_total{upstream="up",type="input"} 7"#,
            r#"witgate_tokens_total{upstream="up",type="output"} 3"#,
        ] {
            has(&text, line);
        }
        assert!(!text.contains("cache_read"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn an_attempt_without_an_answer_has_no_status() {
        let metrics = Metrics::new();
        let upstream = "up".parse().unwrap();
        for status in [0, 429, 429] {
            metrics.attempt(&upstream, status);
        }
        metrics.retry("rate_limited");
        let text = written(&metrics, &[]);
        has(
            &text,
            r#"witgate_attempts_total{upstream="up",status="none"} 1"#,
        );
        has(
            &text,
            r#"witgate_attempts_total{upstream="up",status="429"} 2"#,
        );
        has(&text, r#"witgate_retries_total{cause="rate_limited"} 1"#);
    }

    #[test]
    fn a_call_is_counted_with_its_time_and_a_stream_while_it_is_open() {
        let metrics = Metrics::new();
        let meter = metrics.hook(&"rule".parse().unwrap(), "attempt");
        drop(meter.call());
        meter.guarded();
        meter.failed();
        let stream = metrics.stream();
        has(&written(&metrics, &[]), "witgate_open_streams 1");
        drop(stream);
        let text = written(&metrics, &[]);
        has(&text, "witgate_open_streams 0");
        for name in ["plugin_calls", "plugin_guard_skips", "plugin_failures"] {
            has(
                &text,
                &format!(r#"witgate_{name}_total{{plugin="rule",hook="attempt"}} 1"#),
            );
        }
        let time = r#"witgate_plugin_call_seconds_total{plugin="rule",hook="attempt"} "#;
        let time = text
            .lines()
            .find_map(|line| line.strip_prefix(time))
            .unwrap();
        let time: f64 = time.parse().unwrap();
        assert!(0.0 < time && time < 10.0, "{time}");
    }

    #[test]
    fn what_is_looked_at_is_there_anew_each_time() {
        let metrics = Metrics::new();
        let text = written(&metrics, &[("a", Some("x\"y"), 1), ("b", None, 2)]);
        has(&text, "witgate_generation 3");
        has(&text, "witgate_plugin_slots_in_use 2");
        has(&text, "witgate_plugin_slots 1000");
        has(
            &text,
            r#"witgate_accounts_resting{upstream="a",account="x\"y"} 1"#,
        );
        has(&text, r#"witgate_accounts_resting{upstream="b"} 2"#);
        let text = written(&metrics, &[]);
        assert!(!text.contains("accounts_resting"), "{text}");
    }
}
