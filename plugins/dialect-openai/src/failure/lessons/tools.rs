//! What a response has to be: a certain tool, or JSON of a schema.

use super::{super::refusal::Refusal, Lesson, Used};
use crate::settings::{Format, ToolForce};

pub(super) fn force(refusal: &Refusal<'_>, used: &Used) -> Option<Lesson> {
    let sent = used.tool_force?;
    let names = ["tool choice", "toolchoice", "tool_choice"];
    // A server that was started without tools has nothing to offer instead.
    if !refusal.is_about("tool_choice", &names)
        || !refusal.refuses()
        || refusal.says(&["tool-call-parser"])
    {
        return None;
    }
    let next = match sent {
        ToolForce::Named if offers_required(refusal) => ToolForce::Required,
        ToolForce::Named | ToolForce::Required => ToolForce::Auto,
        ToolForce::Auto => ToolForce::None,
        ToolForce::None => return None,
    };
    Some(Lesson::ToolForce(next))
}

/// Whether `required` may work where a named tool does not: unless the message refuses both.
fn offers_required(refusal: &Refusal<'_>) -> bool {
    let refuses_both = [
        "required or object",
        "required or a",
        "required and",
        "required' and",
        "'required' is",
        "required is not",
        "to required",
        "support required",
        "support 'required'",
    ];
    let only_auto = refusal.says(&["auto"]) && !refusal.says(&["required"]);
    !refusal.says(&refuses_both) && !only_auto
}

pub(super) fn format(refusal: &Refusal<'_>, used: &Used) -> Option<Lesson> {
    let sent = used.format?;
    let names = [
        "response_format",
        "response format",
        "json_schema",
        "json schema",
        "json_object",
        "json mode",
        "json output",
        "structured output",
        "structured_output",
        "guided",
        "grammar",
    ];
    if !refusal.is_about("response_format", &names) || !refusal.refuses() {
        return None;
    }
    match sent {
        Format::JsonSchema => Some(Lesson::Format(Format::JsonObject)),
        Format::JsonObject => Some(Lesson::Format(Format::None)),
        Format::None => None,
    }
}
