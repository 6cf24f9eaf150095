//! Upstreams that speak another protocol: a plugin translates, and the gateway does everything else
//! as usual. The toy protocol is that of `tests/guests/toy-dialect`.

use serde_json::json;

use crate::support::{
    Answer, Gateway, LIMIT, Upstream, component,
    gateway::Builder,
    shapes::{HELLO, HELLO_STREAM},
};

const TOY: &str =
    "dialect = \"toy\"\nlacks = []\naccounts = [{ name = \"ada\", key = \"sk-of-ada\" }]";

/// A whole response in the toy protocol.
const WORDS: [&str; 5] = [
    r#"{"HELLO":"7","IN":9}"#,
    r#"{"WORD":"hel"}"#,
    r#"{"WORD":"lo"}"#,
    r#"{"BYE":"STOP","OUT":2}"#,
    "[DONE]",
];

const BUSY: &str = r#"{"WOE":"BUSY","SAYS":"come again","WAIT":1}"#;

/// The same response in Anthropic's format.
const TRANSLATED: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_7\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-opus-5-5\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":9,\"output_tokens\":0}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hel\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"lo\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":2}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

fn sse(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("data: {word}\n\n"))
        .collect()
}

fn gateway(upstream: &Upstream) -> Builder {
    Gateway::echo()
        .upstream("up", upstream, TOY)
        .plugin("toy.wasm", component("toy-dialect"))
}

#[test]
fn a_streaming_client_gets_anthropics_events_instead_of_the_upstreams() {
    let upstream = Upstream::with(|_| {
        Answer::sse(&sse(&WORDS))
            .header("x-ratelimit-remaining", "1")
            .header("x-request-id", "theirs")
    });
    let gateway = gateway(&upstream).start();
    let from = gateway.mark();
    let seen = gateway.message(HELLO_STREAM);
    seen.has_status(200)
        .has_header("content-type", "text/event-stream; charset=utf-8")
        .has_header("x-request-id", "theirs")
        .has_no_header("x-ratelimit-remaining")
        .has_body(TRANSLATED);
    assert_eq!(upstream.received().len(), 1);
    let asked = upstream.last();
    assert_eq!(asked.path, "/SHOUT?HOW=LOUD");
    assert_eq!(
        asked.json(),
        json!({ "MODEL": "claude-opus-5-5", "SAY": "hi", "STREAM": true, "SEEN": 0, "FAILED": 0 })
    );
    let record = gateway.record(from);
    for part in [
        "ending=complete",
        "input_tokens=9",
        "output_tokens=2",
        "instances=1",
        "calls=6",
    ] {
        assert!(record.contains(part), "{part} is not in {record}");
    }
}

#[test]
fn another_provider_hears_nothing_of_the_client_but_the_request() {
    let upstream = Upstream::with(|_| Answer::sse(&sse(&WORDS)));
    let gateway = gateway(&upstream).start();
    gateway
        .request("POST", "/v1/messages?beta=true")
        .header("x-api-key", "sk-witgate")
        .header("accept", "application/json")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", "a")
        .header("x-claude-code-session-id", "s-1")
        .header("x-stainless-os", "Linux")
        .header("x-app", "cli")
        .header("user-agent", "claude-cli/2")
        .body(HELLO)
        .send()
        .has_status(200);
    let asked = upstream.last();
    assert_eq!(asked.path, "/SHOUT?HOW=LOUD");
    asked
        .has_header("x-api-key", "sk-of-ada")
        .has_header("user-agent", "claude-cli/2")
        .has_header("accept", "text/event-stream, application/json")
        .has_header("content-type", "application/json");
    for name in [
        "anthropic-version",
        "anthropic-beta",
        "x-claude-code-session-id",
        "x-stainless-os",
        "x-app",
    ] {
        asked.has_no_header(name);
    }
}

