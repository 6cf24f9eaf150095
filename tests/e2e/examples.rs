//! The example plugins, as components in the gateway.

use serde_json::{Value, json};

use crate::support::{Answer, Gateway, Received, Upstream, component, shapes::EVENTS};

const KEY: &str = "AKIAABCDEFGHIJKLMNOP";

fn body(text: &str, stream: bool) -> String {
    let message = json!({"role": "user", "content": text});
    json!({"model": "claude-opus-5-5", "max_tokens": 16, "messages": [message], "stream": stream})
        .to_string()
}

/// Answers with the placeholder of the request, in pieces of three bytes, the last of them at the
/// end of its block.
fn repeats_the_placeholder(request: &Received) -> Answer {
    let text = request.text();
    let from = text.find("[[secret-").expect("a placeholder");
    let to = from + text[from..].find("]]").expect("its end") + 2;
    let answer = format!("It is {} [[", &text[from..to]);
    if request.json()["stream"] != json!(true) {
        let message = json!({
            "id": "msg_01", "type": "message", "role": "assistant", "model": "claude-opus-5-5",
            "content": [{"type": "text", "text": answer}], "stop_reason": "end_turn",
            "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 1},
        });
        return Answer::json(200, &message.to_string());
    }
    let pieces = answer.as_bytes().chunks(3).map(|piece| {
        let text = Value::from(str::from_utf8(piece).expect("ASCII"));
        format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
             \"delta\":{{\"type\":\"text_delta\",\"text\":{text}}}}}\n\n"
        )
    });
    let deltas: String = pieces.collect();
    let (start, end) = (EVENTS[..2].concat(), EVENTS[4..].concat());
    Answer::sse(&format!("{start}{deltas}{end}"))
}

fn texts(stream: &str) -> String {
    let data = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let events = data.map(|data| serde_json::from_str::<Value>(data).expect(data));
    events
        .filter_map(|event| Some(event["delta"]["text"].as_str()?.to_owned()))
        .collect()
}

#[test]
fn a_secret_never_reaches_the_upstream_and_comes_back_to_the_client() {
    let upstream = Upstream::with(repeats_the_placeholder);
    let gateway = Gateway::to(&upstream)
        .plugin("15-redact_secrets.wasm", component("redact-secrets"))
        .start();
    let from = gateway.mark();
    let seen = gateway.message(body(&format!("my key is {KEY}, keep it"), true));
    seen.has_status(200);
    assert_eq!(texts(&seen.text()), format!("It is {KEY} [["));
    // Nothing comes after the end of its block.
    let text = seen.text();
    let stop = text.find("event: content_block_stop").unwrap();
    assert!(!text[stop..].contains("text_delta"), "{text}");
    let sent = upstream.last().text();
    assert!(!sent.contains(KEY), "{sent}");
    let record = gateway.record(from);
    assert!(record.contains("secrets replaced: 1"), "{record}");
    let receipt = seen.header("x-witgate-edits").unwrap_or_default();
    assert!(receipt.contains("redact-secrets"), "{receipt}");

    // The next turn sends the same bytes, and JSON has the same text.
    let again = gateway.message(body(&format!("my key is {KEY}, keep it"), false));
    let message = again.has_status(200).json();
    assert_eq!(message["content"][0]["text"], format!("It is {KEY} [["));
    assert_eq!(
        upstream.last().json()["messages"],
        serde_json::from_str::<Value>(&sent).unwrap()["messages"]
    );
}

#[test]
fn a_request_without_secrets_makes_no_call() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .plugin("15-redact_secrets.wasm", component("redact-secrets"))
        .start();
    let from = gateway.mark();
    let sent = body("nothing to hide", false);
    gateway.message(&sent).has_status(200);
    upstream.last().has_body(&sent);
    let record = gateway.record(from);
    assert!(record.contains("calls=0 "), "{record}");
}

#[test]
fn secrets_in_sixteen_mebibytes_are_replaced_within_the_usual_limits() {
    let upstream = Upstream::with(repeats_the_placeholder);
    let gateway = Gateway::to(&upstream)
        .plugin("15-redact_secrets.wasm", component("redact-secrets"))
        .start();
    let prose = "let text = \"some words\";\n".repeat((8 << 20) / 25);
    let seen = gateway.message(body(&format!("{prose}{KEY}{prose}"), false));
    let message = seen.has_status(200).json();
    assert_eq!(message["content"][0]["text"], format!("It is {KEY} [["));
    assert!(!upstream.last().text().contains(KEY));
}

#[test]
fn edits_inside_of_a_string_are_in_the_log_as_what_they_are() {
    let upstream = Upstream::with(repeats_the_placeholder);
    let gateway = Gateway::to(&upstream)
        .log("debug")
        .plugin("15-redact_secrets.wasm", component("redact-secrets"))
        .start();
    gateway
        .message(body(&format!("my key is {KEY}"), false))
        .has_status(200);
    let line = gateway.line(&["edited", "redact-secrets", "replace-part"]);
    assert!(line.contains("/messages/0/content"), "{line}");
    assert!(line.contains("10") && line.contains("30"), "{line}");
    assert!(!line.contains(KEY), "{line}");
}
