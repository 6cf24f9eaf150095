//! `/metrics` after exchanges whose course is known.

use crate::support::{
    Answer, Gateway, Reply, Upstream, component,
    shapes::{EVENTS, HELLO, HELLO_STREAM, MESSAGE, SSE},
};

const BUSY: &str = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#;

fn read(gateway: &Gateway) -> Reply {
    let reply = gateway.get("/metrics");
    reply.has_status(200);
    reply
}

/// The value of a series, written as `name{label="value"}`; `None` if it does not exist.
fn value(gateway: &Gateway, series: &str) -> Option<f64> {
    let text = read(gateway).text();
    let of = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(of)
}

/// Waits for a value, because a stream is counted after the client has seen its last byte.
#[track_caller]
fn becomes(gateway: &Gateway, series: &str, wanted: f64) {
    crate::assert_eventually!(
        value(gateway, series) == Some(wanted),
        "{series} is {wanted}; it is {:?}",
        value(gateway, series)
    );
}

#[test]
fn an_exchange_is_counted_by_its_kind_and_ending() {
    let upstream = Upstream::script([
        Answer::json(200, MESSAGE),
        Answer::sse(SSE),
        Answer::sse(EVENTS[0]),
        Answer::json(
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#,
        ),
        Answer::json(200, r#"{"input_tokens":5}"#),
    ]);
    let gateway = Gateway::to(&upstream).start();
    let of =
        |kind, ending| format!(r#"witgate_exchanges_total{{kind="{kind}",ending="{ending}"}}"#);
    assert_eq!(value(&gateway, &of("messages", "complete")), Some(0.0));

    gateway.message(HELLO).has_status(200);
    gateway
        .message(HELLO_STREAM)
        .has_status(200)
        .has("message_stop");
    gateway
        .message(HELLO_STREAM)
        .has_status(200)
        .has("event: error");
    gateway.message(HELLO).has_status(400);
    gateway
        .post("/v1/messages/count_tokens", HELLO)
        .has_status(200);
    gateway
        .message(HELLO.replace("hi", "warmup"))
        .has_status(200);

    becomes(&gateway, &of("messages", "complete"), 2.0);
    becomes(&gateway, &of("messages", "truncated"), 1.0);
    becomes(&gateway, &of("messages", "error"), 1.0);
    becomes(&gateway, &of("messages", "answered"), 1.0);
    becomes(&gateway, &of("messages", "client_gone"), 0.0);
    becomes(&gateway, &of("count_tokens", "complete"), 1.0);
    becomes(&gateway, "witgate_exchanges_saved_total", 1.0);
    becomes(
        &gateway,
        r#"witgate_exchange_duration_seconds_count{kind="messages"}"#,
        5.0,
    );
    becomes(&gateway, "witgate_first_event_seconds_count", 2.0);
}

#[test]
fn attempts_are_counted_by_status_and_retries_by_cause() {
    let upstream = Upstream::script([
        Answer::json(429, BUSY).header("retry-after", "60"),
        Answer::json(200, MESSAGE),
        Answer::Raw(b"nonsense\r\n\r\n".to_vec()),
        Answer::json(200, MESSAGE),
    ]);
    let gateway = Gateway::echo()
        .upstream("up", &upstream, "preset = \"anthropic\"\naccounts = [{ name = \"ada\", key = \"k-a\" }, { name = \"bob\", key = \"k-b\" }, { name = \"cyd\", key = \"k-c\" }]")
        .start();
    let on_cooldown = |account| {
        let of = format!(r#"witgate_accounts_on_cooldown{{upstream="up",account="{account}"}}"#);
        value(&gateway, &of)
    };
    assert_eq!(on_cooldown("ada"), Some(0.0));
    gateway.message(HELLO).has_status(200);
    assert_eq!(
        (on_cooldown("ada"), on_cooldown("bob")),
        (Some(1.0), Some(0.0))
    );
    gateway.message(HELLO).has_status(200);
    let of = |status| format!(r#"witgate_attempts_total{{upstream="up",status="{status}"}}"#);
    assert_eq!(value(&gateway, &of("429")), Some(1.0));
    assert_eq!(value(&gateway, &of("200")), Some(2.0));
    assert_eq!(value(&gateway, &of("none")), Some(1.0));
    let of = |cause| format!(r#"witgate_retries_total{{cause="{cause}"}}"#);
    assert_eq!(value(&gateway, &of("rate_limited")), Some(1.0));
    assert_eq!(value(&gateway, &of("invalid_response")), Some(1.0));
}

#[test]
fn tokens_are_those_that_the_upstream_reports_at_last() {
    let whole = MESSAGE.replace(
        r#""input_tokens":9"#,
        r#""input_tokens":9,"cache_read_input_tokens":40,"cache_creation_input_tokens":7"#,
    );
    let upstream = Upstream::script([Answer::sse(&EVENTS.concat()), Answer::json(200, &whole)]);
    let gateway = Gateway::to(&upstream).start();
    let of = |kind| format!(r#"witgate_tokens_total{{upstream="up",type="{kind}"}}"#);
    let from = gateway.mark();
    gateway.message(HELLO_STREAM).has_status(200);
    // The counts are cumulative: 1 at the start and 3 at the end make 3.
    becomes(&gateway, &of("output"), 3.0);
    becomes(&gateway, &of("input"), 9.0);
    assert_eq!(value(&gateway, &of("cache_read")), None);
    let record = gateway.record(from);
    assert!(
        record.contains("input_tokens=9 output_tokens=3"),
        "{record}"
    );

    gateway.message(HELLO).has_status(200);
    becomes(&gateway, &of("output"), 4.0);
    becomes(&gateway, &of("input"), 18.0);
    becomes(&gateway, &of("cache_read"), 40.0);
    becomes(&gateway, &of("cache_creation"), 7.0);
}

#[test]
fn a_stream_is_open_until_it_ends() {
    let (upstream, writer) = Upstream::streamed();
    let gateway = Gateway::to(&upstream).start();
    assert_eq!(value(&gateway, "witgate_open_streams"), Some(0.0));
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO_STREAM)
        .sent();
    upstream.request(1);
    writer.write(EVENTS[0]);
    let mut stream = pending.answer();
    stream.next_event();
    assert_eq!(value(&gateway, "witgate_open_streams"), Some(1.0));
    // A client that disconnects ends it as well.
    drop(stream);
    becomes(&gateway, "witgate_open_streams", 0.0);
    becomes(
        &gateway,
        r#"witgate_exchanges_total{kind="messages",ending="client_gone"}"#,
        1.0,
    );
    writer.end();
}

#[test]
fn plugins_are_counted_by_hook() {
    let upstream = Upstream::ok();
    let gateway = Gateway::preset("compatible", &upstream)
        .plugin("50-errs.wasm", component("errs"))
        .tables("[plugin.errs]\nsettings = { in = \"request\" }\non_error = \"skip\"")
        .start();
    let of = |what: &str, plugin: &str, hook: &str| {
        format!(r#"witgate_plugin_{what}_total{{plugin="{plugin}",hook="{hook}"}}"#)
    };
    assert_eq!(
        value(&gateway, &of("calls", "strip-cache-control", "attempt")),
        Some(0.0)
    );
    assert_eq!(
        value(&gateway, &of("calls", "strip-cache-control", "request")),
        None
    );
    gateway.message(HELLO).has_status(200);
    gateway
        .message(r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]}"#)
        .has_status(200);
    let strips = |what| value(&gateway, &of(what, "strip-cache-control", "attempt"));
    assert_eq!(strips("calls"), Some(1.0));
    assert_eq!(strips("guard_skips"), Some(1.0));
    assert_eq!(strips("failures"), Some(0.0));
    assert!(strips("call_seconds").is_some_and(|time| 0.0 < time && time < 5.0));
    assert_eq!(value(&gateway, &of("calls", "errs", "request")), Some(2.0));
    assert_eq!(
        value(&gateway, &of("failures", "errs", "request")),
        Some(2.0)
    );
    assert_eq!(value(&gateway, "witgate_plugin_slots"), Some(1000.0));
    becomes(&gateway, "witgate_plugin_slots_in_use", 0.0);
}

#[test]
fn reloads_are_counted_by_result() {
    let mut gateway = Gateway::echo().start();
    let of = |what, result| format!(r#"witgate_reloads_total{{what="{what}",result="{result}"}}"#);
    assert_eq!(value(&gateway, &of("config", "applied")), Some(0.0));
    let before = value(&gateway, "witgate_generation").unwrap();

    gateway.reconfigure(|config| config.replace_top("expose_accounts = false"));
    becomes(&gateway, &of("config", "applied"), 1.0);
    gateway.reconfigure(|config| config.replace_top("expose_accounts = 3"));
    becomes(&gateway, &of("config", "rejected"), 1.0);
    gateway.reconfigure(|config| config.replace_top("expose_accounts = true"));
    becomes(&gateway, &of("config", "applied"), 2.0);
    assert_eq!(value(&gateway, &of("plugins", "applied")), Some(0.0));

    gateway.drop_in("50-errs.wasm", &component("errs"));
    becomes(&gateway, &of("plugins", "applied"), 1.0);
    becomes(&gateway, "witgate_generation", before + 1.0);
    gateway.dir.write("plugins/51-bad.wasm", "no component");
    becomes(&gateway, &of("plugins", "rejected"), 1.0);
    becomes(&gateway, "witgate_generation", before + 1.0);
}

#[test]
fn accounts_are_named_only_where_they_may_be() {
    let upstream = Upstream::ok();
    let named = Gateway::to(&upstream).start();
    assert_eq!(
        value(
            &named,
            r#"witgate_accounts_on_cooldown{upstream="up",account="ada"}"#
        ),
        Some(0.0)
    );
    let unnamed = Gateway::to(&upstream)
        .top("expose_accounts = false")
        .start();
    read(&unnamed).has_not("ada");
    assert_eq!(
        value(&unnamed, r#"witgate_accounts_on_cooldown{upstream="up"}"#),
        Some(0.0)
    );
}

#[test]
fn metrics_take_a_key_where_keys_are_asked_for_and_never_go_upstream() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .auth("all-except-health", &["sk-mine"])
        .start();
    gateway
        .get("/metrics")
        .is_error(401, "authentication_error");
    let with_key = |method| {
        let request = gateway.request(method, "/metrics");
        request.header("authorization", "Bearer sk-mine").send()
    };
    with_key("GET")
        .has_status(200)
        .has_header("content-type", "text/plain; version=0.0.4; charset=utf-8")
        .has("# TYPE witgate_exchanges_total counter");
    let head = with_key("HEAD");
    head.has_status(200);
    assert!(head.body.is_empty(), "{}", head.text());
    with_key("POST")
        .has_status(405)
        .has_header("allow", "GET, HEAD");
    upstream.was_not_asked();
}

#[test]
fn the_format_is_the_one_that_is_accepted() {
    let gateway = Gateway::echo().start();
    let seen = gateway.get("/metrics");
    seen.has_header("content-type", "text/plain; version=0.0.4; charset=utf-8")
        .has("# TYPE witgate_exchanges_total counter\n")
        .has("# TYPE witgate_build_info gauge\n")
        .has_not("# EOF");
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let request = gateway.request("GET", "/metrics").header("accept", open);
    let seen = request.send();
    seen.has_header("content-type", open)
        .has("# TYPE witgate_exchanges counter\n")
        .has("# EOF\n");
}

#[test]
fn clients_cannot_create_series() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    let lines = || read(&gateway).text().lines().count();
    gateway.message(HELLO).has_status(200);
    let before = lines();
    for n in 0..20 {
        let model = format!("made-up-{n}");
        gateway
            .message(HELLO.replace("claude-opus-5-5", &model))
            .has_status(200);
    }
    read(&gateway).has_not("made-up");
    assert_eq!(lines(), before);
}
