//! Cooldowns: when they start, for how long and for which model. Neither a probe nor a client's own
//! mistake starts one.

use std::time::{Duration, SystemTime};

use crate::{
    rotation::{ask, hello, session},
    support::{
        Answer, Gateway, Received, Upstream,
        shapes::{HELLO, HELLO_STREAM, MESSAGE},
    },
};

/// Retry settings under which an exchange fails at once if all accounts are on cooldown.
const IMPATIENT: &str = "max_cooldown_wait = \"0s\"\nsame_account_wait = \"0s\"";

/// `Sun, 06 Nov 1994 08:49:37 GMT`, for a time this far ahead.
fn http_date(ahead: Duration) -> String {
    let when = SystemTime::now() + ahead;
    let days = when
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        / 86_400;
    let day = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][usize::try_from(days % 7).unwrap()];
    let text = rfc3339(ahead);
    let (date, time) = text.trim_end_matches('Z').split_once('T').unwrap();
    let parts: Vec<&str> = date.split('-').collect();
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months[parts[1].parse::<usize>().unwrap() - 1];
    format!("{day}, {} {month} {} {time} GMT", parts[2], parts[0])
}

fn rfc3339(ahead: Duration) -> String {
    humantime::format_rfc3339_seconds(SystemTime::now() + ahead).to_string()
}

fn retry_after(gateway: &Gateway, id: &str) -> u64 {
    let seen = hello(gateway, id);
    seen.is_error(429, "rate_limit_error");
    seen.header("retry-after")
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no Retry-After in {:?}", seen.headers))
}

#[test]
fn a_cooldown_lasts_as_long_as_the_upstream_says_in_every_form() {
    let minute = Duration::from_secs(60);
    let ways: [(&str, &str, String); 5] = [
        ("seconds", "retry-after", "60".to_owned()),
        ("a date", "retry-after", http_date(minute)),
        ("milliseconds", "retry-after-ms", "60000".to_owned()),
        (
            "requests",
            "anthropic-ratelimit-requests-reset",
            rfc3339(minute),
        ),
        (
            "tokens",
            "anthropic-ratelimit-input-tokens-reset",
            rfc3339(minute),
        ),
    ];
    for (name, header, value) in ways {
        let remaining = header.replace("-reset", "-remaining");
        let upstream = Upstream::with(move |_| {
            let answer = Answer::error(429, "rate_limit_error", "slow down").header(header, &value);
            if remaining == header {
                answer
            } else {
                answer.header(&remaining, "0")
            }
        });
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada", "bob"])
            .retry(IMPATIENT)
            .start();
        // Each account is used once, and then both are on cooldown.
        hello(&gateway, &session(1)).has_status(429);
        assert_eq!(upstream.received().len(), 2, "{name}");
        let wait = retry_after(&gateway, &session(1));
        assert!((50..=61).contains(&wait), "{name}: {wait}");
        assert_eq!(
            upstream.received().len(),
            2,
            "{name}: used during its cooldown"
        );
    }
}

#[test]
fn the_shortest_cooldown_is_the_clients_retry_after() {
    let upstream = Upstream::with(|request| {
        let wait = if request.key() == "sk-ada" {
            "500"
        } else {
            "40"
        };
        Answer::status(429).header("retry-after", wait)
    });
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .retry(IMPATIENT)
        .start();
    hello(&gateway, &session(1)).has_status(429);
    let wait = retry_after(&gateway, &session(1));
    assert!((30..=41).contains(&wait), "{wait}");
}

#[test]
fn a_short_cooldown_of_all_accounts_is_waited_for() {
    let upstream = Upstream::script([
        Answer::status(429).header("retry-after-ms", "900"),
        Answer::status(429).header("retry-after-ms", "700"),
    ]);
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .retry("max_cooldown_wait = \"5s\"\nsame_account_wait = \"0s\"")
        .start();
    hello(&gateway, &session(1)).has_status(200);
    let asked = upstream.received();
    assert_eq!(asked.len(), 3);
    // The account with the shorter cooldown, and not before its end.
    assert_eq!(asked[2].key(), asked[1].key());
    let waited = asked[2].at - asked[1].at;
    assert!(waited >= Duration::from_millis(690), "{waited:?}");
}

