//! Conversations that keep the version of a plugin that they began with.

use std::{fs, thread};

use serde_json::{Value, json};

use crate::{
    reload::another_build,
    support::{
        Gateway, Outcome, Request, Upstream, component,
        gateway::{Builder, finish, witgate},
        strict::{Session, Strict},
    },
};

/// Settings with which the plugin `tagger` adds the text `rule 1` at the end of `system`.
const RULE: &str = r#"kinds = ["messages", "count_tokens"], patch = [{ op = "add", path = "/system/-", value = { type = "text", text = "rule 1" } }]"#;

/// A gateway with `tagger`, of which a conversation keeps its version.
fn keeping(upstream: &Upstream) -> Builder {
    with_rule(upstream, &format!("by_conversation = true, {RULE}"))
}

fn with_rule(upstream: &Upstream, settings: &str) -> Builder {
    Gateway::to(upstream)
        .plugin("55-tagger.wasm", component("tagger"))
        .tables(&format!("[plugin.tagger]\nsettings = {{ {settings} }}"))
}

/// Replaces one rule by another, and waits until the set of plugins with it is loaded.
#[track_caller]
fn replace(gateway: &mut Gateway, from: usize, to: usize) {
    let mark = gateway.mark();
    change(gateway, from, to);
    gateway.line_from(mark, &["plugins loaded"]);
}

fn change(gateway: &mut Gateway, from: usize, to: usize) {
    let rule = |number| format!("\"rule {number}\"");
    gateway.reconfigure(|builder| builder.replace_tables(&rule(from), &rule(to)));
}

/// Sends a request of this session, and returns what the plugin added.
#[track_caller]
fn rule_of(gateway: &Gateway, upstream: &Upstream, session: &str) -> Option<String> {
    let body = json!({
        "model": "m",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "be brief"}],
        "messages": [{"role": "user", "content": "hi"}],
    });
    gateway
        .request("POST", "/v1/messages")
        .header("content-type", "application/json")
        .header("x-api-key", "sk-witgate")
        .header("x-claude-code-session-id", session)
        .body(body.to_string())
        .send()
        .has_status(200);
    rule_in(&upstream.last().json())
}

fn rule_in(body: &Value) -> Option<String> {
    let text = body["system"].as_array()?.last()?["text"].as_str()?;
    text.starts_with("rule").then(|| text.to_owned())
}

/// The versions of `tagger`, each as its generation and the number of its conversations.
fn versions(gateway: &Gateway) -> Vec<(u64, Option<u64>)> {
    let reply = gateway.get("/plugins");
    reply.has_status(200);
    let list = reply.json();
    let plugins = list["plugins"].as_array().unwrap();
    let tagger = plugins.iter().find(|plugin| plugin["name"] == "tagger");
    let versions = tagger.unwrap()["versions"].as_array().unwrap().iter();
    let version = |version: &Value| {
        let generation = version["generation"].as_u64().unwrap();
        (generation, version["conversations"].as_u64())
    };
    versions.map(version).collect()
}

#[test]
fn a_conversation_keeps_the_version_it_began_with_and_a_new_one_gets_the_next() {
    let upstream = Strict::start();
    let mut gateway = keeping(&upstream).start();
    let mut old = Session::new(gateway.addr);
    old.steps(3);
    replace(&mut gateway, 1, 2);
    let mut new = Session::new(gateway.addr);
    new.steps(2);
    assert_eq!(rule_in(&upstream.last().json()).unwrap(), "rule 2");
    old.steps(2);
    assert_eq!(rule_in(&upstream.last().json()).unwrap(), "rule 1");
    old.count().has_status(200);
    assert_eq!(rule_in(&upstream.last().json()).unwrap(), "rule 1");
    let line = gateway.line(&["conversations keep earlier versions of a plugin"]);
    assert!(line.contains("conversations=1"), "{line}");
    replace(&mut gateway, 2, 3);
    old.steps(1);
    new.steps(1);
    assert_eq!(rule_in(&upstream.last().json()).unwrap(), "rule 2");
    upstream.lost_nothing();
}

