//! Limits by how much a request grows when references are inlined.
//!
//! References may multiply: a few definitions that refer to each other describe more schemas than
//! fit into any request. What a depth of inlining costs is therefore measured before, and each tool
//! is inlined as deep as the limits allow. Everything outside of references is as large as the
//! client sent it.

use std::collections::HashMap;

use witgate_plugin::{Outline, Value};

use super::reference::pointed_at;

/// How many bytes references may add to one tool.
const OF_TOOL: usize = 64 << 10;

/// How many bytes references may add to all tools of a request.
const OF_REQUEST: usize = 256 << 10;

/// How many references may be inlined within each other, from the best to the cheapest.
const LEVELS: [usize; 6] = [12, 6, 4, 3, 2, 1];

/// How many schemas of a request are cleaned. Unions multiply too: each branch gets its siblings.
const SCHEMAS: usize = 16_000;

/// What a long text counts. Only its placeholder is known.
const LONG_TEXT: usize = 1 << 10;

/// What is left of the limits of one request.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    outline: &'a Outline,
    bytes: usize,
    pub(super) schemas: usize,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(outline: &'a Outline) -> Self {
        Self {
            outline,
            bytes: OF_REQUEST,
            schemas: SCHEMAS,
        }
    }

    /// How many references may be inlined within each other in this schema.
    pub(super) fn levels(&mut self, root: &Value) -> usize {
        let mut sizes = Sizes {
            root,
            outline: self.outline,
            known: HashMap::new(),
        };
        let own = sizes.of_root(0);
        let left = self.bytes.min(OF_TOOL);
        for levels in LEVELS {
            let added = sizes.of_root(levels).saturating_sub(own);
            if added <= left {
                self.bytes -= added;
                return levels;
            }
        }
        0
    }
}

/// The approximate sizes of a schema and its definitions.
struct Sizes<'a> {
    root: &'a Value,
    outline: &'a Outline,
    /// By definition and the number of levels that are inlined within it.
    known: HashMap<(*const Value, usize), usize>,
}

impl<'a> Sizes<'a> {
    /// The size of the whole schema. Its definitions are not part of what is sent.
    fn of_root(&mut self, levels: usize) -> usize {
        let Value::Object(root) = self.root else {
            return 0;
        };
        let sent = root
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "$defs" | "definitions"));
        let sizes = sent.map(|(key, value)| self.of_member(key, value, levels));
        sizes.fold(0, usize::saturating_add)
    }

    fn of(&mut self, value: &'a Value, levels: usize) -> usize {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 8,
            Value::String(text) if self.outline.has_placeholder(text) => LONG_TEXT,
            Value::String(text) => text.len() + 4,
            Value::Array(values) => {
                let sizes = values.iter().map(|value| self.of(value, levels));
                sizes.fold(4, usize::saturating_add)
            }
            Value::Object(members) => {
                let sizes = members
                    .iter()
                    .map(|(key, value)| self.of_member(key, value, levels));
                sizes.fold(4, usize::saturating_add)
            }
        }
    }

    fn of_member(&mut self, key: &str, value: &'a Value, levels: usize) -> usize {
        let inlined = match value {
            Value::String(reference) if key == "$ref" && levels > 0 => {
                self.of_reference(reference, levels - 1)
            }
            _ => 0,
        };
        let own = key.len() + 4 + self.of(value, levels);
        own.saturating_add(inlined)
    }

    fn of_reference(&mut self, reference: &str, levels: usize) -> usize {
        let Some(target) = pointed_at(self.root, reference) else {
            return 0;
        };
        if std::ptr::eq(target, self.root) {
            return self.of_root(levels);
        }
        let key = (std::ptr::from_ref(target), levels);
        if let Some(size) = self.known.get(&key) {
            return *size;
        }
        let size = self.of(target, levels);
        self.known.insert(key, size);
        size
    }
}
