//! Measures how long one request holds a worker thread. Run by hand, without other load:
//!
//! ```sh
//! cargo test --release --workspace --test e2e -- --ignored --nocapture held
//! ```

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{Gateway, Upstream};

/// The longest that a worker may be held.
const BOUND: Duration = Duration::from_millis(50);

#[test]
#[ignore = "measures time; see docs/reliability.md"]
fn held_workers() {
    let upstream = Upstream::ok();
    let lines = "accounts = [{ name = \"ada\", key = \"k\" }]";
    let preset = |name| format!("preset = \"{name}\"\n{lines}");
    let gateway = Gateway::echo()
        .env("TOKIO_WORKER_THREADS", "1")
        .upstream("compatible", &upstream, &preset("compatible"))
        .upstream("openai", &upstream, &preset("openai"))
        .upstream("gemini", &upstream, &preset("gemini"))
        .route("compatible", &["compatible"])
        .route("openai", &["openai"])
        .route("gemini", &["gemini"])
        .retry("max_attempts = 1")
        .start();
    let mut longest = Duration::ZERO;
    for size in [198_000, 1_000_000, 31_000_000] {
        for upstream in ["compatible", "openai", "gemini"] {
            for (name, body) in bodies(upstream, size) {
                let held = (0..3).map(|_| held_by(&gateway, &body)).min();
                let held = held.unwrap_or_default();
                println!("{held:>10.1?}  {size:>8} bytes  {upstream:<10}  {name}");
                longest = longest.max(held);
            }
        }
    }
    assert!(longest < BOUND, "{longest:?}");
}

/// Bodies of about this size whose values are as many, as long or as deep as possible.
fn bodies(model: &str, size: usize) -> Vec<(&'static str, String)> {
    let begun = format!("{{\"model\":\"{model}\",\"max_tokens\":1,");
    let many = |item: &str| format!("{item},").repeat(size / (item.len() + 1));
    let blocks = |item: &str| {
        let more = many(item);
        format!("{begun}\"messages\":[{{\"role\":\"user\",\"content\":[{more}{item}]}}]}}")
    };
    let messages = |item: &str| format!("{begun}\"messages\":[{}{item}]}}", many(item));
    let merged = |first: &str, item: &str| {
        let more = many(item);
        format!(
            "{begun}\"messages\":[{{\"role\":\"user\",\"content\":[{first}]}},{{\"role\":\"user\",\"content\":[{more}{item}]}}]}}"
        )
    };
    let user = "{\"role\":\"user\",\"content\":\"x\"}";
    let assistant = "{\"role\":\"assistant\",\"content\":\"x\"}";
    let text = |text: String| {
        format!("{begun}\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}")
    };
    vec![
        ("numbers joined to a message", merged("0", "0")),
        ("objects joined to a message", merged("{}", "{}")),
        ("short messages of one role", messages(user)),
        ("short messages", messages(&format!("{user},{assistant}"))),
        ("members `cache_control`", blocks("{\"cache_control\":0}")),
        (
            "texts with breakpoints",
            blocks("{\"type\":\"text\",\"text\":\"x\",\"cache_control\":{\"type\":\"ephemeral\"}}"),
        ),
        ("texts", blocks("{\"type\":\"text\",\"text\":\"x\"}")),
        ("images", blocks("{\"type\":\"image\",\"source\":{}}")),
        (
            "thinking blocks",
            blocks("{\"type\":\"thinking\",\"thinking\":\"x\",\"signature\":\"c2ln\"}"),
        ),
        (
            "members",
            format!("{begun}{}\"messages\":[{user}]}}", many("\"a\":0")),
        ),
        (
            "escaped keys",
            blocks(&format!(
                "{{{}\"type\":\"text\"}}",
                "\"\\u0061\":0,".repeat(50)
            )),
        ),
        ("a text of quotes", text("\\\"".repeat(size / 2))),
        ("a text of spaces", text(" ".repeat(size))),
        (
            "a `user_id`",
            format!(
                "{begun}\"metadata\":{{\"user_id\":\"{}\"}},\"messages\":[{user}]}}",
                "{\\\"a\\\":".repeat(size / 7)
            ),
        ),
        (
            "a model",
            format!(
                "{begun}\"model\":\"{}\",\"messages\":[{user}]}}",
                "x".repeat(size)
            ),
        ),
    ]
}

/// The longest CPU time of a thread between a request for `/healthz` and its response while the
/// gateway works on this body, but no more than the time that passed. Other processes do not count.
fn held_by(gateway: &Gateway, body: &str) -> Duration {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let probe = scope.spawn(|| {
            let mut socket = TcpStream::connect(gateway.addr).unwrap();
            socket.set_nodelay(true).unwrap();
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let (before, begun) = (cpu_times(gateway.id()), Instant::now());
                socket
                    .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                    .unwrap();
                assert_ne!(socket.read(&mut [0; 4096]).unwrap(), 0);
                let passed = begun.elapsed();
                let since = |(thread, time): (u64, Duration)| {
                    time.saturating_sub(*before.get(&thread).unwrap_or(&time))
                };
                let times = cpu_times(gateway.id()).into_iter().map(since);
                longest = longest.max(passed.min(times.max().unwrap_or_default()));
            }
            longest
        });
        gateway.message(body);
        done.store(true, Ordering::Relaxed);
        probe.join().unwrap()
    })
}

/// The CPU time of each thread of a process.
fn cpu_times(process: u32) -> BTreeMap<u64, Duration> {
    let mut times = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let thread = thread.unwrap();
        // The thread may have ended.
        let stat = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
        let id = thread.file_name().to_string_lossy().parse();
        if let (Ok(id), Some(nanos)) = (id, nanos) {
            times.insert(id, Duration::from_nanos(nanos));
        }
    }
    times
}
