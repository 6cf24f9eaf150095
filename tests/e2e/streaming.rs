//! Events, one by one: none waits for the next, none changes, and a truncated stream is never
//! presented as complete.

use std::time::Duration;

use crate::support::{
    Answer, Gateway, Upstream, component,
    shapes::{EVENTS, HELLO, HELLO_STREAM, MESSAGE, SSE},
};

/// The limit for a disconnect to be noticed: long for a gateway, short for a test.
const PROMPTLY: Duration = Duration::from_secs(5);

#[test]
fn an_event_reaches_the_client_before_the_upstream_writes_the_next() {
    for listening in [false, true] {
        let (upstream, writer) = Upstream::streamed();
        let mut builder = Gateway::to(&upstream);
        if listening {
            builder = builder.plugin("50-events.wasm", component("events"));
        }
        let gateway = builder.start();
        let pending = gateway
            .request("POST", "/v1/messages")
            .header("x-api-key", "k")
            .body(HELLO_STREAM)
            .sent();
        upstream.request(1);
        writer.write(EVENTS[0]);
        let mut stream = pending.answer();
        assert_eq!(stream.next_event().as_deref(), Some(EVENTS[0]));
        assert_eq!(stream.header("cache-control"), Some("no-cache"));
        assert_eq!(stream.header("x-accel-buffering"), Some("no"));
        assert_eq!(stream.header("x-account-email"), Some("ada"));
        let mut waiting = Vec::new();
        for event in &EVENTS[1..] {
            writer.write(event);
            waiting.push(*event);
            // A plugin may add to the message until it has ended.
            if listening && event.starts_with("event: message_delta") {
                continue;
            }
            for event in waiting.drain(..) {
                assert_eq!(stream.next_event().as_deref(), Some(event));
            }
        }
        writer.end();
        assert_eq!(stream.next_event(), None);
        assert!(stream.rest().whole);
    }
}

#[test]
fn events_that_arrived_together_leave_together() {
    let (upstream, writer) = Upstream::streamed();
    let gateway = Gateway::to(&upstream).start();
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO_STREAM)
        .sent();
    upstream.request(1);
    writer.write(EVENTS[0]);
    let mut stream = pending.answer();
    stream.next_event();
    let before = stream.chunks.len();
    let many = EVENTS[2].repeat(50);
    writer.write(format!("{}{many}{}", EVENTS[1], EVENTS[4..].concat()));
    writer.end();
    stream.until("message_stop");
    let writes = stream.chunks.len() - before;
    assert!(
        writes <= 5,
        "55 events that arrived together left in {writes} writes"
    );
}

#[test]
fn the_upstreams_bytes_go_out_as_they_are() {
    let odd = SSE
        .replace("event: ", "event:")
        .replace('\n', "\r\n")
        .replacen(
            "event:content_block_delta",
            ": a comment\r\nid: 7\r\nretry: 10\r\nunknown: x\r\nevent:content_block_delta",
            1,
        );
    let with_pings = SSE.replacen(
        "event: content_block_delta",
        "event: ping\ndata: {\"type\": \"ping\"}\n\nevent: content_block_delta",
        1,
    );
    let unknown = SSE.replacen(
        "event: message_delta",
        "event: unheard_of\ndata: not json\n\nevent: message_delta",
        1,
    );
    let joined = SSE.replacen(
        "data: {\"type\":\"message_delta\",",
        "data: {\"type\":\"message_delta\",\ndata: ",
        1,
    );
    for listening in [false, true] {
        for text in [SSE, &odd, &with_pings, &unknown, &joined] {
            let sent = text.to_owned();
            let upstream = Upstream::with(move |_| Answer::sse(&sent));
            let mut builder = Gateway::to(&upstream);
            if listening {
                builder = builder.plugin("50-events.wasm", component("events"));
            }
            let gateway = builder.start();
            gateway.message(HELLO_STREAM).has_status(200).has_body(text);
        }
    }
}

#[test]
fn a_json_response_that_every_plugin_keeps_is_forwarded_unmodified() {
    let odd = MESSAGE
        .replace("\"id\"", " \"id\" ")
        .replace(":9,", ": 9.0e0 ,");
    let sent = odd.clone();
    let upstream = Upstream::with(move |_| Answer::json(200, &sent));
    let gateway = Gateway::to(&upstream)
        .plugin("50-events.wasm", component("events"))
        .start();
    gateway.message(HELLO).has_status(200).has_body(&odd);
}

