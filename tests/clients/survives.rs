//! Upstream failures as seen by clients: the official SDKs, with their own retries disabled, and
//! the Claude Code CLI succeed or raise a truthful error.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    claude_code, install,
    support::{
        Answer, Gateway, Received, TempDir, Upstream,
        gateway::{Builder, finish_within},
        shapes::{EVENTS, SSE},
    },
};

const LIMIT: Duration = Duration::from_secs(120);
pub(crate) const KEY: &str = "sk-witgate-test";
const THREE: [&str; 3] = ["ada", "bob", "cyd"];

/// Makes a response; each one can be sent only once.
type Make = fn() -> Answer;

/// Failures before a success.
const FAULTS: [(&str, &[Make]); 4] = [
    (
        "429 then success",
        &[|| Answer::error(429, "rate_limit_error", "slow").header("retry-after", "1")],
    ),
    (
        "529 twice then success",
        &[
            || Answer::error(529, "overloaded_error", "busy"),
            || Answer::error(529, "overloaded_error", "busy"),
        ],
    ),
    ("reset before the head", &[|| Answer::Reset]),
    (
        "reset before the first event",
        &[|| {
            Answer::ResetAfter(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 999\r\n\r\n: hello\n\n"
                    .to_vec(),
            )
        }],
    ),
];

fn to(upstream: &Upstream) -> Builder {
    Gateway::echo()
        .auth("strict", &[KEY])
        .pool("up", upstream, &THREE)
}

/// Runs a client script with these arguments after the key, and returns its lines of JSON.
pub(crate) type Run = Box<dyn Fn(&[&str]) -> Vec<Value>>;

