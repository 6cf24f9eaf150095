//! Requests that are unusual but legal.

use serde_json::{Map, Value, json};

/// One pixel.
const IMAGE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

/// What unknown members have. The numbers are those that a floating point number changes.
const UNKNOWN: &str = r#"{ "n": 12345678901234567890123, "f": 1.0e0, "z": -0, "s": "\u0041\/", "l": [[], {}, null] }"#;

/// The member that carries what is unknown.
pub(super) const UNKNOWN_KEY: &str = "x_unknown";

/// How deep the nesting of an unknown member is.
const DEPTH: usize = 60;

/// A request with everything that clients send, in the middle of a conversation.
pub(super) fn rich() -> Value {
    let cached = json!({ "type": "ephemeral" });
    json!({
        "model": "claude-sonnet-5-5",
        "max_tokens": 32_000,
        "stream": true,
        "system": [
            { "type": "text", "text": "You are a careful assistant." },
            { "type": "text", "text": "Answer in English.", "cache_control": cached },
        ],
        "tools": [
            {
                "name": "ls",
                "description": "Lists the files of a folder.",
                "input_schema": {
                    "type": "object",
                    "properties": { "path": { "type": "string" }, "cache_control": { "type": "string" } },
                    "required": ["path"],
                },
                "cache_control": cached,
            },
        ],
        "tool_choice": { "type": "auto" },
        "metadata": { "user_id": "user-1" },
        "stop_sequences": ["END"],
        "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "What is in this folder?" },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": IMAGE } },
            ] },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "", "signature": "" },
                { "type": "thinking", "thinking": "I should look.", "signature": "c2lnbmF0dXJl" },
                { "type": "text", "text": "I will look." },
                { "type": "tool_use", "id": "toolu_01", "name": "ls", "input": { "path": "." } },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "toolu_01", "content": [
                    { "type": "text", "text": "a.txt\nb.txt" },
                ], "cache_control": cached },
            ] },
        ],
    })
}

/// The shortest request of a client.
pub(super) fn short() -> Value {
    json!({
        "model": "claude-sonnet-5-5", "max_tokens": 64, "system": "Be brief.",
        "messages": [{ "role": "user", "content": "Hello?" }],
    })
}

/// The same request with its texts as strings or as blocks, whichever it does not have.
pub(super) fn other_form(body: &Value) -> Value {
    let mut body = body.clone();
    flip(&mut body["system"]);
    for message in list_mut(&mut body["messages"]) {
        flip(&mut message["content"]);
        for block in list_mut(&mut message["content"]) {
            if block["type"] == "tool_result" {
                flip(&mut block["content"]);
            }
        }
    }
    if body["system"].is_null()
        && let Some(members) = body.as_object_mut()
    {
        members.shift_remove("system");
    }
    body
}

/// A string becomes a block, and blocks of text become a string.
fn flip(content: &mut Value) {
    *content = match content.take() {
        Value::String(text) => json!([{ "type": "text", "text": text }]),
        Value::Array(blocks) if blocks.len() == 1 && blocks[0]["type"] == "text" => {
            blocks[0]["text"].clone()
        }
        other => other,
    };
}

/// Every text of a request that a model reads, in order.
pub(super) fn texts(body: &Value) -> Vec<String> {
    fn collect(content: &Value, into: &mut Vec<String>) {
        match content {
            Value::String(text) => into.push(text.clone()),
            Value::Array(blocks) => blocks.iter().for_each(|block| {
                into.extend(block["text"].as_str().map(str::to_owned));
                collect(&block["content"], into);
            }),
            _ => {}
        }
    }
    let mut all = Vec::new();
    collect(&body["system"], &mut all);
    for message in body["messages"].as_array().into_iter().flatten() {
        collect(&message["content"], &mut all);
    }
    all
}

/// The requests with lists and texts that are empty, each with what is empty.
pub(super) fn empty(body: &Value) -> Vec<(&'static str, Value)> {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = body.clone();
        change(&mut body);
        body
    };
    vec![
        (
            "`messages` is []",
            with(&|body| body["messages"] = json!([])),
        ),
        ("`system` is []", with(&|body| body["system"] = json!([]))),
        ("`system` is \"\"", with(&|body| body["system"] = json!(""))),
        ("`tools` is []", with(&|body| body["tools"] = json!([]))),
        (
            "each `content` is []",
            with(&|body| contents(body, &json!([]))),
        ),
        (
            "each `content` is \"\"",
            with(&|body| contents(body, &json!(""))),
        ),
        (
            "each text is \"\"",
            with(&|body| contents(body, &json!([{ "type": "text", "text": "" }]))),
        ),
        (
            "only `model` and `messages` are there",
            json!({ "model": body["model"], "messages": body["messages"] }),
        ),
    ]
}

