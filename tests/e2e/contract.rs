//! One policy: a list of operations does the same in the gateway and in the SDK's test kit.
//!
//! The guest `operations` does what its settings list and reports a result for each. Here it runs
//! as a component in the built gateway and as the same Rust code in [`Exchange`].

use std::fmt::Write as _;

use operations::Operations;
use serde_json::{Value, json};
use witgate_contract::{header, limits};
use witgate_plugin::{
    Event, Hook,
    testing::{Exchange, Failed},
};

use crate::support::{Answer, Gateway, Reply, Upstream, component, shapes::HELLO};

/// What came of each operation, and of a hook as a whole.
#[derive(Default)]
struct Outcome(Vec<(String, String)>);

impl Outcome {
    /// Results in the order of the operations.
    #[track_caller]
    fn add(&mut self, hook: &str, operations: &Value, results: &Value) {
        let operations = operations.as_array().unwrap();
        let results = results.as_array().unwrap();
        assert_eq!(operations.len(), results.len(), "{hook}");
        for (operation, result) in operations.iter().zip(results) {
            let mut operation = operation.to_string();
            operation.truncate(operation.floor_char_boundary(120));
            let result = result.as_str().unwrap().to_owned();
            self.0.push((format!("{hook} {operation}"), result));
        }
    }

    fn tell(&mut self, what: &str, result: impl ToString) {
        self.0.push((what.to_owned(), result.to_string()));
    }
}

#[test]
fn the_gateway_and_the_test_kit_do_the_same() {
    let settings = settings();
    let (live, kit) = (in_the_gateway(&settings), in_the_test_kit(&settings));
    let mut differences = String::new();
    for ((operation, live), (same, kit)) in live.0.iter().zip(&kit.0) {
        assert_eq!(operation, same, "both run the same list");
        if live != kit {
            let _ = writeln!(
                differences,
                "{operation}\n  gateway:  {live}\n  test kit: {kit}"
            );
        }
    }
    assert_eq!(live.0.len(), kit.0.len());
    assert!(differences.is_empty(), "\n{differences}");

    // The list is of use only if it meets each kind of answer.
    for result in [
        "ok: ",
        "bad query: ",
        "bad value: ",
        "not applicable: ",
        "too much: ",
        "not allowed: ",
    ] {
        let met = live
            .0
            .iter()
            .filter(|(_, found)| found.starts_with(result))
            .count();
        assert!(met >= 3, "{met} results begin with `{result}`");
    }
    for name in header::reserved_in_requests() {
        let operation = format!(r#"request {{"set_header":["{name}",["v"]]}}"#);
        let found = live.0.iter().find(|(found, _)| *found == operation);
        let (_, result) = found.expect(&operation);
        assert!(result.starts_with("not allowed: "), "{name}: {result}");
    }
}

/// The body of the request hook: one value of exactly as many bytes as can be read at once, and a
/// small one.
fn large() -> String {
    let large = "x".repeat(limits::READ - 2);
    format!(r#"{{"model":"m","max_tokens":16,"messages":[],"small":1,"large":"{large}"}}"#)
}

const STREAMED: &str =
    r#"{"model":"m","max_tokens":16,"messages":[{"role":"user","content":"hi"}],"stream":true}"#;

/// What the upstream says of a failed request: longer than a plugin sees.
fn failure() -> String {
    let message = "x".repeat(limits::FAILURE_BODY_SHOWN);
    json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}})
        .to_string()
}

