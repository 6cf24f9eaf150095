//! Retries: what is retried, on which account or upstream, and what the client reads when nothing
//! is left.

use std::{net::TcpListener, time::Duration};

use crate::{
    rotation::{ask, hello, session},
    support::{
        Answer, Gateway, Upstream, each,
        shapes::{EVENTS, HELLO, HELLO_STREAM, MESSAGE, SSE},
    },
};

/// Makes a response; each one can be sent only once.
type Make = fn() -> Answer;

/// A response by name, with the status that the client gets if it ended the last attempt.
pub(crate) type Case = (&'static str, u16, Make);

/// Transient failures: another account is used at once, and the client notices nothing.
pub(crate) const TRANSIENT: [Case; 21] = [
    ("408", 408, || Answer::status(408)),
    ("425", 425, || Answer::status(425)),
    ("429", 429, || Answer::status(429)),
    ("500", 500, || Answer::status(500)),
    ("502", 502, || Answer::status(502)),
    ("503", 503, || Answer::status(503)),
    ("504", 504, || Answer::status(504)),
    ("529", 529, || Answer::status(529)),
    ("a 503 of a proxy", 503, || {
        Answer::whole(503, "text/html", "<html>down</html>")
    }),
    ("reset before the head", 502, || Answer::Reset),
    ("reset after the head", 502, || {
        Answer::ResetAfter(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"id\""
                .to_vec(),
        )
    }),
    ("closed within the head", 502, || {
        Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-ty".to_vec())
    }),
    ("an empty 200", 502, || Answer::json(200, "")),
    ("a 200 that is HTML", 502, || {
        Answer::whole(200, "text/html", "<html>log in</html>")
    }),
    ("truncated JSON", 502, || {
        Answer::Raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"id\":\"msg"
                .to_vec(),
        )
    }),
    ("JSON that ends too early", 502, || {
        Answer::json(200, &MESSAGE[..MESSAGE.len() - 9])
    }),
    ("an error in a 200", 529, || {
        Answer::json(
            200,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
        )
    }),
    ("an empty object", 502, || Answer::json(200, "{}")),
    ("JSON that is not a message", 502, || {
        Answer::json(200, r#"{"code":500,"msg":"404 NOT_FOUND","success":false}"#)
    }),
    ("an error of another shape in a 200", 500, || {
        Answer::json(200, r#"{"error":{"message":"quota exceeded"}}"#)
    }),
    ("an error of another shape with a status", 429, || {
        Answer::json(200, r#"{"error":{"message":"slow down","code":429}}"#)
    }),
];

/// Transient failures before a stream's first event.
pub(crate) const TRANSIENT_STREAMS: [Case; 7] = [
    ("an empty stream", 502, || Answer::sse("")),
    ("only pings and comments", 502, || {
        Answer::sse(": hello\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n")
    }),
    ("an error event first", 529, || {
        Answer::sse(
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n",
        )
    }),
    ("an error of another shape first", 500, || {
        Answer::sse("data: {\"error\":{\"message\":\"quota exceeded\"}}\n\ndata: [DONE]\n\n")
    }),
    (
        "an error of another shape without a line break",
        500,
        || Answer::sse("data: {\"error\":{\"message\":\"quota exceeded\"}}"),
    ),
    ("a stream of another protocol", 502, || {
        Answer::sse("data: {\"choices\":[]}\n\ndata: [DONE]\n\n")
    }),
    ("a first event cut short", 502, || {
        Answer::Raw(
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 5000\r\n\r\n{}",
                &SSE[..40]
            )
            .into_bytes(),
        )
    }),
];

/// Statuses that are the request's own fault, so nothing is retried.
const FINAL: [u16; 5] = [400, 404, 409, 413, 422];

/// The URL of a server that does not exist.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn transient_failures_are_retried_at_once_on_another_account() {
    for body in [HELLO, HELLO_STREAM] {
        let streams = if body == HELLO_STREAM {
            &TRANSIENT_STREAMS[..]
        } else {
            &[]
        };
        let cases = TRANSIENT.iter().chain(streams);
        each(cases.map(|(name, _, answer)| (name, answer)), |answer| {
            let upstream = Upstream::script_for(vec![answer()], Answer::hello);
            let gateway = Gateway::echo()
                .pool("up", &upstream, &["ada", "bob"])
                .start();
            let seen = ask(&gateway, &session(1)).body(body).send();
            seen.has_status(200)
                .has_body(if body == HELLO { MESSAGE } else { SSE });
            let asked = upstream.received();
            assert_eq!(asked.len(), 2);
            assert_ne!(asked[0].key(), asked[1].key());
            for request in asked {
                request.has_body(body);
            }
        });
    }
}

#[test]
fn transient_failures_are_retried_with_a_single_account_too() {
    // At the first failure no cooldown is longer than the default `max_cooldown_wait`.
    for (name, _, answer) in [TRANSIENT[3], TRANSIENT[7], TRANSIENT[9], TRANSIENT[12]] {
        let upstream = Upstream::script([answer()]);
        let gateway = Gateway::echo().pool("up", &upstream, &["ada"]).start();
        let seen = hello(&gateway, &session(1));
        assert_eq!(seen.status, 200, "{name}: {}", seen.text());
        upstream.was_asked_as(&["sk-ada", "sk-ada"]);
        if name.parse::<u16>().is_ok() {
            let tried = format!("up/ada {name}, up/ada 200");
            seen.has_header("x-witgate-attempts", &tried);
        }
    }
}

#[test]
fn what_is_the_requests_own_fault_is_final() {
    each(FINAL.map(|status| (status, status)), |status| {
        let upstream = Upstream::with(move |_| {
            Answer::error(status, "invalid_request_error", "no").header("request-id", "req_up")
        });
        let other = Upstream::with(Answer::hello);
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada", "bob"])
            .pool("other", &other, &["cyd"])
            .start();
        for body in [HELLO, HELLO_STREAM] {
            ask(&gateway, &session(1))
                .body(body)
                .send()
                .has_status(status)
                .has_header("request-id", "req_up");
        }
        assert_eq!(upstream.received().len(), 2);
        other.was_not_asked();
    });
}

#[test]
fn a_model_that_an_upstream_lacks_is_asked_for_along_the_route() {
    let missing = |_: &crate::support::Received| {
        Answer::error(404, "not_found_error", "model: claude-opus-5-5")
    };
    let first = Upstream::with(missing);
    let second = Upstream::with(Answer::hello);
    let gateway = Gateway::echo()
        .pool("first", &first, &["ada", "bob"])
        .pool("second", &second, &["cyd"])
        .start();
    for body in [HELLO, HELLO_STREAM] {
        ask(&gateway, &session(1)).body(body).send().has_status(200);
    }
    // The first upstream's other account does not have the model either.
    assert_eq!((first.received().len(), second.received().len()), (2, 2));

    let gateway = Gateway::echo()
        .pool("first", &first, &["ada", "bob"])
        .start();
    hello(&gateway, &session(1))
        .is_error(404, "not_found_error")
        .has("model: claude-opus-5-5");
    assert_eq!(first.received().len(), 3);
}

#[test]
fn an_error_in_the_envelope_passes_unmodified_whatever_it_quotes() {
    let message = "context_length_exceeded_behavior: Extra inputs are not permitted";
    let upstream = Upstream::with(move |_| Answer::error(400, "invalid_request_error", message));
    let gateway = Gateway::echo().pool("up", &upstream, &["ada"]).start();
    for body in [HELLO, HELLO_STREAM] {
        let from = gateway.mark();
        let seen = ask(&gateway, &session(1)).body(body).send();
        seen.has_status(400)
            .has(&format!("\"message\":\"{message}\""));
        // The record has the reason.
        let record = gateway.record(from);
        assert!(record.contains(message), "{record}");
    }
}

#[test]
fn an_unreachable_upstream_fails_over_to_the_next() {
    let plain = Upstream::with(Answer::hello);
    // Connection refused, name not found, and no TLS where TLS was expected.
    let tls = plain.url().replace("http:", "https:");
    let gone = [closed(), "http://nowhere.invalid".to_owned(), tls];
    each(gone.map(|gone| (gone.clone(), gone)), |gone| {
        let other = Upstream::with(Answer::hello);
        let gateway = Gateway::echo()
            .tables(&format!("[[upstream]]\nname = \"gone\"\npreset = \"anthropic\"\nbase_url = \"{gone}\"\naccounts = [{{ name = \"ada\", key = \"k\" }}, {{ name = \"bob\", key = \"l\" }}]"))
            .pool("other", &other, &["cyd"])
            .start();
        for body in [HELLO, HELLO_STREAM] {
            ask(&gateway, &session(1)).body(body).send().has_status(200);
        }
        assert_eq!(other.received().len(), 2);

        let gateway = Gateway::echo()
            .tables(&format!("[[upstream]]\nname = \"gone\"\npreset = \"anthropic\"\nbase_url = \"{gone}\"\naccounts = [{{ name = \"ada\", key = \"k\" }}]"))
            .retry("max_cooldown_wait = \"0s\"")
            .start();
        hello(&gateway, &session(1))
            .is_error(502, "api_error")
            .has("`gone`");
    });
}

#[test]
fn attempts_are_counted_over_accounts_and_upstreams() {
    let first = Upstream::with(|_| Answer::status(529));
    let second = Upstream::with(|_| Answer::status(529));
    for (attempts, asked) in [(1, 1), (2, 2), (3, 3)] {
        let gateway = Gateway::echo()
            .pool("first", &first, &["ada", "bob"])
            .pool("second", &second, &["cyd", "dan"])
            .retry(&format!("max_attempts = {attempts}"))
            .start();
        let before = first.received().len() + second.received().len();
        hello(&gateway, &session(1)).has_status(529);
        assert_eq!(
            first.received().len() + second.received().len() - before,
            asked
        );
    }
}

#[test]
fn a_short_rate_limit_is_waited_out_by_the_same_account() {
    let upstream = Upstream::script([Answer::status(429).header("retry-after-ms", "300")]);
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .start();
    hello(&gateway, &session(1)).has_status(200);
    let asked = upstream.received();
    assert_eq!(
        asked[0].key(),
        asked[1].key(),
        "the prompt cache belongs to this account"
    );
    let waited = asked[1].at - asked[0].at;
    assert!(waited >= Duration::from_millis(295), "{waited:?}");
}

#[test]
fn the_client_reads_what_was_tried() {
    let upstream = Upstream::with(|request| match request.key().as_str() {
        "sk-ada" => Answer::status(503),
        _ => Answer::error(529, "overloaded_error", "busy"),
    });
    let other = Upstream::with(|_| Answer::error(529, "overloaded_error", "busy"));
    for (expose, body) in [
        (true, HELLO),
        (true, HELLO_STREAM),
        (false, HELLO),
        (false, HELLO_STREAM),
    ] {
        let gateway = Gateway::echo()
            .top(&format!("expose_accounts = {expose}"))
            .pool("up", &upstream, &["ada", "bob"])
            .pool("other", &other, &["cyd"])
            .start();
        let seen = ask(&gateway, &session(1)).body(body).send();
        // The last error, unmodified.
        seen.is_error(529, "overloaded_error").has("busy");
        let tried = seen.header("x-witgate-attempts").unwrap_or_default();
        for word in ["up", "other", "503", "529"] {
            assert!(tried.contains(word), "no `{word}` in `{tried}`");
        }
        for account in ["ada", "bob", "cyd"] {
            assert_eq!(tried.contains(account), expose, "{account} in `{tried}`");
        }
    }
}

#[test]
fn errors_of_the_upstream_pass_with_their_words_and_headers() {
    let long = r#"{"type":"error", "error":{"type":"invalid_request_error","message":"prompt is too long: 208310 tokens > 200000 maximum"},"request_id":"req_011"}"#;
    let upstream = Upstream::with(move |_| {
        Answer::json(400, long)
            .header("request-id", "req_011")
            .header("anthropic-ratelimit-tokens-remaining", "7")
            .header("anthropic-organization-id", "org_1")
    });
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .start();
    for body in [HELLO, HELLO_STREAM] {
        let seen = ask(&gateway, &session(1)).body(body).send();
        seen.has_status(400)
            .has_body(long)
            .has_header("request-id", "req_011")
            .has_header("anthropic-ratelimit-tokens-remaining", "7")
            .has_header("anthropic-organization-id", "org_1");
    }
    assert_eq!(upstream.received().len(), 2, "no other account is used");
}

#[test]
fn a_prompt_too_long_keeps_its_words_in_every_shape() {
    let words = "prompt is too long: 208310 tokens > 200000 maximum";
    for body in [
        format!("{{\"error\":{{\"message\":\"{words}\"}}}}"),
        words.to_owned(),
    ] {
        let sent = body.clone();
        let upstream = Upstream::with(move |_| Answer::whole(400, "text/plain", &sent));
        let gateway = Gateway::echo().pool("up", &upstream, &["ada"]).start();
        hello(&gateway, &session(1))
            .is_error(400, "invalid_request_error")
            .has(words);
        assert_eq!(upstream.received().len(), 1);
    }
}

#[test]
fn clients_are_not_asked_to_retry_what_cannot_help() {
    // These are the gateway's own rejections; an upstream's error passes unmodified.
    let upstream = Upstream::with(|_| Answer::status(401));
    let gateway = Gateway::echo()
        .top("body_limit = \"64KiB\"")
        .pool("up", &upstream, &["ada"])
        .start();
    for (body, status) in [
        (vec![b'x'; 200_000], 413),
        (b"[]".to_vec(), 400),
        (HELLO.as_bytes().to_vec(), 502),
    ] {
        let seen = gateway.message(&body);
        seen.has_status(status)
            .has_header("x-should-retry", "false");
    }
    let busy = Upstream::with(|_| Answer::status(529));
    let gateway = Gateway::echo().pool("up", &busy, &["ada"]).start();
    hello(&gateway, &session(1))
        .has_status(529)
        .has_no_header("x-should-retry");
}

#[test]
fn a_silent_upstream_fails_over_to_another() {
    for body in [HELLO, HELLO_STREAM] {
        let (silent, gone) = Answer::hang();
        let upstream = Upstream::script_for(vec![silent], Answer::hello);
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada", "bob"])
            .retry("first_event = \"300ms\"\nanswer = \"300ms\"")
            .start();
        let seen = ask(&gateway, &session(1)).body(body).send();
        seen.has_status(200);
        gone.wait(Duration::from_secs(5));
        let asked = upstream.received();
        assert_ne!(asked[0].key(), asked[1].key());
        assert!(asked[1].at - asked[0].at >= Duration::from_millis(295));
    }
    // A head alone is not a response, and pings do not count as events.
    let (answer, writer) = Answer::streamed();
    let upstream = Upstream::script_for(vec![answer], Answer::hello);
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .retry("first_event = \"400ms\"")
        .start();
    let pending = ask(&gateway, &session(1)).body(HELLO_STREAM).sent();
    upstream.request(1);
    writer.write("event: ping\ndata: {\"type\":\"ping\"}\n\n");
    writer.write(": still here\n\n");
    let seen = pending.answer().rest();
    seen.has_status(200).has(EVENTS[0]).has("message_stop");
    writer.was_left(Duration::from_secs(5));
    assert_eq!(upstream.received().len(), 2);

    // With no upstream left, the client reads what happened.
    let (silent, _gone) = Answer::hang();
    let upstream = Upstream::script([silent]);
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada"])
        .retry("answer = \"200ms\"\nmax_attempts = 1")
        .start();
    hello(&gateway, &session(1)).is_error(504, "timeout_error");
}
