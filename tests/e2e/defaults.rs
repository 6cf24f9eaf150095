//! The built-in plugins: what they do, when they do nothing, and how they are disabled or replaced.

use crate::support::{
    Answer, Gateway, Upstream, component,
    shapes::{HELLO, HELLO_STREAM, message},
};

const WARMUP: &str = r#"{"model":"claude-haiku-5-5","max_tokens":1,"messages":[{"role":"user","content":[{"type":"text","text":"<system-reminder>x</system-reminder>"},{"type":"text","text":" Warmup\n"}]},{"role":"system","content":[]}]}"#;

const TURNS: &str = r#"[{"role":"user","content":"a"},{"role":"user","content":"b"},{"role":"system","content":[]},{"role":"user","content":[{"type":"text","text":"c"}]},{"role":"user","content":"d"}]"#;

#[test]
fn a_warm_up_is_answered_here_and_counted_as_saved() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    let from = gateway.mark();
    let seen = gateway.message(WARMUP);
    seen.has_status(200)
        .has_header("x-warmup-intercepted", "true");
    let answer = seen.json();
    assert_eq!(answer["model"], "claude-haiku-5-5");
    assert_eq!(answer["type"], "message");
    assert!(
        gateway.record(from).contains("saved"),
        "{}",
        gateway.record(from)
    );

    let streamed = gateway.message(WARMUP.replacen('{', "{\"stream\":true,", 1));
    streamed
        .has_status(200)
        .has_header("x-warmup-intercepted", "true")
        .has("event: message_stop");
    streamed.has("claude-haiku-5-5");
    upstream.was_not_asked();

    // Counting a warm-up is not a warm-up, and a text that merely contains the word is a question.
    gateway
        .post("/v1/messages/count_tokens", WARMUP)
        .has_status(200)
        .has_no_header("x-warmup-intercepted");
    let question = WARMUP.replace(" Warmup\\n", "warmup exercises?");
    gateway
        .message(&question)
        .has_status(200)
        .has_no_header("x-warmup-intercepted");
    assert_eq!(upstream.received().len(), 2);
    upstream.last().has_body(&question);
}

#[test]
fn threads_are_refused_where_the_upstream_has_none() {
    let upstream = Upstream::ok();
    let gateway = Gateway::preset("compatible", &upstream).start();
    for thread in [
        r#"{"type":"create"}"#,
        r#"{"type":"continue","previous_message_id":"msg_1"}"#,
    ] {
        let body = HELLO.replacen('{', &format!("{{\"thread\":{thread},"), 1);
        let seen = gateway.message(&body);
        seen.is_error(400, "invalid_request_error");
        let error = seen.json()["error"].clone();
        assert_eq!(
            error["details"]["error_code"], "thread_unsupported_request",
            "{error}"
        );
    }
    upstream.was_not_asked();
    gateway.message(HELLO).has_status(200);

    let own = Upstream::ok();
    let gateway = Gateway::to(&own).start();
    let body = HELLO.replacen('{', "{\"thread\":{\"type\":\"create\"},", 1);
    gateway.message(&body).has_status(200);
    own.last().has_body(&body);
}