#[test]
fn without_the_manifest_key_a_new_version_applies_at_once() {
    let upstream = Upstream::ok();
    let mut gateway = with_rule(&upstream, RULE).start();
    assert_eq!(rule_of(&gateway, &upstream, "a").unwrap(), "rule 1");
    replace(&mut gateway, 1, 2);
    assert_eq!(rule_of(&gateway, &upstream, "a").unwrap(), "rule 2");
    assert_eq!(versions(&gateway), [(2, None)]);
}

#[test]
fn a_version_is_dropped_when_its_conversations_are_idle() {
    let upstream = Upstream::ok();
    let mut gateway = keeping(&upstream).start();
    let plugins = gateway.plugins();
    assert_eq!(rule_of(&gateway, &upstream, "a").unwrap(), "rule 1");
    replace(&mut gateway, 1, 2);
    assert_eq!(versions(&gateway), [(1, Some(1)), (2, Some(0))]);
    let shorter = format!("[plugins]\ndir = {plugins:?}\ncache = false\nkeep_versions = \"50ms\"");
    let mark = gateway.mark();
    gateway.reconfigure(|builder| {
        builder.replace_tables("[plugin.tagger]", &format!("{shorter}\n[plugin.tagger]"));
    });
    gateway.line_from(mark, &["configuration loaded"]);
    crate::assert_eventually!(
        versions(&gateway) == [(2, Some(0))],
        "the old version is dropped without another request"
    );
    assert_eq!(rule_of(&gateway, &upstream, "a").unwrap(), "rule 2");
}

#[test]
fn the_oldest_of_more_than_eight_replaced_versions_is_dropped_and_the_log_says_so() {
    let upstream = Upstream::ok();
    let mut gateway = keeping(&upstream).start();
    for number in 1..=9 {
        let session = format!("s{number}");
        let rule = rule_of(&gateway, &upstream, &session).unwrap();
        assert_eq!(rule, format!("rule {number}"));
        gateway.has_no_line(&["old version of a plugin dropped"]);
        replace(&mut gateway, number, number + 1);
    }
    let line = gateway.line(&["WARN", "old version of a plugin dropped", "tagger"]);
    assert!(line.contains("generation=1 conversations=1"), "{line}");
    assert_eq!(rule_of(&gateway, &upstream, "s1").unwrap(), "rule 10");
    for number in 2..=9 {
        let rule = rule_of(&gateway, &upstream, &format!("s{number}")).unwrap();
        assert_eq!(rule, format!("rule {number}"));
    }
    assert_eq!(versions(&gateway).len(), 9);
}

#[test]
fn a_plugin_that_is_disabled_or_removed_is_gone_for_every_conversation() {
    let upstream = Upstream::ok();
    let mut gateway = keeping(&upstream).start();
    assert_eq!(rule_of(&gateway, &upstream, "a").unwrap(), "rule 1");
    replace(&mut gateway, 1, 2);
    let mark = gateway.mark();
    let (on, off) = ("[plugin.tagger]\n", "[plugin.tagger]\nenabled = false\n");
    gateway.reconfigure(|builder| builder.replace_tables(on, off));
    gateway.line_from(mark, &["plugins loaded"]);
    assert_eq!(rule_of(&gateway, &upstream, "a"), None);
    let mark = gateway.mark();
    gateway.reconfigure(|builder| builder.replace_tables(off, on));
    gateway.line_from(mark, &["plugins loaded"]);
    assert_eq!(
        rule_of(&gateway, &upstream, "a").unwrap(),
        "rule 2",
        "a plugin that comes back is new for every conversation"
    );
    replace(&mut gateway, 2, 3);
    let mark = gateway.mark();
    fs::remove_file(gateway.plugins().join("55-tagger.wasm")).unwrap();
    gateway.line_from(mark, &["plugins loaded"]);
    assert_eq!(rule_of(&gateway, &upstream, "a"), None);
}

#[test]
fn all_versions_of_a_plugin_share_its_keys() {
    let upstream = Upstream::ok();
    let settings = format!("by_conversation = true, count = \"requests\", {RULE}");
    let mut gateway = with_rule(&upstream, &settings).start();
    let counted = |gateway: &Gateway, session: &str| {
        let rule = rule_of(gateway, &upstream, session).unwrap();
        let count = upstream.last().header("x-tagger-count").map(str::to_owned);
        (rule, count.unwrap())
    };
    let is = |rule: &str, count: &str| (rule.to_owned(), count.to_owned());
    assert_eq!(counted(&gateway, "a"), is("rule 1", "1"));
    replace(&mut gateway, 1, 2);
    assert_eq!(counted(&gateway, "b"), is("rule 2", "2"));
    assert_eq!(counted(&gateway, "a"), is("rule 1", "3"));
}

