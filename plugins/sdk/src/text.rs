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
    /// A string anywhere in the input of a tool that the model has called.
    ToolUse,
    /// A `tool_result` block: the string `content`, or the text of a block in it, of a document or
    /// of a search result.
    ToolResult,
    /// A `document` block: its text, title or context.
    Document,
    /// A `search_result` block: its title, or the text of a block in it.
    SearchResult,
    /// The description of a tool, or of a parameter.
    Tool,
}

impl Text {
    /// The edit that replaces this text by another. Everything around it stays as it was.
    ///
    /// ```
    /// # use witgate_plugin::testing::edit;
    /// let left = edit(r#"{"system": "hello"}"#, |request| {
    ///     let texts = request.texts_matching("h.*o")?;
    ///     request.patch(texts.iter().map(|text| text.replace("bye")))?;
    ///     Ok(())
    /// });
    /// assert_eq!(left?, r#"{"system": "bye"}"#);
    /// # Ok::<(), witgate_plugin::Error>(())
    /// ```
    pub fn replace(&self, text: impl Into<String>) -> Operation {
        Operation::replace(self.pointer.as_str(), text.into())
    }
}

/// For each place of texts, a query for all of them and one for those that match; `P` is the
/// pattern. Only strings can be searched, so a query with a pattern selects nothing where the
/// client wrote blocks instead, and the reverse.
#[rustfmt::skip]
const QUERIES: [(TextPosition, &str, &str); 19] = {
    use TextPosition::{Document, Message, SearchResult, System, Tool, ToolResult, ToolUse};
    [
        // RFC 9535 cannot filter a single member, so this selects every top-level string that
        // matches.
        (System, "$.system", "$[?search(@, P)]"),
        (System, "$.system[?@.type == 'text'].text",
            "$.system[?@.type == 'text' && search(@.text, P)].text"),
        (Message, "$.messages[*].content", "$.messages[?search(@.content, P)].content"),
        (Message, "$.messages[*].content[?@.type == 'text'].text",
            "$.messages[*].content[?@.type == 'text' && search(@.text, P)].text"),
        (ToolUse, "$.messages[*].content[?@.type == 'tool_use'].input..*",
            "$.messages[*].content[?@.type == 'tool_use'].input..[?search(@, P)]"),
        (ToolResult, "$.messages[*].content[?@.type == 'tool_result'].content",
            "$.messages[*].content[?@.type == 'tool_result' && search(@.content, P)].content"),
        (ToolResult, "$.messages[*].content[?@.type == 'tool_result'].content[?@.type == 'text'].text",
            "$.messages[*].content[?@.type == 'tool_result'].content[?@.type == 'text' && search(@.text, P)].text"),
        (ToolResult, "$.messages[*].content[?@.type == 'tool_result'].content[?@.type == 'document' && @.source.type == 'text'].source.data",
            "$.messages[*].content[?@.type == 'tool_result'].content[?@.type == 'document' && @.source.type == 'text' && search(@.source.data, P)].source.data"),
        (ToolResult, "$.messages[*].content[?@.type == 'tool_result'].content[?@.type == 'search_result'].content[?@.type == 'text'].text",
            "$.messages[*].content[?@.type == 'tool_result'].content[?@.type == 'search_result'].content[?@.type == 'text' && search(@.text, P)].text"),
        (Document, "$.messages[*].content[?@.type == 'document' && @.source.type == 'text'].source.data",
            "$.messages[*].content[?@.type == 'document' && @.source.type == 'text' && search(@.source.data, P)].source.data"),
        (Document, "$.messages[*].content[?@.type == 'document'].source.content",
            "$.messages[*].content[?@.type == 'document' && search(@.source.content, P)].source.content"),
        (Document, "$.messages[*].content[?@.type == 'document'].source.content[?@.type == 'text'].text",
            "$.messages[*].content[?@.type == 'document'].source.content[?@.type == 'text' && search(@.text, P)].text"),
        (Document, "$.messages[*].content[?@.type == 'document'].title",
            "$.messages[*].content[?@.type == 'document' && search(@.title, P)].title"),
        (Document, "$.messages[*].content[?@.type == 'document'].context",
            "$.messages[*].content[?@.type == 'document' && search(@.context, P)].context"),
        (SearchResult, "$.messages[*].content[?@.type == 'search_result'].title",
            "$.messages[*].content[?@.type == 'search_result' && search(@.title, P)].title"),
        (SearchResult, "$.messages[*].content[?@.type == 'search_result'].content[?@.type == 'text'].text",
            "$.messages[*].content[?@.type == 'search_result'].content[?@.type == 'text' && search(@.text, P)].text"),
        (Tool, "$.tools[*].description", "$.tools[?search(@.description, P)].description"),
        (Tool, "$.tools[*].input_schema.description",
            "$.tools[?search(@.input_schema.description, P)].input_schema.description"),
        (Tool, "$.tools[*].input_schema..properties[*].description",
            "$.tools[*].input_schema..properties[?search(@.description, P)].description"),
    ]
};

/// The queries for all texts. They may select values that are not strings as well.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    QUERIES.iter().map(|(_, path, _)| *path)
}

/// The texts in which the pattern is found; `read` reads the nodes that a JSONPath selects.
pub(crate) fn matching(
    read: impl Fn(&str) -> Result<Vec<Node>, EditError>,
    pattern: &str,
) -> Result<Vec<Text>, Error> {
    let pattern = literal(pattern);
    let mut texts = Vec::new();
    for (position, _, query) in QUERIES {
        // The pattern last, because it may contain anything.
        let mut nodes = read(&query.replacen('P', &pattern, 1))?;
        if query.starts_with("$[") {
            nodes.retain(|node| node.pointer == "/system");
        }
        for node in nodes {
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
