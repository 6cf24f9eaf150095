//! Digests of the parts of a body: tools, system, and each message.
//!
//! Each part has one digest for the prefix check and one for the prompt cache. Both are made by
//! parsing the part, which costs more than a hash of its bytes, so a part whose bytes are those of
//! the previous exchange keeps its digests.
//!
//! A digest has 64 bits, because it is compared with one other only: that of the same part in the
//! exchange before.

mod canonical; // digests of one part, whatever its formatting

use std::sync::LazyLock;

use serde_json::Value;
use twox_hash::XxHash3_64;
use witgate_document::{Document, Path};

/// The most edited parts that are read one by one. Each is found from the start of its list.
const EDITED: usize = 32;

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

/// One of the lists of parts.
type List = fn(&Digests) -> &Vec<Part>;

const TOOLS: List = |digests| &digests.tools;
const SYSTEM: List = |digests| &digests.system;
const MESSAGES: List = |digests| &digests.messages;

impl Digests {
    /// `None` if the body has no messages. `known` are the digests of exchanges that it may
    /// continue, the most likely first.
    pub(crate) fn of(body: &Document, known: &[&Self]) -> Option<Self> {
        let paths = PATHS.as_ref()?;
        let messages = parts(body, &paths.messages, known, MESSAGES)?;
        if messages.is_empty() {
            return None;
        }
        let system = match body.top("system") {
            Some(text) if text.starts_with(b"\"") => vec![part(&text, 0, known, SYSTEM)],
            Some(_) => parts(body, &paths.blocks, known, SYSTEM)?,
            None => Vec::new(),
        };
        Some(Self {
            tools: tools(body, &paths.tools, known)?,
            system,
            messages,
        })
    }

    /// The digests of the body after edits at these places: only the parts around them are read,
    /// unless an edit added, removed or moved whole parts.
    pub(crate) fn after(&self, edits: &[&str], body: &Document, known: &[&Self]) -> Option<Self> {
        let Some(edited) = edited_parts(edits) else {
            return Self::of(body, known);
        };
        let mut digests = self.clone();
        for (place, messages, at) in edited {
            let text = body.get(place).ok()??;
            let (list, parts) = match messages {
                true => (MESSAGES, &mut digests.messages),
                false => (SYSTEM, &mut digests.system),
            };
            *parts.get_mut(at)? = part(&text, at, known, list);
        }
        Some(digests)
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

/// The parts that edits at these places are inside of: the pointer of the part, whether it is a
/// message or else a block of `system`, and its index. `None` if an edit is not inside of one.
fn edited_parts<'a>(edits: &[&'a str]) -> Option<Vec<(&'a str, bool, usize)>> {
    let mut parts = Vec::new();
    for edit in edits {
        let messages = edit.starts_with("/messages/");
        let list = if messages { "/messages/" } else { "/system/" };
        let (at, _) = edit.strip_prefix(list)?.split_once('/')?;
        let part = (&edit[..list.len() + at.len()], messages, at.parse().ok()?);
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    (parts.len() <= EDITED).then_some(parts)
}

fn parts(body: &Document, path: &Path, known: &[&Digests], list: List) -> Option<Vec<Part>> {
    let likely = known.first().map_or(0, |known| list(known).len());
    let mut parts = Vec::with_capacity(likely + 2);
    let take = |text: &[u8]| parts.push(part(text, parts.len(), known, list));
    body.visit(path, take).ok()?;
    Some(parts)
}

/// The tools without deferred ones: those are in the prompt only once a message refers to them.
fn tools(body: &Document, path: &Path, known: &[&Digests]) -> Option<Vec<Part>> {
    if body.top("tools").is_none() {
        return Some(Vec::new());
    }
    if !body.may_have("defer_loading") {
        return parts(body, path, known, TOOLS);
    }
    let deferred = |text: &[u8]| {
        memchr::memmem::find(text, b"\"defer_loading\"").is_some()
            && serde_json::from_slice::<Value>(text).is_ok_and(|tool| tool["defer_loading"] == true)
    };
    let mut tools = Vec::new();
    let take = |text: &[u8]| {
        if !deferred(text) {
            tools.push(part(text, tools.len(), known, TOOLS));
        }
    };
    body.visit(path, take).ok()?;
    Some(tools)
}

/// The digests of a part with this index, taken from what is known if the bytes are the same.
fn part(text: &[u8], at: usize, known: &[&Digests], list: List) -> Part {
    let raw = hash(text);
    let mut known = known.iter().filter_map(|known| list(known).get(at));
    match known.find(|known| known.raw == raw) {
        Some(known) => *known,
        None => read(text, raw),
    }
}

fn read(text: &[u8], raw: u64) -> Part {
    match canonical::read(text) {
        Some(digest) => Part {
            raw,
            check: digest.check,
            cache: digest.cache,
            thinking: digest.thinking,
        },
        // The upstream reports it.
        None => Part {
            raw,
            check: raw,
            cache: raw,
            thinking: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &'static str) -> Part {
        part(text.as_bytes(), 0, &[], MESSAGES)
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
            part(text.as_bytes(), 0, &[], MESSAGES)
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
            Digests::of(&Document::new(body), &[]).unwrap()
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
            assert_eq!(Digests::of(&Document::new(body), &[]), None, "{body}");
        }
    }

    #[test]
    fn an_edit_inside_of_a_part_reads_that_part_only() {
        use witgate_document::Operation;

        let text = r#"{"system":[{"text":"a"},{"text":"b"}],"tools":[{"name":"x"}],"messages":[{"content":"one"},{"content":"two"},{"content":"three"}]}"#;
        let replace = |at: &str| Operation::Replace {
            at: at.to_owned(),
            value: "\"new\"".to_owned().into(),
        };
        let remove = |at: &str| Operation::Remove { at: at.to_owned() };
        let table = [
            (replace("/messages/1/content"), true),
            (replace("/system/0/text"), true),
            (replace("/tools/0/name"), false),
            (remove("/messages/1"), false),
            (remove("/tools"), false),
            (replace("/system"), false),
            (replace("/messages/2"), false),
        ];
        for (edit, few) in table {
            let (Operation::Replace { at, .. } | Operation::Remove { at }) = &edit else {
                unreachable!()
            };
            let mut body = Document::new(text);
            let before = Digests::of(&body, &[]).unwrap();
            body.patch(std::slice::from_ref(&edit)).unwrap();
            let after = before.after(&[at.as_str()], &body, &[]);
            assert_eq!(after, Digests::of(&body, &[]), "{at}");
            assert_ne!(after.unwrap(), before, "{at}");
            assert_eq!(edited_parts(&[at.as_str()]).is_some(), few, "{at}");
        }
    }

    #[test]
    fn a_part_with_known_bytes_is_not_read_again() {
        let body = Document::new(r#"{"messages":[{"content":"one"},{"content":"two"}]}"#);
        let mut known = Digests::of(&body, &[]).unwrap();
        known.messages[1].check = 7;
        let other = Digests::default();
        assert_eq!(Digests::of(&body, &[&other, &known]), Some(known));
    }
}
