//! Signed thinking: each block goes only to the upstream that signed it. Also requests that a
//! client makes for itself.

use crate::support::{
    Answer, Gateway, Reply, Upstream,
    shapes::{HELLO, MESSAGE, SSE},
};

const REFUSED: &str = r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.content.0: Invalid `signature` in `thinking` block"},"request_id":"req_1"}"#;

const BROKEN: &str = r#"{"type":"error","error":{"type":"api_error","message":"no"}}"#;

const SIGNED: &str = r#"{ "type":"thinking", "thinking":"", "signature":"c2ln\/bmVk" }"#;

const UNKNOWN: &str = r#"{"signature":"bm9ib2R5cw==","thinking":"\u0041","type":"thinking"}"#;

/// A turn that continues from these blocks.
fn carrying_on(blocks: &str, stream: bool) -> String {
    format!(
        r#"{{"model":"claude-opus-5-5", "thinking":{{"type":"adaptive"}}, "messages":[{{"role":"user","content":"hi"}},{{"role":"assistant","content":[{blocks}]}},{{"role":"user","content":"and?"}}], "n": 1.0e0,"stream":{stream}}}"#
    )
}

/// A message, or the stream of one, with a block that this upstream signed.
fn signed(stream: bool) -> Answer {
    if stream {
        let delta = r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln/bmVk"}}"#;
        let events = SSE.replacen(
            r#""content_block":{"type":"text","text":""}"#,
            r#""content_block":{"type":"thinking","thinking":"","signature":""}"#,
            1,
        );
        let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hello"}}"#;
        Answer::sse(&events.replacen(text, delta, 1))
    } else {
        // A message of thinking alone would be retried.
        let blocks = r#"{"type":"thinking","thinking":"","signature":"c2ln/bmVk"},{"type":"text","text":"hello"}"#;
        Answer::json(
            200,
            &MESSAGE.replacen(r#"{"type":"text","text":"hello"}"#, blocks, 1),
        )
    }
}

fn beside(a: &Upstream, b: &Upstream) -> Gateway {
    let account = |name| {
        format!("preset = \"anthropic\"\naccounts = [{{ name = \"{name}\", key = \"k-{name}\" }}]")
    };
    Gateway::echo()
        .upstream("a", a, &account("ada"))
        .upstream("b", b, &account("bob"))
        .route("*", &["a", "b"])
        .start()
}

fn say(gateway: &Gateway, session: &str, body: impl AsRef<[u8]>) -> Reply {
    gateway
        .request("POST", "/v1/messages")
        .header("content-type", "application/json")
        .header("x-claude-code-session-id", session)
        .body(body)
        .send()
}

#[test]
fn what_one_upstream_signed_is_not_shown_to_another() {
    for stream in [true, false] {
        let a = Upstream::script([signed(stream), Answer::json(500, BROKEN)]);
        let b = Upstream::ok();
        let gateway = beside(&a, &b);
        let hello = HELLO.replacen('{', &format!("{{\"stream\":{stream},"), 1);
        say(&gateway, "s", hello)
            .has_status(200)
            .has("c2ln/bmVk")
            .has_no_header("x-witgate-edits");

        let text = r#"{"type":"text","text":"A"}"#;
        let turn = carrying_on(&format!("{SIGNED},{UNKNOWN},{text}"), stream);
        say(&gateway, "s", &turn).has_status(200);

        a.last().has_body(&turn);
        assert_eq!(b.received().len(), 1);
        b.last()
            .has_body(carrying_on(&format!("{UNKNOWN},{text}"), stream));
    }
}

#[test]
fn a_block_of_another_session_or_of_unknown_origin_is_trusted() {
    let a = Upstream::script([signed(true), Answer::json(500, BROKEN)]);
    let b = Upstream::ok();
    let gateway = beside(&a, &b);
    say(&gateway, "s", HELLO.replacen('{', "{\"stream\":true,", 1)).has_status(200);
    let turn = carrying_on(&format!("{SIGNED},{UNKNOWN}"), true);
    say(&gateway, "t", &turn).has_status(200);
    b.last().has_body(&turn);
}

#[test]
fn a_thought_of_another_protocol_is_not_sent_to_anthropic() {
    let words = "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\",\"content\":\"so\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let other = Upstream::with(move |_| Answer::sse(words));
    let anthropic = Upstream::ok();
    let account = "accounts = [{ name = \"ada\", key = \"k\" }]";
    let gateway = Gateway::echo()
        .upstream("other", &other, &format!("preset = \"openai\"\n{account}"))
        .upstream(
            "anthropic",
            &anthropic,
            &format!("preset = \"anthropic\"\n{account}"),
        )
        .route("gpt-*", &["other"])
        .route("*", &["anthropic", "other"])
        .start();
    let hello = HELLO.replacen("claude-opus-5-5", "gpt-9", 1);
    let said: serde_json::Value = say(&gateway, "s", hello).has_status(200).json();
    assert_eq!(said["content"][0]["type"], "thinking", "{said}");

    let blocks = said["content"].as_array().unwrap();
    let blocks: Vec<_> = blocks.iter().map(ToString::to_string).collect();
    say(&gateway, "s", carrying_on(&blocks.join(","), false))
        .has_status(200)
        .has_header("x-witgate-edits", "signature-fallback=1");
    anthropic.last().has_body(carrying_on(&blocks[1], false));
}

/// A session whose turns are on two routes: the gateway knows which upstream signed what.
#[test]
fn a_session_that_moves_to_another_route_needs_one_request_per_turn() {
    let anthropic = Upstream::with(|_| signed(true));
    let chunk = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"ls","args":{}},"thoughtSignature":"T3du"}]},"finishReason":"STOP"}]}"#;
    let google = Upstream::with(move |_| Answer::sse(&format!("data: {chunk}\n\n")));
    let account = "accounts = [{ name = \"ada\", key = \"k\" }]";
    let gateway = Gateway::echo()
        .upstream(
            "anthropic",
            &anthropic,
            &format!("preset = \"anthropic\"\n{account}"),
        )
        .upstream(
            "google",
            &google,
            &format!("preset = \"gemini\"\n{account}"),
        )
        .route("claude-*", &["anthropic"])
        .route("gemini-*", &["google"])
        .start();
    say(&gateway, "s", HELLO.replacen('{', "{\"stream\":true,", 1)).has_status(200);

    let text = r#"{"type":"text","text":"A"}"#;
    let turn = |blocks: &str| {
        carrying_on(blocks, true).replacen("claude-opus-5-5", "gemini-3.1-pro-preview", 1)
    };
    say(&gateway, "s", turn(&format!("{SIGNED},{text}")))
        .has_status(200)
        .has("T3du");
    let own = r#"{"type":"thinking","thinking":"","signature":"T3du"},{"type":"tool_use","id":"a","name":"ls","input":{}}"#;
    say(&gateway, "s", turn(&format!("{SIGNED},{text},{own}"))).has_status(200);

    let received = google.received();
    assert_eq!(received.len(), 2, "none was rejected");
    for request in &received {
        assert!(!request.text().contains("c2ln"), "{}", request.text());
    }
    assert!(received[1].text().contains("T3du"));
}

