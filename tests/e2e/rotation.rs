//! Account selection: a session stays with its account, sessions spread over accounts, and accounts
//! on cooldown are skipped.

use std::collections::BTreeSet;

use crate::support::{
    Answer, Gateway, Reply, Request, Upstream,
    shapes::{HELLO, HELLO_STREAM},
};

const THREE: [&str; 3] = ["ada", "bob", "cyd"];

/// Session ids as clients make them.
pub(crate) fn session(number: usize) -> String {
    format!("7c0d6f6e-0000-4000-8000-{number:012}")
}

pub(crate) fn ask(gateway: &Gateway, session: &str) -> Request {
    gateway
        .request("POST", "/v1/messages")
        .header("content-type", "application/json")
        .header("x-api-key", "sk-witgate")
        .header("x-claude-code-session-id", session)
}

#[track_caller]
pub(crate) fn hello(gateway: &Gateway, session: &str) -> Reply {
    ask(gateway, session).body(HELLO).send()
}

/// The message with this `metadata.user_id`, a JSON text.
fn by(user_id: &str) -> String {
    let user_id = serde_json::to_string(user_id).unwrap();
    HELLO.replacen(
        '{',
        &format!("{{\"metadata\":{{\"user_id\":{user_id}}},"),
        1,
    )
}

#[test]
fn a_session_keeps_its_account_however_its_id_is_sent() {
    let upstream = Upstream::with(Answer::hello);
    let gateway = Gateway::echo().pool("up", &upstream, &THREE).start();
    for number in 0..6 {
        let id = session(number);
        let before = upstream.received().len();
        for _ in 0..2 {
            hello(&gateway, &id).has_status(200);
            ask(&gateway, &id).body(HELLO_STREAM).send().has_status(200);
            // Claude Code sends JSON text; older versions sent one composed word.
            let json = format!(r#"{{"device_id":"00","account_uuid":"","session_id":"{id}"}}"#);
            gateway.message(by(&json)).has_status(200);
            let word = format!("user_{}_account__session_{id}", "0".repeat(64));
            gateway.message(by(&word)).has_status(200);
        }
        let keys: BTreeSet<String> = upstream.asked_as().drain(before..).collect();
        assert_eq!(keys.len(), 1, "session {id} used {keys:?}");
    }
}

#[test]
fn sessions_spread_over_the_accounts() {
    let upstream = Upstream::with(Answer::hello);
    let gateway = Gateway::echo().pool("up", &upstream, &THREE).start();
    for number in 0..30 {
        hello(&gateway, &session(number)).has_status(200);
    }
    let keys = upstream.asked_as();
    for account in THREE {
        let share = keys
            .iter()
            .filter(|key| **key == format!("sk-{account}"))
            .count();
        assert!((3..=20).contains(&share), "{account} had {share} of 30");
    }
}

#[test]
fn without_a_session_the_least_loaded_account_is_used_whatever_the_text() {
    let mut says = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..3 {
        let (answer, say) = Answer::later();
        answers.push(answer);
        says.push(say);
    }
    let upstream = Upstream::script(answers);
    let gateway = Gateway::echo().pool("up", &upstream, &THREE).start();
    // The same text three times at once: three conversations that happen to begin alike.
    let pending: Vec<_> = (1..=3)
        .map(|count| {
            let pending = gateway
                .request("POST", "/v1/messages")
                .header("x-api-key", "k")
                .body(HELLO)
                .sent();
            upstream.request(count);
            pending
        })
        .collect();
    let keys: BTreeSet<String> = upstream.asked_as().into_iter().collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    for say in says {
        say.send(Answer::json(200, crate::support::shapes::MESSAGE))
            .unwrap();
    }
    for pending in pending {
        pending.answer().rest().has_status(200);
    }
}

#[test]
fn an_account_is_not_used_during_its_cooldown() {
    let upstream = Upstream::with(|request| match request.key().as_str() {
        "sk-ada" => Answer::status(429).header("retry-after", "60"),
        _ => Answer::hello(request),
    });
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .start();
    let ids: Vec<String> = (0..12).map(session).collect();
    for id in &ids {
        hello(&gateway, id).has_status(200);
    }
    let keys = upstream.asked_as();
    let as_ada = keys.iter().filter(|key| *key == "sk-ada").count();
    assert_eq!(as_ada, 1, "used during its cooldown: {keys:?}");
}

#[test]
fn upstreams_of_a_route_are_tried_in_order() {
    let first = Upstream::with(|_| Answer::status(529).header("retry-after", "60"));
    let second = Upstream::with(|_| Answer::status(503).header("retry-after", "60"));
    let third = Upstream::with(Answer::hello);
    let gateway = Gateway::echo()
        .pool("first", &first, &["ada"])
        .pool("second", &second, &["bob"])
        .pool("third", &third, &["cyd"])
        .route("*", &["first", "second/glm-4.7", "third"])
        .start();
    let seen = hello(&gateway, &session(1));
    seen.has_status(200).has_header("x-account-email", "cyd");
    first.was_asked_as(&["sk-ada"]);
    second.was_asked_as(&["sk-bob"]);
    third.was_asked_as(&["sk-cyd"]);
    assert_eq!(first.last().json()["model"], "claude-opus-5-5");
    assert_eq!(second.last().json()["model"], "glm-4.7");
    third.last().has_body(HELLO);
    assert!(first.last().at <= second.last().at && second.last().at <= third.last().at);

    // Accounts on cooldown are not used at all.
    hello(&gateway, &session(1)).has_status(200);
    assert_eq!((first.received().len(), second.received().len()), (1, 1));
}

#[test]
fn accounts_of_one_upstream_are_used_before_the_next_upstream() {
    let first = Upstream::with(|_| Answer::status(529).header("retry-after", "60"));
    let second = Upstream::with(Answer::hello);
    let gateway = Gateway::echo()
        .pool("first", &first, &["ada", "bob"])
        .pool("second", &second, &["cyd"])
        .start();
    hello(&gateway, &session(1)).has_status(200);
    let mut keys = first.asked_as();
    keys.sort();
    assert_eq!(keys, ["sk-ada", "sk-bob"]);
    second.was_asked_as(&["sk-cyd"]);
}
