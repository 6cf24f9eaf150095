//! What an upstream's errors teach about it, remembered for a day.
//!
//! A model's name does not say everything: some models take no system instruction, some have other
//! limits, and a Vertex upstream may not be listed in the settings. The error says so once; the
//! attempt is repeated with it, and later exchanges begin with it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use witgate_plugin::{
    kv::{self, KvError},
    serde_json,
};

const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known about a model at an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Learned {
    /// It counts tokens as Vertex does.
    pub(crate) vertex: bool,
    /// It rejects system instructions.
    pub(crate) no_system: bool,
    /// It rejects calls in the history without a signature.
    pub(crate) requires_signatures: bool,
    /// The largest `maxOutputTokens`.
    pub(crate) most_output: Option<u64>,
    /// The largest `topK`.
    pub(crate) most_top_k: Option<u64>,
}

/// What one error teaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lesson {
    Vertex,
    NoSystem,
    RequiresSignatures,
    MostOutput(u64),
    MostTopK(u64),
}

impl Lesson {
    /// Reads the message of a 400.
    pub(crate) fn read(message: &str) -> Option<Self> {
        let message = message.to_lowercase().replace('_', "");
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        let rejects = says(&[
            "not enabled",
            "not supported",
            "not support",
            "unsupported",
            "unknown name",
            "cannot find field",
        ]);
        if rejects && says(&["generatecontentrequest\""]) {
            return Some(Self::Vertex);
        }
        if rejects
            && says(&[
                "developer instruction",
                "system instruction",
                "systeminstruction",
            ])
        {
            return Some(Self::NoSystem);
        }
        let most = most_of_range(&message)?;
        if says(&["maxoutputtokens"]) {
            Some(Self::MostOutput(most))
        } else if says(&["topk", "top-k"]) {
            Some(Self::MostTopK(most))
        } else {
            None
        }
    }
}

/// The largest number of "range is from 1 (inclusive) to 65 (exclusive)".
fn most_of_range(message: &str) -> Option<u64> {
    let (_, range) = message.split_once("range is from ")?;
    let (_, end) = range.split_once(" to ")?;
    let digits = end
        .find(|c: char| !c.is_ascii_digit())
        .map_or(end, |at| &end[..at]);
    let end_of_range: u64 = digits.parse().ok()?;
    let excluded = end[digits.len()..].trim_start().starts_with("(exclusive)");
    let most = end_of_range.checked_sub(u64::from(excluded))?;
    (most > 0).then_some(most)
}

impl Learned {
    pub(crate) fn recall(upstream: &str, model: &str) -> Result<Self, KvError> {
        let known = kv::get(&key(upstream, model))?;
        let known = known.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(known.unwrap_or_default())
    }

    /// Takes a lesson in. Returns whether it was new; otherwise another attempt would not help.
    pub(crate) fn take(upstream: &str, model: &str, lesson: Lesson) -> Result<bool, KvError> {
        let before = Self::recall(upstream, model)?;
        let mut after = before.clone();
        match lesson {
            Lesson::Vertex => after.vertex = true,
            Lesson::NoSystem => after.no_system = true,
            Lesson::RequiresSignatures => after.requires_signatures = true,
            Lesson::MostOutput(most) => after.most_output = Some(most),
            Lesson::MostTopK(most) => after.most_top_k = Some(most),
        }
        if after == before {
            return Ok(false);
        }
        // It is made of numbers and flags only.
        let text = serde_json::to_vec(&after).unwrap_or_default();
        kv::set(&key(upstream, model), text, REMEMBERED)?;
        Ok(true)
    }
}

fn key(upstream: &str, model: &str) -> String {
    let model: String = model.chars().take(200).collect();
    format!("learned/{upstream}/{model}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_states_a_limit_teaches_it() {
        let table = [
            (
                "Invalid JSON payload received. Unknown name \"generateContentRequest\": Cannot find field.",
                Some(Lesson::Vertex),
            ),
            (
                "Developer instruction is not enabled for models/gemma-3-27b-it",
                Some(Lesson::NoSystem),
            ),
            (
                "System instruction is not supported for this model.",
                Some(Lesson::NoSystem),
            ),
            (
                "Invalid JSON payload received. Unknown name \"system_instruction\": Cannot find field.",
                Some(Lesson::NoSystem),
            ),
            (
                "Unable to submit request because it has a maxOutputTokens value of 65536 but the supported range is from 1 (inclusive) to 32769 (exclusive). Update the value and try again.",
                Some(Lesson::MostOutput(32_768)),
            ),
            (
                "Unable to submit request because it has a max_output_tokens value of 9000 but the supported range is from 1 (inclusive) to 8192 (inclusive).",
                Some(Lesson::MostOutput(8_192)),
            ),
            (
                "Unable to submit request because it has a topK value of 250 but the supported range is from 1 (inclusive) to 41 (exclusive). Update the value and try again.",
                Some(Lesson::MostTopK(40)),
            ),
            (
                "Unable to submit request because it has a temperature value of 3 but the supported range is from 0 (inclusive) to 2.0001 (exclusive).",
                None,
            ),
            ("Corrupted thought signature.", None),
            ("The system instruction is empty.", None),
        ];
        for (message, lesson) in table {
            assert_eq!(Lesson::read(message), lesson, "{message}");
        }
    }
}