#[test]
fn neighbouring_turns_are_joined_where_the_upstream_wants_it() {
    let upstream = Upstream::ok();
    let gateway = Gateway::preset("compatible", &upstream).start();
    gateway.message(message(TURNS)).has_status(200);
    let arrived = upstream.last().json();
    let messages = arrived["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages
        .iter()
        .map(|one| one["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "system", "user"], "{arrived}");
    assert_eq!(messages[0]["content"], "a\n\nb");
    let texts: Vec<&str> = messages[2]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["c", "d"]);
}

#[test]
fn a_count_that_the_upstream_cannot_make_is_an_estimate_that_says_so() {
    let upstream = Upstream::ok();
    let gateway = Gateway::preset("compatible", &upstream).start();
    let seen = gateway.post("/v1/messages/count_tokens", HELLO);
    let answer = seen.has_status(200).json();
    assert!(
        answer["input_tokens"]
            .as_u64()
            .is_some_and(|count| count > 0),
        "{answer}"
    );
    assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
    seen.has_header("x-witgate-estimate", "true");
    upstream.was_not_asked();
}

#[test]
fn a_count_comes_from_the_upstream_where_it_can_count() {
    let upstream = Upstream::with(|_| Answer::json(200, r#"{"input_tokens":4711,"other":1}"#));
    let gateway = Gateway::to(&upstream).start();
    let seen = gateway.post("/v1/messages/count_tokens?beta=true", HELLO);
    assert_eq!(seen.has_status(200).json()["input_tokens"], 4711);
    upstream.last().has_body(HELLO);
    assert_eq!(upstream.last().path, "/v1/messages/count_tokens?beta=true");
}

#[test]
fn with_every_built_in_disabled_no_rule_acts() {
    let upstream = Upstream::ok();
    let mut builder = Gateway::preset("compatible", &upstream);
    for name in built_in() {
        builder = builder.tables(&format!("[plugin.{name}]\nenabled = false"));
    }
    let gateway = builder.start();
    let threaded = HELLO.replacen('{', "{\"thread\":{\"type\":\"create\"},", 1);
    let marked = HELLO.replacen('{', "{\"cache_control\":{\"type\":\"ephemeral\"},", 1);
    for body in [
        WARMUP.to_owned(),
        threaded,
        marked,
        message(TURNS),
        HELLO_STREAM.to_owned(),
    ] {
        let seen = gateway.message(&body);
        seen.has_status(200)
            .has_no_header("x-warmup-intercepted")
            .has_no_header("x-witgate-edits");
        upstream.last().has_body(&body);
    }
    gateway
        .post("/v1/messages/count_tokens", HELLO)
        .has_status(200);
    upstream.last().has_body(HELLO);
}

#[test]
fn a_users_build_replaces_a_built_in_plugin() {
    let upstream = Upstream::ok();
    let gateway = Gateway::preset("compatible", &upstream)
        .plugin("merge_roles.wasm", component("other-merge-roles"))
        .start();
    gateway.message(message(TURNS)).has_status(200);
    let arrived = upstream.last().json();
    assert_eq!(arrived["merged_by"], "another rule");
    assert_eq!(
        arrived["messages"][0]["content"], "a",
        "the built-in rule acted as well"
    );
}

#[test]
fn a_turn_of_very_many_tiny_blocks_is_joined_to_the_one_before() {
    let upstream = Upstream::ok();
    let gateway = Gateway::preset("compatible", &upstream).start();
    let blocks: Vec<String> = (0..99_000).map(|number| number.to_string()).collect();
    let blocks = blocks.join(",");
    let body = message(&format!(
        r#"[{{"role":"user","content":[-1]}},{{"role":"user","content":[{blocks}]}}]"#
    ));
    gateway.message(&body).has_status(200);
    let joined = body.replace(r#"[-1]},{"role":"user","content":["#, "[-1,");
    upstream.last().has_body(&joined);
}

#[test]
fn an_overflow_in_other_words_makes_the_client_compact() {
    let foreign = r#"{"error":{"code":500,"message":"Prompt contains 70000 tokens, too large for model with 65536 maximum context length","type":"x"}}"#;
    let upstream = Upstream::with(move |_| Answer::json(500, foreign));
    let gateway = Gateway::to(&upstream).start();
    for body in [HELLO, HELLO_STREAM] {
        gateway
            .message(body)
            .is_error(400, "invalid_request_error")
            .has("prompt is too long: 70000 tokens > 65536 maximum");
    }
    assert_eq!(upstream.received().len(), 2, "it is not retried");
}

#[test]
fn a_prompt_that_fits_with_a_shorter_response_is_sent_again_with_what_is_left() {
    let refusal = r#"{"error":{"code":400,"message":"You passed 40000 input tokens and requested 32000 output tokens. However, the model's context length is only 65536 tokens.","type":"BadRequestError"}}"#;
    let fits = |asked: &serde_json::Value| asked["max_tokens"].as_u64() <= Some(25_536);
    let upstream = Upstream::with(move |received| match fits(&received.json()) {
        true => Answer::hello(received),
        false => Answer::json(400, refusal),
    });
    let gateway = Gateway::to(&upstream).start();
    let body = r#"{"model":"m","max_tokens":32000,"messages":[{"role":"user","content":"hi"}]}"#;
    gateway.message(body).has_status(200);
    assert_eq!(upstream.last().json()["max_tokens"], 25_536);
    assert_eq!(upstream.received().len(), 2);
}

/// The names of the built-in plugins, as listed by `plugin list`.
fn built_in() -> Vec<String> {
    let listed = Gateway::echo().run(&["plugins", "list"]);
    listed.has_code(0);
    let names = [
        "answer-warmup",
        "background-model",
        "message-threads",
        "strip-cache-control",
        "signature-fallback",
        "merge-roles",
        "drop-unsupported",
        "estimate-tokens",
        "context-overflow",
    ];
    for name in names {
        assert!(listed.out.contains(name), "no {name} in {}", listed.out);
    }
    names.map(str::to_owned).to_vec()
}
