//! A forced stream collected by the gateway equals the message that the official SDKs accumulate
//! from the same events.

use serde_json::Value;

use crate::{
    install,
    support::{Answer, Gateway, Upstream},
    survives::{KEY, sdks},
};

fn stream(blocks: &str, end: &str) -> String {
    let mut text = String::new();
    let start = r#"{"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-5-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"cache_creation_input_tokens":3,"cache_read_input_tokens":7,"output_tokens":1,"service_tier":"standard"}}}"#;
    for data in start
        .lines()
        .chain(
            blocks
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty()),
        )
        .chain(end.lines())
        .chain(r#"{"type":"message_stop"}"#.lines())
    {
        let event: Value = serde_json::from_str(data).unwrap();
        let name = event["type"].as_str().unwrap();
        text.push_str(&format!("event: {name}\ndata: {data}\n\n"));
    }
    text
}

fn end(reason: &str) -> String {
    format!(
        r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}","stop_sequence":null}},"usage":{{"output_tokens":33}}}}"#
    )
}

/// Streams with everything that messages may contain, each with its oddities.
fn streams() -> Vec<(&'static str, String)> {
    let thinking = r#"
        {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}
        {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"so \u00e9"}}
        {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":" it is"}}
        {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQB\/w8+\u003d="}}
        {"type":"content_block_stop","index":0}
        {"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"c2VjcmV0"}}
        {"type":"content_block_stop","index":1}
        {"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}
        {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"hel"}}
        {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"lo"}}
        {"type":"content_block_stop","index":2}"#;
    let tools = r#"
        {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"toolu_1","name":"Bash","input":{}}}
        {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":""}}
        {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"command\":\"ls \\u00e9"}}
        {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"\",\"n\":[1,2"}}
        {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"]}"}}
        {"type":"content_block_stop","index":0}
        {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_2","name":"Now","input":{}}}
        {"type":"content_block_stop","index":1}"#;
    let citations = r#"
        {"type":"content_block_start","index":0,"content_block":{"type":"text","text":"","citations":[]}}
        {"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"type":"char_location","cited_text":"a","document_index":0,"document_title":"d","start_char_index":0,"end_char_index":1,"file_id":null}}}
        {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"cited"}}
        {"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"type":"char_location","cited_text":"b","document_index":0,"document_title":"d","start_char_index":1,"end_char_index":2,"file_id":null}}}
        {"type":"content_block_stop","index":0}"#;
    let unknown = r#"
        {"type":"content_block_start","index":0,"content_block":{"type":"fallback","from":"a","to":{"model":"b"}}}
        {"type":"content_block_stop","index":0}
        {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}
        {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"after"}}
        {"type":"content_block_stop","index":1}"#;
    let stopped = r#"{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"END"},"usage":{"output_tokens":4}}"#;
    vec![
        (
            "thinking, signature, redacted",
            stream(thinking, &end("end_turn")),
        ),
        ("tools", stream(tools, &end("tool_use"))),
        ("citations", stream(citations, &end("end_turn"))),
        ("an unknown block", stream(unknown, &end("end_turn"))),
        ("a stop sequence", stream(unknown, stopped)),
        ("a refusal without content", stream("", &end("refusal"))),
    ]
}

#[test]
fn what_the_gateway_collects_is_what_the_sdks_accumulate() {
    if install::skipped() {
        return;
    }
    let streams = streams();
    let gateways: Vec<[Gateway; 2]> = streams
        .iter()
        .map(|(_, events)| {
            let events = events.clone();
            let upstream = Upstream::with(move |_| Answer::sse(&events));
            ["", "force_stream = true"].map(|more| {
                let account =
                    "preset = \"anthropic\"\naccounts = [{ name = \"ada\", key = \"k\" }]";
                Gateway::echo()
                    .auth("strict", &[KEY])
                    .upstream("up", &upstream, &format!("{account}\n{more}"))
                    .start()
            })
        })
        .collect();
    let asked: Vec<(&Gateway, &str)> = gateways
        .iter()
        .flat_map(|[plain, forced]| [(plain, "stream"), (forced, "create")])
        .collect();
    for (sdk, said) in sdks(&asked) {
        for ((name, _), said) in streams.iter().zip(said.chunks(2)) {
            let [accumulated, collected] = [message(&said[0]), message(&said[1])];
            assert_eq!(
                collected, accumulated,
                "{name}, {sdk}: what was collected is not what was accumulated"
            );
            assert_eq!(collected["id"], "msg_01");
            assert_eq!(collected["usage"]["cache_read_input_tokens"], 7);
        }
    }
}

#[track_caller]
fn message(said: &Value) -> Value {
    let mut message = said["message"].clone();
    assert!(message.is_object(), "{said}");
    plain(&mut message);
    message
}

/// Removes what an SDK adds itself: absent members as null, and parsed outputs.
fn plain(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, value| !value.is_null() && !name.starts_with("parsed"));
            members.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}
