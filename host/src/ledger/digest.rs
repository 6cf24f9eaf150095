//! Digests of the parts of a body: tools, system, and each message.
//!
//! Each part has one digest for the prefix check and one for the prompt cache. Both are made from
//! the parsed part, which costs more than the hash, so a part whose bytes are those of the previous
//! exchange keeps its digests.
//!
//! A digest has 64 bits, because it is compared with one other only: that of the same part in the
//! exchange before.

use std::sync::LazyLock;

use serde_json::Value;
use twox_hash::XxHash3_64;
use witgate_document::{Document, Path};

/// Digests of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digests {
    pub(super) tools: Vec<Part>,
    pub(super) system: Vec<Part>,
    pub(super) messages: Vec<Part>,
}

/// Digests of a tool, a block of `system`, or a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Of the bytes.
    raw: u64,
    /// For the prefix check: without thinking, and the order of keys does not count.
    pub(super) check: u64,
    /// For the prompt cache. Cache marks do not count, because clients move them from turn to turn.
    pub(super) cache: u64,
    /// Of the thinking blocks' signatures; 0 without thinking.
    pub(super) thinking: u64,
}

struct Paths {
    tools: Path,
    blocks: Path,
    messages: Path,
}

static PATHS: LazyLock<Option<Paths>> = LazyLock::new(|| {
    Some(Paths {
        tools: Path::parse("$.tools[*]").ok()?,
        blocks: Path::parse("$.system[*]").ok()?,
        messages: Path::parse("$.messages[*]").ok()?,
    })
});

impl Digests {
    /// `None` if the body has no messages. `known` are the digests of an exchange that it probably
    /// continues.
    pub(crate) fn of(body: &Document, known: Option<&Self>) -> Option<Self> {
        let paths = PATHS.as_ref()?;
        let empty = Self::default();
        let known = known.unwrap_or(&empty);
        let messages = parts(body, &paths.messages, &known.messages)?;
        if messages.is_empty() {
            return None;
        }
        let system = match body.top("system") {
            Some(text) if text.starts_with(b"\"") => vec![part(&text, known.system.first())],
            Some(_) => parts(body, &paths.blocks, &known.system)?,
            None => Vec::new(),
        };
        Some(Self {
            tools: tools(body, &paths.tools, &known.tools)?,
            system,
            messages,
        })
    }

    /// How much the beginning has in common with another: the leading messages, and `system`.
    pub(super) fn shared(&self, other: &Self) -> usize {
        let pairs = self.messages.iter().zip(&other.messages);
        let messages = pairs.take_while(|(a, b)| a.check == b.check).count();
        let checks = |parts: &[Part]| parts.iter().map(|part| part.check).collect::<Vec<_>>();
        let system = !self.system.is_empty() && checks(&self.system) == checks(&other.system);
        2 * messages + usize::from(system)
    }

    /// Whether it begins with all messages of another.
    pub(super) fn continues(&self, other: &Self) -> bool {
        self.messages.len() >= other.messages.len() && {
            let mut pairs = self.messages.iter().zip(&other.messages);
            pairs.all(|(a, b)| a.check == b.check)
        }
    }
}

/// The digest of a text.
pub(crate) fn hash(text: &[u8]) -> u64 {
    XxHash3_64::oneshot(text)
}

fn parts(body: &Document, path: &Path, known: &[Part]) -> Option<Vec<Part>> {
    let nodes = body.read(path).ok()?;
    let each = nodes.iter().enumerate();
    Some(
        each.map(|(at, node)| part(&node.value, known.get(at)))
            .collect(),
    )
}

/// The tools without deferred ones: those are in the prompt only once a message refers to them.
fn tools(body: &Document, path: &Path, known: &[Part]) -> Option<Vec<Part>> {
    if body.top("tools").is_none() {
        return Some(Vec::new());
    }
    let nodes = body.read(path).ok()?;
    let deferred = |text: &[u8]| {
        memchr::memmem::find(text, b"\"defer_loading\"").is_some()
            && serde_json::from_slice::<Value>(text).is_ok_and(|tool| tool["defer_loading"] == true)
    };
    let tools = nodes.iter().filter(|node| !deferred(&node.value));
    let each = tools.enumerate();
    Some(
        each.map(|(at, node)| part(&node.value, known.get(at)))
            .collect(),
    )
}

