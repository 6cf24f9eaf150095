//! Responses of servers that do not keep to the protocol: what is complete is complete, what is not
//! a response is a failed attempt, and what is cut is never presented as complete.

use std::time::{Duration, Instant};

use crate::{
    rotation::{ask, session},
    support::{
        Answer, Gateway, Received, Upstream, component,
        shapes::{EVENTS, HELLO, HELLO_STREAM, MESSAGE, SSE},
    },
};

/// An upstream with a forced stream, whose events are collected for clients that want JSON.
const FORCED: &str = "preset = \"anthropic\"\nforce_stream = true\naccounts = [{ name = \"ada\", key = \"sk-ada\" }]";

/// An empty message.
const EMPTY: &str = r#"{"id":"msg_01","type":"message","role":"assistant","model":"m","content":[],"stop_reason":"end_turn","usage":{}}"#;

#[test]
fn a_message_with_a_stop_reason_and_a_clean_end_is_complete() {
    let whole = EVENTS.concat();
    let without_stop = EVENTS[..6].concat();
    let cases = [
        ("no `message_stop`", without_stop.clone()),
        ("no blank line after it", whole.trim_end().to_owned()),
        ("a part of it", format!("{without_stop}event: message_st")),
        (
            "no blank line after the stop reason",
            without_stop.trim_end().to_owned(),
        ),
    ];
    for (name, stream) in cases {
        let upstream = Upstream::with(move |_| Answer::sse(&stream));
        for plugin in [false, true] {
            let mut builder = Gateway::to(&upstream);
            if plugin {
                builder = builder.plugin("50-events.wasm", component("events"));
            }
            let gateway = builder.start();
            let from = gateway.mark();
            let seen = gateway.message(HELLO_STREAM);
            assert_eq!(seen.text(), whole, "{name}");
            let record = gateway.record(from);
            assert!(record.contains("ending=complete"), "{name}: {record}");
        }
        let gateway = Gateway::echo().upstream("up", &upstream, FORCED).start();
        let seen = gateway.message(HELLO).has_status(200).json();
        assert_eq!(seen["content"][0]["text"], "hello", "{name}");
    }
}

