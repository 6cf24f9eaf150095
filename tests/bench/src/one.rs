//! One server under one load, for a profiler: `one:strip:json:600000:32`.

use std::{io, path::Path, time::Instant};

use crate::{
    body,
    load::{self, Shot},
    mock,
    subjects::{
        DECLINES, GEMINI, KEY, NO_LEDGER, NONE_FIRES, OPENAI, STRIP_FIRES, STRIP_NO_LEDGER,
        Subject, TEN_MORE,
    },
};

/// The server and its load.
struct One<'a> {
    server: &'a str,
    answer: &'a str,
    bytes: usize,
    clients: usize,
}

/// Prints the process id of the server before a hundred requests for each of the rounds, and the
/// result after them.
#[expect(clippy::print_stdout, reason = "the profiler waits for the line")]
pub(crate) async fn run(folder: &Path, what: &str, rounds: usize) -> io::Result<()> {
    let one = One::of(what).ok_or_else(|| {
        let wanted = "one:SERVER:ANSWER:BYTES:CLIENTS, as in one:strip:json:600000:32";
        io::Error::other(format!("`{what}`: expected {wanted}"))
    })?;
    let subject = one.subject(folder).await?;
    let body = body::request(one.answer, one.bytes);
    let shot = Shot::new(&subject.path(one.answer), KEY, &body);
    // Warms up with immediate responses, since a slow one may take a minute.
    let first = Shot::new(
        &subject.path("json"),
        KEY,
        &body::request("json", one.bytes),
    );
    load::closed(subject.server.port, &first, 1, 20).await?;
    println!("{}", subject.server.worker);
    let (before, begun) = (subject.server.cpu()?, Instant::now());
    let each = (rounds * 100).div_ceil(one.clients);
    let done = load::closed(subject.server.port, &shot, one.clients, each).await?;
    let (cost, took) = (subject.server.cpu()? - before, begun.elapsed());
    let cost = cost.as_secs_f64() * 1e6 / done.requests as f64;
    println!("{cost:.0} us per request");
    println!(
        "{}: {} requests of {} bytes from {} clients in {:.2} s: {} answers with {} events, {} of requests that plugins edited",
        subject.name,
        done.requests,
        body.len(),
        one.clients,
        took.as_secs_f64(),
        done.whole.len(),
        done.events,
        done.edited,
    );
    subject.server.stop().await
}

impl<'a> One<'a> {
    /// Parses the argument; parts that are left out get the plainest value.
    fn of(what: &'a str) -> Option<Self> {
        let mut parts = what.split(':').skip(1);
        let mut or = |plain| match parts.next() {
            None | Some("") => plain,
            Some(part) => part,
        };
        Some(Self {
            server: or("none"),
            answer: or("json"),
            bytes: or("1000").parse().ok()?,
            clients: or("1").parse().ok().filter(|&clients| clients > 0)?,
        })
    }

    async fn subject(&self, folder: &Path) -> io::Result<Subject> {
        let mock = mock::start().await?;
        let setup = match self.server {
            "nginx" => return Subject::nginx(folder, mock, false).await,
            "relay" => return Subject::relay(mock).await,
            "none" => NONE_FIRES,
            "no-ledger" => NO_LEDGER,
            "strip" => STRIP_FIRES,
            "strip-no-ledger" => STRIP_NO_LEDGER,
            "more" => TEN_MORE,
            "declines" => DECLINES,
            "gemini" => GEMINI,
            "openai" => OPENAI,
            other => {
                return Err(io::Error::other(format!(
                    "unknown server `{other}`, expected one of nginx, relay, none, no-ledger, strip, strip-no-ledger, more, declines, gemini, openai"
                )));
            }
        };
        Subject::gateway(folder, mock, setup).await
    }
}
