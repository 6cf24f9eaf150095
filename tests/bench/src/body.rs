//! Request bodies in the shape of an agent's: a system prompt with cache marks, thirty tools, and a
//! long conversation of tool calls.

use serde_json::{Value, json};

const TOOLS: usize = 30;
/// The approximate length of a tool's result, in bytes.
const RESULT: usize = 2_400;

/// A request body of about this many bytes.
pub(crate) fn request(model: &str, bytes: usize) -> Vec<u8> {
    let large = bytes > 50_000;
    let mut messages =
        vec![json!({ "role": "user", "content": "Look at the files and say what they do." })];
    let system = if large {
        words(6_000, 1)
    } else {
        words(200, 1)
    };
    let tools: Vec<Value> = (0..if large { TOOLS } else { 1 }).map(tool).collect();
    let mut body = json!({
        "model": model,
        "system": [
            { "type": "text", "text": "You are a coding agent.", "cache_control": { "type": "ephemeral" } },
            { "type": "text", "text": system, "cache_control": { "type": "ephemeral" } },
        ],
        "tools": tools,
        "metadata": { "user_id": "{\"device_id\":\"0\",\"session_id\":\"6f1c0a52-8f0e-4a53-9a6e-0f5d6f3f9c11\"}" },
        "max_tokens": 32_000,
        "stream": model != "json",
    });
    let mut size = body.to_string().len();
    let mut turn = 0;
    while size + RESULT + 400 < bytes {
        let pair = round(turn);
        size += pair.iter().map(|m| m.to_string().len() + 1).sum::<usize>();
        messages.extend(pair);
        turn += 1;
    }
    let rest = bytes.saturating_sub(size + 200);
    if let Some(last) = messages.last_mut() {
        let mark = json!({ "type": "ephemeral" });
        if let Some(block) = last
            .pointer_mut("/content/0")
            .and_then(Value::as_object_mut)
        {
            block.insert("cache_control".to_owned(), mark);
        }
    }
    if rest > 0 {
        messages.push(json!({ "role": "assistant", "content": "I see." }));
        messages.push(json!({ "role": "user", "content": words(rest, turn) }));
    }
    body["messages"] = Value::Array(messages);
    body.to_string().into_bytes()
}

/// A tool call by the model, and its result from the client.
fn round(turn: usize) -> [Value; 2] {
    let id = format!("toolu_{turn:024}");
    let command = format!(
        "sed -n '{},{}p' src/part_{turn}.rs | grep -n \"fn \"",
        turn * 10,
        turn * 10 + 80
    );
    [
        json!({ "role": "assistant", "content": [
            { "type": "text", "text": format!("Part {turn} next.") },
            { "type": "tool_use", "id": id, "name": format!("tool_{}", turn % TOOLS), "input": { "command": command, "timeout": 1000 } },
        ] }),
        json!({ "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": id, "content": words(RESULT, turn), "is_error": false },
        ] }),
    ]
}

fn tool(index: usize) -> Value {
    json!({
        "name": format!("tool_{index}"),
        "description": words(700, index),
        "input_schema": {
            "type": "object",
            "properties": {
                "command": { "type": "string", "description": "what to run" },
                "timeout": { "type": "number", "minimum": 0 },
                "where": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
            },
            "required": ["command"],
            "additionalProperties": false,
        },
    })
}

/// A text of this many bytes, with the line breaks and quotes that code has.
fn words(bytes: usize, seed: usize) -> String {
    const WORDS: [&str; 12] = [
        "let ",
        "mut ",
        "value",
        " = ",
        "self.",
        "next",
        "(",
        ")",
        ";\n",
        "\"text\" ",
        "    ",
        "match ",
    ];
    let mut text = String::with_capacity(bytes + 8);
    let mut state = seed as u64 * 2_654_435_761 + 1;
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(WORDS[(state >> 33) as usize % WORDS.len()]);
    }
    text.truncate(bytes);
    text
}
