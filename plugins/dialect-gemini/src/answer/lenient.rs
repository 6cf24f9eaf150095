//! Reads JSON that is not quite what was documented, so that one odd member does not lose the
//! response around it.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use witgate_plugin::{
    Value,
    serde_json::{self, value::RawValue},
};

/// Reads a member. One of another type counts as missing.
pub(super) fn member<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let raw = Option::<Box<RawValue>>::deserialize(deserializer)?;
    Ok(raw.and_then(|raw| read(raw.get())))
}

/// Reads a list. Entries of another type are skipped.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let raw: Option<Vec<Box<RawValue>>> = member(deserializer)?;
    Ok(raw.map(|entries| {
        entries
            .iter()
            .filter_map(|entry| read(entry.get()))
            .collect()
    }))
}

/// Reads a value. Of equal keys the last holds, and half of a surrogate pair is a replacement
/// character.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok().or_else(|| {
        let value: Value = serde_json::from_str(&whole_characters(text)).ok()?;
        serde_json::from_str(&value.to_string()).ok()
    })
}

/// The JSON text with `\ufffd` for each half of a surrogate pair.
fn whole_characters(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        whole.push_str(before);
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                whole.push_str("\\ufffd");
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            // The escaped character may be a backslash itself.
            _ => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (kept, after) = escape.split_at(length);
        whole.push_str(kept);
        rest = after;
    }
    whole.push_str(rest);
    whole
}

/// The code unit of an escape such as `\ud83d`.
fn unit(escape: &str) -> Option<u32> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_surrogate_pair_is_a_replacement_character() {
        for (text, read_as) in [
            (r#""a\ud83dz""#, "a\u{fffd}z"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83d\ude00\ud83d""#, "😀\u{fffd}"),
            (r#""\\ud83d\n\ud83d""#, "\\ud83d\n\u{fffd}"),
            (r#""é\ud83dé""#, "é\u{fffd}é"),
        ] {
            assert_eq!(read::<String>(text).as_deref(), Some(read_as), "{text}");
        }
        assert_eq!(read::<String>(r#""\ud83"#), None);
    }
}
