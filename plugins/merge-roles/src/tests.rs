use proptest::prelude::*;
use witgate_plugin::{Hook, Value, json, serde_json, testing::Exchange};

use super::MergeRoles;

type Merge = Exchange<MergeRoles>;

#[track_caller]
fn merged(messages: Value) -> Value {
    let mut exchange = Merge::new(json!({ "model": "m", "messages": messages, "max_tokens": 1 }))
        .lacks("same-role-turns");
    assert!(exchange.would_call(Hook::Attempt));
    assert!(exchange.on_attempt().unwrap().is_proceed());
    let mut body: Value = serde_json::from_str(&exchange.body()).unwrap();
    body["messages"].take()
}

fn user(content: Value) -> Value {
    json!({ "role": "user", "content": content })
}

fn assistant(content: Value) -> Value {
    json!({ "role": "assistant", "content": content })
}

fn block(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

#[test]
fn text_and_text_are_joined_by_a_blank_line() {
    let messages = json!([
        user(json!("a\"")),
        user(json!("b")),
        assistant(json!("x")),
        assistant(json!("y"))
    ]);
    let expected = json!([user(json!("a\"\n\nb")), assistant(json!("x\n\ny"))]);
    assert_eq!(merged(messages), expected);
}

#[test]
fn text_and_blocks_become_blocks_in_order() {
    let messages = json!([
        user(json!("a")),
        user(json!([block("b"), block("c")])),
        user(json!("d"))
    ]);
    let expected = json!([user(json!([
        block("a"),
        block("b"),
        block("c"),
        block("d")
    ]))]);
    assert_eq!(merged(messages), expected);
}

#[test]
fn joined_texts_before_blocks_are_one_block() {
    let messages = json!([
        user(json!("a")),
        user(json!("b")),
        user(json!([block("c")]))
    ]);
    assert_eq!(
        merged(messages),
        json!([user(json!([block("a\n\nb"), block("c")]))])
    );
}

#[test]
fn empty_contents_are_joined_too() {
    let messages = json!([
        user(json!([])),
        user(json!("a")),
        user(json!("")),
        user(json!([])),
        assistant(json!([])),
        assistant(json!([]))
    ]);
    assert_eq!(
        merged(messages),
        json!([user(json!([block("a")])), assistant(json!([]))])
    );
}

#[test]
fn nothing_is_joined_across_system_messages() {
    let messages = json!([
        user(json!("a")),
        {"role": "system", "content": [], "output_config": {"effort": "low"}},
        {"role": "system", "content": "s"},
        user(json!("b")),
    ]);
    assert_eq!(merged(messages.clone()), messages);
}

#[test]
fn a_message_with_other_members_is_never_joined() {
    let messages = json!([
        user(json!("a")),
        {"role": "user", "content": "b", "name": "ada"},
        user(json!("c")),
        user(json!("d")),
        {"role": "user"},
        {"role": "user", "content": null},
        {"role": "user", "content": {}},
        {"content": "e"},
        user(json!("f")),
    ]);
    let mut expected = messages.clone();
    expected[2] = user(json!("c\n\nd"));
    expected.as_array_mut().unwrap().remove(3);
    assert_eq!(merged(messages), expected);
}

#[test]
fn a_long_text_is_moved_into_a_block() {
    let long = "é".repeat(300_000);
    let messages = json!([
        user(json!(long)),
        user(json!("b")),
        assistant(json!("x")),
        assistant(json!(long))
    ]);
    let expected = json!([
        user(json!([block(&long), block("b")])),
        assistant(json!([block("x"), block(&long)])),
    ]);
    assert_eq!(merged(messages), expected);
}

#[test]
fn many_tiny_blocks_are_joined_in_order() {
    let first: Vec<Value> = (0..99_000).map(Value::from).collect();
    let messages = json!([
        user(json!([block("a")])),
        user(json!(first)),
        user(json!("b")),
        assistant(json!("x")),
    ]);
    let mut expected = vec![block("a")];
    expected.extend(first);
    expected.push(block("b"));
    let expected = json!([user(json!(expected)), assistant(json!("x"))]);
    // Not by `assert_eq`, which would print both.
    assert!(merged(messages) == expected);
}

#[test]
fn many_messages_are_joined() {
    let messages: Vec<Value> = (0..5_000).map(|n| user(json!(n.to_string()))).collect();
    let texts: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    assert_eq!(
        merged(json!(messages)),
        json!([user(json!(texts.join("\n\n")))])
    );

    // A lone message between every two pairs, so that no slice covers more than two.
    let pairs =
        (0..2_000).flat_map(|_| [user(json!("a")), user(json!("b")), assistant(json!("x"))]);
    let joined = (0..2_000).flat_map(|_| [user(json!("a\n\nb")), assistant(json!("x"))]);
    let (pairs, joined): (Vec<Value>, Vec<Value>) = (pairs.collect(), joined.collect());
    assert_eq!(merged(json!(pairs)), json!(joined));
}

#[test]
fn fifty_thousand_messages_are_joined_or_counted() {
    let mut messages = vec![user(json!("a")); 60_000];
    assert_eq!(
        merged(json!(messages)),
        json!([user(json!(vec!["a"; 60_000].join("\n\n")))])
    );
    // After blocks each text becomes a block of its own.
    messages[0] = user(json!([block("first")]));
    let body = json!({ "model": "m", "messages": messages });
    let mut exchange = Merge::new(body).lacks("same-role-turns").count_tokens();
    assert!(exchange.on_attempt().unwrap().is_proceed());
    let body: Value = serde_json::from_str(&exchange.body()).unwrap();
    let blocks = body["messages"][0]["content"].as_array().unwrap();
    assert_eq!(blocks.len(), 60_000);
    assert_eq!(blocks[59_999], block("a"));
}

#[test]
fn more_text_than_one_query_reads_is_refused() {
    let long = "a".repeat(200_000);
    let messages = vec![user(json!(long)); 100];
    let mut exchange = Merge::new(json!({ "messages": messages })).lacks("same-role-turns");
    let refusal = exchange.on_attempt().unwrap().expect_refusal();
    assert_eq!(refusal["status"], 413);
}

#[test]
fn a_request_with_too_much_to_join_is_refused() {
    let mut messages = vec![user(json!("a")); 100_001];
    messages[0] = user(json!([]));
    let mut exchange = Merge::new(json!({ "messages": messages })).lacks("same-role-turns");
    let verdict = exchange.on_attempt().unwrap();
    let refusal = verdict.expect_refusal();
    assert_eq!(refusal["status"], 413);
    assert_eq!(refusal["type"], "request_too_large");
}

#[test]
fn contents_that_are_not_valid_json_are_the_clients_fault() {
    let numbers = vec!["01"; 2_000].join(",");
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":[]}},{{"role":"user","content":[{numbers}]}}]}}"#
    );
    let mut exchange = Merge::new(body).lacks("same-role-turns");
    assert_eq!(
        exchange.on_attempt().unwrap().expect_refusal()["status"],
        400
    );
}