fn contents(body: &mut Value, content: &Value) {
    for message in list_mut(&mut body["messages"]) {
        message["content"] = content.clone();
    }
}

/// The request with blocks of every kind, also of unknown ones.
pub(super) fn block_kinds(body: &Value) -> Value {
    let mut body = body.clone();
    let user = json!({ "role": "user", "content": [
        { "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": "d" }, "title": "t" },
        { "type": "search_result", "source": "s", "title": "t", "content": [{ "type": "text", "text": "r" }] },
        { "type": "x_unknown_block", "data": { "a": [1] } },
        { "type": "text", "text": "And now?", "citations": [] },
    ] });
    let assistant = json!({ "role": "assistant", "content": [
        { "type": "redacted_thinking", "data": "b3BhcXVl" },
        { "type": "server_tool_use", "id": "srvtoolu_01", "name": "web_search", "input": { "query": "q" } },
        { "type": "web_search_tool_result", "tool_use_id": "srvtoolu_01", "content": [
            { "type": "web_search_result", "url": "https://example.com", "title": "t", "encrypted_content": "e" },
        ] },
        { "type": "tool_use", "id": "toolu_02", "name": "ls", "input": {} },
        { "type": "tool_use", "id": "toolu_03", "name": "ls", "input": { "path": "x" } },
    ] });
    let results = json!({ "role": "user", "content": [
        { "type": "tool_result", "tool_use_id": "toolu_02" },
        { "type": "tool_result", "tool_use_id": "toolu_03", "content": "", "is_error": true },
        { "type": "text", "text": "Go on." },
    ] });
    let system = json!({ "role": "system", "content": "Be brief." });
    if let Some(messages) = body["messages"].as_array_mut() {
        messages.extend([assistant, results, user, system]);
    }
    body
}

/// The request with an unknown member in every object that a rule may rewrite in part, as JSON
/// text.
pub(super) fn with_unknown(body: &Value) -> String {
    let mut body = body.clone();
    let mark = json!("(unknown)");
    body[UNKNOWN_KEY] = mark.clone();
    if body["metadata"].is_object() {
        body["metadata"][UNKNOWN_KEY] = mark.clone();
    }
    let lists = ["system", "tools", "messages"];
    for list in lists {
        for item in list_mut(&mut body[list]) {
            if item.is_object() {
                item[UNKNOWN_KEY] = mark.clone();
            }
            for block in list_mut(&mut item["content"]) {
                // A rule may replace a whole image, or leave thinking out.
                let kind = block["type"].as_str();
                if matches!(kind, Some("text" | "tool_use" | "tool_result")) {
                    block[UNKNOWN_KEY] = mark.clone();
                }
            }
            remove_null(item, "content");
        }
    }
    for list in lists {
        remove_null(&mut body, list);
    }
    let deep = format!("{}{UNKNOWN}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    body.to_string().replace(&mark.to_string(), &deep)
}

/// Indexing adds a member that is null.
fn remove_null(value: &mut Value, key: &str) {
    if let Some(members) = value.as_object_mut()
        && members.get(key).is_some_and(Value::is_null)
    {
        members.shift_remove(key);
    }
}

/// The same JSON in another spelling: members in reverse order, escapes, spaces.
pub(super) fn other_spelling(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!("{}\t:\n{}", escaped(name), other_spelling(value))
            };
            let members: Vec<String> = members.iter().rev().map(member).collect();
            format!("{{ {} }}", members.join(" ,\r\n"))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(other_spelling).collect();
            format!("[\n{} ]", items.join(" , "))
        }
        Value::String(text) => escaped(text),
        other => other.to_string(),
    }
}

