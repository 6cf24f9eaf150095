//! Many exchanges through upstreams that fail at random: each ends in exactly one way, and no
//! cooldown is broken.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    rotation::session,
    support::{Answer, Gateway, Received, Reply, Upstream},
};

const EXCHANGES: u64 = 2_000;
const CLIENTS: u64 = 16;
const ATTEMPTS: usize = 3;

/// The number of exchanges in a row for one model, all of one client. No other client uses the
/// model, so an attempt during a cooldown must have known of it.
const OF_ONE_MODEL: u64 = 5;

/// The shortest cooldown that the gateway chooses itself, less some tolerance for clocks.
const SHORTEST_DEFAULT: Duration = Duration::from_millis(700);

/// What the upstream does with an attempt.
#[derive(Clone, Debug, PartialEq)]
enum Met {
    Fine,
    Stated(Duration),
    Unstated(u16),
    Refused,
    Reset,
    Empty,
    Html,
    Silence,
    ErrorFirst,
    /// Cuts the stream after this many bytes.
    Cut(usize),
    ErrorInside,
}

#[derive(Clone, Debug)]
struct Attempt {
    exchange: u64,
    key: String,
    model: String,
    /// When the upstream received the request.
    at: Instant,
    met: Met,
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// The seed of the run: `SEED`, or a random one.
fn seed() -> u64 {
    let given = std::env::var("SEED").ok();
    let given = given.map(|seed| seed.parse().expect("SEED is a number"));
    given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.unwrap().as_micros() as u64
    })
}

/// What the upstream does, determined by seed, exchange and attempt alone.
fn draw(seed: u64, exchange: u64, attempt: u64, streamed: bool) -> Met {
    let mut chance = Chance(seed ^ exchange.wrapping_mul(0x1000_0001) ^ (attempt << 56));
    match chance.below(100) {
        0..62 => Met::Fine,
        62..74 => Met::Stated(Duration::from_millis(20 + chance.below(150))),
        74..80 => Met::Unstated([500, 502, 503, 529][chance.below(4) as usize]),
        80..84 => Met::Refused,
        84..87 => Met::Reset,
        87..88 => Met::Empty,
        88..89 => Met::Html,
        89..91 => Met::Silence,
        _ if !streamed => Met::Fine,
        91..94 => Met::ErrorFirst,
        94..98 => {
            let length = stream(exchange, attempt).len() as u64;
            Met::Cut((chance.below(length - 1)) as usize)
        }
        _ => Met::ErrorInside,
    }
}

