//! Routing: globs, the first match, mapped models, and the error if nothing matches.

use crate::support::{
    Answer, Gateway, Upstream,
    shapes::{HELLO, MESSAGE, corpus},
};

fn asking(model: &str) -> String {
    HELLO.replace("claude-opus-5-5", model)
}

#[test]
fn the_first_match_in_the_file_wins() {
    let (a, b) = (Upstream::ok(), Upstream::ok());
    let gateway = Gateway::echo()
        .upstream(
            "a",
            &a,
            "preset = \"anthropic\"\naccounts = [{ name = \"ada\", key = \"k-a\" }]",
        )
        .upstream(
            "b",
            &b,
            "preset = \"anthropic\"\naccounts = [{ name = \"bob\", key = \"k-b\" }]",
        )
        .route("claude-haiku-*", &["b"])
        .route("claude-*", &["a"])
        .route("claude-haiku-9", &["a"])
        .route("*[12]?", &["b"])
        .start();
    for (model, to_a) in [
        ("claude-opus-5-5", true),
        ("claude-haiku-9", false),
        ("claude-", true),
        ("gpt-1x", false),
        ("m2y", false),
    ] {
        let (before_a, before_b) = (a.received().len(), b.received().len());
        gateway.message(asking(model)).has_status(200);
        let went = (a.received().len() - before_a, b.received().len() - before_b);
        assert_eq!(went, if to_a { (1, 0) } else { (0, 1) }, "{model}");
    }
    let seen = gateway.message(asking("unheard-of"));
    seen.is_error(404, "not_found_error");
    assert_eq!(seen.json()["error"]["message"], "model: unheard-of");
    gateway
        .post("/v1/messages/count_tokens", asking("unheard-of"))
        .is_error(404, "not_found_error");
    let seen = gateway.message("{}");
    seen.is_error(400, "invalid_request_error");
    assert_eq!(seen.json()["error"]["message"], "model: Field required");
}

#[test]
fn mapping_replaces_the_models_value_and_no_other_byte() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .route("claude-opus-*", &["up/vendor/other-model"])
        .start();
    for shape in corpus() {
        let seen = gateway.message(&shape.body);
        seen.has_status(200)
            .has_header("x-mapped-model", "vendor/other-model");
        let wanted = String::from_utf8(shape.body).unwrap();
        // Only the top-level one: other places in the corpus do not spell the model this way.
        let wanted = wanted.replace("\"claude-opus-5-5\"", "\"vendor/other-model\"");
        upstream.last().has_body(&wanted);
    }
    gateway
        .post("/v1/messages/count_tokens", HELLO)
        .has_status(200);
    assert_eq!(upstream.last().json()["model"], "vendor/other-model");
}

#[test]
fn only_the_top_model_is_mapped() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).route("*", &["up/other"]).start();
    let body = r#"{"x":{"model":"claude-1"},"max_tokens":1,"messages":[{"role":"user","content":"\"model\":\"claude-1\""}], "mod\u0065l" :  "claude-1" }"#;
    gateway
        .message(body)
        .has_status(200)
        .has_header("x-mapped-model", "other")
        .has_header("x-witgate-edits", "route=1");
    upstream
        .last()
        .has_body(body.replace(" :  \"claude-1\" }", " :  \"other\" }"));
}

#[test]
fn a_header_names_the_model_that_was_sent() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    gateway
        .message(HELLO)
        .has_status(200)
        .has_header("x-mapped-model", "claude-opus-5-5");
}

#[test]
fn without_routes_the_upstreams_are_tried_in_the_files_order() {
    let (a, b) = (Upstream::with(|_| Answer::Reset), Upstream::ok());
    let gateway = Gateway::echo()
        .upstream(
            "a",
            &a,
            "preset = \"anthropic\"\naccounts = [{ name = \"ada\", key = \"k-a\" }]",
        )
        .upstream(
            "b",
            &b,
            "preset = \"anthropic\"\naccounts = [{ name = \"bob\", key = \"k-b\" }]",
        )
        .start();
    let seen = gateway.message(HELLO);
    seen.has_status(200)
        .has_body(MESSAGE)
        .has_header("x-account-email", "bob");
    assert!(!a.received().is_empty());
}

#[test]
fn a_mapping_of_one_attempt_does_not_leak_into_the_next() {
    let (a, b) = (Upstream::with(|_| Answer::Reset), Upstream::ok());
    let gateway = Gateway::echo()
        .upstream(
            "a",
            &a,
            "preset = \"compatible\"\naccounts = [{ name = \"ada\", key = \"k-a\" }]",
        )
        .upstream(
            "b",
            &b,
            "preset = \"anthropic\"\naccounts = [{ name = \"bob\", key = \"k-b\" }]",
        )
        .route("*", &["a/mapped", "b"])
        .start();
    let body = HELLO.replacen('{', "{\"cache_control\":{\"type\":\"ephemeral\"},", 1);
    gateway
        .message(&body)
        .has_status(200)
        .has_header("x-mapped-model", "claude-opus-5-5");
    let first = a.received().remove(0).text();
    assert!(
        first.contains("mapped") && !first.contains("cache_control"),
        "{first}"
    );
    b.last().has_body(&body);
}