/// Runs `witgate plugin list` for a running gateway, with its configuration.
fn list(gateway: &Gateway, words: &[&str]) -> Outcome {
    let mut command = witgate(gateway.dir.path());
    let url = format!("http://{}", gateway.addr);
    command.args(["plugins", "list", "--url", &url]).args(words);
    finish(command)
}

#[test]
fn operators_see_the_versions_in_use_and_their_conversations() {
    let upstream = Upstream::ok();
    let gateway = keeping(&upstream)
        .auth("strict", &["sk-of-operators"])
        .start();
    let ask = |session: &str| {
        gateway
            .request("POST", "/v1/messages")
            .header("x-api-key", "sk-of-operators")
            .header("x-claude-code-session-id", session)
            .body(r#"{"model":"m","system":[],"messages":[]}"#)
            .send()
            .has_status(200);
    };
    ask("a");
    ask("b");
    // A file with other bytes is a new version as well.
    let bytes = another_build(&component("tagger"));
    fs::write(gateway.plugins().join("55-tagger.wasm"), bytes).unwrap();
    gateway.generation(2);
    ask("c");
    ask("a");

    gateway
        .get("/plugins")
        .is_error(401, "authentication_error");
    let listed = list(&gateway, &["--config", "witgate.toml"]);
    listed.has_code(0);
    let rows: Vec<Vec<&str>> = listed
        .out
        .lines()
        .filter(|line| line.contains("tagger"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 2, "{}", listed.out);
    assert_eq!(rows[0][..4], ["55", "tagger", "conversation", "1"]);
    assert_eq!(rows[0][6..], ["2"], "{}", listed.out);
    assert_eq!(rows[1][..4], ["55", "tagger", "conversation", "2"]);
    assert_eq!(rows[1][6..], ["1", "and", "new", "ones"]);
    assert_ne!(rows[0][5], rows[1][5], "the hashes");

    let listed = list(&gateway, &["--config", "witgate.toml", "--json"]);
    let json: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(json["generation"], 2);
    let metrics = Request::new(gateway.addr, "GET", "/metrics")
        .header("x-api-key", "sk-of-operators")
        .send();
    metrics.has("witgate_plugin_versions{plugin=\"tagger\"} 2");
}

#[test]
fn a_list_that_cannot_be_had_is_one_error_with_a_hint() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).auth("strict", &["sk-a"]).start();
    gateway.dir.write("other.toml", "");
    let refused = list(&gateway, &["--config", "other.toml"]);
    refused
        .has_code(1)
        .says(&["status 401", "requires a key", "hint"]);
    let addr = gateway.addr;
    drop(gateway);
    let mut command = witgate(std::env::temp_dir().as_path());
    command.args(["plugins", "list", "--url", &format!("http://{addr}")]);
    finish(command)
        .has_code(1)
        .says(&["no response from", "--url"]);
}

/// A run of the soak: sessions, reloads, and requests during each reload.
struct Soak {
    sessions: usize,
    reloads: usize,
    steps: usize,
}

impl Soak {
    /// The short run, or with `SOAK=full` the long one of docs/reliability.md.
    fn chosen() -> Self {
        let full = std::env::var("SOAK").is_ok_and(|size| size == "full");
        let (sessions, reloads) = if full { (200, 1_000) } else { (40, 40) };
        Self {
            sessions,
            reloads,
            steps: 8,
        }
    }
}

/// Continues these sessions at the same time, each by one request.
fn step(sessions: &mut [Session]) {
    thread::scope(|scope| {
        for session in sessions {
            scope.spawn(|| session.steps(1));
        }
    });
}

