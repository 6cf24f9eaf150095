//! Context overflow: recognises the error for a prompt that is too long, in any words.
//!
//! Servers word this error differently and change the words. So it is read for its sense: what is
//! too long (prompt, input, context, messages), and by what measure (length, window, limit,
//! tokens). The numbers are read in any order. Quoted text, file names and identifiers prove
//! nothing, and neither do rate limits or limits of the response.

mod counts;
mod error_body;
mod sense;
mod words;

use serde::{Deserialize, Serialize};

/// A prompt that does not fit a model's context, alone or with the response that was asked for.
///
/// ```
/// use witgate_plugin::dialect::Overflow;
///
/// let error = "This model's maximum context length is 8192 tokens, but the prompt has 9000
/// tokens"; let overflow = Overflow::read(error).expect("an overflow");
/// assert_eq!(overflow.message(), "prompt is too long: 9000 tokens > 8192 maximum");
/// assert_eq!(Overflow::read("rate limit reached"), None);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overflow {
    /// The tokens of the prompt, if the error says how many.
    pub prompt: Option<u64>,
    /// The tokens that the context can hold.
    pub limit: Option<u64>,
    /// The tokens that were reserved for the response, if the error counts them.
    pub output: Option<u64>,
}

/// Phrases that mean a context overflow, in addition to what is recognised by sense. They are
/// compared without regard to case.
///
/// Deserialises from a list of texts, for a plugin's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct OverflowWordings(Vec<String>);

impl Overflow {
    /// Reads an error's message. `None` if it is about anything else.
    pub fn read(text: &str) -> Option<Self> {
        OverflowWordings::default().read(text, None)
    }

    /// Whether an error's code or type says so: `context_length_exceeded`,
    /// `exceed_context_size_error`, `ContextWindowExceededError`.
    pub fn is_code(code: &str) -> bool {
        sense::is_code(code)
    }

    /// The message by which Anthropic's clients know that they have to compact, or to ask for a
    /// shorter response if the prompt alone fits.
    pub fn message(&self) -> String {
        match (self.prompt, self.limit, self.output) {
            (Some(prompt), Some(limit), _) if prompt > limit => {
                format!("prompt is too long: {prompt} tokens > {limit} maximum")
            }
            (Some(prompt), Some(limit), Some(output)) => format!(
                "input length and `max_tokens` exceed context limit: {prompt} + {output} > {limit}, decrease input length or `max_tokens` and try again"
            ),
            _ => "prompt is too long".to_owned(),
        }
    }

    /// `None` if the response alone exceeds the context: that says nothing about the prompt.
    fn of_prompt(self) -> Option<Self> {
        let is_about_response = self.prompt.is_none()
            && matches!((self.output, self.limit), (Some(output), Some(limit)) if output >= limit);
        (!is_about_response).then_some(self)
    }

    /// The tokens that the prompt leaves for the response. `None` if the error does not say, or if
    /// the prompt alone does not fit.
    pub fn left(&self) -> Option<u64> {
        self.output?;
        self.limit?
            .checked_sub(self.prompt?)
            .filter(|left| *left > 0)
    }
}

/// The largest `max_tokens` that the model accepts, if an error states it in any words: "This model
/// supports at most 16384 completion tokens", "Range of max_tokens should be [1, 8192]".
///
/// `None` if the error is about anything else, or if the limit is not below `max_tokens`, which is
/// what the request asked for.
///
/// ```
/// use witgate_plugin::dialect::output_limit;
///
/// let error = "This model supports at most 16384 completion tokens";
/// assert_eq!(output_limit(error, 32_000), Some(16_384));
/// assert_eq!(output_limit(error, 1_000), None);
/// ```
pub fn output_limit(text: &str, max_tokens: u64) -> Option<u64> {
    let tokens = words::tokens(text);
    let is_about_output = sense::names_output(&tokens) && !sense::is_rate_limit(&tokens);
    is_about_output
        .then(|| counts::output_limit(&tokens, max_tokens))
        .flatten()
}

impl OverflowWordings {
    /// Reads an error's message. `max_tokens` is what the request asked for, if known: with it the
    /// tokens of the response are distinguished from those of the prompt.
    pub fn read(&self, text: &str, max_tokens: Option<u64>) -> Option<Overflow> {
        let tokens = words::tokens(text);
        let is_overflow = sense::is_overflow(&tokens, max_tokens) || self.contain(text);
        is_overflow
            .then(|| counts::overflow(&tokens, max_tokens))?
            .of_prompt()
    }

    /// Reads an error whose code or type [says](Overflow::is_code) that the context overflows: only
    /// the numbers are read from its message.
    pub fn read_numbers(text: &str, max_tokens: Option<u64>) -> Option<Overflow> {
        counts::overflow(&words::tokens(text), max_tokens).of_prompt()
    }

    /// Reads the body of an error response, in whatever shape: a text, or JSON with a message and
    /// perhaps a code, at any depth.
    pub fn read_body(&self, body: &str, max_tokens: Option<u64>) -> Option<Overflow> {
        let error = error_body::ErrorBody::parse(body);
        let by_message = error
            .messages
            .iter()
            .filter_map(|message| self.read(message, max_tokens))
            .max_by_key(|overflow| overflow.prompt.is_some());
        let overflow = by_message.or_else(|| {
            error.codes.iter().find(|code| Overflow::is_code(code))?;
            Self::read_numbers(&error.messages.join("\n"), max_tokens)
        })?;
        Some(Overflow {
            prompt: overflow.prompt.or(error.prompt),
            limit: overflow.limit.or(error.limit),
            ..overflow
        })
    }

    fn contain(&self, text: &str) -> bool {
        let lower = text.to_lowercase();
        let phrases = self.0.iter().map(|phrase| phrase.trim().to_lowercase());
        phrases
            .filter(|phrase| !phrase.is_empty())
            .any(|phrase| lower.contains(&phrase))
    }
}

#[cfg(test)]
mod tests;
