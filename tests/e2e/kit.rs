//! The kit for those who write plugins: `witgate plugin try`, `bench` and `explain`.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    Gateway, TempDir, Upstream, component,
    gateway::{Outcome, code_cache, finish, witgate},
    shapes::{HELLO, HELLO_STREAM, MESSAGE, SSE},
};

const PLUGIN_FAILED: i32 = 1;
const BAD_ARGUMENTS: i32 = 2;
const BAD_PLUGIN: i32 = 4;

/// A folder with what a command is given.
struct Bench {
    dir: TempDir,
}

impl Bench {
    /// A folder with this request.
    fn with(request: &str) -> Self {
        let dir = TempDir::new("kit");
        dir.write("req.json", request);
        Self { dir }
    }

    fn file(self, name: &str, text: &str) -> Self {
        self.dir.write(name, text);
        self
    }

    /// `witgate plugin COMMAND FILE --request req.json`, with these arguments after it.
    fn run(&self, command: &str, plugin: &str, more: &[&str]) -> Outcome {
        let mut line = self.command(command);
        line.arg(component(plugin));
        line.args(["--request", "req.json"]).args(more);
        finish(line)
    }

    fn command(&self, command: &str) -> Command {
        let mut line = witgate(self.dir.path());
        line.args(["plugin", command]);
        // Each plugin is compiled once for all tests.
        line.env("XDG_CACHE_HOME", code_cache());
        line
    }

    /// The report of `try --json`.
    fn report(&self, plugin: &str, more: &[&str]) -> Value {
        let tried = self.run("try", plugin, &[&["--json"], more].concat());
        tried.has_code(0);
        serde_json::from_str(&tried.out).unwrap()
    }
}

/// The step of a plugin's hook in a trace.
#[track_caller]
fn step<'a>(trace: &'a Value, plugin: &str, hook: &str) -> &'a Value {
    let mut steps = trace["steps"].as_array().unwrap().iter();
    let found = steps.find(|step| step["plugin"] == plugin && step["hook"] == hook);
    found.unwrap_or_else(|| panic!("no {hook} step of {plugin} in {trace:#}"))
}

#[test]
fn try_shows_guard_call_edits_and_the_difference_of_the_bodies() {
    let request = r#"{"model":"m","service_tier":"auto","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    let tried = Bench::with(request).run("try", "no-service-tier", &[]);
    tried.has_code(0);
    for line in [
        "no-service-tier attempt hook: called",
        "guard    holds: the kind is `messages`; the body has `$.service_tier`",
        "verdict  proceed",
        r#"edit     {"op":"remove","path":"/service_tier"}"#,
        "sent in attempt 1: POST /v1/messages, 72 bytes",
        "    /service_tier\n      - \"auto\"\n",
        "received: status 200, complete",
        " of 250.00 ms; instance in ",
        " of 64 MiB",
    ] {
        assert!(tried.out.contains(line), "no `{line}` in {}", tried.out);
    }
    assert!(!tried.out.contains('\x1b'), "no colours in a pipe");
}

