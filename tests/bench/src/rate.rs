//! Latency at a fixed rate of requests, which does not depend on the responses.
//!
//! Requests are due at fixed moments, whatever became of earlier ones. Latency is counted from when
//! the request was due, so time in a queue after a slow response counts, as it does for users.

use std::{io, path::Path, time::Duration};

use crate::{
    body,
    load::{self, Shot},
    mock,
    subjects::{KEY, NONE_FIRES, STRIP_FIRES, Subject},
    table,
};

/// The rates, as shares of what the slowest server reaches with 32 clients at full speed.
const SHARES: [f64; 3] = [0.25, 0.5, 0.75];
const CLIENTS: usize = 32;
/// The limit of requests in flight. Further ones wait for a connection, and that wait counts.
const CONNECTIONS: usize = 256;
const SPAN: Duration = Duration::from_secs(2);
/// More rounds would take longer and show nothing new.
const MOST_ROUNDS: usize = 3;
const SIZES: [(&str, usize); 2] = [("1 KB", 1_000), ("100 KB", 100_000)];
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

/// A target of requests: its name, port and path.
type Way = (&'static str, u16, String);

pub(crate) async fn run(folder: &Path, rounds: usize) -> io::Result<()> {
    let mock = mock::start().await?;
    let subjects = [
        Subject::nginx(folder, mock, false).await?,
        Subject::relay(mock).await?,
        Subject::gateway(folder, mock, NONE_FIRES).await?,
        Subject::gateway(folder, mock, STRIP_FIRES).await?,
    ];
    // The part of the latency that is the generator's and the upstream's own.
    let mut ways: Vec<Way> = vec![("nothing between", mock, "/json/v1/messages".to_owned())];
    ways.extend(subjects.iter().map(|subject| {
        let path = subject.path("json");
        (subject.name, subject.server.port, path)
    }));
    let heading = [
        "body, rate",
        "server",
        "p50, ms",
        "p99, ms",
        "p99.9, ms",
        "p50, times nginx",
        "p99, times nginx",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (size, bytes) in SIZES {
        let body = body::request("json", bytes);
        let most = slowest(&ways, &body).await?;
        for share in SHARES {
            let waits = waits(&ways, &body, most * share, rounds).await?;
            let asked = format!("{size}, {:.0}/s ({:.0} %)", most * share, share * 100.0);
            rows.extend(ways.iter().zip(&waits).map(|(way, own)| {
                let mut row = vec![asked.clone(), way.0.to_owned()];
                row.extend(own.iter().map(|wait| format!("{wait:.2}")));
                let nginx = waits[1].iter().zip(own).take(2);
                row.extend(nginx.map(|(nginx, own)| format!("{:.2}", own / nginx)));
                row
            }));
            eprintln!("{asked}: done");
        }
    }
    table::print("Waits for whole answers at a fixed rate", &rows);
    Subject::stop(subjects).await
}

/// Requests per second of the slowest target.
async fn slowest(ways: &[Way], body: &[u8]) -> io::Result<f64> {
    let mut least = f64::INFINITY;
    for (_, port, path) in ways {
        let shot = Shot::new(path, KEY, body);
        let warming = Duration::from_millis(500);
        let done = load::lasting(*port, &shot, CLIENTS, warming, SPAN).await?;
        least = least.min(done.requests as f64 / SPAN.as_secs_f64());
    }
    Ok(least)
}

/// The quantiles of the latency, in milliseconds, by target; each is the median of the rounds.
async fn waits(
    ways: &[Way],
    body: &[u8],
    rate: f64,
    rounds: usize,
) -> io::Result<Vec<[f64; QUANTILES.len()]>> {
    let mut seen = vec![[const { Vec::new() }; QUANTILES.len()]; ways.len()];
    for _ in 0..rounds.clamp(1, MOST_ROUNDS) {
        for ((_, port, path), seen) in ways.iter().zip(&mut seen) {
            let shot = Shot::new(path, KEY, body);
            let done = load::due(*port, &shot, CONNECTIONS, rate, SPAN).await?;
            let mut whole: Vec<_> = done.whole.iter().map(|w| w.as_secs_f64() * 1e3).collect();
            for (seen, share) in seen.iter_mut().zip(QUANTILES) {
                seen.push(table::quantile(&mut whole, share));
            }
        }
    }
    Ok(seen.into_iter().map(|own| own.map(table::median)).collect())
}
