//! Plugins that misbehave: the exchange ends with an error that names the plugin, or goes on
//! without it where that is allowed. The next exchange succeeds.

use crate::support::{
    Answer, Gateway, Upstream, component,
    gateway::Builder,
    shapes::{EVENTS, HELLO, HELLO_STREAM, MESSAGE, message},
};

/// The guests that fail, and a part of each error message.
const VICES: &[(&str, &str)] = &[
    ("traps", "trapped on purpose in "),
    ("errs", "erred on purpose in "),
    ("spins", "deadline"),
    ("sleeps", "deadline"),
    ("hoards", "memory"),
];

/// A gateway with a guest that misbehaves in one hook.
fn with(upstream: &Upstream, guest: &str, settings: &str, more: &str) -> Builder {
    Gateway::to(upstream)
        .plugin(&format!("50-{guest}.wasm"), component(guest))
        .tables(&format!("[plugin.{guest}]\nsettings = {{ {settings} }}\ndeadline = \"200ms\"\nmemory = \"8MiB\"\n{more}"))
}

#[test]
fn a_failure_in_a_request_or_attempt_hook_ends_the_exchange_with_the_plugins_name() {
    for (guest, text) in VICES {
        for hook in ["request", "attempt"] {
            let upstream = Upstream::ok();
            let gateway = with(
                &upstream,
                guest,
                &format!("in = \"{hook}\", edits = true"),
                "",
            )
            .start();
            // Without a deadline the guests that spin and sleep would never end.
            let seen = gateway.message(HELLO);
            seen.is_error(500, "api_error").has(guest).has(text);
            if text.ends_with(' ') {
                seen.has(hook);
            }
            gateway.line(&[guest, text]);
            upstream.was_not_asked();
            gateway.get("/healthz").has_status(200);
            gateway
                .post("/v1/messages/count_tokens", HELLO)
                .is_error(500, "api_error");
        }
    }
}

#[test]
fn what_may_be_skipped_is_skipped_and_its_edits_are_taken_back() {
    for (guest, text) in VICES {
        for hook in ["request", "attempt"] {
            let upstream = Upstream::ok();
            let gateway = with(
                &upstream,
                guest,
                &format!("in = \"{hook}\", edits = true"),
                "on_error = \"skip\"",
            )
            .start();
            let from = gateway.mark();
            let seen = gateway.message(HELLO);
            seen.has_status(200).has_body(MESSAGE);
            upstream.last().has_body(HELLO);
            gateway.line_from(from, &[guest, text]);
            let receipt = seen.header("x-witgate-edits").unwrap_or_default();
            assert!(
                receipt.contains(guest),
                "{guest} is not in the receipt `{receipt}`"
            );
        }
    }
}

#[test]
fn a_failure_in_a_response_hook_ends_the_stream_with_an_error_that_names_the_plugin() {
    for (guest, text) in VICES {
        let (upstream, writer) = Upstream::streamed();
        let gateway = with(&upstream, guest, "in = \"event\", call = 3", "").start();
        let pending = gateway
            .request("POST", "/v1/messages")
            .header("x-api-key", "k")
            .body(HELLO_STREAM)
            .sent();
        upstream.request(1);
        writer.write(EVENTS[0]);
        let mut stream = pending.answer();
        assert_eq!(stream.status, 200);
        stream.next_event();
        writer.write(EVENTS[1]);
        stream.next_event();
        writer.write(EVENTS[2]);
        let rest = stream.rest();
        rest.has("event: error")
            .has(guest)
            .has(text)
            .has_not("event: message_stop");
        assert_eq!(rest.text().matches("event: ").count(), 1, "{}", rest.text());
        // Before any byte is sent, the failure has its own status.
        gateway.message(HELLO).is_error(500, "api_error").has(guest);
    }
}

#[test]
fn a_response_hook_that_may_be_skipped_lets_other_events_pass() {
    for (guest, _) in VICES {
        let upstream = Upstream::with(|_| Answer::sse(&EVENTS.concat()));
        let gateway = with(
            &upstream,
            guest,
            "in = \"event\", call = 3",
            "on_error = \"skip\"",
        )
        .start();
        gateway
            .message(HELLO_STREAM)
            .has_status(200)
            .has_body(EVENTS.concat());
    }
}

