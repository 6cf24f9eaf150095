//! Legal request paths: one rule for what clients request and for what plugins set.
//!
//! Servers differ in what they do to a path before they route it: some decode escapes, take `\` for
//! `/`, merge slashes, resolve dots or cut off path parameters. A legal path has nothing of this
//! kind, so a route that is chosen by its text is the route that the upstream serves.

use percent_encoding::percent_decode_str;

use crate::{EditError, limits, text::clip};

/// Reads a path with an optional query string after `?`: the path, and the query string without the
/// question mark.
///
/// # Errors
///
/// [`EditError::BadQuery`] if it is longer than [`limits::PATH`], if [`check`] refuses the path, or
/// for a character that a query string cannot contain.
pub fn parse(text: &str) -> Result<(&str, &str), EditError> {
    let refuse = |why: &str| {
        let text = clip(text);
        Err(EditError::BadQuery(format!(
            "`{text}` is not a legal path: {why}"
        )))
    };
    if text.len() > limits::PATH {
        return refuse(&format!(
            "it has {} bytes, the limit is {}",
            text.len(),
            limits::PATH
        ));
    }
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if let Err(why) = check(path) {
        return refuse(why);
    }
    if query.contains('#') || text.parse::<http::uri::PathAndQuery>().is_err() {
        return refuse("it has a character that must be escaped");
    }
    Ok((path, query))
}

/// Checks a path, without a query string. An escaped slash is legal, since names of models have
/// slashes, but it separates segments all the same: some servers decode before they split.
///
/// # Errors
///
/// What a server could read in two ways: an empty segment, a segment of dots or spaces, a
/// backslash, a path parameter, a needless or double escape, a control character; and what a path
/// cannot contain.
pub fn check(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("it must begin with `/`");
    }
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'%' => check_escape(&path.as_bytes()[at + 1..])?,
            b'\\' => return Err(BACKSLASH),
            b';' => return Err(PARAMETER),
            b'#' | b'?' | b' ' => return Err("it has a character that must be escaped"),
            byte if byte.is_ascii_control() => return Err(CONTROL),
            _ => {}
        }
    }
    let Ok(plain) = percent_decode_str(path).decode_utf8() else {
        return Err("its escapes are not UTF-8");
    };
    let mut segments = plain.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err("it has an empty segment (`//`)");
        }
        // Some servers drop spaces and further dots at the end of a segment.
        let dots = |c: char| c == '.' || c.is_whitespace();
        if !segment.is_empty() && segment.chars().all(dots) {
            return Err("it has a segment of nothing but dots or spaces");
        }
    }
    Ok(())
}

const BACKSLASH: &str = "it has a backslash";
const PARAMETER: &str = "it has a path parameter (`;`)";
const CONTROL: &str = "it has a control character";

/// Checks what follows a `%`.
fn check_escape(rest: &[u8]) -> Result<(), &'static str> {
    match escaped(rest) {
        None => Err("it has a `%` without two hexadecimal digits"),
        Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
            Err("it has an escaped letter, digit, dot, `-`, `_` or `~`: write it unescaped")
        }
        Some(b'%') if escaped(&rest[2..]).is_some() => Err("it is escaped twice (`%25`)"),
        Some(b'\\') => Err(BACKSLASH),
        Some(b';') => Err(PARAMETER),
        Some(byte) if byte.is_ascii_control() => Err(CONTROL),
        Some(_) => Ok(()),
    }
}

/// The byte that two hexadecimal digits stand for.
fn escaped(rest: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*rest.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_from_its_query() {
        let good = [
            ("/v1/messages", ("/v1/messages", "")),
            (
                "/v1beta/models/m:generate?alt=sse",
                ("/v1beta/models/m:generate", "alt=sse"),
            ),
            ("/m%2Fn/x?a=../b//c;d", ("/m%2Fn/x", "a=../b//c;d")),
        ];
        for (text, wanted) in good {
            assert_eq!(parse(text), Ok(wanted));
        }
        let long = format!("/{}", "a".repeat(limits::PATH));
        for text in ["", "v1", "/a/../b", "/a?b#c", "/a?b c", "/a?b\r\nc", &long] {
            assert!(matches!(parse(text), Err(EditError::BadQuery(_))), "{text}");
        }
        parse(&long[..limits::PATH]).unwrap();
    }

    #[test]
    fn ordinary_paths_are_legal() {
        for path in [
            "/",
            "/v1/messages",
            "/v1/messages/",
            "/v1/models/a/b",
            "/v1/models/a%2Fb",
            "/v1/models/claude-opus-5-5%5B1m%5D",
            "/v1/files/file_abc/content",
            "/v1/files/my%20file.txt",
            "/v1/files/caf%C3%A9",
            "/v1/files/100%25",
            "/v1beta/models/m:generate",
            "/a/..b/c.../.d",
            "/~me/a+b,c=d&e@f!$'()*",
            "/v1/{id}|\"^[x]",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_named() {
        let table = [
            ("", "begin with"),
            ("*", "begin with"),
            ("v1", "begin with"),
            ("http://evil.example/", "begin with"),
            ("//v1/messages", "empty segment"),
            ("/v1//messages", "empty segment"),
            ("/v1/%2fmessages", "empty segment"),
            ("/v1/./messages", "dots"),
            ("/v1/x/../messages", "dots"),
            ("/v1/..", "dots"),
            ("/v1/.%20/messages", "dots"),
            ("/v1/a%2F..%2Fmessages", "dots"),
            ("/v1/.../messages", "dots"),
            ("/v1/%2e/messages", "escaped letter"),
            ("/v1/%2E%2e/messages", "escaped letter"),
            ("/v1/.%2E/messages", "escaped letter"),
            ("/v1/%6dessages", "escaped letter"),
            ("/v1/%4Dessages", "escaped letter"),
            ("/v1/count%5Ftokens", "escaped letter"),
            ("/v1/%256dessages", "twice"),
            ("/v1/%252e%252e/x", "twice"),
            ("/v1\\messages", "backslash"),
            ("/v1/..%5cx", "backslash"),
            ("/v1/messages;a=b", "parameter"),
            ("/v1/messages%3Ba=b", "parameter"),
            ("/v1/..;/messages", "parameter"),
            ("/v1/messages%00", "control"),
            ("/v1/mess%0Aages", "control"),
            ("/v1/a\r\nx", "control"),
            ("/v1/%c0%ae%c0%ae/x", "UTF-8"),
            ("/v1/%c0%afx", "UTF-8"),
            ("/v1/%", "hexadecimal"),
            ("/v1/%2", "hexadecimal"),
            ("/v1/%zz", "hexadecimal"),
            ("/v1/a b", "must be escaped"),
            ("/v1/a#b", "must be escaped"),
        ];
        for (path, why) in table {
            let refused = check(path).unwrap_err();
            assert!(refused.contains(why), "{path}: {refused}");
        }
    }
}
