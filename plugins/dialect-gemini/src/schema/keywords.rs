//! Translates the keywords of a schema of one type. What Gemini does not support becomes a hint in
//! the description.

use witgate_plugin::{Value, json};

use super::{
    Object,
    node::{Cleaner, any, fits},
    types::Kind,
};

impl Cleaner<'_> {
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
        let constant = schema.get("const").map(std::slice::from_ref);
        let listed = schema
            .get("enum")
            .and_then(Value::as_array)
            .map(Vec::as_slice);
        let Some(values) = constant.or(listed) else {
            return;
        };
        let values: Vec<&Value> = values.iter().filter(|value| fits(value, kind)).collect();
        if values.is_empty() {
            return;
        }
        if kind == Kind::String {
            out.insert("enum".to_owned(), json!(values));
            return;
        }
        self.lost.add("enum");
        let words: Vec<String> = values.iter().map(ToString::to_string).collect();
        hints.push(format!("one of: {}", words.join(", ")));
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
        let required: Vec<Value> = match schema.get("required") {
            Some(Value::Array(names)) => names.clone(),
            _ => Vec::new(),
        };
        let known = required
            .iter()
            .filter(|name| {
                name.as_str()
                    .is_some_and(|name| properties.contains_key(name))
            })
            .cloned()
            .collect::<Vec<_>>();
        if known.len() < required.len() {
            self.lost.add("required");
        }
        if !properties.is_empty() {
            out.insert("properties".to_owned(), Value::Object(properties));
        }
        if !known.is_empty() {
            out.insert("required".to_owned(), Value::Array(known));
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
            _ => any(),
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
