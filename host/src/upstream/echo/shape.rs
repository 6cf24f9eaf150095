//! How the echo upstream checks a request and chooses its reply.

use serde_json::{Map, Value};

use crate::message::RequestKind;

use super::Content;

/// Why the API would reject the request.
pub(super) fn problem(body: &Value, kind: RequestKind) -> Option<String> {
    let missing = |field: &str| Some(format!("{field}: Field required"));
    if !body.is_object() {
        return Some("the request body is not a JSON object".to_owned());
    }
    match &body["model"] {
        Value::String(model) if !model.is_empty() => {}
        Value::Null => return missing("model"),
        _ => return Some("model: Input should be a valid string".to_owned()),
    }
    if kind == RequestKind::Messages {
        match &body["max_tokens"] {
            Value::Null => return missing("max_tokens"),
            tokens if tokens.as_u64().is_some_and(|tokens| tokens > 0) => {}
            _ => return Some("max_tokens: Input should be a positive integer".to_owned()),
        }
    }
    match &body["messages"] {
        Value::Null => missing("messages"),
        Value::Array(messages) if messages.is_empty() => {
            Some("messages: at least one message is required".to_owned())
        }
        Value::Array(_) => None,
        _ => Some("messages: Input should be a valid list".to_owned()),
    }
}

/// The reply to a valid request.
pub(super) fn reply(body: &Value, bytes: usize, edits: &str) -> Content {
    let format = &body["output_config"]["format"];
    if format["type"] == "json_schema" {
        return Content::Text(sample(&format["schema"]).to_string());
    }
    let user = last_of_user(body);
    let texts = texts(user);
    if let Some(use_tool) = texts.iter().rev().find_map(|text| requested_tool(text)) {
        return use_tool;
    }
    if let Some(result) = tool_result(user) {
        let first: String = result.chars().take(200).collect();
        return Content::Text(format!("The tool answered: {first}"));
    }
    Content::Text(received(body, bytes, edits))
}

fn received(body: &Value, bytes: usize, edits: &str) -> String {
    let many = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let count = |key: &str| body[key].as_array().map_or(0, Vec::len);
    format!(
        "This is the echo upstream of Witgate, which works offline. It received: model {}, {}, {}, {bytes} bytes. \
         Edits by plugins: {}.",
        body["model"].as_str().unwrap_or_default(),
        many(count("messages"), "message"),
        many(count("tools"), "tool"),
        if edits.is_empty() { "none" } else { edits },
    )
}

/// The content of the last user message; later messages of role `system` are ignored.
fn last_of_user(body: &Value) -> &Value {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let last = messages.iter().rfind(|message| message["role"] == "user");
    last.map_or(&Value::Null, |message| &message["content"])
}

fn texts(content: &Value) -> Vec<String> {
    let blocks = content.as_array().map_or(&[][..], Vec::as_slice);
    let of_blocks = blocks.iter().filter_map(|block| block["text"].as_str());
    content
        .as_str()
        .into_iter()
        .chain(of_blocks)
        .map(without_reminders)
        .collect()
}

/// The text without the reminders that clients add to the user's message.
fn without_reminders(text: &str) -> String {
    const OPEN: &str = "<system-reminder>";
    const CLOSE: &str = "</system-reminder>";
    let mut left = text;
    let mut kept = String::new();
    while let Some(open) = left.find(OPEN) {
        kept.push_str(&left[..open]);
        left = left[open..]
            .find(CLOSE)
            .map_or("", |close| &left[open + close + CLOSE.len()..]);
    }
    kept.push_str(left);
    kept
}

/// Finds `use the tool NAME with {json}` anywhere in a text.
fn requested_tool(text: &str) -> Option<Content> {
    let (_, call) = text.rsplit_once("use the tool ")?;
    let (name, input) = call.split_once(" with ")?;
    let input = serde_json::Deserializer::from_str(input)
        .into_iter::<Value>()
        .next()?
        .ok()?;
    let name = name.trim().trim_matches('`').to_owned();
    (input.is_object() && !name.is_empty() && !name.contains(char::is_whitespace))
        .then_some(Content::UseTool { name, input })
}

fn tool_result(content: &Value) -> Option<String> {
    let result = content
        .as_array()?
        .iter()
        .rfind(|block| block["type"] == "tool_result")?;
    Some(texts(&result["content"]).join("\n"))
}

/// The smallest value that fits a JSON schema, as far as its types and enums show.
fn sample(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    let kind = &schema["type"];
    match kind
        .as_str()
        .or_else(|| kind[0].as_str())
        .unwrap_or("object")
    {
        "string" => "echo".into(),
        "integer" | "number" => 0.into(),
        "boolean" => false.into(),
        "array" => Value::Array(Vec::new()),
        "null" => Value::Null,
        _ => {
            let properties = schema["properties"].as_object();
            let members = properties.into_iter().flatten();
            Value::Object(
                members
                    .map(|(name, of)| (name.clone(), sample(of)))
                    .collect::<Map<_, _>>(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(content: Value) -> Option<(String, Value)> {
        let body = json!({ "model": "m", "messages": [
            { "role": "user", "content": content },
            { "role": "system", "content": "be brief" },
        ]});
        match reply(&body, 1, "") {
            Content::UseTool { name, input } => Some((name, input)),
            Content::Text(_) => None,
        }
    }

    #[test]
    fn a_tool_is_used_at_the_users_request() {
        let wanted = Some(("Bash".to_owned(), json!({ "command": "ls with me" })));
        let wish = "use the tool Bash with {\"command\":\"ls with me\"}";
        assert_eq!(tool(json!(wish)), wanted);
        assert_eq!(
            tool(json!([{ "type": "text", "text": format!("please {wish} \n") }])),
            wanted
        );
        let reminder =
            format!("{wish}<system-reminder>use the tool X with {{}}</system-reminder>\n");
        assert_eq!(tool(json!(reminder)), wanted);
        assert_eq!(tool(json!("use the tool Bash with care")), None);
    }

    #[test]
    fn a_tool_result_is_named() {
        let body = json!({ "model": "m", "messages": [{ "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "t", "content": [{ "type": "text", "text": "42 files" }] },
        ]}]});
        let Content::Text(text) = reply(&body, 1, "") else {
            panic!("no text")
        };
        assert!(text.contains("42 files"), "{text}");
    }

    #[test]
    fn a_requested_schema_is_followed() {
        let schema = json!({ "type": "object", "properties": { "title": { "type": "string" } } });
        let body = json!({
            "model": "m",
            "messages": [{ "role": "user", "content": "use the tool Bash with {}" }],
            "output_config": { "format": { "type": "json_schema", "schema": schema } },
        });
        let Content::Text(text) = reply(&body, 1, "") else {
            panic!("no text")
        };
        assert_eq!(text, r#"{"title":"echo"}"#);
    }

    #[test]
    fn missing_fields_are_named() {
        let problem = |body| problem(&body, RequestKind::Messages).unwrap();
        assert!(problem(json!({ "model": "m", "messages": [{}] })).contains("max_tokens"));
        assert!(problem(json!({ "model": "m", "max_tokens": 1 })).contains("messages"));
        assert!(problem(json!({ "max_tokens": 1 })).contains("model"));
    }
}
