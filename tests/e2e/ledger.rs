//! Conversations whose prefix is kept or broken, and who is named for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::support::{
    Answer, Gateway, Received, Reply, Upstream, component, each,
    gateway::Builder,
    strict::{BINDING_BETA, Session, Strict},
};

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
    let metrics = gateway.get("/metrics");
    metrics.has(r#"witgate_prefix_breaks_total{check="prefix",culprit="client"} 0"#);
}

/// Makes one change to a conversation.
type Edit = fn(&mut Session);

/// What a client may change after four turns, and where it shows.
const CLIENTS: [(&str, &str, Edit); 7] = [
    ("system", "/system/1", |session| {
        session.system[1]["text"] = json!("You are another.");
    }),
    ("a tool less", "/tools", |session| {
        session.tools.pop();
    }),
    ("a question", "/messages/0", |session| {
        session.messages[0]["content"][0]["text"] = json!("another");
    }),
    ("a tool result", "/messages/2", |session| {
        session.messages[2]["content"][0]["content"] = json!("[cleared]");
    }),
    ("a gap", "/messages/3", |session| {
        session.messages[3]["content"]
            .as_array_mut()
            .unwrap()
            .remove(0);
    }),
    ("another model", "/model", |session| {
        session.switch("claude-opus-5")
    }),
    ("a compaction", "/messages/0", |session| {
        session.compact("They talked.")
    }),
];

/// What a plugin may edit from the fifth turn on, and where it shows.
const PLUGINS: [(&str, &str, &str); 4] = [
    (
        "system",
        "/system/1",
        r#"{ op = "replace", path = "/system/1/text", value = "now" }"#,
    ),
    (
        "a tool less",
        "/tools",
        r#"{ op = "remove", path = "/tools/2" }"#,
    ),
    (
        "a question",
        "/messages/0",
        r#"{ op = "replace", path = "/messages/0/content/0/text", value = "now" }"#,
    ),
    (
        "a gap",
        "/messages/3",
        r#"{ op = "remove", path = "/messages/3/content/0" }"#,
    ),
];

/// The next turn breaks the prefix in this way.
#[track_caller]
fn breaks(session: &mut Session, at: &str, by: &str) {
    let reply = session.step();
    reply.has_status(200);
    reply.has_header(PREFIX, &format!("broken; at={at}; by={by}"));
}

fn tagged(upstream: &Upstream, settings: &str) -> Builder {
    Gateway::to(upstream)
        .tables(&format!("[plugin.tagger]\nsettings = {{ {settings} }}"))
        .plugin("55-tagger.wasm", component("tagger"))
}

#[test]
fn every_change_of_the_client_is_named_where_it_is_and_does_not_alarm() {
    let upstream = Strict::start();
    let gateway = Gateway::to(&upstream).start();
    each(
        CLIENTS.map(|(name, at, edit)| (name, (at, edit))),
        |(at, edit)| {
            let mut session = Session::new(gateway.addr);
            session.steps(4);
            edit(&mut session);
            breaks(&mut session, at, "client");
            session.step().has_header(PREFIX, "kept");
        },
    );
    gateway.has_no_line(&["WARN", "by="]);
}

#[test]
fn every_late_edit_of_a_plugin_is_named_where_it_is() {
    each(
        PLUGINS.map(|(name, at, edit)| (name, (at, edit))),
        |(at, edit)| {
            let upstream = Strict::start();
            let settings = format!("path = \"$.messages[8]\", patch = [{edit}]");
            let gateway = tagged(&upstream, &settings).start();
            let mut session = Session::new(gateway.addr);
            session.steps(4);
            breaks(&mut session, at, "plugin:tagger");
            gateway.line(&[
                "WARN",
                "check=\"prefix\"",
                &format!("at=\"{at}\""),
                "by=plugin:tagger",
            ]);
            session.step().has_header(PREFIX, "kept");
        },
    );
}

#[test]
fn a_plugin_that_a_reload_silences_is_named_with_both_versions() {
    let upstream = Strict::start();
    let edit = r#"{ op = "replace", path = "/system/1/text", value = "now" }"#;
    let mut gateway = tagged(&upstream, &format!("patch = [{edit}]")).start();
    let mut session = Session::new(gateway.addr);
    session.steps(4);
    gateway.reconfigure(|config| config.replace_tables(edit, ""));
    gateway.generation(2);
    breaks(&mut session, "/system/1", "reload:tagger");
    gateway.line(&["WARN", "by=reload:tagger", "old=", "new="]);
}

