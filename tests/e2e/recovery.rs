//! Conversations whose thinking an upstream rejects: recovered once, and then as before.

use serde_json::{Value, json};

use crate::support::{
    Answer, Gateway, Upstream, component,
    gateway::Builder,
    shapes::MESSAGE,
    strict::{BINDING_BETA, Session, Strict},
};

/// A gateway to this upstream, which lacks these words.
fn lacking(upstream: &Upstream, words: &str) -> Builder {
    let lines = format!(
        "preset = \"anthropic\"\nlacks = [{words}]\naccounts = [{{ name = \"ada\", key = \"sk-ada\" }}]"
    );
    Gateway::echo()
        .upstream("up", upstream, &lines)
        .route("*", &["up"])
}

/// Fifty turns. The client changes `system` before the tenth.
#[track_caller]
fn fifty_turns_with_a_break(session: &mut Session) {
    session.steps(9);
    session.system[1]["text"] = json!("You are another.");
    session.steps(41);
}

#[test]
fn a_break_at_turn_10_of_50_costs_one_request_and_thinking_is_kept_from_then_on() {
    for (words, binds) in [("", true), ("\"thinking-binding\"", false)] {
        let upstream = Strict::start();
        let gateway = lacking(&upstream, words).start();
        let mut session = Session::new(gateway.addr);
        fifty_turns_with_a_break(&mut session);
        session.count().has_status(200);

        assert_eq!(upstream.refusals().len(), 1, "{:?}", upstream.refusals());
        assert_eq!(upstream.received().len(), 50 + 1 + 1, "with one count");
        let outcomes = upstream.outcomes();
        assert_eq!(outcomes[50].read, 40, "the thinking of turns 10 to 49");
        let last = upstream.request(51);
        let betas = last.header("anthropic-beta").unwrap_or_default();
        assert_eq!(betas.contains(BINDING_BETA), binds, "{betas}");
        assert_eq!(last.text().contains("drop_block"), binds);
        gateway.line(&["signature-fallback", "`up` rejected thinking blocks"]);
    }
}

#[test]
fn an_upstream_that_does_not_know_the_field_costs_one_request_more_and_is_remembered() {
    let upstream = Strict::rules().without_block_binding().start();
    let gateway = Gateway::to(&upstream).start();
    let mut session = Session::new(gateway.addr);
    fifty_turns_with_a_break(&mut session);
    assert_eq!(upstream.received().len(), 52);
    assert_eq!(upstream.outcomes()[51].read, 40);

    fifty_turns_with_a_break(&mut Session::new(gateway.addr));
    assert_eq!(upstream.received().len(), 52 + 51);
}

#[test]
fn a_decision_survives_reloads_of_plugins_and_configuration() {
    let upstream = Strict::start();
    let mut gateway = lacking(&upstream, "\"thinking-binding\"")
        .top("expose_accounts = true")
        .start();
    gateway.generation(1);
    let mut session = Session::new(gateway.addr);
    session.steps(4);
    session.messages[0]["content"][0]["text"] = json!("another");
    session.steps(4);
    gateway.drop_in("declines.wasm", &component("declines"));
    gateway.generation(2);
    session.steps(4);
    let from = gateway.mark();
    gateway.reconfigure(|builder| builder.replace_top("expose_accounts = false"));
    gateway.line_from(from, &["configuration loaded"]);
    session.steps(4);
    assert_eq!(upstream.received().len(), 17);
    assert_eq!(upstream.refusals().len(), 1);
}

#[test]
fn a_client_that_decides_about_its_thinking_gets_the_error_and_no_edit() {
    let upstream = Strict::start();
    let gateway = Gateway::to(&upstream).start();
    let mut session = Session::new(gateway.addr).on_mismatch("error");
    session.steps(3);
    session.system[1]["text"] = json!("You are another.");
    let reply = session.step();
    reply
        .has_status(400)
        .has("bound to a different conversation")
        .has_no_header("x-witgate-edits");
    assert_eq!(upstream.received().len(), 4);
}

#[test]
fn a_recovered_response_has_the_edits_on_its_receipt() {
    let upstream = Strict::start();
    let gateway = Gateway::to(&upstream).start();
    let mut session = Session::new(gateway.addr);
    session.steps(3);
    session.system[1]["text"] = json!("You are another.");
    for _ in 0..2 {
        let reply = session.step();
        let receipt = reply.header("x-witgate-edits").unwrap_or_default();
        assert!(receipt.contains("signature-fallback"), "{receipt}");
    }
}

