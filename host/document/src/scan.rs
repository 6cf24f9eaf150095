//! Scans JSON text: where a value ends, and which children a container has.
//!
//! A scan checks only what it needs to find an end: quotes of strings and the balance of brackets.
//! Nothing here recurses.

use std::ops::Range;

use memchr::memchr;

use crate::{Error, number};

/// The maximum nesting depth of containers. Deeper is an error if a query or an edit meets it.
pub(crate) const MAX_DEPTH: usize = 1_000;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns the offset of the first byte at or after `at` that is not JSON whitespace, at most the
/// length of the text.
pub(crate) fn skip_space(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Returns the offset after the last byte before `at` that is not whitespace.
pub(crate) fn skip_space_back(text: &[u8], at: usize) -> usize {
    let space = text[..at]
        .iter()
        .rev()
        .take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
    at - space.count()
}

/// Returns the start of the top-level value: after a leading byte order mark and whitespace.
pub(crate) fn root(text: &[u8]) -> usize {
    let mark = if text.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    skip_space(text, mark)
}

/// Returns the span unchanged if only whitespace follows it.
pub(crate) fn require_end(text: &[u8], span: Range<usize>) -> Result<Range<usize>, Error> {
    let rest = skip_space(text, span.end);
    if rest < text.len() {
        return Err(Error::document(rest, "unexpected text after the value"));
    }
    Ok(span)
}

pub(crate) fn is_container(text: &[u8], at: usize) -> bool {
    matches!(text.get(at), Some(b'{' | b'['))
}

/// Whether the byte at `at` follows an odd number of backslashes.
pub(crate) fn is_escaped(text: &[u8], at: usize) -> bool {
    let slashes = text[..at].iter().rev().take_while(|&&b| b == b'\\');
    slashes.count() % 2 == 1
}

/// Returns the offset after the string whose opening quote is at `open`.
pub(crate) fn string_end(text: &[u8], open: usize) -> Result<usize, Error> {
    /// Most keys are shorter, and for so few bytes a memory search is not worth its setup.
    const SHORT: usize = 16;

    let mut at = open + 1;
    for &byte in text.get(at..).unwrap_or_default().iter().take(SHORT) {
        match byte {
            b'"' => return Ok(at + 1),
            b'\\' => break,
            _ => at += 1,
        }
    }
    loop {
        let Some(found) = memchr(b'"', text.get(at..).unwrap_or_default()) else {
            return Err(Error::document(open, "unclosed string"));
        };
        at += found + 1;
        // Backslashes are checked only before quotes, so that a long text is not stopped at every
        // `\n`.
        let body = &text[open + 1..at - 1];
        if !is_escaped(body, body.len()) {
            return Ok(at);
        }
    }
}

/// Returns the offset after the value that starts at `start`, which is nested in `depth`
/// containers.
pub(crate) fn value_end(text: &[u8], start: usize, depth: usize) -> Result<usize, Error> {
    match text.get(start) {
        Some(b'"') => string_end(text, start),
        Some(b'{' | b'[') => container_end(text, start, depth),
        Some(b't') => word_end(text, start, b"true"),
        Some(b'f') => word_end(text, start, b"false"),
        Some(b'n') => word_end(text, start, b"null"),
        Some(b'-' | b'0'..=b'9') => {
            number::end(text, start).ok_or_else(|| Error::document(start, "malformed number"))
        }
        Some(&byte) => Err(unexpected(start, byte, "a value")),
        None => Err(Error::document(
            start,
            "got the end of the text, expected a value",
        )),
    }
}

fn word_end(text: &[u8], start: usize, word: &[u8]) -> Result<usize, Error> {
    if text[start..].starts_with(word) {
        Ok(start + word.len())
    } else {
        Err(unexpected(start, text[start], "a value"))
    }
}

fn container_end(text: &[u8], start: usize, depth: usize) -> Result<usize, Error> {
    let mut open = 0;
    let mut at = start;
    while let Some(&byte) = text.get(at) {
        at = match byte {
            b'"' => string_end(text, at)?,
            b'{' | b'[' => {
                open += 1;
                if depth + open > MAX_DEPTH {
                    return Err(too_deep(at));
                }
                at + 1
            }
            b'}' | b']' => {
                open -= 1;
                if open == 0 {
                    return Ok(at + 1);
                }
                at + 1
            }
            _ => at + 1,
        };
    }
    Err(Error::document(start, "unclosed array or object"))
}

pub(crate) fn too_deep(at: usize) -> Error {
    Error::document(at, format!("nested deeper than {MAX_DEPTH} levels"))
}

fn unexpected(at: usize, byte: u8, wanted: &str) -> Error {
    let byte = byte.escape_ascii();
    Error::document(at, format!("got `{byte}`, expected {wanted}"))
}

/// An element or member of a container.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    /// The offset after the separator, where the whitespace before the child begins.
    pub(crate) lead: usize,
    /// The span of the key token, including quotes. `None` in an array.
    pub(crate) key: Option<Range<usize>>,
    /// The start of the value.
    pub(crate) start: usize,
}

