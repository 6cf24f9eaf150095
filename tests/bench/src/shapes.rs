//! What is asked and answered: a request of the size and shape that Claude Code sends late in a session, and streams that
//! say the same in each protocol.

use serde_json::{Value, json};

/// What an upstream speaks; the first one needs no translation.
#[derive(Clone, Copy)]
pub(crate) enum Dialect {
    Anthropic,
    Gemini,
    OpenAi,
}

pub(crate) const DIALECTS: [Dialect; 3] = [Dialect::Anthropic, Dialect::Gemini, Dialect::OpenAi];

/// Turns with a tool call and its result.
const ROUNDS: usize = 199;
const TOOLS: usize = 30;

impl Dialect {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAi => "openai",
        }
    }
}

/// The same body for this dialect's upstream and one of its answers.
pub(crate) fn for_dialect(body: &str, dialect: Dialect, answer: &str) -> Vec<u8> {
    let wanted = if answer == "long" {
        "say it all"
    } else {
        "be short"
    };
    body.replacen("the-model", &format!("{}-model", dialect.name()), 1)
        .replacen("what to say", wanted, 1)
        .into_bytes()
}

pub(crate) fn small_request() -> String {
    json!({
        "model": "the-model",
        "max_tokens": 1000,
        "messages": [{ "role": "user", "content": "what to say" }],
        "stream": true,
    })
    .to_string()
}

/// About 400 messages and 600 KB.
pub(crate) fn large_request() -> String {
    let mark = json!({ "type": "ephemeral" });
    let mut messages = vec![
        json!({ "role": "user", "content": [{ "type": "text", "text": text(600, 1) }, { "type": "text", "text": "what to say" }] }),
        json!({ "role": "system", "content": [{ "type": "text", "text": text(9_000, 2) }], "output_config": { "effort": "medium" } }),
    ];
    for round in 0..ROUNDS {
        let id = format!("toolu_{round:024}");
        let input =
            json!({ "command": text(120 + round % 7 * 40, round), "description": "what it does" });
        messages.push(json!({ "role": "assistant", "content": [
            { "type": "text", "text": text(150, round) },
            { "type": "tool_use", "id": id, "name": format!("tool_{}", round % TOOLS), "input": input },
        ] }));
        // Most results are short, some are files.
        let length = if round % 8 == 0 { 8_000 } else { 900 };
        messages.push(json!({ "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": id, "content": text(length, round), "is_error": false },
        ] }));
    }
    if let Some(last) = messages.last_mut() {
        last["content"][0]["cache_control"] = mark.clone();
    }
    json!({
        "model": "the-model",
        "messages": messages,
        "system": [
            { "type": "text", "text": text(90, 3) },
            { "type": "text", "text": text(60, 4), "cache_control": mark },
            { "type": "text", "text": text(7_000, 5), "cache_control": mark },
        ],
        "tools": (0..TOOLS).map(tool).collect::<Vec<_>>(),
        "metadata": { "user_id": "{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"s\"}" },
        "max_tokens": 32_000,
        "thinking": { "type": "adaptive", "display": "omitted" },
        "stream": true,
    })
    .to_string()
}

fn tool(number: usize) -> Value {
    json!({
        "name": format!("tool_{number}"),
        "description": text(1_800, number),
        "input_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "command": { "type": "string", "description": text(120, number) },
                "description": { "type": "string", "description": text(80, number) },
                "timeout": { "type": "number", "description": text(60, number) },
                "items": { "type": "array", "items": { "type": "object", "properties": {
                    "path": { "type": "string" },
                    "mode": { "type": "string", "enum": ["read", "write"] },
                }, "required": ["path"] } },
            },
            "required": ["command"],
            "additionalProperties": false,
        },
    })
}

/// Words, line ends and quotation marks, as source code has them.
fn text(length: usize, seed: usize) -> String {
    const WORDS: [&str; 8] = [
        "let",
        "value",
        "=",
        "\"quoted\"",
        "fn\n",
        "répond",
        "path/to/file.rs",
        "0x1f;\n\t",
    ];
    let mut text = String::with_capacity(length + 16);
    let mut at = seed;
    while text.len() < length {
        at = at.wrapping_mul(31).wrapping_add(7);
        text.push_str(WORDS[at / 3 % WORDS.len()]);
        text.push(' ');
    }
    text
}

/// A stream of this many events, all but a few of them a piece of text.
pub(crate) fn stream(dialect: Dialect, events: usize) -> Vec<String> {
    match dialect {
        Dialect::Anthropic => anthropic(events),
        Dialect::Gemini => gemini(events),
        Dialect::OpenAi => openai(events),
    }
}

fn anthropic(events: usize) -> Vec<String> {
    let message = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": 9, "output_tokens": 1 } });
    let mut data = vec![
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
    ];
    data.extend((5..events).map(|at| json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": piece(at) } })));
    data.extend([
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null }, "usage": { "output_tokens": events } }),
        json!({ "type": "message_stop" }),
    ]);
    data.iter()
        .map(|data| {
            format!(
                "event: {}\ndata: {data}\n\n",
                data["type"].as_str().unwrap_or_default()
            )
        })
        .collect()
}

fn gemini(events: usize) -> Vec<String> {
    let chunk = |at: usize| {
        let mut candidate =
            json!({ "content": { "role": "model", "parts": [{ "text": piece(at) }] }, "index": 0 });
        if at + 1 == events {
            candidate["finishReason"] = "STOP".into();
        }
        json!({
            "candidates": [candidate],
            "usageMetadata": { "promptTokenCount": 9, "candidatesTokenCount": at, "totalTokenCount": at + 9 },
            "modelVersion": "m",
            "responseId": "r",
        })
    };
    (0..events)
        .map(|at| format!("data: {}\r\n\r\n", chunk(at)))
        .collect()
}

fn openai(events: usize) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| json!({ "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, "usage": usage });
    let mut data: Vec<Value> = (3..events)
        .map(|at| json!([{ "index": 0, "delta": { "content": piece(at) }, "finish_reason": null }]))
        .map(|choices| chunk(choices, Value::Null))
        .collect();
    data.push(chunk(
        json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]),
        Value::Null,
    ));
    data.push(chunk(
        json!([]),
        json!({ "prompt_tokens": 9, "completion_tokens": events, "total_tokens": events + 9 }),
    ));
    let mut stream: Vec<String> = data
        .iter()
        .map(|data| format!("data: {data}\n\n"))
        .collect();
    stream.push("data: [DONE]\n\n".to_owned());
    stream
}

fn piece(at: usize) -> String {
    format!("some words {at} \"of\" text\n")
}