/// A stream whose text names the exchange and the attempt, in several deltas.
fn stream(exchange: u64, attempt: u64) -> String {
    let event = |name: &str, data: String| format!("event: {name}\ndata: {data}\n\n");
    let mut text = event(
        "message_start",
        format!(
            r#"{{"type":"message_start","message":{{"id":"msg_{exchange}_{attempt}","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":1,"output_tokens":1}}}}}}"#
        ),
    );
    text += &event(
        "content_block_start",
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#
            .to_owned(),
    );
    for part in 0..4 {
        text += &event(
            "content_block_delta",
            format!(
                r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{exchange}/{attempt}/{part} "}}}}"#
            ),
        );
    }
    text += &event(
        "content_block_stop",
        r#"{"type":"content_block_stop","index":0}"#.to_owned(),
    );
    text += &event("message_delta", r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":3}}"#.to_owned());
    text + &event("message_stop", r#"{"type":"message_stop"}"#.to_owned())
}

fn message(exchange: u64, attempt: u64) -> String {
    format!(
        r#"{{"id":"msg_{exchange}_{attempt}","type":"message","role":"assistant","model":"m","content":[{{"type":"text","text":"{exchange}/{attempt}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":1,"output_tokens":1}}}}"#
    )
}

const OVERLOADED: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";

fn answer(met: &Met, exchange: u64, attempt: u64, streamed: bool) -> Answer {
    match met {
        Met::Fine if streamed => Answer::sse(&stream(exchange, attempt)),
        Met::Fine => Answer::json(200, &message(exchange, attempt)),
        Met::Stated(cooldown) => Answer::error(429, "rate_limit_error", "slow down")
            .header("retry-after-ms", &cooldown.as_millis().to_string()),
        Met::Unstated(status) => Answer::status(*status),
        Met::Refused => Answer::error(400, "invalid_request_error", "no"),
        Met::Reset => Answer::Reset,
        Met::Empty => Answer::json(200, ""),
        Met::Html => Answer::whole(200, "text/html", "<html>"),
        Met::Silence => Answer::hang().0,
        Met::ErrorFirst => Answer::sse(OVERLOADED),
        Met::Cut(at) => {
            let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99999\r\n\r\n".to_vec();
            bytes.extend(&stream(exchange, attempt).as_bytes()[..*at]);
            Answer::Raw(bytes)
        }
        Met::ErrorInside => {
            let whole = stream(exchange, attempt);
            let half = whole.find("event: content_block_stop").unwrap();
            Answer::sse(&format!("{}{OVERLOADED}", &whole[..half]))
        }
    }
}

#[test]
fn every_exchange_ends_in_exactly_one_way_and_no_cooldown_is_broken() {
    let seed = seed();
    println!("to repeat this run: SEED={seed}");
    let attempts = Arc::new(Mutex::new(Vec::<Attempt>::new()));
    let remembered = Arc::clone(&attempts);
    let upstream = Upstream::with(move |request| meet(seed, &remembered, request));
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob", "cyd"])
        .retry(&format!("max_attempts = {ATTEMPTS}\nfirst_event = \"250ms\"\nanswer = \"250ms\"\nmax_cooldown_wait = \"1500ms\"\nsame_account_wait = \"60ms\"\nping_after = \"100ms\"\nping_every = \"50ms\""))
        .start();
    let next = AtomicU64::new(0);
    let ended = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let first = next.fetch_add(OF_ONE_MODEL, Ordering::Relaxed);
                    if first >= EXCHANGES {
                        return;
                    }
                    for exchange in first..first + OF_ONE_MODEL {
                        let seen = ask(&gateway, exchange);
                        ended.lock().unwrap().insert(exchange, seen);
                    }
                }
            });
        }
    });
    let attempts = attempts.lock().unwrap().clone();
    let mut of: BTreeMap<u64, Vec<Attempt>> = BTreeMap::new();
    for attempt in &attempts {
        of.entry(attempt.exchange)
            .or_default()
            .push(attempt.clone());
    }
    let ended = ended.into_inner().unwrap();
    assert_eq!(ended.len() as u64, EXCHANGES, "an exchange was lost");
    let mut complete = 0;
    for (exchange, seen) in &ended {
        let tried = of.get(exchange).map_or(&[][..], Vec::as_slice);
        complete += u32::from(ends_once(*exchange, seen, tried));
    }
    respects_cooldowns(&attempts);
    let retried = of.values().filter(|tried| tried.len() > 1).count();
    println!("{complete} complete, {retried} with retries");
    // Most faults are transient, so most exchanges succeed.
    assert!(u64::from(complete) > EXCHANGES * 8 / 10, "{complete}");
    assert!(retried > 100, "{retried}");
    crate::assert_eventually!(
        records(&gateway) as u64 == EXCHANGES,
        "{} records of {EXCHANGES} exchanges",
        records(&gateway)
    );
}

fn records(gateway: &Gateway) -> usize {
    let log = gateway.log();
    log.iter()
        .filter(|line| line.contains("exchange") && line.contains("status="))
        .count()
}

fn meet(seed: u64, attempts: &Mutex<Vec<Attempt>>, request: &Received) -> Answer {
    let body = request.json();
    let (exchange, streamed) = (body["soak"].as_u64().unwrap(), body["stream"] == true);
    let mut attempts = attempts.lock().unwrap();
    let before = attempts
        .iter()
        .filter(|attempt| attempt.exchange == exchange)
        .count() as u64;
    let met = draw(seed, exchange, before, streamed);
    attempts.push(Attempt {
        exchange,
        key: request.key(),
        model: body["model"].as_str().unwrap().to_owned(),
        at: request.at,
        met: met.clone(),
    });
    drop(attempts);
    answer(&met, exchange, before, streamed)
}