#[test]
fn failures_at_the_end_and_in_a_body_name_the_plugin_too() {
    let (streamed, writer) = Upstream::streamed();
    let gateway = with(&streamed, "traps", "in = \"end\"", "").start();
    let request = gateway.request("POST", "/v1/messages");
    let pending = request.header("x-api-key", "k").body(HELLO_STREAM).sent();
    streamed.request(1);
    writer.write(EVENTS[..3].concat());
    let mut stream = pending.answer();
    assert_eq!(stream.status, 200);
    stream.next_event();
    writer.write(EVENTS[3..].concat());
    stream
        .rest()
        .has("event: error")
        .has("traps")
        .has_not("event: message_stop");
    let upstream = Upstream::ok();
    let gateway = with(&upstream, "traps", "in = \"body\"", "").start();
    gateway
        .post("/v1/messages/count_tokens", HELLO)
        .is_error(500, "api_error")
        .has("trapped on purpose in body");
    let reset = Upstream::with(|_| Answer::json(500, "{}"));
    let gateway = with(&reset, "traps", "in = \"failure\"", "").start();
    gateway
        .message(HELLO)
        .is_error(500, "api_error")
        .has("trapped on purpose in failure");
}

#[test]
fn a_plugin_that_fails_when_it_is_loaded_is_rejected() {
    for (guest, text) in VICES {
        let outcome = with(&Upstream::ok(), guest, "in = \"describe\"", "").fails();
        outcome.has_code(4).says(&[guest, text]);
    }
    let outcome = with(&Upstream::ok(), "traps", "im = \"request\"", "").fails();
    outcome.has_code(4).says(&["traps", "im"]);
}

#[test]
fn a_failure_does_not_affect_other_exchanges() {
    let upstream = Upstream::ok();
    // Only the second event-hook call of an exchange fails, so a JSON count succeeds.
    let gateway = with(&upstream, "traps", "in = \"event\", call = 2", "").start();
    std::thread::scope(|scope| {
        for round in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || {
                if round % 2 == 0 {
                    gateway.message(HELLO).is_error(500, "api_error");
                } else {
                    gateway
                        .post("/v1/messages/count_tokens", HELLO)
                        .has_status(200);
                }
            });
        }
    });
    gateway
        .post("/v1/messages/count_tokens", HELLO)
        .has_status(200);
}

#[test]
fn a_spinning_plugin_does_not_hold_up_other_exchanges() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .env("TOKIO_WORKER_THREADS", "1")
        .plugin("50-spins.wasm", component("spins"))
        .tables("[plugin.spins]\nsettings = { in = \"request\" }\ndeadline = \"3s\"")
        .start();
    let from = gateway.mark();
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO)
        .sent();
    // These go through on the same worker thread while the guest spins.
    for _ in 0..5 {
        gateway.get("/healthz").has_status(200);
    }
    let ended = gateway.log().into_iter().skip(from);
    let ended: Vec<String> = ended.filter(|line| line.contains("status=500")).collect();
    assert!(ended.is_empty(), "the guest no longer spins: {ended:?}");
    let seen = pending.answer().rest();
    seen.is_error(500, "api_error").has("deadline");
    gateway.line_from(from, &["exchange", "status=500"]);
}

#[test]
fn a_signal_ends_a_gateway_whose_workers_all_run_plugins_that_never_return() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::to(&upstream)
        .env("TOKIO_WORKER_THREADS", "2")
        .top("drain = \"100ms\"")
        .plugin("50-spins.wasm", component("spins"))
        .tables("[plugin.spins]\nsettings = { in = \"request\" }\ndeadline = \"1h\"")
        .start();
    let spinning: Vec<_> = (0..4)
        .map(|_| {
            let request = gateway.request("POST", "/v1/messages");
            request.header("x-api-key", "k").body(HELLO).sent()
        })
        .collect();
    crate::assert_eventually!(
        gateway
            .get("/metrics")
            .text()
            .contains("\nwitgate_plugin_slots_in_use 4\n"),
        "all of them are in the plugin"
    );
    gateway.terminate();
    assert!(gateway.ended().success());
    drop(spinning);
}