/// The script of this name in each SDK.
#[track_caller]
pub(crate) fn both(script: &str) -> [(&'static str, Run); 2] {
    // Node looks for packages beside the script. Each test has its own copy, so that none reads a
    // half-written one.
    let home = install::node();
    let name = thread::current()
        .name()
        .unwrap_or_default()
        .replace("::", "-");
    let copy = home.join(format!("{name}.mjs"));
    fs::copy(install::sources().join(format!("{script}.mjs")), &copy).unwrap();
    let python = install::python("requirements.txt");
    let file = install::sources().join(format!("{script}.py"));
    [
        (
            "python",
            Box::new(move |words| lines(&python, &file, words)),
        ),
        (
            "typescript",
            Box::new(move |words| lines(Path::new("node"), &copy, words)),
        ),
    ]
}

#[track_caller]
fn lines(interpreter: &Path, file: &Path, words: &[&str]) -> Vec<Value> {
    let mut command = Command::new(interpreter);
    command.arg(file).arg(KEY).args(words);
    command.env("NO_PROXY", "127.0.0.1");
    for name in [
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
    ] {
        command.env_remove(name);
    }
    let outcome = finish_within(command, LIMIT);
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.out, outcome.err);
    let lines = outcome.out.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

/// The result of each request in each SDK. A request names its gateway, and `create` or `stream`.
#[track_caller]
pub(crate) fn sdks(asked: &[(&Gateway, &str)]) -> [(&'static str, Vec<Value>); 2] {
    let words: Vec<String> = asked
        .iter()
        .flat_map(|(gateway, how)| [format!("http://{}", gateway.addr), (*how).to_owned()])
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    both("survive").map(|(sdk, run)| {
        let said = run(&words);
        assert_eq!(said.len(), asked.len(), "{sdk}: {said:?}");
        (sdk, said)
    })
}

#[test]
fn the_sdks_get_through_transient_failures() {
    if install::skipped() {
        return;
    }
    let gateways: Vec<(Upstream, Gateway)> = FAULTS
        .iter()
        .map(|(_, faults)| {
            // After a success the faults start again, for the next request.
            let place = Mutex::new(0);
            let upstream = Upstream::with(move |request| {
                let mut at = place.lock().unwrap();
                let answer = faults.get(*at).map(|make| make());
                *at = if answer.is_some() { *at + 1 } else { 0 };
                answer.unwrap_or_else(|| Answer::hello(request))
            });
            // Cooldowns from the request before do not matter here.
            let gateway = to(&upstream).retry("max_cooldown_wait = \"20s\"").start();
            (upstream, gateway)
        })
        .collect();
    let asked: Vec<(&Gateway, &str)> = gateways
        .iter()
        .flat_map(|(_, gateway)| [(gateway, "create"), (gateway, "stream")])
        .collect();
    for (sdk, said) in sdks(&asked) {
        for (at, said) in said.iter().enumerate() {
            let (name, how) = (FAULTS[at / 2].0, asked[at].1);
            assert_eq!(
                said["message"]["content"][0]["text"], "hello",
                "{sdk} {how}, {name}: {said}"
            );
        }
    }
    for ((name, faults), (upstream, gateway)) in FAULTS.iter().zip(&gateways) {
        assert_eq!(upstream.received().len(), 4 * (faults.len() + 1), "{name}");
        assert_eq!(records(gateway), 4, "{name}: the client retried");
    }
}

#[test]
fn the_sdks_raise_when_a_stream_is_truncated() {
    if install::skipped() {
        return;
    }
    let upstream = Upstream::with(|_| truncated());
    let gateway = to(&upstream).start();
    for (sdk, said) in sdks(&[(&gateway, "stream")]) {
        let error = said[0]["error"].as_str().unwrap_or_default();
        assert!(error.starts_with("API"), "{sdk}: {said:?}");
        assert!(
            said[0]["says"].as_str().unwrap().contains("up"),
            "{sdk}: {said:?}"
        );
    }
}

/// Some text, and then the connection is lost.
fn truncated() -> Answer {
    let events = EVENTS[..4].concat();
    Answer::Raw(
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n{events}")
            .into_bytes(),
    )
}

/// Whether the request is of the conversation, and not one that the CLI makes besides.
fn is_main(request: &Received) -> bool {
    request.path.starts_with("/v1/messages?") || request.path == "/v1/messages"
}

#[test]
fn claude_code_gets_through_transient_failures() {
    if install::skipped() {
        return;
    }
    let claude = install::claude();
    let home = TempDir::new("claude-home");
    for (name, faults) in FAULTS {
        let upstream = Upstream::script_for(faults.iter().map(|make| make()), Answer::hello);
        let gateway = to(&upstream).start();
        let begun = std::time::Instant::now();
        let outcome = claude_code::print(&claude, home.path(), &gateway, KEY, &["hello"]);
        outcome.has_code(0);
        let answer: Value = serde_json::from_str(&outcome.out).expect("a JSON result");
        assert_eq!(answer["is_error"], false, "{name}: {answer}");
        assert_eq!(answer["result"], "hello", "{name}: {answer}");
        // The gateway retried by itself: the client asked once.
        let asked = upstream.received().into_iter().filter(is_main).count();
        assert_eq!(asked, faults.len() + 1, "{name}");
        assert_eq!(records(&gateway), 1, "{name}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{name}");
    }
}

#[test]
fn claude_code_goes_on_after_a_truncated_stream() {
    if install::skipped() {
        return;
    }
    let claude = install::claude();
    let home = TempDir::new("claude-home");
    let upstream = Upstream::script_for([truncated()], Answer::hello);
    let gateway = to(&upstream).start();
    let outcome = claude_code::print(&claude, home.path(), &gateway, KEY, &["hello"]);
    outcome.has_code(0);
    let answer: Value = serde_json::from_str(&outcome.out).expect("a JSON result");
    assert_eq!(answer["is_error"], false, "{answer}");
    assert!(
        answer["result"].as_str().unwrap().contains("hello"),
        "{answer}"
    );
    assert!(
        upstream.received().len() >= 2,
        "the truncated stream was taken for complete"
    );
}

/// The number of exchanges that have ended.
fn records(gateway: &Gateway) -> usize {
    let log = gateway.log();
    log.iter()
        .filter(|line| {
            line.contains("exchange") && line.contains("status=") && line.contains("messages")
        })
        .count()
}

#[test]
fn half_a_minute_of_silence_is_bridged_in_real_time() {
    if install::skipped() {
        return;
    }
    let claude = install::claude();
    let python = install::python("requirements.txt");
    let home = TempDir::new("claude-home");
    let (first, second) = (Answer::streamed(), Answer::streamed());
    let writers = [first.1, second.1];
    let upstream = Upstream::script_for([first.0, second.0], Answer::hello);
    let gateway = to(&upstream).start();
    let (ended, end) = mpsc::channel();
    thread::scope(|scope| {
        let cli = scope.spawn({
            let ended = ended.clone();
            let (gateway, claude, home) = (&gateway, &claude, &home);
            move || {
                let outcome = claude_code::print(claude, home.path(), gateway, KEY, &["hello"]);
                // The test may have failed and ended.
                let _ = ended.send("Claude Code");
                outcome
            }
        });
        let sdk = scope.spawn({
            let (gateway, python) = (&gateway, &python);
            move || {
                let mut command = Command::new(python);
                command
                    .arg(install::sources().join("survive.py"))
                    .arg(KEY)
                    .arg(format!("http://{}", gateway.addr))
                    .arg("stream")
                    .env("NO_PROXY", "127.0.0.1");
                let outcome = finish_within(command, LIMIT);
                let _ = ended.send("the SDK");
                outcome
            }
        });
        upstream.request(2);
        // What must not happen is that one of them gives up.
        assert_eq!(
            end.recv_timeout(Duration::from_secs(30)),
            Err(RecvTimeoutError::Timeout)
        );
        for writer in &writers {
            writer.write(SSE);
            writer.end();
        }
        let outcome = cli.join().unwrap();
        outcome.has_code(0).says(&["hello"]);
        sdk.join().unwrap().has_code(0).says(&["hello"]);
    });
    assert_eq!(upstream.received().len(), 2, "no client retried");
}
