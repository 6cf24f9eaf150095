//! Routes that are forwarded without plugins: credentials, lengths, batches and the log.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use crate::support::{Answer, Gateway, Upstream};

const BATCH: &str = r#"{"id":"msgbatch_1","type":"message_batch","results_url":"https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"}"#;

#[test]
fn results_of_a_batch_are_read_through_the_gateway() {
    let upstream = Upstream::with(|request| match &*request.path {
        "/v1/messages/batches/msgbatch_1/results" => {
            Answer::whole(200, "application/x-jsonl", "{\"custom_id\":\"a\"}\n")
        }
        "/v1/messages/batches?limit=1" => {
            Answer::json(200, &format!(r#"{{"data":[{BATCH}],"has_more":false}}"#))
        }
        _ => Answer::json(200, BATCH),
    });
    let gateway = Gateway::to(&upstream).start();
    let base = format!("http://{}", gateway.addr);
    let ours = format!("{base}/v1/messages/batches/msgbatch_1/results");
    for (method, path, at) in [
        ("POST", "/v1/messages/batches", "/results_url"),
        (
            "POST",
            "/v1/messages/batches/msgbatch_1/cancel",
            "/results_url",
        ),
        ("GET", "/v1/messages/batches/msgbatch_1", "/results_url"),
        ("GET", "/v1/messages/batches?limit=1", "/data/0/results_url"),
    ] {
        let seen = gateway.request(method, path).send();
        assert_eq!(
            seen.has_status(200).json().pointer(at).unwrap(),
            &*ours,
            "{method} {path}"
        );
    }
    gateway
        .get(ours.strip_prefix(&base).unwrap())
        .has_status(200)
        .has_body("{\"custom_id\":\"a\"}\n");
    assert!(
        upstream
            .received()
            .iter()
            .all(|request| request.key() == "sk-of-ada")
    );

    let proxied = gateway
        .request("GET", "/v1/messages/batches/msgbatch_1")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "gate.example")
        .send();
    proxied.has("\"https://gate.example/v1/messages/batches/msgbatch_1/results\"");
}

#[test]
fn a_rejected_credential_of_the_gateway_is_a_502() {
    let invalid = |_: &_| Answer::error(401, "authentication_error", "invalid x-api-key");
    let upstream = Upstream::with(invalid);
    let gateway = Gateway::to(&upstream).start();
    gateway
        .get("/v1/files")
        .is_error(502, "api_error")
        .has("rejected the credential that this gateway holds")
        .has("invalid x-api-key")
        .has_header("x-should-retry", "false");
    // The client's own credential is the client's own matter.
    let gateway = Gateway::echo()
        .upstream("up", &upstream, "preset = \"anthropic\"")
        .start();
    let seen = gateway
        .request("GET", "/v1/files")
        .header("x-api-key", "sk-own");
    seen.send().is_error(401, "authentication_error");
}

#[test]
fn an_upstreams_error_passes_unmodified_and_its_reason_is_in_the_log() {
    let upstream = Upstream::with(|_| {
        Answer::error(404, "not_found_error", "no file f_1").header("x-up", "1")
    });
    let gateway = Gateway::to(&upstream).start();
    let from = gateway.mark();
    gateway
        .get("/v1/files/f_1")
        .is_error(404, "not_found_error")
        .has_header("x-up", "1");
    let record = gateway.record(from);
    for part in ["status=404", "ending=error", "no file f_1"] {
        assert!(record.contains(part), "no `{part}` in {record}");
    }
}

#[test]
fn head_is_complete_and_has_the_length() {
    let upstream = Upstream::with(|request| match &*request.method {
        "HEAD" => Answer::Raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 12345\r\n\r\n"
                .to_vec(),
        ),
        _ => Answer::whole(200, "text/plain", "12345"),
    });
    let gateway = Gateway::to(&upstream).start();
    let from = gateway.mark();
    let head = gateway.request("HEAD", "/v1/files/f_1/content").send();
    head.has_status(200).has_header("content-length", "12345");
    let record = gateway.record(from);
    for part in [
        "ending=complete",
        "method=HEAD",
        "path=/v1/files/f_1/content",
    ] {
        assert!(record.contains(part), "no `{part}` in {record}");
    }
    gateway
        .get("/v1/files/f_1/content")
        .has_body("12345")
        .has_header("content-length", "5")
        .has_no_header("transfer-encoding");
}

#[test]
fn a_request_without_a_body_has_a_length_where_its_method_needs_one() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    gateway
        .request("POST", "/v1/messages/batches/b_1/cancel")
        .send()
        .has_status(200);
    upstream.last().has_header("content-length", "0");
    gateway.get("/v1/files").has_status(200);
    upstream.last().has_no_header("content-length");
}

#[test]
fn a_redirect_is_not_for_the_client_to_follow() {
    let upstream = Upstream::with(|_| {
        Answer::json(302, "{}").header("location", "https://other.test/v1/files?signature=s")
    });
    let gateway = Gateway::to(&upstream).start();
    for path in ["/v1/files", "/v1/messages"] {
        let method = if path == "/v1/files" { "GET" } else { "POST" };
        gateway
            .request(method, path)
            .body(crate::support::shapes::HELLO)
            .send()
            .is_error(502, "api_error")
            .has("https://other.test/v1/files`")
            .has_not("signature")
            .has_no_header("location");
    }
}

#[test]
fn a_key_that_the_upstream_repeats_is_hidden_from_client_and_log() {
    let error =
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"no: sk-of-ada"}}"#;
    let upstream = Upstream::with(move |request| match &*request.path {
        "/v1/files/f_1/content" => {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(error.as_bytes()).unwrap();
            Answer::whole(400, "application/json", gzip.finish().unwrap())
                .header("content-encoding", "gzip")
        }
        "/v1/files/f_2/content" => Answer::whole(400, "application/json", "sk-of-ada, as br")
            .header("content-encoding", "br"),
        "/v1/skills" => Answer::json(401, error),
        _ => Answer::json(400, error).header("x-seen", "Bearer sk-of-ada"),
    });
    let gateway = Gateway::to(&upstream).log("debug").start();
    for (method, path, status) in [
        ("POST", "/v1/messages", 400),
        ("GET", "/v1/files", 400),
        ("GET", "/v1/files/f_1/content", 400),
        ("GET", "/v1/files/f_2/content", 400),
        ("GET", "/v1/skills", 502),
    ] {
        let from = gateway.mark();
        let seen = gateway
            .request(method, path)
            .body(crate::support::shapes::HELLO)
            .send();
        seen.has_status(status).has_not("sk-of-ada");
        assert!(
            !format!("{:?}", seen.headers).contains("sk-of-ada"),
            "{path}"
        );
        assert!(
            path.contains("f_2") || seen.text().contains("no: [secret]"),
            "{path}"
        );
        gateway.record(from);
    }
    gateway.has_no_line(&["sk-of-ada"]);
}
