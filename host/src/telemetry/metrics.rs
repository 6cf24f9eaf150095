//! The metrics of the process, which `/metrics` writes as text.
//!
//! Label values come from fixed lists and from the configuration, never from a request. Values that
//! clients choose, such as models, would create an unlimited number of series.

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

use super::{Log, Usage, format::MetricsFormat};
use crate::ids::{AccountId, PluginId, UpstreamId};

/// Bucket bounds in seconds, from an unnoticed delay to the longest responses.
const BUCKETS: [f64; 14] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 45.0, 90.0, 180.0, 300.0, 600.0,
];

/// Labels whose series exist from the start, so that the first event shows as a rise from 0.
const KINDS: [&str; 3] = ["messages", "count_tokens", "passthrough"];
const ENDINGS: [&str; 5] = ["complete", "truncated", "client_gone", "error", "answered"];
/// Who may break a prefix, besides plugins.
const CULPRITS: [&str; 4] = ["client", "route", "account", "gateway"];
const RELOADS: [(&str, &str); 4] = [
    ("config", "applied"),
    ("config", "rejected"),
    ("plugins", "applied"),
    ("plugins", "rejected"),
];

/// The metrics of the process. Made once and shared.
pub(crate) struct Metrics {
    registry: Registry,
    exchanges: Family<OfExchange, Counter>,
    saved: Counter,
    total: Family<OfKind, Histogram, fn() -> Histogram>,
    first_event: Histogram,
    streams: Gauge,
    attempts: Family<OfAttempt, Counter>,
    retries: Family<OfRetry, Counter>,
    prefix_breaks: Family<OfBreak, Counter>,
    tokens: Family<OfTokens, Counter>,
    calls: Family<OfHook, Counter>,
    guard_skips: Family<OfHook, Counter>,
    failures: Family<OfHook, Counter>,
    busy: Family<OfHook, Counter<f64, Nanos>>,
    reloads: Family<OfReload, Counter>,
    dropped_lines: Counter,
}

/// The result of an exchange.
pub(crate) struct Ended<'a> {
    pub(crate) kind: &'static str,
    pub(crate) ending: &'static str,
    /// Whether a plugin answered and no upstream was contacted.
    pub(crate) saved: bool,
    /// The last upstream that was contacted.
    pub(crate) upstream: Option<&'a UpstreamId>,
    pub(crate) usage: Usage,
    pub(crate) total: Duration,
    pub(crate) first_event: Option<Duration>,
}

/// Values that are read when the metrics are requested.
pub(crate) struct Moment {
    pub(crate) generation: u64,
    /// Live plugin instances, and their limit.
    pub(crate) slots: (usize, usize),
    /// Accounts on cooldown: a number by upstream, or 0 or 1 by account.
    pub(crate) on_cooldown: Vec<(UpstreamId, Option<AccountId>, usize)>,
    /// How many versions are in use of each plugin whose versions conversations keep.
    pub(crate) plugin_versions: Vec<(PluginId, usize)>,
}

/// The metrics of one plugin's hook, looked up once.
#[derive(Clone, Debug, Default)]
pub(crate) struct HookMeter {
    calls: Counter,
    guard_skips: Counter,
    failures: Counter,
    busy: Counter<f64, Nanos>,
}

/// A running call. Its time is counted when this is dropped, so that an aborted call counts as
/// well.
pub(crate) struct Call<'a> {
    meter: &'a HookMeter,
    begun: Instant,
}

/// A stream that is being sent to a client.
pub(crate) struct OpenStream(Gauge);

impl Metrics {
    pub(crate) fn new() -> Self {
        Self::counting(Counter::default())
    }

