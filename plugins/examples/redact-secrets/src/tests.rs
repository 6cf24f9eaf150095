use witgate_plugin::{
    Event, Hook, json,
    testing::{Exchange, message},
};

use super::RedactSecrets;

type Redact = Exchange<RedactSecrets>;

const KEY: &str = "AKIAABCDEFGHIJKLMNOP";
const OTHER: &str = "AKIAZZZZZZZZZZZZZZZZ";

fn body(text: &str) -> String {
    json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string()
}

/// The placeholders in a text, in order.
fn placeholders(text: &str) -> Vec<String> {
    let parts = text.split("[[secret-").skip(1);
    parts
        .map(|part| format!("[[secret-{}]]", part.split("]]").next().unwrap()))
        .collect()
}

/// What the client reads.
fn texts(events: &[Event]) -> String {
    let typed = events.iter().map(Event::typed);
    typed
        .filter_map(|event| event.text().map(|(_, text)| text.to_owned()))
        .collect()
}

#[test]
fn a_secret_is_replaced_and_nothing_else_changes() {
    let text = format!("use {KEY}, then {OTHER} and {KEY}");
    let mut exchange = Redact::new(body(&text));
    assert!(exchange.would_call(Hook::Request));
    assert!(exchange.on_request().unwrap().is_proceed());
    let sent = exchange.body();
    let found = placeholders(&sent);
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], found[2], "one placeholder for one secret");
    assert_ne!(found[0], found[1]);
    let restored = sent.replace(&found[0], KEY).replace(&found[1], OTHER);
    assert_eq!(restored, body(&text));
}

#[test]
fn without_a_secret_the_plugin_is_not_called() {
    let mut exchange = Redact::new(body("nothing to hide"));
    assert!(!exchange.would_call(Hook::Request));
    assert!(!exchange.would_call(Hook::Response));
}

#[test]
fn a_secret_is_found_wherever_the_model_reads_it() {
    let everywhere = json!({
        "model": "m",
        "system": [{"type": "text", "text": KEY}],
        "tools": [{"name": "t", "description": KEY, "input_schema": {
            "type": "object", "properties": {"a": {"type": "string", "description": KEY}}}}],
        "messages": [
            {"role": "user", "content": KEY},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "x", "name": "t", "input": {"a": [{"b": KEY}]}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "x", "content": KEY},
                {"type": "tool_result", "tool_use_id": "x", "content": [{"type": "text", "text": KEY}]},
                {"type": "document", "title": KEY, "source": {"type": "text", "media_type": "text/plain", "data": KEY}},
                {"type": "search_result", "title": KEY, "content": [{"type": "text", "text": KEY}]}]},
        ],
    });
    let mut exchange = Redact::new(&everywhere);
    exchange.on_request().unwrap();
    assert!(!exchange.body().contains(KEY), "{}", exchange.body());
    assert_eq!(placeholders(&exchange.body()).len(), 11);
}

#[test]
fn the_placeholder_is_the_same_on_the_next_turn() {
    let mut first = Redact::new(body(KEY));
    first.on_request().unwrap();
    let sent = first.body();
    let mut second = first.next(body(KEY));
    second.on_request().unwrap();
    assert_eq!(second.body(), sent);
}

#[test]
fn the_client_reads_the_secret_again_however_the_answer_is_split() {
    let mut exchange = Redact::new(body(KEY));
    exchange.on_request().unwrap();
    assert!(exchange.would_call(Hook::Response));
    let placeholder = placeholders(&exchange.body()).remove(0);
    let answer = format!("It is {placeholder}, not [[secret-none]] or [[secret-");
    for split in 0..answer.len() {
        let (first, second) = answer.split_at(split);
        let mut exchange = exchange_with(KEY);
        let sent = exchange.stream(message(&[first, second])).unwrap();
        let wanted = format!("It is {KEY}, not [[secret-none]] or [[secret-");
        assert_eq!(texts(&sent), wanted, "{split}");
    }
}

/// An exchange in which this secret was replaced.
fn exchange_with(secret: &str) -> Redact {
    let mut exchange = Redact::new(body(secret));
    exchange.on_request().unwrap();
    exchange
}

#[test]
fn what_is_held_back_goes_out_after_a_cut() {
    let mut exchange = exchange_with(KEY);
    let begun: Vec<Event> = message(&["It is [[sec"]).into_iter().take(3).collect();
    let sent = exchange.stream_cut(begun).unwrap();
    assert_eq!(texts(&sent), "It is [[sec");
}

#[test]
fn an_answer_to_a_request_without_secrets_is_not_looked_at() {
    let mut exchange = Redact::new(body("hello"));
    exchange.on_request().unwrap();
    let events = message(&["[[secret-", "x]]"]);
    assert!(!exchange.would_show(&events[2]));
    assert_eq!(exchange.stream(events.clone()).unwrap(), events);
}

#[test]
fn settings_say_what_a_secret_is() {
    let settings = json!({"patterns": ["token '[0-9]+'"]});
    let mut exchange = Redact::new(body("token '12' and AKIAABCDEFGHIJKLMNOP")).settings(settings);
    assert!(exchange.would_call(Hook::Request));
    exchange.on_request().unwrap();
    let sent = exchange.body();
    assert!(!sent.contains("'12'") && sent.contains(KEY), "{sent}");
    assert!(
        Redact::new("{}")
            .settings(json!({"patterns": []}))
            .describe()
            .is_err()
    );
}
