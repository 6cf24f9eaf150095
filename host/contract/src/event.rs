//! Server-sent events: their type, and what an event made by a plugin may contain.

use std::borrow::Cow;

use serde::Deserialize;

/// The type of an event with this name (the `event:` field, empty if there is none) and this data.
///
/// 1. The `event:` field, if it is not empty.
/// 2. Else the member `type` of the data, if the data is a JSON object that has one. The Messages
///    API sends every event with an `event:` field that equals this member (page
///    `build-with-claude/streaming` of Anthropic's API documentation), so an upstream that leaves
///    the field out has still named the event.
/// 3. Else `message`, the type of an event without an `event:` field in the HTML standard, section
///    9.2.6, "Interpreting an event stream".
///
/// By the same section a block without a `data:` line is not an event; the caller does not ask for
/// it.
#[must_use]
pub fn event_type<'a>(name: &'a [u8], data: &'a [u8]) -> Cow<'a, [u8]> {
    if name.is_empty() {
        type_in_data(data)
    } else {
        Cow::Borrowed(name)
    }
}

/// As [`event_type`], for an event that is already text.
#[must_use]
pub fn event_type_str<'a>(name: &'a str, data: &'a str) -> Cow<'a, str> {
    if !name.is_empty() {
        return Cow::Borrowed(name);
    }
    match typed(data.as_bytes()) {
        Some(found) => found,
        None => Cow::Borrowed(DEFAULT),
    }
}

/// The type of an event without an `event:` field.
const DEFAULT: &str = "message";

fn type_in_data(data: &[u8]) -> Cow<'_, [u8]> {
    match typed(data) {
        Some(Cow::Borrowed(found)) => Cow::Borrowed(found.as_bytes()),
        Some(Cow::Owned(found)) => Cow::Owned(found.into_bytes()),
        None => Cow::Borrowed(DEFAULT.as_bytes()),
    }
}

fn typed(data: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow, rename = "type")]
        name: Cow<'a, str>,
    }
    // serde would read an array as the members in their order.
    if !data.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let typed: Typed<'_> = serde_json::from_slice(data).ok()?;
    Some(typed.name)
}

/// The type of the delta in the data of a `content_block_delta`: `text_delta`. `None` if there is
/// none.
#[must_use]
pub fn delta_type(data: &[u8]) -> Option<Cow<'_, str>> {
    if let Some(found) = usual_delta_type(data) {
        return Some(Cow::Borrowed(found));
    }
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow)]
        delta: Delta<'a>,
    }
    #[derive(Deserialize)]
    struct Delta<'a> {
        #[serde(borrow, rename = "type")]
        name: Cow<'a, str>,
    }
    let typed: Typed<'_> = serde_json::from_slice(data).ok()?;
    Some(typed.delta.name)
}

/// The type of the delta where the data begins exactly as the Messages API writes it, which nearly
/// every event does. It costs a fraction of reading the whole text, and there are thousands of
/// deltas.
fn usual_delta_type(data: &[u8]) -> Option<&str> {
    let index = data.strip_prefix(br#"{"type":"content_block_delta","index":"#)?;
    let digits = index
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let name = index[digits..].strip_prefix(br#","delta":{"type":""#)?;
    let end = name.iter().position(|byte| *byte == b'"')?;
    let name = std::str::from_utf8(&name[..end]).ok()?;
    (!name.contains('\\')).then_some(name)
}

/// Checks an event that a plugin made: a line break where none can be would let it write events
/// that were never checked.
///
/// # Errors
///
/// A line feed, carriage return or NUL in the name, or a carriage return in the data. Line feeds in
/// the data are legal: each line is sent as a `data:` line.
pub fn check(name: &str, data: &str) -> Result<(), String> {
    if name.contains(['\n', '\r', '\0']) {
        return Err("the name of an event cannot contain a line break or NUL".to_owned());
    }
    if data.contains('\r') {
        return Err("the data of an event cannot contain a carriage return".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_comes_first_then_the_type_in_the_data_then_message() {
        let table = [
            ("ping", "{}", "ping"),
            ("ping", r#"{"type":"error"}"#, "ping"),
            ("", r#"{"type":"message_stop"}"#, "message_stop"),
            ("", r#"{"type":"message\u005fstop"}"#, "message_stop"),
            ("", r#"{"type":""}"#, ""),
            ("", r#"{"type":1}"#, "message"),
            ("", r#"{"choices":[]}"#, "message"),
            ("", "[DONE]", "message"),
            ("", r#"["ping"]"#, "message"),
            ("", "", "message"),
        ];
        for (name, data, wanted) in table {
            assert_eq!(event_type_str(name, data), wanted, "{name} {data}");
            let bytes = event_type(name.as_bytes(), data.as_bytes());
            assert_eq!(&*bytes, wanted.as_bytes(), "{name} {data}");
        }
    }

    #[test]
    fn the_type_of_a_delta_is_a_member_of_the_delta() {
        let delta = br#"{"type":"content_block_delta","index":0,"delta": {"type" : "text_delta","text":"\"type\":"}}"#;
        assert_eq!(delta_type(delta).as_deref(), Some("text_delta"));
        let usual = br#"{"type":"content_block_delta","index":10,"delta":{"type":"text_delta","text":"x"}}"#;
        assert_eq!(usual_delta_type(usual), Some("text_delta"));
        let escaped =
            br#"{"type":"content_block_delta","index":0,"delta":{"type":"text\u005fdelta"}}"#;
        assert_eq!(usual_delta_type(escaped), None);
        assert_eq!(delta_type(escaped).as_deref(), Some("text_delta"));
        let nested = br#"{"a":{"delta":{"type":"x"}},"delta":{"type":"y"}}"#;
        assert_eq!(delta_type(nested).as_deref(), Some("y"));
        assert_eq!(delta_type(br#"{"delta":{"stop_reason":"end_turn"}}"#), None);
        assert_eq!(delta_type(b"[DONE]"), None);
    }

    #[test]
    fn an_event_cannot_smuggle_in_another_one() {
        check("a", "{\n}").unwrap();
        for (name, data) in [("a\nevent: b", "{}"), ("a\0", "{}"), ("a", "{}\r\rdata: x")] {
            assert!(check(name, data).is_err(), "{name:?} {data:?}");
        }
    }
}
