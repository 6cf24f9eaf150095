//! What response plugins make of a message is still a message, in a stream and in JSON alike, or an
//! error that names the plugin.

use serde_json::Value;

use crate::support::{
    Answer, Gateway, Upstream, component,
    gateway::Builder,
    shapes::{EVENTS, HELLO, HELLO_STREAM, MESSAGE},
};

fn with(upstream: &Upstream, settings: &str) -> Builder {
    Gateway::to(upstream)
        .plugin("50-events.wasm", component("events"))
        .tables(&format!("[plugin.events]\nsettings = {{ {settings} }}"))
}

fn delta(index: u64, text: &str) -> String {
    format!(
        "{{ name = \"content_block_delta\", data = {{ type = \"content_block_delta\", index = {index}, \
         delta = {{ type = \"text_delta\", text = \"{text}\" }} }} }}"
    )
}

fn stop(index: u64) -> String {
    format!(
        "{{ name = \"content_block_stop\", data = {{ type = \"content_block_stop\", index = {index} }} }}"
    )
}

fn start(index: u64) -> String {
    format!(
        "{{ name = \"content_block_start\", data = {{ type = \"content_block_start\", index = {index}, \
         content_block = {{ type = \"text\", text = \"\" }} }} }}"
    )
}

/// The text that a client builds from a stream, by the rules of Anthropic's SDKs.
fn built(stream: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut ended = false;
    for data in stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
    {
        let event: Value = serde_json::from_str(data).expect(data);
        assert!(!ended, "an event after the end: {data}");
        let at = usize::try_from(event["index"].as_u64().unwrap_or(0)).unwrap();
        match event["type"].as_str().unwrap() {
            "content_block_start" => blocks.push(String::new()),
            "content_block_delta" => blocks[at].push_str(event["delta"]["text"].as_str().unwrap()),
            "message_stop" => ended = true,
            _ => {}
        }
    }
    assert!(ended, "{stream}");
    blocks
}

#[test]
fn a_stream_that_a_plugin_breaks_ends_with_an_error_that_names_it() {
    let second_stop = stop(0);
    let late = delta(0, "late");
    let other_block = delta(1, "x");
    let skipped = format!("{}, {}", start(2), stop(2));
    let message_stop = "{ name = \"message_stop\", data = { type = \"message_stop\" } }";
    let odd_type = "{ name = \"content_block_delta\", data = { type = \"x\" } }";
    for (settings, why) in [
        (
            "discard = [\"message_start\"]".to_owned(),
            "before `message_start`",
        ),
        (
            "discard = [\"content_block_start\"]".to_owned(),
            "block 0, which is not open",
        ),
        (
            "discard = [\"content_block_stop\"]".to_owned(),
            "no `content_block_stop`",
        ),
        (
            "discard = [\"message_delta\"]".to_owned(),
            "no `message_delta`",
        ),
        (
            "discard = [\"message_stop\"]".to_owned(),
            "no `message_stop`",
        ),
        (
            "discard = [\"message_start\", \"content_block_start\", \"content_block_delta\", \
             \"content_block_stop\", \"message_delta\", \"message_stop\"]"
                .to_owned(),
            "nothing is left",
        ),
        (
            format!("replace = {{ message_stop = [{message_stop}, {message_stop}] }}"),
            "after the end",
        ),
        (
            format!("replace = {{ content_block_stop = [{second_stop}, {second_stop}] }}"),
            "block 0, which is not open",
        ),
        (
            format!("replace = {{ content_block_delta = [{other_block}] }}"),
            "block 1, which is not open",
        ),
        (
            format!("replace = {{ content_block_delta = [{odd_type}] }}"),
            "another `type`",
        ),
        (format!("at_end = [{late}]"), "block 0, which is not open"),
        (
            format!("at_end = [{skipped}]"),
            "block 2 starts where block 1 is next",
        ),
        // It sees no other event, so it could not know better.
        (
            "events = [\"content_block_start\"], discard = [\"content_block_start\"]".to_owned(),
            "block 0, which is not open",
        ),
    ] {
        let upstream = Upstream::with(|request| match request.json()["stream"].as_bool() {
            Some(true) => Answer::sse(&EVENTS.concat()),
            _ => Answer::json(200, MESSAGE),
        });
        let gateway = with(&upstream, &settings).start();
        let from = gateway.mark();
        let seen = gateway.message(HELLO_STREAM);
        seen.has("events").has(why);
        let text = seen.text();
        if seen.status == 200 {
            seen.has("event: error").has_not("event: message_stop");
            assert!(text.trim_end().ends_with('}'), "{text}");
        }
        let record = gateway.record(from);
        assert!(record.contains("ending=error"), "{settings}: {record}");
        // The same in JSON.
        gateway
            .message(HELLO)
            .is_error(500, "api_error")
            .has("events")
            .has(why);
    }
}

