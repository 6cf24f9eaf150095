//! How a response ends: complete, or visibly truncated. A recorded stream is cut at every byte.

use crate::{
    rotation::{ask, session},
    support::{
        Answer, Gateway, Upstream, component,
        shapes::{EVENTS, HELLO_STREAM},
    },
};

/// A stream of everything that is easily mistaken: thinking, a signature, tool input in pieces, a
/// comment, `id:`, CRLF in one event and an unknown field. Its text contains the end of a stream.
fn recorded() -> String {
    let event = |name: &str, data: &str| format!("event: {name}\ndata: {data}\n\n");
    [
        EVENTS[0].to_owned(),
        event("content_block_start", r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#),
        event("content_block_delta", r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"so"}}"#),
        event("content_block_delta", r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQB/w8+="}}"#),
        event("content_block_stop", r#"{"type":"content_block_stop","index":0}"#),
        ": a comment\n\n".to_owned(),
        event("ping", r#"{"type":"ping"}"#),
        "id: 7\r\nunknown: x\r\nevent: content_block_start\r\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\r\n\r\n".to_owned(),
        event("content_block_delta", r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"event: message_stop é"}}"#),
        event("content_block_stop", r#"{"type":"content_block_stop","index":1}"#),
        event("content_block_start", r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"Bash","input":{}}}"#),
        event("content_block_delta", r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"command\":\"rm -r"}}"#),
        event("content_block_delta", r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":" old\"}"}}"#),
        event("content_block_stop", r#"{"type":"content_block_stop","index":2}"#),
        event("message_delta", r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":3}}"#),
        EVENTS[6].to_owned(),
    ]
    .concat()
}

/// The end of the data of the recorded `message_delta`.
const STOP_REASON: &str = "\"usage\":{\"output_tokens\":3}}";

/// Lines of a stream, which end with LF, CRLF or, where a cut splits a CRLF, CR.
fn lines_of(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// The number of blocks that a stream closed, and whether the stream itself ended.
fn closed(text: &str) -> (usize, bool) {
    let text = lines_of(text);
    let named = |name: &str| {
        let line = format!("event: {name}");
        text.lines().filter(|other| *other == line).count()
    };
    (named("content_block_stop"), named("message_stop") > 0)
}

fn cut_at(at: usize, lines: &str) -> Vec<u8> {
    let stream = recorded();
    // The length is never reached: the connection ends first.
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99999\r\n{lines}\r\n"
    )
    .into_bytes();
    bytes.extend(&stream.as_bytes()[..at]);
    bytes
}

/// The offset to cut at, taken from the request's `max_tokens`.
fn asked_cut(request: &crate::support::Received) -> usize {
    request.json()["max_tokens"].as_u64().unwrap() as usize
}

#[test]
fn a_cut_at_any_byte_never_makes_an_end() {
    let stream = recorded();
    for listening in [false, true] {
        let upstream = Upstream::with(|request| {
            let at = asked_cut(request);
            // A clean end of the framing is no better than a lost connection.
            if at.is_multiple_of(2) {
                Answer::Raw(cut_at(at, ""))
            } else {
                Answer::whole(200, "text/event-stream", &recorded().as_bytes()[..at])
            }
        });
        let mut builder = Gateway::echo()
            .pool("up", &upstream, &["ada"])
            .retry("max_attempts = 1\nmax_cooldown_wait = \"0s\"");
        if listening {
            builder = builder.plugin("50-events.wasm", component("events"));
        }
        let gateway = builder.start();
        let whole = stream.len() - 1;
        let next = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if at >= whole {
                            return;
                        }
                        if !stream.is_char_boundary(at) {
                            continue;
                        }
                        // Each request has its own model, so that a failure puts no account on
                        // cooldown for the next.
                        let body = HELLO_STREAM
                            .replace("\"max_tokens\":16", &format!("\"max_tokens\":{at}"))
                            .replace("claude-opus-5-5", &format!("m-{at}"));
                        let seen = ask(&gateway, &session(at)).body(body).send();
                        judge(at, &stream[..at], &seen);
                    }
                });
            }
        });
    }
}

