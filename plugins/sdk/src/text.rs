//! The texts of a request, wherever they are.

use crate::{
    edit::{EditError, Node, Operation},
    error::Error,
};

/// One text of a request: of the system prompt, of a message, or of a tool's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Where in the request the text is.
    pub position: TextPosition,
    /// The location of the string, as a JSON Pointer.
    pub pointer: String,
    /// The text itself, without escapes.
    pub text: String,
}

/// Where in a request a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextPosition {
    /// The top-level `system`: the string, or the text of a block.
    System,
    /// A message: the string `content`, or the text of a block.
    Message,
    /// A `tool_result` block: the string `content`, or the text of a block in it.
    ToolResult,
}

impl Text {
    /// The edit that replaces this text by another. Everything around it stays as it was.
    pub fn replace(&self, text: impl Into<String>) -> Operation {
        Operation::replace(self.pointer.as_str(), text.into())
    }
}

/// A query for each way in which a text can be written; `P` is the pattern. Only strings can be
/// searched, so a query selects nothing where the client wrote blocks instead, and the reverse.
const QUERIES: [(TextPosition, &str); 6] = [
    // RFC 9535 cannot filter a single member, so this selects every top-level string that matches.
    (TextPosition::System, "$[?search(@, P)]"),
    (
        TextPosition::System,
        "$.system[?@.type == 'text' && search(@.text, P)].text",
    ),
    (
        TextPosition::Message,
        "$.messages[?search(@.content, P)].content",
    ),
    (
        TextPosition::Message,
        "$.messages[*].content[?@.type == 'text' && search(@.text, P)].text",
    ),
    (
        TextPosition::ToolResult,
        "$.messages[*].content[?@.type == 'tool_result' && search(@.content, P)].content",
    ),
    (
        TextPosition::ToolResult,
        "$.messages[*].content[?@.type == 'tool_result']\
         .content[?@.type == 'text' && search(@.text, P)].text",
    ),
];

/// The texts in which the pattern is found; `read` reads the nodes that a JSONPath selects.
pub(crate) fn matching(
    read: impl Fn(&str) -> Result<Vec<Node>, EditError>,
    pattern: &str,
) -> Result<Vec<Text>, Error> {
    let pattern = literal(pattern);
    let mut texts = Vec::new();
    for (position, query) in QUERIES {
        // The pattern last, because it may contain anything.
        let query = query.replacen('P', &pattern, 1);
        for node in read(&query)? {
            let top_level = query.starts_with("$[");
            if top_level && node.pointer != "/system" {
                continue;
            }
            texts.push(Text {
                position,
                text: node.parse()?,
                pointer: node.pointer,
            });
        }
    }
    Ok(texts)
}

/// A string literal of JSONPath.
fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for character in text.chars() {
        match character {
            '\\' | '\'' => literal.extend(['\\', character]),
            '\0'..='\u{1f}' => literal.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => literal.push(character),
        }
    }
    literal.push('\'');
    literal
}
