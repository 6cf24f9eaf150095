//! Start, reload of a plugin, and idle cost.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    body,
    load::{self, Shot},
    mock,
    subjects::{KEY, NONE_FIRES, Subject, component},
    table,
};

/// How long an idle gateway is watched.
const IDLE: Duration = Duration::from_secs(60);

pub(crate) async fn run(folder: &Path, rounds: usize) -> io::Result<()> {
    let mock = mock::start().await?;
    let mut rows = vec![vec!["".to_owned(), "figure".to_owned()]];
    let mut row = |what: &str, figure: String| rows.push(vec![what.to_owned(), figure]);

    let cache = folder.join("cache");
    let start = async |fresh: bool| -> io::Result<(Subject, f64)> {
        if fresh {
            drop(fs::remove_dir_all(&cache));
        }
        let begun = Instant::now();
        let subject = Subject::gateway(folder, mock, NONE_FIRES).await?;
        Ok((subject, begun.elapsed().as_secs_f64() * 1e3))
    };
    let mut cold = Vec::new();
    let mut warm = Vec::new();
    for _ in 0..rounds {
        for (fresh, times) in [(true, &mut cold), (false, &mut warm)] {
            let (subject, time) = start(fresh).await?;
            times.push(time);
            subject.server.stop().await?;
        }
    }
    row(
        "start, empty code cache, one core, ms",
        format!("{:.0}", table::median(cold)),
    );
    row(
        "start, warm code cache, ms",
        format!("{:.0}", table::median(warm)),
    );

    let (subject, _) = start(false).await?;
    let shot = Shot::new(&subject.path("json"), KEY, &body::request("json", 1_000));
    row(
        "fresh, MB",
        format!("{:.1}", megabytes(subject.server.memory()?)),
    );

    let mut drops = Vec::new();
    let mut removals = Vec::new();
    let plugin = component("tagger")?;
    let place = subject.folder.join("plugins/90-tagger.wasm");
    for _ in 0..rounds {
        fs::copy(&plugin, &place)?;
        drops.push(until_edited(&subject, &shot, true).await?);
        fs::remove_file(&place)?;
        removals.push(until_edited(&subject, &shot, false).await?);
    }
    row(
        "drop of a file to the first request that sees it, ms",
        format!("{:.0}", table::median(drops)),
    );
    row(
        "removal of it, ms",
        format!("{:.0}", table::median(removals)),
    );

    let burst = Shot::new(
        &subject.path("sse-100"),
        KEY,
        &body::request("sse-100", 100_000),
    );
    load::closed(subject.server.port, &burst, 32, 32).await?;
    row(
        "after 1,000 exchanges of 100 KB, MB",
        format!("{:.1}", megabytes(subject.server.memory()?)),
    );

    let before = subject.server.cpu_of_all()?;
    tokio::time::sleep(IDLE).await;
    let spent = subject.server.cpu_of_all()?.saturating_sub(before);
    row(
        "idle for a minute, share of a core",
        format!("{:.3} %", spent.as_secs_f64() / IDLE.as_secs_f64() * 100.0),
    );
    table::print("Start, reload, idle", &rows);
    subject.server.stop().await
}

/// The time in milliseconds until the plugin edits requests, or stops editing them.
async fn until_edited(subject: &Subject, shot: &Shot, edited: bool) -> io::Result<f64> {
    let begun = Instant::now();
    loop {
        let outcome = load::closed(subject.server.port, shot, 1, 1).await?;
        if (outcome.edited > 0) == edited {
            return Ok(begun.elapsed().as_secs_f64() * 1e3);
        }
        if begun.elapsed() > Duration::from_secs(30) {
            return Err(io::Error::other("the plugin was not taken in"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
