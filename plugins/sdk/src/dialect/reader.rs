//! Reads typed blocks from a request's JSON text.

use serde_json::Value;

use super::{
    Block, ClientRequest, Document, DroppedFields, Message, Role, Source, Thinking, Tool,
    ToolChoice, ToolDef, ToolResult, ToolUse,
    fields::{Fields, missing, unexpected},
};
use crate::{edit::EditError, outline::Outline, request::Request, verdict::Refusal};

impl ClientRequest {
    /// Reads a request without its long texts: those of more than `longest` bytes are placeholders.
    /// The outline recognises and [quotes](Outline::quoted) them.
    ///
    /// A request that does not have the shape of the Messages API is a refusal that names the
    /// field.
    pub fn read(
        request: &mut Request<'_>,
        longest: u32,
    ) -> Result<(Outline, Result<Self, Refusal>), EditError> {
        let outline = request.outline(longest)?;
        let parsed = Self::parse(&outline.body);
        Ok((outline, parsed))
    }

    /// Reads a request from its JSON text.
    pub fn parse(body: &str) -> Result<Self, Refusal> {
        read(body)
    }
}

fn read(body: &str) -> Result<ClientRequest, Refusal> {
    let value: Value = serde_json::from_str(body).map_err(|error| {
        Refusal::invalid_request(format!("the body is not valid JSON: {error}"))
    })?;
    let mut fields = Fields::of(String::new(), value)?;
    let mut reader = Reader::default();
    // The gateway handles these.
    for known in ["model", "stream"] {
        fields.take(known);
    }
    let system = fields.take("system").unwrap_or_default();
    let messages = fields.list("messages")?;
    let (tool_choice, parallel_tools) = reader.choice(fields.object("tool_choice")?)?;
    let (thinking, shows_thinking) = reader.thinking(fields.object("thinking")?)?;
    let (effort, schema) = reader.output(&mut fields)?;
    let mut request = ClientRequest {
        system: reader.content("system", system)?,
        system_breakpoint: reader.breakpoint.take(),
        messages: reader.messages(messages)?,
        tools: reader.tools(fields.list("tools")?)?,
        tool_choice,
        parallel_tools,
        max_tokens: fields.number("max_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.number("top_k")?,
        stop_sequences: stop_sequences(fields.list("stop_sequences")?)?,
        thinking,
        shows_thinking,
        effort,
        schema,
        dropped: reader.dropped,
    };
    for key in fields.remaining() {
        request.dropped.add(key);
    }
    Ok(request)
}

#[derive(Default)]
struct Reader {
    dropped: DroppedFields,
    /// The last `cache_control` of a block.
    breakpoint: Option<Value>,
}

impl Reader {
    /// Counts the remaining members of an object as dropped, by its kind and their key.
    fn close(&mut self, kind: &str, fields: Fields) {
        for key in fields.remaining() {
            self.dropped.add(format!("{kind}.{key}"));
        }
    }

    fn messages(&mut self, list: Vec<Value>) -> Result<Vec<Message>, Refusal> {
        let message = |(index, value)| {
            let mut fields = Fields::of(format!("messages.{index}"), value)?;
            let role = match fields.must_text("role")?.as_str() {
                "user" => Role::User,
                "assistant" => Role::Assistant,
                "system" => Role::System,
                other => {
                    let at = fields.location("role");
                    return Err(Refusal::invalid_request(format!(
                        "{at}: got `{other}`, expected `user`, `assistant` or `system`"
                    )));
                }
            };
            let content = fields.take("content").unwrap_or_default();
            let content = self.content(&fields.location("content"), content)?;
            self.close("messages", fields);
            Ok(Message {
                role,
                content,
                breakpoint: self.breakpoint.take(),
            })
        };
        list.into_iter().enumerate().map(message).collect()
    }

    /// Reads a content. A string is one text, and an empty string is no block.
    fn content(&mut self, at: &str, value: Value) -> Result<Vec<Block>, Refusal> {
        match value {
            Value::Null => Ok(Vec::new()),
            Value::String(text) if text.is_empty() => Ok(Vec::new()),
            Value::String(text) => Ok(vec![Block::Text(text)]),
            Value::Array(list) => {
                let block = |(index, value)| self.block(format!("{at}.{index}"), value);
                list.into_iter().enumerate().map(block).collect()
            }
            other => Err(unexpected(at, "a string or an array", &other)),
        }
    }

    fn block(&mut self, at: String, value: Value) -> Result<Block, Refusal> {
        let mut fields = Fields::of(at, value)?;
        let kind = fields.must_text("type")?;
        let block = match kind.as_str() {
            "text" => Block::Text(fields.must_text("text")?),
            "image" => Block::Image(self.source(&mut fields)?),
            "document" => Block::Document(Document {
                source: self.source(&mut fields)?,
                title: fields.text("title")?,
                context: fields.text("context")?,
            }),
            "thinking" => Block::Thinking {
                text: fields.text("thinking")?.unwrap_or_default(),
                signature: fields.text("signature")?.unwrap_or_default(),
            },
            "redacted_thinking" => {
                fields.take("data");
                Block::RedactedThinking
            }
            "tool_use" => Block::ToolUse(ToolUse {
                id: fields.must_text("id")?,
                name: fields.must_text("name")?,
                input: fields
                    .take("input")
                    .unwrap_or_else(|| Value::Object(Default::default())),
            }),
            "tool_result" => self.tool_result(&mut fields)?,
            "tool_reference" => Block::ToolReference(fields.must_text("tool_name")?),
            "search_result" => {
                let content = fields.take("content").unwrap_or_default();
                Block::SearchResult {
                    source: fields.text("source")?.unwrap_or_default(),
                    title: fields.text("title")?.unwrap_or_default(),
                    content: self.content(&fields.location("content"), content)?,
                }
            }
            // The block is unknown as a whole, which the dialect reports.
            _ => return Ok(Block::Other(kind)),
        };
        if let Some(breakpoint) = fields.take("cache_control") {
            self.dropped.add(format!("{kind}.cache_control"));
            self.breakpoint = Some(breakpoint);
        }
        self.close(&kind, fields);
        Ok(block)
    }

    fn tool_result(&mut self, fields: &mut Fields) -> Result<Block, Refusal> {
        let content = fields.take("content").unwrap_or_default();
        Ok(Block::ToolResult(ToolResult {
            id: fields.must_text("tool_use_id")?,
            content: self.content(&fields.location("content"), content)?,
            is_error: fields.flag("is_error")?.unwrap_or_default(),
        }))
    }

    fn source(&mut self, fields: &mut Fields) -> Result<Source, Refusal> {
        let mut source = fields.must_object("source")?;
        let kind = source.must_text("type")?;
        let read = match kind.as_str() {
            "base64" => Source::Base64 {
                media_type: source.must_text("media_type")?,
                data: source.must_text("data")?,
            },
            "url" => Source::Url(source.must_text("url")?),
            "text" => {
                source.take("media_type");
                Source::Text(source.must_text("data")?)
            }
            "content" => {
                let content = source.take("content").unwrap_or_default();
                Source::Content(self.content(&source.location("content"), content)?)
            }
            "file" => Source::File(source.must_text("file_id")?),
            _ => return Ok(Source::Other(kind)),
        };
        self.close("source", source);
        Ok(read)
    }

    fn tools(&mut self, list: Vec<Value>) -> Result<Vec<ToolDef>, Refusal> {
        let tool = |(index, value)| {
            let mut fields = Fields::of(format!("tools.{index}"), value)?;
            let kind = fields.text("type")?.unwrap_or_else(|| "custom".to_owned());
            let name = fields.must_text("name")?;
            if kind != "custom" {
                let settings = fields.into_map();
                return Ok(ToolDef::Server {
                    kind,
                    name,
                    settings,
                });
            }
            let breakpoint = fields.take("cache_control");
            if breakpoint.is_some() {
                self.dropped.add("tools.cache_control");
            }
            let tool = Tool {
                name,
                description: fields.text("description")?,
                schema: fields
                    .take("input_schema")
                    .ok_or_else(|| missing(&fields.location("input_schema")))?,
                strict: fields.flag("strict")?,
                deferred: fields.flag("defer_loading")?.unwrap_or_default(),
                breakpoint,
            };
            self.close("tools", fields);
            Ok(ToolDef::Tool(tool))
        };
        list.into_iter().enumerate().map(tool).collect()
    }

    fn choice(&mut self, fields: Option<Fields>) -> Result<(ToolChoice, bool), Refusal> {
        let Some(mut fields) = fields else {
            return Ok((ToolChoice::Unsaid, true));
        };
        let choice = match fields.must_text("type")?.as_str() {
            "auto" => ToolChoice::Auto,
            "any" => ToolChoice::Any,
            "none" => ToolChoice::None,
            "tool" => ToolChoice::Tool(fields.must_text("name")?),
            other => {
                let at = fields.location("type");
                return Err(Refusal::invalid_request(format!(
                    "{at}: got `{other}`, expected `auto`, `any`, `tool` or `none`"
                )));
            }
        };
        let sequential = fields.flag("disable_parallel_tool_use")?;
        self.close("tool_choice", fields);
        Ok((choice, !sequential.unwrap_or_default()))
    }

    fn thinking(&mut self, fields: Option<Fields>) -> Result<(Thinking, bool), Refusal> {
        let Some(mut fields) = fields else {
            return Ok((Thinking::Unsaid, true));
        };
        let thinking = match fields.must_text("type")?.as_str() {
            "disabled" => Thinking::Disabled,
            "adaptive" => Thinking::Adaptive,
            "enabled" => Thinking::Enabled {
                budget: fields
                    .number("budget_tokens")?
                    .and_then(|budget| budget.as_u64()),
            },
            other => {
                let at = fields.location("type");
                return Err(Refusal::invalid_request(format!(
                    "{at}: got `{other}`, expected `enabled`, `adaptive` or `disabled`"
                )));
            }
        };
        let display = fields.text("display")?;
        self.close("thinking", fields);
        Ok((thinking, display.as_deref() != Some("omitted")))
    }

    fn output(&mut self, body: &mut Fields) -> Result<(Option<String>, Option<Value>), Refusal> {
        let older = body.object("output_format")?;
        let Some(mut config) = body.object("output_config")? else {
            let schema = older.map(|format| self.format(format)).transpose()?;
            return Ok((None, schema.flatten()));
        };
        let effort = config.text("effort")?;
        let format = config.object("format")?.or(older);
        let schema = format.map(|format| self.format(format)).transpose()?;
        self.close("output_config", config);
        Ok((effort, schema.flatten()))
    }

    fn format(&mut self, mut format: Fields) -> Result<Option<Value>, Refusal> {
        let kind = format.must_text("type")?;
        if kind != "json_schema" {
            self.dropped.add(format!("output_config.format.{kind}"));
            return Ok(None);
        }
        let schema = format.take("schema");
        self.close("output_config.format", format);
        Ok(schema)
    }
}

fn stop_sequences(list: Vec<Value>) -> Result<Vec<String>, Refusal> {
    let text = |(index, value)| match value {
        Value::String(text) => Ok(text),
        other => Err(unexpected(
            &format!("stop_sequences.{index}"),
            "a string",
            &other,
        )),
    };
    list.into_iter().enumerate().map(text).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: Value) -> ClientRequest {
        read(&body.to_string()).unwrap()
    }

    #[track_caller]
    fn refused(body: Value, message: &str) {
        let refusal = read(&body.to_string()).unwrap_err().to_json();
        assert!(refusal.contains(message), "{refusal}");
    }

    #[test]
    fn contents_are_blocks_however_the_client_spells_them() {
        let request = parse(json!({ "system": "be kind", "messages": [
            { "role": "user", "content": "hi" },
            { "role": "system", "content": [] },
            { "role": "assistant", "content": "" },
            { "role": "user", "content": [{ "type": "text", "text": "" }] },
        ] }));
        assert_eq!(request.system, [Block::Text("be kind".to_owned())]);
        let contents: Vec<_> = request.messages.iter().map(|m| m.content.clone()).collect();
        let text = |text: &str| vec![Block::Text(text.to_owned())];
        assert_eq!(contents, [text("hi"), vec![], vec![], text("")]);
        assert_eq!(request.messages[1].role, Role::System);
    }

    #[test]
    fn the_last_breakpoint_of_a_message_is_read_and_counted_as_dropped() {
        let mark = |ttl: &str| json!({ "type": "ephemeral", "ttl": ttl });
        let text = |ttl: &str| json!({ "type": "text", "text": "a", "cache_control": mark(ttl) });
        let request = parse(json!({ "system": [text("5m")], "messages": [
            { "role": "user", "content": [text("5m"), { "type": "tool_result", "tool_use_id": "t", "content": [text("1h")] }] },
            { "role": "user", "content": "b" },
        ] }));
        assert_eq!(request.system_breakpoint, Some(mark("5m")));
        assert_eq!(request.messages[0].breakpoint, Some(mark("1h")));
        assert_eq!(request.messages[1].breakpoint, None);
        let line = "left out: text.cache_control(3)";
        assert_eq!(request.dropped.line().as_deref(), Some(line));
    }

    #[test]
    fn tools_and_their_calls_are_read_completely() {
        let request = parse(json!({
            "tools": [
                { "name": "ls", "description": "lists", "input_schema": {}, "defer_loading": true },
                { "type": "web_search_20250305", "name": "web_search", "max_uses": 3, "user_location": null },
                { "name": "cat", "input_schema": {}, "cache_control": { "type": "ephemeral" } },
            ],
            "tool_choice": { "type": "tool", "name": "ls", "disable_parallel_tool_use": true },
            "messages": [
                { "role": "assistant", "content": [{ "type": "tool_use", "id": "t1", "name": "ls", "input": { "b": 1, "a": 2 } }] },
                { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "is_error": true,
                    "content": [{ "type": "tool_reference", "tool_name": "cat" }] }] },
            ],
        }));
        assert!(matches!(&request.tools[0], ToolDef::Tool(tool) if tool.deferred));
        let ToolDef::Server { name, settings, .. } = &request.tools[1] else {
            panic!("{request:?}");
        };
        assert_eq!(name, "web_search");
        assert_eq!(Value::from(settings.clone()), json!({ "max_uses": 3 }));
        let mark = Some(json!({ "type": "ephemeral" }));
        assert!(matches!(&request.tools[2], ToolDef::Tool(tool) if tool.breakpoint == mark));
        let line = "left out: tools.cache_control";
        assert_eq!(request.dropped.line().as_deref(), Some(line));
        assert_eq!(request.tool_choice, ToolChoice::Tool("ls".to_owned()));
        assert!(!request.parallel_tools);
        let [Block::ToolUse(call)] = &request.messages[0].content[..] else {
            panic!("{request:?}");
        };
        assert_eq!(call.input.to_string(), r#"{"b":1,"a":2}"#, "order is kept");
        let [Block::ToolResult(result)] = &request.messages[1].content[..] else {
            panic!("{request:?}");
        };
        assert!(result.is_error);
        assert_eq!(result.content, [Block::ToolReference("cat".to_owned())]);
    }

    #[test]
    fn unknown_members_are_dropped_by_name() {
        let request = parse(json!({
            "model": "m", "stream": true, "metadata": { "user_id": "x" }, "top_p": null, "zzz": null,
            "messages": [
                { "role": "system", "content": "a", "output_config": { "effort": "low" } },
                { "role": "user", "content": [{ "type": "text", "text": "b", "citations": [] }, { "type": "new_thing" }] },
            ],
            "thinking": { "type": "adaptive", "display": "omitted", "new": 1 },
        }));
        let line = "left out: messages.output_config, metadata, text.citations, thinking.new";
        assert_eq!(request.dropped.line().as_deref(), Some(line));
        let other = Block::Other("new_thing".to_owned());
        assert_eq!(request.messages[1].content[1], other);
        assert!(!request.shows_thinking);
    }

    #[test]
    fn an_output_format_is_read_from_both_members() {
        let schema = json!({ "type": "object" });
        let format = json!({ "type": "json_schema", "schema": schema });
        for body in [
            json!({ "output_config": { "format": format, "effort": "high" } }),
            json!({ "output_config": { "effort": "high" }, "output_format": format }),
        ] {
            let request = parse(body);
            assert_eq!(request.schema.as_ref(), Some(&schema));
            assert_eq!(request.effort.as_deref(), Some("high"));
            assert_eq!(request.dropped.line(), None);
        }
    }

    #[test]
    fn a_malformed_request_is_refused_with_the_name_of_the_field() {
        refused(json!([]), "the body: got an array, expected an object");
        refused(
            json!({ "messages": {} }),
            "messages: got an object, expected an array",
        );
        refused(
            json!({ "messages": [{ "role": "tool" }] }),
            "messages.0.role: got `tool`, expected",
        );
        let nameless = json!({ "messages": [{ "role": "user", "content": [{ "type": "text" }] }] });
        refused(nameless, "messages.0.content.0.text: field required");
        refused(
            json!({ "tools": [{ "name": "x" }] }),
            "tools.0.input_schema: field required",
        );
        refused(
            json!({ "stop_sequences": [1] }),
            "stop_sequences.0: got a number, expected a string",
        );
    }
}
