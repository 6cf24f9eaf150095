//! Authentication: every mode, every header, and what a web page may not do.

use crate::support::{Gateway, Reply, Upstream, shapes::HELLO};

const KEYS: &[&str] = &["sk-first", "sk-second"];

/// Posts a message with only these headers.
fn ask(gateway: &Gateway, headers: &[(&str, &str)]) -> Reply {
    let mut request = gateway.request("POST", "/v1/messages").body(HELLO);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.send()
}

#[test]
fn each_header_is_tried_and_each_key_counts() {
    let gateway = Gateway::echo().auth("strict", KEYS).start();
    let right: &[&[(&str, &str)]] = &[
        &[("authorization", "Bearer sk-first")],
        &[("authorization", "bearer sk-second")],
        &[("x-api-key", "sk-first")],
        &[("x-goog-api-key", "sk-second")],
        &[("x-api-key", "wrong"), ("authorization", "Bearer sk-first")],
        &[
            ("authorization", "Bearer wrong"),
            ("x-api-key", "sk-second"),
        ],
        &[("x-api-key", "wrong"), ("x-goog-api-key", "sk-first")],
        &[("x-api-key", "wrong"), ("x-api-key", "sk-first")],
    ];
    for headers in right {
        let seen = ask(&gateway, headers);
        assert_eq!(seen.status, 200, "{headers:?}: {}", seen.text());
    }
    let wrong: &[&[(&str, &str)]] = &[
        &[],
        &[("authorization", "Bearer sk-firs")],
        &[("authorization", "Bearer sk-first1")],
        &[("authorization", "Basic sk-first")],
        &[("authorization", "Bearer ")],
        &[("x-api-key", "")],
        &[("x-api-key", "SK-FIRST")],
        &[("x-other-key", "sk-first")],
    ];
    for headers in wrong {
        let seen = ask(&gateway, headers);
        assert_eq!(seen.status, 401, "{headers:?}: {}", seen.text());
        // Without this header the CLI retries a wrong key for three minutes, which looks like a
        // hang.
        seen.is_error(401, "authentication_error")
            .has_header("x-should-retry", "false");
        seen.has_not("sk-first");
    }
}

#[test]
fn what_each_mode_asks_for() {
    for (mode, health, probe, message) in [
        ("off", 200, 200, 200),
        ("auto", 200, 200, 200),
        ("all-except-health", 200, 200, 401),
        ("strict", 401, 200, 401),
    ] {
        let gateway = Gateway::echo().auth(mode, KEYS).start();
        assert_eq!(gateway.get("/healthz").status, health, "{mode}: /healthz");
        for path in ["/", "/api/hello"] {
            let seen = gateway.request("HEAD", path).send();
            assert!(
                seen.status / 100 == probe / 100,
                "{mode}: HEAD {path} is a {}",
                seen.status
            );
        }
        assert_eq!(ask(&gateway, &[]).status, message, "{mode}: a message");
        assert_eq!(gateway.get("/v1/models").status, message, "{mode}: models");
        assert_eq!(
            gateway.get("/v1/files").status == 401,
            message == 401,
            "{mode}: files"
        );
        assert_eq!(
            ask(&gateway, &[("x-api-key", "sk-first")]).status,
            200,
            "{mode}: with a key"
        );
    }
}

#[test]
fn keys_without_a_mode_are_asked_for_on_a_loopback_address_too() {
    let gateway = Gateway::echo()
        .tables("[auth]\nkeys = [\"sk-first\"]")
        .start();
    ask(&gateway, &[]).is_error(401, "authentication_error");
    ask(&gateway, &[("x-api-key", "sk-first")]).has_status(200);
    gateway.get("/healthz").has_status(200);
    gateway.get("/cooldowns").has_status(401);
}

#[test]
fn keys_that_no_request_needs_are_warned_of() {
    for mode in ["off", "auto"] {
        let checked = Gateway::echo().auth(mode, KEYS).run(&["check"]);
        checked.has_code(0).says(&["warning:", "not required"]);
        let gateway = Gateway::echo().auth(mode, KEYS).start();
        gateway.line(&["WARN", "keys", "not required"]);
    }
}

#[test]
fn auto_wants_a_key_where_others_can_reach_it() {
    let gateway = Gateway::echo()
        .auth("auto", KEYS)
        .arg("--listen")
        .arg("0.0.0.0:0")
        .start();
    gateway.get("/healthz").has_status(200);
    ask(&gateway, &[]).is_error(401, "authentication_error");
    ask(&gateway, &[("x-api-key", "sk-first")]).has_status(200);
}

#[test]
fn without_a_configured_key_every_request_is_rejected_and_the_log_says_so() {
    let gateway = Gateway::echo().auth("strict", &[]).start();
    gateway.line(&["WARN", "key"]);
    for headers in [
        &[][..],
        &[("x-api-key", "")],
        &[("authorization", "Bearer ")],
    ] {
        ask(&gateway, headers).is_error(401, "authentication_error");
    }
    gateway.line(&["request rejected", "status=401", "`auth.keys`"]);
}

