//! What the gateway costs, measured against nginx in the same run.
//!
//! Every server has core 0 for itself; clients and the mock upstream share core 1. Servers take turns, round by round, so
//! that whatever else the machine does hits all of them alike, and the figures are medians of the rounds.

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

mod body; // what is sent
mod curves; // how it grows
mod http; // how
mod load; // by whom
mod mock; // to whom
mod life; // starting, reloading, doing nothing
mod process; // through whom
mod streams; // many at once, and slow
mod subjects; // and how they are set up
mod svg; // the pictures
mod table; // the figures

use std::{
    env, io,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use load::Shot;
use subjects::{
    DECLINES, FIVE_DECLINE, GEMINI, KEY, NONE_FIRES, OPENAI, STRIP_FIRES, Subject, TEN_MORE,
};

const HELP: &str = "what the gateway costs, against nginx in the same run

usage: witgate-bench [--rounds N] WHAT...

  cpu        CPU time per request, by size of the body, one client and 32
  dialects   what a translation costs beside the anthropic dialect
  streams    CPU per event, memory per open stream, time to the first event
  life       start, drop of a plugin, doing nothing
  curves     what grows with concurrency, streams, bodies and plugins; writes docs/performance/*.svg.
             curves:concurrency, curves:streams, curves:bodies, curves:plugins: one of them
  one:...    one server under one load, for a profiler: one:strip:json:600000:32";

/// The core for all that is not measured.
const CORE: &str = "1";
/// Five thousand streams, with a connection at either end, and some.
const OPEN_FILES: usize = 16_384;
const PINNED: &str = "WITGATE_BENCH_PINNED";

fn main() -> ExitCode {
    if env::var_os(PINNED).is_none() {
        return pinned();
    }
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(run()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this program again on a core of its own and with as many open files as thousands of streams need.
fn pinned() -> ExitCode {
    let program = env::current_exe().unwrap_or_default();
    let files = process::most_open_files().unwrap_or(OPEN_FILES);
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--nofile={}:", files.min(OPEN_FILES)))
        .args(["taskset", "-c", CORE])
        .arg(program)
        .args(env::args_os().skip(1));
    let error = command.env(PINNED, "1").exec();
    eprintln!("error: prlimit, taskset: {error}; Debian has them in util-linux");
    ExitCode::FAILURE
}

async fn run() -> io::Result<()> {
    let mut rounds = 5;
    let mut what = Vec::new();
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => {
                rounds = arguments
                    .next()
                    .and_then(|n| n.parse().ok())
                    .ok_or_else(|| io::Error::other("--rounds: expected a number"))?;
            }
            _ => what.push(argument),
        }
    }
    if what.is_empty() {
        println!("{HELP}");
    }
    let folder = env::temp_dir().join(format!("witgate-bench-{}", std::process::id()));
    let mut done = Ok(());
    for what in what {
        done = match what.as_str() {
            "cpu" => cpu(&folder, rounds).await,
            "dialects" => dialects(&folder, rounds).await,
            "streams" => streams::run(&folder, rounds).await,
            "life" => life::run(&folder, rounds).await,
            curve if curve.starts_with("curves") => curves::run(&folder, rounds, curve).await,
            one if one.starts_with("one:") => load_one(&folder, one, rounds).await,
            _ => Err(io::Error::other(format!("`{what}`: no such measurement"))),
        };
        if done.is_err() {
            break;
        }
    }
    // What cannot be removed lies in the folder for such things.
    drop(std::fs::remove_dir_all(&folder));
    done
}

/// One kind of request.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    answer: &'static str,
    bytes: usize,
    clients: usize,
    /// Requests of a round, of all clients together.
    requests: usize,
}

const fn case(
    name: &'static str,
    answer: &'static str,
    bytes: usize,
    clients: usize,
    requests: usize,
) -> Case {
    Case {
        name,
        answer,
        bytes,
        clients,
        requests,
    }
}

async fn cpu(folder: &std::path::Path, rounds: usize) -> io::Result<()> {
    let mock = mock::start().await?;
    let subjects = [
        Subject::nginx(folder, mock, false).await?,
        Subject::nginx(folder, mock, true).await?,
        Subject::gateway(folder, mock, NONE_FIRES).await?,
        Subject::gateway(folder, mock, STRIP_FIRES).await?,
        Subject::gateway(folder, mock, TEN_MORE).await?,
        Subject::gateway(folder, mock, DECLINES).await?,
        Subject::gateway(folder, mock, FIVE_DECLINE).await?,
    ];
    let cases = [
        case("1 KB", "json", 1_000, 1, 4_000),
        case("100 KB", "json", 100_000, 1, 2_000),
        case("600 KB", "json", 600_000, 1, 500),
        case("2.5 MB", "json", 2_500_000, 1, 150),
        case("SSE, 100 events, 100 KB", "sse-100", 100_000, 1, 1_000),
        case("1 KB, 32 clients", "json", 1_000, 32, 6_400),
        case("100 KB, 32 clients", "json", 100_000, 32, 3_200),
        case("600 KB, 32 clients", "json", 600_000, 32, 640),
        case("2.5 MB, 32 clients", "json", 2_500_000, 32, 160),
        case(
            "SSE, 100 events, 100 KB, 32 clients",
            "sse-100",
            100_000,
            32,
            1_600,
        ),
    ];
    let spent = measure(&subjects, &cases, rounds).await?;
    let mut heading = vec!["CPU per request, us (ratio)".to_owned()];
    heading.extend(subjects.iter().map(|subject| subject.name.to_owned()));
    let mut rows = vec![heading];
    for (case, spent) in cases.iter().zip(&spent) {
        let mut row = vec![case.name.to_owned()];
        for own in spent {
            let ratios = own.iter().zip(&spent[0]).map(|(own, nginx)| own / nginx);
            let ratio = table::median(ratios.collect());
            row.push(format!("{:.0} ({ratio:.2})", table::median(own.clone())));
        }
        rows.push(row);
    }
    table::print("CPU time of the server, user and system", &rows);
    for subject in subjects {
        subject.server.stop().await?;
    }
    Ok(())
}

async fn dialects(folder: &std::path::Path, rounds: usize) -> io::Result<()> {
    let mock = mock::start().await?;
    let subjects = [
        Subject::gateway(folder, mock, NONE_FIRES).await?,
        Subject::gateway(folder, mock, GEMINI).await?,
        Subject::gateway(folder, mock, OPENAI).await?,
    ];
    let cases = [
        case("600 KB request, 10 events", "sse-10", 600_000, 1, 100),
        case("1 KB request, 1,000 events", "sse-1000", 1_000, 1, 100),
    ];
    let spent = measure(&subjects, &cases, rounds).await?;
    let mut rows = vec![vec![
        "CPU per request".to_owned(),
        "dialect".to_owned(),
        "us".to_owned(),
        "ratio".to_owned(),
        "more".to_owned(),
    ]];
    for (case, spent) in cases.iter().zip(&spent) {
        for (own, subject) in spent.iter().zip(&subjects) {
            let more = own.iter().zip(&spent[0]).map(|(own, first)| own - first);
            let more = table::median(more.collect());
            let ratios = own.iter().zip(&spent[0]).map(|(own, first)| own / first);
            let more = if case.answer == "sse-1000" {
                format!("{:.1} us per event", more / 1000.0)
            } else {
                format!("{:.2} ms", more / 1000.0)
            };
            rows.push(vec![
                case.name.to_owned(),
                subject.name.to_owned(),
                format!("{:.0}", table::median(own.clone())),
                format!("{:.2}", table::median(ratios.collect())),
                more,
            ]);
        }
    }
    table::print("Translations", &rows);
    for subject in subjects {
        subject.server.stop().await?;
    }
    Ok(())
}

/// Loads one server with one kind of request, for a profiler: `one:strip:json:600000:32`.
async fn load_one(folder: &std::path::Path, what: &str, rounds: usize) -> io::Result<()> {
    let mut parts = what.split(':').skip(1);
    let mock = mock::start().await?;
    let setup = match parts.next() {
        Some("strip") => STRIP_FIRES,
        Some("gemini") => GEMINI,
        Some("openai") => OPENAI,
        Some("more") => TEN_MORE,
        Some("declines") => DECLINES,
        _ => NONE_FIRES,
    };
    let answer = parts.next().unwrap_or("json").to_owned();
    let bytes = parts.next().and_then(|n| n.parse().ok()).unwrap_or(1_000);
    let clients = parts.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let subject = Subject::gateway(folder, mock, setup).await?;
    let shot = Shot::new(&subject.path(&answer), KEY, &body::request(&answer, bytes));
    load::closed(subject.server.port, &shot, 1, 20).await?;
    println!("{}", subject.server.worker);
    let before = subject.server.cpu()?;
    let requests = rounds * 100;
    let each = requests / clients;
    load::closed(subject.server.port, &shot, clients, each).await?;
    let cost = subject.server.cpu()? - before;
    println!(
        "{:.0} us per request",
        cost.as_secs_f64() * 1e6 / requests as f64
    );
    subject.server.stop().await
}

/// Microseconds of CPU per request: by case, by subject, by round.
async fn measure(
    subjects: &[Subject],
    cases: &[Case],
    rounds: usize,
) -> io::Result<Vec<Vec<Vec<f64>>>> {
    let mut all = Vec::new();
    for case in cases {
        let body = body::request(case.answer, case.bytes);
        let mut spent = vec![Vec::new(); subjects.len()];
        // The first is for warming up.
        for round in 0..=rounds {
            for (subject, spent) in subjects.iter().zip(&mut spent) {
                let shot = Shot::new(&subject.path(case.answer), KEY, &body);
                let before = subject.server.cpu()?;
                let each = case.requests / case.clients;
                let done = load::closed(subject.server.port, &shot, case.clients, each).await?;
                let cost = subject.server.cpu()? - before;
                if round > 0 {
                    spent.push(cost.as_secs_f64() * 1e6 / done.requests as f64);
                }
            }
        }
        eprintln!("{}: done", case.name);
        all.push(spent);
    }
    Ok(all)
}
