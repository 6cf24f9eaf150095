//! Merges references and `allOf` into the schema that has them.

use std::borrow::Cow;

use witgate_plugin::{Value, json};

use super::{
    Object,
    flatten::add,
    node::Cleaner,
    object::{OF_DOCUMENT, json_object, without},
    reference::{name, pointed_at},
    types::{Kind, kinds},
};

/// The references that are merged into one schema.
#[derive(Default)]
struct Merged<'a> {
    /// What they point to. Each is merged once: a second time adds nothing.
    targets: Vec<&'a Value>,
    /// How many references led to the current one, and the most that led to any.
    level: usize,
    deepest: usize,
}

impl<'a> Cleaner<'a, '_, '_> {
    /// The schema without `$ref` and `allOf`: they are merged into it. The schema's own keywords
    /// win over those of what it refers to.
    ///
    /// Until the schema is cleaned, the targets are open: a reference to one of them from within is
    /// a recursion, however it is spelt.
    pub(super) fn merged<'s>(&mut self, schema: &'s Object) -> Cow<'s, Object> {
        if !schema.contains_key("$ref") && !schema.contains_key("allOf") {
            return Cow::Borrowed(schema);
        }
        let mut merged = Merged::default();
        let whole = self.gather(schema, &mut merged);
        self.level += merged.deepest;
        self.open.append(&mut merged.targets);
        Cow::Owned(whole)
    }

    fn gather(&mut self, schema: &Object, merged: &mut Merged<'a>) -> Object {
        let mut whole = match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.referred(reference, merged),
            None => Object::new(),
        };
        let parts = schema.get("allOf").and_then(Value::as_array);
        for part in parts.into_iter().flatten().filter_map(Value::as_object) {
            let part = self.gather(part, merged);
            add(&mut whole, &part);
        }
        let merged_here = [&OF_DOCUMENT[..], &["$ref", "allOf"]].concat();
        add(&mut whole, &without(schema, &merged_here));
        whole
    }

    fn referred(&mut self, reference: &str, merged: &mut Merged<'a>) -> Object {
        let target = pointed_at(self.root, reference);
        let among = |list: &[&Value]| {
            target.is_some_and(|target| list.iter().any(|known| std::ptr::eq(*known, target)))
        };
        if among(&merged.targets) || target == Some(&json!(true)) {
            return Object::new();
        }
        let ends = among(&self.open) || self.level + merged.level >= self.levels;
        let Some((target, object)) = target
            .and_then(|target| Some((target, target.as_object()?)))
            .filter(|_| !ends)
        else {
            self.lost.add("$ref");
            return outline(target, reference);
        };
        merged.targets.push(target);
        merged.level += 1;
        merged.deepest = merged.deepest.max(merged.level);
        let whole = self.gather(object, merged);
        merged.level -= 1;
        whole
    }
}

/// What remains of a reference that is not inlined: the type and the name of its target.
fn outline(target: Option<&Value>, reference: &str) -> Object {
    let kind = target
        .and_then(Value::as_object)
        .and_then(|target| kinds(target).0.first().copied());
    let mut outline = json_object("type", kind.unwrap_or(Kind::Object).word());
    let name = name(reference);
    outline.insert("description".to_owned(), json!(format!("another {name}")));
    outline
}
