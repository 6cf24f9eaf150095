//! A request's JSON text to typed blocks.

use serde_json::Value;

use super::{
    Asked, Block, Document, LeftOut, Message, Offered, Role, Source, Thinking, Tool, ToolChoice,
    ToolResult, ToolUse,
    fields::{Fields, missing, wanted},
};
use crate::verdict::Refusal;

pub(super) fn asked(body: &str) -> Result<Asked, Refusal> {
    let value: Value = serde_json::from_str(body).map_err(|error| {
        Refusal::invalid_request(format!("the body is not valid JSON: {error}"))
    })?;
    let mut fields = Fields::of(String::new(), value)?;
    let mut reader = Reader::default();
    // What the gateway has seen to.
    for known in ["model", "stream"] {
        fields.take(known);
    }
    let system = fields.take("system").unwrap_or_default();
    let messages = fields.list("messages")?;
    let (tool_choice, parallel_tools) = reader.choice(fields.object("tool_choice")?)?;
    let (thinking, shows_thinking) = reader.thinking(fields.object("thinking")?)?;
    let (effort, schema) = reader.output(&mut fields)?;
    let mut asked = Asked {
        system: reader.content("system", system)?,
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
        left_out: reader.left_out,
    };
    for key in fields.rest() {
        asked.left_out.add(key);
    }
    Ok(asked)
}

#[derive(Default)]
struct Reader {
    left_out: LeftOut,
}