    /// Metrics that include the dropped lines of this log.
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
            prefix_breaks: Family::default(),
            tokens: Family::default(),
            calls: Family::default(),
            guard_skips: Family::default(),
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
        // Otherwise clients would create the series of their own breaks.
        for culprit in CULPRITS {
            for check in ["prefix", "cache"] {
                let culprit = culprit.to_owned();
                drop(
                    metrics
                        .prefix_breaks
                        .get_or_create(&OfBreak { check, culprit }),
                );
            }
        }
        for (what, result) in RELOADS {
            drop(metrics.reloads.get_or_create(&OfReload { what, result }));
        }
        metrics
    }

    /// Counts an exchange that has ended.
    pub(crate) fn ended(&self, ended: &Ended<'_>) {
        let Ended {
            kind,
            ending,
            saved,
            upstream,
            total,
            first_event,
            ..
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
        for (r#type, count) in ended.usage.counts() {
            let upstream = upstream.clone();
            self.tokens
                .get_or_create(&OfTokens { upstream, r#type })
                .inc_by(count);
        }
    }

    /// Counts an attempt by the upstream's status, 0 if there was none.
    pub(crate) fn attempt(&self, upstream: &UpstreamId, status: u16) {
        let upstream = upstream.clone();
        let status = Status(status);
        self.attempts
            .get_or_create(&OfAttempt { upstream, status })
            .inc();
    }

    /// Counts a retry by its cause.
    pub(crate) fn retry(&self, cause: &'static str) {
        self.retries.get_or_create(&OfRetry { cause }).inc();
    }

    /// Counts a conversation that was changed, by comparison and culprit.
    pub(crate) fn prefix_break(&self, check: &'static str, culprit: String) {
        self.prefix_breaks
            .get_or_create(&OfBreak { check, culprit })
            .inc();
    }

    /// Counts a stream as open until the value is dropped.
    pub(crate) fn stream(&self) -> OpenStream {
        self.streams.inc();
        OpenStream(self.streams.clone())
    }

    /// Returns the metrics of a plugin's hook. They stay the same when the plugin is replaced.
    pub(crate) fn hook(&self, plugin: &PluginId, hook: &'static str) -> HookMeter {
        let plugin = plugin.clone();
        let of = OfHook { plugin, hook };
        HookMeter {
            calls: self.calls.get_or_create_owned(&of),
            guard_skips: self.guard_skips.get_or_create_owned(&of),
            failures: self.failures.get_or_create_owned(&of),
            busy: self.busy.get_or_create_owned(&of),
        }
    }

    /// Counts a reload of `config` or `plugins`.
    pub(crate) fn reload(&self, what: &'static str, applied: bool) {
        let result = if applied { "applied" } else { "rejected" };
        self.reloads.get_or_create(&OfReload { what, result }).inc();
    }

    /// Writes all metrics as text.
    pub(crate) fn write(
        &self,
        moment: &Moment,
        format: MetricsFormat,
    ) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode_registry(&mut text, &self.registry)?;
        // A separate registry, so that concurrent requests do not disturb each other.
        text::encode_registry(&mut text, &moment.registry())?;
        text::encode_eof(&mut text)?;
        Ok(format.of_open_metrics(text))
    }

    /// Registers the metrics with their help texts. docs/operations.md has the same table.
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
        let help = "Exchanges that a plugin answered without contacting an upstream";
        registry.register("exchanges_saved", help, self.saved.clone());
        let help = "Time from a request's head to the end of its response";
        let seconds = || Unit::Seconds;
        registry.register_with_unit("exchange_duration", help, seconds(), self.total.clone());
        let help = "Time from a request's head to the first event of a streamed response";
        registry.register_with_unit("first_event", help, seconds(), self.first_event.clone());
        let help = "Streams that are being sent to clients";
        registry.register("open_streams", help, self.streams.clone());
        let help = "Attempts by upstream and its status, `none` without a usable response";
        registry.register("attempts", help, self.attempts.clone());
        let help = "Retries by the cause of the failed attempt before";
        registry.register("retries", help, self.retries.clone());
        let help =
            "Exchanges that changed what their conversation sent before, by comparison and culprit";
        registry.register("prefix_breaks", help, self.prefix_breaks.clone());
        let help = "Tokens as upstreams reported them, by upstream and type";
        registry.register("tokens", help, self.tokens.clone());
        registry.register(
            "plugin_calls",
            "Calls of a plugin's hook",
            self.calls.clone(),
        );
        let help = "Calls of a plugin's hook skipped because its guard did not match";
        registry.register("plugin_guard_skips", help, self.guard_skips.clone());
        let help = "Calls of a plugin's hook that failed";
        registry.register("plugin_failures", help, self.failures.clone());
        let help = "Time spent in calls of a plugin's hook";
        registry.register_with_unit("plugin_call", help, seconds(), self.busy.clone());
        let help = "Changed files that were applied or rejected";
        registry.register("reloads", help, self.reloads.clone());
        let help = "Log lines dropped because standard error was not read";
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
        registry.register(
            "generation",
            "Number of the current set of plugins",
            generation,
        );
        let (used, all) = self.slots;
        let help = "Plugin instances that exist or are reserved";
        registry.register("plugin_slots_in_use", help, gauge(used));
        registry.register(
            "plugin_slots",
            "Plugin instances that may exist",
            gauge(all),
        );
        // A list, because the label `account` is absent if accounts must not be named.
        let on_cooldown = Family::<Vec<(&str, String)>, Gauge>::default();
        for (upstream, account, count) in &self.on_cooldown {
            let upstream = ("upstream", upstream.to_string());
            let account = account.as_ref().map(|name| ("account", name.to_string()));
            let of = std::iter::once(upstream).chain(account).collect();
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            on_cooldown.get_or_create(&of).inc_by(count);
        }
        registry.register("accounts_on_cooldown", "Accounts on cooldown", on_cooldown);
        let versions = Family::<[(&str, String); 1], Gauge>::default();
        for (plugin, count) in &self.plugin_versions {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            let of = [("plugin", plugin.to_string())];
            versions.get_or_create(&of).set(count);
        }
        let help = "Versions in use of a plugin whose versions conversations keep";
        registry.register("plugin_versions", help, versions);
        registry
    }
}

