//! Cleans one schema at a time, together with the schemas that it contains or refers to.

use witgate_plugin::{Value, json};

use super::{
    Object,
    budget::Budget,
    flatten::both,
    object::{OF_DOCUMENT, described, is_sound, json_object, without},
    types::{Kind, count_restricting, has_shape, kinds},
    union::{self, REMARKS},
};
use crate::dropped::Counts;

/// The limit of nesting. A model would not follow deeper schemas either.
const DEEPEST: usize = 48;

pub(super) struct Cleaner<'a, 'b, 'o> {
    pub(super) root: &'a Value,
    pub(super) lost: &'b mut Counts,
    budget: &'b mut Budget<'o>,
    /// What the references point to that are being inlined.
    pub(super) open: Vec<&'a Value>,
    /// How many references are being inlined within each other, and the limit.
    pub(super) level: usize,
    pub(super) levels: usize,
    depth: usize,
}

impl<'a, 'b, 'o> Cleaner<'a, 'b, 'o> {
    pub(super) fn new(root: &'a Value, budget: &'b mut Budget<'o>, lost: &'b mut Counts) -> Self {
        let levels = budget.levels(root);
        Self {
            root,
            lost,
            budget,
            open: Vec::new(),
            level: 0,
            levels,
            depth: 0,
        }
    }

    pub(super) fn schema(&mut self, schema: &Value) -> Value {
        let Value::Object(schema) = schema else {
            return Value::Object(union::any(&Object::new()));
        };
        if self.is_exhausted() {
            self.lost.add("depth");
            return Value::Object(type_alone(schema));
        }
        self.budget.schemas -= 1;
        self.depth += 1;
        let (open, level) = (self.open.len(), self.level);
        let whole = self.merged(schema);
        let clean = self.united(&whole);
        self.open.truncate(open);
        self.level = level;
        self.depth -= 1;
        Value::Object(clean)
    }

    fn is_exhausted(&self) -> bool {
        self.budget.schemas == 0 || self.depth == DEEPEST
    }

    /// Cleans a schema without references: its union, if any, becomes `anyOf`.
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
        let own = [&OF_DOCUMENT[..], &["anyOf", "oneOf"]].concat();
        let mut siblings = without(schema, &own);
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
        // Remarks belong to the whole, everything else applies in each branch.
        let (remarks, common): (Object, Object) = siblings
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .partition(|(key, _)| REMARKS.contains(&key.as_str()));
        let mut clean = Vec::new();
        for branch in branches {
            clean.push(match branch {
                Value::Object(branch) if !common.is_empty() && !self.is_exhausted() => {
                    self.schema(&Value::Object(both(&common, branch)))
                }
                branch => self.schema(branch),
            });
        }
        union::union(clean, &remarks)
    }

    /// Cleans a schema of one or several types.
    fn typed(&mut self, schema: &Object) -> Object {
        let (kinds, nullable) = kinds(schema);
        if let [kind] = kinds.as_slice() {
            count_restricting(schema, self.lost);
            return self.single(*kind, nullable, schema);
        }
        let mut remarks = schema.clone();
        remarks.retain(|word, _| REMARKS.contains(&word.as_str()));
        remarks.insert("nullable".to_owned(), json!(nullable));
        if kinds.is_empty() {
            return union::any(&remarks);
        }
        count_restricting(schema, self.lost);
        let bare = without(schema, &[&REMARKS[..], &["type"]].concat());
        let branches = kinds
            .iter()
            .map(|kind| Value::Object(self.single(*kind, false, &bare)))
            .collect();
        union::union(branches, &remarks)
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
        || schema.get("type") == Some(&json!(["null"]))
        || schema.get("const") == Some(&Value::Null)
        || schema.get("enum") == Some(&json!([null]))
}

/// The type of a schema whose other keywords are not translated.
fn type_alone(schema: &Object) -> Object {
    let kind = kinds(schema).0.first().copied().unwrap_or(Kind::Object);
    let mut alone = json_object("type", kind.word());
    if kind == Kind::Array {
        alone.insert("items".to_owned(), json!({ "type": "STRING" }));
    }
    alone
}
