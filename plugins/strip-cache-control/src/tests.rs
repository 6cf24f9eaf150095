use witgate_plugin::{Hook, testing::Exchange};

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
