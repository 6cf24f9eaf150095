//! What an upstream sends with a response and wants back in later turns, such as signatures of its
//! reasoning. The plugin does not understand it; it collects it and sends it back as it came.

use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// Members of a message: OpenRouter's, LiteLLM's and GitHub Copilot's.
const OF_MESSAGE: [&str; 3] = ["reasoning_details", "thinking_blocks", "reasoning_opaque"];

/// Members of a tool call: Google's and LiteLLM's.
const OF_CALL: [&str; 2] = ["extra_content", "provider_specific_fields"];

/// Members whose text arrives in pieces.
const IN_PIECES: [&str; 3] = ["text", "summary", "thinking"];

const SIGNATURE: &str = "signature";

/// Members that only the upstream can read, besides signatures.
const OPAQUE: [&str; 3] = ["data", "encrypted_content", "reasoning_opaque"];

/// The members of a delta that go back with the message.
pub(crate) fn of_message(mut delta: Object) -> Object {
    delta.retain(|name, value| {
        let wanted = OF_MESSAGE.contains(&name.as_str())
            || name.contains(SIGNATURE)
            || (OF_CALL.contains(&name.as_str()) && is_signed(value));
        wanted && !is_empty(value)
    });
    delta
}

/// The members of a call or its function that go back with it.
pub(crate) fn of_call(mut call: Object) -> Object {
    call.retain(|name, value| {
        (OF_CALL.contains(&name.as_str()) || name.contains(SIGNATURE)) && !is_empty(value)
    });
    call
}

/// Whether any member of a value is a signature.
fn is_signed(value: &Value) -> bool {
    match value {
        Value::Object(object) => object
            .iter()
            .any(|(name, value)| name.contains(SIGNATURE) || is_signed(value)),
        Value::Array(list) => list.iter().any(is_signed),
        _ => false,
    }
}

/// Whether there is anything in a member that only the upstream can read.
pub(crate) fn is_opaque(name: &str, value: &Value) -> bool {
    match value {
        Value::Object(object) => object.iter().any(|(name, value)| is_opaque(name, value)),
        Value::Array(list) => list.iter().any(|value| is_opaque(name, value)),
        value => (OPAQUE.contains(&name) || name.contains(SIGNATURE)) && !is_empty(value),
    }
}

/// Adds what arrived later. Lists grow, other values are replaced.
pub(crate) fn add(to: &mut Object, later: Object) {
    for (name, value) in later {
        match (to.get_mut(&name), value) {
            (Some(Value::Array(list)), Value::Array(more)) => {
                more.into_iter().for_each(|item| append(list, item));
            }
            (None, Value::Array(items)) => {
                let mut list = Vec::new();
                items.into_iter().for_each(|item| append(&mut list, item));
                to.insert(name, Value::Array(list));
            }
            (Some(Value::Object(object)), Value::Object(more)) => object.extend(more),
            (_, value) => drop(to.insert(name, value)),
        }
    }
}

/// Appends an item of a list, or continues the last one if this is a piece of it.
fn append(list: &mut Vec<Value>, item: Value) {
    match (list.last_mut(), item) {
        (Some(Value::Object(last)), Value::Object(piece)) if continues(&piece, last) => {
            for (name, value) in piece {
                match (last.get_mut(&name), value) {
                    (Some(Value::String(text)), Value::String(more))
                        if IN_PIECES.contains(&name.as_str()) =>
                    {
                        text.push_str(&more);
                    }
                    (Some(_), value) if is_empty(&value) => {}
                    (_, value) => drop(last.insert(name, value)),
                }
            }
        }
        (_, item) => list.push(item),
    }
}

fn continues(piece: &Object, last: &Object) -> bool {
    let same = ["type", "index"]
        .iter()
        .all(|name| piece.get(*name) == last.get(*name));
    let has_text = |object: &Object| IN_PIECES.iter().any(|name| object.contains_key(*name));
    let is_signed = last.get(SIGNATURE).is_some_and(|value| !is_empty(value));
    same && has_text(last) && !(is_signed && has_text(piece) && !piece.contains_key("index"))
}

/// Whether a value says nothing: `null`, `false`, zero, or empty in all its members.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.iter().all(is_empty),
        Value::Object(object) => object.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        let Value::Object(object) = value else {
            panic!("{value}");
        };
        object
    }

    #[test]
    fn only_what_an_upstream_wants_back_is_kept() {
        let delta = object(json!({
            "role": "assistant", "reasoning": "a", "reasoning_details": [{ "type": "reasoning.encrypted", "data": "x" }],
            "reasoning_opaque": "y", "thinking_blocks": [], "thought_signature": null, "name": "z",
            "extra_content": { "google": { "thought": true } },
        }));
        let kept: Vec<_> = of_message(delta)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(kept, ["reasoning_details", "reasoning_opaque"]);
        let extra = json!({ "google": { "thought_signature": "c2ln" } });
        let call =
            json!({ "type": "function", "extra_content": extra, "thought_signature": "a", "x": 1 });
        let kept = Value::Object(of_call(object(call)));
        assert_eq!(
            kept,
            json!({ "extra_content": extra, "thought_signature": "a" })
        );
    }

    #[test]
    fn pieces_of_one_item_are_joined_and_other_items_are_not() {
        let text = |text: &str| json!({ "type": "reasoning.text", "text": text, "format": "f", "index": 0 });
        let encrypted =
            |data: &str| json!({ "type": "reasoning.encrypted", "data": data, "index": 0 });
        let signed = json!({ "type": "reasoning.text", "signature": "s", "index": 0 });
        let mut state = Object::new();
        for items in [
            json!([text("a")]),
            json!([text("b"), signed]),
            json!([encrypted("x")]),
            json!([encrypted("y")]),
        ] {
            add(&mut state, object(json!({ "reasoning_details": items })));
        }
        let joined = json!({ "type": "reasoning.text", "text": "ab", "format": "f", "index": 0, "signature": "s" });
        let wanted = json!({ "reasoning_details": [joined, encrypted("x"), encrypted("y")] });
        assert_eq!(Value::Object(state), wanted);
    }

    #[test]
    fn a_signed_block_without_an_index_is_complete() {
        let block = |text: &str, signature: Value| json!({ "type": "thinking", "thinking": text, "signature": signature });
        let mut state = Object::new();
        for item in [
            block("a", json!(null)),
            block("b", json!("s")),
            block("c", json!("t")),
        ] {
            add(&mut state, object(json!({ "thinking_blocks": [item] })));
        }
        let wanted = json!([block("ab", json!("s")), block("c", json!("t"))]);
        assert_eq!(state["thinking_blocks"], wanted);
    }
}