#[test]
fn a_stream_that_is_cut_is_never_presented_as_complete() {
    for listening in [false, true] {
        let (upstream, writer) = Upstream::streamed();
        let mut builder = Gateway::to(&upstream);
        if listening {
            builder = builder.plugin("50-events.wasm", component("events"));
        }
        let gateway = builder.start();
        let pending = gateway
            .request("POST", "/v1/messages")
            .header("x-api-key", "k")
            .body(HELLO_STREAM)
            .sent();
        upstream.request(1);
        for event in &EVENTS[..3] {
            writer.write(event);
        }
        let mut stream = pending.answer();
        stream.until("text_delta");
        writer.cut();
        let rest = stream.rest();
        let text = rest.text();
        assert_eq!(text.matches("event: error").count(), 1, "{text}");
        assert!(!text.contains("event: message_stop"), "{text}");
        let data = text
            .lines()
            .find_map(|line| line.strip_prefix("data: "))
            .unwrap();
        let error: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(error["type"], "error", "{error}");
        assert!(
            error["error"]["type"].is_string() && error["error"]["message"].is_string(),
            "{error}"
        );
        assert_eq!(
            upstream.received().len(),
            1,
            "nothing is retried after the first event"
        );
    }
}

#[test]
fn a_stream_without_a_stop_reason_is_cut_too() {
    let upstream = Upstream::with(|_| Answer::sse(&EVENTS[..3].concat()));
    let gateway = Gateway::to(&upstream).start();
    let seen = gateway.message(HELLO_STREAM);
    seen.has_status(200)
        .has(EVENTS[2])
        .has("event: error")
        .has_not("event: message_stop");
}

#[test]
fn an_error_in_the_stream_ends_it() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let upstream =
        Upstream::with(move |_| Answer::sse(&format!("{}{error}", EVENTS[..3].concat())));
    let gateway = Gateway::to(&upstream).start();
    let seen = gateway.message(HELLO_STREAM);
    seen.has_status(200)
        .has_body(format!("{}{error}", EVENTS[..3].concat()));
}

#[test]
fn the_upstream_is_left_as_soon_as_the_client_is_gone() {
    let (upstream, writer) = Upstream::streamed();
    let gateway = Gateway::to(&upstream).start();
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO_STREAM)
        .sent();
    upstream.request(1);
    writer.write(EVENTS[0]);
    let mut stream = pending.answer();
    stream.next_event();
    drop(stream);
    writer.was_left(PROMPTLY);

    // The same holds before the first byte.
    let (answer, gone) = Answer::hang();
    let upstream = Upstream::script([answer]);
    let gateway = Gateway::to(&upstream).start();
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO)
        .sent();
    upstream.request(1);
    drop(pending);
    gone.wait(PROMPTLY);
    gateway.line(&["exchange", "status="]);
}

#[test]
fn a_response_plugin_changes_a_stream_and_a_json_answer_alike() {
    for listening in [HELLO, HELLO_STREAM] {
        let upstream = Upstream::ok();
        let gateway = Gateway::to(&upstream)
            .plugin("50-events.wasm", component("events"))
            .tables("[plugin.events]\nsettings = { shout = true }")
            .start();
        gateway
            .message(listening)
            .has_status(200)
            .has("HELLO")
            .has_not("hello");
    }
}

#[test]
fn a_forced_stream_is_collected_for_a_client_that_wants_json() {
    let forced =
        "preset = \"anthropic\"\nforce_stream = true\naccounts = [{ name = \"ada\", key = \"k\" }]";
    let upstream = Upstream::with(|_| Answer::sse(&EVENTS.concat()));
    let gateway = Gateway::echo().upstream("up", &upstream, forced).start();
    let seen = gateway.message(HELLO.replacen('{', "{\"stream\" : false,", 1));
    seen.has_status(200)
        .has_header("content-type", "application/json")
        .has_header("x-witgate-edits", "force-stream=1");
    let sent = HELLO.replacen('{', "{\"stream\" : true,", 1);
    upstream.last().has_body(sent);
    let answer = gateway.message(HELLO).has_status(200).json();
    assert_eq!(upstream.last().json()["stream"], true);
    assert_eq!(answer["type"], "message");
    assert_eq!(answer["content"][0]["text"], "hello");
    assert_eq!(answer["stop_reason"], "end_turn");
    assert_eq!(answer["usage"]["output_tokens"], 3);
    gateway
        .message(HELLO_STREAM)
        .has_status(200)
        .has_body(EVENTS.concat());
    upstream.last().has_body(HELLO_STREAM);

    let cut = Upstream::with(|_| Answer::sse(&EVENTS[..4].concat()));
    let gateway = Gateway::echo().upstream("up", &cut, forced).start();
    gateway.message(HELLO).is_error(502, "api_error");
}
