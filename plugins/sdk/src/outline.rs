//! A body without its long strings.

use serde::Serialize;

/// A body with a placeholder instead of each long string, as
/// [`Request::outline`](crate::Request::outline) makes it.
///
/// Treat a placeholder like any other text: put it where the text belongs, alone or among other
/// characters. [`Request::rewrite`](crate::Request::rewrite) replaces it by the text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The whole body as JSON text, with placeholders.
    pub body: String,
    /// The beginning of every placeholder. It occurs nowhere in the body itself.
    pub prefix: String,
}

impl Outline {
    /// The value as JSON text that goes into a string, as some protocols send a tool's arguments.
    /// Its placeholders say that their texts are escaped once more.
    ///
    /// # Panics
    ///
    /// If the value has a map with keys that are not strings.
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
            let (placeholder, after) = part.split_once('~').unwrap_or((part, ""));
            let (number, escapes) = placeholder.split_once(':').unwrap_or((placeholder, "0"));
            let escapes = escapes.parse().unwrap_or(0) + 1;
            quoted.push_str(&format!("{number}:{escapes}~{after}"));
        }
        quoted
    }

    /// Whether this text contains a placeholder.
    pub fn has_placeholder(&self, text: &str) -> bool {
        text.contains(&self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn placeholders_in_a_quoted_text_count_their_escapes() {
        let outline = Outline {
            body: String::new(),
            prefix: "~00ff:".to_owned(),
        };
        let value = json!({ "a": "~00ff:1~", "b": "x~00ff:12:1~~0fff:1~" });
        let quoted = outline.quoted(&value);
        assert_eq!(quoted, r#"{"a":"~00ff:1:1~","b":"x~00ff:12:2~~0fff:1~"}"#);
        assert!(outline.has_placeholder(&quoted));
    }
}
