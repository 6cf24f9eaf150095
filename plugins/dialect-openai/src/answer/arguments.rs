//! The arguments of a tool call: joined from their pieces, and decoded where a server has encoded
//! them twice. What is certain is passed on as it arrives.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use witgate_plugin::dialect::ToolDef;

use super::{json_end::JsonEnd, json_text::Halves};

/// Values that servers send for a call without arguments.
const NOTHING: [&str; 4] = ["null", "None", "undefined", r#""""#];

/// How often arguments may be encoded.
const ENCODINGS: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// Received and not yet written.
    text: String,
    halves: Halves,
    /// The end of the object, once it has begun.
    end: Option<JsonEnd>,
    /// A digest of the object, to recognise its repetition.
    digest: Digest,
    any: bool,
}

/// The length and hash of a text that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    length: usize,
    hash: u64,
}

/// The schemas of tools with members that are lists or objects, by the client's name of the tool.
#[derive(Debug, Default)]
pub(crate) struct Schemas(BTreeMap<String, Value>);

impl Arguments {
    /// Takes a piece. Returns false if it is lost because the arguments had ended before.
    pub(super) fn take(&mut self, piece: &str) -> bool {
        let piece = self.halves.join(piece);
        self.any |= !piece.is_empty();
        if self.end.is_none() {
            self.text.push_str(&piece);
            let kept = without_nothing(&self.text).len();
            self.text.drain(..self.text.len() - kept);
            if !has_begun(&self.text) {
                return true;
            }
            let all = std::mem::take(&mut self.text);
            self.end = Some(JsonEnd::default());
            return self.go_on(all.trim_start());
        }
        self.go_on(&piece)
    }

    fn go_on(&mut self, piece: &str) -> bool {
        let Some(end) = &mut self.end else {
            return false;
        };
        let (own, rest) = piece.split_at(end.take(piece));
        self.digest.add(own);
        self.text.push_str(own);
        let rest = rest.trim();
        rest.is_empty() || self.digest == Digest::of(rest)
    }

    /// Whether anything was received.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    /// Whether the arguments say nothing so far, such as `{}`.
    pub(super) fn is_nothing(&self) -> bool {
        self.end.is_none() && is_nothing(&self.text)
    }

    /// Whether the object has begun and ended: nothing more can follow.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some_and(|end| end.reached())
    }

    /// Whether what was received is complete, although more may follow.
    pub(super) fn may_be_whole(&self) -> bool {
        match self.end {
            Some(end) => end.reached(),
            None if self.text.trim().is_empty() => false,
            None => is_nothing(&self.text) || serde_json::from_str::<Value>(&self.text).is_ok(),
        }
    }

    /// Whether these would be the same arguments.
    pub(super) fn is_repeated_by(&self, other: &str) -> bool {
        match self.end {
            Some(_) => self.digest == Digest::of(other.trim()),
            None => self.text.trim() == other.trim(),
        }
    }

    /// Whether there is something that can be written.
    pub(super) fn is_ready(&self) -> bool {
        self.end.is_some() && !self.text.is_empty()
    }

    /// What can be written now.
    pub(super) fn ready(&mut self) -> String {
        match self.end {
            Some(_) => std::mem::take(&mut self.text),
            None => String::new(),
        }
    }

    /// The rest of the arguments, or all if nothing was written. `None` if they are not an object.
    pub(super) fn finish(&mut self, schema: Option<&Value>) -> Option<String> {
        self.text.push_str(self.halves.left_over());
        let text = std::mem::take(&mut self.text);
        match self.end {
            Some(_) => Some(match schema {
                Some(schema) => restored(text, schema),
                None => text,
            }),
            None if is_nothing(&text) => Some(String::new()),
            None => decoded(text, schema),
        }
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self {
            length: 0,
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }
}

impl Digest {
    pub(super) fn of(text: &str) -> Self {
        let mut digest = Self::default();
        digest.add(text);
        digest
    }

