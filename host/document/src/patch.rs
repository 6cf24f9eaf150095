//! JSON Patch, RFC 6902: the operations, as values and as text.

use bytes::Bytes;

use crate::{
    Error, check,
    index::Index,
    pointer,
    scan::{Children, value_end},
    splice::{Cut, length},
    string,
};

mod direct; // separate edits, as cuts of the text
mod name; // keys and the names of edits
mod tree; // any edits, on a text that is opened where needed

pub(crate) use direct::spans;
pub(crate) use tree::{Tree, fits_limit};

/// Returns the cuts that apply all of these operations, if they can be found without applying one
/// operation after the other.
pub(crate) fn cuts(
    text: &[u8],
    index: &Index,
    edits: &[Operation],
) -> Result<Option<Vec<Cut>>, Error> {
    if let [edit @ Operation::Replace { at, value }] = edits {
        let cut = replace(text, index, at, value);
        let cut = cut.map_err(|error| error.within(&format!("operation 0, {}", edit.name())))?;
        return Ok(Some(vec![cut]));
    }
    Ok(direct::cuts(text, index, edits))
}

/// Finds the cut for the most common patch. It reads only the way to its place.
fn replace(text: &[u8], index: &Index, at: &str, value: &Bytes) -> Result<Cut, Error> {
    let tokens = pointer::parse(at)?;
    let value = tree::checked(value, tokens.len())?;
    let Some(span) = pointer::locate(text, index, &tokens)? else {
        return Err(tree::missing(&tokens));
    };
    let cut = Cut {
        span,
        replacement: value,
    };
    let length = length(text.len(), std::slice::from_ref(&cut));
    tree::fits_limit(length, text.len())?;
    Ok(cut)
}

/// One operation of a JSON Patch. Places are JSON Pointers (RFC 6901), values are JSON texts (RFC
/// 8259).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Adds a value. A new member goes last, an element before the one that is there, and `-`
    /// appends to an array.
    Add {
        /// The place. Its parent must exist.
        at: String,
        /// The value, inserted verbatim without surrounding whitespace.
        value: Bytes,
    },
    /// Removes the value at an existing place, including all members of that name.
    Remove {
        /// The place, which is not the whole document.
        at: String,
    },
    /// Replaces an existing value.
    Replace {
        /// The place.
        at: String,
        /// The value, inserted verbatim without surrounding whitespace.
        value: Bytes,
    },
    /// Removes the value at one place and adds it at another.
    Move {
        /// The place of the existing value.
        from: String,
        /// The place to add it at after the removal. It must not be inside the value.
        to: String,
    },
    /// Adds a copy of the value at one place at another.
    Copy {
        /// The place of the existing value.
        from: String,
        /// The place to add the copy at.
        to: String,
    },
    /// Requires that the value at a place equals another. Numbers are compared by value, members in
    /// any order.
    Test {
        /// The place.
        at: String,
        /// The expected value.
        value: Bytes,
    },
    /// Replaces a part of a string. This is not an operation of RFC 6902; in a patch document it
    /// is `{"op": "replace-part", "path", "start", "end", "value"}`.
    ReplacePart {
        /// The place of the string.
        at: String,
        /// Where the part begins, in bytes of the UTF-8 that the string spells.
        start: usize,
        /// Where it ends.
        end: usize,
        /// The new text of the part.
        text: String,
    },
}

impl Operation {
    /// Parses a JSON Patch document: an array of operations.
    ///
    /// # Errors
    ///
    /// `BadValue` if the text is not a JSON array, or if an operation has an unknown `op` or a
    /// missing, repeated or mistyped member. `BadPath` for a malformed pointer. Unknown members are
    /// ignored.
    pub fn parse_list(text: &[u8]) -> Result<Vec<Operation>, Error> {
        let bad = |bad: Error| Error::BadValue(format!("the patch: {}", value_fault(bad)));
        let span = check::one_value(text, 0).map_err(bad)?;
        if text[span.start] != b'[' {
            return Err(Error::BadValue(
                "the patch is not an array of operations".to_owned(),
            ));
        }
        let mut edits = Vec::new();
        let mut children = Children::of(text, span.start)?;
        while let Some(child) = children.next()? {
            let end = value_end(text, child.start, 1)?;
            let context = format!("operation {}", edits.len());
            let edit = Fields::read(text, child.start).and_then(Fields::operation);
            edits.push(edit.map_err(|error| error.within(&context))?);
            children.passed(end);
        }
        Ok(edits)
    }

