//! `reasoning_effort`: its values differ from model to model.

use super::{super::refusal::Refusal, Lesson, Used};

/// All values, from the least effort to the most.
pub(crate) const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

pub(super) fn effort(refusal: &Refusal<'_>, used: &Used) -> Option<Lesson> {
    if !refusal.says(&["reasoning_effort", "reasoning effort", "reasoning.effort"])
        && !refusal.member.starts_with("reasoning")
    {
        return None;
    }
    if used.tools
        && used.effort != Some("none")
        && refusal.says(&["tool", "function"])
        && refusal.says(&["'none'", "\"none\"", "`none`", "to none"])
    {
        return Some(Lesson::NoEffortWithTools);
    }
    let sent = used.effort?;
    let supported = supported(&refusal.message, sent);
    (refusal.refuses() && !supported.is_empty()).then_some(Lesson::Efforts(supported))
}

/// The values after "Supported values are", without the one that was sent.
fn supported(message: &str, sent: &str) -> Vec<String> {
    let before = [
        "supported values",
        "supported value",
        "supported efforts",
        "allowed values",
        "valid values",
        "accepted values",
        "one of",
        "should be",
        "must be",
        "expected",
        "only supports",
        "only support",
        "available",
        "only",
    ];
    let list = before
        .iter()
        .find_map(|words| Some(message.split_once(words)?.1));
    let words = list
        .unwrap_or_default()
        .split(|sign: char| !sign.is_ascii_alphanumeric())
        .filter(|word| EFFORTS.contains(word) && *word != sent);
    words.map(str::to_owned).collect()
}
