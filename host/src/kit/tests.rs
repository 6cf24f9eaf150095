//! Exchanges without any plugin: the upstream is scripted, and everything else is the gateway.

use super::*;

const BODY: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
const STREAMING: &str =
    r#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}"#;
const BUSY: &str = r#"{"type":"error","error":{"type":"rate_limit_error","message":"busy"}}"#;
const EVENTS: &str = "\
event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n\
event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n\
event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":1}}\n\n\
event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

fn kit() -> Kit {
    Kit::new(&Setup::default()).unwrap()
}

fn answered(body: &'static str, answers: Vec<Answer>) -> Exchange {
    Exchange {
        answers,
        ..Exchange::of(body)
    }
}

fn ending(outcome: &Outcome) -> &str {
    &outcome.trace.end.as_ref().unwrap().ending
}

#[test]
fn without_a_script_the_echo_upstream_answers_what_it_was_sent() {
    let outcome = kit().run(&Exchange::of(BODY)).unwrap();
    assert_eq!(outcome.sent.len(), 1);
    let sent = &outcome.sent[0];
    assert_eq!(
        (&sent.path[..], &sent.body[..]),
        ("/v1/messages", BODY.as_bytes())
    );
    assert_eq!(sent.headers["x-api-key"], "key-1");
    assert_eq!(outcome.reply.status, 200);
    assert_eq!(
        (ending(&outcome), outcome.failures().len()),
        ("complete", 0)
    );
}

#[test]
fn each_attempt_gets_its_answer_and_there_are_no_more_attempts() {
    let mut kit = kit();
    let both = vec![Answer::of(BUSY), Answer::of(MESSAGE)];
    let outcome = kit.run(&answered(BODY, both)).unwrap();
    assert_eq!(
        (outcome.sent.len(), outcome.reply.status.as_u16()),
        (2, 200)
    );
    kit.restart();
    let outcome = kit.run(&answered(BODY, vec![Answer::of(BUSY)])).unwrap();
    assert_eq!(
        (outcome.sent.len(), outcome.reply.status.as_u16()),
        (1, 429)
    );
}

#[test]
fn a_stream_is_the_same_wherever_it_is_split_and_visibly_truncated_where_it_is_cut() {
    let mut kit = kit();
    let whole = Answer::of(EVENTS);
    let outcome = kit.run(&answered(STREAMING, vec![whole.clone()])).unwrap();
    assert_eq!(outcome.reply.events().len(), 6);
    for at in (1..EVENTS.len()).step_by(97) {
        let split = Answer {
            pieces: vec![EVENTS[..at].into(), EVENTS[at..].into()],
            ..whole.clone()
        };
        let split = kit.run(&answered(STREAMING, vec![split]));
        assert_eq!(split.unwrap().reply.body, outcome.reply.body, "{at}");
    }
    let cut = whole.cut_at(EVENTS.find("event: message_delta").unwrap());
    let outcome = kit.run(&answered(STREAMING, vec![cut])).unwrap();
    assert_eq!(ending(&outcome), "truncated");
    assert_eq!(outcome.reply.events().last().unwrap().name, "error");
}

#[test]
fn conversations_last_until_the_kit_is_restarted() {
    let mut kit = kit();
    let mut exchange = Exchange::of(BODY);
    let session = HeaderValue::from_static("session-1");
    exchange.headers.insert("x-claude-code-session-id", session);
    let prefix = |kit: &mut Kit| {
        let outcome = kit.run(&exchange).unwrap();
        outcome.trace.end.unwrap().prefix.unwrap()
    };
    assert_eq!(prefix(&mut kit), "new; cache: new");
    assert_eq!(prefix(&mut kit), "kept; cache: kept");
    kit.restart();
    assert_eq!(prefix(&mut kit), "new; cache: new");
}

#[test]
fn a_plugin_that_cannot_be_read_is_an_error() {
    let setup = |file: &str| Setup {
        plugins: vec![file.into()],
        ..Setup::default()
    };
    let missing = Kit::new(&setup("/nonexistent/rule.wasm")).err().unwrap();
    assert!(missing.to_string().contains("cannot copy"), "{missing}");
}
