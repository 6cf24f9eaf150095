//! Requests per second and the 99th percentile of the latency, by number of concurrent clients.

use std::{io, path::Path, time::Duration};

use super::{draw, lines, log, plain, rows};
use crate::{
    body,
    load::{self, Shot},
    mock,
    subjects::{KEY, NONE_FIRES, STRIP_FIRES, Subject},
    svg::Chart,
    table,
};

const CLIENTS: [usize; 6] = [1, 4, 16, 64, 256, 1_024];
const WARMING: Duration = Duration::from_millis(500);
const SPAN: Duration = Duration::from_millis(1_200);
/// More rounds would take longer and show nothing new.
const MOST_ROUNDS: usize = 3;

pub(super) async fn run(folder: &Path, rounds: usize) -> io::Result<()> {
    let mock = mock::start().await?;
    let subjects = [
        Subject::nginx(folder, mock, false).await?,
        Subject::gateway(folder, mock, NONE_FIRES).await?,
        Subject::gateway(folder, mock, STRIP_FIRES).await?,
    ];
    // The limit of clients and upstream by themselves: no server can be measured above it.
    let mut servers = vec![("nothing between", mock, "/json/v1/messages".to_owned())];
    servers.extend(
        subjects
            .iter()
            .map(|subject| (subject.name, subject.server.port, subject.path("json"))),
    );
    let names = || servers.iter().map(|server| server.0);
    let body = body::request("json", 1_000);
    let mut rates = vec![Vec::new(); servers.len()];
    let mut waits = vec![Vec::new(); servers.len()];
    let mut table = rows("clients at once: requests per second (p99, ms)", names());
    for clients in CLIENTS {
        let mut seen = vec![(Vec::new(), Vec::new()); servers.len()];
        for _ in 0..rounds.clamp(1, MOST_ROUNDS) {
            for ((_, port, path), (rates, waits)) in servers.iter().zip(&mut seen) {
                let shot = Shot::new(path, KEY, &body);
                let done = load::lasting(*port, &shot, clients, WARMING, SPAN).await?;
                rates.push(done.requests as f64 / SPAN.as_secs_f64());
                let mut whole: Vec<_> = done.whole.iter().map(|w| w.as_secs_f64() * 1e3).collect();
                waits.push(table::quantile(&mut whole, 0.99));
            }
        }
        let mut row = vec![clients.to_string()];
        for (server, (rate, wait)) in seen.into_iter().enumerate() {
            let (rate, wait) = (table::median(rate), table::median(wait));
            row.push(format!("{} ({wait:.2})", plain(rate)));
            rates[server].push((clients as f64, rate));
            waits[server].push((clients as f64, wait));
        }
        table.push(row);
        eprintln!("{clients} clients: done");
    }
    table::print("By clients at once, 1 KB of body, JSON", &table);
    draw(
        "concurrency-rate",
        &Chart {
            title: "Requests per second by concurrency (1 KB, JSON, one core)",
            x: log("clients at once", plain),
            y: super::linear("requests per second", plain),
            lines: lines(names(), rates),
        },
    )?;
    draw(
        "concurrency-p99",
        &Chart {
            title: "The slowest of a hundred requests by concurrency (1 KB, JSON, one core)",
            x: log("clients at once", plain),
            y: log("p99, ms", plain),
            lines: lines(names(), waits),
        },
    )?;
    Subject::stop(subjects).await
}