    /// Writes operations as a JSON Patch document without whitespace of its own.
    ///
    /// Bytes of a value that are not UTF-8 become U+FFFD. A patch that can be applied has none.
    #[must_use]
    pub fn write_list(edits: &[Operation]) -> String {
        let parts: Vec<String> = edits.iter().map(Operation::write).collect();
        format!("[{}]", parts.join(","))
    }

    fn write(&self) -> String {
        let plain =
            |op: &str, at: &str| format!(r#"{{"op":"{op}","path":{}}}"#, string::encode(at));
        let valued = |op: &str, at: &str, value: &Bytes| {
            let value = String::from_utf8_lossy(value);
            format!(
                r#"{{"op":"{op}","path":{},"value":{value}}}"#,
                string::encode(at)
            )
        };
        let paired = |op: &str, from: &str, to: &str| {
            let (from, to) = (string::encode(from), string::encode(to));
            format!(r#"{{"op":"{op}","from":{from},"path":{to}}}"#)
        };
        match self {
            Self::Add { at, value } => valued("add", at, value),
            Self::Remove { at } => plain("remove", at),
            Self::Replace { at, value } => valued("replace", at, value),
            Self::Move { from, to } => paired("move", from, to),
            Self::Copy { from, to } => paired("copy", from, to),
            Self::Test { at, value } => valued("test", at, value),
            Self::ReplacePart {
                at,
                start,
                end,
                text,
            } => format!(
                r#"{{"op":"replace-part","path":{},"start":{start},"end":{end},"value":{}}}"#,
                string::encode(at),
                string::encode(text)
            ),
        }
    }

    /// A short description of the operation for errors.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Add { at, .. } => format!("add `{at}`"),
            Self::Remove { at } => format!("remove `{at}`"),
            Self::Replace { at, .. } => format!("replace `{at}`"),
            Self::Move { from, to } => format!("move `{from}` to `{to}`"),
            Self::Copy { from, to } => format!("copy `{from}` to `{to}`"),
            Self::Test { at, .. } => format!("test `{at}`"),
            Self::ReplacePart { at, .. } => format!("replace-part `{at}`"),
        }
    }
}

/// Describes why a value is not a JSON text.
pub(crate) fn value_fault(error: Error) -> String {
    match error {
        Error::BadDocument { at, what } => format!("not valid JSON at byte {at}: {what}"),
        other => other.to_string(),
    }
}

/// The members of an operation.
#[derive(Default)]
struct Fields {
    op: Option<String>,
    path: Option<String>,
    from: Option<String>,
    value: Option<Bytes>,
    start: Option<Bytes>,
    end: Option<Bytes>,
}

impl Fields {
    fn read(text: &[u8], start: usize) -> Result<Self, Error> {
        let bad = |what: String| Err(Error::BadValue(what));
        if text[start] != b'{' {
            return bad("not an object".to_owned());
        }
        let mut fields = Self::default();
        let mut children = Children::of(text, start)?;
        while let Some(child) = children.next()? {
            let end = value_end(text, child.start, 2)?;
            let value = &text[child.start..end];
            let key = child
                .key
                .and_then(|key| string::decode(&text[key]))
                .unwrap_or_default();
            let field = match key.as_str() {
                "op" => &mut fields.op,
                "path" => &mut fields.path,
                "from" => &mut fields.from,
                "value" | "start" | "end" => {
                    let field = match key.as_str() {
                        "value" => &mut fields.value,
                        "start" => &mut fields.start,
                        _ => &mut fields.end,
                    };
                    if field.replace(Bytes::copy_from_slice(value)).is_some() {
                        return bad(format!("repeated member `{key}`"));
                    }
                    children.passed(end);
                    continue;
                }
                _ => {
                    children.passed(end);
                    continue;
                }
            };
            let Some(decoded) = string::decode(value) else {
                return bad(format!("`{key}` is not a string"));
            };
            if field.replace(decoded).is_some() {
                return bad(format!("repeated member `{key}`"));
            }
            children.passed(end);
        }
        Ok(fields)
    }

