//! The limit of a response: its name, the largest and the smallest value.

use witgate_plugin::dialect::output_limit;

use super::{super::refusal::Refusal, Lesson, Used, members};
use crate::settings::MaxTokens;

/// A larger minimum would change what the client gets too much.
const LARGEST_MINIMUM: u64 = 1_024;

pub(super) fn limit(refusal: &Refusal<'_>, used: &Used) -> Option<Lesson> {
    let (sent, asked) = used.max_tokens?;
    if let Some(most) = output_limit(&refusal.message, asked) {
        return Some(Lesson::MaxOutput(most));
    }
    if let Some(least) = least(refusal, asked) {
        return Some(Lesson::LeastOutput(least));
    }
    if refusal.says(&["instead"]) && refusal.says(&[sent.other().name()]) {
        return Some(Lesson::MaxTokens(sent.other()));
    }
    let named = members::first_refused(refusal, &[sent.name()])?;
    (named == sent.name()).then_some(Lesson::MaxTokens(sent.other()))
}

/// "Expected a value >= 16, but got 1 instead."
fn least(refusal: &Refusal<'_>, asked: u64) -> Option<u64> {
    let members = [
        MaxTokens::MaxTokens.name(),
        MaxTokens::MaxCompletionTokens.name(),
        "max_output_tokens",
    ];
    if !refusal.says(&members) && !members.contains(&refusal.member.as_str()) {
        return None;
    }
    let before = [
        ">= ",
        ">=",
        "at least ",
        "greater than or equal to ",
        "minimum value of ",
        "minimum is ",
        "no less than ",
        "not be less than ",
        "range [",
        "between ",
    ];
    let stated = before.iter().find_map(|words| {
        let (_, after) = refusal.message.split_once(words)?;
        let digits: String = after
            .trim_start_matches(['`', '\'', '"'])
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    });
    stated.filter(|least| (asked + 1..=LARGEST_MINIMUM).contains(least))
}
