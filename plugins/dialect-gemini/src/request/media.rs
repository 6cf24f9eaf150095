//! Translates images and documents.

use std::borrow::Cow;

use witgate_plugin::{Outline, Refusal, dialect::Source};

use super::{
    rejected,
    wire::{Blob, FileData, Part},
};
use crate::dropped::Dropped;

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
const IN_RESULTS: [&str; 5] = [
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

/// Translates an image.
pub(super) fn image<'a>(
    source: &'a Source,
    outline: &Outline,
    dropped: &mut Dropped,
) -> Result<Part<'a>, Refusal> {
    match source {
        Source::Base64 { media_type, data } => {
            let media_type = mime_type(media_type);
            if IMAGES.contains(&&*media_type) {
                return Ok(inline(media_type, data));
            }
            dropped.changed.add("image of an unknown kind to text");
            Ok(Part::text(
                "[an image of a kind that this model does not read]",
            ))
        }
        Source::Url(url) => file(url, "image/jpeg", outline),
        other => Err(unusable("image", other)),
    }
}

/// Translates content that is part of the request.
pub(super) fn inline<'a>(mime_type: impl Into<Cow<'a, str>>, data: &'a str) -> Part<'a> {
    Part {
        inline_data: Some(Blob {
            mime_type: mime_type.into(),
            data,
        }),
        ..Part::default()
    }
}

/// Translates content that the upstream fetches. `otherwise` is its type if the URL does not say.
pub(super) fn file<'a>(
    url: &'a str,
    otherwise: &'static str,
    outline: &Outline,
) -> Result<Part<'a>, Refusal> {
    let fetchable = ["https://", "http://", "gs://"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    if !fetchable && !outline.has_placeholder(url) {
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

/// Whether a function's response may contain this part.
pub(super) fn fits_in_result(part: &Part<'_>) -> bool {
    let inline = part.inline_data.as_ref();
    inline.is_some_and(|blob| IN_RESULTS.contains(&&*blob.mime_type))
}

/// The standard spelling of a MIME type: lower case, without parameters. `image/jpg` is a common
/// name of `image/jpeg`.
pub(super) fn mime_type(named: &str) -> Cow<'_, str> {
    let bare = named.split(';').next().unwrap_or(named).trim();
    match bare.to_ascii_lowercase().as_str() {
        "image/jpg" | "image/pjpeg" => Cow::Borrowed("image/jpeg"),
        "image/x-png" => Cow::Borrowed("image/png"),
        "application/x-pdf" => Cow::Borrowed("application/pdf"),
        lower if lower == bare => Cow::Borrowed(bare),
        lower => Cow::Owned(lower.to_owned()),
    }
}

/// Rejects a source that Gemini cannot read.
pub(super) fn unusable(block: &str, source: &Source) -> Refusal {
    rejected(&format!("{block}.source.{}", source_kind(source)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mime_type_gets_its_standard_spelling() {
        for (named, standard) in [
            ("image/png", "image/png"),
            ("image/jpg", "image/jpeg"),
            ("IMAGE/JPG", "image/jpeg"),
            ("image/pjpeg", "image/jpeg"),
            ("Image/WebP", "image/webp"),
            ("image/jpeg; charset=binary", "image/jpeg"),
            ("application/x-pdf", "application/pdf"),
        ] {
            assert_eq!(mime_type(named), standard, "{named}");
        }
    }
}
