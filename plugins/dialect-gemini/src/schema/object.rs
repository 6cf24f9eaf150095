//! Small helpers for the objects of a schema.

use witgate_plugin::{Value, serde_json::Map};

use super::Object;

pub(super) fn json_object(key: &str, value: impl Into<Value>) -> Object {
    let mut object = Map::new();
    object.insert(key.to_owned(), value.into());
    object
}

pub(super) fn without(schema: &Object, words: &[&str]) -> Object {
    let kept = schema
        .iter()
        .filter(|(key, _)| !words.contains(&key.as_str()));
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Keywords that describe a schema as a whole and nothing of its values. They may be large, so they
/// are not copied when schemas are merged.
pub(super) const OF_DOCUMENT: [&str; 6] = [
    "$defs",
    "definitions",
    "$schema",
    "$id",
    "$comment",
    "examples",
];

/// Whether a keyword has a value of the right type. Gemini rejects the whole request for a wrong
/// one.
pub(super) fn is_sound(word: &str, value: &Value) -> bool {
    match word {
        "title" | "description" | "pattern" => value.is_string(),
        "default" => !value.is_null(),
        "nullable" => value.is_boolean(),
        _ => value.is_number(),
    }
}

/// A description with hints after it.
pub(super) fn described(text: Option<&str>, hints: &[String]) -> Option<String> {
    match (text, hints) {
        (None, []) => None,
        (Some(text), []) => Some(text.to_owned()),
        (None | Some(""), hints) => Some(hints.join("; ")),
        (Some(text), hints) => Some(format!("{text} ({})", hints.join("; "))),
    }
}