#[test]
fn a_client_that_wants_json_gets_the_collected_message_and_the_upstream_is_asked_for_a_stream() {
    let upstream = Upstream::with(|_| Answer::sse(&sse(&WORDS)));
    let gateway = gateway(&upstream).start();
    let seen = gateway.message(HELLO);
    seen.has_status(200)
        .has_header("content-type", "application/json")
        .has_header("x-witgate-edits", "toy=2, force-stream=1");
    let message = seen.json();
    assert_eq!(
        message["content"],
        json!([{ "type": "text", "text": "hello" }])
    );
    assert_eq!(
        message["usage"],
        json!({ "input_tokens": 9, "output_tokens": 2 })
    );
    assert_eq!(upstream.last().json()["STREAM"], true);
}

#[test]
fn events_arrive_one_by_one_as_the_upstream_sends_them() {
    let (upstream, writer) = Upstream::streamed();
    let gateway = gateway(&upstream).start();
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO_STREAM)
        .sent();
    upstream.request(1);
    // A comment that keeps the connection alive is not an event.
    writer.write(": busy\n\n");
    writer.write(sse(&WORDS[..1]));
    let mut stream = pending.answer();
    assert!(stream.next_event().unwrap().contains("message_start"));
    writer.write(sse(&WORDS[1..2]));
    assert!(stream.next_event().unwrap().contains("content_block_start"));
    assert!(stream.next_event().unwrap().contains("\"hel\""));
    writer.write("data: {\"WO");
    writer.write("RD\":\"lo\"}\n");
    writer.write("\n");
    assert!(stream.next_event().unwrap().contains("\"lo\""));
    writer.write(sse(&WORDS[3..]));
    writer.end();
    stream.rest().has("event: message_stop");
}

#[test]
fn a_whole_body_instead_of_a_stream_is_one_event() {
    let all = format!("{{\"ALL\": [{}]}}", WORDS[..4].join(",\r\n"));
    let upstream = Upstream::with(move |_| Answer::json(200, &all));
    let gateway = gateway(&upstream).start();
    gateway
        .message(HELLO_STREAM)
        .has_status(200)
        .has_header("content-type", "text/event-stream")
        .has_body(TRANSLATED);
    let message = gateway.message(HELLO).json();
    assert_eq!(message["content"][0]["text"], "hello");
}

#[test]
fn the_end_of_the_body_ends_a_message_whose_reason_to_stop_is_known() {
    let upstream = Upstream::with(|_| Answer::sse(&sse(&WORDS[..4])));
    let gateway = gateway(&upstream).start();
    gateway
        .message(HELLO_STREAM)
        .has_status(200)
        .has_body(TRANSLATED);
}

#[test]
fn a_stream_without_its_end_is_shown_as_cut_and_keeps_what_was_held_back() {
    let words = [WORDS[0], WORDS[1], r#"{"HOLD":"held"}"#];
    let upstream = Upstream::script([
        Answer::sse(&sse(&words)),
        Answer::Raw(
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n{}",
                sse(&words)
            )
            .into_bytes(),
        ),
    ]);
    let gateway = gateway(&upstream).start();
    let from = gateway.mark();
    // The body ended as framed, but the message did not.
    gateway
        .message(HELLO_STREAM)
        .has_status(200)
        .has("\"hel\"")
        .has("event: error")
        .has("ended before `message_stop`")
        .has_not("event: message_stop");
    assert!(gateway.record(from).contains("ending=truncated"));
    // The connection broke, so held-back events go out, but no end of the message.
    gateway
        .message(HELLO_STREAM)
        .has("\"held\"")
        .has("event: error")
        .has("was truncated")
        .has_not("event: message_stop");
}

#[test]
fn an_error_instead_of_the_first_event_is_a_failed_attempt_that_the_same_instance_sees() {
    let busy = r#"{"WOE":"BUSY","SAYS":"come again"}"#;
    let upstream = Upstream::script([
        Answer::sse(&sse(&["{}", busy])),
        Answer::sse(&sse(&WORDS)),
        Answer::json(503, busy),
        Answer::sse(&sse(&WORDS)),
    ]);
    let gateway = gateway(&upstream).retry("max_attempts = 2").start();
    for (place, seen) in [(0, 2), (2, 0)] {
        gateway
            .message(HELLO_STREAM)
            .has_status(200)
            .has_header("x-witgate-attempts", "up/ada 529, up/ada 200")
            .has_body(TRANSLATED);
        let second = upstream.received()[place + 1].json();
        assert_eq!(
            (&second["SEEN"], &second["FAILED"]),
            (&json!(seen), &json!(1))
        );
    }
}

