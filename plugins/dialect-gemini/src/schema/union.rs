//! Writes unions. Vertex rejects a request in which a schema has any keyword beside `anyOf`, so
//! whatever is said about a union is said in its branches.

use witgate_plugin::{Value, json};

use super::{
    Object,
    object::{described, is_sound, json_object},
    types::{Kind, fits},
};

/// The keywords that say something about a whole union.
pub(super) const REMARKS: [&str; 4] = ["title", "description", "default", "nullable"];

/// The largest union in which each branch repeats the description. In a larger one the first branch
/// has it, so that a long description is not multiplied without end.
const MOST_REPEATED: usize = 8;

/// A schema that one of these branches matches, with the remarks of the whole in each of them. A
/// single branch needs no union.
pub(super) fn union(branches: Vec<Value>, remarks: &Object) -> Object {
    let mut flat: Vec<Object> = Vec::new();
    for branch in branches {
        for branch in alternatives(branch) {
            if !flat.contains(&branch) {
                flat.push(branch);
            }
        }
    }
    let repeats = flat.len() <= MOST_REPEATED;
    for (at, branch) in flat.iter_mut().enumerate() {
        remark(branch, remarks, repeats || at == 0);
    }
    if flat.len() == 1 {
        return flat.remove(0);
    }
    json_object(
        "anyOf",
        flat.into_iter().map(Value::Object).collect::<Vec<_>>(),
    )
}

/// The branches of a clean schema that is a union itself, otherwise the schema.
fn alternatives(branch: Value) -> Vec<Object> {
    let Value::Object(mut branch) = branch else {
        return Vec::new();
    };
    match branch.remove("anyOf") {
        Some(Value::Array(inner)) => inner.into_iter().flat_map(alternatives).collect(),
        _ => vec![branch],
    }
}

/// Adds the remarks about a union to one branch, whose own remarks are kept.
fn remark(branch: &mut Object, remarks: &Object, describes: bool) {
    let of_whole = |word: &str| remarks.get(word).filter(|value| is_sound(word, value));
    if let Some(title) = of_whole("title") {
        branch.entry("title").or_insert_with(|| title.clone());
    }
    let kind = branch.get("type").and_then(Value::as_str);
    let kind = kind.and_then(Kind::named);
    if let Some(default) =
        of_whole("default").filter(|value| kind.is_none_or(|kind| fits(value, kind)))
    {
        branch.insert("default".to_owned(), default.clone());
    }
    if of_whole("nullable") == Some(&json!(true)) {
        branch.insert("nullable".to_owned(), json!(true));
    }
    let description = of_whole("description").and_then(Value::as_str);
    if let Some(whole) = description.filter(|_| describes) {
        let own = branch.get("description").and_then(Value::as_str);
        let own: Vec<String> = own
            .filter(|own| *own != whole)
            .map(str::to_owned)
            .into_iter()
            .collect();
        if let Some(text) = described(Some(whole), &own) {
            branch.insert("description".to_owned(), json!(text));
        }
    }
}

/// A schema that every value matches. Gemini requires a type even then.
pub(super) fn any(remarks: &Object) -> Object {
    let kinds = [Kind::String, Kind::Number, Kind::Boolean, Kind::Object];
    let mut branches: Vec<Value> = kinds
        .iter()
        .map(|kind| json!({ "type": kind.word() }))
        .collect();
    branches.push(json!({ "type": "ARRAY", "items": { "type": "STRING" } }));
    union(branches, remarks)
}