#[test]
fn a_stream_is_recognised_by_its_content() {
    for kind in ["application/json", "text/html", "text/plain", "x/y+json"] {
        let upstream = Upstream::with(move |_| Answer::whole(200, kind, SSE));
        let gateway = Gateway::to(&upstream).start();
        gateway.message(HELLO_STREAM).has_status(200).has_body(SSE);
        assert_eq!(upstream.received().len(), 1, "{kind}");
    }
    let upstream = Upstream::with(|_| Answer::sse(MESSAGE));
    let gateway = Gateway::to(&upstream).start();
    gateway.message(HELLO).has_status(200).has_body(MESSAGE);
    gateway
        .message(HELLO_STREAM)
        .has_status(200)
        .has("event: message_stop");
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn the_cause_of_a_success_that_is_an_error_reaches_the_client() {
    type Case = (fn() -> Answer, &'static str);
    let cases: [Case; 4] = [
        (
            || Answer::json(200, r#"{"code":500,"msg":"404 NOT_FOUND"}"#),
            "404 NOT_FOUND",
        ),
        (
            || Answer::json(200, r#"{"error":"quota exceeded"}"#),
            "quota exceeded",
        ),
        (
            || Answer::sse("event: message\ndata: {\"error\":\"quota exceeded\"}\n\n"),
            "quota exceeded",
        ),
        (
            || Answer::sse("data: {\"detail\":\"no such route\"}\n\n"),
            "no such route",
        ),
    ];
    for (answer, cause) in cases {
        let upstream = Upstream::with(move |_| answer());
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada"])
            .retry("max_attempts = 1")
            .start();
        for body in [HELLO, HELLO_STREAM] {
            let from = gateway.mark();
            let seen = ask(&gateway, &session(1)).body(body).send();
            assert!(seen.status >= 500, "{}", seen.text());
            seen.has(cause);
            let record = gateway.record(from);
            assert!(record.contains(cause), "{record}");
        }
    }
}

#[test]
fn a_count_without_a_number_is_a_failed_attempt() {
    let upstream = Upstream::with(|request: &Received| match request.key().as_str() {
        "sk-ada" => Answer::json(200, r#"{"success":false}"#),
        _ => Answer::json(200, r#"{"input_tokens":42}"#),
    });
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .start();
    for number in 0..4 {
        gateway
            .request("POST", "/v1/messages/count_tokens")
            .header("x-api-key", "sk-witgate")
            .header("x-claude-code-session-id", &session(number))
            .body(HELLO)
            .send()
            .has_status(200)
            .has("42");
    }
}

#[test]
fn an_error_of_another_shape_within_a_stream_ends_it_with_its_words() {
    let stream = format!(
        "{}data: {{\"error\":{{\"message\":\"the backend is gone\"}}}}\n\n",
        EVENTS[..3].concat()
    );
    let upstream = Upstream::with(move |_| Answer::sse(&stream));
    let gateway = Gateway::to(&upstream).start();
    let seen = gateway.message(HELLO_STREAM);
    seen.has_status(200)
        .has(EVENTS[2])
        .has("event: error")
        .has("the backend is gone")
        .has_not("message_stop");
    let gateway = Gateway::echo()
        .upstream("up", &upstream, FORCED)
        .retry("max_attempts = 1")
        .start();
    gateway
        .message(HELLO)
        .is_error(500, "api_error")
        .has("the backend is gone");
}

#[test]
fn pings_do_not_keep_a_dead_stream_alive() {
    let ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    for (begins, forced, status) in [
        (EVENTS[..3].concat(), false, 200),
        (EVENTS[..6].concat(), false, 200),
        (EVENTS[..3].concat(), true, 504),
    ] {
        let (upstream, writer) = Upstream::streamed();
        let builder = match forced {
            true => Gateway::echo().upstream("up", &upstream, FORCED),
            false => Gateway::to(&upstream),
        };
        let gateway = builder.retry("idle = \"300ms\"\nmax_attempts = 1").start();
        let body = if forced { HELLO } else { HELLO_STREAM };
        let pending = ask(&gateway, &session(1)).body(body).sent();
        upstream.request(1);
        writer.write(begins);
        // This is the upstream's pace, not a wait for the gateway.
        while writer.try_write(ping) {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        let seen = pending.answer().rest();
        seen.has_status(status).has("only pings for 0.3 s");
        writer.was_left(Duration::from_secs(5));
    }
}

#[test]
fn an_upstream_that_stays_open_after_the_end_does_not_hold_up_the_client() {
    for (builder, body) in [(Gateway::echo(), HELLO_STREAM), (Gateway::echo(), HELLO)] {
        let (upstream, writer) = Upstream::streamed();
        let gateway = builder.upstream("up", &upstream, FORCED).start();
        let pending = ask(&gateway, &session(1)).body(body).sent();
        upstream.request(1);
        writer.write(SSE);
        let seen = pending.answer().rest();
        seen.has_status(200).has("hello").has_not("event: error");
        // The gateway closed the connection: the upstream never ended its response.
        writer.was_left(Duration::from_secs(5));
    }
}

#[test]
fn comments_before_the_first_event_show_that_the_upstream_is_at_work() {
    for (tables, events) in [
        ("preset = \"anthropic\"", SSE.to_owned()),
        (
            "dialect = \"openai\"",
            "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
                .to_owned(),
        ),
    ] {
        let (upstream, writer) = Upstream::streamed();
        let gateway = Gateway::echo()
            .upstream("up", &upstream, tables)
            .retry("first_event = \"1s\"")
            .start();
        let pending = ask(&gateway, &session(1)).body(HELLO_STREAM).sent();
        upstream.request(1);
        // This is the upstream's pace, not a wait for the gateway.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1_800) {
            writer.write(": PROCESSING\n\n");
            std::thread::park_timeout(Duration::from_millis(100));
        }
        writer.write(events);
        writer.end();
        pending
            .answer()
            .rest()
            .has_status(200)
            .has("hello")
            .has("message_stop");
        assert_eq!(upstream.received().len(), 1, "{tables}");
    }
}

#[test]
fn events_separated_by_one_line_break_are_read() {
    let lines = SSE.replace("\n\n", "\n");
    let upstream = Upstream::with(move |_| Answer::sse(&lines));
    let gateway = Gateway::to(&upstream).start();
    gateway.message(HELLO_STREAM).has_status(200).has_body(SSE);

    let chunks = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hel\"}}]}\ndata: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]}\ndata: [DONE]\n";
    let upstream = Upstream::with(move |_| Answer::sse(chunks));
    let gateway = Gateway::echo()
        .upstream("up", &upstream, "dialect = \"openai\"")
        .start();
    let seen = gateway.message(HELLO).has_status(200).json();
    assert_eq!(seen["content"][0]["text"], "hello");
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn an_empty_message_is_retried_before_anything_was_sent() {
    let start = EVENTS[0];
    let empty = |rest: &[&str]| format!("{start}{}", rest.concat());
    let streams = [
        empty(&EVENTS[5..]),
        empty(&EVENTS[5..6]),
        empty(&[EVENTS[1], EVENTS[4], EVENTS[5], EVENTS[6]]),
    ];
    for stream in streams {
        let upstream = Upstream::script_for([Answer::sse(&stream)], Answer::hello);
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada", "bob"])
            .start();
        let seen = ask(&gateway, &session(1)).body(HELLO_STREAM).send();
        seen.has_status(200).has_body(SSE);
        let asked = upstream.asked_as();
        assert_eq!(asked.len(), 2, "{stream}");
        assert_ne!(asked[0], asked[1]);
    }
    let thinking = EMPTY.replace(
        "\"content\":[]",
        "\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"x\"}]",
    );
    for empty in [EMPTY, &thinking] {
        for body in [HELLO, HELLO_STREAM] {
            let upstream = Upstream::script_for([Answer::json(200, empty)], Answer::hello);
            let gateway = Gateway::echo().pool("up", &upstream, &["ada"]).start();
            let seen = ask(&gateway, &session(1)).body(body).send();
            seen.has_status(200).has("hello");
            assert_eq!(upstream.received().len(), 2);
        }
    }
}

#[test]
fn a_message_that_stays_empty_is_sent_as_it_is() {
    let upstream = Upstream::with(|_| Answer::json(200, EMPTY));
    let gateway = Gateway::echo().pool("up", &upstream, &["ada"]).start();
    let seen = ask(&gateway, &session(1)).body(HELLO).send();
    seen.has_status(200).has_body(EMPTY);
    assert_eq!(upstream.received().len(), 3);

    let refusal = EMPTY.replace("end_turn", "refusal");
    let sent = refusal.clone();
    let upstream = Upstream::with(move |_| Answer::json(200, &sent));
    let gateway = Gateway::echo().pool("up", &upstream, &["ada"]).start();
    let seen = ask(&gateway, &session(1)).body(HELLO).send();
    seen.has_status(200).has_body(&refusal);
    assert_eq!(upstream.received().len(), 1);
}

/// A stream with one tool use, whose input comes in two pieces.
fn tool_stream(input: &str, stop_reason: &str) -> String {
    let event = |name: &str, data: serde_json::Value| format!("event: {name}\ndata: {data}\n\n");
    let delta = |json: &str| {
        event(
            "content_block_delta",
            serde_json::json!({"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":json}}),
        )
    };
    let (first, second) = input.split_at(input.len() / 2);
    [
        EVENTS[0].to_owned(),
        event(
            "content_block_start",
            serde_json::json!({"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"toolu_1","name":"Bash","input":{}}}),
        ),
        delta(first),
        delta(second),
        EVENTS[4].to_owned(),
        EVENTS[5].replace("end_turn", stop_reason),
        EVENTS[6].to_owned(),
    ]
    .concat()
}

#[test]
fn a_tools_input_is_collected_as_it_was_sent() {
    let deep = format!("{{\"d\":{}{}}}", "[".repeat(300), "]".repeat(300));
    for input in [
        r#"{"n":12345678901234567890123,"m":100000000000000000000,"x":1e400}"#,
        r#"{"lone":"\ud800","pair":"\ud83d\ude00"}"#,
        &deep,
    ] {
        let stream = tool_stream(input, "tool_use");
        let upstream = Upstream::with(move |_| Answer::sse(&stream));
        let gateway = Gateway::echo().upstream("up", &upstream, FORCED).start();
        let seen = gateway.message(HELLO);
        seen.has_status(200).has(&format!("\"input\":{input}"));
        assert_eq!(upstream.received().len(), 1);
    }
}

#[test]
fn a_tools_input_that_was_cut_costs_one_generation() {
    let cut = r#"{"command":"ls","why":"to s"#;
    for (reason, status) in [("max_tokens", 200), ("tool_use", 502)] {
        let stream = tool_stream(cut, reason);
        let upstream = Upstream::with(move |_| Answer::sse(&stream));
        let gateway = Gateway::echo().upstream("up", &upstream, FORCED).start();
        let seen = gateway.message(HELLO);
        seen.has_status(status);
        match status {
            200 => seen.has(r#""input":{"command":"ls"}"#),
            _ => seen
                .has("not valid JSON")
                .has_header("x-should-retry", "false"),
        };
        assert_eq!(upstream.received().len(), 1);
        gateway.message(HELLO_STREAM).has_status(200).has(reason);
    }
}
