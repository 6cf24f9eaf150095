//! What a dialect costs: the built gateway on one core, a cheap upstream in this process, and the processor time that the
//! gateway takes for a large request and for a long stream, beside what the same takes without a dialect.
//!
//! Rounds of the dialects alternate, so that what disturbs the machine disturbs all of them; of the rounds the median counts.
//! docs/performance.md says how to run it.

#![allow(clippy::print_stdout, reason = "a table is what it is for")]

mod client;
mod gateway;
mod shapes;
mod upstream;

use std::error::Error;

use gateway::Gateway;
use shapes::{DIALECTS, Dialect};

const ROUNDS: usize = 21;
/// Of each round, so that the clock's grain does not matter.
const REQUESTS: u32 = 4;
const STREAMS: u32 = 4;
const EVENTS: usize = 1000;
/// Caches fill, memory is taken from the system.
const WARM_UP: usize = 2;

/// Processor time in microseconds, of all rounds of a dialect.
#[derive(Default)]
struct Times {
    request: Vec<f64>,
    event: Vec<f64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let upstream = upstream::start()?;
    let gateway = Gateway::start(upstream)?;
    let request = shapes::large_request();
    let mut times = DIALECTS.map(|_| Times::default());
    for round in 0..WARM_UP + ROUNDS {
        for (dialect, times) in DIALECTS.iter().zip(&mut times) {
            let large = per_exchange(
                &gateway,
                REQUESTS,
                &shapes::for_dialect(&request, *dialect, "short"),
            )?;
            let small = shapes::for_dialect(&shapes::small_request(), *dialect, "short");
            let long = shapes::for_dialect(&shapes::small_request(), *dialect, "long");
            let nothing = per_exchange(&gateway, STREAMS, &small)?;
            let stream = per_exchange(&gateway, STREAMS, &long)?;
            if round >= WARM_UP {
                times.request.push(large);
                times.event.push((stream - nothing) / EVENTS as f64);
            }
        }
    }
    println!("request of {} KB, {ROUNDS} rounds", request.len() / 1000);
    print_table("ms per request", &times, |times| {
        median(&times.request) / 1000.0
    });
    println!("\nstream of {EVENTS} events, {ROUNDS} rounds");
    print_table("us per event", &times, |times| median(&times.event));
    Ok(())
}

/// The gateway's processor time for one of these, in microseconds.
fn per_exchange(gateway: &Gateway, count: u32, body: &[u8]) -> Result<f64, Box<dyn Error>> {
    let before = gateway.processor_time()?;
    for _ in 0..count {
        client::post(gateway.addr, body)?;
    }
    let taken = gateway.processor_time()?.saturating_sub(before);
    Ok(taken.as_secs_f64() * 1e6 / f64::from(count))
}

fn print_table(unit: &str, times: &[Times], figure: impl Fn(&Times) -> f64) {
    println!("| upstream's dialect | {unit} | ratio | more |");
    println!("| --- | ---: | ---: | ---: |");
    let without = figure(&times[0]);
    for (dialect, times) in DIALECTS.iter().zip(times) {
        let figure = figure(times);
        let (ratio, more) = (figure / without, figure - without);
        println!(
            "| {} | {figure:.2} | {ratio:.2} | {more:+.2} |",
            Dialect::name(*dialect)
        );
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
