//! A conversation as a coding agent has it: it grows by a request at a time, with tools, a moving
//! `cache_control`, and the session's header.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};

use super::super::{Reply, Request, Upstream};

/// The first block of Claude Code's system prompt.
const ATTRIBUTION: &str = "x-anthropic-billing-header: cc_version=2.1.332.abc; cc_entrypoint=cli;";

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// A client's side of a conversation. Everything it sends is public, so that a test can edit it.
#[derive(Clone)]
pub struct Session {
    pub addr: SocketAddr,
    pub key: String,
    pub id: String,
    /// The id of a subagent.
    pub agent: Option<String>,
    pub version: String,
    pub betas: Vec<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    pub model: String,
    pub stream: bool,
    pub system: Value,
    pub tools: Vec<Value>,
    pub thinking: Value,
    /// Without `cache_control`, which is set on the last message when it is sent.
    pub messages: Vec<Value>,
    /// Further fields of the body.
    pub fields: Vec<(String, Value)>,
    /// Whether the request asks for `diagnostics`.
    pub diagnoses: bool,
    /// The id of the latest response.
    pub last: Option<String>,
    /// Every body that was sent to messages.
    pub sent: Vec<Vec<u8>>,
    /// The latest message that was received.
    pub received: Value,
}

impl Session {
    /// A new conversation through the gateway or upstream at this address, with three tools.
    pub fn new(addr: SocketAddr) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            addr,
            key: "sk-witgate".to_owned(),
            id: format!("7c0d6f6e-0000-4000-8000-{number:012}"),
            agent: None,
            version: super::OLD_VERSION.to_owned(),
            betas: Vec::new(),
            headers: Vec::new(),
            model: "claude-opus-5-5".to_owned(),
            stream: false,
            system: json!([
                {"type": "text", "text": ATTRIBUTION},
                {"type": "text", "text": format!("You are an agent in session {number}.")},
                {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
            ]),
            tools: tools(3),
            thinking: json!({"type": "adaptive"}),
            messages: Vec::new(),
            fields: Vec::new(),
            diagnoses: false,
            last: None,
            sent: Vec::new(),
            received: Value::Null,
        }
    }

    /// A new conversation that has had its first turn, and whose account has this key. `new` makes
    /// conversations until one has.
    pub fn served_with(upstream: &Upstream, key: &str, new: impl Fn() -> Self) -> Self {
        let mut tried = (0..64).filter_map(|_| {
            let mut session = new();
            session.steps(1);
            (upstream.last().key() == key).then_some(session)
        });
        tried.next().expect("some session goes to each account")
    }

    pub fn model(mut self, model: &str) -> Self {
        self.switch(model);
        self
    }

    pub fn streamed(mut self) -> Self {
        self.stream = true;
        self
    }

    pub fn beta(mut self, beta: &str) -> Self {
        self.betas.push(beta.to_owned());
        self
    }

    pub fn key(mut self, key: &str) -> Self {
        self.key = key.to_owned();
        self
    }

    /// Sets `thinking.block_binding.prefix_mismatch_behavior` and its beta.
    pub fn on_mismatch(mut self, behavior: &str) -> Self {
        let set = json!({"prefix_mismatch_behavior": behavior});
        self.thinking["block_binding"] = set;
        self.beta(super::BINDING_BETA)
    }

    pub fn with_tools(mut self, count: usize) -> Self {
        self.tools = tools(count);
        self
    }

    /// Continues with another model.
    pub fn switch(&mut self, model: &str) {
        model.clone_into(&mut self.model);
    }

    /// Another branch of this session, from here.
    pub fn fork(&self) -> Self {
        self.clone()
    }

    /// Takes back the latest messages until this many are left.
    pub fn rewind(&mut self, left: usize) {
        self.messages.truncate(left);
    }

    /// Replaces all messages by a summary of the client's own, as `/compact` does.
    pub fn compact(&mut self, summary: &str) {
        self.messages = vec![
            json!({"role": "user", "content": [{"type": "text", "text": summary}]}),
            json!({"role": "assistant", "content": [{"type": "text", "text": "Understood."}]}),
        ];
        self.last = None;
    }

    /// Sends one request: the results of open tool calls, or else a new question.
    #[track_caller]
    pub fn step(&mut self) -> Reply {
        match self.results() {
            Some(results) => self.send(results),
            None => self.ask(&format!("question {}", self.messages.len())),
        }
    }

    /// Sends this many requests and expects each to succeed.
    #[track_caller]
    pub fn steps(&mut self, count: usize) {
        for at in 1..=count {
            let reply = self.step();
            assert_eq!(reply.status, 200, "step {at} of {count}: {}", reply.text());
        }
    }

    /// Asks a question in a new user message.
    #[track_caller]
    pub fn ask(&mut self, text: &str) -> Reply {
        self.send(json!({"role": "user", "content": [{"type": "text", "text": text}]}))
    }

    /// Sends the conversation with this message. If it fails, the conversation stays as it was.
    #[track_caller]
    pub fn send(&mut self, message: Value) -> Reply {
        self.messages.push(message);
        let body = self.body();
        let reply = self.request("/v1/messages").body(&body).send();
        self.sent.push(body);
        if reply.status == 200 {
            let received = parse(&reply, self.stream);
            self.last = received["id"].as_str().map(str::to_owned);
            self.messages
                .push(json!({"role": "assistant", "content": received["content"]}));
            self.received = received;
        } else {
            self.messages.pop();
        }
        reply
    }

    /// Counts the tokens of the conversation as it is.
    #[track_caller]
    pub fn count(&self) -> Reply {
        let body = json!({
            "model": self.model,
            "system": self.system,
            "tools": self.tools,
            "messages": self.messages,
            "thinking": self.thinking,
        });
        self.request("/v1/messages/count_tokens")
            .body(body.to_string())
            .send()
    }

    /// The body of the next request.
    pub fn body(&self) -> Vec<u8> {
        let mut body = json!({"model": self.model});
        body["messages"] = json!(self.messages);
        mark_last(&mut body["messages"]);
        if !self.system.is_null() {
            body["system"] = self.system.clone();
        }
        if !self.tools.is_empty() {
            body["tools"] = json!(self.tools);
        }
        body["metadata"] = json!({"user_id": format!("{{\"session_id\":\"{}\"}}", self.id)});
        body["max_tokens"] = json!(32_000);
        if !self.thinking.is_null() {
            body["thinking"] = self.thinking.clone();
        }
        if self.diagnoses {
            body["diagnostics"] = json!({"previous_message_id": self.last});
        }
        for (name, value) in &self.fields {
            body[name] = value.clone();
        }
        body["stream"] = json!(self.stream);
        body.to_string().into_bytes()
    }

    /// A request of this session, with its headers and without a body.
    pub fn request(&self, path: &str) -> Request {
        let mut request = Request::new(self.addr, "POST", path)
            .header("content-type", "application/json")
            .header("x-api-key", &self.key)
            .header("anthropic-version", &self.version)
            .header("x-claude-code-session-id", &self.id);
        if let Some(agent) = &self.agent {
            request = request.header("x-claude-code-agent-id", agent);
        }
        if !self.betas.is_empty() {
            request = request.header("anthropic-beta", &self.betas.join(","));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    /// The user message that answers the tool calls of the latest turn.
    pub fn results(&self) -> Option<Value> {
        let blocks = self.messages.last()?["content"].as_array()?;
        let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
        let results: Vec<Value> = calls
            .map(|call| {
                let text = format!("result of {}", call["id"]);
                json!({
                    "type": "tool_result",
                    "tool_use_id": call["id"],
                    "content": [{"type": "text", "text": text}],
                })
            })
            .collect();
        (!results.is_empty()).then(|| json!({"role": "user", "content": results}))
    }

    /// How many thinking blocks the conversation has.
    pub fn thoughts(&self) -> usize {
        super::thoughts(&json!({"messages": self.messages}))
    }
}

fn tools(count: usize) -> Vec<Value> {
    let tool = |number| {
        json!({
            "name": format!("tool_{number}"),
            "description": format!("Reads file {number}."),
            "input_schema": {
                "type": "object",
                "properties": {"path": {"type": "string"}},
                "required": ["path"],
            },
        })
    };
    (0..count).map(tool).collect()
}

/// Marks the last block of the last message for the cache.
fn mark_last(messages: &mut Value) {
    let last = messages.as_array_mut().and_then(|all| all.last_mut());
    let blocks = last.and_then(|message| message["content"].as_array_mut());
    if let Some(block) = blocks.and_then(|blocks| blocks.last_mut()) {
        block["cache_control"] = json!({"type": "ephemeral"});
    }
}

/// The message of a response.
#[track_caller]
fn parse(reply: &Reply, stream: bool) -> Value {
    if !stream {
        return reply.json();
    }
    assert!(reply.whole, "a cut stream: {}", reply.text());
    let mut message = Value::Null;
    let mut input = String::new();
    for line in reply.text().lines() {
        let Some(data) = line.strip_prefix("data:") else {
            continue;
        };
        let event: Value = serde_json::from_str(data.trim()).unwrap();
        let index = event["index"].as_u64().unwrap_or_default() as usize;
        match event["type"].as_str() {
            Some("message_start") => message = event["message"].clone(),
            Some("content_block_start") => {
                input.clear();
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!(blocks.len(), index, "{line}");
                blocks.push(event["content_block"].clone());
            }
            Some("content_block_delta") => {
                let block = &mut message["content"][index];
                add(block, &event["delta"], &mut input);
            }
            Some("content_block_stop") if !input.is_empty() => {
                message["content"][index]["input"] = serde_json::from_str(&input).unwrap();
                input.clear();
            }
            Some("message_delta") => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
            }
            Some("error") => panic!("an error in the stream: {line}"),
            _ => {}
        }
    }
    message
}

/// Adds a piece to its block.
fn add(block: &mut Value, delta: &Value, input: &mut String) {
    let text = |name: &str| delta[name].as_str().unwrap_or_default();
    let mut extend = |name: &str| {
        let so_far = block[name].as_str().unwrap_or_default();
        block[name] = json!(format!("{so_far}{}", text(name)));
    };
    match delta["type"].as_str() {
        Some("thinking_delta") => extend("thinking"),
        Some("signature_delta") => extend("signature"),
        Some("text_delta") => extend("text"),
        Some("input_json_delta") => input.push_str(text("partial_json")),
        _ => {}
    }
}