/// A string whose second character is an escape, and whose slashes are.
fn escaped(text: &str) -> String {
    let plain = Value::from(text).to_string();
    let mut out = String::new();
    for (at, c) in plain.char_indices() {
        match c {
            '/' => out.push_str("\\/"),
            _ if at == 2 && c.is_ascii_alphanumeric() && !plain.starts_with("\"\\") => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out
}

/// The request with a last message of this many bytes.
pub(super) fn with_long_text(body: &Value, length: usize) -> Value {
    let line = "A line of a log, with \"quotes\" and a path: C:\\temp.\n";
    let text = line.repeat(length / line.len());
    with_messages(body, [json!({ "role": "user", "content": text })])
}

/// The request with many short messages, of this many bytes in all.
pub(super) fn with_many_messages(body: &Value, length: usize) -> Value {
    let message = |at: usize| {
        let role = if at.is_multiple_of(2) {
            "assistant"
        } else {
            "user"
        };
        json!({ "role": role, "content": [{ "type": "text", "text": format!("message {at}") }] })
    };
    with_messages(body, (0..length / 70).map(message))
}

fn with_messages(body: &Value, more: impl IntoIterator<Item = Value>) -> Value {
    let mut body = body.clone();
    if let Some(messages) = body["messages"].as_array_mut() {
        messages.extend(more);
    }
    body
}

/// The members that this version of the API refuses: a request must not have them afterwards if it
/// did not before.
pub(super) fn refused_by_2026_10_21(body: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["temperature", "top_p", "top_k"] {
        if body.get(name).is_some() {
            found.push(format!("/{name}"));
        }
    }
    for (at, message) in body["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let is_assistant = message["role"] == "assistant";
        let blocks = message["content"].as_array().into_iter().flatten();
        for (index, block) in blocks.enumerate() {
            let cites = block["citations"]
                .as_array()
                .is_some_and(|list| !list.is_empty());
            if is_assistant && block["type"] == "document" || !is_assistant && cites {
                found.push(format!("/messages/{at}/content/{index}"));
            }
        }
    }
    found
}

/// The request without what that version refuses.
pub(super) fn for_2026_10_21(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(members) = body.as_object_mut() {
        members.retain(|name, _| !["temperature", "top_p", "top_k"].contains(&name.as_str()));
    }
    body
}

/// The JSON Pointers of the unknown members, with their texts.
pub(super) fn unknown_members(body: &Value) -> Vec<String> {
    fn visit(at: &str, value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let at = format!("{at}/{name}");
                    match name == UNKNOWN_KEY {
                        true => into.push(at),
                        false => visit(&at, value, into),
                    }
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    visit(&format!("{at}/{index}"), value, into);
                }
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    visit("", body, &mut all);
    all
}

/// How often the text of unknown members occurs exactly as it was sent.
pub(super) fn exact_unknown(text: &str) -> usize {
    text.matches(UNKNOWN).count()
}

fn list_mut(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}

/// The members of an object, for a text that is one.
pub(super) fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_spelling_is_the_same_json() {
        for body in [rich(), block_kinds(&rich()), json!({"a/b": "\"q\" \\u é"})] {
            let text = other_spelling(&body);
            assert_ne!(text, body.to_string());
            assert_eq!(
                serde_json::from_str::<Value>(&text).unwrap(),
                body,
                "{text}"
            );
        }
        assert!(other_spelling(&rich()).contains("\"m\\u006fdel\""));
    }

    #[test]
    fn the_other_form_has_the_same_texts() {
        let body = json!({
            "system": "s",
            "messages": [
                { "role": "user", "content": "a" },
                { "role": "user", "content": [{ "type": "text", "text": "b" }] },
                { "role": "user", "content": [{ "type": "tool_result", "content": "c" }] },
            ],
        });
        let other = other_form(&body);
        assert_eq!(texts(&other), ["s", "a", "b", "c"]);
        assert_eq!(texts(&body), texts(&other));
        assert_eq!(other["system"][0]["text"], "s");
        assert_eq!(other["messages"][1]["content"], "b");
        assert_eq!(other_form(&other), body);
        assert_eq!(
            other_form(&json!({ "messages": [] })),
            json!({ "messages": [] })
        );
    }

    #[test]
    fn every_object_has_an_unknown_member_that_is_counted() {
        let text = with_unknown(&rich());
        let parsed: Value = serde_json::from_str(&text).unwrap();
        let members = unknown_members(&parsed);
        assert_eq!(exact_unknown(&text), members.len());
        for at in [
            "/x_unknown",
            "/tools/0/x_unknown",
            "/messages/1/content/2/x_unknown",
        ] {
            assert!(
                members.iter().any(|member| member == at),
                "{at}: {members:?}"
            );
        }
        assert!(parsed["tools"][0].get("content").is_none());
    }

    #[test]
    fn what_the_newer_version_refuses_is_found() {
        let body = json!({
            "top_k": 1,
            "messages": [
                { "role": "assistant", "content": [{ "type": "document" }] },
                { "role": "user", "content": [
                    { "type": "document" },
                    { "type": "text", "citations": [{}] },
                ] },
            ],
        });
        let found = ["/top_k", "/messages/0/content/0", "/messages/1/content/1"];
        assert_eq!(refused_by_2026_10_21(&body), found);
        assert!(refused_by_2026_10_21(&block_kinds(&rich())).is_empty());
        assert!(for_2026_10_21(&body).get("top_k").is_none());
    }

    #[test]
    fn large_requests_are_as_large_as_they_should_be() {
        for body in [
            with_long_text(&rich(), 2_000_000),
            with_many_messages(&rich(), 2_000_000),
        ] {
            let length = body.to_string().len();
            assert!((1_900_000..2_400_000).contains(&length), "{length}");
        }
        assert_eq!(empty(&rich()).len(), 8);
    }
}
