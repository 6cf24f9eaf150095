//! The prompt cache of the strict upstream: it counts by bytes, in the order of the prompt.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Mutex,
};

use serde_json::{Value, json};

use super::check::without_cache_control;

/// How many bytes are counted as a token.
const TOKEN: usize = 4;

#[derive(Default)]
pub struct Cache {
    /// Prefixes that were written, by account and model.
    written: Mutex<HashSet<(String, u64)>>,
    prints: Mutex<HashMap<String, Print>>,
}

/// Input tokens by how they are billed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub read: usize,
    pub created: usize,
    pub uncached: usize,
}

/// What diagnosis remembers of a request.
struct Print {
    organization: String,
    model: Value,
    tools: String,
    system: String,
    messages: Vec<String>,
    /// Whatever makes two requests incomparable.
    settings: String,
}

/// A piece of the prompt that a cached prefix may end after.
struct Unit {
    bytes: String,
    marked: bool,
}

impl Cache {
    /// Looks up and writes the prefixes of a request. Blocks at dropped places are not part of it.
    pub fn count(&self, scope: &str, body: &Value, dropped: &HashSet<(usize, usize)>) -> Usage {
        let units = units(body, dropped);
        let mut written = self.written.lock().unwrap();
        let (mut state, mut length) = (DefaultHasher::new(), 0);
        let (mut read, mut marked, mut new) = (0, 0, Vec::new());
        let last = units.iter().rposition(|unit| unit.marked);
        for (at, unit) in units.iter().enumerate() {
            unit.bytes.hash(&mut state);
            length += unit.bytes.len();
            let prefix = (scope.to_owned(), state.finish());
            if last.is_some_and(|last| at <= last) && written.contains(&prefix) {
                read = length;
            }
            if unit.marked {
                marked = length;
                new.push(prefix);
            }
        }
        written.extend(new);
        Usage {
            read: read / TOKEN,
            created: marked / TOKEN - read / TOKEN,
            uncached: length / TOKEN - marked / TOKEN,
        }
    }

    /// The `diagnostics` of a response, if the request asks for it, and remembers the request as
    /// that of this message.
    pub fn diagnose(
        &self,
        message: &str,
        organization: &str,
        betas: &str,
        body: &Value,
    ) -> Option<Value> {
        let print = Print::of(organization, betas, body);
        let mut prints = self.prints.lock().unwrap();
        let asked = body.get("diagnostics");
        let found = asked.map(|asked| match asked["previous_message_id"].as_str() {
            None => Value::Null,
            Some(id) => match prints.get(id) {
                Some(before) if before.organization == organization => before.diverges(&print),
                _ => json!({"cache_miss_reason": {"type": "previous_message_not_found"}}),
            },
        });
        prints.insert(message.to_owned(), print);
        found
    }
}

impl Print {
    fn of(organization: &str, betas: &str, body: &Value) -> Self {
        let settings = [
            "tool_choice",
            "thinking",
            "context_management",
            "output_config",
        ];
        let settings: Vec<String> = settings.map(|name| body[name].to_string()).into();
        let messages = body["messages"].as_array().into_iter().flatten();
        Self {
            organization: organization.to_owned(),
            model: body["model"].clone(),
            tools: plain(&body["tools"]),
            system: plain(&body["system"]),
            messages: messages
                .map(|message| without_cache_control(message).to_string())
                .collect(),
            settings: format!("{betas} {}", settings.join(" ")),
        }
    }

    /// The earliest divergence of a later request from this one.
    fn diverges(&self, now: &Self) -> Value {
        let kept = self.messages.iter().zip(&now.messages);
        let kept = kept.take_while(|(was, is)| was == is).count();
        let messages = |from: usize| now.messages[from..].iter().map(String::len).sum::<usize>();
        let (kind, missed) = if self.model != now.model {
            let all = now.tools.len() + now.system.len() + messages(0);
            ("model_changed", all)
        } else if self.tools != now.tools {
            let all = now.tools.len() + now.system.len() + messages(0);
            ("tools_changed", all)
        } else if self.system != now.system {
            ("system_changed", now.system.len() + messages(0))
        } else if self.settings != now.settings {
            return json!({"cache_miss_reason": {"type": "unavailable"}});
        } else if kept < self.messages.len() {
            ("messages_changed", messages(kept))
        } else {
            return Value::Null;
        };
        let missed = missed / TOKEN;
        json!({"cache_miss_reason": {"type": kind, "cache_missed_input_tokens": missed}})
    }
}

fn plain(part: &Value) -> String {
    match part {
        Value::Array(items) => items
            .iter()
            .map(|item| without_cache_control(item).to_string())
            .collect(),
        other => other.to_string(),
    }
}

fn units(body: &Value, dropped: &HashSet<(usize, usize)>) -> Vec<Unit> {
    let mut units = Vec::new();
    for part in ["tools", "system"] {
        match &body[part] {
            Value::Array(items) => units.extend(items.iter().map(|item| unit(part, item))),
            Value::Null => {}
            other => units.push(unit(part, other)),
        }
    }
    for (at, message) in body["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        // The role begins the message, so that its boundary counts.
        units.push(unit("role", &message["role"]));
        match &message["content"] {
            Value::Array(blocks) => {
                let blocks = blocks.iter().enumerate();
                let kept = blocks.filter(|(index, _)| !dropped.contains(&(at, *index)));
                units.extend(kept.map(|(_, block)| unit("block", block)));
            }
            other => units.push(unit("block", other)),
        }
    }
    if let Some(last) = units
        .last_mut()
        .filter(|_| body.get("cache_control").is_some())
    {
        last.marked = true;
    }
    units
}

fn unit(part: &str, value: &Value) -> Unit {
    let bytes = format!("{part} {}", without_cache_control(value));
    let inner = value["content"].as_array().into_iter().flatten();
    let marked = inner
        .chain([value])
        .any(|block| block["cache_control"].is_object());
    Unit { bytes, marked }
}