fn settings() -> Value {
    let names = [
        "x-a",
        "X-Mixed",
        "anthropic-beta",
        "set-cookie",
        "via",
        "x a",
        "x:y",
        "",
        "é",
        "x\n",
    ];
    let set = |name: &str| json!({"set_header": [name, ["v"]]});
    let show = |name: &str| json!({ "header": name });
    let reserved = || header::reserved_in_requests().chain(names);
    let times = |text: &str, count: usize| json!([text, count]);

    let mut request: Vec<Value> = vec![json!("head")];
    request.extend(["x-run", "x-client", "x-api-key", "x a"].map(show));
    request.extend(reserved().flat_map(|name| [set(name), show(name)]));
    for values in [
        json!([]),
        json!(["a", "b"]),
        json!(["a\r\nb: c"]),
        json!(["\u{7f}"]),
        json!(["\t"]),
        json!(["ü"]),
        json!([times("v", limits::HEADER_VALUE)]),
        json!([times("v", limits::HEADER_VALUE + 1)]),
        Value::from(vec!["v"; limits::HEADER_VALUES]),
        Value::from(vec!["v"; limits::HEADER_VALUES + 1]),
        Value::from(vec![times("v", limits::HEADERS / 32); 16]),
        Value::from(vec![times("v", limits::HEADERS / 32); 16]),
    ] {
        request.extend([
            json!({"set_header": ["x-values", values]}),
            show("x-values"),
        ]);
    }
    request.push(json!({"set_path": "/v1/messages"}));
    for query in [
        "$.small", "$.large", "$.*", "$..small", "small", "$[", "$.absent",
    ] {
        request.extend([json!({ "select": query }), json!({ "read": query })]);
    }
    for length in [limits::QUERY, limits::QUERY + 1] {
        request.push(json!({"select": format!("$['{}']", "a".repeat(length - 5))}));
    }
    request.extend([json!({"outline": 100}), json!({"outline": u32::MAX})]);
    request.extend(vec![set("x-fill"); limits::HEADER_EDITS]);
    request.extend(notes());

    let mut attempt: Vec<Value> = vec![json!("head")];
    let long = |length: usize| format!("/{}", "a".repeat(length - 1));
    for path in [
        "/v1/messages?beta=true",
        "/v1beta/models/m:generate?alt=sse",
        "",
        "v1",
        "//evil.example/x",
        "/..",
        "/a/../b",
        "/a/..b",
        "/a/.",
        "/a/%2e%2E/b",
        "/a/%2e.%2fb",
        "/a/..%5Cb",
        "/a\\b",
        "/a b",
        "/a#b",
        "/é",
        "/a\r\nb",
        "http://evil.example/",
        "/a?b=/../c",
    ] {
        attempt.extend([json!({ "set_path": path }), json!("head")]);
    }
    for length in [limits::PATH, limits::PATH + 1] {
        attempt.push(json!({"set_path": long(length)}));
    }
    attempt.extend([
        json!({"add": ["/new", "1"]}),
        json!({"add": ["/new", "{"]}),
        json!({"add": ["/new", "1 2"]}),
        json!({"add": ["new", "1"]}),
        json!({"add": ["/absent/new", "1"]}),
        json!({"add": ["/messages/-", "{}"]}),
        json!({"add": ["/messages/7", "{}"]}),
        json!({"add": ["/deep", format!("{}{}", "[".repeat(200), "]".repeat(200))]}),
        json!({"add": ["/deep", format!("{}{}", "[".repeat(20_000), "]".repeat(20_000))]}),
        json!({"remove": "/absent"}),
        json!({"remove": "/new"}),
        json!({"test": ["/model", "m"]}),
        json!({"test": ["/model", "n"]}),
        json!({"remove_all": "$.absent"}),
        json!({"remove_all": "$["}),
        json!({"remove_all": "$..content"}),
        json!({"find_matches": ["$.model", "[a-z]+"]}),
        json!({"find_matches": ["$.model", "\\d"]}),
        json!({"find_matches": ["$[", "a"]}),
        json!({"find_matches": ["$.model", ["a", limits::QUERY]]}),
        json!({"replace_matches": ["$.model", "(c)(l)", "$2$1"]}),
        json!({"replace_matches": ["$.model", "(c)(l)", "$3"]}),
        json!({"replace_matches": ["$.model", "l", "$"]}),
        json!({"replace_matches": ["$.absent", "l", ""]}),
        json!({"replace_part": ["/model", 0, 2, "cl"]}),
        json!({"replace_part": ["/model", 0, 99, "x"]}),
        json!({"replace_part": ["/max_tokens", 0, 0, "x"]}),
        json!({"replace_part": ["model", 0, 0, "x"]}),
        json!({"add": ["/texts", format!("\"{}\"", "1 ".repeat(60_000))]}),
        json!({"find_matches": ["$.texts", "([0-9])"]}),
        json!({"replace_matches": ["$.texts", "[0-9]", "\u{e9}\n"]}),
        json!({"read": "$.*"}),
        json!({"rewrite": "{"}),
        json!({"rewrite": r#"{"model":"m"}"#}),
        json!({"read": "$.*"}),
    ]);
    attempt.extend(kv());
    attempt.extend(vec![json!({"log": "logged"}); 70]);

    let mut failure: Vec<Value> = vec![json!("failure_head"), json!("head")];
    failure.push(json!({"find_matches": ["$.messages[*].content", "h"]}));
    failure.extend(["x-upstream", "cookie", "x a", "X-UPSTREAM"].map(show));
    failure.extend([0, 200, 399, 400, 599, 600, 422].map(|status| json!({ "set_status": status })));
    let longest = "a".repeat(limits::ERROR_TYPE);
    let longer = "a".repeat(limits::ERROR_TYPE + 1);
    let kinds = [
        "",
        "Bad",
        "bad-error",
        "bad error",
        "error1",
        &longest,
        &longer,
        "teapot_error",
    ];
    failure.extend(kinds.map(|kind| json!({ "set_error_type": kind })));
    failure.extend([
        json!({"set_long_body": limits::FAILURE_BODY}),
        json!({"set_long_body": limits::FAILURE_BODY + 1}),
        json!({"set_retry": ["same-account", u32::MAX]}),
        json!({"set_cooldown": u32::MAX}),
        json!({"set_cooldown": 1}),
        json!({"set_retry": ["never", 0]}),
        json!("failure_head"),
    ]);

    let mut response: Vec<Value> = vec![show("x-upstream"), show("cookie")];
    response.extend(reserved().flat_map(|name| [set(name), show(name)]));
    response.extend([
        json!({"note": "noted by the response"}),
        json!({"note": "noted by the response"}),
    ]);
    response.extend(vec![set("x-fill"); limits::HEADER_EDITS]);

    let mut verdicts = serde_json::Map::new();
    for status in [100, 199, 200, 299, 404, 599, 600] {
        verdicts.insert(format!("answer {status}"), json!({"answer": [status, {}]}));
    }
    for (place, name) in reserved().enumerate() {
        verdicts.insert(
            format!("answer with {place}"),
            json!({"answer": [200, {name: "v"}]}),
        );
    }
    verdicts.insert(
        "answer with a break".to_owned(),
        json!({"answer": [200, {"x-a": "a\r\nb"}]}),
    );
    for (status, kind) in [
        (399, "a"),
        (400, "a"),
        (422, ""),
        (422, "A"),
        (599, "a_b"),
        (600, "a"),
    ] {
        verdicts.insert(
            // A header carries the name, so it cannot end with a blank.
            format!("refuse {status} `{kind}`"),
            json!({"refuse": [status, kind]}),
        );
    }

    json!({
        "request": request,
        "attempt": attempt,
        "failure": failure,
        "first": response,
        "later": [set("x-late"), set("host"), show("x-late"), json!({"note": "noted later"})],
        "body": [show("x-upstream"), set("x-a"), set("te"), show("x-a")],
        "models": ["head"],
        "verdicts": verdicts,
        "events": [["made", "{}"]],
    })
}

/// Long ones, control characters, repeated ones and too many.
fn notes() -> Vec<Value> {
    let mut notes = vec![
        "a\nb\u{1b}c".to_owned(),
        "ä".repeat(limits::NOTE),
        "twice".to_owned(),
        "twice".to_owned(),
    ];
    notes.extend((0..limits::NOTES + 8).map(|n| format!("note {n}")));
    notes
        .into_iter()
        .map(|line| json!({ "note": line }))
        .collect()
}

fn kv() -> Vec<Value> {
    let key = |length: usize| json!(["k", length]);
    let value = |length: usize| json!(["v", length]);
    let mut operations = vec![
        json!({"kv_get": "absent"}),
        json!({"kv_set": [key(limits::KV_KEY), "v"]}),
        json!({"kv_set": [key(limits::KV_KEY + 1), "v"]}),
        json!({"kv_get": key(limits::KV_KEY)}),
        json!({"kv_get": key(limits::KV_KEY + 1)}),
        json!({"kv_delete": key(limits::KV_KEY + 1)}),
        json!({"kv_set": ["first", value(limits::KV_VALUE)]}),
        json!({"kv_set": ["first", value(limits::KV_VALUE + 1)]}),
        json!({"kv_get": "first"}),
        json!({"kv_increment": ["first", 1]}),
        json!({"kv_increment": ["n", i64::MAX]}),
        json!({"kv_increment": ["n", 1]}),
        json!({"kv_increment": ["n", -1]}),
        json!({"kv_get": "n"}),
        json!({"kv_delete": "n"}),
        json!({"kv_get": "n"}),
        json!({"kv_set_if_absent": ["n", "first"]}),
        json!({"kv_set_if_absent": ["n", "second"]}),
        json!({"kv_set_if_absent": [key(limits::KV_KEY + 1), "v"]}),
        json!({"kv_set_if_absent": ["large", value(limits::KV_VALUE + 1)]}),
        json!({"kv_get": "n"}),
    ];
    // More than the space holds: what was not used for the longest time is dropped.
    for n in 0..limits::KV_SPACE / limits::KV_VALUE {
        operations.push(json!({"kv_set": [format!("fill {n}"), value(limits::KV_VALUE)]}));
    }
    operations.extend(["first", "fill 0", "fill 1", "fill 15"].map(|key| json!({ "kv_get": key })));
    operations
}

fn in_the_gateway(settings: &Value) -> Outcome {
    let upstream = Upstream::with(|request| {
        let answer = if request.header("x-run") == Some("failure") {
            Answer::json(400, &failure())
        } else if request.path.contains("count_tokens") {
            Answer::json(200, r#"{"input_tokens":42}"#)
        } else {
            Answer::hello(request)
        };
        answer.header("x-upstream", "up").header("cookie", "c")
    });
    let table = format!(
        "[plugin.operations]\ndeadline = \"30s\"\nmemory = \"256MiB\"\nsettings = {}",
        toml(settings)
    );
    let gateway = Gateway::to(&upstream)
        .plugin("50-operations.wasm", component("operations"))
        .tables(&table)
        .start();
    let ask = |path: &str, run: &str, body: &str| -> Reply {
        gateway
            .request("POST", path)
            .header("x-api-key", "k")
            .header("x-client", "c")
            .header("x-run", run)
            .body(body)
            .send()
    };
    let mut outcome = Outcome::default();

    let from = gateway.mark();
    let reply = ask("/v1/messages", "request", &large());
    outcome.add(
        "request",
        &settings["request"],
        &reply.has_status(200).json()["results"],
    );
    outcome.tell("notes of the request", notes_in(&gateway.record(from)));

    let from = gateway.mark();
    let reply = ask("/v1/messages", "attempt", HELLO);
    outcome.add(
        "attempt",
        &settings["attempt"],
        &reply.has_status(200).json()["results"],
    );
    gateway.record(from);
    let logged = |line: &&String| line.contains("logged") && line.contains("plugin=operations");
    outcome.tell("log lines", gateway.log().iter().filter(logged).count());

    let from = gateway.mark();
    let reply = ask("/v1/messages", "failure", HELLO);
    gateway.record(from);
    let error = &reply.json()["error"];
    outcome.add(
        "failure",
        &settings["failure"],
        &listed(error["message"].as_str().unwrap()),
    );
    outcome.tell("status of the failure", reply.status);

    let from = gateway.mark();
    let reply = ask("/v1/messages", "stream", STREAMED);
    let text = reply.text();
    let results = text.split("event: results\ndata: ").nth(1).expect(&text);
    let results: Value = serde_json::from_str(results.lines().next().unwrap()).unwrap();
    let operations = both(settings);
    outcome.add("response", &operations, &results["results"]);
    outcome.tell("first event", text.lines().next().unwrap());
    outcome.tell(
        "header of the response",
        format!("{:?} {:?}", reply.header("x-a"), reply.header("x-late")),
    );
    outcome.tell("notes of the response", notes_in(&gateway.record(from)));

    let reply = ask("/v1/messages/count_tokens", "body", HELLO);
    outcome.add(
        "body",
        &settings["body"],
        &reply.has_status(200).json()["results"],
    );

    for (run, _) in settings["verdicts"].as_object().unwrap() {
        let reply = ask("/v1/messages", run, HELLO);
        let text = reply.text();
        let broken = ["cannot be used: "]
            .iter()
            .find_map(|mark| text.split(mark).nth(1));
        outcome.tell(
            run,
            match broken {
                // The rest of the message, up to its end in the envelope.
                Some(why) if reply.status == 500 => {
                    let why = quoted(why);
                    let why = why.strip_suffix(" (in `on-request`)").unwrap_or(&why);
                    format!("unusable: {why}")
                }
                _ => reply.status.to_string(),
            },
        );
    }

    let models = Upstream::with(|_| Answer::json(200, r#"{"object":"list","data":[]}"#));
    let gateway = Gateway::preset("openai", &models)
        .plugin("50-operations.wasm", component("operations"))
        .tables(&table)
        .start();
    gateway.get("/v1/models");
    let line = gateway.line(&["operations", "ok: "]);
    let result = line.split("ok: ").nth(1).unwrap().replace("\\\"", "\"");
    let result = &result[..=result.find(']').unwrap()];
    outcome.tell("models", format!("ok: {result}"));
    outcome
}

/// An error message as it is within an envelope.
fn quoted(rest: &str) -> String {
    let end = rest
        .find("\"},")
        .or_else(|| rest.find("\"}"))
        .unwrap_or(rest.len());
    let text = format!("\"{}\"", &rest[..end]);
    serde_json::from_str(&text).unwrap_or(text)
}

fn in_the_test_kit(settings: &Value) -> Outcome {
    let exchange = |body: &str, run: &str| {
        Exchange::<Operations>::new(body)
            .settings(settings.clone())
            .header("x-client", "c")
            .header("x-api-key", "k")
            .header("x-run", run)
            .answered_with("x-upstream", "up")
            .answered_with("cookie", "c")
    };
    let mut outcome = Outcome::default();

    let mut request = exchange(&large(), "request");
    assert!(request.would_call(Hook::Request));
    let answer = request.on_request().unwrap().expect_answer();
    outcome.add("request", &settings["request"], &answer["body"]["results"]);
    outcome.tell("notes of the request", named(&request.notes()));

    let mut attempt = exchange(HELLO, "attempt");
    attempt.on_request().unwrap();
    let answer = attempt.on_attempt().unwrap().expect_answer();
    outcome.add("attempt", &settings["attempt"], &answer["body"]["results"]);
    let lines = attempt.log().iter().filter(|(_, line)| line == "logged");
    outcome.tell("log lines", lines.count());

    let mut exchanged = exchange(HELLO, "failure");
    exchanged.on_request().unwrap();
    exchanged.on_attempt().unwrap();
    let mut failed = Failed::new(400, "invalid_request_error", failure())
        .header("x-upstream", "up")
        .header("cookie", "c");
    exchanged.on_failure(&mut failed).unwrap();
    let body: Value = serde_json::from_str(&failed.body()).unwrap();
    let message = body["error"]["message"].as_str().unwrap();
    outcome.add("failure", &settings["failure"], &listed(message));
    outcome.tell("status of the failure", failed.status());

    let mut streamed = exchange(STREAMED, "stream");
    streamed.on_request().unwrap();
    streamed.on_attempt().unwrap();
    let names = ["message_start", "message_delta", "message_stop"];
    let events = names.map(|name| Event::new(name, json!({ "type": name })));
    let events = streamed.stream(events).unwrap();
    let results = events.iter().find(|event| event.name == "results");
    let results: Value = results.unwrap().parse().unwrap();
    let operations = both(settings);
    outcome.add("response", &operations, &results["results"]);
    outcome.tell("first event", format!("event: {}", events[0].name));
    let shown = |name: &str| streamed.response_header(name).into_iter().next();
    outcome.tell(
        "header of the response",
        format!("{:?} {:?}", shown("x-a"), shown("x-late")),
    );
    outcome.tell("notes of the response", named(&streamed.notes()));

    let mut counted = exchange(HELLO, "body").count_tokens();
    counted.on_request().unwrap();
    counted.on_attempt().unwrap();
    let body = counted.on_body(r#"{"input_tokens":42}"#).unwrap().unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    outcome.add("body", &settings["body"], &body["results"]);

    for (run, _) in settings["verdicts"].as_object().unwrap() {
        let result = match exchange(HELLO, run).on_request() {
            Err(error) => {
                let text = error.to_string();
                format!(
                    "unusable: {}",
                    text.split("cannot be used: ").nth(1).unwrap_or(&text)
                )
            }
            Ok(verdict) if run.starts_with("answer") => {
                verdict.expect_answer()["status"].to_string()
            }
            Ok(verdict) => verdict.expect_refusal()["status"].to_string(),
        };
        outcome.tell(run, result);
    }

    let mut models = exchange("", "").models();
    models.on_attempt().unwrap();
    outcome.tell("models", &models.log()[0].1);
    outcome
}

/// The operations of the response hook, which report together.
fn both(settings: &Value) -> Value {
    let (first, later) = (settings["first"].as_array(), settings["later"].as_array());
    first.into_iter().chain(later).flatten().cloned().collect()
}

fn listed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no results in `{text}`"))
}

/// Notes as the line of an exchange's record has them.
fn named(notes: &[String]) -> String {
    let notes = notes.iter().map(|note| format!("operations: {note}"));
    notes.collect::<Vec<_>>().join("; ")
}

fn notes_in(record: &str) -> String {
    let notes = record.split(" notes=").nth(1).unwrap_or_default();
    let end = notes.rfind(" ms=").unwrap_or(notes.len());
    notes[..end].to_owned()
}

/// JSON without `null` as a TOML value in one line.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(key, value)| format!("{} = {}", Value::from(key.as_str()), toml(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string().replace('\u{7f}', "\\u007f"),
    }
}