fn ask(gateway: &Gateway, exchange: u64) -> Reply {
    // Half of the requests stream, and most have a session.
    let body = format!(
        r#"{{"model":"m-{}","max_tokens":16,"soak":{exchange},"messages":[{{"role":"user","content":"hi"}}],"stream":{}}}"#,
        exchange / OF_ONE_MODEL,
        exchange.is_multiple_of(2)
    );
    let request = gateway
        .request("POST", "/v1/messages")
        .header("content-type", "application/json")
        .header("x-api-key", "k");
    let request = match exchange % 4 {
        0 => request,
        _ => request.header("x-claude-code-session-id", &session(exchange as usize % 40)),
    };
    request.body(body).send()
}

/// Whether the response is complete; anything else but an honest error fails.
#[track_caller]
fn ends_once(exchange: u64, seen: &Reply, tried: &[Attempt]) -> bool {
    let text = seen.text();
    let story = || format!("exchange {exchange}: {tried:#?}\n{} {text}", seen.status);
    assert!(seen.whole, "the connection ended early: {}", story());
    // On a reused connection a reset is a stale connection, and the request is sent again.
    let resets = tried.iter().filter(|attempt| attempt.met == Met::Reset);
    assert!(tried.len() <= ATTEMPTS + resets.count(), "{}", story());
    let begun = |attempt: &Attempt| match attempt.met {
        Met::Fine | Met::ErrorInside => true,
        Met::Cut(at) => stream(exchange, 0)[..at].contains("\n\n"),
        _ => false,
    };
    let last = tried.len().saturating_sub(1);
    assert!(
        !tried.iter().take(last).any(begun),
        "retried after an event was sent: {}",
        story()
    );
    if seen.status != 200 {
        let error = seen.json();
        assert_eq!(error["type"], "error", "{}", story());
        assert!(!tried.last().is_some_and(begun), "{}", story());
        return false;
    }
    let number = last as u64;
    if !exchange.is_multiple_of(2) {
        assert_eq!(text, message(exchange, number), "{}", story());
        return true;
    }
    let events: String = text
        .split_inclusive("\n\n")
        .filter(|event| !event.starts_with("event: ping\n"))
        .collect();
    let whole = stream(exchange, number);
    if events == whole {
        assert_eq!(tried[last].met, Met::Fine, "{}", story());
        return true;
    }
    let at = events
        .find("event: error\n")
        .unwrap_or_else(|| panic!("neither complete nor an error: {}", story()));
    let (received, error) = events.split_at(at);
    assert!(whole.starts_with(received), "{}", story());
    assert!(!received.contains("message_stop"), "{}", story());
    let data = error
        .trim_end()
        .strip_prefix("event: error\ndata: ")
        .unwrap_or_else(|| panic!("{}", story()));
    let error: serde_json::Value =
        serde_json::from_str(data).unwrap_or_else(|_| panic!("{}", story()));
    assert_eq!(error["type"], "error", "{}", story());
    false
}

/// Checks that no account was used for a model during its cooldown.
#[track_caller]
fn respects_cooldowns(attempts: &[Attempt]) {
    let mut until: BTreeMap<(&str, &str), (Instant, &Attempt)> = BTreeMap::new();
    for attempt in attempts {
        let used = (&*attempt.key, &*attempt.model);
        if let Some((until, cause)) = until.get(&used) {
            assert!(
                attempt.at >= *until,
                "{:?} too early: {attempt:?}\nafter {cause:?}",
                *until - attempt.at
            );
        }
        let cooldown = match attempt.met {
            Met::Stated(cooldown) => cooldown,
            Met::Unstated(_) => SHORTEST_DEFAULT,
            _ => continue,
        };
        until.insert(used, (attempt.at + cooldown, attempt));
    }
}