#[test]
fn what_the_configuration_adds_to_a_body_is_named_as_the_gateway() {
    let upstream = Strict::start();
    let mut gateway = Gateway::to(&upstream).start();
    let mut session = Session::new(gateway.addr);
    session.steps(4);
    let from = gateway.mark();
    gateway.reconfigure(|config| {
        let preset = "preset = \"anthropic\"";
        let added = format!("{preset}\nextra_body = '{{\"system\":\"other\"}}'");
        config.replace_tables(preset, &added);
    });
    gateway.line_from(from, &["configuration loaded"]);
    breaks(&mut session, "/system/0", "gateway");
}

/// An upstream that refuses the fifth request of the first account.
fn busy_once() -> Strict {
    let asked = AtomicUsize::new(0);
    let busy = move |request: &Received| {
        let fifth = request.key() == "sk-ada" && asked.fetch_add(1, Ordering::Relaxed) == 4;
        let slow = || Answer::error(429, "rate_limit_error", "slow").header("retry-after", "3600");
        fifth.then(slow)
    };
    Strict::rules().first(busy).start()
}

#[test]
fn another_account_is_named_and_so_is_what_the_upstream_says_was_lost() {
    let lost = "broken; at=/account; by=account";
    let dropped = "thinking_dropped organization_binding_mismatch messages.1.content.0 and 3 more";
    for (model, prefix, said) in [
        ("claude-opus-5-5", "kept", ""),
        ("claude-sonnet-5-5", lost, dropped),
    ] {
        let upstream = busy_once();
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada", "bob"])
            .start();
        let new = || Session::new(gateway.addr).model(model).beta(BINDING_BETA);
        let mut session = Session::served_with(&upstream, "sk-ada", new);
        session.steps(3);
        // The header is sent before the upstream says what it dropped.
        session.step().has_header(PREFIX, "kept");
        let cache = format!("cache_prefix=\"{lost}\"");
        let words = ["attempts=2", &format!(" prefix=\"{prefix}\""), &cache, said];
        gateway.line(&words);
        gateway.line(&["WARN", "by=account", "old=\"ada\"", "new=\"bob\""]);
        session.step().has_header(PREFIX, "kept");
    }
}

#[test]
fn the_words_of_the_upstream_are_beside_the_verdict() {
    for stream in [false, true] {
        let upstream = Strict::start();
        let gateway = Gateway::to(&upstream).start();
        let mut session = Session::new(gateway.addr).on_mismatch("drop_block");
        session.stream = stream;
        session.diagnoses = true;
        session.steps(4);
        session.system[1]["text"] = json!("You are another.");
        breaks(&mut session, "/system/1", "client");
        gateway.line(&[
            " prefix=\"broken; at=/system/1; by=client\"",
            "input_transformations=\"thinking_dropped prefix_binding_mismatch messages.1.content.0 and 3 more\"",
            "cache_miss_reason=\"system_changed\"",
            "cache_read_tokens=",
        ]);
    }
}

#[test]
fn random_conversations_with_forks_and_compactions_do_not_alarm() {
    let upstream = Strict::start();
    let gateway = Gateway::to(&upstream).start();
    let mut state = 11_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    for number in 0..150 {
        let mut session = Session::new(gateway.addr);
        session.stream = number % 2 == 0;
        for turn in 0..3 + random(5) {
            match random(8) {
                0 => session.rewind(random(session.messages.len() / 2 + 1) * 2),
                1 if turn > 0 => session.compact("They talked."),
                2 => session.thinking = json!({"type": "adaptive", "display": "omitted"}),
                _ => {}
            }
            let reply = match session.results() {
                Some(results) => session.send(results),
                None => session.ask(&format!("question {turn} {}", random(1_000))),
            };
            reply.has_status(200);
            let prefix = reply.header(PREFIX).unwrap_or_default();
            let good = ["new", "kept"].contains(&prefix) || prefix.ends_with("by=client");
            assert!(good, "conversation {number}, turn {turn}: {prefix}");
        }
    }
    upstream.lost_nothing();
    gateway.has_no_line(&["WARN", "by="]);
}
