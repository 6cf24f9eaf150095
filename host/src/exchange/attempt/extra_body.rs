//! The operator's additions to a body: a JSON merge patch (RFC 7396) as edits, so that nothing else
//! in the body changes.

use serde_json::{Map, Value};
use witgate_document::{Document, Error, Operation};

/// The edits that apply a merge patch to a body. None of them leaves things as they are.
pub(super) fn edits(body: &Document, patch: &Map<String, Value>) -> Result<Vec<Operation>, Error> {
    let mut edits = Vec::new();
    merge(body, "", patch, &mut edits)?;
    Ok(edits)
}

fn merge(
    body: &Document,
    at: &str,
    patch: &Map<String, Value>,
    edits: &mut Vec<Operation>,
) -> Result<(), Error> {
    for (name, value) in patch {
        let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        let present = body.get(&at)?;
        match value {
            Value::Null => edits.extend(present.map(|_| Operation::Remove { at })),
            Value::Object(inner) if present.is_some_and(|text| text.starts_with(b"{")) => {
                merge(body, &at, inner, edits)?;
            }
            value => edits.push(Operation::Add {
                at,
                value: without_nulls(value).to_string().into(),
            }),
        }
    }
    Ok(())
}

/// A value that is new to the body: its nulls have nothing to remove.
fn without_nulls(value: &Value) -> Value {
    let Value::Object(members) = value else {
        return value.clone();
    };
    let members = members.iter().filter(|(_, value)| !value.is_null());
    let members = members.map(|(name, value)| (name.clone(), without_nulls(value)));
    Value::Object(members.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn patched(body: &str, patch: Value, expected: &str) {
        let mut document = Document::new(body.to_owned());
        let Value::Object(patch) = patch else {
            panic!("a patch is an object")
        };
        let edits = edits(&document, &patch).unwrap();
        document.patch(&edits).unwrap();
        assert_eq!(document.bytes(), expected, "{body} {patch:?}");
    }

    #[test]
    fn members_are_added_replaced_and_removed_and_the_rest_keeps_its_bytes() {
        patched("{ \"a\": 1.0 }", json!({}), "{ \"a\": 1.0 }");
        patched(
            r#"{ "model":"m", "stream":true }"#,
            json!({ "chat_template_kwargs": { "enable_thinking": false } }),
            r#"{ "model":"m", "stream":true,"chat_template_kwargs":{"enable_thinking":false} }"#,
        );
        patched(
            r#"{"a":1,"temperature":0.50,"b":[1]}"#,
            json!({ "temperature": null, "b": [2], "gone": null }),
            r#"{"a":1,"b":[2]}"#,
        );
    }

    #[test]
    fn objects_are_merged_at_every_depth_and_other_values_replaced_whole() {
        patched(
            r#"{"o":{"x": 1,"y":{"z":2}}}"#,
            json!({ "o": { "y": { "z": null, "w": 3 } } }),
            r#"{"o":{"x": 1,"y":{"w":3}}}"#,
        );
        patched(
            r#"{"o":[1]}"#,
            json!({ "o": { "a": null, "b": { "c": null } } }),
            r#"{"o":{"b":{}}}"#,
        );
        patched(r#"{"a/b":1}"#, json!({ "a/b": 2 }), r#"{"a/b":2}"#);
    }
}
