//! Merges several schemas that apply at once into one.

use witgate_plugin::{Value, serde_json::map::Entry};

use super::Object;

/// Merges two schemas as far as one schema can express it.
///
/// The result has the properties and requirements of both, and the values that both allow. For
/// every other keyword, `over` wins.
pub(super) fn both(under: &Object, over: &Object) -> Object {
    let mut out = under.clone();
    for (key, value) in over {
        match out.entry(key.clone()) {
            Entry::Vacant(free) => {
                free.insert(value.clone());
            }
            Entry::Occupied(mut taken) => {
                let joined = join(key, taken.get(), value);
                taken.insert(joined);
            }
        }
    }
    out
}

fn join(key: &str, under: &Value, over: &Value) -> Value {
    match (key, under, over) {
        ("properties" | "$defs" | "definitions", Value::Object(under), Value::Object(over)) => {
            let mut all = under.clone();
            for (name, schema) in over {
                let schema = match (all.get(name), schema) {
                    (Some(Value::Object(under)), Value::Object(over)) if key == "properties" => {
                        Value::Object(both(under, over))
                    }
                    (_, schema) => schema.clone(),
                };
                all.insert(name.clone(), schema);
            }
            Value::Object(all)
        }
        ("required", Value::Array(under), Value::Array(over)) => {
            let new = over.iter().filter(|name| !under.contains(name));
            under.iter().chain(new).cloned().collect()
        }
        ("enum", Value::Array(under), Value::Array(over)) => over
            .iter()
            .filter(|value| under.contains(value))
            .cloned()
            .collect(),
        ("allOf", Value::Array(under), Value::Array(over)) => {
            under.iter().chain(over).cloned().collect()
        }
        _ => over.clone(),
    }
}
