//! Translates the keywords of a schema of one type. What Gemini does not support becomes a hint in
//! the description.

use witgate_plugin::{Value, json};

use super::{
    Object,
    node::Cleaner,
    types::{Kind, fits, kinds, listed},
    union::any,
};

impl Cleaner<'_, '_, '_> {
    pub(super) fn format(
        &mut self,
        kind: Kind,
        schema: &Object,
        out: &mut Object,
        hints: &mut Vec<String>,
    ) {
        let Some(format) = schema.get("format").and_then(Value::as_str) else {
            return;
        };
        if kind.formats().contains(&format) {
            out.insert("format".to_owned(), json!(format));
        } else {
            self.lost.add("format");
            hints.push(format!("format: {format}"));
        }
    }

    /// Translates `enum` and `const`. Gemini enumerates only texts; other values become a hint.
    pub(super) fn values(
        &mut self,
        kind: Kind,
        schema: &Object,
        out: &mut Object,
        hints: &mut Vec<String>,
    ) {
        let values = values_of(kind, schema);
        if values.is_empty() {
            return;
        }
        if kind != Kind::String {
            self.lost.add("enum");
            hints.push(one_of(&values));
            return;
        }
        // Gemini rejects a request for an empty value.
        let (empty, texts): (Vec<_>, Vec<_>) = values
            .iter()
            .map(|value| plain(value))
            .partition(String::is_empty);
        if !empty.is_empty() || !values.iter().all(|value| value.is_string()) {
            self.lost.add("enum");
        }
        match (empty.is_empty(), texts.is_empty()) {
            (false, true) => hints.push(r#"one of: """#.to_owned()),
            (false, false) => hints.push(r#"or """#.to_owned()),
            _ => {}
        }
        if !texts.is_empty() {
            out.insert("enum".to_owned(), json!(texts));
        }
    }

    pub(super) fn members(&mut self, schema: &Object, out: &mut Object) {
        let mut properties = Object::new();
        if let Some(Value::Object(named)) = schema.get("properties") {
            // The keys below `properties` are names, even if they look like keywords.
            for (name, schema) in named {
                if *schema != json!(false) {
                    properties.insert(name.clone(), self.schema(schema));
                }
            }
        }
        let (mut known, mut unknown): (Vec<&str>, bool) = (Vec::new(), false);
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten() {
            match name.as_str() {
                Some(name) if known.contains(&name) => {}
                Some(name) if properties.contains_key(name) => known.push(name),
                _ => unknown = true,
            }
        }
        if unknown {
            self.lost.add("required");
        }
        if !properties.is_empty() {
            out.insert("properties".to_owned(), Value::Object(properties));
        }
        if !known.is_empty() {
            out.insert("required".to_owned(), json!(known));
        }
    }

    /// Translates the items of an array, which Gemini requires.
    pub(super) fn elements(&mut self, schema: &Object, out: &mut Object, hints: &mut Vec<String>) {
        let tuple = schema
            .get("prefixItems")
            .or_else(|| schema.get("items").filter(|items| items.is_array()));
        let items = match (tuple, schema.get("items")) {
            (Some(Value::Array(places)), _) if !places.is_empty() => {
                self.lost.add("prefixItems");
                hints.push(format!("{} values, each in its place", places.len()));
                self.schema(&json!({ "anyOf": places }))
            }
            (_, Some(items @ Value::Object(_))) => self.schema(items),
            _ => Value::Object(any(&Object::new())),
        };
        out.insert("items".to_owned(), items);
        if schema.get("uniqueItems") == Some(&json!(true)) {
            self.lost.add("uniqueItems");
            hints.push("no value twice".to_owned());
        }
    }

    /// Translates limits. For integers, an exclusive limit becomes the next inclusive number.
    pub(super) fn bounds(
        &mut self,
        kind: Kind,
        schema: &Object,
        out: &mut Object,
        hints: &mut Vec<String>,
    ) {
        let sides = [
            ("exclusiveMinimum", "minimum", "more than", 1),
            ("exclusiveMaximum", "maximum", "less than", -1),
        ];
        for (excluded, included, words, step) in sides {
            let limit = match schema.get(excluded) {
                Some(Value::Bool(true)) => schema.get(included).cloned(),
                Some(limit @ Value::Number(_)) => Some(limit.clone()),
                _ => None,
            };
            let Some(limit) = limit else {
                continue;
            };
            let whole = limit.as_i64().and_then(|limit| limit.checked_add(step));
            if let (Kind::Integer, Some(next)) = (kind, whole) {
                out.insert(included.to_owned(), json!(next));
            } else {
                self.lost.add(excluded);
                hints.push(format!("{words} {limit}"));
                out.entry(included).or_insert(limit);
            }
        }
        if let Some(step) = schema.get("multipleOf") {
            self.lost.add("multipleOf");
            hints.push(format!("a multiple of {step}"));
        }
    }
}

/// The values that a schema of this type lists, without null. If no value has the type, they are
/// meant as values of it: generators write `"type": "string"` beside numbers.
fn values_of(kind: Kind, schema: &Object) -> Vec<&Value> {
    let several = kinds(schema).0.len() > 1;
    let mut all: Vec<&Value> = Vec::new();
    for value in listed(schema) {
        if !value.is_null() && !all.contains(&value) {
            all.push(value);
        }
    }
    let fitting: Vec<&Value> = all
        .iter()
        .copied()
        .filter(|value| fits(value, kind))
        .collect();
    let all_are_meant = fitting.is_empty() || (kind == Kind::String && !several);
    if all_are_meant { all } else { fitting }
}

fn one_of(values: &[&Value]) -> String {
    let words: Vec<String> = values.iter().map(|value| plain(value)).collect();
    format!("one of: {}", words.join(", "))
}

/// A value as text; a string without its quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
