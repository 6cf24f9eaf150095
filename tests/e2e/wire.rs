//! Plugins of stage `wire`, between the dialect and the upstream. The guest is `tests/guests/wire`.

use serde_json::json;

use crate::support::{
    Answer, Gateway, Upstream, component,
    gateway::Builder,
    shapes::{EVENTS, HELLO, HELLO_STREAM, MESSAGE, SSE},
};

/// A response in chunks of the OpenAI API, of a server that names the text `say`.
const CHUNKS: &str = concat!(
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"say\":\"hel\"}}]}\n\n",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"say\":\"lo\"}}]}\n\n",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: [DONE]\n\n",
);

/// The same response as one JSON object.
const COMPLETION: &str = r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","say":"hello"},"finish_reason":"stop"}]}"#;

const MENDS: &str = r#"mend = { '"say"' = '"content"' }"#;

fn gateway(preset: &str, upstream: &Upstream, settings: &str) -> Builder {
    Gateway::preset(preset, upstream)
        .plugin("10-wire.wasm", component("wire"))
        .tables(&format!("[plugin.wire]\nsettings = {{ {settings} }}"))
}

#[test]
fn a_wire_plugin_edits_the_translated_request() {
    let upstream = Upstream::with(|_| Answer::sse(&CHUNKS.replace("say", "content")));
    // Qwen's chat template thinks unless it is set not to.
    let settings = "saw = true, path = '$.messages[0].role', \
                    set = { '/chat_template_kwargs' = { enable_thinking = false } }";
    let gateway = gateway("openai", &upstream, settings).start();
    let seen = gateway
        .request("POST", "/v1/messages")
        .header("content-type", "application/json")
        .header("anthropic-version", "2023-06-01")
        .body(HELLO_STREAM)
        .send();
    seen.has_status(200).has("\"text\":\"hel\"");
    let receipt = seen.header("x-witgate-edits").unwrap();
    assert!(receipt.contains("wire=2"), "{receipt}");
    let asked = upstream.last();
    asked.has_header("x-wire-saw", "/chat/completions");
    asked.has_no_header("anthropic-version");
    let sent = asked.json();
    assert_eq!(
        sent["chat_template_kwargs"],
        json!({ "enable_thinking": false })
    );
    assert!(sent.get("stream_options").is_some(), "{sent}");
}

#[test]
fn a_wire_plugin_mends_events_before_the_dialect_reads_them() {
    for answer in [
        Answer::sse(CHUNKS),
        Answer::json(200, COMPLETION),
        Answer::whole(200, "text/plain", CHUNKS),
    ] {
        let upstream = Upstream::script([answer]);
        let gateway = gateway("openai", &upstream, MENDS).start();
        let seen = gateway.message(HELLO);
        seen.has_status(200);
        assert_eq!(
            seen.json()["content"],
            json!([{ "type": "text", "text": "hello" }])
        );
    }
}

#[test]
fn a_wire_plugin_reads_the_raw_error_and_the_request_that_was_sent() {
    let full = r#"{"error":{"message":"KV cache is full","code":"kv_full"}}"#;
    let good = || Answer::sse(&CHUNKS.replace("say", "content"));
    // The second expression selects nothing in a request of the OpenAI API.
    for (path, requests) in [("$.stream_options", 2), ("$.system", 1)] {
        let upstream = Upstream::script([Answer::json(422, full), good()]);
        let settings = format!("retry = 'kv_full', path = '{path}'");
        let gateway = gateway("openai", &upstream, &settings).start();
        let body = HELLO_STREAM.replace("\"messages\"", "\"system\":\"s\",\"messages\"");
        let seen = gateway.message(body);
        seen.has_status(if requests == 2 { 200 } else { 422 });
        assert_eq!(upstream.received().len(), requests, "{path}");
    }
}

