//! Repairs JSON text that servers send although the standard forbids it.
//!
//! A server that cuts its output at fixed lengths may put the halves of a surrogate pair, such as
//! an emoji, into two chunks. A half is no character, so it travels as a private one until its
//! other half arrives.

use std::borrow::Cow;

/// Added to a surrogate to make a character of a private plane.
const PRIVATE: u32 = 0x10_0000;

/// The first byte of every character of that plane in UTF-8.
const FIRST_BYTE: u8 = 0xf4;

/// The text with private characters for halves of surrogate pairs, with escaped control characters,
/// and with `null` instead of `NaN` and infinity.
pub(super) fn repaired(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut left = text;
    let mut in_string = false;
    while let Some(first) = left.chars().next() {
        let taken = match first {
            '"' => {
                in_string = !in_string;
                copy(left, 1, &mut out)
            }
            '\\' if in_string => escape(left, &mut out),
            '\0'..='\x1f' if in_string => {
                out.push_str(&format!("\\u{:04x}", u32::from(first)));
                1
            }
            '-' | 'I' | 'N' if !in_string => number(left, &mut out),
            _ => copy(left, first.len_utf8(), &mut out),
        };
        left = &left[taken..];
    }
    out
}

fn copy(text: &str, length: usize, out: &mut String) -> usize {
    out.push_str(&text[..length]);
    length
}

/// Writes one escape, or the two of a surrogate pair. Returns its length.
fn escape(text: &str, out: &mut String) -> usize {
    match unit(text) {
        Some(high @ 0xd800..=0xdbff) if !matches!(unit(&text[6..]), Some(0xdc00..=0xdfff)) => {
            out.extend(char::from_u32(PRIVATE + u32::from(high)));
            6
        }
        Some(0xd800..=0xdbff) => copy(text, 12, out),
        Some(low @ 0xdc00..=0xdfff) => {
            out.extend(char::from_u32(PRIVATE + u32::from(low)));
            6
        }
        Some(_) => copy(text, 6, out),
        None => match text[1..].chars().next() {
            Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => copy(text, 2, out),
            // A backslash that escapes nothing.
            _ => {
                out.push_str("\\\\");
                1
            }
        },
    }
}

/// The code unit of an escape at the beginning of a text.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| hex)
}

fn number(text: &str, out: &mut String) -> usize {
    let words = ["NaN", "Infinity", "-Infinity"];
    match words.into_iter().find(|word| text.starts_with(word)) {
        Some(word) => {
            out.push_str("null");
            word.len()
        }
        None => copy(text, 1, out),
    }
}

/// Joins halves of surrogate pairs that arrive in two pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Halves {
    high: Option<u16>,
}

impl Halves {
    /// The text with every half joined to the other, or replaced by U+FFFD. A first half at the end
    /// is held back until more arrives.
    pub(super) fn join<'a>(&mut self, text: &'a str) -> Cow<'a, str> {
        if text.is_empty() || (self.high.is_none() && !text.as_bytes().contains(&FIRST_BYTE)) {
            return Cow::Borrowed(text);
        }
        let mut joined = String::with_capacity(text.len() + 4);
        for character in text.chars() {
            let half = u32::from(character).checked_sub(PRIVATE);
            let half = half.and_then(|half| u16::try_from(half).ok());
            match (self.high.take(), half) {
                (Some(high), Some(low @ 0xdc00..=0xdfff)) => {
                    joined.extend(char::decode_utf16([high, low]).flatten());
                    continue;
                }
                (Some(_), _) => joined.push(char::REPLACEMENT_CHARACTER),
                (None, _) => {}
            }
            match half {
                Some(high @ 0xd800..=0xdbff) => self.high = Some(high),
                Some(0xdc00..=0xdfff) => joined.push(char::REPLACEMENT_CHARACTER),
                _ => joined.push(character),
            }
        }
        Cow::Owned(joined)
    }

    /// What is left at the end: a first half that was never joined.
    pub(super) fn left_over(&mut self) -> &'static str {
        self.high.take().map_or("", |_| "\u{fffd}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The texts as they are after both steps, with what is left at the end.
    fn read(texts: &[&str]) -> String {
        let mut halves = Halves::default();
        let mut read = String::new();
        for text in texts {
            let text: String = serde_json::from_str(&repaired(text)).unwrap();
            read += &halves.join(&text);
        }
        read + halves.left_over()
    }

    #[test]
    fn halves_of_a_pair_are_joined_wherever_they_are_cut() {
        for (texts, wanted) in [
            (&[r#""a \ud83d""#, r#""\ude00 b""#][..], "a 😀 b"),
            (&[r#""a \ud83d\ude00""#], "a 😀"),
            (&[r#""\ud83d""#, r#""""#, r#""\ude00""#], "😀"),
            (&[r#""\ud83d""#, r#""b""#], "\u{fffd}b"),
            (&[r#""\ude00b\ud83d""#], "\u{fffd}b\u{fffd}"),
            (
                &[r#""\ud83d\ud83d""#, r#""\uDE00\ude00""#],
                "\u{fffd}😀\u{fffd}",
            ),
            (&[r#""\\ud83d\u00e9\"""#], "\\ud83dé\""),
        ] {
            assert_eq!(read(texts), wanted, "{texts:?}");
        }
    }

    #[test]
    fn forbidden_values_and_characters_are_repaired() {
        for (text, wanted) in [
            (
                r#"{"a":NaN,"b":[-Infinity,-1]}"#,
                r#"{"a":null,"b":[null,-1]}"#,
            ),
            (r#"["NaN","Infinity"]"#, r#"["NaN","Infinity"]"#),
            ("[\"a\tb\nc\"]", r#"["a\tb\nc"]"#),
            (r#"["\d\'"]"#, r#"["\\d\\'"]"#),
        ] {
            let value: Value = serde_json::from_str(&repaired(text)).unwrap();
            assert_eq!(value.to_string(), wanted);
        }
        assert!(serde_json::from_str::<Value>(&repaired("{\"a")).is_err());
        assert_eq!(repaired("\"\\"), "\"\\\\");
    }
}