#[test]
fn an_empty_key_is_an_error_of_the_configuration() {
    for command in ["check", "serve"] {
        let outcome = Gateway::echo().auth("strict", &[""]).run(&[command]);
        outcome.has_code(3).says(&["witgate.toml:", "auth.keys"]);
    }
}

#[test]
fn a_web_page_cannot_spend_the_keys_of_a_loopback_gateway() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    let port = gateway.addr.port();
    let post = |host: &str, origin: Option<&str>| {
        let mut request = gateway
            .request("POST", "/v1/messages")
            .host(host)
            .body(HELLO);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.send()
    };
    for host in [
        "evil.example",
        "evil.example:8045",
        "127.0.0.1.evil.example",
    ] {
        post(host, None).is_error(403, "permission_error");
    }
    for origin in [
        "https://evil.example",
        "http://localhost.evil.example",
        "null",
    ] {
        post("127.0.0.1", Some(origin)).is_error(403, "permission_error");
    }
    upstream.was_not_asked();
    let local = [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
    ];
    for host in &local {
        post(host, None).has_status(200);
        post(host, Some(&format!("http://{host}"))).has_status(200);
    }
    // A page served by another program on this machine.
    post("localhost", Some("http://localhost:3000")).has_status(200);
    gateway
        .request("GET", "/healthz")
        .host("evil.example")
        .send()
        .is_error(403, "permission_error");
}

#[test]
fn a_container_reaches_its_host_by_name_and_other_names_can_be_allowed() {
    let ask = |gateway: &Gateway, host: &str| {
        let request = gateway.request("POST", "/v1/messages").host(host);
        request.body(HELLO).send()
    };
    let gateway = Gateway::echo().start();
    for host in ["host.docker.internal:8045", "host.containers.internal"] {
        ask(&gateway, host).has_status(200);
    }
    ask(&gateway, "devbox:8045")
        .is_error(403, "permission_error")
        .has("add `devbox` to `hosts`");
    let gateway = Gateway::echo().top("hosts = [\"devbox\"]").start();
    ask(&gateway, "devbox:8045").has_status(200);
    ask(&gateway, "evil.example").is_error(403, "permission_error");
    ask(&gateway, "host.docker.internal").is_error(403, "permission_error");
}

#[test]
fn pages_without_a_web_site_can_be_allowed() {
    let gateway = Gateway::echo()
        .top("cors_origins = [\"null\", \"chrome-extension://abcdef\", \"vscode-webview://*\"]")
        .start();
    let preflight = |origin: &str| {
        gateway
            .request("OPTIONS", "/v1/messages")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .send()
    };
    for origin in ["null", "chrome-extension://abcdef", "vscode-webview://0a1b"] {
        preflight(origin)
            .has_status(204)
            .has_header("access-control-allow-origin", origin);
    }
    for origin in [
        "chrome-extension://other",
        "https://evil.example",
        "file://",
    ] {
        preflight(origin)
            .is_error(403, "permission_error")
            .has("`cors_origins`");
    }
}

#[test]
fn an_image_or_a_form_of_another_site_reaches_no_upstream() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    let ask = |method: &str, site: &str| {
        let request = gateway.request(method, "/v1/files");
        request.header("sec-fetch-site", site).send()
    };
    for method in ["GET", "POST"] {
        ask(method, "cross-site").is_error(403, "permission_error");
    }
    upstream.was_not_asked();
    for site in ["same-origin", "same-site", "none"] {
        ask("GET", site).has_status(200);
    }
}

#[test]
fn the_root_says_what_it_is_in_a_browser() {
    let gateway = Gateway::echo().start();
    let seen = gateway.get("/");
    seen.has_status(200)
        .has_header("content-type", "text/plain; charset=utf-8")
        .has(&format!("http://{}, without /v1", gateway.addr));
    let gateway = Gateway::echo().auth("strict", KEYS).start();
    gateway.get("/").is_error(401, "authentication_error");
}

#[test]
fn a_configured_origin_may_ask() {
    let gateway = Gateway::echo()
        .top("cors_origins = [\"https://desk.example\"]")
        .start();
    let ask = |origin: &str| {
        gateway
            .request("POST", "/v1/messages")
            .header("origin", origin)
            .body(HELLO)
            .send()
    };
    let seen = ask("https://desk.example");
    seen.has_status(200)
        .has_header("access-control-allow-origin", "https://desk.example");
    ask("https://other.example").is_error(403, "permission_error");
    let seen = gateway
        .request("OPTIONS", "/v1/messages")
        .header("origin", "https://desk.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-api-key,content-type")
        .send();
    seen.has_status(204)
        .has_header("access-control-allow-origin", "https://desk.example")
        .has_header("access-control-allow-headers", "x-api-key,content-type");
}

#[test]
fn even_what_a_plugin_would_answer_needs_a_key() {
    let gateway = Gateway::echo().auth("strict", KEYS).start();
    let warmup = HELLO.replace("\"hi\"", "\"Warmup\"");
    let ask = || gateway.request("POST", "/v1/messages").body(&warmup);
    let seen = ask().send();
    seen.is_error(401, "authentication_error")
        .has_no_header("x-warmup-intercepted");
    let seen = ask().header("x-api-key", "sk-first").send();
    seen.has_status(200)
        .has_header("x-warmup-intercepted", "true");
}
