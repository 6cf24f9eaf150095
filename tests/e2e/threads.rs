//! Message threads stay where they began: with one account of one upstream.

use crate::{
    rotation::{ask, session},
    support::{
        Answer, Gateway, Received, Reply, Upstream,
        shapes::{MESSAGE, SSE},
    },
};

/// Answers with message ids that contain the key.
fn maker(request: &Received) -> Answer {
    let id = format!("msg_of_{}", request.key());
    if request.text().contains("\"stream\":true") {
        Answer::sse(&SSE.replace("msg_01", &id))
    } else {
        Answer::json(200, &MESSAGE.replace("msg_01", &id))
    }
}

fn thread(thread: &str, stream: bool) -> String {
    format!(
        r#"{{"model":"claude-opus-5-5","max_tokens":16,"messages":[{{"role":"user","content":"hi"}}],"thread":{thread},"stream":{stream}}}"#
    )
}

fn go_on(gateway: &Gateway, id: &str, before: &str, stream: bool) -> Reply {
    let thread = thread(
        &format!(r#"{{"type":"continue","previous_message_id":"{before}"}}"#),
        stream,
    );
    ask(gateway, id).body(thread).send()
}

fn id_of(seen: &Reply) -> String {
    let text = seen.text();
    let at = text.find("msg_of_").unwrap_or_else(|| panic!("{text}"));
    text[at..].chars().take_while(|c| *c != '"').collect()
}

#[test]
fn a_thread_goes_to_the_account_that_made_its_last_message() {
    let upstream = Upstream::with(maker);
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob", "cyd"])
        .start();
    for stream in [false, true] {
        for number in 0..8 {
            let begun = ask(&gateway, &session(number))
                .body(thread(r#"{"type":"create"}"#, stream))
                .send();
            begun.has_status(200);
            let id = id_of(&begun);
            // In another session, in another shape: the message decides.
            for other in [session(number + 50), session(number + 80)] {
                go_on(&gateway, &other, &id, !stream).has_status(200);
                assert_eq!(format!("msg_of_{}", upstream.last().key()), id);
            }
        }
    }
}

#[test]
fn a_thread_whose_account_cannot_go_on_is_not_found() {
    let upstream = Upstream::with(|request| {
        if request.text().contains("previous_message_id") {
            Answer::status(429).header("retry-after", "60")
        } else {
            maker(request)
        }
    });
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .start();
    let begun = ask(&gateway, &session(1))
        .body(thread(r#"{"type":"create"}"#, false))
        .send();
    let id = id_of(&begun);
    // In round 0 the account's response starts its cooldown; in round 1 it is on cooldown.
    for round in 0..2 {
        let seen = go_on(&gateway, &session(1), &id, false);
        seen.is_error(404, "not_found_error");
        let error = seen.json()["error"].clone();
        assert_eq!(
            error["details"]["error_code"], "thread_not_found",
            "round {round}: {error}"
        );
    }
    let as_other = upstream
        .received()
        .iter()
        .filter(|request| format!("msg_of_{}", request.key()) != id)
        .count();
    assert_eq!(
        as_other, 0,
        "another account was used for a thread that it does not have"
    );
    // The client sends its history again, and that goes to any available account.
    ask(&gateway, &session(1))
        .body(thread(r#"{"type":"create"}"#, false))
        .send()
        .has_status(200);
}

#[test]
fn a_thread_of_unknown_origin_is_the_upstreams_to_judge() {
    let upstream = Upstream::with(maker);
    let gateway = Gateway::echo().pool("up", &upstream, &["ada"]).start();
    // The thread may have begun before the gateway started: with one account it can only be there.
    let seen = go_on(&gateway, &session(1), "msg_from_before", false);
    seen.has_status(200);
    assert_eq!(upstream.received().len(), 1);

    // With two accounts it could be either, so the client has to send its history.
    let gateway = Gateway::echo()
        .pool("up", &upstream, &["ada", "bob"])
        .start();
    let seen = go_on(&gateway, &session(1), "msg_from_before", false);
    seen.is_error(404, "not_found_error");
    let code = seen.json()["error"]["details"]["error_code"].clone();
    assert_eq!(code, "thread_not_found");
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_thread_goes_to_the_upstream_that_made_its_last_message() {
    let failing = Upstream::with(|_| Answer::status(503));
    let upstream = Upstream::with(maker);
    let gateway = Gateway::echo()
        .pool("failing", &failing, &["ada"])
        .pool("up", &upstream, &["bob"])
        .start();
    let begun = ask(&gateway, &session(1))
        .body(thread(r#"{"type":"create"}"#, false))
        .send();
    begun.has_status(200).has_header("x-account-email", "bob");
    go_on(&gateway, &session(1), &id_of(&begun), false)
        .has_status(200)
        .has_header("x-account-email", "bob");
    assert_eq!(failing.received().len(), 1);
}
