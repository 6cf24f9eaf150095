//! Keepalive: pings while an upstream is silent, retries after pings have begun, and one honest
//! end.

use std::time::Duration;

use crate::{
    rotation::{ask, session},
    support::{
        Answer, Gateway, Streaming, Upstream, component,
        shapes::{EVENTS, HELLO, HELLO_STREAM, MESSAGE, SSE},
    },
};

/// Retry settings with early and frequent pings.
const PINGS: &str = "ping_after = \"80ms\"\nping_every = \"60ms\"";

/// Makes a response; each one can be sent only once.
type Make = fn() -> Answer;

#[track_caller]
fn is_ping(event: Option<String>) {
    let event = event.expect("a ping");
    assert!(event.starts_with("event: ping\n"), "{event}");
    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
    let data: serde_json::Value = serde_json::from_str(data.unwrap()).unwrap();
    assert_eq!(data["type"], "ping");
}

/// The first event that is not a ping.
#[track_caller]
fn after_pings(stream: &mut Streaming) -> String {
    loop {
        let event = stream.next_event().expect("an event besides pings");
        if !event.starts_with("event: ping\n") {
            return event;
        }
    }
}

#[test]
fn a_silent_upstream_is_bridged_by_pings_until_its_first_event() {
    let (answer, writer) = Answer::streamed();
    let upstream = Upstream::script([answer]);
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada"])
        .retry(PINGS)
        .start();
    let pending = ask(&gateway, &session(1)).body(HELLO_STREAM).sent();
    upstream.request(1);
    let mut stream = pending.answer();
    assert_eq!(stream.status, 200);
    assert!(
        stream
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"))
    );
    assert!(stream.header("request-id").is_some());
    for _ in 0..3 {
        is_ping(stream.next_event());
    }
    for event in EVENTS {
        writer.write(event);
    }
    writer.end();
    assert_eq!(after_pings(&mut stream), EVENTS[0]);
    let rest = stream.rest();
    rest.has("event: message_stop").has_not("event: error");
    assert!(rest.whole);
}

#[test]
fn attempts_go_on_after_pings_began() {
    for silent_head in [true, false] {
        let ((first, say), (second, say_again)) = (Answer::later(), Answer::later());
        let upstream = Upstream::script_for([first, second], Answer::hello);
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada", "bob", "cyd"])
            .retry(PINGS)
            .start();
        let pending = ask(&gateway, &session(1)).body(HELLO_STREAM).sent();
        upstream.request(1);
        let mut stream = pending.answer();
        is_ping(stream.next_event());
        let fails = |status| {
            if silent_head {
                Answer::status(status)
            } else {
                Answer::sse("")
            }
        };
        say.send(fails(529)).unwrap();
        upstream.request(2);
        is_ping(stream.next_event());
        say_again.send(fails(503)).unwrap();
        upstream.request(3);
        assert_eq!(
            after_pings(&mut stream),
            &SSE[..SSE.find("\n\n").unwrap() + 2]
        );
        let rest = stream.rest();
        rest.has("event: message_stop").has_not("event: error");
        let mut keys = upstream.asked_as();
        keys.sort();
        assert_eq!(keys, ["sk-ada", "sk-bob", "sk-cyd"]);
        for request in upstream.received() {
            request.has_body(HELLO_STREAM);
        }
    }
}

#[test]
fn after_pings_the_last_failure_is_one_error_event() {
    let failures: [(&str, Make, &str); 6] = [
        (
            "overloaded",
            || Answer::error(529, "overloaded_error", "busy"),
            "overloaded_error",
        ),
        (
            "not the client's login",
            || Answer::error(401, "authentication_error", "invalid x-api-key"),
            "api_error",
        ),
        (
            "a mistake of the client",
            || {
                Answer::error(
                    400,
                    "invalid_request_error",
                    "prompt is too long: 9 tokens > 8 maximum",
                )
            },
            "invalid_request_error",
        ),
        ("reset", || Answer::Reset, "api_error"),
        (
            "HTML",
            || Answer::whole(200, "text/html", "<html>"),
            "api_error",
        ),
        (
            "an error as first event",
            || {
                Answer::sse(
                    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n",
                )
            },
            "overloaded_error",
        ),
    ];
    for (name, answer, kind) in failures {
        let (first, say) = Answer::later();
        let upstream = Upstream::script([first]);
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada"])
            .retry(&format!("{PINGS}\nmax_attempts = 1"))
            .start();
        let from = gateway.mark();
        let pending = ask(&gateway, &session(1)).body(HELLO_STREAM).sent();
        upstream.request(1);
        let mut stream = pending.answer();
        is_ping(stream.next_event());
        say.send(answer()).unwrap();
        let event = after_pings(&mut stream);
        let data = event
            .strip_prefix("event: error\ndata: ")
            .unwrap_or_else(|| panic!("{name}: {event}"));
        let error: serde_json::Value = serde_json::from_str(data.trim()).unwrap();
        assert_eq!(error["type"], "error", "{name}");
        assert_eq!(error["error"]["type"], kind, "{name}: {error}");
        if name == "overloaded" {
            // The upstream's own error, unmodified.
            let wanted = r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#;
            assert_eq!(data.trim(), wanted);
        }
        assert!(error["error"]["message"].is_string(), "{name}");
        assert_eq!(
            stream.next_event(),
            None,
            "{name}: the error is not the last event"
        );
        // The record shows a failure, although the status line was 200.
        let record = gateway.record(from);
        assert!(!record.contains("ending=complete"), "{name}: {record}");
    }
}

