//! A conversation keeps the account that it has, and what is stored at an account stays there.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    rotation::{ask, session},
    support::{
        Answer, Gateway, Received, Upstream,
        shapes::{HELLO, MESSAGE, message},
        strict::{Session, Strict},
    },
};

/// A second request of a conversation that begins with this text.
fn second(begins: &str) -> String {
    message(&format!(
        r#"[{{"role":"user","content":"{begins}"}},{{"role":"assistant","content":"ho"}},{{"role":"user","content":"and?"}}]"#
    ))
}

/// An upstream that refuses the requests with this key and text.
fn limited(key: &'static str, text: &'static str) -> Upstream {
    Upstream::with(move |request: &Received| {
        match request.key() == key && request.text().contains(text) {
            true => Answer::error(429, "rate_limit_error", "slow").header("retry-after", "3600"),
            false => Answer::hello(request),
        }
    })
}

#[test]
fn a_conversation_without_a_session_keeps_its_account_however_busy_that_is() {
    let (held, release) = Answer::later();
    let held = Mutex::new(Some(held));
    let upstream = Upstream::with(move |request: &Received| {
        let held = request
            .text()
            .contains("hi")
            .then(|| held.lock().unwrap().take());
        held.flatten().unwrap_or_else(|| Answer::hello(request))
    });
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .start();
    // The first of two idle accounts.
    gateway.message(message(r#"[{"role":"user","content":"mine"}]"#));
    let pending = gateway.request("POST", "/v1/messages");
    let pending = pending.header("x-api-key", "k").body(HELLO).sent();
    upstream.request(2);
    gateway.message(second("mine")).has_status(200);
    gateway.message(second("another's")).has_status(200);
    upstream.was_asked_as(&["sk-ada", "sk-ada", "sk-ada", "sk-bob"]);
    release.send(Answer::json(200, MESSAGE)).unwrap();
    pending.answer().rest().has_status(200);
}

#[test]
fn a_session_that_had_to_leave_its_account_does_not_return_to_it() {
    let upstream = limited("sk-ada", "limited");
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .start();
    let number = (0..)
        .find(|number| {
            ask(&gateway, &session(*number)).body(HELLO).send();
            upstream.last().key() == "sk-ada"
        })
        .unwrap();
    let ask = || ask(&gateway, &session(number));
    ask()
        .body(message(r#"[{"role":"user","content":"limited"}]"#))
        .send()
        .has_status(200);
    assert_eq!(upstream.last().key(), "sk-bob");
    gateway
        .request("DELETE", "/cooldowns")
        .send()
        .has_status(200);
    ask().body(HELLO).send().has_status(200);
    assert_eq!(
        upstream.last().key(),
        "sk-bob",
        "its cache and its thinking are there now"
    );
}

#[test]
fn a_conversation_moves_within_its_organization_first_and_leaving_it_is_logged() {
    let lines = r#"preset = "anthropic"
accounts = [
    { name = "ada", key = "sk-ada", organization = "red" },
    { name = "bob", key = "sk-bob", organization = "blue" },
    { name = "cyd", key = "sk-cyd", organization = "red" },
]"#;
    // Each refuses one request: the accounts of an organization one after the other.
    let asked = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let refused = move |request: &Received| {
        let turn = asked.iter().zip(["sk-ada", "sk-cyd"]);
        let mut turn = turn.filter(|(_, key)| request.key() == *key);
        let count = turn
            .next()
            .map(|(asked, _)| asked.fetch_add(1, Ordering::Relaxed));
        (count == Some(5))
            .then(|| Answer::error(429, "rate_limit_error", "slow").header("retry-after", "3600"))
    };
    let upstream = Strict::rules()
        .organization("sk-ada", "red")
        .organization("sk-cyd", "red")
        .first(refused)
        .start();
    let gateway = Gateway::echo().upstream("up", &upstream, lines).start();
    let new = || Session::new(gateway.addr).model("claude-sonnet-5-5");
    let mut session = Session::served_with(&upstream, "sk-ada", new);
    let begun = upstream.outcomes().len() - 1;
    session.steps(19);
    let outcomes = &upstream.outcomes()[begun..];
    let mut keys: Vec<&str> = outcomes.iter().map(|outcome| &*outcome.key).collect();
    keys.dedup();
    assert_eq!(keys, ["sk-ada", "sk-cyd", "sk-bob"]);
    // Nothing is lost until the organization is left.
    let bob = outcomes
        .iter()
        .position(|outcome| outcome.key == "sk-bob")
        .unwrap();
    let read: Vec<usize> = outcomes.iter().map(|outcome| outcome.read).collect();
    let expected: Vec<usize> = (0..bob).chain(0..20 - bob).collect();
    assert_eq!(read, expected);
    let breaks = gateway.get("/metrics").text();
    let by_account = r#"witgate_prefix_breaks_total{check="cache",culprit="account"} 1"#;
    assert!(
        breaks.contains(by_account),
        "only leaving it is a break: {breaks}"
    );
    let leaves = "leaves the organization `red`";
    gateway.line(&[leaves, "account=bob", "previous_account=cyd"]);
    let lines = gateway.log();
    let said = lines.iter().filter(|line| line.contains(leaves)).count();
    assert_eq!(said, 1);
}

#[test]
fn a_container_or_a_credit_is_used_at_the_account_of_its_conversation_or_not_at_all() {
    for field in [
        r#""container":"container_01""#,
        r#""container":{"id":"container_01","skills":[]}"#,
        r#""fallback_credit_token":"t""#,
    ] {
        let upstream = limited("sk-ada", "limited");
        let gateway = Gateway::echo()
            .pool("up", &upstream, &["ada", "bob"])
            .start();
        gateway
            .message(message(r#"[{"role":"user","content":"hi"}]"#))
            .has_status(200);
        upstream.was_asked_as(&["sk-ada"]);
        let second = second("hi");
        let with = |what: &str| second.replacen('{', &format!("{{{field},\"{what}\":1,"), 1);
        gateway.message(with("x")).has_status(200);
        assert_eq!(upstream.last().key(), "sk-ada");
        gateway
            .message(with("limited"))
            .is_error(429, "rate_limit_error");
        gateway.message(with("x")).is_error(429, "rate_limit_error");
        assert!(
            !upstream.asked_as().contains(&"sk-bob".to_owned()),
            "{field}"
        );
        // A new container can be anywhere.
        let new = second.replacen('{', r#"{"container":{"skills":[]},"#, 1);
        gateway.message(new).has_status(200);
        assert_eq!(upstream.last().key(), "sk-bob");
    }
}

#[test]
fn a_file_is_used_and_downloaded_at_the_account_that_holds_it() {
    let upstream = Upstream::with(|request: &Received| match &*request.path {
        "/v1/files" => Answer::json(200, r#"{"type":"file","id":"file_01","filename":"a.txt"}"#),
        path if path.starts_with("/v1/files/") => Answer::json(200, r#"{"type":"file"}"#),
        _ => Answer::json(200, MESSAGE),
    });
    let accounts = |first: &str, second: &str| {
        format!(
            "accounts = [{{ name = \"{first}\", key = \"sk-{first}\" }}, {{ name = \"{second}\", key = \"sk-{second}\" }}]"
        )
    };
    let lines = format!("preset = \"anthropic\"\n{}", accounts("ada", "bob"));
    let mut gateway = Gateway::echo().upstream("up", &upstream, &lines).start();
    gateway
        .post("/v1/files", "content")
        .has_body(r#"{"type":"file","id":"file_01","filename":"a.txt"}"#);
    upstream.was_asked_as(&["sk-ada"]);
    let message = message(
        r#"[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_01"}}]}]"#,
    );
    for number in 0..6 {
        ask(&gateway, &session(number))
            .body(&message)
            .send()
            .has_status(200);
        assert_eq!(upstream.last().key(), "sk-ada");
    }
    // Now another account is the first.
    let from = gateway.mark();
    gateway.reconfigure(|builder| {
        builder.replace_tables(&accounts("ada", "bob"), &accounts("bob", "ada"));
    });
    gateway.line_from(from, &["configuration loaded"]);
    gateway.get("/v1/files/file_01/content").has_status(200);
    assert_eq!(upstream.last().key(), "sk-ada");
    gateway.get("/v1/files/file_02").has_status(200);
    assert_eq!(upstream.last().key(), "sk-bob");
    for number in 0..6 {
        ask(&gateway, &session(number))
            .body(&message)
            .send()
            .has_status(200);
        assert_eq!(upstream.last().key(), "sk-ada");
    }
}
