//! Translates images and documents.

use std::borrow::Cow;

use witgate_plugin::{
    Refusal,
    dialect::{Document, Source},
};

use super::{
    contents::{Contents, kind},
    rejected,
    wire::{Blob, FileData, Part},
};

/// Image types that Gemini reads. Others become a text that mentions them, because rejecting one
/// would end the whole conversation.
const IMAGES: [&str; 5] = [
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/heic",
    "image/heif",
];

/// The types that a function's response may contain.
pub(super) const IN_RESULTS: [&str; 5] = [
    "image/png",
    "image/jpeg",
    "image/webp",
    "application/pdf",
    "text/plain",
];

/// The MIME types of URL extensions. Nothing else is known about the content of a URL.
const EXTENSIONS: [(&str, &str); 7] = [
    (".png", "image/png"),
    (".jpg", "image/jpeg"),
    (".jpeg", "image/jpeg"),
    (".webp", "image/webp"),
    (".heic", "image/heic"),
    (".pdf", "application/pdf"),
    (".txt", "text/plain"),
];

impl<'a> Contents<'a, '_> {
    pub(super) fn image(&mut self, source: &'a Source) -> Result<Part<'a>, Refusal> {
        match source {
            Source::Base64 { media_type, .. } if !IMAGES.contains(&media_type.as_str()) => {
                self.dropped.changed.add("image of an unknown kind to text");
                Ok(Part::text(
                    "[an image of a kind that this model does not read]",
                ))
            }
            Source::Base64 { media_type, data } => Ok(inline(media_type, data)),
            Source::Url(url) => self.file(url, "image/jpeg"),
            Source::Text(_) | Source::Content(_) | Source::File(_) | Source::Other(_) => {
                Err(rejected(&format!("image.source.{}", source_kind(source))))
            }
        }
    }

    /// Translates a document. Its title and context come first, as a text.
    pub(super) fn document(
        &mut self,
        document: &'a Document,
        parts: &mut Vec<Part<'a>>,
    ) -> Result<(), Refusal> {
        if let Some(heading) = heading(document) {
            parts.push(Part::text(heading));
        }
        match &document.source {
            Source::Base64 { media_type, data } => parts.push(inline(media_type, data)),
            Source::Url(url) => parts.push(self.file(url, "application/pdf")?),
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
            source => {
                return Err(rejected(&format!(
                    "document.source.{}",
                    source_kind(source)
                )));
            }
        }
        Ok(())
    }

    fn file(&self, url: &'a str, otherwise: &'static str) -> Result<Part<'a>, Refusal> {
        let fetchable = ["https://", "http://", "gs://"]
            .iter()
            .any(|scheme| url.starts_with(scheme));
        if !fetchable && !self.outline.has_placeholder(url) {
            return Err(rejected("source.url that is not http"));
        }
        let path = url
            .split(['?', '#'])
            .next()
            .unwrap_or(url)
            .to_ascii_lowercase();
        let known = EXTENSIONS.iter().find(|(ending, _)| path.ends_with(ending));
        Ok(Part {
            file_data: Some(FileData {
                mime_type: known.map_or(otherwise, |(_, kind)| kind),
                file_uri: url,
            }),
            ..Part::default()
        })
    }
}

fn inline<'a>(mime_type: &'a str, data: &'a str) -> Part<'a> {
    Part {
        inline_data: Some(Blob { mime_type, data }),
        ..Part::default()
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

fn source_kind(source: &Source) -> &str {
    match source {
        Source::Base64 { .. } => "base64",
        Source::Url(_) => "url",
        Source::Text(_) => "text",
        Source::Content(_) => "content",
        Source::File(_) => "file",
        Source::Other(kind) => kind,
    }
}
