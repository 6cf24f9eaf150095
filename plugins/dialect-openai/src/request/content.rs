//! Translates blocks into what a chat completion supports: texts, images and files.

use witgate_plugin::{
    Refusal,
    dialect::{Block, Document, Source},
};

use super::{
    chat::{File, Part},
    dropped::Dropped,
};
use crate::names::Names;

/// Marks Claude Code's own requests. It changes from session to session and would prevent the
/// upstream's cache from hitting.
const BILLING: &str = "x-anthropic-billing-header:";

/// What a model that accepts no images reads instead of one.
const NO_IMAGE: &str = "[image left out: this model does not accept images]";

/// Translates blocks, and collects what is dropped and which names change.
pub(crate) struct Content<'a> {
    pub(crate) dropped: &'a mut Dropped,
    pub(crate) names: &'a mut Names,
    /// Whether the upstream accepts files.
    pub(crate) files: bool,
    /// Whether the model accepts images.
    pub(crate) images: bool,
    /// Whether there was an image among the blocks, and was not left out.
    pub(crate) sends_images: bool,
}

impl Content<'_> {
    /// Joins the texts of a system prompt.
    pub(crate) fn system(&mut self, blocks: Vec<Block>) -> String {
        let mut texts = Vec::new();
        for block in blocks {
            match block {
                Block::Text(text) if text.starts_with(BILLING) => {
                    self.dropped.left_out("x-anthropic-billing-header")
                }
                Block::Text(text) => texts.push(text),
                other => self.dropped.left_out(kind(&other)),
            }
        }
        joined(texts)
    }

    /// The parts of a user message. A tool result that is still here has no matching call.
    pub(crate) fn user(&mut self, blocks: Vec<Block>) -> Result<Vec<Part>, Refusal> {
        let mut parts = Vec::new();
        for block in blocks {
            match block {
                Block::ToolResult(result) => {
                    self.dropped.changed("tool_result without its call");
                    let heading = if result.is_error { "error" } else { "result" };
                    parts.push(Part::text(format!(
                        "[{heading} of tool call {}]",
                        result.id
                    )));
                    parts.extend(self.user(result.content)?);
                }
                other => parts.extend(self.block(other)?),
            }
        }
        Ok(parts)
    }

    /// A tool result: its text, and the parts that are not text.
    pub(crate) fn result(
        &mut self,
        blocks: Vec<Block>,
        is_error: bool,
    ) -> Result<(String, Vec<Part>), Refusal> {
        let mut texts = Vec::new();
        let mut attached = Vec::new();
        if is_error {
            texts.push("[error]".to_owned());
        }
        for block in blocks {
            for part in self.block(block)? {
                match part {
                    Part::Text { text } => texts.push(text),
                    other => {
                        attached.push(other);
                        texts.push(format!(
                            "[attachment {}: in the next user message]",
                            attached.len()
                        ));
                    }
                }
            }
        }
        Ok((texts.join("\n"), attached))
    }

    fn block(&mut self, block: Block) -> Result<Vec<Part>, Refusal> {
        Ok(match block {
            Block::Text(text) if text.is_empty() => Vec::new(),
            Block::Text(text) => vec![Part::text(text)],
            Block::Image(_) if !self.images => {
                self.dropped.changed("image as text");
                vec![Part::text(NO_IMAGE)]
            }
            Block::Image(source) => {
                self.sends_images = true;
                vec![image(source)?]
            }
            Block::Document(document) => self.document(document)?,
            Block::ToolReference(name) => {
                let name = self.names.send(name);
                vec![Part::text(format!("[tool found: {name}]"))]
            }
            Block::SearchResult {
                source,
                title,
                content,
            } => {
                let mut parts = vec![Part::text(format!("[search result: {title}]\n{source}"))];
                parts.extend(self.user(content)?);
                parts
            }
            other => {
                self.dropped.left_out(kind(&other));
                Vec::new()
            }
        })
    }

    fn document(&mut self, document: Document) -> Result<Vec<Part>, Refusal> {
        let Document {
            source,
            title,
            context,
        } = document;
        let mut parts = Vec::new();
        let heading = [
            title.as_ref().map(|title| format!("[document: {title}]")),
            context,
        ];
        let heading: Vec<String> = heading.into_iter().flatten().collect();
        if !heading.is_empty() {
            parts.push(Part::text(heading.join("\n")));
        }
        match source {
            Source::Text(text) => parts.push(Part::text(text)),
            Source::Content(blocks) => parts.extend(self.user(blocks)?),
            Source::Base64 { media_type, data }
                if self.files && media_type == "application/pdf" =>
            {
                parts.push(Part::File {
                    file: File {
                        filename: filename(title),
                        file_data: format!("data:{media_type};base64,{data}"),
                    },
                })
            }
            Source::Base64 { media_type, .. } => {
                let what = format!(
                    "document {media_type} (if the upstream accepts files, set `files = true` in the settings of `dialect-openai`)"
                );
                return Err(rejected(&what));
            }
            Source::Url(_) => return Err(rejected("document source url")),
            Source::File(_) => return Err(rejected("document source file")),
            Source::Other(kind) => return Err(rejected(&format!("document source {kind}"))),
        }
        Ok(parts)
    }
}

/// The file's name. OpenAI detects the type by its extension.
fn filename(title: Option<String>) -> String {
    match title {
        Some(title) if title.ends_with(".pdf") => title,
        title => format!("{}.pdf", title.as_deref().unwrap_or("document")),
    }
}

fn image(source: Source) -> Result<Part, Refusal> {
    match source {
        Source::Base64 { media_type, data } => {
            Ok(Part::image(format!("data:{media_type};base64,{data}")))
        }
        Source::Url(url) => Ok(Part::image(url)),
        Source::File(_) => Err(rejected("image source file")),
        Source::Text(_) | Source::Content(_) => Err(rejected("image source text")),
        Source::Other(kind) => Err(rejected(&format!("image source {kind}"))),
    }
}

/// Rejects a request whose response would be wrong without `what`, so that the client can adapt.
pub(crate) fn rejected(what: &str) -> Refusal {
    Refusal::invalid_request(format!("capability_rejected: {what}"))
}

/// Joins the texts of blocks as paragraphs.
pub(crate) fn joined(texts: Vec<String>) -> String {
    let texts: Vec<String> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    texts.join("\n\n")
}

/// The `type` of a block.
pub(crate) fn kind(block: &Block) -> String {
    match block {
        Block::Text(_) => "text",
        Block::Image(_) => "image",
        Block::Document(_) => "document",
        // `thinking` alone is the name of the request's field.
        Block::Thinking { .. } => "thinking block",
        Block::RedactedThinking => "redacted_thinking",
        Block::ToolUse(_) => "tool_use",
        Block::ToolResult(_) => "tool_result",
        Block::ToolReference(_) => "tool_reference",
        Block::SearchResult { .. } => "search_result",
        Block::Other(kind) => return kind.clone(),
    }
    .to_owned()
}
