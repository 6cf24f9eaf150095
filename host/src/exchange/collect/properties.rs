//! What holds for every stream of events.

use proptest::prelude::*;

use super::*;

fn events() -> impl Strategy<Value = Vec<Event>> {
    let data = proptest::sample::select(vec![
        r#"{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"x","content":[],"stop_reason":null,"usage":{"input_tokens":1}}}"#,
        r#"{"type":"message_start","message":{"content":7}}"#,
        r#"{"type":"message_start"}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"n","input":{}}}"#,
        r#"{"type":"content_block_start","index":-1,"content_block":[]}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\ud800"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"1e999}"}}"#,
        r#"{"type":"content_block_delta","index":9,"delta":{"type":"signature_delta","signature":"s"}}"#,
        r#"{"type":"content_block_delta","delta":null}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#,
        r#"{"type":"message_delta","usage":[]}"#,
        r#"{"type":"message_stop"}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":7}"#,
        "[DONE]",
        "",
    ]);
    let event = data.prop_map(|data| Event {
        name: String::new(),
        data: data.to_owned(),
    });
    proptest::collection::vec(event, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_events_are_a_message_or_an_error(events in events()) {
        if let Ok(message) = collect(&events) {
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&message).is_ok(), "{:?}", message);
        }
    }
}
