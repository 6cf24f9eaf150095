//! Merges several schemas that apply at once into one.

use witgate_plugin::{Value, serde_json::map::Entry};

use super::Object;

/// Merges two schemas as far as one schema can express it.
///
/// The result has the properties and requirements of both, and the values that both allow. For
/// every other keyword, `over` wins.
pub(super) fn both(under: &Object, over: &Object) -> Object {
    let mut out = under.clone();
    add(&mut out, over);
    out
}

/// Merges a schema into another, as [`both`] does.
pub(super) fn add(under: &mut Object, over: &Object) {
    for (key, value) in over {
        match under.entry(key.clone()) {
            Entry::Vacant(free) => {
                free.insert(value.clone());
            }
            Entry::Occupied(mut taken) => join(key, taken.get_mut(), value),
        }
    }
}

fn join(key: &str, under: &mut Value, over: &Value) {
    match (key, &mut *under, over) {
        ("properties", Value::Object(under), Value::Object(over)) => {
            for (name, schema) in over {
                match (under.get_mut(name), schema) {
                    (Some(Value::Object(under)), Value::Object(over)) => add(under, over),
                    _ => {
                        under.insert(name.clone(), schema.clone());
                    }
                }
            }
        }
        ("required", Value::Array(under), Value::Array(over)) => {
            for name in over {
                if !under.contains(name) {
                    under.push(name.clone());
                }
            }
        }
        ("enum", Value::Array(under), Value::Array(over)) => {
            *under = over
                .iter()
                .filter(|value| under.contains(value))
                .cloned()
                .collect();
        }
        ("allOf", Value::Array(under), Value::Array(over)) => under.extend_from_slice(over),
        _ => *under = over.clone(),
    }
}
