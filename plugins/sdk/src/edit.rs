//! Places in a document, and what may be done at them.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A place in a document and the JSON text that stands there, or shall stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// A JSON Pointer (RFC 6901): `/messages/0/content`. The empty string is the whole document.
    pub at: String,
    /// One JSON text. When read, the very bytes of the document, spacing and escapes included.
    pub value: String,
}

impl Node {
    /// The value as a Rust value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.value)
    }
}

/// From where to where, two JSON Pointers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromTo {
    /// Where the value stands.
    pub from: String,
    /// Where it shall stand.
    pub to: String,
}

/// One operation of a JSON Patch, with the meaning of RFC 6902, section 4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Sets a member of an object, or inserts into an array before the index (`-` appends).
    Add(Node),
    /// Removes the value, which must be there. Of an object that has the name more than once, all go.
    Remove(String),
    /// Replaces the value, which must be there.
    Replace(Node),
    /// Removes the value at `from` and adds the same bytes at `to`.
    Move(FromTo),
    /// Adds the bytes of the value at `from` at `to`.
    Copy(FromTo),
    /// Holds if the value is there and is equal as a JSON value (`1.0` equals `1`).
    Test(Node),
}

impl Operation {
    /// Adds a value: `Operation::add("/tools/-", json!({"name": "ls"}))`. A string becomes a JSON string.
    pub fn add(at: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::add_json(at, value.into().to_string())
    }

    /// Adds a JSON text as it is, for instance one that was read.
    pub fn add_json(at: impl Into<String>, json: impl Into<String>) -> Self {
        Self::Add(node(at, json))
    }

    /// Removes what stands there.
    pub fn remove(at: impl Into<String>) -> Self {
        Self::Remove(at.into())
    }

    /// Replaces what stands there by a value: `Operation::replace("/temperature", 1)`.
    pub fn replace(at: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::replace_json(at, value.into().to_string())
    }

    /// Replaces what stands there by a JSON text as it is.
    pub fn replace_json(at: impl Into<String>, json: impl Into<String>) -> Self {
        Self::Replace(node(at, json))
    }

    /// Moves a value, whose bytes stay with the gateway however long they are.
    pub fn move_to(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self::Move(from_to(from, to))
    }

    /// Copies a value, whose bytes stay with the gateway however long they are.
    pub fn copy_to(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self::Copy(from_to(from, to))
    }

    /// Lets the patch fail unless this value stands there.
    pub fn test(at: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Test(node(at, value.into().to_string()))
    }
}

fn node(at: impl Into<String>, value: impl Into<String>) -> Node {
    Node {
        at: at.into(),
        value: value.into(),
    }
}

fn from_to(from: impl Into<String>, to: impl Into<String>) -> FromTo {
    FromTo {
        from: from.into(),
        to: to.into(),
    }
}

/// Why a query or an edit was not done. The document is as it was before the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditError {
    /// The query is no JSONPath, or a header name or a pointer is not well formed.
    BadQuery(String),
    /// The document is not valid JSON at a place that the query had to read.
    BadDocument(String),
    /// A value handed in is not one valid JSON text, or not a valid header value.
    BadValue(String),
    /// An operation points at nothing, or its `test` does not hold.
    NotApplicable(String),
    /// The query or edit went over a limit: nodes visited, nodes selected, depth, or size of the result.
    TooMuch(String),
    /// This hook or this moment does not allow the edit, or the header belongs to the gateway.
    NotAllowed(String),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, what) = match self {
            Self::BadQuery(what) => ("bad query", what),
            Self::BadDocument(what) => ("bad document", what),
            Self::BadValue(what) => ("bad value", what),
            Self::NotApplicable(what) => ("not applicable", what),
            Self::TooMuch(what) => ("too much", what),
            Self::NotAllowed(what) => ("not allowed", what),
        };
        write!(f, "{kind}: {what}")
    }
}

impl std::error::Error for EditError {}
