//! Many streams at once, as agents have them: an event now and then, for a long time.

use std::{io, path::Path, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use crate::{
    body,
    cpu::ratio,
    load::{self, Shot},
    mock,
    subjects::{DECLINES, KEY, NONE_FIRES, Subject},
    table,
};

/// Two hundred agents, an event every 20 ms for four seconds.
const STEADY: (&str, usize, usize) = ("slow-200-20", 200, 200);
/// The streams that are open while memory is measured.
const OPEN: (&str, usize) = ("slow-60-500", 1_000);

pub(crate) async fn run(folder: &Path, rounds: usize) -> io::Result<()> {
    let mock = mock::start().await?;
    let subjects = [
        Subject::nginx(folder, mock, false).await?,
        Subject::relay(mock).await?,
        Subject::gateway(folder, mock, NONE_FIRES).await?,
        Subject::gateway(folder, mock, DECLINES).await?,
    ];
    per_event(&subjects, rounds).await?;
    first_event(&subjects, mock, rounds).await?;
    memory(&subjects).await?;
    Subject::stop(subjects).await
}

async fn per_event(subjects: &[Subject], rounds: usize) -> io::Result<()> {
    let (answer, events, streams) = STEADY;
    let body = body::request(answer, 1_000);
    let mut spent = vec![Vec::new(); subjects.len()];
    for _ in 0..rounds {
        for (subject, spent) in subjects.iter().zip(&mut spent) {
            let shot = Shot::new(&subject.path(answer), KEY, &body);
            let before = subject.server.cpu()?;
            load::closed(subject.server.port, &shot, streams, 1).await?;
            let cost = subject.server.cpu()? - before;
            spent.push(cost.as_secs_f64() * 1e6 / (events * streams) as f64);
        }
    }
    let mut rows = vec![vec![
        "200 streams, an event every 20 ms".to_owned(),
        "us per event".to_owned(),
        "ratio".to_owned(),
    ]];
    for (subject, own) in subjects.iter().zip(&spent) {
        let ratio = ratio(own, &spent[0]);
        rows.push(vec![
            subject.name.to_owned(),
            format!("{:.1}", table::median(own.clone())),
            format!("{ratio:.2}"),
        ]);
    }
    table::print("CPU per event", &rows);
    Ok(())
}

/// The added delay of the first event compared with no gateway; alone, and with two hundred open
/// streams.
async fn first_event(subjects: &[Subject], mock: u16, rounds: usize) -> io::Result<()> {
    let answer = "sse-10";
    let body = body::request(answer, 1_000);
    let heading = [
        "First event",
        "other streams",
        "p50, ms",
        "p99, ms",
        "added p50",
        "added p99",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for streams in [0, STEADY.2] {
        let mut direct: Option<(f64, f64)> = None;
        let way = |answer: &str| format!("/{answer}/v1/messages");
        let straight = [("nothing between", mock, way(answer), way(STEADY.0))];
        let through = subjects.iter().map(|subject| {
            let paths = (subject.path(answer), subject.path(STEADY.0));
            (subject.name, subject.server.port, paths.0, paths.1)
        });
        for (name, port, path, steady) in straight.into_iter().chain(through) {
            let shot = Shot::new(&path, KEY, &body);
            let others = Shot::new(&steady, KEY, &body::request(STEADY.0, 1_000));
            let mut waits = Vec::new();
            for _ in 0..rounds {
                let mut tasks = JoinSet::new();
                for _ in 0..streams {
                    let others = others.clone();
                    tasks.spawn(async move { load::closed(port, &others, 1, 1).await });
                }
                if streams > 0 {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                let done = load::closed(port, &shot, 1, 500).await?;
                waits.extend(done.first.iter().map(|wait| wait.as_secs_f64() * 1e3));
                tasks.shutdown().await;
            }
            let half = table::quantile(&mut waits, 0.5);
            let most = table::quantile(&mut waits, 0.99);
            let (direct_half, direct_most) = *direct.get_or_insert((half, most));
            rows.push(vec![
                name.to_owned(),
                streams.to_string(),
                format!("{half:.3}"),
                format!("{most:.3}"),
                format!("{:.3}", half - direct_half),
                format!("{:.3}", most - direct_most),
            ]);
        }
    }
    table::print("Waiting for the first event", &rows);
    Ok(())
}

/// The memory of an open stream, averaged over a thousand of them.
async fn memory(subjects: &[Subject]) -> io::Result<()> {
    let (answer, streams) = OPEN;
    let body = body::request(answer, 1_000);
    let mut rows = vec![vec![
        "1,000 open streams".to_owned(),
        "KiB per stream".to_owned(),
        "ratio".to_owned(),
    ]];
    let mut nginx = None;
    for subject in subjects {
        let shot = Shot::new(&subject.path(answer), KEY, &body);
        let before = subject.server.memory()?;
        let mut tasks = JoinSet::new();
        for _ in 0..streams {
            let (shot, port) = (shot.clone(), subject.server.port);
            tasks.spawn(async move { load::closed(port, &shot, 1, 1).await });
        }
        // While all of them are open.
        tokio::time::sleep_until(Instant::now() + Duration::from_secs(5)).await;
        let taken = subject.server.memory()?.saturating_sub(before);
        tasks.shutdown().await;
        let each = taken as f64 / 1024.0 / streams as f64;
        rows.push(vec![
            subject.name.to_owned(),
            format!("{each:.1}"),
            format!("{:.2}", each / *nginx.get_or_insert(each)),
        ]);
    }
    table::print("Memory per open stream", &rows);
    Ok(())
}