fn part(text: &[u8], known: Option<&Part>) -> Part {
    let raw = hash(text);
    if let Some(known) = known.filter(|known| known.raw == raw) {
        return *known;
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(text) else {
        // The upstream reports it.
        return Part {
            raw,
            check: raw,
            cache: raw,
            thinking: 0,
        };
    };
    remove_cache_marks(&mut value);
    text_as_block(&mut value);
    let cache = hash(value.to_string().as_bytes());
    let thinking = take_thinking(&mut value);
    value.sort_all_objects();
    Part {
        raw,
        check: hash(value.to_string().as_bytes()),
        cache,
        thinking,
    }
}

fn remove_cache_marks(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.shift_remove("cache_control");
            members.values_mut().for_each(remove_cache_marks);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_cache_marks),
        _ => {}
    }
}

/// A text, as `system` or as a message's content, is the same as one text block.
fn text_as_block(value: &mut Value) {
    let text = match value {
        Value::String(_) => value,
        Value::Object(members) => match members.get_mut("content") {
            Some(Value::String(_)) => {
                let content = members.get_mut("content").map(Value::take);
                let block = serde_json::json!([{"type": "text", "text": content}]);
                members["content"] = block;
                return;
            }
            _ => return,
        },
        _ => return,
    };
    *text = serde_json::json!({"type": "text", "text": text.take()});
}

/// Removes the thinking blocks of a message and returns the digest of their signatures.
fn take_thinking(message: &mut Value) -> u64 {
    let Some(Value::Array(blocks)) = message.get_mut("content") else {
        return 0;
    };
    let mut signatures = String::new();
    blocks.retain(|block| {
        let signature = match block["type"].as_str() {
            Some("thinking") => &block["signature"],
            Some("redacted_thinking") => &block["data"],
            _ => return true,
        };
        signatures.push_str(signature.as_str().unwrap_or_default());
        signatures.push('\n');
        false
    });
    match signatures.is_empty() {
        true => 0,
        false => hash(signatures.as_bytes()).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &'static str) -> Part {
        part(text.as_bytes(), None)
    }

    #[test]
    fn what_does_not_count_for_a_check_does_not_change_its_digest() {
        // (one, another, same for the check, same for the cache)
        let table = [
            (r#"{"a":1,"b":2}"#, r#"{ "a": 1, "b": 2 }"#, true, true),
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, true, false),
            (r#"{"a":1,"cache_control":{}}"#, r#"{"a":1}"#, true, true),
            (
                r#""hi""#,
                r#"{"type":"text","text":"hi","cache_control":{}}"#,
                true,
                true,
            ),
            (
                r#"{"role":"user","content":"hi"}"#,
                r#"{"role":"user","content":[{"type":"text","text":"hi"}]}"#,
                true,
                true,
            ),
            (
                r#"{"content":[{"type":"thinking","signature":"s"},{"type":"text","text":"x"}]}"#,
                r#"{"content":[{"type":"text","text":"x"}]}"#,
                true,
                false,
            ),
            (r#"{"content":"hi"}"#, r#"{"content":"ho"}"#, false, false),
        ];
        for (one, another, check, cache) in table {
            let (a, b) = (of(one), of(another));
            assert_eq!(a.check == b.check, check, "check: {one} {another}");
            assert_eq!(a.cache == b.cache, cache, "cache: {one} {another}");
        }
    }

    #[test]
    fn signatures_are_kept_apart_from_the_text() {
        let with = |kind: &str, key: &str, signature: &str| {
            let text = format!(
                r#"{{"content":[{{"type":"{kind}","{key}":"{signature}"}},{{"type":"x"}}]}}"#
            );
            part(text.as_bytes(), None)
        };
        let (a, b) = (
            with("thinking", "signature", "a"),
            with("thinking", "signature", "b"),
        );
        assert!(a.check == b.check && a.thinking != b.thinking && a.thinking != 0);
        assert_ne!(with("redacted_thinking", "data", "a").thinking, 0);
        assert_eq!(of(r#"{"content":[{"type":"x"}]}"#).thinking, 0);
    }

    #[test]
    fn a_deferred_tool_does_not_count() {
        let body = |tools: &str| {
            let body = format!(r#"{{"messages":[{{}}],"tools":[{tools}]}}"#);
            Digests::of(&Document::new(body), None).unwrap()
        };
        let plain = body(r#"{"name":"a"}"#);
        let deferred = body(r#"{"name":"b","defer_loading":true},{"name":"a"}"#);
        assert_eq!(plain, deferred);
        assert_ne!(
            plain,
            body(r#"{"name":"a"},{"name":"b","defer_loading":false}"#)
        );
    }

    #[test]
    fn a_body_without_messages_has_no_digests() {
        for body in ["", "{}", r#"{"messages":[]}"#, r#"{"messages":"x"}"#, "[1"] {
            assert_eq!(Digests::of(&Document::new(body), None), None, "{body}");
        }
    }
}
