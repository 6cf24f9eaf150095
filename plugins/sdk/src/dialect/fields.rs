//! The members of an object, taken one by one; what is left at the end is what nobody knew.

use serde_json::{Map, Number, Value};

use crate::verdict::Refusal;

/// An object with the place at which it stands, for errors.
pub(super) struct Fields {
    at: String,
    map: Map<String, Value>,
}

impl Fields {
    /// What is no object is refused.
    pub(super) fn of(at: String, value: Value) -> Result<Self, Refusal> {
        match value {
            Value::Object(map) => Ok(Self { at, map }),
            other => Err(wanted(&at, "an object", &other)),
        }
    }

    /// A member; `null` is as good as none.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        // Order does not matter: what is left is looked at by name only.
        self.map.swap_remove(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wanted(&self.place(key), "a string", &other)),
        }
    }

    pub(super) fn must_text(&mut self, key: &str) -> Result<String, Refusal> {
        self.text(key)?.ok_or_else(|| missing(&self.place(key)))
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<Number>, Refusal> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(other) => Err(wanted(&self.place(key), "a number", &other)),
        }
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Refusal> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wanted(&self.place(key), "a boolean", &other)),
        }
    }

    pub(super) fn list(&mut self, key: &str) -> Result<Vec<Value>, Refusal> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(wanted(&self.place(key), "an array", &other)),
        }
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Option<Self>, Refusal> {
        let at = self.place(key);
        self.take(key).map(|value| Self::of(at, value)).transpose()
    }

    pub(super) fn must_object(&mut self, key: &str) -> Result<Self, Refusal> {
        self.object(key)?.ok_or_else(|| missing(&self.place(key)))
    }

    /// Where a member stands.
    pub(super) fn place(&self, key: &str) -> String {
        if self.at.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.at)
        }
    }

    /// The names of what nobody has taken. `null` says nothing.
    pub(super) fn rest(self) -> impl Iterator<Item = String> {
        let said = |(key, value): (String, Value)| (!value.is_null()).then_some(key);
        self.map.into_iter().filter_map(said)
    }
}

pub(super) fn missing(at: &str) -> Refusal {
    Refusal::invalid_request(format!("{at}: field required"))
}

pub(super) fn wanted(at: &str, what: &str, found: &Value) -> Refusal {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Refusal::invalid_request(format!("{at}: expected {what}, found {found}"))
}