#[test]
fn reloads_under_live_sessions_break_no_conversation() {
    let soak = Soak::chosen();
    let upstream = Strict::start();
    let mut gateway = keeping(&upstream).start();
    let mut sessions = Vec::new();
    // They begin with the first eight versions, which all stay in use.
    for version in 1..=8 {
        let mut begun: Vec<_> = (0..soak.sessions / 8)
            .map(|_| Session::new(gateway.addr))
            .collect();
        begun.chunks_mut(soak.steps).for_each(step);
        sessions.append(&mut begun);
        replace(&mut gateway, version, version + 1);
    }
    for reload in 0..soak.reloads {
        let at = reload * soak.steps % sessions.len();
        let mark = gateway.mark();
        change(&mut gateway, 9 + reload, 10 + reload);
        step(&mut sessions[at..at + soak.steps]);
        gateway.line_from(mark, &["plugins loaded"]);
    }
    sessions.chunks_mut(soak.steps).for_each(step);

    upstream.lost_nothing();
    gateway.has_no_line(&["old version of a plugin dropped"]);
    let requests = upstream.received();
    for (at, session) in sessions.iter().enumerate() {
        let mine = |header: &str| header == session.id;
        let mine = requests
            .iter()
            .filter(|request| request.header("x-claude-code-session-id").is_some_and(mine));
        let bodies: Vec<Value> = mine.map(|request| request.json()).collect();
        let begun_with = format!("rule {}", 1 + at / (soak.sessions / 8));
        assert!(
            bodies.len() > 2,
            "session {at} has {} requests",
            bodies.len()
        );
        for pair in bodies.windows(2) {
            assert_eq!(rule_in(&pair[1]).unwrap(), begun_with, "session {at}");
            only_grew(&pair[0], &pair[1]);
        }
    }
}

#[test]
fn each_conversation_that_a_reload_for_requests_breaks_is_named() {
    let soak = Soak::chosen();
    let upstream = Upstream::ok();
    let mut gateway = with_rule(&upstream, RULE).start();
    let mut turns = vec![0; soak.sessions];
    take_turns(&gateway, 0, &mut turns, "new");
    for reload in 1..=soak.reloads {
        replace(&mut gateway, reload, reload + 1);
        // Each of these has had a turn under another rule.
        let at = (reload - 1) * soak.steps % soak.sessions;
        let taking = &mut turns[at..at + soak.steps];
        let broken = "broken; at=/system/1; by=reload:tagger";
        take_turns(&gateway, at, taking, broken);
        take_turns(&gateway, at, taking, "kept");
    }
}

/// Lets sessions from this number on take their next turn at the same time, and expects how each
/// prefix compares with the turn before.
fn take_turns(gateway: &Gateway, from: usize, turns: &mut [usize], prefix: &str) {
    thread::scope(|scope| {
        for (at, turns) in turns.iter_mut().enumerate() {
            scope.spawn(move || {
                let texts = (0..=2 * *turns).map(|turn| {
                    let role = ["user", "assistant"][turn % 2];
                    json!({"role": role, "content": format!("text {turn}")})
                });
                let body = json!({
                    "model": "m",
                    "max_tokens": 9,
                    "system": [{"type": "text", "text": "be brief"}],
                    "messages": texts.collect::<Vec<_>>(),
                });
                gateway
                    .request("POST", "/v1/messages")
                    .header("content-type", "application/json")
                    .header("x-api-key", "sk-witgate")
                    .header(
                        "x-claude-code-session-id",
                        &format!("session {}", from + at),
                    )
                    .body(body.to_string())
                    .send()
                    .has_status(200)
                    .has_header("x-witgate-prefix", prefix);
                *turns += 1;
            });
        }
    });
}

/// Expects that a request is its predecessor with further messages.
#[track_caller]
fn only_grew(before: &Value, after: &Value) {
    let (before, after) = (unmarked(before.clone()), unmarked(after.clone()));
    for part in ["system", "tools"] {
        assert_eq!(before[part], after[part], "{part}");
    }
    let messages = |body: &Value| body["messages"].as_array().unwrap().clone();
    let (before, after) = (messages(&before), messages(&after));
    assert!(after.starts_with(&before), "messages");
}

/// A body without cache marks, which move from turn to turn.
fn unmarked(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            members.remove("cache_control");
            for member in members.values_mut() {
                *member = unmarked(member.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = unmarked(item.take());
            }
        }
        _ => {}
    }
    value
}