#[test]
fn try_says_why_a_guard_does_not_hold_and_that_the_body_was_not_touched() {
    let bench = Bench::with(HELLO);
    let tried = bench.run("try", "no-service-tier", &["--color", "always"]);
    tried.has_code(0);
    for text in [
        "not called",
        "fails: the body has no `$.service_tier`",
        "the body as the client sent it, byte for byte",
        "\x1b[1mno-service-tier\x1b[0m",
    ] {
        assert!(tried.out.contains(text), "no `{text}` in {}", tried.out);
    }
    let report = bench.report("no-service-tier", &[]);
    let step = step(&report["trace"], "no-service-tier", "attempt");
    assert_eq!(
        (&step["held"], &step["call"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(report["sent"][0]["changes"]["list"], json!([]));
}

#[test]
fn the_target_decides_which_guards_hold() {
    let bench = Bench::with(HELLO);
    let settings = r#"{"lacks":["images"],"headers":{"x-a":["b"]}}"#;
    let report = bench.report("tagger", &["--settings", settings]);
    let missing = step(&report["trace"], "tagger", "attempt");
    assert_eq!(missing["why"], json!(["the target does not lack `images`"]));
    let target = "lacks=images,model=other,upstream=somewhere";
    let report = bench.report("tagger", &["--settings", settings, "--target", target]);
    let trace = &report["trace"];
    assert_eq!(trace["attempts"][0]["upstream"], "somewhere");
    assert_eq!(report["sent"][0]["body"]["model"], "other");
    let call = &step(trace, "tagger", "attempt")["call"];
    let header = json!({"name": "x-a", "before": [], "after": ["b"]});
    assert_eq!(call["headers"], json!([header]));
    let sent = report["sent"][0]["headers"].as_array().unwrap();
    assert!(sent.contains(&json!(["x-a", "b"])), "{sent:?}");
}

#[test]
fn header_path_and_log_of_a_call_are_shown() {
    let bench = Bench::with(HELLO).file(
        "settings.json",
        r#"{"send_to":"/v2/x?a=b","echo":"$.model","in":"attempt"}"#,
    );
    let tried = bench.run(
        "try",
        "tagger",
        &["--settings", "@settings.json", "--header", "x-client: yes"],
    );
    tried.has_code(0);
    for text in [
        "path     /v2/x?a=b",
        "log      info /model \"",
        "POST /v2/x?a=b",
    ] {
        assert!(tried.out.contains(text), "no `{text}` in {}", tried.out);
    }
}

#[test]
fn each_answer_is_that_of_one_attempt_and_a_failure_hook_is_shown() {
    let failed = r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#;
    let bench = Bench::with(HELLO)
        .file("failed.json", failed)
        .file("ok.json", MESSAGE);
    let settings = r#"{"when":[400],"retry":"other-account","mark":true}"#;
    let more = [
        "--settings",
        settings,
        "--answer",
        "failed.json",
        "--answer",
        "ok.json",
    ];
    let report = bench.report("retries", &more);
    assert_eq!(report["sent"].as_array().unwrap().len(), 2);
    assert_eq!(report["sent"][1]["body"]["failed_with"][0], 400);
    assert_eq!(report["reply"]["status"], 200);
    let trace = &report["trace"];
    let failure = step(trace, "retries", "failure");
    assert_eq!(failure["attempt"], 1);
    assert!(
        failure["why"][0]
            .as_str()
            .unwrap()
            .contains("the status is 400")
    );
    let corrections = failure["call"]["corrections"].to_string();
    assert!(
        corrections.contains("retry on another account"),
        "{corrections}"
    );
    let attempts = trace["attempts"].as_array().unwrap().iter();
    let accounts: Vec<&Value> = attempts.map(|attempt| &attempt["account"]).collect();
    assert_ne!(accounts[0], accounts[1]);

    let once = bench.report(
        "retries",
        &["--settings", settings, "--answer", "failed.json"],
    );
    assert_eq!(
        once["sent"].as_array().unwrap().len(),
        1,
        "one answer, one attempt"
    );
    assert_eq!(once["reply"]["status"], 400);
    let other = ["--answer", "failed.json", "--status", "413"];
    assert_eq!(bench.report("retries", &other)["reply"]["status"], 413);
}

#[test]
fn events_are_shown_before_and_after() {
    let bench = Bench::with(HELLO_STREAM).file("events.sse", SSE);
    let settings = r#"{"shout":true,"events":["content_block_delta"]}"#;
    let more = ["--settings", settings, "--answer", "events.sse"];
    let tried = bench.run("try", "events", &more);
    tried.has_code(0);
    for text in [
        "events response hook: called",
        "shown are the events `content_block_delta`",
        "events   1 in, 0 of them kept, 1 returned",
        "\n      - content_block_delta {",
        "\n      + content_block_delta {",
        "HELLO",
    ] {
        assert!(tried.out.contains(text), "no `{text}` in {}", tried.out);
    }
    let report = bench.report("events", &more);
    let events = report["reply"]["events"].as_array().unwrap();
    assert_eq!(events.len(), 6);
    let text = events[2]["data"].as_str().unwrap();
    assert!(text.contains("HELLO"), "{text}");
    let call = &step(&report["trace"], "events", "response")["call"];
    assert_eq!(call["events"]["list"][0]["function"], "on-event");
}

#[test]
fn an_answer_can_be_cut_and_the_plugin_sees_the_end() {
    let bench = Bench::with(HELLO_STREAM).file("events.sse", SSE);
    let at = SSE.find("event: content_block_stop").unwrap().to_string();
    let settings = r#"{"hold":true}"#;
    let more = [
        "--settings",
        settings,
        "--answer",
        "events.sse",
        "--cut",
        &at,
    ];
    let report = bench.report("events", &more);
    assert_eq!(report["trace"]["end"]["ending"], "truncated");
    let list = &step(&report["trace"], "events", "response")["call"]["events"]["list"];
    let last = list.as_array().unwrap().last().unwrap();
    assert_eq!(last["function"], "on-end");
    let held = last["after"].to_string();
    assert!(held.contains("hello"), "{held}");
    let no_answer = bench.run("try", "events", &["--cut", "7"]);
    no_answer.has_code(BAD_ARGUMENTS).says(&["--answer"]);
}

#[test]
fn what_was_tried_can_be_saved_as_a_case() {
    let busy = r#"{"type":"error","error":{"type":"rate_limit_error","message":"busy"}}"#;
    let bench = Bench::with(HELLO_STREAM)
        .file("busy.json", busy)
        .file("events.sse", SSE);
    let more = [
        "--settings",
        r#"{"shout":true}"#,
        "--target",
        "lacks=images,model=m",
        "--header",
        "x-app: cli",
        "--answer",
        "busy.json",
        "--answer",
        "events.sse",
        "--save-case",
        "cases/busy",
    ];
    bench.run("try", "events", &more).has_code(0);
    let read = |name: &str| {
        let path = bench.dir.path().join("cases/busy").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    assert_eq!(read("request.json"), HELLO_STREAM);
    assert_eq!(read("request.headers.txt"), "x-app: cli\n");
    assert_eq!(read("target.txt"), "lacks=images,model=m\n");
    assert_eq!(read("settings.json"), "{\n  \"shout\": true\n}\n");
    let http = format!("429\ncontent-type: application/json\n\n{busy}");
    assert_eq!(read("upstream.http"), http);
    assert_eq!(read("upstream.2.sse"), SSE);
    let again = bench.run("try", "events", &more);
    again
        .has_code(BAD_ARGUMENTS)
        .says(&["cases/busy", "must be empty"]);
}

#[test]
fn the_built_in_plugins_are_loaded_if_asked_for_and_a_dialect_always_is() {
    let bench = Bench::with(HELLO);
    let report = bench.report("tagger", &[]);
    assert_eq!(report["plugins"], json!(["tagger"]));
    let report = bench.report("tagger", &["--with-builtins"]);
    let plugins = report["plugins"].as_array().unwrap();
    assert!(plugins.len() > 5 && plugins.contains(&json!("merge-roles")));
    let report = bench.report("tagger", &["--target", "dialect=openai"]);
    assert_eq!(report["plugins"], json!(["tagger", "dialect-openai"]));
    assert_eq!(report["sent"][0]["path"], "/chat/completions");
    assert_eq!(report["reply"]["status"], 503, "nothing was scripted");
}

#[test]
fn a_plugin_that_fails_is_an_exit_code_and_the_reason_is_shown() {
    let bench = Bench::with(HELLO);
    let settings = r#"{"in":"attempt"}"#;
    let tried = bench.run("try", "traps", &["--settings", settings]);
    tried
        .has_code(PLUGIN_FAILED)
        .says(&["plugin `traps` failed", "trapped on purpose in"]);
    assert!(tried.out.contains("failed   panicked: "), "{}", tried.out);
    let as_json = bench.run("try", "traps", &["--settings", settings, "--json"]);
    as_json.has_code(PLUGIN_FAILED);
    let report: Value = serde_json::from_str(&as_json.out).unwrap();
    assert_eq!(report["failures"][0]["plugin"], "traps");
}

#[test]
fn a_plugin_that_does_not_load_has_its_exit_code() {
    let bench = Bench::with(HELLO).file("noise.wasm", "noise");
    let mut line = bench.command("try");
    line.args(["noise.wasm", "--request", "req.json"]);
    finish(line)
        .has_code(BAD_PLUGIN)
        .says(&["noise.wasm: plugin `noise` is not a WebAssembly component"]);
    bench
        .run("bench", "wrong-world", &[])
        .has_code(BAD_PLUGIN)
        .says(&["wrong_world.wasm", "exports no hook"]);
    bench
        .run("try", "tagger", &["--settings", r#"{"no_such":1}"#])
        .has_code(BAD_PLUGIN)
        .says(&["rejected its settings", "no_such"]);
}

#[test]
fn what_is_wrong_with_the_arguments_is_named() {
    let bench = Bench::with(HELLO)
        .file("bad.json", "{")
        .file("ok.json", MESSAGE);
    let table: [(&[&str], &[&str]); 9] = [
        (
            &["--target", "dialekt=x"],
            &["dialekt", "did you mean `dialect`?"],
        ),
        (
            &["--target", "preset=anthrpic"],
            &["anthrpic", "`anthropic`"],
        ),
        (&["--target", "lacks"], &["key=value"]),
        (&["--settings", "[1]"], &["--settings", "JSON object"]),
        (
            &["--settings", "@none.json"],
            &["none.json", "cannot be read"],
        ),
        (&["--answer", "none.sse"], &["none.sse", "cannot be read"]),
        (&["--status", "429"], &["--status", "--answer"]),
        (
            &["--answer", "ok.json", "--status", "99"],
            &["99", "200 to 599"],
        ),
        (&["--header", "x"], &["--header", "colon"]),
    ];
    for (more, words) in table {
        bench
            .run("try", "tagger", more)
            .has_code(BAD_ARGUMENTS)
            .says(words);
    }
    let file = component("tagger");
    let file = file.to_str().unwrap();
    let table: [(&[&str], &[&str]); 4] = [
        (
            &[file, "--request", "none.json"],
            &["none.json", "cannot be read"],
        ),
        (
            &[file, "--request", "bad.json"],
            &["bad.json", "is not JSON", "line 1"],
        ),
        (
            &["none.wasm", "--request", "req.json"],
            &["none.wasm", "cannot be read"],
        ),
        (
            &["req.json", "--request", "req.json"],
            &["req.json", "`.wasm`"],
        ),
    ];
    for (arguments, words) in table {
        let mut line = bench.command("try");
        line.args(arguments);
        finish(line).has_code(BAD_ARGUMENTS).says(words);
    }
}

#[test]
fn bench_measures_load_instance_hooks_and_events_beside_no_plugin() {
    let bench = Bench::with(HELLO_STREAM).file("events.sse", SSE);
    let more = ["--answer", "events.sse", "--rounds", "5"];
    let measured = bench.run("bench", "declines", &[&["--json"], &more[..]].concat());
    measured.has_code(0);
    let report: Value = serde_json::from_str(&measured.out).unwrap();
    let calls = report["calls"].as_array().unwrap();
    let functions: Vec<&Value> = calls.iter().map(|call| &call["function"]).collect();
    assert_eq!(
        functions,
        ["on-attempt", "on-end", "on-event", "on-request"]
    );
    assert_eq!(calls[2]["spread"]["count"], 5 * 6);
    for value in [
        &report["load_ns"],
        &report["instantiate"]["median_ns"],
        &report["exchange"]["p99_ns"],
        &report["without"]["median_ns"],
        &report["memory"],
        &calls[0]["deadline_ns"],
    ] {
        assert!(value.as_u64().unwrap() > 0, "{report:#}");
    }
    let measured = bench.run("bench", "declines", &more);
    measured.has_code(0);
    for word in [
        "median",
        "p99",
        "load",
        "instance",
        "on-event",
        "without any plugin",
    ] {
        assert!(measured.out.contains(word), "no {word} in {}", measured.out);
    }
    let failed = bench.run("bench", "traps", &["--settings", r#"{"in":"attempt"}"#]);
    failed
        .has_code(PLUGIN_FAILED)
        .says(&["plugin `traps` failed"]);
}

#[test]
fn explain_shows_what_plugins_did_in_an_exchange_of_a_running_gateway() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .auth("strict", &["sk-operator"])
        .plugin("55-no_service_tier.wasm", component("no-service-tier"))
        .start();
    let request = HELLO.replacen('{', "{\"service_tier\":\"auto\",", 1);
    let reply = gateway
        .request("POST", "/v1/messages")
        .header("content-type", "application/json")
        .header("x-api-key", "sk-operator")
        .body(&request)
        .send();
    reply.has_status(200);
    let id = reply.header("request-id").unwrap().to_owned();
    let explain = |more: &[&str]| {
        let mut line = witgate(gateway.dir.path());
        line.args(["plugin", "explain"]).args(more);
        finish(line)
    };
    let url = format!("http://{}", gateway.addr);
    let explained = explain(&[&id, "--url", &url]);
    explained.has_code(0);
    for text in [
        id.as_str(),
        "status 200",
        "no-service-tier attempt hook: called",
        r#"{"op":"remove","path":"/service_tier"}"#,
        "merge-roles attempt hook: not called",
        "fails: the target does not lack `same-role-turns`",
        "account `ada`",
    ] {
        assert!(
            explained.out.contains(text),
            "no `{text}` in {}",
            explained.out
        );
    }
    let as_json = explain(&[&id, "--url", &url, "--json"]);
    let trace: Value = serde_json::from_str(&as_json.out).unwrap();
    assert_eq!(trace["end"]["status"], 200);
    assert_eq!(step(&trace, "no-service-tier", "attempt")["held"], true);
    let unknown = explain(&["req_0", "--url", &url]);
    unknown.has_code(1).says(&["req_0", "no trace"]);
    explain(&["../x", "--url", &url]).has_code(BAD_ARGUMENTS);

    let path = format!("/plugins/traces/{id}");
    gateway.get(&path).has_status(401);
    let with_key = gateway
        .request("GET", &path)
        .header("x-api-key", "sk-operator");
    with_key.send().has_status(200);
}

#[test]
fn only_as_many_traces_are_kept_as_the_configuration_says() {
    let upstream = Upstream::ok();
    let start = |traces: u32| {
        let cache = code_cache();
        Gateway::to(&upstream)
            .tables(&format!("[plugins]\ncache = {cache:?}\ntraces = {traces}"))
            .start()
    };
    let gateway = start(2);
    let ask = |gateway: &Gateway| {
        gateway
            .message(HELLO)
            .header("request-id")
            .unwrap()
            .to_owned()
    };
    let ids: Vec<String> = (0..3).map(|_| ask(&gateway)).collect();
    let status = |id: &str| gateway.get(&format!("/plugins/traces/{id}")).status;
    let found: Vec<u16> = ids.iter().map(|id| status(id)).collect();
    assert_eq!(found, [404, 200, 200]);
    let off = start(0);
    let id = ask(&off);
    off.get(&format!("/plugins/traces/{id}")).has_status(404);
}
