//! How often the Claude Code CLI retries a request, with and without `x-should-retry: false` on the
//! response. The counts are listed in docs/retries.md.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use crate::{
    claude_code, install,
    support::{Answer, TempDir, Upstream},
};

const STATUSES: [(u16, &str); 4] = [
    (400, "invalid_request_error"),
    (401, "authentication_error"),
    (413, "request_too_large"),
    (502, "api_error"),
];

/// The time limit for statuses that the CLI retries for minutes.
const ENOUGH: Duration = Duration::from_secs(60);

/// What the CLI did: the number of its requests, and when it gave up, if it did.
struct Did {
    requests: usize,
    ended: Option<Duration>,
}

/// Runs the CLI directly against an upstream that always answers with this error.
fn ask(status: u16, kind: &'static str, with_header: bool) -> Did {
    let upstream = Upstream::with(move |_| {
        let answer = Answer::error(status, kind, "scripted");
        if with_header {
            answer.header("x-should-retry", "false")
        } else {
            answer
        }
    });
    let home = TempDir::new("claude-home");
    let claude = install::claude();
    let mut command = claude_code::command(&claude, home.path(), &upstream.url(), "k", &["hello"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn().expect("the CLI starts");
    let ended = loop {
        if child.try_wait().unwrap().is_some() {
            break Some(begun.elapsed());
        }
        if begun.elapsed() > ENOUGH {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        thread::park_timeout(Duration::from_millis(20));
    };
    Did {
        requests: upstream.received().len(),
        ended,
    }
}

fn all(with_header: bool) -> Vec<(u16, Did)> {
    thread::scope(|scope| {
        let running: Vec<_> = STATUSES
            .map(|(status, kind)| (status, scope.spawn(move || ask(status, kind, with_header))))
            .into_iter()
            .collect();
        running
            .into_iter()
            .map(|(status, did)| (status, did.join().unwrap()))
            .collect()
    })
}

#[test]
fn claude_code_heeds_x_should_retry() {
    if install::skipped() {
        return;
    }
    for (status, did) in all(true) {
        println!(
            "{status} with the header: {} in {:?}",
            did.requests, did.ended
        );
        assert!(did.ended.is_some(), "{status}: still trying");
        // The six that follow a 400 are not repeats: each is smaller than the one before.
        let most = if status == 400 { 6 } else { 1 };
        assert!(did.requests <= most, "{status}: {}", did.requests);
    }
}

#[test]
#[ignore = "takes a minute and asserts nothing: it prints the table of docs/retries.md"]
fn print_how_often_claude_code_asks() {
    for with_header in [false, true] {
        for (status, did) in all(with_header) {
            let ended = did
                .ended
                .map_or("still trying after 60 s".to_owned(), |took| {
                    format!("gave up after {:.1} s", took.as_secs_f64())
                });
            println!(
                "{status} {} x-should-retry: false: {} requests, {ended}",
                if with_header { "with" } else { "without" },
                did.requests
            );
        }
    }
}
