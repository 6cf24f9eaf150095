//! Cleans one schema at a time, together with the schemas that it contains or refers to.

use witgate_plugin::{Value, json, serde_json::Map};

use super::{
    Object,
    flatten::both,
    types::{Kind, count_restricting, has_shape, implied},
};
use crate::dropped::Counts;

/// The limit of schemas per tool. Hand-written tools have fewer; nested references could multiply
/// without end.
const MOST: usize = 4_000;

/// The limit of nesting. A model would not follow deeper schemas either.
const DEEPEST: usize = 48;

pub(super) struct Cleaner<'a> {
    root: &'a Value,
    pub(super) lost: &'a mut Counts,
    /// The references that are being inlined. One that occurs again is a recursion.
    open: Vec<String>,
    left: usize,
    depth: usize,
}

impl<'a> Cleaner<'a> {
    pub(super) fn new(root: &'a Value, lost: &'a mut Counts) -> Self {
        Self {
            root,
            lost,
            open: Vec::new(),
            left: MOST,
            depth: 0,
        }
    }

    pub(super) fn schema(&mut self, schema: &Value) -> Value {
        let Value::Object(schema) = schema else {
            return any();
        };
        if self.left == 0 || self.depth == DEEPEST {
            self.lost.add("depth");
            return json!({ "type": "OBJECT" });
        }
        self.left -= 1;
        self.depth += 1;
        let clean = match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.referred(reference, schema),
            None => self.gathered(schema),
        };
        self.depth -= 1;
        Value::Object(clean)
    }

    /// Inlines a reference, merged with its sibling keywords.
    fn referred(&mut self, reference: &str, schema: &Object) -> Object {
        let beside: Object = without(schema, &["$ref"]);
        let target = pointed_at(self.root, reference).and_then(Value::as_object);
        let recursive = self.open.iter().any(|open| open == reference);
        let (Some(target), false) = (target, recursive) else {
            self.lost.add("$ref");
            let kind = target.and_then(|target| kinds(target).0.first().copied());
            let mut stub = both(
                &json_object("type", kind.unwrap_or(Kind::Object).word()),
                &beside,
            );
            let name = reference.rsplit('/').next().unwrap_or_default();
            stub.entry("description")
                .or_insert_with(|| json!(format!("another {name}")));
            return self.gathered(&stub);
        };
        let whole = both(target, &beside);
        self.open.push(reference.to_owned());
        let clean = match whole.get("$ref").and_then(Value::as_str).map(str::to_owned) {
            Some(next) => self.referred(&next, &whole),
            None => self.gathered(&whole),
        };
        self.open.pop();
        clean
    }

    /// Cleans a schema without `$ref`: merges `allOf` into it.
    fn gathered(&mut self, schema: &Object) -> Object {
        let Some(Value::Array(parts)) = schema.get("allOf") else {
            return self.united(schema);
        };
        let mut whole = without(schema, &["allOf"]);
        for part in parts {
            let reference = part.get("$ref").and_then(Value::as_str);
            let part = match reference {
                Some(reference) => pointed_at(self.root, reference).unwrap_or(part),
                None => part,
            };
            if let Value::Object(part) = part {
                whole = both(&whole, &without(part, &["$ref"]));
            }
        }
        if self.depth < DEEPEST && whole.contains_key("allOf") {
            self.depth += 1;
            let clean = self.gathered(&whole);
            self.depth -= 1;
            return clean;
        }
        whole.remove("allOf");
        self.united(&whole)
    }

    /// Cleans a schema without `allOf`: its union, if any, becomes `anyOf`.
    fn united(&mut self, schema: &Object) -> Object {
        let union = schema
            .get("anyOf")
            .or_else(|| schema.get("oneOf"))
            .and_then(Value::as_array);
        let Some(branches) = union else {
            return self.typed(schema);
        };
        if schema.contains_key("anyOf") && schema.contains_key("oneOf") {
            self.lost.add("oneOf");
        }
        let mut siblings = without(schema, &["anyOf", "oneOf"]);
        let real: Vec<&Value> = branches.iter().filter(|branch| !is_null(branch)).collect();
        if real.len() < branches.len() {
            siblings.insert("nullable".to_owned(), json!(true));
        }
        // `{"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}`
        let shaped = real.iter().all(|branch| has_shape(branch));
        if real.is_empty() || !shaped {
            if !shaped {
                self.lost.add("anyOf");
            }
            return self.typed(&siblings);
        }
        self.branched(&siblings, &real)
    }

    fn branched(&mut self, siblings: &Object, branches: &[&Value]) -> Object {
        // Annotations belong to the whole, everything else applies in each branch.
        let (annotations, common): (Object, Object) = siblings
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .partition(|(key, _)| {
                matches!(
                    key.as_str(),
                    "title" | "description" | "default" | "nullable"
                )
            });
        let mut clean: Vec<Value> = Vec::new();
        for branch in branches {
            let branch = match branch {
                Value::Object(branch) if !common.is_empty() => {
                    self.schema(&Value::Object(both(&common, branch)))
                }
                branch => self.schema(branch),
            };
            if !clean.contains(&branch) {
                clean.push(branch);
            }
        }
        let mut out = match clean.as_mut_slice() {
            [Value::Object(only)] => std::mem::take(only),
            _ => json_object("anyOf", clean),
        };
        out.extend(
            annotations
                .into_iter()
                .filter(|(word, value)| is_sound(word, value)),
        );
        out
    }

    /// Cleans a schema of one or several types.
    fn typed(&mut self, schema: &Object) -> Object {
        let (kinds, nullable) = kinds(schema);
        let mut out = match kinds.as_slice() {
            [] => any_object(),
            [kind] => {
                count_restricting(schema, self.lost);
                return self.single(*kind, nullable, schema);
            }
            several => {
                count_restricting(schema, self.lost);
                let bare = without(
                    schema,
                    &["title", "description", "default", "nullable", "type"],
                );
                let branches = several
                    .iter()
                    .map(|kind| Value::Object(self.single(*kind, false, &bare)));
                json_object("anyOf", branches.collect::<Vec<_>>())
            }
        };
        for annotation in ["title", "description", "default"] {
            if let Some(value) = schema
                .get(annotation)
                .filter(|value| is_sound(annotation, value))
            {
                out.insert(annotation.to_owned(), value.clone());
            }
        }
        if nullable {
            out.insert("nullable".to_owned(), json!(true));
        }
        out
    }

    /// Cleans a schema of one type, keyword by keyword in a fixed order.
    fn single(&mut self, kind: Kind, nullable: bool, schema: &Object) -> Object {
        let mut out = json_object("type", kind.word());
        let mut hints = Vec::new();
        let copy = |out: &mut Object, word: &str| {
            if let Some(value) = schema.get(word).filter(|value| is_sound(word, value)) {
                out.insert(word.to_owned(), value.clone());
            }
        };
        copy(&mut out, "title");
        for word in kind.constraints() {
            copy(&mut out, word);
        }
        copy(&mut out, "default");
        self.format(kind, schema, &mut out, &mut hints);
        self.values(kind, schema, &mut out, &mut hints);
        match kind {
            Kind::Object => self.members(schema, &mut out),
            Kind::Array => self.elements(schema, &mut out, &mut hints),
            Kind::Number | Kind::Integer => self.bounds(kind, schema, &mut out, &mut hints),
            Kind::String | Kind::Boolean => {}
        }
        if nullable {
            out.insert("nullable".to_owned(), json!(true));
        }
        let description = schema.get("description").and_then(Value::as_str);
        if let Some(text) = described(description, &hints) {
            out.insert("description".to_owned(), json!(text));
        }
        out
    }
}

