//! Operation: signals, the log, and changes of the configuration file at run time.

use std::{net::TcpStream, time::Duration};

use crate::support::{
    Answer, Gateway, TempDir, Upstream,
    client::closes,
    shapes::{EVENTS, HELLO, HELLO_STREAM},
};

#[test]
fn each_exchange_is_one_log_line() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    let from = gateway.mark();
    let seen = gateway.message(HELLO);
    let id = seen.header("request-id").unwrap_or_default().to_owned();
    let record = gateway.record(from);
    for word in [
        "status=200",
        "model=claude-opus-5-5",
        "upstream=up",
        "account=ada",
        "attempts=1",
        "instances=0",
    ] {
        assert!(
            record.contains(word),
            "no `{word}` (request-id {id}) in {record}"
        );
    }
    let lines = gateway
        .log()
        .into_iter()
        .skip(from)
        .filter(|line| line.contains("status="))
        .count();
    assert_eq!(lines, 1);
}

#[test]
fn a_shutdown_lets_running_exchanges_end() {
    let (upstream, writer) = Upstream::streamed();
    let mut gateway = Gateway::to(&upstream).start();
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO_STREAM)
        .sent();
    upstream.request(1);
    writer.write(EVENTS[0]);
    let mut stream = pending.answer();
    stream.next_event();
    gateway.terminate();
    gateway.line(&["drain"]);
    let addr = gateway.addr;
    crate::assert_eventually!(
        TcpStream::connect(addr).is_err(),
        "no new connection is accepted"
    );
    for event in &EVENTS[1..] {
        writer.write(event);
        assert_eq!(stream.next_event().as_deref(), Some(*event));
    }
    writer.end();
    assert!(stream.rest().whole);
    assert!(gateway.ended().success());
}

#[test]
fn a_shutdown_waits_no_longer_than_its_configured_limit() {
    let (answer, _gone) = Answer::hang();
    let upstream = Upstream::script([answer]);
    let mut gateway = Gateway::to(&upstream).top("drain = \"200ms\"").start();
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO)
        .sent();
    upstream.request(1);
    gateway.terminate();
    assert!(gateway.ended().success());
    let mut socket = pending.socket;
    assert!(closes(&mut socket, Duration::from_secs(5)));
}

#[test]
fn a_log_that_is_not_read_delays_neither_requests_nor_shutdown() {
    let mut gateway = Gateway::echo().start();
    // This session makes each line so long that 200 of them fill the pipe and the queue before it.
    let user = format!("_session_{}", "s".repeat(50_000));
    let metadata = format!("{{\"metadata\":{{\"user_id\":\"{user}\"}},");
    let body = HELLO.replacen('{', &metadata, 1);
    let ask_often = || {
        for _ in 0..200 {
            gateway.message(&body).has_status(200);
        }
    };
    gateway
        .get("/metrics")
        .has("\nwitgate_log_lines_dropped_total 0\n");
    gateway.stop_reading();
    ask_often();
    gateway
        .get("/metrics")
        .has("\nwitgate_log_lines_dropped_total ")
        .has_not("\nwitgate_log_lines_dropped_total 0\n");
    gateway.read_on();
    gateway.line(&["WARN", " log lines dropped"]);
    let from = gateway.mark();
    gateway.message(HELLO).has_status(200);
    gateway.record(from);

    gateway.stop_reading();
    ask_often();
    gateway.terminate();
    assert!(gateway.ended().success());
    gateway.read_on();
}

#[test]
fn a_signal_to_quit_drains_and_one_without_a_meaning_does_nothing() {
    for name in ["QUIT", "HUP", "USR1", "USR2", "ALRM"] {
        let (upstream, writer) = Upstream::streamed();
        let mut gateway = Gateway::to(&upstream).start();
        let pending = gateway
            .request("POST", "/v1/messages")
            .header("x-api-key", "k")
            .body(HELLO_STREAM)
            .sent();
        upstream.request(1);
        writer.write(EVENTS[0]);
        let mut stream = pending.answer();
        stream.next_event();
        gateway.signal(name);
        if name == "QUIT" {
            gateway.line(&["drain"]);
        }
        for event in &EVENTS[1..] {
            writer.write(event);
            assert_eq!(stream.next_event().as_deref(), Some(*event), "{name}");
        }
        writer.end();
        assert!(stream.rest().whole, "{name}");
        if name == "QUIT" {
            assert!(gateway.ended().success());
        } else {
            gateway.get("/healthz").has_status(200);
        }
    }
}

#[test]
fn a_hangup_reads_the_configuration_again() {
    let gateway = Gateway::echo().start();
    let from = gateway.mark();
    gateway.signal("HUP");
    gateway.line_from(from, &["reload requested"]);
    gateway.line_from(from, &["configuration loaded"]);
    gateway.message(HELLO).has_status(200);
}

#[test]
fn an_emptied_configuration_keeps_the_running_upstreams() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    let from = gateway.mark();
    gateway.dir.write("witgate.toml", "");
    gateway.line_from(from, &["WARN", "configuration rejected", "no upstream"]);
    gateway.message(HELLO).has_status(200).has("hello");
    upstream.request(1);
}

