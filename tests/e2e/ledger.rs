//! Conversations whose prefix is kept or broken, and who is named for it.

use crate::support::{Gateway, Reply, Upstream, component};

const PREFIX: &str = "x-witgate-prefix";

/// A plugin that edits `system` once the conversation has three messages.
const LATE: &str = "[plugin.tagger]\nsettings = { path = \"$.messages[2]\", patch = [{ op = \"replace\", path = \"/system\", value = \"now\" }] }";

fn body(system: &str, texts: &[&str]) -> String {
    let each = texts.iter().enumerate().map(|(at, text)| {
        let role = if at % 2 == 0 { "user" } else { "assistant" };
        format!(r#"{{"role":"{role}","content":"{text}"}}"#)
    });
    let messages = each.collect::<Vec<_>>().join(",");
    format!(
        r#"{{"model":"m","max_tokens":9,"system":"{system}","tools":[{{"name":"x","input_schema":{{"type":"object"}}}}],"messages":[{messages}]}}"#
    )
}

fn say(gateway: &Gateway, body: impl AsRef<[u8]>) -> Reply {
    let request = gateway
        .request("POST", "/v1/messages")
        .header("content-type", "application/json")
        .header("x-claude-code-session-id", "s");
    let reply = request.body(body).send();
    reply.has_status(200);
    reply
}

#[test]
fn a_growing_conversation_is_kept_and_a_change_of_the_client_does_not_alarm() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    say(&gateway, body("be", &["a"])).has_header(PREFIX, "new");
    say(&gateway, body("be", &["a", "b", "c"])).has_header(PREFIX, "kept");
    gateway.line(&[" prefix=\"kept\"", "cache_prefix=\"kept\""]);
    let fork = say(&gateway, body("be", &["a", "other", "c"]));
    fork.has_header(PREFIX, "broken; at=/messages/1; by=client");
    // The line from which it forked goes on, and is rewound.
    say(&gateway, body("be", &["a", "b", "c", "d", "e"])).has_header(PREFIX, "kept");
    say(&gateway, body("be", &["a"])).has_header(PREFIX, "kept");
    say(&gateway, body("is", &["a", "b", "c", "d", "e"]))
        .has_header(PREFIX, "broken; at=/system/0; by=client");
    let metrics = gateway.get("/metrics");
    metrics.has(r#"witgate_prefix_breaks_total{check="prefix",culprit="client"} 2"#);
    gateway.has_no_line(&["WARN", "conversation"]);
}

#[test]
fn a_plugin_that_edits_an_earlier_part_is_named_and_reported_once() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .tables(LATE)
        .plugin("55-tagger.wasm", component("tagger"))
        .start();
    say(&gateway, body("be", &["a"])).has_header(PREFIX, "new");
    let from = gateway.mark();
    say(&gateway, body("be", &["a", "b", "c"]))
        .has_header(PREFIX, "broken; at=/system/0; by=plugin:tagger");
    gateway.line_from(from, &["WARN", "by=plugin:tagger", "edit=\"/system\""]);
    // It is the same function of the conversation from here on.
    say(&gateway, body("be", &["a", "b", "c", "d", "e"])).has_header(PREFIX, "kept");
    let from = gateway.mark();
    say(&gateway, body("be", &["a"])).has_header(PREFIX, "broken; at=/system/0; by=plugin:tagger");
    gateway.record(from);
    let warned = gateway.log();
    let warned = warned
        .iter()
        .filter(|line| line.contains("by=plugin:tagger") && line.contains("WARN"));
    assert_eq!(warned.count(), 1);
}

#[test]
fn another_upstream_is_named_as_the_route() {
    let a = Upstream::ok();
    let b = Upstream::ok();
    let mut gateway = Gateway::echo()
        .pool("a", &a, &["ada"])
        .pool("b", &b, &["bob"])
        .route("*", &["a"])
        .start();
    say(&gateway, body("be", &["a"])).has_header(PREFIX, "new");
    let from = gateway.mark();
    gateway.reconfigure(|config| config.replace_tables("to = [\"a\"]", "to = [\"b\"]"));
    gateway.line_from(from, &["configuration loaded"]);
    say(&gateway, body("be", &["a", "b", "c"])).has_header(PREFIX, "broken; at=/model; by=route");
}

#[test]
fn a_reload_that_changes_an_edit_is_named_with_both_versions() {
    let upstream = Upstream::ok();
    let settings = |text: &str| {
        format!(
            "[plugin.tagger]\nsettings = {{ patch = [{{ op = \"replace\", path = \"/system\", value = \"{text}\" }}] }}"
        )
    };
    let mut gateway = Gateway::to(&upstream)
        .tables(&settings("one"))
        .plugin("55-tagger.wasm", component("tagger"))
        .start();
    say(&gateway, body("be", &["a"])).has_header(PREFIX, "new");
    say(&gateway, body("be", &["a", "b", "c"])).has_header(PREFIX, "kept");
    gateway.reconfigure(|config| config.replace_tables("\"one\"", "\"two\""));
    gateway.generation(2);
    let from = gateway.mark();
    say(&gateway, body("be", &["a", "b", "c", "d", "e"]))
        .has_header(PREFIX, "broken; at=/system/0; by=reload:tagger");
    gateway.line_from(from, &["WARN", "by=reload:tagger", "old=", "new="]);
}

#[test]
fn without_the_ledger_nothing_is_compared() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).top("prefix_ledger = false").start();
    for _ in 0..2 {
        say(&gateway, body("be", &["a"])).has_no_header(PREFIX);
    }
    assert!(
        !gateway
            .get("/metrics")
            .text()
            .contains("prefix_breaks_total{")
    );
}
