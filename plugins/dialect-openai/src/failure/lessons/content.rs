//! Contents of messages: images, lists of parts, and the thinking of earlier turns.

use super::{super::refusal::Refusal, Lesson, Used};
use crate::settings::Thoughts;

/// DeepSeek and Kimi require thinking for turns in which tools were called; others reject it.
pub(super) fn reasoning(refusal: &Refusal<'_>, used: &Used) -> Option<Lesson> {
    let members = ["reasoning_content", "reasoning content"];
    if !refusal.says(&members) {
        return None;
    }
    let missing = [
        "back",
        "missing",
        "require",
        "empty",
        "must ",
        "need",
        "lack",
        "absent",
        "without",
        "not found",
        "not provided",
        "expected",
    ];
    if used.reasoning {
        let unwanted = [
            "unsupported",
            "not support",
            "n't support",
            "not permitted",
            "unknown",
            "unrecognized",
            "extra inputs",
            "not allowed",
            "unexpected",
        ];
        return refusal
            .says(&unwanted)
            .then_some(Lesson::Reasoning(Thoughts::Nowhere));
    }
    refusal
        .says(&missing)
        .then_some(Lesson::Reasoning(Thoughts::ReasoningContent))
}

/// A model that reads only text.
pub(super) fn images(refusal: &Refusal<'_>, used: &Used) -> Option<Lesson> {
    let images = [
        "image",
        "picture",
        "vision",
        "visual",
        "multimodal",
        "multi-modal",
        "text-only",
        "text only",
    ];
    // About this image, not about images.
    let about_one = [
        "format",
        "media type",
        "mime",
        "too large",
        "too small",
        "exceed",
        "dimension",
        "resolution",
        "pixels",
        "corrupt",
        "decode",
        "download",
        "fetch",
        "base64",
        "too many images",
    ];
    let refused = refusal.refuses()
        || refusal.says(&[
            "no endpoint",
            "text only",
            "text-only",
            "not a multimodal",
            "not a vision",
            "at most 0 image",
            "does not have vision",
            "mmproj",
        ]);
    let is_refusal = used.images
        && refusal.says(&images)
        && refused
        && !refusal.says(&about_one)
        && !is_about_number(refusal);
    is_refusal.then_some(Lesson::NoImages)
}

/// "At most 1 image(s) may be provided": some are accepted.
fn is_about_number(refusal: &Refusal<'_>) -> bool {
    let after = refusal
        .message
        .split_once("at most ")
        .map(|(_, after)| after);
    after.is_some_and(|after| after.starts_with(|digit: char| ('1'..='9').contains(&digit)))
}

/// A server that takes a content only as a text: `messages.0.content: Input should be a valid
/// string`.
pub(super) fn parts(refusal: &Refusal<'_>, used: &Used) -> Option<Lesson> {
    let about_content = refusal.says(&["content"]) || refusal.reported.param.contains("content");
    let wants_text = refusal.says(&[
        "valid string",
        "type string",
        "must be a string",
        "should be a string",
        "expected a string",
        "expected string",
        "expected type string",
        "string expected",
        "invalid type: sequence",
        "cannot unmarshal array",
        "only support string",
        "only string",
    ]);
    (used.parts && about_content && wants_text).then_some(Lesson::PlainContent)
}
