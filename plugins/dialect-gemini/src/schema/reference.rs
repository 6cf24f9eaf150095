//! Resolves references within a schema.

use std::borrow::Cow;

use witgate_plugin::Value;

/// What a reference within the schema points to: `#`, `#/$defs/Place`, or the same after the
/// schema's own `$id`.
pub(super) fn pointed_at<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let (base, pointer) = reference.split_once('#')?;
    let own = root.get("$id").and_then(Value::as_str);
    let is_own = base.is_empty() || own.is_some_and(|id| id.trim_end_matches('#') == base);
    if !is_own {
        return None;
    }
    root.pointer(&unescaped(pointer))
        .or_else(|| root.pointer(pointer))
}

/// The name of what a reference points to, for people.
pub(super) fn name(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or_default();
    unescaped(last).replace("~1", "/").replace("~0", "~")
}

/// A text without percent escapes. One that is not UTF-8 after that stays as it is.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (*first, &rest[1..]),
            },
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use witgate_plugin::json;

    use super::*;

    #[test]
    fn a_reference_is_found_however_it_is_escaped() {
        let root = json!({ "$id": "https://example.com/s.json", "$defs": {
            "Page of items": 1, "List[Größe]": 2, "a/b~c": 3, "100%": 4, "x%20y": 5, "": 6,
        } });
        for (reference, found) in [
            ("#/$defs/Page%20of%20items", Some(1)),
            ("#/$defs/Page of items", Some(1)),
            ("#/%24defs/Page%20of%20items", Some(1)),
            ("#/$defs/List%5BGr%C3%B6%C3%9fe%5D", Some(2)),
            ("#/$defs/List[Größe]", Some(2)),
            ("#/$defs/a~1b~0c", Some(3)),
            ("#/$defs/a%7E1b%7E0c", Some(3)),
            ("#/$defs/100%", Some(4)),
            ("#/$defs/100%25", Some(4)),
            ("#/$defs/x%20y", Some(5)),
            ("#/$defs/x%2520y", Some(5)),
            ("#/$defs/", Some(6)),
            ("https://example.com/s.json#/$defs/100%25", Some(4)),
            ("other.json#/$defs/100%25", None),
            ("#/$defs/%ff", None),
            ("Page of items", None),
        ] {
            let value = pointed_at(&root, reference).and_then(Value::as_u64);
            assert_eq!(value, found, "{reference}");
        }
        assert_eq!(name("#/$defs/List%5Ba~1b%5D"), "List[a/b]");
    }
}
