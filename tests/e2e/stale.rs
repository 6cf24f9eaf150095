//! Connections that the upstream closed while they were idle, and responses that are compressed
//! although they do not say so.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use flate2::{Compression, write::GzEncoder};

use crate::{
    rotation::{hello, session},
    support::{
        Answer, Gateway, Upstream, h2,
        shapes::{HELLO, HELLO_STREAM, MESSAGE, SSE},
    },
};

/// An upstream that answers each connection's first request, and closes it at the second.
fn closes_reused_connections(how: fn() -> Answer) -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::with(move |request| match count.fetch_add(1, Ordering::SeqCst) {
        1 => how(),
        _ => Answer::hello(request),
    })
}

#[test]
fn a_request_on_a_stale_connection_is_sent_again_with_the_same_account_and_no_cooldown() {
    for how in [|| Answer::Reset, || Answer::Raw(Vec::new())] {
        let upstream = closes_reused_connections(how);
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada", "bob"])
            .start();
        for _ in 0..3 {
            hello(&gateway, &session(1))
                .has_status(200)
                .has_no_header("x-witgate-attempts");
        }
        let keys = upstream.asked_as();
        assert_eq!(keys.len(), 4, "{keys:?}");
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        gateway.get("/cooldowns").has_body("{\"cooldowns\":[]}");
    }
}

#[test]
fn a_short_passthrough_request_is_sent_again_too() {
    for (method, body) in [("GET", ""), ("POST", HELLO)] {
        let upstream = closes_reused_connections(|| Answer::Reset);
        let gateway = Gateway::to(&upstream).start();
        for _ in 0..2 {
            gateway
                .request(method, "/v1/files")
                .body(body)
                .send()
                .has_status(200);
        }
        assert_eq!(upstream.received().len(), 3);
        upstream.last().has_body(body);
    }
}

#[test]
fn a_request_that_http2_gives_back_is_sent_again_with_the_same_account_and_no_cooldown() {
    use h2::Fate::{GoAwayAfter, GoAwayBefore, Refused};
    for fate in [GoAwayBefore, GoAwayAfter, Refused] {
        for passthrough in [false, true] {
            let count = Arc::new(AtomicUsize::new(0));
            let upstream = h2::TlsUpstream::fails_the_second(fate, MESSAGE, Arc::clone(&count));
            let gateway = Gateway::echo()
                .tables(&format!(
                    "[[upstream]]\nname = \"up\"\npreset = \"anthropic\"\nbase_url = \"{}\"\nca_file = {:?}\naccounts = [{{ name = \"ada\", key = \"a\" }}, {{ name = \"bob\", key = \"b\" }}]",
                    upstream.url(),
                    upstream.ca_file(),
                ))
                .start();
            let ask = || match passthrough {
                true => gateway.post("/v1/files", HELLO),
                false => hello(&gateway, &session(1)),
            };
            let accounts: Vec<_> = (0..3)
                .map(|_| {
                    let seen = ask();
                    seen.has_status(200).has_no_header("x-witgate-attempts");
                    seen.header("x-account-email").unwrap().to_owned()
                })
                .collect();
            let what = format!("{fate:?}, passthrough: {passthrough}");
            assert_eq!(count.load(Ordering::SeqCst), 4, "{what}");
            assert!(accounts.iter().all(|name| *name == accounts[0]), "{what}");
            gateway.get("/cooldowns").has_body("{\"cooldowns\":[]}");
        }
    }
}

#[test]
fn a_new_connection_that_is_closed_is_a_failed_attempt() {
    let upstream = Upstream::script([Answer::Reset, Answer::json(200, MESSAGE)]);
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .start();
    hello(&gateway, &session(1)).has_status(200);
    let keys = upstream.asked_as();
    assert_ne!(keys[0], keys[1], "the other account is used");
}

#[test]
fn an_unlabelled_or_oddly_labelled_gzip_is_decoded() {
    let compress = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    for label in [None, Some("x-gzip"), Some("GZip"), Some("gzip"), Some("")] {
        let upstream = Upstream::with(move |request| {
            let stream = request.text().contains("\"stream\":true");
            let answer = match stream {
                true => Answer::whole(200, "text/event-stream", compress(SSE)),
                false => Answer::whole(200, "application/json", compress(MESSAGE)),
            };
            match label {
                Some(label) => answer.header("content-encoding", label),
                None => answer,
            }
        });
        let gateway = Gateway::to(&upstream).start();
        gateway
            .message(HELLO)
            .has_status(200)
            .has_body(MESSAGE)
            .has_no_header("content-encoding");
        gateway.message(HELLO_STREAM).has_status(200).has_body(SSE);
    }
}

#[test]
fn an_unknown_certificate_authority_is_one_attempt_and_the_error_says_what_to_do() {
    let upstream = h2::TlsUpstream::with(&["http/1.1"], |_| Answer::json(200, MESSAGE));
    let gateway = Gateway::echo()
        .tables(&format!(
            "[[upstream]]\nname = \"tls\"\npreset = \"anthropic\"\nbase_url = \"{}\"\naccounts = [{{ name = \"ada\", key = \"k\" }}]",
            upstream.url()
        ))
        .start();
    let seen = gateway.message(HELLO);
    seen.is_error(502, "api_error").has("`ca_file`");
    seen.has_no_header("retry-after");
    let record = gateway.record(0);
    assert!(record.contains("attempts=1 "), "{record}");
}

#[test]
fn a_server_without_tls_at_an_https_url_is_one_attempt_with_a_hint() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    // The thread ends with the test process.
    thread::spawn(move || {
        for socket in listener.incoming() {
            // The other side may have disconnected.
            let _ = socket
                .unwrap()
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let gateway = Gateway::echo()
        .tables(&format!(
            "[[upstream]]\nname = \"plain\"\npreset = \"anthropic\"\nbase_url = \"https://{addr}\"\naccounts = [{{ name = \"ada\", key = \"k\" }}]"
        ))
        .start();
    gateway
        .message(HELLO)
        .is_error(502, "api_error")
        .has("http://");
    let record = gateway.record(0);
    assert!(record.contains("attempts=1 "), "{record}");
}

#[test]
fn a_proxy_that_refuses_is_one_attempt_and_is_named() {
    for (status, words) in [
        ("407 Proxy Authentication Required", "password"),
        ("403 Forbidden", "proxy"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        // The thread ends with the test process.
        thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let mut buffer = [0; 1024];
                // The other side may have disconnected.
                let _ = socket.read(&mut buffer);
                let _ = write!(socket, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            }
        });
        let gateway = Gateway::echo()
            .tables(&format!(
                "[[upstream]]\nname = \"far\"\npreset = \"anthropic\"\nbase_url = \"https://api.example.test\"\nproxy = \"http://{addr}\"\naccounts = [{{ name = \"ada\", key = \"k\" }}]"
            ))
            .start();
        gateway.message(HELLO).is_error(502, "api_error").has(words);
        let record = gateway.record(0);
        assert!(record.contains("attempts=1 "), "{record}");
    }
}