/// The messages that were sent, without cache marks.
fn messages(body: &Value) -> Vec<Value> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.remove("cache_control");
                members.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut messages = body["messages"].clone();
    strip(&mut messages);
    messages.as_array().unwrap().clone()
}

/// One more turn of a conversation. Its kind depends on the number.
fn turn(messages: &mut Vec<Value>, number: usize) {
    let text = |text: String| json!({"type": "text", "text": text});
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}});
    let mut said = vec![
        json!({"type": "thinking", "thinking": "", "signature": format!("sig-{number}")}),
        text(format!("answer {number}")),
    ];
    if number.is_multiple_of(3) {
        said.insert(0, json!({"type": "thinking", "thinking": "unsigned"}));
    }
    if number % 4 == 1 {
        said.insert(
            1,
            json!({"type": "redacted_thinking", "data": format!("r-{number}")}),
        );
    }
    let calls = number % 2 == 1;
    if calls {
        let input = json!({"cache_control": number});
        said.push(
            json!({"type": "tool_use", "id": format!("t{number}"), "name": "n", "input": input}),
        );
    }
    messages.push(json!({"role": "assistant", "content": said}));
    if calls {
        let content = json!([text(format!("result {number}")), image]);
        messages.push(json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": format!("t{number}"), "content": content}]}));
    }
    if number % 5 == 2 {
        messages.push(json!({"role": "system", "content": format!("note {number}")}));
    }
    messages.push(json!({"role": "user", "content": format!("question {number}")}));
    if number % 3 == 1 {
        messages.push(json!({"role": "user", "content": [text("and?".to_owned()), image]}));
    }
}

/// The client marks the end of the conversation for the cache, as Claude Code does.
fn marked(mut messages: Vec<Value>) -> Value {
    let last = messages.last_mut().unwrap();
    if let Some(text) = last["content"].as_str() {
        last["content"] = json!([{"type": "text", "text": text}]);
    }
    let block = last["content"].as_array_mut().unwrap().last_mut().unwrap();
    block["cache_control"] = json!({"type": "ephemeral"});
    json!(messages)
}

#[test]
fn what_the_default_plugins_send_of_a_growing_conversation_is_append_only() {
    let words = r#""cache_control", "same-role-turns", "message-threads", "foreign-signatures", "images", "unsigned-thinking", "thinking-binding""#;
    let refusal = "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation.";
    let upstream = Upstream::with(move |request| {
        match request.text().contains("sig-7") && request.text().contains("sig-0\"") {
            true => Answer::error(400, "invalid_request_error", refusal),
            false => Answer::json(200, MESSAGE),
        }
    });
    let gateway = lacking(&upstream, words)
        .tables("[plugin.background-model]\nsettings = { model = \"claude-haiku-5-5\" }")
        .start();
    let mut conversation =
        vec![json!({"role": "user", "content": [{"type": "text", "text": "hi"}]})];
    for number in 0..40 {
        turn(&mut conversation, number);
        let body = json!({"model": "claude-opus-5-5", "max_tokens": 16, "thinking": {"type": "adaptive"},
            "messages": marked(conversation.clone())});
        gateway.message(body.to_string()).has_status(200);
    }
    let received = upstream.received();
    assert_eq!(received.len(), 41, "one was rejected");
    let sent: Vec<_> = received
        .iter()
        .map(|request| messages(&request.json()))
        .collect();
    // Turn 7 was rejected. What follows it is another prefix, and the same one from then on.
    for (range, what) in [(0..8, "before"), (8..41, "after")] {
        for pair in sent[range].windows(2) {
            let (before, after) = (blocks(&pair[0]), blocks(&pair[1]));
            assert!(after.starts_with(&before), "{what}: {before:?}\n{after:?}");
        }
    }
    assert!(received[40].text().contains("sig-39") && !received[40].text().contains("sig-7\""));
}

/// The blocks with the role of their message: a string is a text block.
fn blocks(messages: &[Value]) -> Vec<(Value, Value)> {
    let mut all = Vec::new();
    for message in messages {
        let role = &message["role"];
        match &message["content"] {
            Value::Array(blocks) => {
                all.extend(blocks.iter().map(|block| (role.clone(), block.clone())))
            }
            text => all.push((role.clone(), json!({"type": "text", "text": text}))),
        }
    }
    all
}