/// Whether a keyword has a value of the right type. Gemini rejects the whole request for a wrong
/// one.
fn is_sound(word: &str, value: &Value) -> bool {
    match word {
        "title" | "description" | "pattern" => value.is_string(),
        "default" => !value.is_null(),
        "nullable" => value.is_boolean(),
        _ => value.is_number(),
    }
}

/// The types that a schema names or implies, and whether null is one of them.
fn kinds(schema: &Object) -> (Vec<Kind>, bool) {
    let named: Vec<&str> = match schema.get("type") {
        Some(Value::String(word)) => vec![word],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let constant = schema.get("const").map(std::slice::from_ref);
    let listed = schema
        .get("enum")
        .and_then(Value::as_array)
        .map(Vec::as_slice);
    let values = constant.or(listed).unwrap_or_default();
    let nullable = schema.get("nullable") == Some(&json!(true))
        || named.iter().any(|word| word.eq_ignore_ascii_case("null"))
        || values.iter().any(Value::is_null);
    let mut kinds: Vec<Kind> = named.into_iter().filter_map(Kind::named).collect();
    if kinds.is_empty() {
        kinds = values.iter().filter_map(Kind::of).collect();
    }
    if kinds.is_empty() {
        kinds.extend(implied(schema));
    }
    let mut once = Vec::new();
    for kind in kinds {
        if !once.contains(&kind) {
            once.push(kind);
        }
    }
    (once, nullable)
}

pub(super) fn fits(value: &Value, kind: Kind) -> bool {
    match Kind::of(value) {
        Some(Kind::Integer) => matches!(kind, Kind::Integer | Kind::Number),
        own => own == Some(kind),
    }
}

fn is_null(schema: &Value) -> bool {
    let Value::Object(schema) = schema else {
        return false;
    };
    let says = |word: &str| {
        schema
            .get("type")
            .and_then(Value::as_str)
            .is_some_and(|value| value.eq_ignore_ascii_case(word))
    };
    says("null")
        || schema.get("const") == Some(&Value::Null)
        || schema.get("enum") == Some(&json!([null]))
}

/// A schema that every value matches. Gemini requires a type even then.
pub(super) fn any() -> Value {
    Value::Object(any_object())
}

fn any_object() -> Object {
    let kinds = [Kind::String, Kind::Number, Kind::Boolean, Kind::Object];
    let mut branches: Vec<Value> = kinds
        .iter()
        .map(|kind| json!({ "type": kind.word() }))
        .collect();
    branches.push(json!({ "type": "ARRAY", "items": { "type": "STRING" } }));
    json_object("anyOf", branches)
}

fn json_object(key: &str, value: impl Into<Value>) -> Object {
    let mut object = Map::new();
    object.insert(key.to_owned(), value.into());
    object
}

fn without(schema: &Object, words: &[&str]) -> Object {
    let kept = schema
        .iter()
        .filter(|(key, _)| !words.contains(&key.as_str()));
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Resolves a reference within the schema: `#`, `#/$defs/Place`.
fn pointed_at<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let pointer = reference.strip_prefix('#')?;
    root.pointer(&pointer.replace("%24", "$"))
}

fn described(text: Option<&str>, hints: &[String]) -> Option<String> {
    match (text, hints) {
        (None, []) => None,
        (Some(text), []) => Some(text.to_owned()),
        (None | Some(""), hints) => Some(hints.join("; ")),
        (Some(text), hints) => Some(format!("{text} ({})", hints.join("; "))),
    }
}
