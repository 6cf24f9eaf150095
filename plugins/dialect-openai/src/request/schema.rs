//! Schemas of tools, in a form that OpenAI accepts.
//!
//! OpenAI refuses a request with a tool whose schema is not an object with properties, has a union
//! at its top, or has an array without items. One such tool would make every request fail.

use serde_json::{Map, Value};
use witgate_plugin::Outline;

use super::dropped::Dropped;

type Object = Map<String, Value>;

/// What may not be at the top of a schema. It goes into the description.
const NOT_AT_TOP: [&str; 9] = [
    "anyOf", "oneOf", "allOf", "not", "enum", "const", "if", "then", "else",
];

/// Deeper references are not followed.
const LONGEST_CHAIN: usize = 8;

/// Completes a schema where OpenAI would refuse it. Any other schema is not changed.
pub(super) fn acceptable(schema: Value, outline: &Outline, dropped: &mut Dropped) -> Value {
    let before = schema.clone();
    let mut top = match schema {
        Value::Object(members) => members,
        _ => Object::new(),
    };
    resolve(&mut top);
    flatten(&mut top, outline);
    if top.get("type").and_then(Value::as_str) != Some("object") {
        top.insert("type".to_owned(), "object".into());
    }
    if !top.get("properties").is_some_and(Value::is_object) {
        top.insert("properties".to_owned(), Object::new().into());
    }
    complete_arrays(&mut top);
    let schema = Value::Object(top);
    if schema != before {
        dropped.changed("tool schema that OpenAI refuses");
    }
    schema
}

/// Replaces a reference at the top by what it refers to.
fn resolve(top: &mut Object) {
    for _ in 0..LONGEST_CHAIN {
        let Some(pointer) = top.get("$ref").and_then(Value::as_str) else {
            return;
        };
        let Some(pointer) = pointer.strip_prefix('#').map(str::to_owned) else {
            return;
        };
        top.shift_remove("$ref");
        let whole = Value::Object(top.clone());
        if let Some(Value::Object(target)) = whole.pointer(&pointer) {
            for (name, value) in target.clone() {
                top.entry(name).or_insert(value);
            }
        }
    }
    top.shift_remove("$ref");
}

/// Takes the unions at the top apart: the properties of all branches are allowed, and what the
/// branches say beyond that goes into the description.
fn flatten(top: &mut Object, outline: &Outline) {
    let mut said = Vec::new();
    for name in NOT_AT_TOP {
        let Some(value) = top.shift_remove(name) else {
            continue;
        };
        if let Value::Array(branches) = &value
            && name.ends_with("Of")
        {
            merge(top, branches, name == "allOf");
        }
        if name != "allOf" {
            said.push(format!("{name}: {}", outline.quoted(&value)));
        }
    }
    if said.is_empty() {
        return;
    }
    let own = top.get("description").and_then(Value::as_str);
    let lines: Vec<&str> = own
        .into_iter()
        .chain(said.iter().map(String::as_str))
        .collect();
    let description = lines.join("\n");
    top.insert("description".to_owned(), description.into());
}

/// Adds the properties of all branches. What all of them require is required.
fn merge(top: &mut Object, branches: &[Value], all_hold: bool) {
    let mut required: Option<Vec<Value>> = None;
    for branch in branches {
        let mut branch = branch.as_object().cloned().unwrap_or_default();
        if let Some(definitions) = top.get("$defs").or_else(|| top.get("definitions")) {
            for name in ["$defs", "definitions"] {
                branch.entry(name).or_insert_with(|| definitions.clone());
            }
        }
        resolve(&mut branch);
        add_properties(top, &branch);
        let own = branch.get("required").and_then(Value::as_array);
        let own = own.cloned().unwrap_or_default();
        required = Some(match required {
            None => own,
            Some(mut before) if all_hold => {
                before.extend(own);
                before
            }
            Some(mut before) => {
                before.retain(|name| own.contains(name));
                before
            }
        });
    }
    add_required(top, required.unwrap_or_default());
}

fn add_properties(top: &mut Object, branch: &Object) {
    let Some(Value::Object(more)) = branch.get("properties") else {
        return;
    };
    let properties = top
        .entry("properties")
        .or_insert_with(|| Object::new().into());
    if let Value::Object(properties) = properties {
        for (name, schema) in more {
            properties.entry(name).or_insert_with(|| schema.clone());
        }
    }
}

fn add_required(top: &mut Object, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    let required = top
        .entry("required")
        .or_insert_with(|| Vec::<Value>::new().into());
    if let Value::Array(required) = required {
        for name in more {
            if !required.contains(&name) {
                required.push(name);
            }
        }
    }
}

/// Adds `items` to arrays without them, at every depth.
fn complete_arrays(schema: &mut Object) {
    let is_array = schema.get("type").is_some_and(|own| is_type(own, "array"));
    if is_array && !schema.contains_key("items") && !schema.contains_key("prefixItems") {
        schema.insert("items".to_owned(), Object::new().into());
    }
    each_schema(schema, &mut |inner| complete_arrays(inner));
}

/// Whether a `type` names this type, alone or among others.
fn is_type(own: &Value, name: &str) -> bool {
    match own {
        Value::String(own) => own == name,
        Value::Array(types) => types.iter().any(|own| own == name),
        _ => false,
    }
}

/// Calls a function for each schema directly within this one.
fn each_schema(schema: &mut Object, act: &mut impl FnMut(&mut Object)) {
    for (name, value) in schema {
        match (name.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(map)) => {
                let inner = map.values_mut().filter_map(Value::as_object_mut);
                inner.for_each(&mut *act);
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(list)) => {
                let inner = list.iter_mut().filter_map(Value::as_object_mut);
                inner.for_each(&mut *act);
            }
            ("items" | "additionalProperties" | "not", Value::Object(inner)) => act(inner),
            _ => {}
        }
    }
}

/// Whether OpenAI can enforce a schema: each object lists all its properties as required and has no
/// others, and there are only keywords that its grammar knows.
pub(super) fn is_strict(schema: &Value) -> bool {
    const KNOWN: [&str; 24] = [
        "$schema",
        "$id",
        "title",
        "description",
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "anyOf",
        "enum",
        "const",
        "$ref",
        "$defs",
        "definitions",
        "format",
        "pattern",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
    ];
    let Value::Object(members) = schema else {
        return false;
    };
    let known = |name: &String| KNOWN.contains(&name.as_str());
    members.keys().all(known) && is_closed(members) && inner_schemas(members).all(is_strict)
}

/// Whether an object lists all its properties as required and has no others.
fn is_closed(schema: &Object) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    let is_object = schema.get("type").is_some_and(|own| is_type(own, "object"));
    if properties.is_none() && !is_object {
        return true;
    }
    let required = schema.get("required").and_then(Value::as_array);
    let is_required =
        |name: &String| required.is_some_and(|names| names.iter().any(|own| own == name));
    schema.get("additionalProperties") == Some(&Value::Bool(false))
        && properties.is_none_or(|properties| properties.keys().all(is_required))
}

/// The schemas directly within this one that OpenAI knows.
fn inner_schemas(schema: &Object) -> impl Iterator<Item = &Value> {
    let in_maps = ["properties", "$defs", "definitions"]
        .into_iter()
        .filter_map(|name| schema.get(name)?.as_object())
        .flat_map(Object::values);
    let in_lists = schema.get("anyOf").and_then(Value::as_array);
    in_maps
        .chain(in_lists.into_iter().flatten())
        .chain(schema.get("items"))
}

#[cfg(test)]
mod tests;