impl HookMeter {
    /// Counts a call and starts its timer.
    pub(crate) fn call(&self) -> Call<'_> {
        self.calls.inc();
        Call {
            meter: self,
            begun: Instant::now(),
        }
    }

    /// Counts a call that was skipped because the guard did not match.
    pub(crate) fn guarded(&self) {
        self.guard_skips.inc();
    }

    /// Counts a failed call.
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

/// A sum of times in nanoseconds, which one atomic step adds to. Shown in seconds.
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
struct OfBreak {
    check: &'static str,
    culprit: String,
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

    fn written(metrics: &Metrics, on_cooldown: &[(&str, Option<&str>, usize)]) -> String {
        let on_cooldown = on_cooldown.iter().map(|(upstream, account, count)| {
            let account = account.map(|name| name.parse().unwrap());
            (upstream.parse().unwrap(), account, *count)
        });
        let moment = Moment {
            generation: 3,
            slots: (2, 1_000),
            on_cooldown: on_cooldown.collect(),
            plugin_versions: vec![("p".parse().unwrap(), 2)],
        };
        metrics.write(&moment, MetricsFormat::OpenMetrics).unwrap()
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
    fn an_attempt_without_a_response_has_no_status() {
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
    fn values_of_the_moment_are_read_again_each_time() {
        let metrics = Metrics::new();
        let text = written(&metrics, &[("a", Some("x\"y"), 1), ("b", None, 2)]);
        has(&text, "witgate_generation 3");
        has(&text, "witgate_plugin_slots_in_use 2");
        has(&text, "witgate_plugin_slots 1000");
        has(
            &text,
            r#"witgate_accounts_on_cooldown{upstream="a",account="x\"y"} 1"#,
        );
        has(&text, r#"witgate_accounts_on_cooldown{upstream="b"} 2"#);
        let text = written(&metrics, &[]);
        assert!(!text.contains("accounts_on_cooldown"), "{text}");
    }
}
