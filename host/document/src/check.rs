//! Strict validation by RFC 8259. It applies to every value passed in, so that an edit never breaks
//! a body.

use std::ops::Range;

use crate::{
    Error,
    scan::{Children, MAX_DEPTH, skip_space, string_end, too_deep, value_end},
    string,
};

/// Returns the span of the one value in `text`, without surrounding whitespace.
///
/// Lone surrogate escapes are accepted, since the grammar has them and clients send them. `depth`
/// is the number of containers around the value's destination.
pub(crate) fn one_value(text: &[u8], depth: usize) -> Result<Range<usize>, Error> {
    if let Err(bad) = std::str::from_utf8(text) {
        return Err(Error::document(bad.valid_up_to(), "not UTF-8"));
    }
    let start = skip_space(text, 0);
    let end = value(text, start, depth)?;
    let rest = skip_space(text, end);
    if rest < text.len() {
        return Err(Error::document(rest, "unexpected text after the value"));
    }
    Ok(start..end)
}

fn value(text: &[u8], start: usize, depth: usize) -> Result<usize, Error> {
    let mut open: Vec<Children<'_>> = Vec::new();
    let mut at = start;
    loop {
        // One value at `at`. A container is opened; its children follow in the next iterations.
        let mut end = match text.get(at) {
            Some(b'{' | b'[') => {
                if depth + open.len() >= MAX_DEPTH {
                    return Err(too_deep(at));
                }
                open.push(Children::of(text, at)?);
                None
            }
            Some(b'"') => Some(strict_string(text, at)?),
            _ => Some(value_end(text, at, depth)?),
        };
        // Moves up while containers end here.
        loop {
            let Some(children) = open.last_mut() else {
                return end.ok_or_else(|| Error::document(at, "expected a value"));
            };
            if let Some(end) = end {
                children.passed(end);
            }
            match children.next()? {
                Some(child) => {
                    if let Some(key) = child.key {
                        strict_string(text, key.start)?;
                    }
                    at = child.start;
                    break;
                }
                None => {
                    end = Some(children.position() + 1);
                    open.pop();
                }
            }
        }
    }
}

fn strict_string(text: &[u8], open: usize) -> Result<usize, Error> {
    let end = string_end(text, open)?;
    let token = &text[open..end];
    if let Some(raw) = token.iter().position(|&b| b < b' ') {
        return Err(Error::document(
            open + raw,
            "raw control character in a string",
        ));
    }
    if memchr::memchr(b'\\', token).is_some() && string::inside(token).is_none() {
        return Err(Error::document(open, "malformed escape in a string"));
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_with_space_around_it_passes() {
        for (text, span) in [
            (" 1 ", 1..2),
            ("{}", 0..2),
            ("[ ]", 0..3),
            (r#"{"a":[1,{"b":null}],"c":"\ud800"}"#, 0..33),
            ("\n\"x\"\t", 1..4),
        ] {
            assert_eq!(one_value(text.as_bytes(), 0), Ok(span), "{text}");
        }
    }

    #[test]
    fn invalid_json_is_rejected() {
        for text in [
            "",
            " ",
            "1 2",
            "nul",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "{a:1}",
            "\"\u{1}\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "01",
            "{\"\\q\":1}",
            "[",
            "]",
            "{\"a\":1,}",
            "\u{feff}1",
            "[1}",
            "\"a",
            "'a'",
            "NaN",
            "tru",
            "truex",
        ] {
            assert!(one_value(text.as_bytes(), 0).is_err(), "{text}");
        }
        assert!(one_value(b"\"\xff\"", 0).is_err());
    }

    #[test]
    fn depth_is_counted_from_where_the_value_goes() {
        let nest = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(one_value(&nest(1_000), 0).is_ok());
        assert!(one_value(&nest(1_001), 0).is_err());
        assert!(one_value(&nest(1_000), 1).is_err());
        assert!(one_value(&vec![b'['; 1_000_000], 0).is_err());
    }
}