    /// Continues with FNV-1a.
    pub(super) fn add(&mut self, text: &str) {
        self.length += text.len();
        self.hash = text.bytes().fold(self.hash, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    }

    pub(super) fn is_empty(self) -> bool {
        self.length == 0
    }

    /// What a text has beyond the one of this digest. `None` if it begins otherwise.
    pub(super) fn beyond(self, text: &str) -> Option<&str> {
        let beginning = text.get(..self.length)?;
        (Self::of(beginning) == self).then(|| &text[self.length..])
    }
}

impl Schemas {
    pub(crate) fn of(tools: &[ToolDef]) -> Self {
        let schema = |tool: &ToolDef| match tool {
            ToolDef::Tool(tool) if has_structure(&tool.schema) => {
                Some((tool.name.clone(), tool.schema.clone()))
            }
            _ => None,
        };
        Self(tools.iter().filter_map(schema).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

/// The text without values that say nothing and are followed by others.
fn without_nothing(text: &str) -> &str {
    let mut text = text;
    loop {
        let begun = text.trim_start();
        let empty_object = begun
            .strip_prefix('{')
            .and_then(|inside| inside.trim_start().strip_prefix('}'));
        let mut words = NOTHING.iter();
        let rest = empty_object.or_else(|| words.find_map(|word| begun.strip_prefix(word)));
        match rest {
            Some(rest) if rest.trim_start().starts_with(['{', '"']) => text = rest,
            _ => return text,
        }
    }
}

fn is_nothing(text: &str) -> bool {
    let text = text.trim();
    let inside = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    text.is_empty()
        || inside.is_some_and(|inside| inside.trim().is_empty())
        || NOTHING.contains(&text)
}

/// Whether an object with members has begun.
fn has_begun(text: &str) -> bool {
    let inside = text.trim_start().strip_prefix('{').map(str::trim_start);
    inside.is_some_and(|inside| !inside.is_empty() && !inside.starts_with('}'))
}

/// The object in a text that is not one itself, because it was encoded once more.
fn decoded(mut text: String, schema: Option<&Value>) -> Option<String> {
    for _ in 0..ENCODINGS {
        match serde_json::from_str(&text) {
            Ok(Value::String(inner)) if is_nothing(&inner) => return Some(String::new()),
            Ok(Value::String(inner)) => text = inner,
            Ok(Value::Object(_)) => {
                return Some(match schema {
                    Some(schema) => restored(text, schema),
                    None => text,
                });
            }
            Ok(_) => return None,
            // Not JSON, which is not repaired: clients report it to the model.
            Err(_) => break,
        }
    }
    Some(text)
}

/// The object with its members decoded that the schema says are lists or objects.
fn restored(text: String, schema: &Value) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(&text) else {
        return text;
    };
    match restore(&mut value, schema) {
        true => value.to_string(),
        false => text,
    }
}

/// Decodes texts at the places of lists and objects. Returns whether there were any.
fn restore(value: &mut Value, schema: &Value) -> bool {
    let mut changed = false;
    if let Value::String(text) = value
        && let Some(decoded) = structure(text, schema)
    {
        *value = decoded;
        changed = true;
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                changed |= restore(member, &schema["properties"][name.as_str()]);
            }
        }
        Value::Array(list) => {
            for item in list {
                changed |= restore(item, &schema["items"]);
            }
        }
        _ => {}
    }
    changed
}

/// The list or object in a text, if the schema wants one there and no text.
fn structure(text: &str, schema: &Value) -> Option<Value> {
    let types = types(schema);
    if types.contains(&"string") {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    let kind = match value {
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        _ => return None,
    };
    types.contains(&kind).then_some(value)
}

/// The types that a schema allows, as far as it says so.
fn types(schema: &Value) -> Vec<&str> {
    let mut types: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for union in ["anyOf", "oneOf"] {
        let branches = schema[union].as_array().into_iter().flatten();
        types.extend(branches.flat_map(self::types));
    }
    types
}

/// Whether any member of the input is a list or an object.
fn has_structure(schema: &Value) -> bool {
    let members = schema["properties"].as_object();
    let mut members = members.into_iter().flat_map(Map::values);
    members.any(|member| {
        let types = types(member);
        types.contains(&"array") || types.contains(&"object")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use witgate_plugin::dialect::Tool;

    use super::*;

    /// The arguments after these pieces, and whether nothing was lost.
    fn read(pieces: &[&str], schema: Option<&Value>) -> (Option<String>, bool) {
        let mut arguments = Arguments::default();
        let mut written = String::new();
        let mut kept = true;
        for piece in pieces {
            kept &= arguments.take(piece);
            if schema.is_none() {
                written += &arguments.ready();
            }
        }
        let rest = arguments.finish(schema);
        (rest.map(|rest| written + &rest), kept)
    }

    /// Reads a text whole and cut at each character.
    #[track_caller]
    fn reads(text: &str, schema: Option<&Value>, wanted: Option<&str>) {
        for (at, _) in text.char_indices() {
            let (first, second) = text.split_at(at);
            let (read, kept) = read(&[first, second], schema);
            assert_eq!(
                (read.as_deref(), kept),
                (wanted, true),
                "{first} + {second}"
            );
        }
        let single: Vec<String> = text.chars().map(String::from).collect();
        let single: Vec<&str> = single.iter().map(String::as_str).collect();
        assert_eq!(read(&single, schema).0.as_deref(), wanted, "{text}");
    }

    #[test]
    fn arguments_that_say_nothing_are_none_and_give_way_to_real_ones() {
        for nothing in [
            "",
            " ",
            "{}",
            "{ }\n",
            "null",
            r#""""#,
            r#""{}""#,
            r#""null""#,
        ] {
            reads(nothing, None, Some(""));
        }
        for begin in ["{}", "{ } ", "null", r#""""#, " ", "{}{}"] {
            let wanted = r#"{"path":"a"}"#;
            let all = format!("{begin}{wanted}");
            let (first, _) = read(&[begin, wanted], None);
            assert_eq!(first.as_deref(), Some(wanted), "{begin}");
            reads(all.trim(), None, Some(wanted));
        }
    }

    #[test]
    fn an_object_that_is_encoded_more_than_once_is_decoded() {
        let object = json!({ "path": "a\"b" }).to_string();
        let once = Value::from(object.clone()).to_string();
        let twice = Value::from(once.clone()).to_string();
        for text in [&object, &once, &twice] {
            reads(text, None, Some(&object));
        }
        for other in ["[1]", "7", "true"] {
            reads(other, None, None);
        }
        for invalid in [r#"{"path": a"#, "path=a", r#"{"path":"aaa"#] {
            reads(invalid, None, Some(invalid));
        }
    }

    #[test]
    fn a_member_is_decoded_if_the_schema_wants_a_list_or_object() {
        let list = json!({ "type": "array", "items": { "type": "object", "properties": { "deep": { "type": "object" } } } });
        let schema = json!({ "type": "object", "properties": {
            "todos": list, "maybe": { "anyOf": [{ "type": "array" }, { "type": "null" }] },
            "free": { "type": ["string", "array"] }, "text": { "type": "string" }, "any": {},
        } });
        let sent = json!({ "todos": r#"[{"deep":"{\"a\":1}"}]"#, "maybe": "[1]", "free": "[2]", "text": "[3]", "any": "[4]" });
        let wanted = json!({ "todos": [{ "deep": { "a": 1 } }], "maybe": [1], "free": "[2]", "text": "[3]", "any": "[4]" });
        reads(&sent.to_string(), Some(&schema), Some(&wanted.to_string()));
        let encoded = Value::from(sent.to_string()).to_string();
        reads(&encoded, Some(&schema), Some(&wanted.to_string()));
        for same in [
            r#"{"todos": [1.50]}"#,
            r#"{"todos":"soon"}"#,
            r#"{"todos":"[1"}"#,
            r#"{"todos":"7"}"#,
        ] {
            reads(same, Some(&schema), Some(same));
        }
        let tool = |name: &str, schema: &Value| {
            ToolDef::Tool(Tool {
                name: name.to_owned(),
                description: None,
                schema: schema.clone(),
                strict: None,
                deferred: false,
                breakpoint: None,
            })
        };
        let plain = json!({ "type": "object", "properties": { "path": { "type": "string" } } });
        let schemas = Schemas::of(&[tool("TodoWrite", &schema), tool("Read", &plain)]);
        assert!(schemas.get("TodoWrite").is_some());
        assert_eq!(
            schemas.get("Read"),
            None,
            "its arguments need not be held back"
        );
    }

    #[test]
    fn what_follows_the_end_is_lost_unless_it_repeats_the_arguments() {
        let object = r#"{"a":"}"}"#;
        assert_eq!(
            read(&[object, " \n"], None),
            (Some(object.to_owned()), true)
        );
        assert_eq!(
            read(&[object, object], None),
            (Some(object.to_owned()), true)
        );
        assert_eq!(read(&[object, "}"], None), (Some(object.to_owned()), false));
        let both = format!("{object}{{\"b\":1}}");
        assert_eq!(read(&[&both], None), (Some(object.to_owned()), false));
    }
}