#[test]
fn only_the_joined_messages_change() {
    let body = concat!(
        r#"{ "model" : "m", "messages": [ {"role":"user", "content": [ {"type":"tool_reference"} ]}"#,
        r#" , {"role":"assistant","content":"x\u0041"},  {"content":"y", "role":"assistant"}, {"role":"user","content":"z"} ],"#,
        r#" "safeguards": [1.0e0] }"#,
    );
    let mut exchange = Merge::new(body).lacks("same-role-turns");
    exchange.on_attempt().unwrap();
    assert_eq!(
        exchange.body(),
        body.replace(
            r#""x\u0041"},  {"content":"y", "role":"assistant"}"#,
            r#""x\u0041\n\ny"}"#
        )
    );
}

#[test]
fn alternating_roles_are_left_alone() {
    for body in [
        r#"{"messages": [ {"role":"user","content":"a"}, {"role":"assistant","content":"b"} ]}"#,
        r#"{"messages": []}"#,
        r#"{"messages": {"role": "user"}}"#,
        r#"{}"#,
    ] {
        let mut exchange = Merge::new(body).lacks("same-role-turns");
        assert!(exchange.on_attempt().unwrap().is_proceed());
        assert_eq!(exchange.body(), body);
    }
}

#[test]
fn a_target_that_accepts_such_turns_gets_them() {
    let body = json!({"messages": [user(json!("a")), user(json!("b"))]});
    assert!(!Merge::new(&body).would_call(Hook::Attempt));
    let counted = Merge::new(&body).lacks("same-role-turns").count_tokens();
    assert!({ counted }.would_call(Hook::Attempt));
}

fn messages() -> impl Strategy<Value = Vec<Value>> {
    let content = prop_oneof![
        3 => "[a-c]{0,2}".prop_map(Value::from),
        3 => prop::collection::vec("[a-c]".prop_map(|text| block(&text)), 0..4).prop_map(Value::from),
        1 => Just(json!("é".repeat(300_000))),
        1 => Just(json!(vec![block("x"); 1_500])),
        1 => Just(Value::Null),
    ];
    let role = prop::sample::select(vec!["user", "user", "assistant", "assistant", "system"]);
    let message = (role, content);
    let message = message.prop_map(|(role, content)| json!({ "role": role, "content": content }));
    prop::collection::vec(message, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// The upstream's cache and the signatures of its thinking depend on it.
    #[test]
    fn what_was_sent_of_a_turn_is_the_start_of_the_next(messages in messages()) {
        let whole = merged(json!(messages));
        let role = |at: usize| messages[at]["role"].as_str();
        let turns = (1..messages.len())
            .filter(|&end| role(end - 1) == Some("user") && role(end) == Some("assistant"));
        for end in turns {
            let turn = merged(json!(messages[..end]));
            let turn = turn.as_array().unwrap();
            prop_assert!(whole.as_array().unwrap().starts_with(turn), "turn of {} messages", end);
        }
    }
}
