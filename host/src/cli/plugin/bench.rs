//! `witgate plugin bench`: what a plugin costs, beside no plugin and beside its deadline.

use std::{collections::BTreeMap, time::Instant};

use clap::Args;
use serde::Serialize;

use super::{
    exchange::{ExchangeArgs, start},
    report::{line, nanos, time},
};
use crate::{
    cli::{Code, Failure, print},
    kit::{Exchange, Kit, Outcome, Setup},
};

#[derive(Args)]
pub(in crate::cli) struct BenchArgs {
    #[command(flatten)]
    exchange: ExchangeArgs,
    /// How many exchanges are measured
    #[arg(long, value_name = "N", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Exchanges before the measurement, which fill caches.
const WARM_UP: u32 = 10;

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    rounds: u32,
    /// Compiling the component and creating an instance that describes itself, once.
    load_ns: u64,
    instantiate: Option<Spread>,
    calls: Vec<Measured>,
    /// A whole exchange with the plugin, as the client sees it.
    exchange: Spread,
    /// The same without any plugin.
    without: Spread,
    /// The most memory that an instance had, in bytes.
    memory: usize,
}

/// A function of the plugin.
#[derive(Debug, Serialize)]
struct Measured {
    /// `on-request`, `on-attempt`, `on-failure`, `on-event`, `on-end` or `on-body`.
    function: String,
    /// The time of one call.
    spread: Spread,
    deadline_ns: u64,
}

/// A distribution, by the method of the nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Spread {
    /// How many times it was measured.
    count: usize,
    median_ns: u64,
    p99_ns: u64,
}

/// The times of all rounds.
#[derive(Default)]
struct Samples {
    instantiate: Vec<u64>,
    /// By function: times and deadline.
    calls: BTreeMap<String, (Vec<u64>, u64)>,
    exchange: Vec<u64>,
    without: Vec<u64>,
    memory: usize,
}

pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let exchange = args.exchange.exchange()?;
    let setup = Setup {
        // Compiling is a part of loading.
        cached: false,
        ..args.exchange.setup()?
    };
    let file = &args.exchange.file;
    let mut kit = start(&setup, file)?;
    let without = Setup {
        plugins: Vec::new(),
        with_builtins: false,
        settings: BTreeMap::new(),
        cached: true,
        ..setup
    };
    let mut without = start(&without, file)?;
    let samples = measure(&mut kit, &mut without, &exchange, args)?;
    let report = samples.report(args.rounds, nanos(kit.load_time()));
    print(&match args.json {
        true => {
            let text = serde_json::to_string_pretty(&report);
            let text = text.map_err(|error| Failure::new(Code::Other, error))?;
            format!("{text}\n")
        }
        false => in_words(&report),
    })
}

/// Runs all rounds, with and without the plugin in turn, so that both see the same machine.
fn measure(
    kit: &mut Kit,
    without: &mut Kit,
    exchange: &Exchange,
    args: &BenchArgs,
) -> Result<Samples, Failure> {
    let name = crate::pipeline::plugin_name(&args.exchange.file);
    let name = name.map_err(|why| Failure::new(Code::Arguments, why))?;
    let mut samples = Samples::default();
    for round in 0..WARM_UP + args.rounds {
        let (outcome, time) = timed(kit, exchange)?;
        let (_, time_without) = timed(without, exchange)?;
        if let Some((plugin, why)) = outcome.failures().first() {
            let what = format!("plugin `{plugin}` failed: {why}");
            return Err(Failure::new(Code::Other, what));
        }
        if round >= WARM_UP {
            samples.exchange.push(time);
            samples.without.push(time_without);
            samples.add(&outcome, name.as_str());
        }
    }
    Ok(samples)
}

/// Runs an exchange in a gateway that has just started.
fn timed(kit: &mut Kit, exchange: &Exchange) -> Result<(Outcome, u64), Failure> {
    kit.restart();
    let begun = Instant::now();
    let outcome = kit.run(exchange)?;
    Ok((outcome, nanos(begun.elapsed())))
}

impl Samples {
    /// Adds what this plugin did in an exchange.
    fn add(&mut self, outcome: &Outcome, plugin: &str) {
        for step in &outcome.trace.steps {
            let Some(call) = step.call.as_ref().filter(|_| step.plugin == plugin) else {
                continue;
            };
            self.instantiate.extend(call.instantiate_ns);
            self.memory = self.memory.max(call.memory);
            let mut add = |function: &str, time: u64| {
                let (times, deadline) = self.calls.entry(function.to_owned()).or_default();
                times.push(time);
                *deadline = call.deadline_ns;
            };
            match &call.events {
                Some(events) => {
                    for event in &events.list {
                        add(&event.function, event.time_ns);
                    }
                }
                None => add(&format!("on-{}", step.hook), call.time_ns),
            }
        }
    }

    fn report(self, rounds: u32, load_ns: u64) -> Report {
        let calls = self.calls.into_iter();
        let calls = calls.map(|(function, (times, deadline_ns))| Measured {
            function,
            spread: Spread::of(times),
            deadline_ns,
        });
        Report {
            rounds,
            load_ns,
            instantiate: (!self.instantiate.is_empty()).then(|| Spread::of(self.instantiate)),
            calls: calls.collect(),
            exchange: Spread::of(self.exchange),
            without: Spread::of(self.without),
            memory: self.memory,
        }
    }
}

impl Spread {
    fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let rank = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).copied().unwrap_or_default()
        };
        Self {
            count: times.len(),
            median_ns: rank(50),
            p99_ns: rank(99),
        }
    }
}

fn in_words(report: &Report) -> String {
    let mut text = String::new();
    let mut row = |name: &str, median: &str, p99: &str, beside: &str| {
        let cells = format!("{name:<22} {median:>11} {p99:>11}  {beside}");
        line(&mut text, cells.trim_end());
    };
    row("", "median", "p99", "");
    row(
        "load",
        &time(report.load_ns),
        "",
        "compiled once, then cached",
    );
    match &report.instantiate {
        Some(spread) => row(
            "instance",
            &time(spread.median_ns),
            &time(spread.p99_ns),
            "",
        ),
        None => row("instance", "-", "-", "its guards did not hold"),
    }
    for call in &report.calls {
        let (median, p99) = (time(call.spread.median_ns), time(call.spread.p99_ns));
        let beside = format!("of {}, {} calls", time(call.deadline_ns), call.spread.count);
        row(&call.function, &median, &p99, &beside);
    }
    for (name, spread) in [
        ("exchange", &report.exchange),
        ("without any plugin", &report.without),
    ] {
        row(name, &time(spread.median_ns), &time(spread.p99_ns), "");
    }
    let kib = report.memory >> 10;
    line(
        &mut text,
        &format!("{} rounds, memory {kib} KiB", report.rounds),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_measured_time() {
        let spread = Spread::of((1..=200).rev().collect());
        let wanted = Spread {
            count: 200,
            median_ns: 100,
            p99_ns: 198,
        };
        assert_eq!(spread, wanted);
        assert_eq!(Spread::of(vec![7]).p99_ns, 7);
        assert_eq!(Spread::of(Vec::new()).median_ns, 0);
    }
}
