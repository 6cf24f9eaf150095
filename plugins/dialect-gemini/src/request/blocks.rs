//! Translates blocks whose translation does not depend on their position.

use std::borrow::Cow;

use witgate_plugin::{
    Outline, Refusal,
    dialect::{Block, Document, Source},
};

use super::{media, wire::Part};
use crate::{dropped::Dropped, names};

pub(super) struct Blocks<'a, 'b> {
    pub(super) outline: &'a Outline,
    pub(super) dropped: &'b mut Dropped,
}

impl<'a> Blocks<'a, '_> {
    /// Translates a block. Returns `false` if its translation depends on its position, or if there
    /// is none.
    pub(super) fn plain(
        &mut self,
        block: &'a Block,
        parts: &mut Vec<Part<'a>>,
    ) -> Result<bool, Refusal> {
        match block {
            Block::Text(text) if text.is_empty() => {}
            Block::Text(text) => parts.push(Part::text(text.as_str())),
            Block::Image(source) => parts.push(media::image(source, self.outline, self.dropped)?),
            Block::Document(document) => self.document(document, parts)?,
            Block::ToolReference(name) => {
                parts.push(Part::text(format!(
                    "The tool `{}` is available.",
                    names::on_the_wire(name)
                )));
            }
            Block::SearchResult {
                source,
                title,
                content,
            } => {
                parts.push(Part::text(format!("{title}\n{source}")));
                for block in content {
                    if !self.plain(block, parts)? {
                        self.dropped
                            .left_out
                            .add(format!("search_result {}", kind(block)));
                    }
                }
            }
            Block::Thinking { .. }
            | Block::RedactedThinking
            | Block::ToolUse(_)
            | Block::ToolResult(_)
            | Block::Other(_) => return Ok(false),
        }
        Ok(true)
    }

    /// Translates a document. Its title and context come first, as a text.
    fn document(
        &mut self,
        document: &'a Document,
        parts: &mut Vec<Part<'a>>,
    ) -> Result<(), Refusal> {
        if let Some(heading) = heading(document) {
            parts.push(Part::text(heading));
        }
        match &document.source {
            Source::Base64 { media_type, data } => {
                parts.push(media::inline(media::mime_type(media_type), data));
            }
            Source::Url(url) => parts.push(media::file(url, "application/pdf", self.outline)?),
            Source::Text(text) if text.is_empty() => {}
            Source::Text(text) => parts.push(Part::text(text.as_str())),
            Source::Content(blocks) => {
                for block in blocks {
                    if !self.plain(block, parts)? {
                        self.dropped
                            .left_out
                            .add(format!("document {}", kind(block)));
                    }
                }
            }
            source => return Err(media::unusable("document", source)),
        }
        Ok(())
    }
}

fn heading(document: &Document) -> Option<Cow<'_, str>> {
    match (&document.title, &document.context) {
        (None, None) => None,
        (Some(title), None) => Some(Cow::Owned(format!("Document: {title}"))),
        (None, Some(context)) => Some(Cow::Borrowed(context)),
        (Some(title), Some(context)) => Some(Cow::Owned(format!("Document: {title}\n{context}"))),
    }
}

/// A block's `type`.
pub(super) fn kind(block: &Block) -> &str {
    match block {
        Block::Text(_) => "text",
        Block::Image(_) => "image",
        Block::Document(_) => "document",
        Block::Thinking { .. } => "thinking",
        Block::RedactedThinking => "redacted_thinking",
        Block::ToolUse(_) => "tool_use",
        Block::ToolResult(_) => "tool_result",
        Block::ToolReference(_) => "tool_reference",
        Block::SearchResult { .. } => "search_result",
        Block::Other(kind) => kind,
    }
}
