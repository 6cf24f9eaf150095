//! Headers in both directions: what is forwarded, and what is not, such as credentials, hop-by-hop
//! headers, encodings and account names.

use std::io::Write;

use crate::support::{
    Answer, Gateway, Reply, Upstream, each,
    shapes::{HELLO, MESSAGE},
};

fn ask(gateway: &Gateway, headers: &[(&str, &str)]) -> Reply {
    let mut request = gateway
        .request("POST", "/v1/messages?beta=true")
        .body(HELLO);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.send()
}

#[test]
fn open_lists_of_headers_are_forwarded_unmodified() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    let sent = [
        (
            "anthropic-beta",
            "claude-code-20250219,unheard-of-2031-01-01",
        ),
        ("anthropic-version", "2026-10-21"),
        ("anthropic-dangerous-direct-browser-access", "true"),
        (
            "x-claude-code-session-id",
            "7c0d6f6e-0000-4000-8000-000000000001",
        ),
        ("x-claude-code-unheard-of", "1"),
        ("x-stainless-timeout", "600"),
        ("user-agent", "claude-cli/2.1.330 (external, cli)"),
        ("x-app", "cli"),
    ];
    ask(&gateway, &sent).has_status(200);
    let arrived = upstream.last();
    each(sent.map(|sent| (sent.0, sent)), |(name, value)| {
        arrived.has_header(name, value);
    });
    arrived.has_header("host", &upstream.addr().to_string());
    arrived.has_header("content-length", &HELLO.len().to_string());
    arrived.has_header("accept-encoding", "identity");
    assert_eq!(arrived.path, "/v1/messages?beta=true");
    ask(&gateway, &[]).has_status(200);
    upstream
        .last()
        .has_header("anthropic-version", "2023-06-01");
}

#[test]
fn hop_by_hop_headers_end_here() {
    let upstream = Upstream::with(|_| {
        Answer::json(200, MESSAGE)
            .header("connection", "x-private-of-upstream")
            .header("x-private-of-upstream", "1")
            .header("keep-alive", "timeout=5")
            .header("proxy-authenticate", "Basic")
    });
    let gateway = Gateway::to(&upstream).start();
    let seen = ask(
        &gateway,
        &[
            ("connection", "x-private, keep-alive"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("proxy-authorization", "Basic eDp5"),
            ("upgrade-insecure-requests", "1"),
            ("expect", ""),
        ],
    );
    seen.has_status(200)
        .has_no_header("x-private-of-upstream")
        .has_no_header("keep-alive")
        .has_no_header("proxy-authenticate");
    let arrived = upstream.last();
    let dropped = [
        "x-private",
        "keep-alive",
        "te",
        "proxy-authorization",
        "transfer-encoding",
    ];
    each(dropped.map(|name| (name, name)), |name| {
        arrived.has_no_header(name);
    });
}

#[test]
fn the_upstreams_headers_reach_the_client() {
    let headers = [
        ("request-id", "req_of_upstream"),
        ("anthropic-organization-id", "org_1"),
        ("anthropic-ratelimit-requests-remaining", "99"),
        ("anthropic-ratelimit-tokens-reset", "2026-11-22T00:00:00Z"),
        ("x-unheard-of", "kept"),
    ];
    let upstream = Upstream::with(move |_| {
        headers
            .iter()
            .fold(Answer::json(200, MESSAGE), |answer, (name, value)| {
                answer.header(name, value)
            })
    });
    let gateway = Gateway::to(&upstream).start();
    let seen = ask(&gateway, &[]);
    seen.has_status(200).has_body(MESSAGE);
    for (name, value) in headers {
        seen.has_header(name, value);
    }
    seen.has_header("x-account-email", "ada");
}

#[test]
fn headers_of_the_way_to_the_gateway_end_here_on_every_route() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    let dropped = [
        "cdn-loop",
        "cf-connecting-ip",
        "cf-ray",
        "cookie",
        "fly-client-ip",
        "forwarded",
        "referer",
        "true-client-ip",
        "via",
        "x-amzn-trace-id",
        "x-appengine-country",
        "x-envoy-external-address",
        "x-forwarded-for",
        "x-real-ip",
        "x-vercel-id",
    ];
    let kept = ["anthropic-beta", "traceparent", "x-b3-traceid", "x-custom"];
    for (method, path) in [("POST", "/v1/messages"), ("GET", "/v1/files")] {
        let request = gateway.request(method, path).body(HELLO);
        let request = dropped
            .iter()
            .chain(&kept)
            .fold(request, |request, name| request.header(name, "1"));
        let local = format!("http://{}", gateway.addr);
        request.header("origin", &local).send().has_status(200);
        let arrived = upstream.last();
        arrived.has_no_header("origin");
        each(dropped.map(|name| (name, name)), |name| {
            arrived.has_no_header(name);
        });
        each(kept.map(|name| (name, name)), |name| {
            arrived.has_header(name, "1");
        });
    }
}

