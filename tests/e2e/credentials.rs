//! Credentials from a token endpoint or a command: fetched early, once for all waiting requests,
//! and again after a rejection.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::{
    rotation::{ask, hello, session},
    support::{
        Answer, Gateway, Received, Upstream,
        gateway::Builder,
        shapes::{HELLO, HELLO_STREAM},
    },
};

/// A token endpoint that issues `token-1`, `token-2` and so on, each valid for `expires_in`
/// seconds.
fn tokens(expires_in: u64) -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::with(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        Answer::json(
            200,
            &format!(
                r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":{expires_in},"refresh_token":"refresh-{number}"}}"#
            ),
        )
    })
}

fn with_oauth(upstream: &Upstream, endpoint: &Upstream, more: &str) -> Builder {
    Gateway::echo().upstream(
        "up",
        upstream,
        &format!(
            "preset = \"anthropic\"\nauth = \"bearer\"\naccounts = [{{ name = \"ada\", oauth2 = {{ token_url = \"{}/token\", client_id = \"witgate-test\", refresh_token = \"refresh-0\", scopes = [\"one\", \"two\"] }} }}{more}]",
            endpoint.url()
        ),
    )
}

/// An upstream that accepts only these tokens.
fn only(good: &'static [&'static str]) -> Upstream {
    Upstream::with(move |request: &Received| {
        if good.contains(&request.key().as_str()) {
            Answer::hello(request)
        } else {
            Answer::error(401, "authentication_error", "invalid bearer token")
        }
    })
}

#[test]
fn a_refresh_token_is_traded_once_and_its_token_used_while_it_is_good() {
    let (upstream, endpoint) = (only(&["token-1"]), tokens(3600));
    let gateway = with_oauth(&upstream, &endpoint, "").start();
    endpoint.was_not_asked();
    for body in [HELLO, HELLO_STREAM] {
        ask(&gateway, &session(1)).body(body).send().has_status(200);
    }
    upstream.was_asked_as(&["token-1", "token-1"]);
    let asked = endpoint.received();
    assert_eq!(asked.len(), 1);
    asked[0].has_header("content-type", "application/x-www-form-urlencoded");
    for word in [
        "grant_type=refresh_token",
        "refresh_token=refresh-0",
        "scope=one+two",
    ] {
        assert!(asked[0].text().contains(word), "{}", asked[0].text());
    }
    for secret in ["token-1", "refresh-0", "refresh-1"] {
        gateway.has_no_line(&[secret]);
    }
}

#[test]
fn all_who_wait_for_a_token_share_one_refresh() {
    let (later, say) = Answer::later();
    let endpoint = Upstream::script([later]);
    let upstream = only(&["shared"]);
    let gateway = with_oauth(&upstream, &endpoint, "").start();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|number| {
                let gateway = &gateway;
                scope.spawn(move || hello(gateway, &session(number)))
            })
            .collect();
        endpoint.request(1);
        say.send(Answer::json(
            200,
            r#"{"access_token":"shared","token_type":"Bearer","expires_in":3600}"#,
        ))
        .unwrap();
        for seen in all {
            seen.join().unwrap().has_status(200);
        }
    });
    assert_eq!(endpoint.received().len(), 1);
    assert_eq!(upstream.received().len(), 8);
}

#[test]
fn a_token_is_refreshed_before_it_ends_and_with_the_latest_refresh_token() {
    let lifetime = Duration::from_secs(2);
    let (upstream, endpoint) = (Upstream::with(Answer::hello), tokens(lifetime.as_secs()));
    let gateway = with_oauth(&upstream, &endpoint, "").start();
    crate::assert_eventually!(
        {
            hello(&gateway, &session(1)).has_status(200);
            endpoint.received().len() >= 2
        },
        "the token is refreshed"
    );
    let asked = endpoint.received();
    let apart = asked[1].at - asked[0].at;
    assert!(
        apart < lifetime,
        "not refreshed before it expired: {apart:?}"
    );
    assert!(apart > lifetime / 2, "far too early: {apart:?}");
    assert!(
        asked[1].text().contains("refresh_token=refresh-1"),
        "{}",
        asked[1].text()
    );
}

#[test]
fn a_rejected_token_is_refreshed_once_before_failover_to_another_account() {
    let endpoint = tokens(3600);
    let upstream = only(&["token-2"]);
    let gateway = with_oauth(&upstream, &endpoint, "").start();
    hello(&gateway, &session(1)).has_status(200);
    upstream.was_asked_as(&["token-1", "token-2"]);
    assert_eq!(endpoint.received().len(), 2);

    let endpoint = tokens(3600);
    let upstream = only(&["sk-bob"]);
    let gateway = with_oauth(
        &upstream,
        &endpoint,
        ", { name = \"bob\", key = \"sk-bob\" }",
    )
    .start();
    for number in 0..8 {
        hello(&gateway, &session(number)).has_status(200);
    }
    let keys = upstream.asked_as();
    let made = keys.iter().filter(|key| key.starts_with("token")).count();
    assert_eq!(made, 2, "one fresh token is tried, and no more: {keys:?}");
    assert_eq!(endpoint.received().len(), 2);
}