#[track_caller]
fn judge(at: usize, received: &str, seen: &crate::support::Reply) {
    let text = seen.text();
    // After the stop reason a clean end completes the message, even without its last line breaks.
    if !at.is_multiple_of(2) && received.contains(STOP_REASON) {
        seen.has_status(200).has_not("event: error");
        let stops = text.matches("event: message_stop\n").count();
        assert_eq!(stops, 1, "{at}:\n{text}");
        assert!(text.ends_with("\n\n"), "{at}:\n{text}");
        return;
    }
    if seen.status != 200 {
        // Without a single whole event received, the client gets an error with its status.
        assert!(!received.contains("\n\n"), "{at}: {text}");
        assert_eq!(seen.json()["type"], "error", "{at}");
        return;
    }
    let (blocks, ended) = closed(&text);
    assert!(!ended, "{at}: an end was made up:\n{text}");
    assert!(
        blocks <= closed(received).0,
        "{at}: a block was closed:\n{text}"
    );
    let errors = lines_of(&text)
        .lines()
        .filter(|line| *line == "event: error")
        .count();
    assert_eq!(errors, 1, "{at}:\n{text}");
    let (passed, error) = text.split_at(text.rfind("event: error").unwrap());
    assert!(
        received.starts_with(passed),
        "{at}: what was received was changed:\n{text}"
    );
    // The error is an event of its own, and the last one.
    assert!(
        passed.is_empty() || lines_of(passed).ends_with("\n\n"),
        "{at}: the error is within an event:\n{text}"
    );
    let data = error.trim_end().split_once("data: ").unwrap().1;
    let error: serde_json::Value =
        serde_json::from_str(data).unwrap_or_else(|error| panic!("{at}: {error}\n{text}"));
    assert_eq!(error["type"], "error");
}

#[test]
fn a_plugin_that_keeps_everything_changes_nothing_event_by_event() {
    let stream = recorded();
    for guarded in ["", "settings = { deltas = [\"signature_delta\"] }"] {
        let (upstream, writer) = Upstream::streamed();
        let gateway = Gateway::to(&upstream)
            .plugin("50-events.wasm", component("events"))
            .tables(&format!("[plugin.events]\n{guarded}"))
            .start();
        let pending = ask(&gateway, &session(1)).body(HELLO_STREAM).sent();
        upstream.request(1);
        let mut events = Vec::new();
        let mut rest = stream.as_str();
        while !rest.is_empty() {
            let end = [
                rest.find("\n\n").map(|at| at + 2),
                rest.find("\r\n\r\n").map(|at| at + 4),
            ]
            .into_iter()
            .flatten()
            .min()
            .unwrap();
            events.push(&rest[..end]);
            rest = &rest[end..];
        }
        writer.write(events[0]);
        let mut seen = pending.answer();
        assert_eq!(seen.next_event().as_deref(), Some(events[0]));
        let mut waiting = Vec::new();
        for event in &events[1..] {
            writer.write(event);
            waiting.push(*event);
            // A plugin may add to the message until it has ended.
            if event.starts_with("event: message_delta") {
                continue;
            }
            for event in waiting.drain(..) {
                assert_eq!(seen.next_event().as_deref(), Some(event));
            }
        }
        writer.end();
        assert_eq!(seen.next_event(), None);
        assert!(seen.rest().whole);
    }
}

#[test]
fn a_truncated_answer_is_recorded_as_one() {
    let upstream = Upstream::with(|_| Answer::Raw(cut_at(recorded().len() - 200, "")));
    let gateway = Gateway::to(&upstream).start();
    let from = gateway.mark();
    ask(&gateway, &session(1))
        .body(HELLO_STREAM)
        .send()
        .has("event: error");
    let record = gateway.record(from);
    assert!(record.contains("truncated"), "{record}");
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn nothing_comes_after_the_end() {
    let late = format!("{}event: ping\ndata: {{\"type\":\"ping\"}}\n\n", recorded());
    let sent = late.clone();
    let upstream = Upstream::with(move |_| Answer::sse(&sent));
    let gateway = Gateway::to(&upstream)
        .retry("ping_after = \"50ms\"\nping_every = \"50ms\"")
        .start();
    let seen = ask(&gateway, &session(1)).body(HELLO_STREAM).send();
    seen.has_status(200).has_not("event: error");
    assert!(
        late.starts_with(&seen.text()) && seen.text().contains("event: message_stop\n"),
        "{}",
        seen.text()
    );
}

#[test]
fn a_stream_that_a_shutdown_cuts_ends_with_an_error_event() {
    // The time to drain is over, or a second signal comes; the stream has begun, or only pings were
    // sent.
    for (drain, signals) in [("200ms", 1), ("1h", 2)] {
        for begun in [true, false] {
            let (upstream, writer) = Upstream::streamed();
            let mut gateway = Gateway::to(&upstream)
                .top(&format!("drain = \"{drain}\""))
                .retry("ping_after = \"50ms\"\nping_every = \"50ms\"")
                .start();
            let from = gateway.mark();
            let pending = ask(&gateway, &session(1)).body(HELLO_STREAM).sent();
            upstream.request(1);
            if begun {
                writer.write(EVENTS[..3].concat());
            }
            let mut seen = pending.answer();
            seen.next_event().unwrap();
            gateway.terminate();
            gateway.line(&["waiting for exchanges in flight"]);
            if signals == 2 {
                gateway.terminate();
            }
            let rest = seen.rest();
            rest.has("event: error").has("shutting down");
            assert!(rest.whole, "{}", rest.text());
            assert!(gateway.ended().success());
            let record = gateway.record(from);
            assert!(record.contains("ending=truncated"), "{record}");
        }
    }
}
