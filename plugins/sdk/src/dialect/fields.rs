//! The members of an object, taken one by one. Those that remain at the end are unknown.

use serde_json::{Map, Number, Value};

use crate::verdict::Refusal;

/// An object and its location, which errors name.
pub(super) struct Fields {
    at: String,
    map: Map<String, Value>,
}

impl Fields {
    /// The members of an object. Any other value is refused.
    pub(super) fn of(at: String, value: Value) -> Result<Self, Refusal> {
        match value {
            Value::Object(map) => Ok(Self { at, map }),
            other => Err(unexpected(&at, "an object", &other)),
        }
    }

    /// Takes a member; `null` counts as missing.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        // The order does not matter: only the names of what remains are used.
        self.map.swap_remove(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(unexpected(&self.location(key), "a string", &other)),
        }
    }

    pub(super) fn must_text(&mut self, key: &str) -> Result<String, Refusal> {
        self.text(key)?.ok_or_else(|| missing(&self.location(key)))
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<Number>, Refusal> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(other) => Err(unexpected(&self.location(key), "a number", &other)),
        }
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Refusal> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(unexpected(&self.location(key), "a boolean", &other)),
        }
    }

    pub(super) fn list(&mut self, key: &str) -> Result<Vec<Value>, Refusal> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(unexpected(&self.location(key), "an array", &other)),
        }
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Option<Self>, Refusal> {
        let at = self.location(key);
        self.take(key).map(|value| Self::of(at, value)).transpose()
    }

    pub(super) fn must_object(&mut self, key: &str) -> Result<Self, Refusal> {
        self.object(key)?
            .ok_or_else(|| missing(&self.location(key)))
    }

    /// The location of a member.
    pub(super) fn location(&self, key: &str) -> String {
        if self.at.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.at)
        }
    }

    /// The names of the members that were not taken. `null` counts as missing.
    pub(super) fn remaining(self) -> impl Iterator<Item = String> {
        self.into_map().into_iter().map(|(key, _)| key)
    }

    /// The members that were not taken. `null` counts as missing.
    pub(super) fn into_map(mut self) -> Map<String, Value> {
        self.map.retain(|_, value| !value.is_null());
        self.map
    }
}

pub(super) fn missing(at: &str) -> Refusal {
    Refusal::invalid_request(format!("{at}: field required"))
}

pub(super) fn unexpected(at: &str, expected: &str, value: &Value) -> Refusal {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    let at = if at.is_empty() { "the body" } else { at };
    Refusal::invalid_request(format!("{at}: got {got}, expected {expected}"))
}