#[test]
fn a_plugin_cannot_write_a_line_of_the_log_that_is_not_its_own() {
    let upstream = Upstream::ok();
    let forged = "2026-11-27T00:00:00Z  INFO witgate::exchange: exchange status=200";
    let gateway = Gateway::to(&upstream)
        .plugin("50-operations.wasm", component("operations"))
        .tables(&format!(
            "[plugin.operations]\nsettings = {{ request = [{{ log = \"begun\\n{forged}\" }}] }}"
        ))
        .start();
    gateway
        .request("POST", "/v1/messages")
        .header("x-run", "request")
        .body(HELLO)
        .send()
        .has_status(200);
    gateway.line(&["begun", forged, "plugin=operations"]);
    let log = gateway.log();
    let begins = |line: &&String| line.starts_with(forged);
    assert_eq!(log.iter().find(begins), None);
}

#[test]
fn a_file_name_cannot_write_a_line_of_the_log() {
    let gateway = Gateway::echo().start();
    let forged = "2026-11-27T00:00:00Z  INFO forged";
    let name = format!("60-a\n{forged}.wasm");
    gateway.drop_in(&name, &component("declines"));
    let line = gateway.line(&["plugin rejected", "control character"]);
    assert!(line.contains(&format!("60-a\\n{forged}.wasm")), "{line}");
    assert!(!gateway.log().iter().any(|line| line.starts_with(forged)));
}

#[test]
fn plugins_run_where_a_process_gets_little_address_space() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .address_space(600_000)
        .env("TOKIO_WORKER_THREADS", "2")
        .plugin("50-events.wasm", component("events"))
        .start();
    gateway.line(&[
        "WARN",
        "limited to 585 MiB (`ulimit -v`)",
        "MALLOC_ARENA_MAX is 2",
    ]);
    gateway.line(&["WARN", "cannot reserve memory for the plugin instance pool"]);
    for _ in 0..3 {
        gateway.message(HELLO).has_status(200);
    }
}

#[test]
fn without_a_free_slot_an_exchange_is_a_529_before_anything_is_asked() {
    let (upstream, writer) = Upstream::streamed();
    let gateway = Gateway::to(&upstream)
        .plugin("50-events.wasm", component("events"))
        .tables(&format!(
            "[plugins]\ndir = \"plugins\"\ncache = {:?}\ninstances = 1",
            crate::support::gateway::code_cache()
        ))
        .start();
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO_STREAM)
        .sent();
    upstream.request(1);
    writer.write(EVENTS[0]);
    let mut stream = pending.answer();
    stream.next_event();
    let seen = gateway.message(HELLO);
    seen.is_error(529, "overloaded_error");
    assert_eq!(upstream.received().len(), 1);
    for event in &EVENTS[1..] {
        writer.write(event);
    }
    writer.end();
    assert!(stream.rest().whole);
    gateway.message(HELLO).has_status(200);
}

#[test]
fn a_hook_can_wait_until_something_is_remembered_about_the_conversation() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .plugin("50-tagger.wasm", component("tagger"))
        .tables("[plugin.tagger]\nsettings = { remember = true, remembers = \"conversation\", headers = { x-tagged = [\"yes\"] } }")
        .start();
    let ask = |session: &str, remember: bool| {
        let request = gateway.request("POST", "/v1/messages");
        let mut request = request.header("x-api-key", "k");
        request = request.header("x-claude-code-session-id", session);
        if remember {
            request = request.header("x-remember", "1");
        }
        let from = gateway.mark();
        request.body(HELLO).send().has_status(200);
        let tagged = upstream.last().header("x-tagged").is_some();
        (tagged, gateway.record(from))
    };
    for (session, remember, tagged) in [
        ("a", false, false),
        ("b", false, false),
        ("a", true, true),
        ("b", false, false),
        ("a", false, true),
    ] {
        let (seen, record) = ask(session, remember);
        assert_eq!(seen, tagged, "{session} {remember}");
        let calls = format!("calls={} ", 1 + usize::from(tagged));
        assert!(record.contains(&calls), "{record}");
    }
}

