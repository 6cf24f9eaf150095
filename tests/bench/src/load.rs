//! Clients: each sends its next request after the previous response is complete, or when the next
//! one is due.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, task::JoinSet, task::yield_now};

use crate::http::{Body, Head, Wire};

/// The request that clients send over and over.
#[derive(Clone)]
pub(crate) struct Shot {
    /// Head and body.
    bytes: Arc<[u8]>,
}

/// The result of a round.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) requests: usize,
    pub(crate) events: usize,
    /// Responses whose request was edited by a plugin.
    pub(crate) edited: usize,
    /// The time to the first byte of each body.
    pub(crate) first: Vec<Duration>,
    /// The time to the end of each response.
    pub(crate) whole: Vec<Duration>,
}

impl Shot {
    pub(crate) fn new(path: &str, key: &str, body: &[u8]) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {key}\r\nanthropic-version: 2023-06-01\r\n\
             anthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14\r\ncontent-type: application/json\r\n\
             accept: application/json\r\nuser-agent: bench\r\nx-claude-code-session-id: 6f1c0a52-8f0e-4a53-9a6e-0f5d6f3f9c11\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        Self {
            bytes: [head.as_bytes(), body].concat().into(),
        }
    }

    /// Sends the request and reads the head of the response, which must be a success.
    pub(crate) async fn sent(&self, wire: &mut Wire) -> io::Result<Head> {
        wire.send(&self.bytes).await?;
        let head = wire.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if head.first.contains(" 200 ") {
            return Ok(head);
        }
        let mut text = Vec::new();
        wire.body(&head, |bytes| text.extend_from_slice(bytes))
            .await?;
        let text = String::from_utf8_lossy(&text);
        Err(io::Error::other(format!("{}: {text}", head.first)))
    }
}

/// Sends `each` requests from each of `clients` connections.
pub(crate) async fn closed(
    port: u16,
    shot: &Shot,
    clients: usize,
    each: usize,
) -> io::Result<Outcome> {
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let shot = shot.clone();
        tasks.spawn(async move { client(port, &shot, each).await });
    }
    let mut all = Outcome::default();
    while let Some(done) = tasks.join_next().await {
        let one = done.map_err(io::Error::other)??;
        all.requests += one.requests;
        all.events += one.events;
        all.edited += one.edited;
        all.first.extend(one.first);
        all.whole.extend(one.whole);
    }
    Ok(all)
}

/// Sends from each of `clients` connections for `warming` and then `span`. Responses that end
/// within `span` count.
pub(crate) async fn lasting(
    port: u16,
    shot: &Shot,
    clients: usize,
    warming: Duration,
    span: Duration,
) -> io::Result<Outcome> {
    // Connections are made one after the other: an overflowing accept queue would be measured
    // instead of requests.
    let mut wires = Vec::new();
    for _ in 0..clients {
        wires.push(Wire::connect(port).await?);
    }
    let from = Instant::now() + warming;
    let until = from + span;
    let mut tasks = JoinSet::new();
    for mut wire in wires {
        let shot = shot.clone();
        tasks.spawn(async move {
            let mut whole = Vec::new();
            let mut done = 0;
            loop {
                let begun = Instant::now();
                let head = shot.sent(&mut wire).await?;
                wire.body(&head, |_| {}).await?;
                let now = Instant::now();
                if now > until {
                    return io::Result::Ok((done, whole));
                }
                done += usize::from(now > from);
                // Earlier requests waited for connections to be made.
                if begun > from {
                    whole.push(now - begun);
                }
            }
        });
    }
    let mut all = Outcome::default();
    while let Some(one) = tasks.join_next().await {
        let (done, whole) = one.map_err(io::Error::other)??;
        all.requests += done;
        all.whole.extend(whole);
    }
    Ok(all)
}

/// Sends this many requests a second, each when it is due, over any free connection. Latency is
/// counted from when the request was due.
pub(crate) async fn due(
    port: u16,
    shot: &Shot,
    connections: usize,
    rate: f64,
    span: Duration,
) -> io::Result<Outcome> {
    let mut wires = Vec::new();
    for _ in 0..connections {
        wires.push(Wire::connect(port).await?);
    }
    let every = Duration::from_secs_f64(1.0 / rate);
    let begun = Instant::now();
    let next = Arc::new(Mutex::new(begun));
    let mut tasks = JoinSet::new();
    for mut wire in wires {
        let (shot, next) = (shot.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut whole = Vec::new();
            while let Some(due) = turn(&next, every, begun + span).await {
                let head = shot.sent(&mut wire).await?;
                wire.body(&head, |_| {}).await?;
                whole.push(due.elapsed());
            }
            io::Result::Ok(whole)
        });
    }
    let mut all = Outcome::default();
    while let Some(whole) = tasks.join_next().await {
        let whole = whole.map_err(io::Error::other)??;
        all.requests += whole.len();
        all.whole.extend(whole);
    }
    Ok(all)
}

/// Takes the next request and waits until it is due; `None` after the end.
async fn turn(next: &Mutex<Instant>, every: Duration, end: Instant) -> Option<Instant> {
    let mut next = next.lock().await;
    let due = *next;
    if due >= end {
        return None;
    }
    *next += every;
    // A timer's millisecond is longer than what is measured. One client waits here, and the others
    // wait for the lock.
    while Instant::now() < due {
        yield_now().await;
    }
    Some(due)
}

async fn client(port: u16, shot: &Shot, requests: usize) -> io::Result<Outcome> {
    let mut wire = Wire::connect(port).await?;
    let mut outcome = Outcome::default();
    for _ in 0..requests {
        let begun = Instant::now();
        let head = shot.sent(&mut wire).await?;
        let mut first = None;
        let seen = |_: &[u8]| first = first.or_else(|| Some(begun.elapsed()));
        let Body { bytes, events } = wire.body(&head, seen).await?;
        if bytes == 0 {
            return Err(io::Error::other("an empty answer"));
        }
        outcome.first.extend(first);
        outcome.whole.push(begun.elapsed());
        outcome.requests += 1;
        outcome.edited += usize::from(head.edited);
        outcome.events += events;
    }
    Ok(outcome)
}