#[test]
fn a_failure_before_the_first_ping_has_its_status() {
    let upstream = Upstream::with(|_| Answer::error(529, "overloaded_error", "busy"));
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada"])
        .retry("ping_after = \"10s\"\nmax_attempts = 1")
        .start();
    ask(&gateway, &session(1))
        .body(HELLO_STREAM)
        .send()
        .is_error(529, "overloaded_error");
}

#[test]
fn json_responses_have_no_pings() {
    let (first, say) = Answer::later();
    let upstream = Upstream::script([first]);
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada"])
        .retry("ping_after = \"1ms\"\nping_every = \"1ms\"")
        .start();
    let pending = ask(&gateway, &session(1)).body(HELLO).sent();
    upstream.request(1);
    say.send(Answer::status(400)).unwrap();
    pending.answer().rest().has_status(400);
}

#[test]
fn a_pause_in_mid_stream_is_bridged_too_and_events_stay_whole() {
    for listening in [false, true] {
        let (upstream, writer) = Upstream::streamed();
        let mut builder = Gateway::to(&upstream).retry(PINGS);
        if listening {
            builder = builder.plugin("50-events.wasm", component("events"));
        }
        let gateway = builder.start();
        let pending = ask(&gateway, &session(1)).body(HELLO_STREAM).sent();
        upstream.request(1);
        let mut received = String::new();
        writer.write(EVENTS[0]);
        let mut stream = pending.answer();
        received.push_str(&stream.next_event().unwrap());
        is_ping(stream.next_event());
        // A pause in the middle of an event: a ping must not split it.
        writer.write(&EVENTS[1][..30]);
        is_ping(stream.next_event());
        writer.write(&EVENTS[1][30..]);
        for event in &EVENTS[2..] {
            writer.write(event);
        }
        writer.end();
        while let Some(event) = stream.next_event() {
            if !event.starts_with("event: ping\n") {
                received.push_str(&event);
            }
        }
        assert_eq!(received, EVENTS.concat());
    }
}

#[test]
fn a_plugin_never_sees_the_gateways_pings() {
    let (upstream, writer) = Upstream::streamed();
    let gateway = Gateway::to(&upstream)
        .retry(PINGS)
        .plugin("50-events.wasm", component("events"))
        .tables("[plugin.events]\nsettings = { events = [\"ping\"], discard = [\"ping\"] }")
        .start();
    let pending = ask(&gateway, &session(1)).body(HELLO_STREAM).sent();
    upstream.request(1);
    let mut stream = pending.answer();
    is_ping(stream.next_event());
    // The upstream's own pings are shown to plugins that ask for them.
    writer.write("event: ping\ndata: {\"type\":\"ping\",\"of\":\"upstream\"}\n\n");
    for event in EVENTS {
        writer.write(event);
    }
    writer.end();
    stream.rest().has_not("upstream").has("event: message_stop");
}

#[test]
fn an_idle_stream_ends_with_an_error() {
    let (upstream, writer) = Upstream::streamed();
    let gateway = Gateway::to(&upstream).retry("idle = \"300ms\"").start();
    let from = gateway.mark();
    let pending = ask(&gateway, &session(1)).body(HELLO_STREAM).sent();
    upstream.request(1);
    for event in &EVENTS[..3] {
        writer.write(event);
    }
    let rest = pending.answer().rest();
    rest.has_status(200)
        .has(EVENTS[2])
        .has("event: error")
        .has("0.3 s")
        .has_not("event: message_stop");
    writer.was_left(Duration::from_secs(5));
    assert_eq!(upstream.received().len(), 1);
    assert!(gateway.record(from).contains("truncated"));
}

#[test]
fn bytes_keep_a_stream_alive_and_there_is_no_deadline_for_all_of_it() {
    let (upstream, writer) = Upstream::streamed();
    let gateway = Gateway::to(&upstream)
        .retry("first_event = \"300ms\"\nanswer = \"300ms\"\nidle = \"600ms\"")
        .start();
    let pending = ask(&gateway, &session(1)).body(HELLO_STREAM).sent();
    upstream.request(1);
    writer.write(EVENTS[0]);
    let mut stream = pending.answer();
    stream.next_event();
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(1_500) {
        // This is the upstream's pace, not a wait for the gateway.
        std::thread::park_timeout(Duration::from_millis(100));
        writer.write(": thinking\n\n");
    }
    for event in &EVENTS[1..] {
        writer.write(event);
    }
    writer.end();
    stream
        .rest()
        .has("event: message_stop")
        .has_not("event: error");
}

#[test]
fn a_client_that_disconnects_during_pings_is_noticed() {
    let (answer, gone) = Answer::hang();
    let upstream = Upstream::script([answer]);
    let gateway = Gateway::to(&upstream).retry(PINGS).start();
    let from = gateway.mark();
    let pending = ask(&gateway, &session(1)).body(HELLO_STREAM).sent();
    upstream.request(1);
    let mut stream = pending.answer();
    is_ping(stream.next_event());
    drop(stream);
    gone.wait(Duration::from_secs(5));
    gateway.record(from);
}

#[test]
fn a_json_response_to_a_streaming_request_reaches_the_client_whole() {
    let upstream = Upstream::with(|_| Answer::json(200, MESSAGE));
    let gateway = Gateway::to(&upstream).start();
    let seen = ask(&gateway, &session(1)).body(HELLO_STREAM).send();
    // The client gets either the message unmodified or its events, never a mixture.
    seen.has_status(200).has("hello");
}
