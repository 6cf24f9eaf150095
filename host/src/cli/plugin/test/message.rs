//! A message as a client reads it: from the events of a stream, or from JSON.

use serde_json::Value;

/// What a client has read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Message {
    pub(super) blocks: Vec<Block>,
    pub(super) stop_reason: Option<String>,
    /// Whether it looks complete: a JSON message, or a stream up to its `message_stop`.
    pub(super) complete: bool,
    /// The error that ended the stream, or that was the whole response.
    pub(super) error: Option<String>,
    /// Where the events are not those of a message.
    pub(super) problems: Vec<String>,
}

/// A content block.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Block {
    pub(super) kind: String,
    /// Its text, its thinking, or the JSON text of a tool's input.
    pub(super) text: String,
    pub(super) signature: String,
    /// Whether more of it may follow.
    pub(super) open: bool,
}

/// An event of a stream.
pub(super) struct Event<'a> {
    pub(super) name: &'a str,
    pub(super) data: String,
}

/// Splits a stream into its events. An event that is not ended by an empty line is left out, as
/// clients do.
pub(super) fn events(stream: &str) -> Vec<Event<'_>> {
    let mut events = Vec::new();
    let (mut name, mut data) = ("", Vec::new());
    for line in stream.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            if !name.is_empty() || !data.is_empty() {
                let data = std::mem::take(&mut data).join("\n");
                events.push(Event { name, data });
            }
            name = "";
        } else if let Some(value) = line.strip_prefix("event:") {
            name = value.trim_start();
        } else if let Some(value) = line.strip_prefix("data:") {
            data.push(value.strip_prefix(' ').unwrap_or(value));
        }
    }
    events
}

impl Message {
    /// Reads the events of a stream.
    pub(super) fn of_stream(stream: &str) -> Self {
        let mut message = Self::default();
        let mut begun = false;
        for event in events(stream) {
            let Ok(data) = serde_json::from_str::<Value>(&event.data) else {
                message.problem(&format!("`{}` is not JSON", shorten(&event.data)));
                continue;
            };
            let kind = data["type"].as_str().unwrap_or_default().to_owned();
            if !event.name.is_empty() && event.name != kind {
                message.problem(&format!("the event `{}` has the type `{kind}`", event.name));
            }
            if kind == "ping" {
                continue;
            }
            if message.complete || message.error.is_some() {
                message.problem(&format!("`{kind}` comes after the end"));
            } else if !begun && !matches!(kind.as_str(), "message_start" | "error") {
                message.problem(&format!("`{kind}` comes before `message_start`"));
            } else if begun && kind == "message_start" {
                message.problem("a second `message_start`");
            }
            begun = true;
            message.read(&kind, &data);
        }
        message
    }

    /// Reads a JSON response.
    pub(super) fn of_json(body: &Value) -> Self {
        let mut message = Self::default();
        if body["type"] == "error" {
            message.error = Some(error(body));
            return message;
        }
        message.complete = true;
        message.stop_reason = body["stop_reason"].as_str().map(str::to_owned);
        for block in body["content"].as_array().into_iter().flatten() {
            message.blocks.push(Block::of(block));
        }
        message
    }

    fn read(&mut self, kind: &str, data: &Value) {
        match kind {
            "content_block_start" => self.start(data),
            "content_block_delta" => {
                if let Some(block) = self.open_block(kind, data) {
                    block.add(&data["delta"]);
                }
            }
            "content_block_stop" => {
                if let Some(block) = self.open_block(kind, data) {
                    block.open = false;
                }
            }
            "message_delta" => {
                let reason = data["delta"]["stop_reason"].as_str();
                self.stop_reason = reason.map(str::to_owned).or(self.stop_reason.take());
                self.ends("message_delta");
            }
            "message_stop" => {
                if self.stop_reason.is_none() {
                    self.problem(
                        "`message_stop` without a `message_delta` that has a `stop_reason`",
                    );
                }
                self.ends("message_stop");
                self.complete = true;
            }
            "error" => self.error = Some(error(data)),
            _ => {}
        }
    }

    fn start(&mut self, data: &Value) {
        let index = index(data);
        if index != Some(self.blocks.len()) {
            let expected = self.blocks.len();
            self.problem(&format!(
                "`content_block_start` has the index {}, expected {expected}",
                data["index"]
            ));
        }
        self.ends("content_block_start");
        if self.stop_reason.is_some() {
            self.problem("`content_block_start` comes after `message_delta`");
        }
        let block = Block {
            open: true,
            ..Block::of(&data["content_block"])
        };
        self.blocks.push(block);
    }

    fn open_block(&mut self, kind: &str, data: &Value) -> Option<&mut Block> {
        let at = index(data).filter(|at| self.blocks.get(*at).is_some_and(|block| block.open));
        if at.is_none() {
            let what = format!("`{kind}` is for block {}, which is not open", data["index"]);
            self.problem(&what);
        }
        self.blocks.get_mut(at?)
    }

    /// Notes a block that is open where none may be.
    fn ends(&mut self, kind: &str) {
        if let Some(at) = self.blocks.iter().position(|block| block.open) {
            self.problem(&format!("`{kind}` comes while block {at} is open"));
        }
    }

    fn problem(&mut self, what: &str) {
        self.problems.push(what.to_owned());
    }
}

