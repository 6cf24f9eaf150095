//! Members of the request that can be dropped.

use super::{super::refusal::Refusal, Lesson, Used};

/// Words that refuse a member, whatever its value.
const REFUSING: &[&str] = &[
    "unsupported",
    "not supported",
    "not support",
    "n't support",
    "unrecognized",
    "unknown",
    "not permitted",
    "unexpected",
    "not allowed",
    "is allowed",
    "not available",
    "not valid",
    "not a valid",
    "unavailable",
    "not accept",
    "not implemented",
    "not enabled",
    "not compatible",
    "incompatible",
    "deprecated",
    "extra inputs",
    "cannot be used",
    "cannot be set",
    "cannot be specified",
    "can't be used",
    "no longer",
    "only the default",
    "must be omitted",
    "must not be",
    "removed",
];

/// Words by which a model says that it has only one value: `invalid temperature: only 1 is
/// allowed`, `temperature must be 1`.
const FIXED: &[&str] = &[
    "only 1",
    "only 0",
    "must be 1",
    "must be set to 1",
    "should be 1",
    "default (1)",
    "fixed",
    "only default",
    "must equal 1",
    "may only",
    "only supports",
    "only support",
];

/// Words by which a message refuses two members only together.
const NOT_BOTH: &[&str] = &[
    "both",
    "together",
    "simultaneous",
    "either",
    "only one",
    "one of",
    "at the same time",
    "mutually exclusive",
];

pub(super) fn member(refusal: &Refusal<'_>, used: &Used) -> Option<Lesson> {
    let about_breakpoints =
        refusal.says(&["cache_control"]) || refusal.reported.param.contains("cache_control");
    if used.breakpoints && about_breakpoints && (refusal.says(REFUSING) || refusal.refuses()) {
        return Some(without("cache_control"));
    }
    if used.optional.contains(&"temperature")
        && used.optional.contains(&"top_p")
        && refusal.says(&["temperature"])
        && refusal.says(&["top_p"])
        && refusal.says(NOT_BOTH)
    {
        return Some(without("top_p"));
    }
    first_refused(refusal, &used.optional).map(without)
}

/// The refused one of these members: the one that the error is about, or the one that its message
/// names first ("`max_tokens` is not supported, use `max_completion_tokens`").
pub(super) fn first_refused<'a>(refusal: &Refusal<'_>, members: &[&'a str]) -> Option<&'a str> {
    let by_code = refusal
        .reported
        .names(&["unsupported", "unknown_parameter"]);
    if !by_code && !refusal.says(REFUSING) && !refusal.says(FIXED) {
        return None;
    }
    let mut members = members.iter().copied();
    if !refusal.member.is_empty() && refusal.member != "body" {
        return members.find(|name| *name == refusal.member);
    }
    members
        .filter_map(|name| Some((position(&refusal.message, name)?, name)))
        .min()
        .map(|(_, name)| name)
}

/// Where a message names a member, as a word of its own: `stop`, but not "stopped".
fn position(message: &str, name: &str) -> Option<usize> {
    let is_part = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
    message.match_indices(name).find_map(|(at, _)| {
        let before = message[..at].chars().next_back();
        let after = message[at + name.len()..].chars().next();
        (!before.is_some_and(is_part) && !after.is_some_and(is_part)).then_some(at)
    })
}

/// "Invalid 'stop': array too long. Expected an array with maximum length 4".
pub(super) fn stops(refusal: &Refusal<'_>, used: &Used) -> Option<Lesson> {
    let too_many = [
        "too long",
        "too many",
        "at most",
        "maximum",
        "up to",
        "no more than",
        "more than",
    ];
    if used.stops == 0
        || !refusal.is_about("stop", &["stop sequence", "stop word", "'stop'", "`stop`"])
        || !refusal.says(&too_many)
    {
        return None;
    }
    let numbers = refusal.message.split(|sign: char| !sign.is_ascii_digit());
    let fewer = numbers
        .filter_map(|digits| digits.parse().ok())
        .find(|most| (1..used.stops).contains(most));
    fewer.map(Lesson::MaxStops)
}

fn without(name: &str) -> Lesson {
    Lesson::Without(name.to_owned())
}