/// A session that another gateway began: Gemini does not say which signature it rejects.
#[test]
fn a_session_that_began_elsewhere_has_one_rejected_request() {
    let chunk = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"ls","args":{}},"thoughtSignature":"T3du"}]},"finishReason":"STOP"}]}"#;
    let corrupted = r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"Corrupted thought signature."}}"#;
    let google = Upstream::with(
        move |request| match request.text().contains("RWxzZXdoZXJl") {
            true => Answer::json(400, corrupted),
            false => Answer::sse(&format!("data: {chunk}\n\n")),
        },
    );
    let account = "accounts = [{ name = \"ada\", key = \"k\" }]";
    let gateway = Gateway::echo()
        .upstream(
            "google",
            &google,
            &format!("preset = \"gemini\"\n{account}"),
        )
        .route("*", &["google/gemini-3.1-pro-preview"])
        .start();
    let block = |signature: &str, id: &str| {
        format!(
            r#"{{"type":"thinking","thinking":"","signature":"{signature}"}},{{"type":"tool_use","id":"{id}","name":"ls","input":{{}}}}"#
        )
    };
    let mut blocks = block(&"RWxzZXdoZXJl".repeat(40), "a");
    for turn in 1..=3 {
        say(&gateway, "s", carrying_on(&blocks, true))
            .has_status(200)
            .has("T3du");
        assert_eq!(google.received().len(), 1 + turn, "one was rejected");
        blocks = format!("{blocks},{}", block("T3du", &format!("own{turn}")));
    }
    let last = google.last().text();
    assert_eq!(last.matches("T3du").count(), 2, "{last}");
}

