//! Values in a document, and edits of them.

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use witgate_contract::EditError;

/// A value in a document: its location and its JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The location as a JSON Pointer (RFC 6901): `/messages/0/content`. The empty string is the
    /// whole document.
    pub pointer: String,
    /// One JSON text. What is read are the exact bytes of the document, with spacing and escapes.
    pub value: String,
}

impl Node {
    /// The value as a Rust value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.value)
    }
}

/// A part of a string in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPart {
    /// The location of the string, as a JSON Pointer.
    pub pointer: String,
    /// Where the part begins: a byte of the string's value as UTF-8, without quotes and escapes.
    pub start: u32,
    /// Where the part ends.
    pub end: u32,
    /// The text of the part, or the text that replaces it.
    pub text: String,
}

impl TextPart {
    /// The same part with another text, for [`Request::replace_parts`](crate::Request).
    ///
    /// ```
    /// use witgate_plugin::TextPart;
    ///
    /// let found = TextPart { pointer: "/a".into(), start: 2, end: 5, text: "key".into() };
    /// let replacement = found.with("(gone)");
    /// assert_eq!((replacement.start, replacement.end, &*replacement.text), (2, 5, "(gone)"));
    /// ```
    #[must_use]
    pub fn with(&self, text: impl Into<String>) -> Self {
        Self {
            pointer: self.pointer.clone(),
            text: text.into(),
            ..*self
        }
    }
}

/// A part of a string that a regular expression matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextMatch {
    /// The match as a whole.
    pub part: TextPart,
    /// For each group of the expression, in the order of their opening parentheses, what it matched
    /// last. `None` if it took no part in the match.
    pub groups: Vec<Option<TextPart>>,
}

/// The two locations of a `move` or `copy`, as JSON Pointers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromTo {
    /// The location of the value.
    pub from: String,
    /// The location that it is moved or copied to.
    pub to: String,
}

/// One operation of a JSON Patch, with the meaning of RFC 6902, section 4.
///
/// ```
/// use witgate_plugin::{Operation, json, testing::edit};
///
/// let edits = [
///     Operation::add("/tools/-", json!({"name": "ls"})),
///     Operation::move_to("/old", "/new"),
///     Operation::test("/model", "m"),
/// ];
/// let left = edit(r#"{"model":"m","tools":[],"old":[1]}"#, |request| Ok(request.patch(edits)?));
/// assert_eq!(left?, r#"{"model":"m","tools":[{"name":"ls"}],"new":[1]}"#);
/// # Ok::<(), witgate_plugin::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Sets a member of an object, or inserts into an array before the index (`-` appends).
    Add(Node),
    /// Removes the value, which must exist. If an object has the name more than once, all of them
    /// are removed.
    Remove(String),
    /// Replaces the value, which must exist.
    Replace(Node),
    /// Removes the value at `from` and adds the same bytes at `to`.
    Move(FromTo),
    /// Adds the bytes of the value at `from` at `to`.
    Copy(FromTo),
    /// Fails the patch unless the value exists and is equal as a JSON value (`1.0` equals `1`).
    Test(Node),
}

impl Operation {
    /// An `add` of a value: `Operation::add("/tools/-", json!({"name": "ls"}))`. A string becomes a
    /// JSON string.
    pub fn add(pointer: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::add_json(pointer, value.into().to_string())
    }

    /// An `add` of a JSON text as it is, for instance one that was read.
    pub fn add_json(pointer: impl Into<String>, json: impl Into<String>) -> Self {
        Self::Add(node(pointer, json))
    }

    /// A `remove` of the value at this location.
    pub fn remove(pointer: impl Into<String>) -> Self {
        Self::Remove(pointer.into())
    }

    /// A `replace` by a value: `Operation::replace("/temperature", 1)`.
    pub fn replace(pointer: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::replace_json(pointer, value.into().to_string())
    }

    /// A `replace` by a JSON text as it is.
    pub fn replace_json(pointer: impl Into<String>, json: impl Into<String>) -> Self {
        Self::Replace(node(pointer, json))
    }

    /// A `move` (a reserved word in Rust). The bytes stay with the gateway, however long they are.
    pub fn move_to(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self::Move(from_to(from, to))
    }

    /// A `copy`. The bytes stay with the gateway, however long they are.
    pub fn copy_to(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self::Copy(from_to(from, to))
    }

    /// A `test`: the patch fails unless the location has this value.
    pub fn test(pointer: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Test(node(pointer, value.into().to_string()))
    }
}

fn node(pointer: impl Into<String>, value: impl Into<String>) -> Node {
    Node {
        pointer: pointer.into(),
        value: value.into(),
    }
}

fn from_to(from: impl Into<String>, to: impl Into<String>) -> FromTo {
    FromTo {
        from: from.into(),
        to: to.into(),
    }
}