#[test]
fn what_a_plugin_adds_at_the_end_is_inside_of_the_message() {
    let upstream = Upstream::with(|request| match request.json()["stream"].as_bool() {
        Some(true) => Answer::sse(&EVENTS.concat()),
        _ => Answer::json(200, MESSAGE),
    });
    let settings = format!("at_end = [{}, {}, {}]", start(1), delta(1, "more"), stop(1));
    // With and without the events that end the message among those that it is shown.
    for guard in ["", "events = [\"content_block_stop\"], "] {
        let gateway = with(&upstream, &format!("{guard}{settings}")).start();
        let from = gateway.mark();
        let streamed = gateway.message(HELLO_STREAM);
        assert_eq!(built(&streamed.text()), ["hello", "more"]);
        // What no plugin has made is as it was received.
        streamed.has(EVENTS[5]).has(EVENTS[6]);
        assert!(gateway.record(from).contains("ending=complete"));
        let whole = gateway.message(HELLO).json();
        assert_eq!(whole["content"][1]["text"], "more", "{whole}");
        assert_eq!(whole["stop_reason"], "end_turn");
    }
}

#[test]
fn an_upstream_without_the_last_event_gets_it_after_what_a_plugin_adds() {
    let upstream = Upstream::with(|_| Answer::sse(&EVENTS[..6].concat()));
    let settings = format!("at_end = [{}, {}, {}]", start(1), delta(1, "more"), stop(1));
    let gateway = with(&upstream, &settings).start();
    let streamed = gateway.message(HELLO_STREAM);
    assert_eq!(built(&streamed.text()), ["hello", "more"]);
}

#[test]
fn several_plugins_see_a_message_with_its_end_last() {
    let upstream = Upstream::with(|_| Answer::sse(&EVENTS.concat()));
    let block = |index| {
        format!(
            "at_end = [{}, {}, {}]",
            start(index),
            delta(index, "more"),
            stop(index)
        )
    };
    let gateway = Gateway::to(&upstream)
        .plugin("60-inner.wasm", component("events"))
        .plugin("40-outer.wasm", component("events"))
        .tables(&format!(
            "[plugin.inner]\nsettings = {{ {} }}\n[plugin.outer]\nsettings = {{ shout = true, {} }}",
            block(1),
            block(2)
        ))
        .start();
    let streamed = gateway.message(HELLO_STREAM);
    assert_eq!(built(&streamed.text()), ["HELLO", "MORE", "more"]);
}

#[test]
fn plugins_are_not_to_blame_for_what_an_upstream_sends() {
    // A delta without its block, an index that is left out, and no reason to stop.
    let stop = EVENTS[6];
    let odd = [
        EVENTS[0],
        EVENTS[2],
        &EVENTS[1].replace("\"index\":0", "\"index\":3"),
        stop,
    ]
    .concat();
    let sent = odd.clone();
    let upstream = Upstream::with(move |_| Answer::sse(&sent));
    let gateway = with(&upstream, "shout = true").start();
    gateway
        .message(HELLO_STREAM)
        .has_status(200)
        .has("HEL")
        .has_not("event: error");
}

#[test]
fn a_response_guard_names_upstreams_models_and_what_the_request_asked_for() {
    let (up, other) = (Upstream::ok(), Upstream::ok());
    for (settings, shouts) in [
        ("upstreams = [\"up\"]", true),
        ("upstreams = [\"u*\"], models = [\"claude-*-5-5\"]", true),
        ("upstreams = [\"other\"]", false),
        ("models = [\"gpt-*\", \"claude-haiku*\"]", false),
        ("watch = \"$.max_tokens\"", true),
        ("watch = \"$.absent\"", false),
    ] {
        let gateway = with(&up, &format!("shout = true, {settings}"))
            .upstream(
                "other",
                &other,
                "preset = \"anthropic\"\naccounts = [{ name = \"b\", key = \"k\" }]",
            )
            .start();
        let from = gateway.mark();
        let message = gateway.message(HELLO).json();
        let wanted = if shouts { "HELLO" } else { "hello" };
        assert_eq!(message["content"][0]["text"], wanted, "{settings}");
        let record = gateway.record(from);
        if !shouts {
            // The attempt hook alone.
            assert!(record.contains("calls=1 "), "{settings}: {record}");
        }
    }
}
