//! Decodes and encodes JSON string tokens (RFC 8259, section 7).

use std::borrow::Cow;

/// Returns the text that a JSON string token spells, or `None` if `token` is not a string token.
///
/// `token` includes both quotes and nothing around them. A lone surrogate escape and bytes that are
/// not UTF-8 become U+FFFD, because a Rust string cannot hold them. Raw control characters are
/// accepted.
#[must_use]
pub fn decode(token: &[u8]) -> Option<String> {
    inside(token).map(Cow::into_owned)
}

/// Returns the JSON string token that spells `text`, including quotes, with no more escapes than
/// JSON requires.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut token = String::with_capacity(text.len() + 2);
    token.push('"');
    escape(text, &mut token);
    token.push('"');
    token
}

/// Appends what spells `text` between the quotes of a JSON string token.
pub(crate) fn escape(text: &str, token: &mut String) {
    for c in text.chars() {
        match c {
            '"' => token.push_str("\\\""),
            '\\' => token.push_str("\\\\"),
            '\n' => token.push_str("\\n"),
            '\r' => token.push_str("\\r"),
            '\t' => token.push_str("\\t"),
            '\u{8}' => token.push_str("\\b"),
            '\u{c}' => token.push_str("\\f"),
            c if c < ' ' => {
                token.push_str("\\u00");
                for shift in [4, 0] {
                    let digit = (u32::from(c) >> shift) & 0xf;
                    token.push(char::from_digit(digit, 16).unwrap_or('0'));
                }
            }
            c => token.push(c),
        }
    }
}

/// The same as `decode`, but borrows if nothing is escaped.
pub(crate) fn inside(token: &[u8]) -> Option<Cow<'_, str>> {
    let body = token.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr2(b'"', b'\\', body).is_none() {
        return Some(lossy(body));
    }
    let mut text = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(stop) = memchr::memchr2(b'"', b'\\', rest) {
        text.push_str(&lossy(&rest[..stop]));
        if rest[stop] == b'"' {
            return None;
        }
        rest = &rest[stop + 1..];
        let (&letter, after) = rest.split_first()?;
        rest = after;
        text.push(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let (c, used) = code_point(rest)?;
                rest = &rest[used..];
                c
            }
            _ => return None,
        });
    }
    text.push_str(&lossy(rest));
    Some(Cow::Owned(text))
}

/// Decodes UTF-8. The check for valid text is several times faster than a lossy conversion, so it
/// comes first.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Whether the token spells `name`. A token that is not a string spells nothing.
pub(crate) fn spells(token: &[u8], name: &str) -> bool {
    let plain = token.len() == name.len() + 2 && &token[1..token.len() - 1] == name.as_bytes();
    // Every escape is longer than what it spells.
    let escaped = || token.len() > name.len() + 2 && memchr::memchr(b'\\', token).is_some();
    let lossy = || name.contains(char::REPLACEMENT_CHARACTER);
    // An unescaped token has no literal backslash, so equal bytes decide only for names without
    // one.
    (plain && !name.contains('\\'))
        || ((escaped() || lossy()) && inside(token).is_some_and(|text| text == name))
}

/// Whether a string that begins here certainly does not spell `name`. The end of the string need
/// not be known.
pub(crate) fn differs(start: &[u8], name: &str) -> bool {
    let start = start.get(1..).unwrap_or_default();
    let shared = start.len().min(name.len());
    let (bytes, wanted) = (&start[..shared], &name.as_bytes()[..shared]);
    // An escape or a bad byte may spell another character than it looks like.
    bytes != wanted && bytes.is_ascii() && memchr::memchr(b'\\', bytes).is_none()
}

/// Reads the four hexadecimal digits of a `\u` escape as a UTF-16 unit.
pub(crate) fn unit(digits: &[u8]) -> Option<u16> {
    let digits = digits.get(..4)?;
    digits.iter().try_fold(0, |unit: u16, &digit| {
        let value = char::from(digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(value).ok()?)
    })
}

/// Returns the number of bytes of the escape that `text` begins with, and of the UTF-8 that it
/// spells. `None` if it begins with no escape.
pub(crate) fn escape_lengths(text: &[u8]) -> Option<(usize, usize)> {
    match text {
        [b'\\', b'u', rest @ ..] => {
            let (c, used) = code_point(rest)?;
            Some((2 + used, c.len_utf8()))
        }
        [
            b'\\',
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
            ..,
        ] => Some((2, 1)),
        _ => None,
    }
}

/// Returns the character that the text after a `\u` spells and the number of bytes used, including
/// the second escape of a pair.
fn code_point(rest: &[u8]) -> Option<(char, usize)> {
    let first = unit(rest)?;
    if (0xd800..0xdc00).contains(&first)
        && let Some(low) = rest.get(4..).and_then(|r| r.strip_prefix(b"\\u"))
        && let Some(second) = unit(low)
        && let Some(Ok(c)) = char::decode_utf16([first, second]).next()
    {
        return Some((c, 10));
    }
    let c = char::from_u32(u32::from(first)).unwrap_or(char::REPLACEMENT_CHARACTER);
    Some((c, 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_escape_is_read() {
        let token = br#""a\"\\\/\b\f\n\r\t\u0041\ud83d\ude00""#;
        let text = "a\"\\/\u{8}\u{c}\n\r\tA\u{1f600}";
        assert_eq!(decode(token).as_deref(), Some(text));
        assert_eq!(decode(encode(text).as_bytes()).as_deref(), Some(text));
    }

    #[test]
    fn a_lone_surrogate_is_a_replacement_character() {
        for token in [r#""\ud800""#, r#""\udc00""#] {
            assert_eq!(decode(token.as_bytes()).as_deref(), Some("\u{fffd}"));
        }
        let two = decode(br#""\ud800\ud800""#);
        assert_eq!(two.as_deref(), Some("\u{fffd}\u{fffd}"));
        let pair = decode(br#""\ud800\u0041""#);
        assert_eq!(pair.as_deref(), Some("\u{fffd}A"));
    }

    #[test]
    fn an_invalid_token_is_rejected() {
        for token in [
            "",
            "\"",
            "a",
            "\"a",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"a\"b\"",
        ] {
            assert_eq!(decode(token.as_bytes()), None, "{token}");
        }
    }

    #[test]
    fn a_start_differs_only_if_no_escape_can_make_it_equal() {
        for (start, name) in [
            (&b"\"ab\""[..], "ab"),
            (b"\"a\\u0062\"", "ab"),
            (b"\"\\ud800\"", "\u{fffd}"),
            (b"\"\xff\"", "\u{fffd}"),
            (b"\"ab\"", "a"),
            (b"\"a\\u005cb\"", "a\\b"),
            (b"", "a"),
        ] {
            assert!(!differs(start, name), "{start:?} {name}");
        }
        for (start, name) in [(&b"\"ab\""[..], "ac"), (b"\"a\":", "ab"), (b"\"\"", "a")] {
            assert!(differs(start, name), "{start:?} {name}");
        }
    }

    #[test]
    fn spelling_is_compared_after_decoding() {
        assert!(spells(br#""cache_control""#, "cache_control"));
        assert!(spells(br#""cache\u005fcontrol""#, "cache_control"));
        assert!(spells(br#""a\/b""#, "a/b"));
        assert!(spells(br#""\\n""#, "\\n"));
        assert!(!spells(br#""\n""#, "\\n"));
        assert!(spells(br#""\ud800""#, "\u{fffd}"));
    }
}
