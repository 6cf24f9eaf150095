//! Health, probes, and what a client reads that asks for the wrong thing.

use crate::support::{Gateway, Upstream, shapes::HELLO};

#[test]
fn health_is_fifteen_bytes() {
    let gateway = Gateway::echo().start();
    let seen = gateway.get("/healthz");
    seen.has_status(200)
        .has_body(r#"{"status":"ok"}"#)
        .has_header("content-length", "15");
    assert_eq!(seen.header("content-type"), Some("application/json"));
}

#[test]
fn the_probes_of_claude_code_are_answered() {
    let gateway = Gateway::echo().start();
    for path in ["/", "/api/hello"] {
        let seen = gateway.request("HEAD", path).send();
        assert!(seen.status < 300, "HEAD {path} is a {}", seen.status);
        assert!(seen.body.is_empty());
    }
}

#[test]
fn a_path_that_is_not_there_names_the_right_base_url() {
    let gateway = Gateway::echo().start();
    let base = format!("http://{}", gateway.addr);
    for path in [
        "/v1/v1/messages",
        "/messages",
        "/v1/messages/",
        "/nonsense",
        "/v1/v1/models",
    ] {
        let seen = gateway.post(path, HELLO);
        seen.is_error(404, "not_found_error");
        if path != "/nonsense" {
            seen.has(&base);
        }
    }
}

#[test]
fn a_wrong_method_says_which_is_right() {
    let gateway = Gateway::echo().start();
    for (method, path, right) in [
        ("GET", "/v1/messages", "POST"),
        ("PUT", "/v1/messages/count_tokens", "POST"),
        ("DELETE", "/healthz", "GET"),
        ("POST", "/v1/models", "GET"),
    ] {
        let seen = gateway.request(method, path).send();
        seen.is_error(405, "invalid_request_error").has(right);
        let allow = seen.header("allow").unwrap_or_default();
        assert!(
            allow.contains(right),
            "allow: {allow:?} for {method} {path}"
        );
    }
}

#[test]
fn every_answer_of_our_own_has_a_request_id_that_the_log_has_too() {
    let gateway = Gateway::echo().start();
    let seen = gateway.message(HELLO);
    let id = seen
        .has_status(200)
        .header("request-id")
        .expect("a request-id")
        .to_owned();
    assert!(id.starts_with("req_"), "{id}");
    gateway.line(&[&id]);
    let missing = gateway.message("{").header("request-id").map(str::to_owned);
    assert!(missing.is_some_and(|other| other != id));
}

#[test]
fn what_is_no_json_object_is_a_400() {
    let gateway = Gateway::echo().start();
    for body in [
        "",
        "{",
        "[]",
        "null",
        "nonsense",
        "\u{feff}{}",
        r#"{"model":7}"#,
        r#"{"messages":[]}"#,
    ] {
        gateway.message(body).is_error(400, "invalid_request_error");
    }
    let nested = format!("{{\"model\":\"m\",\"messages\":{}", "[".repeat(1_000_000));
    gateway
        .message(nested)
        .is_error(400, "invalid_request_error");
    gateway.message(HELLO).has_status(200);
}

#[test]
fn a_body_over_the_limit_is_a_413_and_never_reaches_the_upstream() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).top("body_limit = \"64KiB\"").start();
    let body = HELLO.replace("hi", &"x".repeat(70_000));
    gateway
        .message(&body)
        .is_error(413, "request_too_large")
        .has("65536");
    let seen = gateway
        .request("POST", "/v1/messages")
        .chunked()
        .body(&body)
        .send();
    seen.is_error(413, "request_too_large");
    upstream.was_not_asked();
    gateway.message(HELLO).has_status(200);
}

#[test]
fn a_body_may_come_in_chunks() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    let body = HELLO.replace("hi", &"x".repeat(5_000));
    let seen = gateway
        .request("POST", "/v1/messages")
        .chunked()
        .body(&body)
        .send();
    seen.has_status(200);
    upstream
        .last()
        .has_body(&body)
        .has_header("content-length", &body.len().to_string());
}

#[test]
fn other_routes_are_streamed_through_to_the_first_anthropic_upstream() {
    let upstream = Upstream::with(|request| {
        let text = format!("{} {}", request.method, request.path);
        crate::support::Answer::whole(201, "text/plain", text).header("x-of-upstream", "yes")
    });
    let gateway = Gateway::to(&upstream).top("body_limit = \"1KiB\"").start();
    let file = "x".repeat(20_000);
    let seen = gateway
        .request("POST", "/v1/files?beta=true")
        .header("anthropic-beta", "files-api-2025-04-14")
        .header("accept-encoding", "br")
        .header("x-api-key", "sk-witgate")
        .body(&file)
        .send();
    seen.has_status(201)
        .has_body("POST /v1/files?beta=true")
        .has_header("x-of-upstream", "yes");
    upstream
        .last()
        .has_body(&file)
        .has_header("x-api-key", "sk-of-ada")
        .has_header("accept-encoding", "br")
        .has_header("anthropic-beta", "files-api-2025-04-14");
    gateway
        .request("GET", "/v1/messages/batches/b_1/results")
        .send()
        .has_status(201);
    assert_eq!(upstream.last().path, "/v1/messages/batches/b_1/results");
    gateway
        .request("DELETE", "/v1/files/f_1")
        .send()
        .has_status(201);
    assert_eq!(upstream.last().method, "DELETE");
}