    fn operation(self) -> Result<Operation, Error> {
        let missing = |name: &str| Error::BadValue(format!("missing `{name}`"));
        let op = self.op.ok_or_else(|| missing("op"))?;
        let at = self.path.ok_or_else(|| missing("path"));
        let from = self.from.ok_or_else(|| missing("from"));
        let value = self.value.ok_or_else(|| missing("value"));
        let operation = match op.as_str() {
            "add" => Operation::Add {
                at: at?,
                value: value?,
            },
            "remove" => Operation::Remove { at: at? },
            "replace" => Operation::Replace {
                at: at?,
                value: value?,
            },
            "move" => Operation::Move {
                from: from?,
                to: at?,
            },
            "copy" => Operation::Copy {
                from: from?,
                to: at?,
            },
            "test" => Operation::Test {
                at: at?,
                value: value?,
            },
            "replace-part" => Operation::ReplacePart {
                at: at?,
                start: offset(self.start, "start")?,
                end: offset(self.end, "end")?,
                text: string::decode(&value?)
                    .ok_or_else(|| Error::BadValue("`value` is not a string".to_owned()))?,
            },
            other => return Err(Error::BadValue(format!("unknown op `{other}`"))),
        };
        match &operation {
            Operation::Move { from, to } | Operation::Copy { from, to } => {
                pointer::parse(from)?;
                pointer::parse(to)?;
            }
            Operation::Add { at, .. }
            | Operation::Remove { at }
            | Operation::Replace { at, .. }
            | Operation::Test { at, .. }
            | Operation::ReplacePart { at, .. } => {
                pointer::parse(at)?;
            }
        }
        Ok(operation)
    }
}

/// Reads an offset in a string.
fn offset(value: Option<Bytes>, name: &str) -> Result<usize, Error> {
    let value = value.ok_or_else(|| Error::BadValue(format!("missing `{name}`")))?;
    let digits = str::from_utf8(&value).ok();
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| Error::BadValue(format!("`{name}` is not an offset")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_read_and_written() {
        let text = r#"[{"op":"add","path":"/a~1b","value":{"x": 1}},{"op":"remove","path":""},{"op":"replace","path":"/a","value":null},{"op":"move","from":"/a","path":"/b"},{"op":"copy","from":"/a","path":"/b"},{"op":"test","path":"/\"","value":"y"},{"op":"replace-part","path":"/a","start":1,"end":3,"value":"z\n"}]"#;
        let edits = Operation::parse_list(text.as_bytes()).expect("valid");
        assert_eq!(edits.len(), 7);
        assert_eq!(Operation::write_list(&edits), text);
        assert_eq!(Operation::write_list(&[]), "[]");
    }

    #[test]
    fn the_fault_of_a_patch_is_named() {
        for (text, fault) in [
            ("{}", "the patch is not an array of operations"),
            ("[1]", "operation 0: not an object"),
            (
                "[",
                "the patch: not valid JSON at byte 1: got the end of the text, expected `,` or `]`",
            ),
            (
                r#"[{"op":"remove","path":"/a"},{"op":"spam","path":""}]"#,
                "operation 1: unknown op `spam`",
            ),
            (r#"[{"op":"remove"}]"#, "operation 0: missing `path`"),
            (
                r#"[{"op":"add","path":""}]"#,
                "operation 0: missing `value`",
            ),
            (
                r#"[{"op":"move","path":""}]"#,
                "operation 0: missing `from`",
            ),
            (
                r#"[{"op":"remove","op":"remove","path":""}]"#,
                "operation 0: repeated member `op`",
            ),
            (
                r#"[{"op":"remove","path":null}]"#,
                "operation 0: `path` is not a string",
            ),
            (
                r#"[{"op":"remove","path":"a"}]"#,
                "operation 0: pointer `a` does not begin with `/`",
            ),
        ] {
            let error = Operation::parse_list(text.as_bytes()).expect_err(text);
            assert_eq!(error.to_string(), fault);
        }
    }
}