#[test]
fn on_the_wire_of_anthropics_dialect_a_plugin_is_called_after_all_others() {
    let upstream = Upstream::ok();
    let settings = "dialects = ['anthropic'], path = '$.cache_control', set = { '/x' = 1 }";
    let gateway = gateway("compatible", &upstream, settings).start();
    let marked = HELLO.replace("\"messages\"", "\"cache_control\":{},\"messages\"");
    let seen = gateway.message(&marked);
    seen.has_status(200)
        .has_header("x-witgate-edits", "strip-cache-control=1");
    upstream.last().has_body(HELLO);

    let gateway = self::gateway("anthropic", &upstream, settings).start();
    let seen = gateway.message(&marked);
    seen.has_header("x-witgate-edits", "wire=1");
    assert_eq!(upstream.last().json()["x"], 1);
}

#[test]
fn what_a_wire_plugin_keeps_goes_to_the_client_byte_for_byte() {
    let odd = SSE
        .replace(
            "event: message_start\n",
            ": comment\n\nevent:message_start\n",
        )
        .replace(
            "event: content_block_stop\ndata: ",
            "event: content_block_stop\ndata:",
        )
        .replace("event: message_delta", "id: 7\nevent: message_delta");
    let (sent, whole) = (odd.clone(), MESSAGE.replace(",", " ,"));
    let json = whole.clone();
    let upstream = Upstream::with(move |request| match request.json()["stream"] == true {
        true => Answer::sse(&sent),
        false => Answer::json(200, &json),
    });
    let settings = "dialects = ['anthropic']";
    let gateway = gateway("anthropic", &upstream, settings).start();
    let kept = odd.strip_prefix(": comment\n\n").unwrap();
    gateway.message(HELLO_STREAM).has_status(200).has_body(kept);
    gateway.message(HELLO).has_status(200).has_body(&whole);

    let settings = "dialects = ['anthropic'], mend = { hello = 'goodbye' }";
    let gateway = self::gateway("anthropic", &upstream, settings).start();
    let mended = |text: &str| text.replace("hello", "goodbye");
    gateway.message(HELLO_STREAM).has_body(mended(kept));
    gateway.message(HELLO).has_body(mended(&whole));
}

#[test]
fn a_wire_plugin_that_fails_is_skipped_only_where_that_is_allowed() {
    let upstream = Upstream::with(|_| Answer::sse(&CHUNKS.replace("say", "content")));
    for (on_error, status) in [("skip", 200), ("fail", 500)] {
        let tables = format!("on_error = \"{on_error}\"");
        let gateway = gateway("openai", &upstream, "fails = true")
            .tables(&tables)
            .start();
        let from = gateway.mark();
        let seen = gateway.message(HELLO);
        seen.has_status(status);
        gateway.line_from(from, &["wire", "failed on purpose on the wire"]);
        match status {
            200 => seen.has("\"text\":\"hello\""),
            _ => seen.is_error(500, "api_error").has("plugin `wire` failed"),
        };
    }
}

#[test]
fn a_stream_that_is_cut_on_the_wire_is_not_shown_as_complete() {
    let begun: String = EVENTS[..4].concat();
    let (answer, writer) = Answer::streamed();
    let upstream = Upstream::script([answer]);
    let settings = "dialects = ['anthropic'], mend = { hel = 'HEL' }";
    let gateway = gateway("anthropic", &upstream, settings).start();
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO_STREAM)
        .sent();
    upstream.request(1);
    writer.write(&begun);
    writer.cut();
    let seen = pending.answer().rest();
    seen.has("\"text\":\"HEL\"").has("event: error");
    seen.has_not("message_stop");
}

#[test]
fn the_stage_is_listed_and_guards_without_dialects_are_refused() {
    let upstream = Upstream::ok();
    let listed = gateway("openai", &upstream, "").run(&["plugins", "list", "--json"]);
    listed.has_code(0);
    let list: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    let stages: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| {
            (
                plugin["name"].as_str().unwrap(),
                plugin["stage"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(stages.last(), Some(&("wire", "wire")), "it is called last");
    assert!(stages.contains(&("merge-roles", "messages")));
    assert!(stages.contains(&("dialect-openai", "dialect")));

    let refused = gateway("openai", &upstream, "dialects = []").fails();
    refused.has_code(4).says(&[
        "wire",
        "`guards.attempt[0]`",
        "with `stage`: `wire` every guard must list the `dialects`",
    ]);
}
