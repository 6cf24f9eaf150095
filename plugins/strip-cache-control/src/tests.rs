use proptest::prelude::*;
use witgate_plugin::{Hook, Value, json, testing::Exchange};

use super::StripCacheControl;

type Strip = Exchange<StripCacheControl>;

#[test]
fn breakpoints_are_removed_and_nothing_else_changes() {
    let body = concat!(
        r#"{ "model":"m", "cache_control": {"type":"ephemeral"},"#,
        r#" "system": [ {"type":"text", "text":"a", "cache_control": {"type":"ephemeral","ttl":"1h"}} ],"#,
        r#" "tools": [{"name":"t","input_schema":{"properties":{"cache_control":{"type":"string"}}},"cache_control":{}}],"#,
        r#" "messages": [{"role":"user","content":[{"type":"tool_result","content":[{"cache_control":{},"type":"text","text":"\u0041"}]},"#,
        r#" {"type":"tool_use","input":{"cache_control":1.0e0}}]}] }"#,
    );
    let mut exchange = Strip::new(body).lacks("cache_control");
    assert!(exchange.would_call(Hook::Attempt));

    assert!(exchange.on_attempt().unwrap().is_proceed());

    assert_eq!(
        exchange.body(),
        concat!(
            r#"{ "model":"m","#,
            r#" "system": [ {"type":"text", "text":"a"} ],"#,
            r#" "tools": [{"name":"t","input_schema":{"properties":{"cache_control":{"type":"string"}}}}],"#,
            r#" "messages": [{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"\u0041"}]},"#,
            r#" {"type":"tool_use","input":{"cache_control":1.0e0}}]}] }"#,
        )
    );
}

#[test]
fn a_body_without_breakpoints_is_left_alone() {
    let body = r#"{"messages": [{"role": "user", "content": "what is cache_control?"}]}"#;
    let mut exchange = Strip::new(body).lacks("cache_control");
    assert!(!exchange.would_call(Hook::Attempt));
    assert!(exchange.on_attempt().unwrap().is_proceed());
    assert_eq!(exchange.body(), body);
}

#[test]
fn the_same_name_in_the_users_data_is_left_alone() {
    let body = r#"{"metadata": {"cache_control": 1}}"#;
    let mut exchange = Strip::new(body).lacks("cache_control");
    assert!(exchange.on_attempt().unwrap().is_proceed());
    assert_eq!(exchange.body(), body);
}

#[test]
fn a_target_that_supports_breakpoints_gets_them() {
    let body = r#"{"cache_control": {}}"#;
    assert!(!Strip::new(body).would_call(Hook::Attempt));
    assert!(
        Strip::new(body)
            .lacks("cache_control")
            .count_tokens()
            .would_call(Hook::Attempt)
    );
}

#[test]
fn more_breakpoints_than_a_query_can_select_are_refused() {
    let block = json!({"type": "text", "text": "", "cache_control": {}});
    let body = |count: usize| json!({"messages": [{"role": "user", "content": vec![block.clone(); count]}]});
    let mut many = Strip::new(body(90_000)).lacks("cache_control");
    assert!(many.on_attempt().unwrap().is_proceed());
    assert!(!many.body().contains("cache_control"));
    let mut too_many = Strip::new(body(110_000)).lacks("cache_control");
    let refusal = too_many.on_attempt().unwrap().expect_refusal();
    assert_eq!(refusal["status"], 413);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Clients move their breakpoints from turn to turn. What is sent must not move with them.
    #[test]
    fn what_is_sent_does_not_depend_on_where_breakpoints_were(
        messages in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..5), 1..8),
    ) {
        let body = |marked: bool| {
            let block = |mark: &bool| match mark {
                true if marked => json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}),
                _ => json!({"type": "text", "text": "a"}),
            };
            let message = |marks: &Vec<bool>| {
                json!({"role": "user", "content": marks.iter().map(block).collect::<Vec<Value>>()})
            };
            json!({"messages": messages.iter().map(message).collect::<Vec<Value>>()})
        };
        let mut exchange = Strip::new(body(true)).lacks("cache_control");
        prop_assert!(exchange.on_attempt().unwrap().is_proceed());
        prop_assert_eq!(exchange.body(), body(false).to_string());
    }
}