#[test]
fn a_token_endpoint_that_fails_is_a_failure_of_that_account_only() {
    for answer in [
        || Answer::json(400, r#"{"error":"invalid_grant"}"#),
        || Answer::whole(200, "text/html", "<html>"),
        || Answer::Reset,
    ] {
        let endpoint = Upstream::with(move |_| answer());
        let upstream = only(&["sk-bob"]);
        let gateway = with_oauth(
            &upstream,
            &endpoint,
            ", { name = \"bob\", key = \"sk-bob\" }",
        )
        .start();
        for number in 0..6 {
            hello(&gateway, &session(number)).has_status(200);
        }
        let alone = with_oauth(&upstream, &endpoint, "")
            .retry("max_cooldown_wait = \"0s\"")
            .start();
        let seen = hello(&alone, &session(1));
        assert!(matches!(seen.status, 502 | 503), "{}", seen.text());
        assert_eq!(seen.json()["type"], "error");
        seen.has_not("refresh-0");
        alone.has_no_line(&["refresh-0"]);
    }
}

/// A script that prints `key-1`, `key-2` and so on, and records each call in a file.
const COMMAND: &str =
    "#!/bin/sh\necho called >> calls\necho \"key-$(wc -l < calls | tr -d ' ')\"\n";

fn with_command(upstream: &Upstream, ttl: &str, more: &str) -> Builder {
    Gateway::echo()
        .upstream(
            "up",
            upstream,
            &format!(
                "preset = \"anthropic\"\naccounts = [{{ name = \"ada\", command = \"sh helper.sh\", ttl = \"{ttl}\" }}{more}]"
            ),
        )
        .file("helper.sh", COMMAND)
}

fn calls(gateway: &Gateway) -> usize {
    std::fs::read_to_string(gateway.dir.path().join("calls"))
        .map_or(0, |calls| calls.lines().count())
}

#[test]
fn a_command_prints_a_key_that_is_kept_for_its_time() {
    let upstream = only(&["key-1"]);
    let gateway = with_command(&upstream, "5m", "").start();
    for number in 0..4 {
        hello(&gateway, &session(number)).has_status(200);
    }
    assert_eq!(calls(&gateway), 1);
    gateway.has_no_line(&["key-1"]);

    let upstream = Upstream::with(Answer::hello);
    let gateway = with_command(&upstream, "300ms", "").start();
    hello(&gateway, &session(1)).has_status(200);
    crate::assert_eventually!(
        {
            hello(&gateway, &session(1)).has_status(200);
            calls(&gateway) >= 2
        },
        "the expired key is replaced"
    );
}

#[test]
fn a_rejected_key_of_a_command_is_fetched_once_more() {
    let upstream = only(&["key-2"]);
    let gateway = with_command(&upstream, "5m", "").start();
    hello(&gateway, &session(1)).has_status(200);
    upstream.was_asked_as(&["key-1", "key-2"]);
    assert_eq!(calls(&gateway), 2);
}

#[test]
fn a_command_that_fails_is_a_failure_of_that_account_only() {
    let upstream = only(&["sk-bob"]);
    let gateway = with_command(&upstream, "5m", ", { name = \"bob\", key = \"sk-bob\" }")
        .file("helper.sh", "echo what-it-said-of-secrets; exit 3\n")
        .start();
    for number in 0..6 {
        hello(&gateway, &session(number)).has_status(200);
    }
    gateway.has_no_line(&["what-it-said-of-secrets"]);
    assert!(upstream.asked_as().iter().all(|key| key == "sk-bob"));
}

#[test]
fn a_command_that_hangs_holds_up_no_other_account() {
    let upstream = only(&["sk-bob"]);
    let gateway = with_command(&upstream, "5m", ", { name = \"bob\", key = \"sk-bob\" }")
        .file(
            "helper.sh",
            "echo called >> calls\nexec tail -f /dev/null\n",
        )
        .start();
    let stuck = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO)
        .sent();
    crate::assert_eventually!(calls(&gateway) == 1, "the command runs");
    // The least loaded account is bob now.
    for _ in 0..3 {
        gateway.message(HELLO).has_status(200);
    }
    drop(stuck);
}