#[test]
fn a_rejected_signature_is_retried_once_without_thinking() {
    let upstream = Upstream::script([Answer::json(400, REFUSED)]);
    let gateway = Gateway::to(&upstream).start();
    let text = r#"{"type":"text","text":"A"}"#;
    let redacted = r#"{"type":"redacted_thinking","data":"x"}"#;
    let turn = carrying_on(&format!("{SIGNED},{redacted},{text}"), false);
    let seen = say(&gateway, "s", &turn);
    seen.has_status(200).has_body(MESSAGE);
    let receipt = seen.header("x-witgate-edits").unwrap_or_default();
    assert!(receipt.contains("signature-fallback=2"), "{receipt}");
    let received = upstream.received();
    assert_eq!(received.len(), 2);
    received[0].has_body(&turn);
    received[1].has_body(carrying_on(text, false));
    assert_eq!(
        received[0].header("x-api-key"),
        received[1].header("x-api-key")
    );
    gateway.line(&["signature-fallback", "rejected thinking blocks"]);
}

#[test]
fn a_signature_rejected_again_is_the_clients_error() {
    let upstream = Upstream::with(|_| Answer::json(400, REFUSED));
    let gateway = Gateway::to(&upstream).start();
    let turn = carrying_on(
        &format!("{SIGNED},{{\"type\":\"text\",\"text\":\"A\"}}"),
        false,
    );
    say(&gateway, "s", turn).has_status(400).has_body(REFUSED);
    assert_eq!(upstream.received().len(), 2);

    say(&gateway, "s", HELLO).has_status(400).has_body(REFUSED);
    assert_eq!(
        upstream.received().len(),
        3,
        "a request without thinking blocks is not retried"
    );
}

#[test]
fn an_auxiliary_request_goes_to_the_background_model_once_there_is_one() {
    let upstream = Upstream::ok();
    let auxiliary = |gateway: &Gateway, class: &str| {
        gateway
            .request("POST", "/v1/messages")
            .header("content-type", "application/json")
            .header("x-claude-code-request-class", class)
            .body(HELLO)
            .send()
    };
    let off = Gateway::to(&upstream).start();
    auxiliary(&off, "auxiliary")
        .has_status(200)
        .has_no_header("x-witgate-edits");
    upstream.last().has_body(HELLO);

    let on = Gateway::to(&upstream)
        .tables("[plugin.background-model]\nsettings = { model = \"claude-haiku-5-5\" }")
        .start();
    let seen = auxiliary(&on, "auxiliary");
    seen.has_status(200)
        .has_header("x-witgate-edits", "background-model=1");
    upstream
        .last()
        .has_body(HELLO.replace("claude-opus-5-5", "claude-haiku-5-5"));
    on.line(&[
        "background-model",
        "from `claude-opus-5-5` to `claude-haiku-5-5`",
    ]);

    auxiliary(&on, "main").has_status(200);
    upstream.last().has_body(HELLO);
}