/// Iterates over the children of a container. After each `next`, `passed` must be called with the
/// end of that child.
pub(crate) struct Children<'t> {
    text: &'t [u8],
    object: bool,
    at: usize,
    first: bool,
}

impl<'t> Children<'t> {
    /// `start` is the offset of the opening bracket. Anything else there is an error.
    pub(crate) fn of(text: &'t [u8], start: usize) -> Result<Self, Error> {
        let object = match text.get(start) {
            Some(b'{') => true,
            Some(b'[') => false,
            _ => return Err(Error::document(start, "expected an array or object")),
        };
        Ok(Self {
            text,
            object,
            at: start + 1,
            first: true,
        })
    }

    pub(crate) fn is_object(&self) -> bool {
        self.object
    }

    /// Returns the next child, or `None` at the closing bracket. `position` is then the offset of
    /// that bracket.
    pub(crate) fn next(&mut self) -> Result<Option<Child>, Error> {
        let text = self.text;
        let close = if self.object { b'}' } else { b']' };
        let mut at = skip_space(text, self.at);
        let wanted = if self.object {
            "`,` or `}`"
        } else {
            "`,` or `]`"
        };
        let mut lead = self.at;
        match text.get(at) {
            Some(&byte) if byte == close => {
                self.at = at;
                return Ok(None);
            }
            Some(b',') if !self.first => {
                lead = at + 1;
                at = skip_space(text, lead);
            }
            Some(_) if self.first => {}
            Some(&byte) => return Err(unexpected(at, byte, wanted)),
            None => {
                return Err(Error::document(
                    at,
                    format!("got the end of the text, expected {wanted}"),
                ));
            }
        }
        self.first = false;
        if !self.object {
            return Ok(Some(Child {
                lead,
                key: None,
                start: at,
            }));
        }
        let open = at;
        match text.get(open) {
            Some(b'"') => {}
            Some(&byte) => return Err(unexpected(open, byte, "a key")),
            None => {
                return Err(Error::document(
                    open,
                    "got the end of the text, expected a key",
                ));
            }
        }
        let key_end = string_end(text, open)?;
        at = skip_space(text, key_end);
        match text.get(at) {
            Some(b':') => {}
            Some(&byte) => return Err(unexpected(at, byte, "`:`")),
            None => return Err(Error::document(at, "got the end of the text, expected `:`")),
        }
        Ok(Some(Child {
            lead,
            key: Some(open..key_end),
            start: skip_space(text, at + 1),
        }))
    }

    /// Sets the end of the value of the most recent child.
    pub(crate) fn passed(&mut self, end: usize) {
        self.at = end;
    }

    /// The offset after the most recent child, or of the closing bracket.
    pub(crate) fn position(&self) -> usize {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_ends_at_the_first_quote_that_is_not_escaped() {
        for (text, end) in [
            (r#""""#, 2),
            (r#""a\"b"x"#, 6),
            (r#""\\""#, 4),
            (r#""\\\"""#, 6),
            (r#""\\"""#, 4),
        ] {
            assert_eq!(string_end(text.as_bytes(), 0), Ok(end), "{text}");
        }
        assert!(string_end(br#""a\""#, 0).is_err());
        assert!(string_end(b"\"", 0).is_err());
    }

    #[test]
    fn backslashes_before_the_string_do_not_count() {
        assert_eq!(string_end(b"\\\"\"", 1), Ok(3));
    }

    #[test]
    fn a_thousand_levels_pass_and_one_more_does_not() {
        let nest = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_eq!(value_end(&nest(1_000), 0, 0), Ok(2_000));
        assert!(value_end(&nest(1_001), 0, 0).is_err());
        assert!(value_end(&nest(1_000), 0, 1).is_err());
        assert!(value_end(&vec![b'['; 1_000_000], 0, 0).is_err());
    }

    #[test]
    fn children_include_the_text_before_them() {
        let text = br#"{ "a" : 1 , "b":[2,3]}"#;
        let mut children = Children::of(text, 0).expect("an object");
        let mut seen = Vec::new();
        while let Some(child) = children.next().expect("valid") {
            let end = value_end(text, child.start, 1).expect("valid");
            seen.push((child.lead, child.key.expect("a member"), child.start..end));
            children.passed(end);
        }
        assert_eq!(seen, [(1, 2..5, 8..9), (11, 12..15, 16..21)]);
        assert_eq!(children.position(), 21);
    }

    #[test]
    fn broken_containers_are_errors() {
        for text in [
            "[1 2]",
            "[1,]",
            "[,1]",
            "{1:2}",
            "{\"a\" 1}",
            "{\"a\":}",
            "{\"a\":1,}",
            "[",
            "{\"a\"",
            "[1}",
            "x",
        ] {
            let text = text.as_bytes();
            let walked = || -> Result<(), Error> {
                let mut children = Children::of(text, 0)?;
                while let Some(child) = children.next()? {
                    children.passed(value_end(text, child.start, 1)?);
                }
                Ok(())
            };
            assert!(walked().is_err(), "{}", text.escape_ascii());
        }
    }
}