#[test]
fn an_upstream_forges_no_receipt_and_sets_nothing_for_the_gateways_site() {
    const FORGED: [&str; 12] = [
        "access-control-allow-origin",
        "alt-svc",
        "cf-ray",
        "clear-site-data",
        "nel",
        "refresh",
        "report-to",
        "set-cookie",
        "strict-transport-security",
        "x-account-email",
        "x-witgate-attempts",
        "x-witgate-estimate",
    ];
    let forge = |answer: Answer| {
        FORGED
            .iter()
            .fold(answer, |answer, name| answer.header(name, "forged"))
    };
    let upstream = Upstream::with(move |request| {
        forge(match request.header("x-fail") {
            Some(_) => Answer::error(400, "invalid_request_error", "no"),
            None => Answer::json(200, MESSAGE),
        })
    });
    let gateway = Gateway::to(&upstream)
        .top("expose_accounts = false")
        .start();
    let from_client = |path: &str| gateway.request("POST", path).body(HELLO);
    for (seen, status) in [
        (from_client("/v1/messages").send(), 200),
        (
            from_client("/v1/messages").header("x-fail", "1").send(),
            400,
        ),
        (from_client("/v1/files").send(), 200),
        (from_client("/v1/files").header("x-fail", "1").send(), 400),
    ] {
        seen.has_status(status);
        let headers = format!("{:?}", seen.headers);
        assert!(!headers.contains("forged"), "{headers}");
    }
}

#[test]
fn the_account_speaks_for_the_client() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .auth("strict", &["sk-witgate"])
        .start();
    ask(
        &gateway,
        &[
            ("authorization", "Bearer sk-witgate"),
            ("x-goog-api-key", "of-the-client"),
            ("cookie", "a=b"),
        ],
    )
    .has_status(200);
    upstream
        .last()
        .has_header("x-api-key", "sk-of-ada")
        .has_no_header("authorization")
        .has_no_header("x-goog-api-key");
}

#[test]
fn a_bearer_account_writes_a_bearer_header() {
    let upstream = Upstream::ok();
    let gateway = Gateway::preset("zai", &upstream).start();
    ask(&gateway, &[("x-api-key", "of-the-client")]).has_status(200);
    let arrived = upstream.last();
    let (key, bearer) = (arrived.header("x-api-key"), arrived.header("authorization"));
    let fine = (key, bearer) == (None, Some("Bearer sk-of-ada"))
        || (key, bearer) == (Some("sk-of-ada"), None);
    assert!(fine, "x-api-key {key:?}, authorization {bearer:?}");
}

#[test]
fn without_accounts_the_clients_own_credentials_go_on_and_gateway_keys_never() {
    let (first, second) = (Upstream::ok(), Upstream::ok());
    let gateway = Gateway::echo()
        .auth("strict", &["sk-witgate"])
        .upstream("first", &first, "preset = \"anthropic\"")
        .upstream("second", &second, "preset = \"anthropic\"")
        .start();
    let seen = ask(
        &gateway,
        &[
            ("x-api-key", "sk-witgate"),
            ("authorization", "Bearer sk-own"),
        ],
    );
    seen.has_status(200).has_no_header("x-account-email");
    first
        .last()
        .has_header("authorization", "Bearer sk-own")
        .has_no_header("x-api-key");

    let seen = ask(
        &gateway,
        &[
            ("authorization", "Bearer sk-witgate"),
            ("x-api-key", "sk-own-2"),
        ],
    );
    seen.has_status(200);
    first
        .last()
        .has_header("x-api-key", "sk-own-2")
        .has_no_header("authorization");

    ask(&gateway, &[("x-api-key", "sk-witgate")]).is_error(401, "authentication_error");
    assert_eq!(first.received().len(), 2);
    second.was_not_asked();
}

#[test]
fn the_clients_own_credentials_go_only_to_the_first_upstream() {
    let (first, second) = (Upstream::with(|_| Answer::Reset), Upstream::ok());
    let gateway = Gateway::echo()
        .upstream("first", &first, "preset = \"anthropic\"")
        .upstream("second", &second, "preset = \"anthropic\"")
        .start();
    let seen = ask(&gateway, &[("x-api-key", "sk-own")]);
    seen.is_error(502, "api_error");
    assert!(!first.received().is_empty());
    second.was_not_asked();
}

#[test]
fn account_names_can_be_kept_from_clients() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .top("expose_accounts = false")
        .start();
    ask(&gateway, &[])
        .has_status(200)
        .has_no_header("x-account-email")
        .has_header("x-mapped-model", "claude-opus-5-5");
    let body = HELLO.replacen('{', "{\"stream\":true,", 1);
    gateway
        .message(body)
        .has_status(200)
        .has_no_header("x-account-email");
}

