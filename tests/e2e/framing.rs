//! Framing of edited bodies: shorter, longer or replaced, they arrive whole over HTTP/1.1 and
//! HTTP/2.

use crate::support::{
    Answer, Gateway, Upstream, component, h2,
    shapes::{HELLO, HELLO_STREAM, MESSAGE, SSE, corpus},
};

/// New bodies, and the settings that make the guest write them.
fn edits() -> Vec<(&'static str, String)> {
    vec![
        ("cut to almost nothing", "x".to_owned()),
        ("longer", "long ".repeat(60_000)),
        ("shorter", "a".repeat(700)),
        ("as long as before", "b".repeat(1_000)),
    ]
}

#[test]
fn edited_bodies_arrive_whole_over_both_versions() {
    let text = "y".repeat(1_000);
    let body = HELLO.replace("\"hi\"", &format!("\"{text}\""));
    for (name, put) in edits() {
        let wanted = body.replace(&text, &put);
        let plain = Upstream::ok();
        let tls = h2::TlsUpstream::with(&["h2", "http/1.1"], |_| Answer::json(200, MESSAGE));
        let old = h2::TlsUpstream::with(&["http/1.1"], |_| Answer::json(200, MESSAGE));
        let settings = format!(
            "[plugin.tagger]\nsettings = {{ patch = [{{ op = \"replace\", path = \"/messages/0/content\", value = \"{put}\" }}] }}"
        );
        let to_plain = Gateway::to(&plain)
            .plugin("50-tagger.wasm", component("tagger"))
            .tables(&settings)
            .start();
        for seen in [
            to_plain.message(&body),
            h2::post(to_plain.addr, "/v1/messages", &[], &body),
        ] {
            assert_eq!(seen.status, 200, "{name}: {}", seen.text());
            plain
                .last()
                .has_body(&wanted)
                .has_header("content-length", &wanted.len().to_string());
        }
        for (upstream, version) in [
            (&tls, http::Version::HTTP_2),
            (&old, http::Version::HTTP_11),
        ] {
            let gateway = Gateway::echo()
                .tables(&format!(
                    "[[upstream]]\nname = \"tls\"\npreset = \"anthropic\"\nbase_url = \"{}\"\nca_file = {:?}\naccounts = [{{ name = \"ada\", key = \"k\" }}]",
                    upstream.url(),
                    upstream.ca_file()
                ))
                .plugin("50-tagger.wasm", component("tagger"))
                .tables(&settings)
                .start();
            for seen in [
                gateway.message(&body),
                h2::post(gateway.addr, "/v1/messages", &[], &body),
            ] {
                assert_eq!(seen.status, 200, "{name}: {}", seen.text());
                seen.has_body(MESSAGE);
                let (arrived, spoken) = upstream.received().pop().unwrap();
                arrived.has_body(&wanted);
                assert_eq!(spoken, version, "{name}");
            }
        }
    }
}

#[test]
fn an_upstream_with_an_unknown_certificate_is_not_trusted() {
    let tls = h2::TlsUpstream::with(&["h2"], |_| Answer::json(200, MESSAGE));
    let gateway = Gateway::echo()
        .tables(&format!(
            "[[upstream]]\nname = \"tls\"\npreset = \"anthropic\"\nbase_url = \"{}\"\naccounts = [{{ name = \"ada\", key = \"k\" }}]",
            tls.url()
        ))
        .start();
    let seen = gateway.message(HELLO);
    seen.is_error(502, "api_error");
    assert!(tls.received().is_empty());
}

#[test]
fn the_corpus_arrives_byte_for_byte_over_http_2() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    for shape in corpus() {
        h2::post(gateway.addr, "/v1/messages", &[], &shape.body)
            .has_status(200)
            .has_body(MESSAGE);
        upstream.last().has_body(&shape.body);
    }
}

#[test]
fn answers_are_the_same_over_http_2() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    let seen = h2::post(gateway.addr, "/v1/messages", &[], HELLO_STREAM);
    seen.has_status(200)
        .has_body(SSE)
        .has_no_header("connection")
        .has_no_header("transfer-encoding");
    h2::post(gateway.addr, "/v1/v1/messages", &[], HELLO).is_error(404, "not_found_error");
}