#[test]
fn a_plugin_may_answer_or_refuse() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .plugin("50-tagger.wasm", component("tagger"))
        .tables("[plugin.tagger]\nsettings = { in = \"request\", answer = { id = \"msg_x\", type = \"message\", role = \"assistant\", model = \"m\", content = [{ type = \"text\", text = \"made here\" }], stop_reason = \"end_turn\", usage = { input_tokens = 1, output_tokens = 1 } } }")
        .start();
    gateway
        .message(HELLO)
        .has_status(200)
        .has("made here")
        .has_header("x-tagger", "answered");
    let streamed = gateway.message(HELLO_STREAM);
    streamed
        .has_status(200)
        .has("made here")
        .has("event: message_stop")
        .has_header("x-tagger", "answered");
    gateway.line(&["tagged"]);
    upstream.was_not_asked();

    let gateway = Gateway::to(&upstream)
        .plugin("50-tagger.wasm", component("tagger"))
        .tables("[plugin.tagger]\nsettings = { refuse = { status = 418, type = \"invalid_request_error\", message = \"no tea\", details = { pot = 1 } } }")
        .start();
    let seen = gateway.message(HELLO);
    seen.is_error(418, "invalid_request_error").has("no tea");
    assert_eq!(seen.json()["error"]["details"]["pot"], 1);
    upstream.was_not_asked();
}

#[test]
fn a_refusal_may_send_the_exchange_to_the_next_upstream() {
    let (first, second) = (Upstream::ok(), Upstream::ok());
    let account = "preset = \"anthropic\"\naccounts = [{ name = \"ada\", key = \"k\" }]";
    let gateway = Gateway::echo()
        .upstream("first", &first, account)
        .upstream("second", &second, account)
        .plugin("50-tagger.wasm", component("tagger"))
        .tables("[plugin.tagger]\nsettings = { only_attempt = 1, refuse = { status = 400, type = \"invalid_request_error\", message = \"not there\", try_next = true } }")
        .start();
    gateway.message(HELLO).has_status(200);
    first.was_not_asked();
    second.last().has_body(HELLO);
}

#[test]
fn a_failure_hook_may_ask_for_another_attempt_and_correct_what_the_client_reads() {
    let upstream = Upstream::script([
        Answer::json(
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"odd"}}"#,
        ),
        Answer::json(200, MESSAGE),
    ]);
    let gateway = Gateway::to(&upstream)
        .plugin("50-retries.wasm", component("retries"))
        .tables(
            "[plugin.retries]\nsettings = { when = [400], retry = \"same-account\", mark = true }",
        )
        .start();
    gateway.message(HELLO).has_status(200).has_body(MESSAGE);
    let second = upstream.request(2).json();
    assert_eq!(second["failed_with"][0], 400, "{second}");
    assert_eq!(
        second["failed_with"][1], "invalid_request_error",
        "{second}"
    );

    let upstream = Upstream::with(|_| Answer::json(400, "{}"));
    let gateway = Gateway::to(&upstream)
        .plugin("50-retries.wasm", component("retries"))
        .tables("[plugin.retries]\nsettings = { retry = \"never\", status = 404, error_type = \"not_found_error\" }")
        .start();
    gateway.message(HELLO).is_error(404, "not_found_error");
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_plugin_sees_no_credential_and_cannot_set_one() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .plugin("50-tagger.wasm", component("tagger"))
        .tables("[plugin.tagger]\nsettings = { show = true }")
        .start();
    gateway
        .post("/v1/messages?beta=true", HELLO)
        .has_status(200);
    let shown = upstream.last().header("x-tagger").unwrap().to_owned();
    for word in [
        "messages POST /v1/messages?beta=true",
        "key=0",
        "conversation=opening-",
        "upstream=up",
        "dialect=anthropic",
        "account=ada",
        "attempt=1",
    ] {
        assert!(shown.contains(word), "no `{word}` in {shown}");
    }
    for header in [
        "x-api-key",
        "authorization",
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
    ] {
        let gateway = Gateway::to(&upstream)
            .plugin("50-tagger.wasm", component("tagger"))
            .tables(&format!(
                "[plugin.tagger]\nsettings = {{ headers = {{ {header} = [\"1\"] }} }}"
            ))
            .start();
        gateway
            .message(HELLO)
            .is_error(500, "api_error")
            .has(header);
    }
    for path in [
        "//evil.example/x",
        "/../x",
        "http://evil.example/",
        "/a/../../x",
    ] {
        let gateway = Gateway::to(&upstream)
            .plugin("50-tagger.wasm", component("tagger"))
            .tables(&format!(
                "[plugin.tagger]\nsettings = {{ send_to = \"{path}\" }}"
            ))
            .start();
        gateway.message(HELLO).is_error(500, "api_error");
    }
}