#[test]
fn failure_hooks_read_the_request_as_it_was_before_the_translation() {
    let refusal = r#"{"WOE":"BAD","SAYS":"invalid signature"}"#;
    let upstream = Upstream::script([Answer::json(400, refusal), Answer::sse(&sse(&WORDS))]);
    let thought = json!({ "type": "thinking", "thinking": "hm", "signature": "c2ln" });
    let text = json!({ "type": "text", "text": "so" });
    let body = json!({
        "model": "claude-opus-5-5", "max_tokens": 5,
        "messages": [{ "role": "user", "content": "hi" }, { "role": "assistant", "content": [thought, text] }],
    });
    // signature-fallback looks for thinking blocks in the failed request.
    gateway(&upstream)
        .start()
        .message(body.to_string())
        .has_status(200);
    let said: Vec<_> = upstream
        .received()
        .iter()
        .map(|asked| asked.json()["SAY"].clone())
        .collect();
    assert_eq!(said, [json!([thought, text]), json!([text])]);
}

#[test]
fn the_last_failure_reaches_the_client_in_anthropics_envelope_with_a_retry_after() {
    let upstream = Upstream::script([
        Answer::json(503, BUSY).header("x-ratelimit-limit", "5"),
        Answer::sse(&sse(&[BUSY])),
        Answer::whole(500, "text/html", "<html>"),
    ]);
    let gateway = gateway(&upstream)
        .retry("max_attempts = 1\nmax_cooldown_wait = \"20s\"")
        .start();
    gateway
        .message(HELLO)
        .is_error(529, "overloaded_error")
        .has("come again")
        .has_header("content-type", "application/json")
        .has_no_header("x-ratelimit-limit");
    gateway
        .message(HELLO_STREAM)
        .is_error(529, "overloaded_error")
        .has("come again")
        .has_header("retry-after", "1");
    gateway
        .message(HELLO)
        .is_error(500, "api_error")
        .has("<html>");
}

#[test]
fn an_error_in_mid_stream_goes_to_the_client_and_is_the_last_of_it() {
    let words = [WORDS[0], WORDS[1], BUSY, WORDS[2], WORDS[3], WORDS[4]];
    let upstream = Upstream::with(move |_| Answer::sse(&sse(&words)));
    let gateway = gateway(&upstream).retry("max_attempts = 1").start();
    let from = gateway.mark();
    let seen = gateway.message(HELLO_STREAM);
    seen.has("overloaded_error")
        .has("come again")
        .has_not("after_the_end")
        .has_not("\"lo\"")
        .has_not("message_stop");
    assert!(gateway.record(from).contains("ending=error"));
    // A client that waits for JSON has received none of it.
    gateway.message(HELLO).is_error(529, "overloaded_error");
}

#[test]
fn an_answer_that_is_translated_to_nothing_is_tried_again() {
    let upstream = Upstream::script([
        Answer::sse(&sse(&["{}", "[DONE]"])),
        Answer::sse(""),
        Answer::sse(&sse(&WORDS)),
    ]);
    let gateway = gateway(&upstream).start();
    gateway
        .message(HELLO_STREAM)
        .has_status(200)
        .has_header(
            "x-witgate-attempts",
            "up/ada invalid_response, up/ada invalid_response, up/ada 200",
        )
        .has_body(TRANSLATED);
}

