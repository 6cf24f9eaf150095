//! Upstreams that fail: what the client reads, and that a failure never looks like a response.

use crate::{
    retries::{Case, TRANSIENT, TRANSIENT_STREAMS},
    support::{
        Answer, Gateway, Upstream, each,
        shapes::{HELLO, HELLO_STREAM, MESSAGE, SSE},
    },
};

#[test]
fn an_error_of_the_upstream_passes_unmodified() {
    let body = r#"{"type":"error", "error":{"type":"invalid_request_error","message":"messages.1.content.0: Invalid `signature` in `thinking` block"},"request_id":"req_011"}"#;
    let statuses = [400, 403, 404, 413, 422];
    each(statuses.map(|status| (status, status)), |status| {
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
    });
}

#[test]
fn a_rejected_credential_of_an_account_is_not_the_clients_login_problem() {
    each([401, 403].map(|status| (status, status)), |status| {
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
    });
}

#[test]
fn an_unusable_answer_is_a_failure_with_a_status_of_its_own() {
    let more: [Case; 2] = [
        ("nonsense", 502, || {
            Answer::Raw(b"nonsense\r\n\r\n".to_vec())
        }),
        ("only a comment", 502, || Answer::sse(": hello\n\n")),
    ];
    let cases = TRANSIENT.iter().chain(&TRANSIENT_STREAMS).chain(&more);
    each(
        cases.map(|case| (case.0, *case)),
        |(name, status, answer)| {
            let upstream = Upstream::with(move |_| answer());
            for ask in [HELLO, HELLO_STREAM] {
                let gateway = Gateway::to(&upstream).retry("max_attempts = 1").start();
                let seen = gateway.message(ask);
                seen.has_status(status).has_not("message_stop");
                assert_eq!(seen.json()["type"], "error");
                // The message must show that a proxy answered, and not the upstream.
                if name.ends_with("HTML") {
                    seen.has("text/html");
                }
            }
        },
    );
}

#[test]
fn a_transient_failure_is_retried() {
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
        .has("`gone`");
    gateway.get("/healthz").has_status(200);
}

#[test]
fn retry_after_reaches_the_client() {
    let body = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#;
    let upstream = Upstream::with(move |_| {
        Answer::json(429, body)
            .header("retry-after", "7")
            .header("x-should-retry", "true")
    });
    let gateway = Gateway::to(&upstream).start();
    gateway
        .message(HELLO)
        .has_status(429)
        .has_header("retry-after", "7")
        .has_header("x-should-retry", "true")
        .has_body(body);
}
