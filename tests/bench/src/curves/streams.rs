//! Memory of open streams, and the delay of an event while they are open.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{draw, lines, log, plain, rows};
use crate::{
    body,
    http::Wire,
    load::Shot,
    mock,
    process::{self, Server},
    subjects::{HOLDS, KEY, NONE_FIRES, Subject},
    svg::Chart,
    table,
};

/// Every stream has an event each half second, for longer than it is watched.
const ANSWER: &str = "timed-40-500";
const STREAMS: [usize; 4] = [10, 100, 1_000, 5_000];
/// Streams opened per second: agents do not all begin at once.
const PACE: f64 = 1_500.0;
const WATCHED: Duration = Duration::from_secs(3);
/// Files per stream in this program, which is both client and upstream.
const FILES_PER_STREAM: usize = 2;
/// Files that are open anyway.
const FILES: usize = 200;

/// Delays in microseconds of the events that arrived during the measurement.
type Delays = Arc<Mutex<Vec<f64>>>;

pub(super) async fn run(folder: &Path) -> io::Result<()> {
    let allowed = process::open_files()?;
    let mock = mock::start().await?;
    let subjects = [
        Subject::nginx(folder, mock, false).await?,
        Subject::gateway(folder, mock, NONE_FIRES).await?,
        Subject::gateway(folder, mock, HOLDS).await?,
    ];
    let mut ways = vec![(
        "nothing between",
        mock,
        format!("/{ANSWER}/v1/messages"),
        None,
    )];
    ways.extend(subjects.iter().map(|subject| {
        let server = Some(&subject.server);
        (
            subject.name,
            subject.server.port,
            subject.path(ANSWER),
            server,
        )
    }));
    let body = body::request(ANSWER, 1_000);
    let mut fresh = Vec::new();
    for (_, port, path, server) in &ways {
        // Warms up, so that memory of the first request is not counted as a stream's.
        watch(*port, &Shot::new(path, KEY, &body), 1).await?;
        fresh.push(server.map_or(Ok(0), Server::memory)?);
    }
    let mut slowest = vec![Vec::new(); ways.len()];
    let mut taken = vec![Vec::new(); ways.len()];
    let names = || ways.iter().map(|way| way.0);
    let mut delays = rows("open streams: delay of an event, p50 / p99, ms", names());
    let mut memory = rows(
        "open streams: MB more than fresh (KiB per stream)",
        names().skip(1),
    );
    for streams in STREAMS {
        let needed = streams * FILES_PER_STREAM + FILES;
        if needed > allowed {
            eprintln!(
                "{streams} streams are skipped: they need `ulimit -Hn {needed}`, got {allowed}"
            );
            continue;
        }
        let mut delay_row = vec![streams.to_string()];
        let mut memory_row = delay_row.clone();
        for (nth, (_, port, path, server)) in ways.iter().enumerate() {
            let shot = Shot::new(path, KEY, &body);
            let (mut waits, mut tasks) = watch(*port, &shot, streams).await?;
            let half = table::quantile(&mut waits, 0.5);
            let most = table::quantile(&mut waits, 0.99);
            delay_row.push(format!("{half:.2} / {most:.2}"));
            slowest[nth].push((streams as f64, most));
            if let Some(server) = server {
                let more = server.memory()?.saturating_sub(fresh[nth]) as f64;
                let each = more / 1024.0 / streams as f64;
                memory_row.push(format!("{:.1} ({each:.1})", more / 1e6));
                taken[nth].push((streams as f64, more / 1e6));
            }
            tasks.shutdown().await;
            quiet(*server).await?;
        }
        delays.push(delay_row);
        memory.push(memory_row);
        eprintln!("{streams} streams: done");
    }
    table::print("By open streams, an event every 500 ms: delay", &delays);
    table::print("By open streams: memory", &memory);
    draw(
        "streams-delay",
        &Chart {
            title: "The slowest of a hundred events by open streams (each an event every 500 ms)",
            x: log("open streams", plain),
            y: log("from upstream to client, p99, ms", plain),
            lines: lines(names(), slowest),
        },
    )?;
    taken.remove(0);
    draw(
        "streams-memory",
        &Chart {
            title: "Memory by open streams",
            x: log("open streams", plain),
            y: log("resident, MB more than fresh", plain),
            lines: lines(names().skip(1), taken),
        },
    )?;
    for subject in subjects {
        subject.server.stop().await?;
    }
    Ok(())
}

/// Opens this many streams and watches them; they are still open when it returns.
async fn watch(
    port: u16,
    shot: &Shot,
    streams: usize,
) -> io::Result<(Vec<f64>, JoinSet<io::Result<()>>)> {
    let delays = Delays::default();
    let begun = Instant::now();
    let opened = begun + Duration::from_secs_f64(streams as f64 / PACE);
    // By then the last ones have had their first events.
    let from = opened + Duration::from_secs(1);
    let mut tasks = JoinSet::new();
    for nth in 0..streams {
        sleep_until(begun + Duration::from_secs_f64(nth as f64 / PACE)).await;
        tasks.spawn(stream(port, shot.clone(), from, Arc::clone(&delays)));
    }
    sleep_until(from + WATCHED).await;
    if let Some(ended) = tasks.try_join_next() {
        ended.map_err(io::Error::other)??;
        return Err(io::Error::other("a stream ended while it was watched"));
    }
    let mut seen = delays
        .lock()
        .map_err(|_| io::Error::other("a stream has failed"))?;
    Ok((std::mem::take(&mut *seen), tasks))
}

async fn stream(port: u16, shot: Shot, from: Instant, delays: Delays) -> io::Result<()> {
    let mut wire = Wire::connect(port).await?;
    let head = shot.sent(&mut wire).await?;
    let seen = |bytes: &[u8]| {
        if Instant::now() < from {
            return;
        }
        if let (Some(sent), Ok(mut delays)) = (mock::stamp(bytes), delays.lock()) {
            delays.push(mock::now().saturating_sub(sent) as f64 / 1e3);
        }
    };
    wire.body(&head, seen).await?;
    Ok(())
}

/// Waits until a server has cleaned up after cut streams and is almost idle.
async fn quiet(server: Option<&Server>) -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs(5);
    let Some(server) = server else { return Ok(()) };
    loop {
        let before = server.cpu()?;
        sleep(Duration::from_millis(200)).await;
        let spent = server.cpu()?.saturating_sub(before);
        if spent < Duration::from_millis(2) || Instant::now() > until {
            return Ok(());
        }
    }
}
