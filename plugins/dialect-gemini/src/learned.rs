//! What an upstream's errors teach about it, remembered for a day.
//!
//! A model's name does not say everything: some models take no system instruction, some have other
//! limits, and a Vertex upstream may not be listed in the settings. The error says so once; the
//! attempt is repeated with it, and later exchanges begin with it.

use serde::{Deserialize, Serialize};
use witgate_plugin::learned;

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

/// Reads the lower-case message of a 400, without underscores.
type Reader = fn(&str) -> Option<Lesson>;

/// The kinds of refusals, with the name under which the log reports them.
const KINDS: [(&str, Reader); 4] = [
    ("a member that Vertex does not have", vertex),
    ("the system instruction", no_system),
    ("the limit of the response", |message| {
        most(message, &["maxoutputtokens"]).map(Lesson::MostOutput)
    }),
    ("`topK`", |message| {
        most(message, &["topk", "top-k"]).map(Lesson::MostTopK)
    }),
];

impl Lesson {
    /// Calls need signatures. The error is recognised where signatures are.
    pub(crate) const SIGNATURES: (&'static str, Self) =
        ("calls without a signature", Self::RequiresSignatures);

    /// Reads the message of a 400: what it teaches, and which kind it is.
    pub(crate) fn read(message: &str) -> Option<(&'static str, Self)> {
        let message = message.to_lowercase().replace('_', "");
        learned::first(&KINDS, |read| read(&message))
    }
}

fn vertex(message: &str) -> Option<Lesson> {
    (rejects(message) && message.contains("generatecontentrequest\"")).then_some(Lesson::Vertex)
}

fn no_system(message: &str) -> Option<Lesson> {
    const INSTRUCTION: &[&str] = &[
        "developer instruction",
        "system instruction",
        "systeminstruction",
    ];
    (rejects(message) && says(message, INSTRUCTION)).then_some(Lesson::NoSystem)
}

fn rejects(message: &str) -> bool {
    const REJECTING: &[&str] = &[
        "not enabled",
        "not supported",
        "not support",
        "unsupported",
        "unknown name",
        "cannot find field",
    ];
    says(message, REJECTING)
}

fn most(message: &str, names: &[&str]) -> Option<u64> {
    most_of_range(message).filter(|_| says(message, names))
}

fn says(message: &str, words: &[&str]) -> bool {
    words.iter().any(|word| message.contains(word))
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
    /// Takes a lesson in.
    pub(crate) fn take(&mut self, lesson: Lesson) {
        match lesson {
            Lesson::Vertex => self.vertex = true,
            Lesson::NoSystem => self.no_system = true,
            Lesson::RequiresSignatures => self.requires_signatures = true,
            Lesson::MostOutput(most) => self.most_output = Some(most),
            Lesson::MostTopK(most) => self.most_top_k = Some(most),
        }
    }
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
            let read = Lesson::read(message).map(|(_, lesson)| lesson);
            assert_eq!(read, lesson, "{message}");
        }
    }
}