#[test]
fn notes_of_a_dialect_in_the_last_attempt_are_in_the_record() {
    let words = [
        WORDS[0],
        WORDS[1],
        r#"{"NOTE":"whispers"}"#,
        WORDS[3],
        r#"{"NOTE":"whispers"}"#,
    ];
    let upstream = Upstream::script([
        Answer::sse(&sse(&[r#"{"NOTE":"shouts"}"#, BUSY])),
        Answer::sse(&sse(&words)),
    ]);
    let gateway = gateway(&upstream).start();
    let from = gateway.mark();
    gateway.message(HELLO_STREAM).has("event: message_stop");
    let record = gateway.record(from);
    let noted = "notes=toy: left out: manners; toy: left out: whispers ms=";
    assert!(record.contains(noted), "{record}");
}

#[test]
fn nothing_follows_the_end_of_a_message() {
    let words = [
        WORDS[0],
        WORDS[1],
        WORDS[3],
        r#"{"DO":"END TWICE"}"#,
        r#"{"DO":"PANIC"}"#,
    ];
    let upstream = Upstream::with(move |_| Answer::sse(&sse(&words)));
    let gateway = gateway(&upstream).start();
    let seen = gateway.message(HELLO_STREAM);
    assert!(
        seen.text()
            .ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
    );
    assert_eq!(seen.text().matches("event: message_stop").count(), 1);
}

#[test]
fn a_dialect_that_fails_ends_the_exchange_with_its_name() {
    for (what, text) in [
        ("ERR", "asked it to fail"),
        ("PANIC", "asked it to panic"),
        ("SPIN", "deadline"),
    ] {
        let word = format!("{{\"DO\":\"{what}\"}}");
        let early = sse(&["{}", &word]);
        let late = sse(&[WORDS[0], WORDS[1], &word, WORDS[2]]);
        let at_end = sse(&[WORDS[0], WORDS[1], &format!("{{\"DO\":\"{what} AT END\"}}")]);
        let body = word.clone();
        let upstream = Upstream::script([
            Answer::sse(&early),
            Answer::sse(&late),
            Answer::sse(&at_end),
            Answer::sse(&late),
            Answer::json(200, &body),
        ]);
        let gateway = gateway(&upstream)
            .tables("[plugin.toy]\ndeadline = \"100ms\"\non_error = \"skip\"")
            .start();
        gateway
            .message(HELLO_STREAM)
            .is_error(500, "api_error")
            .has("`toy`")
            .has(text);
        for hook in ["on-event", "on-end"] {
            let from = gateway.mark();
            gateway
                .message(HELLO_STREAM)
                .has_status(200)
                .has("\"hel\"")
                .has("event: error")
                .has("`toy`")
                .has(text)
                .has(hook)
                .has_not("message_stop");
            assert!(gateway.record(from).contains("ending=error"));
        }
        gateway
            .message(HELLO)
            .is_error(500, "api_error")
            .has("`toy`")
            .has(text);
        gateway
            .post("/v1/messages/count_tokens", HELLO)
            .is_error(500, "api_error")
            .has("`toy`")
            .has("on-body");
        // None of these failures is retried, and the next exchange succeeds.
        assert_eq!(upstream.received().len(), 5);
        gateway.get("/healthz").has_status(200);
    }
}

#[test]
fn lines_of_json_are_events_without_names() {
    let lines = WORDS.join("\n");
    for kind in ["application/x-ndjson", "application/jsonl; charset=utf-8"] {
        for ending in ["", "\n", "\r\n\r\n"] {
            let sent = format!("{lines}{ending}");
            let upstream = Upstream::with(move |_| Answer::whole(200, kind, &sent));
            let gateway = gateway(&upstream).start();
            let seen = gateway.message(HELLO_STREAM);
            seen.has_status(200).has_body(TRANSLATED);
            let message = gateway.message(HELLO).has_status(200).json();
            assert_eq!(message["content"][0]["text"], "hello");
            assert_eq!(upstream.received().len(), 2, "{kind}");
        }
    }
    // An error in the first line is a failed attempt.
    let upstream = Upstream::with(|_| {
        let busy = format!("{BUSY}\n");
        Answer::whole(200, "application/x-ndjson", &busy)
    });
    let gateway = gateway(&upstream).retry("max_attempts = 1").start();
    assert_ne!(gateway.message(HELLO).status, 200);
}

#[test]
fn a_count_is_translated_both_ways_before_it_is_judged() {
    let upstream = Upstream::script([
        Answer::json(200, r#"{"COUNT":42}"#),
        Answer::json(404, r#"{"WOE":"GONE","SAYS":"no such model"}"#),
        Answer::whole(200, "text/html", "<html>"),
    ]);
    let gateway = gateway(&upstream).retry("max_attempts = 1").start();
    let seen = gateway.post("/v1/messages/count_tokens", HELLO);
    seen.has_status(200).has_body(r#"{"input_tokens":42}"#);
    assert_eq!(upstream.last().path, "/COUNT");
    assert_eq!(upstream.last().json()["STREAM"], json!(null));
    upstream.last().has_header("accept", "application/json");
    gateway
        .post("/v1/messages/count_tokens", HELLO)
        .is_error(404, "not_found_error")
        .has("no such model");
    gateway
        .post("/v1/messages/count_tokens", HELLO)
        .is_error(502, "api_error")
        .has("expected a JSON object");
}

#[test]
fn other_plugins_see_the_translation_and_may_change_it() {
    let upstream = Upstream::with(|_| Answer::sse(&sse(&WORDS)));
    let gateway = gateway(&upstream)
        .plugin("events.wasm", component("events"))
        .tables("[plugin.events]\nsettings = { shout = true }")
        .start();
    gateway.message(HELLO_STREAM).has("\"HEL\"").has("\"LO\"");
    let message = gateway.message(HELLO).json();
    assert_eq!(message["content"][0]["text"], "HELLO");
}

#[test]
fn the_answers_headers_are_not_a_dialects() {
    let words = [WORDS[0], r#"{"DO":"SET HEADER"}"#, WORDS[3], WORDS[4]];
    let upstream = Upstream::with(move |_| Answer::sse(&sse(&words)));
    let gateway = gateway(&upstream).start();
    gateway
        .message(HELLO_STREAM)
        .has_no_header("x-toy")
        .has("cannot set headers: it is not known yet");
}

#[test]
fn an_upstream_whose_dialect_no_plugin_speaks_fails_over() {
    let (up, other) = (Upstream::ok(), Upstream::ok());
    let gateway = Gateway::echo().upstream("up", &up, TOY).start();
    gateway.line(&["`up`", "`toy`", "no plugin translates"]);
    gateway
        .message(HELLO)
        .is_error(500, "api_error")
        .has("upstream `up` speaks `toy`, which no plugin translates");
    up.was_not_asked();
    let gateway = Gateway::echo()
        .upstream("up", &up, TOY)
        .pool("other", &other, &["eve"])
        .route("*", &["up", "other"])
        .start();
    gateway
        .message(HELLO)
        .has_status(200)
        .has_header("x-witgate-attempts", "up/ada other, other/eve 200");
    up.was_not_asked();
}

#[test]
fn a_kind_that_the_dialect_does_not_translate_is_not_sent() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream)
        .tables("[plugin.toy]\nsettings = { kinds = [\"messages\"] }")
        .start();
    gateway
        .post("/v1/messages/count_tokens", HELLO)
        .is_error(500, "api_error")
        .has("plugin `toy` does not translate `count_tokens`");
    upstream.was_not_asked();
}

#[test]
fn a_client_that_leaves_takes_the_upstream_with_it_in_the_middle_of_a_translation() {
    let (upstream, writer) = Upstream::streamed();
    let gateway = gateway(&upstream).start();
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO_STREAM)
        .sent();
    upstream.request(1);
    writer.write(sse(&WORDS[..2]));
    let mut stream = pending.answer();
    stream.until("\"hel\"");
    drop(stream);
    writer.was_left(LIMIT);
}

#[test]
fn an_upstreams_own_list_of_models_is_asked_for_through_its_dialect() {
    let toy = Upstream::with(|_| Answer::json(200, r#"{"MODELS":["loud","louder"]}"#));
    let other = Upstream::with(|_| Answer::json(200, r#"{"data":[{"id":"quiet"}]}"#));
    let gateway = gateway(&toy).pool("other", &other, &["eve"]).start();
    for _ in 0..2 {
        let list = gateway.get("/v1/models").json();
        let ids: Vec<_> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| &model["id"])
            .collect();
        assert_eq!(ids, ["loud", "louder", "quiet"]);
        assert_eq!(list["data"][0]["type"], "model");
    }
    // The list is cached for a while.
    assert_eq!(toy.received().len(), 1);
    let asked = toy.last();
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("GET", "/MODELS?ALL=1")
    );
    assert!(asked.body.is_empty());
    asked
        .has_header("x-api-key", "sk-of-ada")
        .has_no_header("anthropic-version");
}

#[test]
fn where_a_dialect_has_no_list_the_configured_models_are_listed_and_others_are_not_spoilt() {
    let refuses = "[plugin.toy]\nsettings = { refuses = [\"models\"] }";
    let knows_nothing_of_it = "[plugin.toy]\nsettings = { kinds = [\"messages\"] }";
    type Case = (&'static str, &'static str, fn() -> Answer);
    let table: [Case; 6] = [
        ("it refuses", refuses, || {
            Answer::json(200, r#"{"MODELS":["loud"]}"#)
        }),
        ("it has no guard for it", knows_nothing_of_it, || {
            Answer::json(200, r#"{"MODELS":["loud"]}"#)
        }),
        ("it panics", "", || Answer::json(200, r#"{"DO":"PANIC"}"#)),
        ("it has no list", "", || Answer::status(404)),
        ("it is not a list", "", || Answer::sse("data: x\n\n")),
        ("it never arrives", "", || Answer::hang().0),
    ];
    for (what, tables, answer) in table {
        let toy = Upstream::with(move |_| answer());
        let other = Upstream::with(|_| Answer::json(200, r#"{"data":[{"id":"quiet"}]}"#));
        let gateway = Gateway::echo()
            .upstream("up", &toy, &format!("{TOY}\nmodels = [\"named\"]"))
            .pool("other", &other, &["eve"])
            .plugin("toy.wasm", component("toy-dialect"))
            .tables(tables)
            .start();
        let list = gateway.get("/v1/models").json();
        let ids: Vec<_> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| &model["id"])
            .collect();
        assert_eq!(ids, ["named", "quiet"], "{what}");
        if !tables.is_empty() {
            toy.was_not_asked();
        }
    }
}

#[test]
fn a_plugin_that_claims_anothers_dialect_is_rejected_with_both_names_and_a_hint() {
    let upstream = Upstream::with(|_| Answer::sse(&sse(&WORDS)));
    let words = [
        "`a-toy`",
        "claims dialect `toy`",
        "plugin `toy` translates",
        "[plugin.toy] enabled = false",
    ];
    let two = gateway(&upstream).plugin("b-toy.wasm", component("toy-dialect"));
    two.fails().has_code(4).says(&[
        "`toy`",
        "claims dialect `toy`, which plugin `b-toy` translates",
    ]);

    let mut gateway = gateway(&upstream).start();
    let from = gateway.mark();
    gateway.drop_in("a-toy.wasm", &component("toy-dialect"));
    gateway.line_from(from, &words);
    gateway
        .message(HELLO_STREAM)
        .has_status(200)
        .has_body(TRANSLATED);
    assert_eq!(upstream.last().path, "/SHOUT?HOW=LOUD");

    // One of them is disabled, and the other one takes over.
    let from = gateway.mark();
    gateway.reconfigure(|builder| {
        builder.replace_tables(
            "[[upstream]]",
            "[plugin.toy]\nenabled = false\n[[upstream]]",
        );
    });
    gateway.line_from(from, &["configuration loaded"]);
    let from = gateway.mark();
    gateway
        .message(HELLO_STREAM)
        .has_status(200)
        .has_body(TRANSLATED);
    assert!(gateway.record(from).contains("edits=a-toy=2"));

    // Both cannot be enabled together.
    let from = gateway.mark();
    gateway.reconfigure(|builder| builder.replace_tables("enabled = false", "enabled = true"));
    gateway.line_from(from, &["configuration rejected", "claims dialect `toy`"]);
    gateway
        .message(HELLO_STREAM)
        .has_status(200)
        .has_body(TRANSLATED);
}
