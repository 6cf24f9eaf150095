//! The echo upstream, which answers offline, so that a fresh start works without a key.

use crate::support::{
    Gateway,
    shapes::{HELLO, HELLO_STREAM, message},
};

const TOOL: &str = r#"{"model":"m-1","max_tokens":64,"tools":[{"name":"weather","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":[{"type":"text","text":"use the tool weather with {\"city\":\"Rome\",\"deep\":{\"a\":[1,2]}}"}]}]}"#;

#[test]
fn it_says_what_it_received() {
    let gateway = Gateway::echo().start();
    let body = TOOL.replace("use the tool weather with", "say");
    let seen = gateway.message(&body);
    let answer = seen.has_status(200).json();
    assert_eq!(answer["type"], "message");
    assert_eq!(answer["role"], "assistant");
    assert_eq!(answer["model"], "m-1");
    assert_eq!(answer["stop_reason"], "end_turn");
    let text = answer["content"][0]["text"].as_str().unwrap();
    for word in ["m-1", "1 message", "1 tool", &body.len().to_string()] {
        assert!(text.contains(word), "no `{word}` in {text}");
    }
    assert!(
        answer["usage"]["input_tokens"]
            .as_u64()
            .is_some_and(|count| count > 0),
        "{answer}"
    );
}

#[test]
fn it_streams_what_it_would_have_answered() {
    let gateway = Gateway::echo().start();
    let seen = gateway.message(HELLO_STREAM);
    seen.has_status(200)
        .has_header("cache-control", "no-cache")
        .has_header("x-accel-buffering", "no");
    assert!(
        seen.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"))
    );
    let text = seen.text();
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(names.first(), Some(&"message_start"));
    assert_eq!(names.last(), Some(&"message_stop"));
    for name in [
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
    ] {
        assert!(names.contains(&name), "no {name} in {names:?}");
    }
}

#[test]
fn it_uses_the_tool_that_it_is_asked_to_use() {
    let gateway = Gateway::echo().start();
    let answer = gateway.message(TOOL).has_status(200).json();
    assert_eq!(answer["stop_reason"], "tool_use");
    let blocks = answer["content"].as_array().unwrap();
    let tool = blocks
        .iter()
        .find(|block| block["type"] == "tool_use")
        .expect("a tool_use block");
    assert_eq!(tool["name"], "weather");
    assert_eq!(tool["input"]["deep"]["a"][1], 2);
    assert!(
        tool["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("toolu_")),
        "{tool}"
    );

    let seen = gateway.message(TOOL.replacen('{', "{\"stream\":true,", 1));
    seen.has_status(200)
        .has("input_json_delta")
        .has("\"stop_reason\":\"tool_use\"");

    // A tool result does not request the tool again.
    let id = tool["id"].as_str().unwrap();
    let second = TOOL.replace(
        "]}]}",
        &format!(r#"]}},{{"role":"assistant","content":[{tool}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"{id}","content":"sunny"}}]}}]}}"#),
    );
    let answer = gateway.message(second).has_status(200).json();
    assert_eq!(answer["stop_reason"], "end_turn", "{answer}");
}

#[test]
fn it_counts_and_lists() {
    let gateway = Gateway::echo().start();
    let count = gateway.post("/v1/messages/count_tokens?beta=true", HELLO);
    let count = count.has_status(200).json();
    assert!(
        count["input_tokens"]
            .as_u64()
            .is_some_and(|count| count > 0),
        "{count}"
    );
    assert_eq!(
        count.as_object().unwrap().len(),
        1,
        "only input_tokens: {count}"
    );
    let long = message(&format!(
        r#"[{{"role":"user","content":"{}"}}]"#,
        "word ".repeat(2_000)
    ));
    let more = gateway.post("/v1/messages/count_tokens", long).json();
    assert!(
        more["input_tokens"].as_u64() > count["input_tokens"].as_u64(),
        "{more}"
    );

    let list = gateway.get("/v1/models").has_status(200).json();
    let first = &list["data"][0];
    assert_eq!(first["type"], "model", "{list}");
    assert!(
        first["id"].is_string() && first["display_name"].is_string(),
        "{list}"
    );
    let one = gateway.get(&format!("/v1/models/{}", first["id"].as_str().unwrap()));
    assert_eq!(&one.has_status(200).json(), first);
}

#[test]
fn a_start_without_a_configuration_says_how_to_go_live() {
    let gateway = Gateway::echo()
        .without_config()
        .arg("--listen")
        .arg("127.0.0.1:0")
        .start();
    gateway.message(HELLO).has_status(200);
    let url = format!("http://{}", gateway.addr);
    gateway.line(&["echo model"]);
    gateway.line(&["ANTHROPIC_BASE_URL", &url]);
    gateway.line(&["To use a real model", "witgate.toml"]);
}
