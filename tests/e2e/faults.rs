//! Upstreams that fail: what the client reads, and that a failure is never an answer.

use crate::support::{
    Answer, Gateway, Upstream,
    shapes::{HELLO, HELLO_STREAM, MESSAGE, SSE},
};

#[test]
fn an_error_of_the_upstream_passes_unmodified() {
    let body = r#"{"type":"error", "error":{"type":"invalid_request_error","message":"messages.1.content.0: Invalid `signature` in `thinking` block"},"request_id":"req_011"}"#;
    for status in [400, 403, 404, 413, 422] {
        let upstream =
            Upstream::with(move |_| Answer::json(status, body).header("request-id", "req_011"));
        let gateway = Gateway::preset("compatible", &upstream)
            .upstream("own", &upstream, "preset = \"compatible\"")
            .route("*", &["own"])
            .start();
        for ask in [HELLO, HELLO_STREAM] {
            gateway
                .message(ask)
                .has_status(status)
                .has_body(body)
                .has_header("request-id", "req_011");
        }
    }
}

#[test]
fn a_refused_credential_of_ours_is_no_login_problem_of_the_clients() {
    for status in [401, 403] {
        let upstream = Upstream::with(move |_| {
            Answer::json(
                status,
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
            )
        });
        let gateway = Gateway::to(&upstream).start();
        let seen = gateway.message(HELLO);
        seen.is_error(502, "api_error")
            .has_header("x-should-retry", "false");
        seen.has("invalid x-api-key");
    }
}

/// An answer is used up when it is given, so it is made anew.
type Make = fn() -> Answer;

#[test]
fn what_is_no_answer_is_a_failure() {
    let cases: [(&str, Make); 9] = [
        ("reset", || Answer::Reset),
        ("an empty 200", || Answer::json(200, "")),
        ("HTML", || {
            Answer::whole(200, "text/html", "<html>blocked</html>")
        }),
        ("broken JSON", || Answer::json(200, "{\"id\":")),
        ("cut JSON", || {
            Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"id\":".to_vec())
        }),
        ("nonsense", || Answer::Raw(b"nonsense\r\n\r\n".to_vec())),
        ("an empty stream", || Answer::sse("")),
        ("only a comment", || Answer::sse(": hello\n\n")),
        ("an error as first event", || {
            Answer::sse(
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"x\"}}\n\n",
            )
        }),
    ];
    for (name, answer) in cases {
        let upstream = Upstream::with(move |_| answer());
        let gateway = Gateway::to(&upstream).start();
        for ask in [HELLO, HELLO_STREAM] {
            let seen = gateway.message(ask);
            assert!(
                seen.status >= 500,
                "{name}: {} {}",
                seen.status,
                seen.text()
            );
            assert_eq!(seen.json()["type"], "error", "{name}");
            seen.has_not("message_stop");
        }
    }
}

#[test]
fn a_failure_that_passes_is_tried_again() {
    let upstream = Upstream::script([
        Answer::Reset,
        Answer::json(200, MESSAGE),
        Answer::sse(""),
        Answer::sse(SSE),
    ]);
    let gateway = Gateway::echo()
        .upstream("up", &upstream, "preset = \"anthropic\"\naccounts = [{ name = \"ada\", key = \"k-a\" }, { name = \"bob\", key = \"k-b\" }]")
        .start();
    gateway.message(HELLO).has_status(200).has_body(MESSAGE);
    gateway.message(HELLO_STREAM).has_status(200).has_body(SSE);
    for request in upstream.received() {
        assert!(request.body == HELLO.as_bytes() || request.body == HELLO_STREAM.as_bytes());
    }
}

#[test]
fn an_upstream_that_is_not_there_is_named() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let gateway = Gateway::echo()
        .tables(&format!("[[upstream]]\nname = \"gone\"\npreset = \"anthropic\"\nbase_url = \"http://{closed}\"\naccounts = [{{ name = \"ada\", key = \"k\" }}]"))
        .start();
    gateway
        .message(HELLO)
        .is_error(502, "api_error")
        .has("gone");
    gateway.get("/healthz").has_status(200);
}

#[test]
fn retry_after_reaches_the_client() {
    let body = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#;
    let upstream = Upstream::with(move |_| Answer::json(429, body).header("retry-after", "7"));
    let gateway = Gateway::to(&upstream).start();
    let seen = gateway.message(HELLO);
    seen.has_status(429).has_header("retry-after", "7");
    assert_eq!(seen.json()["error"]["type"], "rate_limit_error");
}
