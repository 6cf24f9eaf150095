//! The cost of the gateway, measured against nginx in the same run.
//!
//! Every server runs alone on core 0; clients and the mock upstream share core 1. Servers take
//! turns, round by round, so that other load of the machine affects all of them alike. The figures
//! are medians of the rounds.

#![expect(clippy::print_stdout, reason = "the program prints figures")]

mod body; // request bodies
mod cpu; // CPU per request
mod curves; // growth with load and size
mod dialects; // cost of a translation
mod http; // minimal HTTP/1.1
mod load; // clients
mod mock; // upstream
mod life; // start, reload, idle
mod one; // a single load, for a profiler
mod process; // servers as processes
mod rate; // latency at a fixed rate
mod relay; // cost of the libraries
mod streams; // many slow streams at once
mod subjects; // servers and their configurations
mod svg; // charts
mod table; // tables of figures

use std::{
    env, io,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

const HELP: &str = "what the gateway costs, against nginx in the same run

usage: witgate-bench [--rounds N] WHAT...

  cpu        CPU time per request, by size of the body, one client and 32
  rate       waits for whole answers at fixed rates
  dialects   what a translation costs beside the anthropic dialect
  streams    CPU per event, memory per open stream, time to the first event
  life       start, drop of a plugin, doing nothing
  curves     what grows with concurrency, streams, bodies and plugins; writes docs/performance/*.svg.
             curves:concurrency, curves:streams, curves:bodies, curves:plugins: one of them
  one:...    one server under one load, for a profiler: one:strip:json:600000:32. Servers: nginx, relay (this program),
             and the gateway as none, no-ledger, strip, strip-no-ledger, more, declines, gemini, openai";

/// The core for everything that is not measured.
const CORE: &str = "1";
/// Five thousand streams, with a connection at either end, and some more.
const OPEN_FILES: usize = 16_384;
const PINNED: &str = "WITGATE_BENCH_PINNED";

fn main() -> ExitCode {
    if env::var_os(PINNED).is_none() {
        return pinned();
    }
    let mut arguments = env::args().skip(1);
    let done = match (arguments.next().as_deref(), arguments.next()) {
        (Some("relay"), Some(port)) => {
            let port = port.parse().map_err(io::Error::other);
            port.and_then(relay::run)
        }
        _ => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .and_then(|runtime| runtime.block_on(run())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this program again, pinned to a core and with enough open files for thousands of streams.
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
            "cpu" => cpu::run(&folder, rounds).await,
            "rate" => rate::run(&folder, rounds).await,
            "dialects" => dialects::run(&folder, rounds).await,
            "streams" => streams::run(&folder, rounds).await,
            "life" => life::run(&folder, rounds).await,
            curve if curve.starts_with("curves") => curves::run(&folder, rounds, curve).await,
            one if one.starts_with("one:") => one::run(&folder, one, rounds).await,
            _ => Err(io::Error::other(format!("`{what}`: no such measurement"))),
        };
        if done.is_err() {
            break;
        }
    }
    // If it cannot be removed, it stays in the folder for temporary files.
    drop(std::fs::remove_dir_all(&folder));
    done
}
