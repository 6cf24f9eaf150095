//! Translates a tool's JSON Schema into Gemini's `Schema`, a subset of OpenAPI's.
//!
//! Gemini rejects a whole request for one unknown keyword. References are inlined, `const` becomes
//! `enum`, types and unions with null become `nullable`. What the subset cannot express is added to
//! the description if a few words suffice, and counted as lost either way. Cleaning a clean schema
//! changes nothing.

mod budget;
mod flatten;
mod keywords;
mod merge;
mod node;
mod object;
mod reference;
mod types;
mod union;

use witgate_plugin::{
    Value, json,
    serde_json::{Map, map::Entry},
};

pub(crate) use self::budget::Budget;
use self::node::Cleaner;
use crate::dropped::Counts;

/// An object of a schema, with keys in the client's order.
type Object = Map<String, Value>;

/// The parameters of a function. `None` if it has none, because some models reject an object
/// without properties.
pub(crate) fn parameters(
    schema: &Value,
    budget: &mut Budget<'_>,
    lost: &mut Counts,
) -> Option<Value> {
    let clean = Cleaner::new(schema, budget, lost).schema(schema);
    let Value::Object(mut clean) = clean else {
        return None;
    };
    if let Some(Value::Array(branches)) = clean.remove("anyOf") {
        lost.add("anyOf");
        clean = one_object(branches);
    }
    if clean.get("type") != Some(&json!("OBJECT")) {
        lost.add("type");
        return None;
    }
    // Arguments are always present.
    clean.remove("nullable");
    let properties = clean.get("properties").and_then(Value::as_object);
    let empty = properties.is_none_or(Map::is_empty);
    (!empty).then_some(Value::Object(clean))
}

/// Merges a union into one object, as parameters must be one. It has the properties of all branches
/// and requires only what every branch requires. The first branch that has a remark decides it.
fn one_object(branches: Vec<Value>) -> Object {
    let mut whole = Object::new();
    let mut properties = Object::new();
    let mut required: Option<Vec<Value>> = None;
    for branch in branches {
        let Value::Object(mut branch) = branch else {
            continue;
        };
        for remark in ["title", "description"] {
            if let (Entry::Vacant(free), Some(text)) = (whole.entry(remark), branch.remove(remark))
            {
                free.insert(text);
            }
        }
        if let Some(Value::Object(own)) = branch.remove("properties") {
            for (name, schema) in own {
                if let Entry::Vacant(free) = properties.entry(name) {
                    free.insert(schema);
                }
            }
        }
        let own = match branch.remove("required") {
            Some(Value::Array(own)) => own,
            _ => Vec::new(),
        };
        match &mut required {
            None => required = Some(own),
            Some(all) => all.retain(|name| own.contains(name)),
        }
    }
    whole.insert("type".to_owned(), json!("OBJECT"));
    whole.insert("properties".to_owned(), Value::Object(properties));
    if let Some(required) = required.filter(|names| !names.is_empty()) {
        whole.insert("required".to_owned(), Value::Array(required));
    }
    whole
}

/// The schema of a response, which Gemini accepts as JSON Schema except for `const`, and for empty
/// values in `enum`.
pub(crate) fn of_response(schema: &Value, lost: &mut Counts) -> Value {
    match schema {
        Value::Object(object) => Value::Object(of_response_object(object, lost)),
        other => other.clone(),
    }
}

fn of_response_object(object: &Object, lost: &mut Counts) -> Object {
    let mut out = Object::new();
    for (key, value) in object {
        let (key, value) = match (key.as_str(), value) {
            ("$schema", _) => continue,
            ("const", value) => ("enum", json!([value])),
            (
                "properties" | "$defs" | "definitions" | "patternProperties",
                Value::Object(named),
            ) => {
                let named = named
                    .iter()
                    .map(|(name, schema)| (name.clone(), of_response(schema, lost)));
                (key.as_str(), Value::Object(named.collect()))
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(list)) => {
                let list = list.iter().map(|schema| of_response(schema, lost));
                (key.as_str(), list.collect())
            }
            ("items" | "additionalProperties" | "not", value) => {
                (key.as_str(), of_response(value, lost))
            }
            (key, value) => (key, value.clone()),
        };
        match value {
            Value::Array(values) if key == "enum" && values.contains(&json!("")) => {
                lost.add("enum");
                let filled = values.into_iter().filter(|value| *value != json!(""));
                let filled: Vec<Value> = filled.collect();
                if !filled.is_empty() {
                    out.insert(key.to_owned(), Value::Array(filled));
                }
            }
            value => {
                out.insert(key.to_owned(), value);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