impl Reader {
    /// What is left of an object is told by its kind and key.
    fn close(&mut self, kind: &str, fields: Fields) {
        for key in fields.rest() {
            self.left_out.add(format!("{kind}.{key}"));
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
                    let place = fields.place("role");
                    return Err(Refusal::invalid_request(format!(
                        "{place}: expected `user`, `assistant` or `system`, found `{other}`"
                    )));
                }
            };
            let content = fields.take("content").unwrap_or_default();
            let content = self.content(&fields.place("content"), content)?;
            self.close("messages", fields);
            Ok(Message { role, content })
        };
        list.into_iter().enumerate().map(message).collect()
    }

    /// A string is one text, an empty one none.
    fn content(&mut self, at: &str, value: Value) -> Result<Vec<Block>, Refusal> {
        match value {
            Value::Null => Ok(Vec::new()),
            Value::String(text) if text.is_empty() => Ok(Vec::new()),
            Value::String(text) => Ok(vec![Block::Text(text)]),
            Value::Array(list) => {
                let block = |(index, value)| self.block(format!("{at}.{index}"), value);
                list.into_iter().enumerate().map(block).collect()
            }
            other => Err(wanted(at, "a string or an array", &other)),
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
                    content: self.content(&fields.place("content"), content)?,
                }
            }
            // All of it is left out, which whoever translates tells.
            _ => return Ok(Block::Other(kind)),
        };
        self.close(&kind, fields);
        Ok(block)
    }

    fn tool_result(&mut self, fields: &mut Fields) -> Result<Block, Refusal> {
        let content = fields.take("content").unwrap_or_default();
        Ok(Block::ToolResult(ToolResult {
            id: fields.must_text("tool_use_id")?,
            content: self.content(&fields.place("content"), content)?,
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
                Source::Content(self.content(&source.place("content"), content)?)
            }
            "file" => Source::File(source.must_text("file_id")?),
            _ => return Ok(Source::Other(kind)),
        };
        self.close("source", source);
        Ok(read)
    }

    fn tools(&mut self, list: Vec<Value>) -> Result<Vec<Offered>, Refusal> {
        let tool = |(index, value)| {
            let mut fields = Fields::of(format!("tools.{index}"), value)?;
            let kind = fields.text("type")?.unwrap_or_else(|| "custom".to_owned());
            let name = fields.must_text("name")?;
            if kind != "custom" {
                return Ok(Offered::Server { kind, name });
            }
            let tool = Tool {
                name,
                description: fields.text("description")?,
                schema: fields
                    .take("input_schema")
                    .ok_or_else(|| missing(&fields.place("input_schema")))?,
                strict: fields.flag("strict")?,
                deferred: fields.flag("defer_loading")?.unwrap_or_default(),
            };
            self.close("tools", fields);
            Ok(Offered::Tool(tool))
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
                let place = fields.place("type");
                return Err(Refusal::invalid_request(format!(
                    "{place}: expected `auto`, `any`, `tool` or `none`, found `{other}`"
                )));
            }
        };
        let alone = fields.flag("disable_parallel_tool_use")?;
        self.close("tool_choice", fields);
        Ok((choice, !alone.unwrap_or_default()))
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
                let place = fields.place("type");
                return Err(Refusal::invalid_request(format!(
                    "{place}: expected `enabled`, `adaptive` or `disabled`, found `{other}`"
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
            self.left_out.add(format!("output_config.format.{kind}"));
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
        other => Err(wanted(
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

    fn read(body: Value) -> Asked {
        asked(&body.to_string()).unwrap()
    }

    #[track_caller]
    fn refused(body: Value, why: &str) {
        let refusal = asked(&body.to_string()).unwrap_err().to_json();
        assert!(refusal.contains(why), "{refusal}");
    }

    #[test]
    fn contents_are_blocks_however_the_client_spells_them() {
        let asked = read(json!({ "system": "be kind", "messages": [
            { "role": "user", "content": "hi" },
            { "role": "system", "content": [] },
            { "role": "assistant", "content": "" },
            { "role": "user", "content": [{ "type": "text", "text": "" }] },
        ] }));
        assert_eq!(asked.system, [Block::Text("be kind".to_owned())]);
        let contents: Vec<_> = asked.messages.iter().map(|m| m.content.clone()).collect();
        let text = |text: &str| vec![Block::Text(text.to_owned())];
        assert_eq!(contents, [text("hi"), vec![], vec![], text("")]);
        assert_eq!(asked.messages[1].role, Role::System);
    }

    #[test]
    fn tools_and_their_use_are_read_whole() {
        let asked = read(json!({
            "tools": [
                { "name": "ls", "description": "lists", "input_schema": {}, "defer_loading": true },
                { "type": "web_search_20250305", "name": "web_search", "max_uses": 3 },
            ],
            "tool_choice": { "type": "tool", "name": "ls", "disable_parallel_tool_use": true },
            "messages": [
                { "role": "assistant", "content": [{ "type": "tool_use", "id": "t1", "name": "ls", "input": { "b": 1, "a": 2 } }] },
                { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "is_error": true,
                    "content": [{ "type": "tool_reference", "tool_name": "cat" }] }] },
            ],
        }));
        assert!(matches!(&asked.tools[0], Offered::Tool(tool) if tool.deferred));
        assert!(matches!(&asked.tools[1], Offered::Server { name, .. } if name == "web_search"));
        assert_eq!(asked.tool_choice, ToolChoice::Tool("ls".to_owned()));
        assert!(!asked.parallel_tools);
        let [Block::ToolUse(call)] = &asked.messages[0].content[..] else {
            panic!("{asked:?}");
        };
        assert_eq!(call.input.to_string(), r#"{"b":1,"a":2}"#, "order is kept");
        let [Block::ToolResult(result)] = &asked.messages[1].content[..] else {
            panic!("{asked:?}");
        };
        assert!(result.is_error);
        assert_eq!(result.content, [Block::ToolReference("cat".to_owned())]);
    }

    #[test]
    fn what_nobody_knows_is_told_by_name() {
        let asked = read(json!({
            "model": "m", "stream": true, "metadata": { "user_id": "x" }, "top_p": null, "zzz": null,
            "messages": [
                { "role": "system", "content": "a", "output_config": { "effort": "low" } },
                { "role": "user", "content": [{ "type": "text", "text": "b", "citations": [] }, { "type": "new_thing" }] },
            ],
            "thinking": { "type": "adaptive", "display": "omitted", "new": 1 },
        }));
        let line = "left out: messages.output_config, metadata, text.citations, thinking.new";
        assert_eq!(asked.left_out.line().as_deref(), Some(line));
        let other = Block::Other("new_thing".to_owned());
        assert_eq!(asked.messages[1].content[1], other);
        assert!(!asked.shows_thinking);
    }

    #[test]
    fn formats_of_the_answer_are_found_in_both_places() {
        let schema = json!({ "type": "object" });
        let format = json!({ "type": "json_schema", "schema": schema });
        for body in [
            json!({ "output_config": { "format": format, "effort": "high" } }),
            json!({ "output_config": { "effort": "high" }, "output_format": format }),
        ] {
            let asked = read(body);
            assert_eq!(asked.schema.as_ref(), Some(&schema));
            assert_eq!(asked.effort.as_deref(), Some("high"));
            assert_eq!(asked.left_out.line(), None);
        }
    }

    #[test]
    fn what_is_no_request_is_refused_by_the_name_of_the_field() {
        refused(json!([]), "expected an object");
        refused(
            json!({ "messages": {} }),
            "messages: expected an array, found an object",
        );
        refused(
            json!({ "messages": [{ "role": "tool" }] }),
            "messages.0.role: expected",
        );
        let nameless = json!({ "messages": [{ "role": "user", "content": [{ "type": "text" }] }] });
        refused(nameless, "messages.0.content.0.text: field required");
        refused(
            json!({ "tools": [{ "name": "x" }] }),
            "tools.0.input_schema: field required",
        );
        refused(
            json!({ "stop_sequences": [1] }),
            "stop_sequences.0: expected a string",
        );
    }
}