#[test]
fn a_guard_by_place_in_a_list_holds_where_its_path_selects() {
    let image = r#"{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}"#;
    let text = r#"{"type":"text","text":"nothing to take out of this one"}"#;
    let body = |first: &str, last: &str| {
        message(&format!(
            r#"[{{"role":"user","content":[{first}]}},{{"role":"assistant","content":"between"}},{{"role":"user","content":[{last}]}}]"#
        ))
    };
    let upstream = Upstream::ok();
    let in_first = format!("{image},{text}");
    for places in ["0,-1", "-1,0", "0", "0:", "0:,-1"] {
        let path = format!("$.messages[{places}].content[?@.type == 'image']");
        let gateway = Gateway::to(&upstream)
            .plugin("50-tagger.wasm", component("tagger"))
            .tables(&format!(
                "[plugin.tagger]\nsettings = {{ path = \"{path}\", remove_all = [\"{path}\"] }}"
            ))
            .start();
        let seen = gateway.message(body(&in_first, text));
        seen.has_status(200);
        let receipt = seen.header("x-witgate-edits").unwrap_or_default();
        assert!(receipt.contains("tagger"), "{places}: receipt `{receipt}`");
        upstream.last().has_body(body(text, text));
        // Where the path selects nothing, the plugin is not called.
        let seen = gateway.message(body(text, text));
        assert_eq!(seen.header("x-witgate-edits"), None, "{places}");
        upstream.last().has_body(body(text, text));
    }
}

#[test]
fn what_outlives_an_exchange_outlives_a_reload() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .plugin("50-tagger.wasm", component("tagger"))
        .tables("[plugin.tagger]\nsettings = { count = \"seen\" }")
        .start();
    for count in ["1", "2"] {
        gateway.message(HELLO).has_status(200);
        upstream.last().has_header("x-tagger-count", count);
    }
    gateway.drop_in("60-declines.wasm", &component("declines"));
    gateway.generation(2);
    gateway.message(HELLO).has_status(200);
    upstream.last().has_header("x-tagger-count", "3");
}

#[test]
fn a_plugin_may_hold_add_and_drop_events() {
    let upstream = Upstream::with(|_| Answer::sse(&EVENTS.concat()));
    let gateway = Gateway::to(&upstream)
        .plugin("50-events.wasm", component("events"))
        .tables("[plugin.events]\nsettings = { hold = true, headers = { x-seen = [\"yes\"] }, remember = \"$.model\" }")
        .start();
    let seen = gateway.message(HELLO_STREAM);
    seen.has_status(200)
        .has_header("x-seen", "yes")
        .has_header("x-remembered", "\"claude-opus-5-5\"");
    assert_eq!(
        seen.text().matches("text_delta").count(),
        1,
        "{}",
        seen.text()
    );
    seen.has("\"hello\"").has(EVENTS[0]).has(EVENTS[6]);
}

#[test]
fn a_plugin_that_opens_a_connection_fails_with_the_reason() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .plugin("50-ungranted.wasm", component("ungranted"))
        .start();
    gateway
        .message(HELLO)
        .is_error(500, "api_error")
        .has("plugin `ungranted`")
        .has("plugins have no network");
    upstream.was_not_asked();
}

#[test]
fn a_plugin_finds_no_file_no_folder_and_no_variable_and_its_output_is_in_the_log_at_debug() {
    let upstream = Upstream::ok();
    for (filter, printed) in [("info", false), ("debug", true)] {
        let gateway = Gateway::to(&upstream)
            .log(filter)
            .env("WITGATE_TEST", "seen")
            .plugin("50-looks-around.wasm", component("looks-around"))
            .start();
        let from = gateway.mark();
        gateway.message(HELLO).has_status(200);
        gateway.line_from(from, &["looks-around", "found nothing"]);
        gateway.line_from(from, &["exchange", "status=200"]);
        for stream in ["stdout", "stderr"] {
            let text = format!("printed to {stream}");
            let words = ["DEBUG", "plugin=looks-around", &text];
            match printed {
                true => _ = gateway.line_from(from, &words),
                false => gateway.has_no_line(&[&text]),
            }
        }
    }
}
