//! Upstreams that never stop sending: each exchange ends with an error that names the limit, and
//! memory stays flat.

use std::time::Duration;

use crate::support::{
    Answer, Gateway, Upstream,
    shapes::{EVENTS, HELLO, HELLO_STREAM},
};

const STREAM: &str = "text/event-stream";
const COMMENT: &str = ": still at work\n\n";
const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
const LINE: &str = "0123456789";

/// The memory limit of a gateway whose upstreams send without end, in bytes.
const MOST_MEMORY: u64 = 200 << 20;

/// A delta whose text is a small part of it, so that the upstream's bytes are read quickly.
fn delta() -> String {
    let ignored = LINE.repeat(400);
    format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"x\"}},\"ignored\":\"{ignored}\"}}\n\n"
    )
}

#[test]
fn an_upstream_without_an_end_is_an_error_that_names_the_limit() {
    let prelude = "more than 1 MiB of comments and pings before its first event";
    let event = "an event of more than 32 MiB";
    let response = "more than 128 MiB in one response";
    let blank = "more than 64 KiB of white space";
    let begun = EVENTS[..2].concat();
    let line = format!("{begun}data: ");
    let delta = delta();
    let forced = "force_stream = true\n";
    let cases = [
        (
            "comments for a stream",
            HELLO_STREAM,
            "",
            STREAM,
            "",
            COMMENT,
            prelude,
        ),
        (
            "pings for a stream",
            HELLO_STREAM,
            "",
            STREAM,
            "",
            PING,
            prelude,
        ),
        (
            "comments for JSON",
            HELLO,
            forced,
            STREAM,
            "",
            COMMENT,
            prelude,
        ),
        (
            "a line for a stream",
            HELLO_STREAM,
            "",
            STREAM,
            "data: ",
            LINE,
            event,
        ),
        ("a line for JSON", HELLO, forced, STREAM, &line, LINE, event),
        (
            "deltas for JSON",
            HELLO,
            forced,
            STREAM,
            &begun,
            &delta,
            response,
        ),
        (
            "pings within JSON",
            HELLO,
            forced,
            STREAM,
            &begun,
            PING,
            response,
        ),
        (
            "spaces for a stream",
            HELLO_STREAM,
            "",
            "text/plain",
            "",
            " ",
            blank,
        ),
        ("spaces for JSON", HELLO, "", "text/plain", "", " ", blank),
    ];
    for (name, asked, lines, kind, begins, repeats, limit) in cases {
        let (answer, gone) = Answer::endless(kind, begins, repeats);
        let upstream = Upstream::script([answer]);
        let gateway = Gateway::echo()
            .upstream("up", &upstream, &format!("preset = \"anthropic\"\n{lines}"))
            .retry("max_attempts = 1")
            .start();
        let seen = gateway.message(asked);
        eprintln!("{name}: {}", seen.text());
        seen.is_error(502, "api_error").has("`up`").has(limit);
        gone.wait(Duration::from_secs(20));
        let peak = gateway.peak_memory();
        assert!(peak < MOST_MEMORY, "{name}: {peak} bytes");
    }
}

#[test]
fn a_dialects_upstream_without_an_end_is_an_error_that_names_the_limit() {
    let (answer, gone) = Answer::endless(STREAM, "", COMMENT);
    let upstream = Upstream::script([answer]);
    let gateway = Gateway::echo()
        .upstream("up", &upstream, "dialect = \"openai\"")
        .retry("max_attempts = 1\nping_after = \"60s\"")
        .start();
    let seen = gateway.message(HELLO_STREAM);
    seen.is_error(502, "api_error")
        .has("`up`")
        .has("more than 128 MiB");
    gone.wait(Duration::from_secs(20));
    let peak = gateway.peak_memory();
    assert!(peak < MOST_MEMORY, "{peak} bytes");
}

#[test]
fn a_line_without_an_end_after_the_first_event_is_one_error_event() {
    let (answer, gone) = Answer::endless(STREAM, &format!("{}data: ", EVENTS[0]), LINE);
    let upstream = Upstream::script([answer]);
    let gateway = Gateway::to(&upstream).start();
    let seen = gateway.message(HELLO_STREAM);
    seen.has_status(200)
        .has("event: error")
        .has("an event of more than 32 MiB");
    gone.wait(Duration::from_secs(20));
    let peak = gateway.peak_memory();
    assert!(peak < MOST_MEMORY, "{peak} bytes");
}