impl Block {
    fn of(block: &Value) -> Self {
        let text = |key: &str| block[key].as_str().unwrap_or_default().to_owned();
        let kind = text("type");
        let content = match kind.as_str() {
            "thinking" => text("thinking"),
            "redacted_thinking" => text("data"),
            // In a stream the input begins empty, and its text follows.
            "tool_use"
                if block["input"]
                    .as_object()
                    .is_some_and(|input| !input.is_empty()) =>
            {
                block["input"].to_string()
            }
            _ => text("text"),
        };
        Self {
            kind,
            text: content,
            signature: text("signature"),
            open: false,
        }
    }

    fn add(&mut self, delta: &Value) {
        let text = |key: &str| delta[key].as_str().unwrap_or_default();
        for key in ["text", "thinking", "partial_json"] {
            self.text.push_str(text(key));
        }
        self.signature.push_str(text("signature"));
    }

    /// The same content, whether it was streamed or JSON.
    pub(super) fn same(&self, other: &Self) -> bool {
        let input = |block: &Self| match block.text.is_empty() {
            true => Ok(Value::Object(serde_json::Map::new())),
            false => serde_json::from_str::<Value>(&block.text),
        };
        let texts = match (self.kind.as_str(), input(self), input(other)) {
            ("tool_use", Ok(one), Ok(two)) => one == two,
            _ => self.text == other.text,
        };
        self.kind == other.kind && self.signature == other.signature && texts
    }
}

fn index(data: &Value) -> Option<usize> {
    usize::try_from(data["index"].as_u64()?).ok()
}

fn error(body: &Value) -> String {
    let error = &body["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_default();
    format!("{}: {}", text("type"), text("message"))
}

/// The beginning of a text, for a line.
pub(super) fn shorten(text: &str) -> String {
    const LONGEST: usize = 160;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stream(events: &[Value]) -> String {
        let each = events.iter().map(|data| {
            let name = data["type"].as_str().unwrap_or_default();
            format!("event: {name}\ndata: {data}\n\n")
        });
        each.collect()
    }

    fn start() -> Value {
        json!({"type": "message_start", "message": {}})
    }

    fn open(index: u32, block: Value) -> Value {
        json!({"type": "content_block_start", "index": index, "content_block": block})
    }

    fn delta(index: u32, delta: Value) -> Value {
        json!({"type": "content_block_delta", "index": index, "delta": delta})
    }

    fn close(index: u32) -> Value {
        json!({"type": "content_block_stop", "index": index})
    }

    fn stop() -> [Value; 2] {
        [
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
            json!({"type": "message_stop"}),
        ]
    }

    #[test]
    fn a_stream_and_its_message_read_the_same() {
        let [end, last] = stop();
        let text = stream(&[
            start(),
            open(
                0,
                json!({"type": "thinking", "thinking": "", "signature": ""}),
            ),
            delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
            delta(0, json!({"type": "signature_delta", "signature": "s"})),
            close(0),
            json!({"type": "ping"}),
            open(
                1,
                json!({"type": "tool_use", "id": "t", "name": "ls", "input": {}}),
            ),
            delta(
                1,
                json!({"type": "input_json_delta", "partial_json": "{\"a\": "}),
            ),
            delta(1, json!({"type": "input_json_delta", "partial_json": "1}"})),
            close(1),
            end,
            last,
        ]);
        let streamed = Message::of_stream(&text);
        let whole = Message::of_json(&json!({
            "type": "message", "stop_reason": "end_turn", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "tool_use", "id": "t", "name": "ls", "input": {"a": 1}},
            ],
        }));
        assert!(streamed.problems.is_empty(), "{:?}", streamed.problems);
        assert!(streamed.complete && whole.complete);
        assert_eq!(streamed.stop_reason, whole.stop_reason);
        let both = streamed.blocks.iter().zip(&whole.blocks);
        assert_eq!(both.filter(|(one, other)| one.same(other)).count(), 2);
    }

    #[test]
    fn events_that_are_not_those_of_a_message_are_problems() {
        let [end, last] = stop();
        let text = json!({"type": "text", "text": ""});
        let more = json!({"type": "text_delta", "text": "x"});
        for (events, problem) in [
            (vec![close(0)], "before `message_start`"),
            (vec![start(), start()], "a second `message_start`"),
            (
                vec![start(), delta(0, more.clone())],
                "block 0, which is not open",
            ),
            (
                vec![start(), open(1, text.clone())],
                "has the index 1, expected 0",
            ),
            (
                vec![start(), open(0, text.clone()), open(1, text.clone())],
                "while block 0 is open",
            ),
            (vec![start(), last.clone()], "without a `message_delta`"),
            (
                vec![start(), end.clone(), last.clone(), delta(0, more)],
                "`content_block_delta` comes after the end",
            ),
            (vec![start(), end, open(0, text)], "after `message_delta`"),
        ] {
            let message = Message::of_stream(&stream(&events));
            let found = message.problems.iter().any(|found| found.contains(problem));
            assert!(found, "{problem}: {:?}", message.problems);
        }
        let message = Message::of_stream("event: a\ndata: {\"type\":\"b\"}\n\ndata: x\n\n");
        assert_eq!(message.problems.len(), 3, "{:?}", message.problems);
    }

    #[test]
    fn a_truncated_event_is_not_read() {
        let text = stream(&[start(), stop()[0].clone()]);
        let message = Message::of_stream(&text[..text.len() - 1]);
        assert_eq!((message.stop_reason, message.complete), (None, false));
        assert_eq!(events("data: 1\r\ndata: 2\r\n\r\n: comment\n\n").len(), 1);
    }
}
