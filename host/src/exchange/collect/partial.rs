//! JSON that was cut, closed so that what arrived can be read. Pure.

use serde_json::value::RawValue;

/// An object that was cut, without its incomplete last member and with what it left open closed.
/// `None` if the text is not the beginning of an object.
pub(super) fn closed(text: &str) -> Option<String> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let (end, open) = last_whole(text.as_bytes());
    let mut json = text[..end].to_owned();
    json.extend(open.iter().rev().map(|bracket| match bracket {
        b'{' => '}',
        _ => ']',
    }));
    serde_json::from_str::<&RawValue>(&json)
        .is_ok()
        .then_some(json)
}

/// The end of the last value that is surely whole, and the brackets that are open there.
fn last_whole(text: &[u8]) -> (usize, Vec<u8>) {
    let mut open = Vec::new();
    let mut whole = 0;
    let mut in_string = false;
    let mut escaped = false;
    // Whether a string here is the name of a member.
    let mut is_name = false;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => {
                in_string = !in_string;
                if !in_string && !is_name {
                    whole = at + 1;
                }
            }
            _ if in_string => {}
            b'{' | b'[' => {
                open.push(byte);
                is_name = byte == b'{';
                whole = at + 1;
            }
            b'}' | b']' => {
                open.pop();
                whole = at + 1;
            }
            b':' => is_name = false,
            b',' => {
                is_name = open.last() == Some(&b'{');
                whole = at;
            }
            _ => {}
        }
    }
    (whole, open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_incomplete_is_left_out() {
        let table = [
            ("{", "{}"),
            (r#"{"a"#, "{}"),
            (r#"{"a":"#, "{}"),
            (r#"{"a":1"#, "{}"),
            (r#"{"a":1,"#, r#"{"a":1}"#),
            (r#"{"a":"x""#, r#"{"a":"x"}"#),
            (r#"{"a":"x","b":"y"#, r#"{"a":"x"}"#),
            (r#"{"a":"\"}","b":tr"#, r#"{"a":"\"}"}"#),
            (r#"{"a":[1,2"#, r#"{"a":[1]}"#),
            (r#"{"a":[{"b":[]},{"c"#, r#"{"a":[{"b":[]},{}]}"#),
            (r#" { "a" : {} , "b" "#, r#" { "a" : {} }"#),
            ("{\"a\":\"\u{e9}\", \"\u{e9}", "{\"a\":\"\u{e9}\"}"),
        ];
        for (text, expected) in table {
            assert_eq!(closed(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_text_is_not_closed() {
        for text in ["", "soon", "[1,", "\"x", "}", "{]", "{\"a\":1}}"] {
            assert_eq!(closed(text), None, "{text}");
        }
    }

    #[test]
    fn every_prefix_of_an_object_can_be_closed() {
        let whole = r#"{"a": [1, {"b\"": "}\\"}], "c": {"d": null}, "e": -1.5e3}"#;
        for at in 1..=whole.len() {
            assert!(closed(&whole[..at]).is_some(), "{}", &whole[..at]);
        }
    }
}
