//! A body without its long texts.

use serde::Serialize;

/// A body in which a stand-in takes the place of each long string, as [`Request::outline`](crate::Request::outline) makes it.
///
/// A stand-in is treated like any other text: put where the text belongs, alone or among other characters.
/// [`Request::rewrite`](crate::Request::rewrite) puts the texts themselves there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The whole body as JSON text, with stand-ins.
    pub body: String,
    /// What every stand-in begins with. It occurs nowhere in the body itself.
    pub prefix: String,
}

impl Outline {
    /// The value as JSON text, to be put into a string: what some protocols want of a tool's arguments. Its stand-ins say
    /// that what they stand for is to be escaped once more.
    ///
    /// # Panics
    ///
    /// If the value has a map whose keys are no strings.
    pub fn quoted(&self, value: &impl Serialize) -> String {
        let text = serde_json::to_string(value).expect("a value prints as valid JSON");
        if !text.contains(&self.prefix) {
            return text;
        }
        let mut quoted = String::with_capacity(text.len() + 16);
        let mut parts = text.split(&self.prefix);
        quoted.extend(parts.next());
        for part in parts {
            quoted.push_str(&self.prefix);
            let (said, rest) = part.split_once('~').unwrap_or((part, ""));
            let (number, escapes) = said.split_once(':').unwrap_or((said, "0"));
            let escapes = escapes.parse().unwrap_or(0) + 1;
            quoted.push_str(&format!("{number}:{escapes}~{rest}"));
        }
        quoted
    }

    /// Whether a long text stands in this one.
    pub fn stands_in(&self, text: &str) -> bool {
        text.contains(&self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stand_ins_in_a_quoted_text_say_how_deep_they_are() {
        let outline = Outline {
            body: String::new(),
            prefix: "~00ff:".to_owned(),
        };
        let value = json!({ "a": "~00ff:1~", "b": "x~00ff:12:1~~0fff:1~" });
        let quoted = outline.quoted(&value);
        assert_eq!(quoted, r#"{"a":"~00ff:1:1~","b":"x~00ff:12:2~~0fff:1~"}"#);
        assert!(outline.stands_in(&quoted));
    }
}
