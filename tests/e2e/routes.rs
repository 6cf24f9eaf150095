//! Health, probes, and what a client reads that asks for the wrong thing.

use crate::support::{Answer, Gateway, Upstream, shapes::HELLO};

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
        "/v1/files/",
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
        ("DELETE", "/plugins", "GET"),
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
fn a_body_that_is_not_a_json_object_is_a_400() {
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
        Answer::whole(201, "text/plain", text)
            .header("x-of-upstream", "yes")
            .header("content-encoding", "br")
    });
    let gateway = Gateway::to(&upstream).top("body_limit = \"1KiB\"").start();
    let file = "x".repeat(20_000);
    let seen = gateway
        .request("POST", "/v1/files?beta=true")
        .header("anthropic-beta", "files-api-2025-04-14")
        .header("x-api-key", "sk-witgate")
        .body(&file)
        .send();
    seen.has_status(201)
        .has_body("POST /v1/files?beta=true")
        .has_header("x-of-upstream", "yes")
        .has_header("content-encoding", "br")
        .has_header("x-account-email", "ada");
    upstream
        .last()
        .has_body(&file)
        .has_header("x-api-key", "sk-of-ada")
        // A JSON answer must be readable here.
        .has_header("accept-encoding", "identity")
        .has_header("anthropic-beta", "files-api-2025-04-14");
    gateway
        .request("GET", "/v1/messages/batches/b_1/results")
        .header("accept-encoding", "br")
        .send()
        .has_status(201)
        .has_header("content-encoding", "br");
    let download = upstream.last();
    assert_eq!(download.path, "/v1/messages/batches/b_1/results");
    download.has_header("accept-encoding", "br");
    gateway
        .request("DELETE", "/v1/files/f_1")
        .send()
        .has_status(201);
    assert_eq!(upstream.last().method, "DELETE");
}

/// A request for a model without a route.
const UNROUTED: &str = r#"{"model":"unrouted","max_tokens":16,"messages":[]}"#;

#[test]
fn no_odd_spelling_of_a_path_reaches_the_upstream() {
    let upstream = Upstream::ok();
    let gateway = Gateway::echo()
        .tables(&format!(
            "[[upstream]]\nname = \"up\"\npreset = \"anthropic\"\nbase_url = \"{}/api/anthropic\"\naccounts = [{{ name = \"ada\", key = \"sk-of-ada\" }}]",
            upstream.url()
        ))
        .route("claude-*", &["up"])
        .start();
    gateway
        .message(UNROUTED)
        .is_error(404, "not_found_error")
        .has("unrouted");
    let illegal = [
        "/v1/./messages",
        "/v1/x/../messages",
        "/v1/%2e/messages",
        "/v1/%2E%2e/v1/messages",
        "/v1/.%2e/v1/messages",
        "/v1/.\\messages",
        "/v1\\messages",
        "/v1/x/..%5cmessages",
        "/v1/x%2f..%2fmessages",
        "//v1/messages",
        "/v1//messages",
        "/v1/%2fmessages",
        "/v1/%6dessages",
        "/v1/m%65ssages",
        "/v1/%256dessages",
        "/v1/messages;a=b",
        "/v1/messages%3ba=b",
        "/v1/..;/v1/messages",
        "/v1/messages%00",
        "/v1/messages/./count_tokens",
        "/v1/messages/x/../count_tokens",
        "/v1/messages/%2e%2e/messages",
        "/v1/messages//count_tokens",
        "/v1/messages/%63ount_tokens",
        "/v1/messages/count%5ftokens",
        "/v1/messages/count_tokens;a=b",
        "/v1/messages/;a=b",
        "/v1/messages/.",
        "/v1/messages/..",
        "/v1/../../paas/v4/chat/completions",
        "/v1/../../../admin/keys",
        "/v1/%2e%2e/%2e%2e/admin",
        "/v1/..%2f..%2fadmin",
        "/v1/%c0%ae%c0%ae/admin",
    ];
    for path in illegal {
        gateway
            .post(path, UNROUTED)
            .is_error(400, "invalid_request_error")
            .has("not a legal path");
    }
    let not_there = [
        "/v1/Messages",
        "/V1/messages",
        "/v1/messages.json",
        "/v1/messages%20",
        "/v1/messages%2f",
        "/v1/messages%2Fcount_tokens",
        "/v1%2fmessages",
        "/v1/messages/Count_Tokens",
        "/v1/messages/",
    ];
    for path in not_there {
        gateway
            .post(path, UNROUTED)
            .is_error(404, "not_found_error");
    }
    upstream.was_not_asked();
}

#[test]
fn ordinary_paths_pass_byte_for_byte() {
    let upstream = Upstream::with(|request| Answer::whole(200, "text/plain", &request.path));
    let gateway = Gateway::to(&upstream).start();
    for (method, path) in [
        ("GET", "/v1/files/file_abc/content?x=1"),
        ("GET", "/v1/files/my%20file%5B1%5D.txt?a=../b//c;d=%2e"),
        ("DELETE", "/v1/files/100%25"),
        ("GET", "/v1/skills/a..b/versions/1.2"),
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/messages/batches/msgbatch_1/results"),
    ] {
        gateway.request(method, path).send().has_status(200);
        assert_eq!(upstream.last().path, path);
    }
    // A name with an escaped slash is looked up in the list.
    let seen = gateway.get("/v1/models/some%2Fmodel%20x");
    seen.is_error(404, "not_found_error").has("some/model x");
}
