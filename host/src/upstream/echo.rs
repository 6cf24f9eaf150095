//! The built-in upstream: it works offline and replies with what it received.
//!
//! It is used if no upstream is configured, so that a client, a plugin or a test can be tried
//! without a key.

mod shape;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::{
    config,
    message::{Body, Event, RequestKind, Response},
    sse,
};

use super::Model;

/// The echo upstream's configuration.
pub(super) fn config() -> config::Upstream {
    #[expect(clippy::unwrap_used, reason = "a literal that is a valid name")]
    let name = "echo".parse().unwrap();
    config::Upstream {
        // It keeps nothing between requests.
        lacks: ["message-threads".to_owned()].into(),
        ..config::Upstream::plain(name, "")
    }
}

/// The models that Claude Code requests. Any other name works as well.
pub(super) fn models() -> Vec<Model> {
    ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"]
        .map(Model::named)
        .into()
}

/// Responds as the API would: with an error if the request is invalid, else with a message or a
/// count.
pub(super) fn respond(kind: RequestKind, stream: bool, bytes: &[u8], edits: &str) -> Response {
    let body: Value = match serde_json::from_slice(bytes) {
        Ok(body) => body,
        Err(error) => {
            return invalid_request(&format!("the request body is not valid JSON: {error}"));
        }
    };
    if let Some(reason) = shape::problem(&body, kind) {
        return invalid_request(&reason);
    }
    let tokens = tokens(&body);
    if kind == RequestKind::CountTokens {
        return whole(StatusCode::OK, &json!({ "input_tokens": tokens }));
    }
    let content = shape::reply(&body, bytes.len(), edits);
    let message = Message {
        model: body["model"].clone(),
        content,
        input_tokens: tokens,
    };
    if stream {
        message.stream()
    } else {
        whole(StatusCode::OK, &message.whole())
    }
}

struct Message {
    model: Value,
    content: Content,
    input_tokens: usize,
}

/// The content of the message.
enum Content {
    Text(String),
    UseTool { name: String, input: Value },
}

impl Message {
    fn whole(&self) -> Value {
        let block = match &self.content {
            Content::Text(text) => json!({ "type": "text", "text": text }),
            Content::UseTool { name, input } => {
                json!({ "type": "tool_use", "id": new_id("toolu"), "name": name, "input": input })
            }
        };
        self.envelope(
            json!([block]),
            json!(self.stop_reason()),
            self.output_tokens(),
        )
    }

    /// The message as events, its text in pieces as a model writes it.
    fn stream(&self) -> Response {
        let (block, deltas) = match &self.content {
            Content::Text(text) => {
                let delta = |text: String| json!({ "type": "text_delta", "text": text });
                (
                    json!({ "type": "text", "text": "" }),
                    pieces(text).map(delta).collect::<Vec<_>>(),
                )
            }
            Content::UseTool { name, input } => {
                let delta =
                    |part: String| json!({ "type": "input_json_delta", "partial_json": part });
                let id = new_id("toolu");
                let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                (block, pieces(&input.to_string()).map(delta).collect())
            }
        };
        let mut events = vec![
            json!({ "type": "message_start", "message": self.envelope(json!([]), Value::Null, 1) }),
            json!({ "type": "content_block_start", "index": 0, "content_block": block }),
            json!({ "type": "ping" }),
        ];
        events.extend(
            deltas
                .into_iter()
                .map(|delta| json!({ "type": "content_block_delta", "index": 0, "delta": delta })),
        );
        events.extend([
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({
                "type": "message_delta",
                "delta": { "stop_reason": self.stop_reason(), "stop_sequence": null },
                "usage": { "output_tokens": self.output_tokens() },
            }),
            json!({ "type": "message_stop" }),
        ]);
        let chunks = stream::iter(events).map(|event| Ok(encode(&event)));
        Response {
            status: StatusCode::OK,
            headers: headers("text/event-stream"),
            body: Body::Stream(chunks.boxed()),
        }
    }

    fn envelope(&self, content: Value, stop_reason: Value, output_tokens: usize) -> Value {
        json!({
            "id": new_id("msg"),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
            "usage": {
                "input_tokens": self.input_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": output_tokens,
            },
        })
    }

    fn stop_reason(&self) -> &'static str {
        match self.content {
            Content::Text(_) => "end_turn",
            Content::UseTool { .. } => "tool_use",
        }
    }

    fn output_tokens(&self) -> usize {
        match &self.content {
            Content::Text(text) => estimate(text.len()),
            Content::UseTool { name, input } => estimate(name.len() + input.to_string().len()),
        }
    }
}

/// A rough count that follows the size of the prompt: all of its text, and none of its settings.
fn tokens(body: &Value) -> usize {
    let length = |key: &str| body.get(key).map_or(0, |value| value.to_string().len());
    estimate(length("system") + length("messages") + length("tools"))
}

/// An estimate: a token is about four bytes.
fn estimate(bytes: usize) -> usize {
    bytes.div_ceil(4).max(1)
}

fn pieces(text: &str) -> impl Iterator<Item = String> {
    let mut words = text.split_inclusive(' ').peekable();
    std::iter::from_fn(move || {
        let mut piece = words.next()?.to_owned();
        while piece.len() < 24
            && let Some(word) = words.next()
        {
            piece.push_str(word);
        }
        Some(piece)
    })
}

fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}

fn encode(event: &Value) -> Bytes {
    let name = event["type"].as_str().unwrap_or_default().to_owned();
    let data = event.to_string();
    let mut out = BytesMut::new();
    sse::encode(&Event { name, data }, &mut out);
    out.freeze()
}

fn invalid_request(message: &str) -> Response {
    let error = json!({ "type": "invalid_request_error", "message": message });
    whole(
        StatusCode::BAD_REQUEST,
        &json!({ "type": "error", "error": error }),
    )
}

fn whole(status: StatusCode, body: &Value) -> Response {
    let body = Body::Whole(body.to_string().into());
    Response {
        status,
        headers: headers("application/json"),
        body,
    }
}

fn headers(content_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))])
}