#[test]
fn a_cooldown_is_for_one_model() {
    let upstream = Upstream::with(|request| {
        if request.text().contains("claude-opus") {
            Answer::status(429).header("retry-after", "60")
        } else {
            Answer::hello(request)
        }
    });
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada"])
        .retry(IMPATIENT)
        .start();
    hello(&gateway, &session(1)).has_status(429);
    let other = HELLO.replace("claude-opus-5-5", "claude-haiku-5-5");
    ask(&gateway, &session(1))
        .body(other)
        .send()
        .has_status(200);
    assert!(retry_after(&gateway, &session(1)) > 30);
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn a_probe_or_a_mistake_of_the_client_starts_no_cooldown() {
    let probe = HELLO.replace("\"max_tokens\":16", "\"max_tokens\":1");
    for (status, body) in [
        (429, &*probe),
        (529, &probe),
        (400, HELLO),
        (413, HELLO),
        (404, HELLO),
    ] {
        let upstream = Upstream::script([Answer::status(status).header("retry-after", "60")]);
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada"])
            .retry(&format!("{IMPATIENT}\nmax_attempts = 1"))
            .start();
        ask(&gateway, &session(1))
            .body(body)
            .send()
            .has_status(status);
        hello(&gateway, &session(1)).has_status(200);
        upstream.was_asked_as(&["sk-ada", "sk-ada"]);
    }
}

#[test]
fn cooldowns_without_a_stated_time_grow_and_a_success_resets_them() {
    // The upstream fails twice, succeeds, and fails once more.
    let upstream = Upstream::script([
        Answer::status(500),
        Answer::status(500),
        Answer::json(200, crate::support::shapes::MESSAGE),
        Answer::status(500),
    ]);
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada"])
        .retry("max_cooldown_wait = \"60s\"\nsame_account_wait = \"0s\"\nmax_attempts = 1")
        .start();
    for status in [500, 500, 200, 500, 200] {
        hello(&gateway, &session(1)).has_status(status);
    }
    let asked = upstream.received();
    let gap = |number: usize| asked[number].at - asked[number - 1].at;
    assert!(gap(1) >= Duration::from_millis(500), "{:?}", gap(1));
    assert!(gap(2) > gap(1), "{:?}, then {:?}", gap(1), gap(2));
    assert!(gap(3) < Duration::from_millis(500), "{:?}", gap(3));
    assert!(gap(4) < gap(2), "{:?} after a success", gap(4));
}

#[test]
fn a_rejected_account_is_on_cooldown_until_its_credential_changes() {
    for status in [401, 403] {
        let upstream = Upstream::with(move |request: &Received| match request.key().as_str() {
            "sk-ada" => Answer::error(status, "authentication_error", "invalid x-api-key"),
            _ => Answer::hello(request),
        });
        let mut gateway = Gateway::echo()
            .pool("up", &upstream, &["ada", "bob"])
            .start();
        // Over twelve sessions ada is used once, and no client notices the rejection.
        for number in 0..12 {
            hello(&gateway, &session(number)).has_status(200);
        }
        let as_ada = |upstream: &Upstream, key: &str| {
            let keys = upstream.asked_as();
            keys.iter().filter(|other| *other == key).count()
        };
        assert_eq!(as_ada(&upstream, "sk-ada"), 1);
        // The line says what to do and for which account, and never has the key.
        let line = gateway.line(&["ada", "credential"]);
        assert!(line.contains("WARN") || line.contains("ERROR"), "{line}");
        gateway.has_no_line(&["sk-ada"]);

        let from = gateway.mark();
        gateway.reconfigure(|builder| builder.replace_tables("sk-ada", "sk-new"));
        gateway.line_from(from, &["configuration loaded"]);
        // Sessions that moved stay where they are; new ones use it.
        for number in 12..24 {
            hello(&gateway, &session(number)).has_status(200);
        }
        assert!(
            as_ada(&upstream, "sk-new") >= 2,
            "{:?}",
            upstream.asked_as()
        );
    }
}

#[test]
fn the_last_rejected_credential_is_an_error_of_the_gateway() {
    for body in [HELLO, HELLO_STREAM] {
        let upstream =
            Upstream::with(|_| Answer::error(401, "authentication_error", "invalid x-api-key"));
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada", "bob"])
            .start();
        ask(&gateway, &session(1))
            .body(body)
            .send()
            .is_error(502, "api_error")
            .has("invalid x-api-key")
            .has_header("x-should-retry", "false");
        // One exchange disables one account, the next one the other. After that nothing is sent: it
        // is not the client's login that failed, and waiting would not help.
        for asked in [3, 3] {
            ask(&gateway, &session(1))
                .body(body)
                .send()
                .is_error(502, "api_error")
                .has_header("x-should-retry", "false");
            assert_eq!(upstream.received().len(), asked);
        }
    }
}

#[test]
fn a_403_about_the_request_starts_no_cooldown() {
    let page = "<html><title>WAF Block Page</title><body>Request blocked</body></html>";
    let refusal = |message: &'static str| Answer::error(403, "permission_error", message);
    let moderated = "Your input was flagged: your account has been suspended";
    let model = "Your API key does not have permission to use the specified resource.";
    type Make = Box<dyn Fn() -> Answer + Send + Sync>;
    let cases: [(&str, Make); 3] = [
        (
            "WAF Block Page",
            Box::new(move || Answer::whole(403, "text/html", page)),
        ),
        (moderated, Box::new(move || refusal(moderated))),
        (model, Box::new(move || refusal(model))),
    ];
    for (cause, answer) in cases {
        let upstream = Upstream::with(move |request: &Received| {
            if request.text().contains("forbidden words") {
                answer()
            } else {
                Answer::hello(request)
            }
        });
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada", "bob"])
            .start();
        for body in [HELLO, HELLO_STREAM] {
            ask(&gateway, &session(1))
                .body(body.replace("hi", "forbidden words"))
                .send()
                .is_error(403, "permission_error")
                .has(cause)
                .has_not("credential");
            hello(&gateway, &session(1)).has_status(200);
        }
        // Each request went to the session's account, once.
        let asked = upstream.asked_as();
        assert_eq!(asked.len(), 4, "{cause}");
        assert!(asked.iter().all(|key| *key == asked[0]), "{asked:?}");
        gateway.has_no_line(&["WARN", "credential"]);
    }
}

#[test]
fn a_403_about_the_account_fails_over_to_the_next_one() {
    let message = "OAuth authentication is currently not allowed for this organization.";
    let upstream = Upstream::with(move |request: &Received| match request.key().as_str() {
        "sk-ada" => Answer::error(403, "permission_error", message),
        _ => Answer::hello(request),
    });
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .start();
    for number in 0..12 {
        hello(&gateway, &session(number)).has_status(200);
    }
    let asked = upstream.asked_as();
    let as_ada = asked.iter().filter(|key| *key == "sk-ada").count();
    assert_eq!(as_ada, 1, "{asked:?}");
}

/// Errors of an account that cannot pay.
const OUT_OF_CREDIT: [(u16, &str, &str); 5] = [
    (
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API.",
    ),
    (
        400,
        "invalid_request_error",
        "You're out of extra usage. Add more and keep going.",
    ),
    (402, "billing_error", "Your account has insufficient funds."),
    (402, "invalid_request_error", "Pay the bill."),
    (403, "permission_error", "Insufficient balance"),
];

#[test]
fn an_account_that_cannot_pay_or_is_disabled_fails_over_to_the_next_one() {
    let disabled = (
        400,
        "invalid_request_error",
        "This organization has been disabled.",
    );
    for (status, kind, message) in OUT_OF_CREDIT.into_iter().chain([disabled]) {
        let upstream = Upstream::with(move |request: &Received| match request.key().as_str() {
            "sk-ada" => Answer::error(status, kind, message),
            _ => Answer::hello(request),
        });
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada", "bob"])
            .start();
        for number in 0..8 {
            let body = if number % 2 == 0 { HELLO } else { HELLO_STREAM };
            ask(&gateway, &session(number))
                .body(body)
                .send()
                .has_status(200);
        }
        let asked = upstream.asked_as();
        let as_ada = asked.iter().filter(|key| *key == "sk-ada").count();
        assert_eq!(as_ada, 1, "{message}: {asked:?}");
        gateway.line(&["WARN", "account=ada", "account is on cooldown"]);
    }
}

#[test]
fn a_lack_of_credit_is_about_one_model_and_one_account_of_an_exchange() {
    let upstream = Upstream::with(|request: &Received| {
        if request.text().contains("claude-opus") {
            Answer::error(402, "billing_error", "Pay the bill.")
        } else {
            Answer::hello(request)
        }
    });
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob", "cyd"])
        .start();
    // All three are asked, and one of them goes on cooldown.
    hello(&gateway, &session(1)).is_error(402, "billing_error");
    assert_eq!(upstream.received().len(), 3);
    hello(&gateway, &session(1)).is_error(402, "billing_error");
    assert_eq!(upstream.received().len(), 5);
    let other = HELLO.replace("claude-opus-5-5", "claude-haiku-5-5");
    for number in 0..6 {
        ask(&gateway, &session(number))
            .body(&other)
            .send()
            .has_status(200);
    }
}

#[test]
fn a_single_account_without_credit_is_asked_again_and_the_client_reads_the_cause() {
    for (status, kind, message) in OUT_OF_CREDIT {
        let upstream = Upstream::script([
            Answer::error(status, kind, message),
            Answer::error(status, kind, message),
        ]);
        let gateway = Gateway::echo().pool("up", &upstream, &["ada"]).start();
        for _ in 0..2 {
            hello(&gateway, &session(1))
                .is_error(status, kind)
                .has(message);
        }
        // The bill is paid.
        hello(&gateway, &session(1)).has_status(200);
    }
}

#[test]
fn a_client_that_finds_all_accounts_on_cooldown_reads_why_and_for_how_long() {
    let upstream = Upstream::with(|_| {
        Answer::error(429, "rate_limit_error", "the weekly limit").header("retry-after", "561635")
    });
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .retry(IMPATIENT)
        .start();
    hello(&gateway, &session(1)).has_status(429);
    let seen = hello(&gateway, &session(1));
    seen.is_error(429, "rate_limit_error")
        .has("all 2 accounts of `up` are on cooldown")
        .has("available in 6days 12h")
        .has("429 rate_limit_error: the weekly limit");

    let upstream = Upstream::with(|_| Answer::error(402, "billing_error", "Pay the bill."));
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .retry(IMPATIENT)
        .start();
    for _ in 0..2 {
        hello(&gateway, &session(1)).is_error(402, "billing_error");
    }
    let asked = upstream.received().len();
    let seen = hello(&gateway, &session(1));
    seen.is_error(402, "billing_error")
        .has("on cooldown")
        .has("Pay the bill.");
    assert_eq!(upstream.received().len(), asked);
}

#[test]
fn a_rejected_count_or_probe_starts_no_cooldown() {
    let probe = HELLO.replace("\"max_tokens\":16", "\"max_tokens\":1");
    let not_enabled = "count_tokens endpoint is not enabled for this channel.";
    for (status, kind, message) in [
        (401, "authentication_error", "invalid x-api-key"),
        (403, "permission_error", not_enabled),
        (
            403,
            "permission_error",
            "This organization has been disabled.",
        ),
    ] {
        for (path, body) in [
            ("/v1/messages/count_tokens", HELLO),
            ("/v1/messages", &*probe),
        ] {
            let refused = probe.clone();
            let upstream = Upstream::with(move |request: &Received| {
                if request.path.contains("count_tokens") || request.text() == refused {
                    Answer::error(status, kind, message)
                } else {
                    Answer::hello(request)
                }
            });
            let gateway = Gateway::echo()
                .pool("up", &upstream, &["ada", "bob"])
                .start();
            for number in 0..4 {
                gateway.post(path, body).has(message);
                hello(&gateway, &session(number)).has_status(200);
            }
            gateway.has_no_line(&["WARN", "credential"]);
        }
    }
}

#[test]
fn cooldowns_outlive_a_reload() {
    let upstream = Upstream::with(|_| Answer::status(429).header("retry-after", "60"));
    let mut gateway = Gateway::echo()
        .pool("up", &upstream, &["ada"])
        .retry(IMPATIENT)
        .start();
    hello(&gateway, &session(1)).has_status(429);
    let from = gateway.mark();
    gateway.reconfigure(|builder| builder.replace_top("drain = \"20s\""));
    gateway.line_from(from, &["configuration loaded"]);
    assert!(retry_after(&gateway, &session(1)) > 30);
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_client_that_disconnected_waits_for_no_cooldown() {
    // Longer than any wait in these tests.
    let upstream = Upstream::script([Answer::status(429).header("retry-after", "600")]);
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada"])
        .retry("same_account_wait = \"0s\"\nmax_cooldown_wait = \"900s\"")
        .start();
    let from = gateway.mark();
    let pending = ask(&gateway, &session(1)).body(HELLO).sent();
    upstream.request(1);
    drop(pending);
    gateway.record(from);
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_cooldown_can_be_ended_by_hand() {
    let upstream = Upstream::script([
        Answer::error(429, "rate_limit_error", "weekly limit").header("retry-after", "561635"),
        Answer::json(200, MESSAGE),
    ]);
    let gateway = Gateway::echo().pool("up", &upstream, &["ada"]).start();
    gateway.message(HELLO).has_status(429);
    gateway.message(HELLO).has_status(429);
    let list = gateway.get("/cooldowns").has_status(200).json();
    let cooldown = &list["cooldowns"][0];
    assert_eq!(
        (&cooldown["upstream"], &cooldown["account"]),
        (&"up".into(), &"ada".into())
    );
    assert_eq!(cooldown["model"], "claude-opus-5-5");
    assert!(
        cooldown["seconds"].as_u64().unwrap() > 500_000,
        "{cooldown}"
    );
    let end = |query: &str| {
        let path = format!("/cooldowns{query}");
        gateway
            .request("DELETE", &path)
            .send()
            .has_status(200)
            .json()["ended"]
            .clone()
    };
    assert_eq!(end("?account=bob"), 0);
    assert_eq!(end("?upstream=up&account=ada"), 1);
    gateway.message(HELLO).has_status(200);
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn a_limit_that_is_not_exhausted_is_no_reason_for_a_long_cooldown() {
    let in_hours = std::time::SystemTime::now() + std::time::Duration::from_secs(9000);
    let reset = in_hours
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .to_string();
    let upstream = Upstream::with(move |_| {
        Answer::error(429, "rate_limit_error", "Extra usage is required")
            .header("anthropic-ratelimit-unified-status", "allowed")
            .header("anthropic-ratelimit-unified-reset", &reset)
            .header("anthropic-ratelimit-unified-5h-status", "allowed")
            .header("anthropic-ratelimit-unified-5h-reset", &reset)
            .header("anthropic-ratelimit-unified-5h-utilization", "0.12")
    });
    let gateway = Gateway::echo().pool("up", &upstream, &["ada"]).start();
    gateway.message(HELLO).has_status(429);
    let list = gateway.get("/cooldowns").has_status(200).json();
    for cooldown in list["cooldowns"].as_array().unwrap() {
        assert!(cooldown["seconds"].as_u64().unwrap() < 60, "{cooldown}");
    }
}