#[test]
fn a_redirect_is_not_followed() {
    let other = Upstream::ok();
    let url = format!("{}/v1/messages", other.url());
    let upstream = Upstream::with(move |_| Answer::json(307, "{}").header("location", &url));
    let gateway = Gateway::to(&upstream).start();
    let seen = ask(&gateway, &[]);
    seen.is_error(502, "api_error");
    other.was_not_asked();
}

#[test]
fn an_answer_that_is_compressed_anyway_is_decoded() {
    // The form that `printf '%s' MESSAGE | gzip` makes, but with stored blocks, which every decoder
    // accepts.
    let packed = gzip_stored(MESSAGE.as_bytes());
    let upstream = Upstream::with(move |_| {
        Answer::whole(200, "application/json", &packed).header("content-encoding", "gzip")
    });
    let gateway = Gateway::to(&upstream).start();
    let seen = ask(&gateway, &[("accept-encoding", "gzip, br")]);
    seen.has_status(200)
        .has_no_header("content-encoding")
        .has_body(MESSAGE);

    let packed = gzip_stored(crate::support::shapes::SSE.as_bytes());
    let upstream = Upstream::with(move |_| {
        Answer::whole(200, "text/event-stream", &packed).header("content-encoding", "gzip")
    });
    let gateway = Gateway::to(&upstream).start();
    let seen = gateway.message(crate::support::shapes::HELLO_STREAM);
    seen.has_status(200)
        .has_no_header("content-encoding")
        .has_body(crate::support::shapes::SSE);
}

#[test]
fn keys_appear_in_no_log_line_and_no_answer() {
    let upstream = Upstream::with(|request| match request.header("x-fail") {
        Some("reset") => Answer::Reset,
        Some("401") => Answer::json(
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
        ),
        _ => Answer::json(200, MESSAGE),
    });
    let gateway = Gateway::preset("anthropic", &upstream)
        .auth("strict", &["sk-gate-secret-1"])
        .log("trace")
        .start();
    let mut answers = String::new();
    for fail in ["", "reset", "401"] {
        for key in ["sk-gate-secret-1", "sk-wrong-secret-2"] {
            let from = gateway.mark();
            let seen = ask(
                &gateway,
                &[
                    ("x-api-key", key),
                    ("authorization", "Bearer sk-own-secret-3"),
                    ("x-fail", fail),
                ],
            );
            answers.push_str(&format!("{:?} {}\n", seen.headers, seen.text()));
            // The last line that an exchange or a rejected request writes.
            gateway.line_from(from, &["INFO witgate::", "status="]);
        }
    }
    let log = gateway.log().join("\n");
    for secret in [
        "sk-gate-secret-1",
        "sk-wrong-secret-2",
        "sk-own-secret-3",
        "sk-of-ada",
    ] {
        assert!(!log.contains(secret), "`{secret}` is in the log:\n{log}");
        assert!(
            !answers.contains(secret),
            "`{secret}` is in an answer:\n{answers}"
        );
    }
}

/// A gzip file of stored blocks.
fn gzip_stored(text: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let count = text.chunks(60_000).count();
    for (at, block) in text.chunks(60_000).enumerate() {
        let length = u16::try_from(block.len()).unwrap();
        out.push(u8::from(at + 1 == count));
        out.write_all(&length.to_le_bytes()).unwrap();
        out.write_all(&(!length).to_le_bytes()).unwrap();
        out.write_all(block).unwrap();
    }
    let mut crc = !0u32;
    for byte in text {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    out.extend((!crc).to_le_bytes());
    out.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    out
}

#[test]
fn only_a_configured_proxy_is_used() {
    let proxy = Upstream::ok();
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .env("HTTP_PROXY", &proxy.url())
        .env("http_proxy", &proxy.url())
        .env("ALL_PROXY", &proxy.url())
        .start();
    ask(&gateway, &[]).has_status(200);
    proxy.was_not_asked();
    assert_eq!(upstream.received().len(), 1);

    let gateway = Gateway::echo()
        .tables(&format!(
            "[[upstream]]\nname = \"far\"\npreset = \"anthropic\"\nbase_url = \"http://far.example/base\"\nproxy = \"{}\"\naccounts = [{{ name = \"ada\", key = \"k\" }}]",
            proxy.url()
        ))
        .start();
    ask(&gateway, &[]).has_status(200);
    let asked = proxy.last();
    assert_eq!(asked.path, "http://far.example/base/v1/messages?beta=true");
    asked.has_header("host", "far.example").has_body(HELLO);
}
