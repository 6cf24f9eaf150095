//! Finds the messages and codes in the body of an error, in whatever shape it is.

use serde_json::{Map, Value};

/// Members that hold a message, or an object or list with one.
const MESSAGES: &[&str] = &[
    "message",
    "error",
    "errors",
    "detail",
    "details",
    "msg",
    "reason",
    "description",
    "error_message",
    "errormessage",
    "status_msg",
    "raw",
];

const CODES: &[&str] = &["code", "type", "error_type", "status", "errorcode"];

/// Deeper members are not read.
const DEPTH: usize = 8;

/// What an error's body says.
#[derive(Debug, Default)]
pub(super) struct ErrorBody {
    pub(super) messages: Vec<String>,
    pub(super) codes: Vec<String>,
    /// llama.cpp states the numbers in members of their own.
    pub(super) prompt: Option<u64>,
    pub(super) limit: Option<u64>,
}

impl ErrorBody {
    pub(super) fn parse(body: &str) -> Self {
        let mut read = Self::default();
        match serde_json::from_str(body) {
            Ok(value) => read.message(value, DEPTH),
            Err(_) => read.messages.push(body.to_owned()),
        }
        read
    }

    fn message(&mut self, value: Value, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        match value {
            Value::String(text) => self.messages.push(text),
            Value::Array(list) => list
                .into_iter()
                .for_each(|value| self.message(value, depth)),
            Value::Object(members) => self.members(members, depth),
            _ => {}
        }
    }

    fn members(&mut self, members: Map<String, Value>, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        for (name, value) in members {
            let name = name.to_lowercase();
            match value {
                Value::String(code) if CODES.contains(&name.as_str()) => self.codes.push(code),
                Value::Number(number) if name == "n_prompt_tokens" => {
                    self.prompt = number.as_u64();
                }
                Value::Number(number) if name == "n_ctx" => self.limit = number.as_u64(),
                value if MESSAGES.contains(&name.as_str()) => self.message(value, depth),
                // The metadata of a gateway may hold its provider's error.
                Value::Object(members) => self.members(members, depth),
                _ => {}
            }
        }
    }
}