#[test]
fn a_url_from_the_environment_is_not_in_the_log() {
    let upstream = Upstream::ok();
    let gateway = Gateway::echo()
        .tables("[[upstream]]\nname = \"up\"\npreset = \"anthropic\"\nbase_url = \"env:URL\"")
        .env("URL", &upstream.url())
        .start();
    gateway.line(&["upstream configured", "env:URL"]);
    gateway.has_no_line(&[&upstream.url()]);
}

#[test]
fn an_idle_connection_does_not_keep_the_gateway() {
    let mut gateway = Gateway::echo().start();
    let idle = TcpStream::connect(gateway.addr).unwrap();
    gateway.get("/healthz").has_status(200);
    gateway.terminate();
    assert!(gateway.ended().success());
    drop(idle);
}

#[test]
fn a_changed_configuration_takes_effect_while_running() {
    let (a, b) = (Upstream::ok(), Upstream::ok());
    let mut gateway = Gateway::echo()
        .upstream(
            "a",
            &a,
            "preset = \"anthropic\"\naccounts = [{ name = \"ada\", key = \"k\" }]",
        )
        .upstream(
            "b",
            &b,
            "preset = \"anthropic\"\naccounts = [{ name = \"bob\", key = \"k\" }]",
        )
        .route("*", &["a"])
        .start();
    gateway
        .message(HELLO)
        .has_status(200)
        .has_header("x-account-email", "ada");

    let from = gateway.mark();
    gateway.reconfigure(|config| config.replace_tables("to = [\"a\"]", "to = [\"b/mapped\"]"));
    gateway.line_from(from, &["configuration loaded"]);
    gateway
        .message(HELLO)
        .has_status(200)
        .has_header("x-account-email", "bob")
        .has_header("x-mapped-model", "mapped");

    let from = gateway.mark();
    gateway
        .reconfigure(|config| config.replace_tables("to = [\"b/mapped\"]", "to = [\"missing\"]"));
    gateway.line_from(from, &["configuration rejected; keeping the running one: "]);
    gateway.line_from(from, &["witgate.toml:", "missing"]);
    gateway
        .message(HELLO)
        .has_status(200)
        .has_header("x-account-email", "bob");

    let from = gateway.mark();
    gateway.reconfigure(|config| config.replace_tables("to = [\"missing\"]", "to = [\"a\"]"));
    gateway.line_from(from, &["configuration loaded"]);
    gateway
        .message(HELLO)
        .has_status(200)
        .has_header("x-account-email", "ada");
}

#[test]
fn the_listen_address_stays_and_the_log_says_so() {
    let mut gateway = Gateway::echo().start();
    let from = gateway.mark();
    gateway.reconfigure(|config| config.replace_top("expose_accounts = false"));
    gateway.line_from(from, &["configuration loaded"]);
    let text = std::fs::read_to_string(gateway.dir.path().join("witgate.toml")).unwrap();
    let from = gateway.mark();
    gateway
        .dir
        .write("witgate.toml", text.replace("127.0.0.1:0", "127.0.0.1:1"));
    gateway.line_from(from, &["`listen` changed; restart to apply it"]);
    gateway.message(HELLO).has_status(200);
}

#[test]
fn the_log_filter_can_be_changed_while_running() {
    let mut gateway = Gateway::echo().start();
    let from = gateway.mark();
    gateway.message(HELLO).has_status(200);
    gateway.record(from);

    let from = gateway.mark();
    let loud = "info,witgate::exchange=warn";
    gateway.reconfigure(|config| config.change_log(loud));
    let quiet = gateway.line_from(from, &["configuration loaded"]).0;
    gateway.message(HELLO).has_status(200);
    gateway.reconfigure(|config| config.change_log("info"));
    let from = gateway.line_from(quiet + 1, &["configuration loaded"]).0;
    gateway.message(HELLO).has_status(200);
    gateway.record(from);
    let records = gateway
        .log()
        .into_iter()
        .filter(|line| line.contains("status=200"));
    assert_eq!(records.count(), 2, "{:?}", gateway.log());
}

#[test]
fn the_second_start_finds_its_compiled_plugins() {
    let cache = TempDir::new("cache");
    let first = Gateway::echo().cache(cache.path()).start();
    let cold = first.line(&["compiled=", "cached="]);
    assert!(
        cold.contains("cached=0") && !cold.contains("compiled=0"),
        "{cold}"
    );
    let second = first.restart();
    let warm = second.line(&["compiled=", "cached="]);
    assert!(
        warm.contains("compiled=0") && !warm.contains("cached=0"),
        "{warm}"
    );

    // A corrupt entry counts as missing.
    let mut corrupted = 0;
    for file in files(cache.path()) {
        std::fs::write(&file, b"garbage").unwrap();
        corrupted += 1;
    }
    assert!(
        corrupted > 0,
        "nothing was written into {}",
        cache.path().display()
    );
    let third = second.restart();
    third.message(HELLO).has_status(200);
}

#[test]
fn a_cache_that_cannot_be_written_does_no_harm() {
    let dir = TempDir::new("nowhere");
    // A file instead of the folder cannot be written into, even by root.
    let blocked = dir.write("file", "x").join("cache");
    let gateway = Gateway::echo().cache(&blocked).start();
    gateway.message(HELLO).has_status(200);
}

/// All files below a folder.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}
