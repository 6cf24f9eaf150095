//! A prompt that does not fit the context, alone or together with the response. Pure.

use witgate_plugin::dialect::{Overflow, OverflowWordings, output_limit};

use super::{lessons::Used, upstream_error::UpstreamError};

/// With fewer tokens left a response is of no use, and the prompt itself is too long.
const WORTH_IT: u64 = 1_024;

/// What an overflow calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TooLong {
    /// The client has to send less, and learns it by this message.
    Prompt(String),
    /// The requested number of output tokens, and the number that fits the context.
    Response { asked: u64, left: u64 },
}

/// Reads an overflow. `None` if the error is about anything else.
pub(crate) fn too_long(
    reported: &UpstreamError,
    used: &Used,
    wordings: &OverflowWordings,
) -> Option<TooLong> {
    let asked = used.max_tokens.map(|(_, asked)| asked);
    let Some(overflow) = overflow(reported, asked, wordings) else {
        return left_by_prompt(&reported.message, asked?);
    };
    let left = overflow.left().zip(asked);
    Some(match left {
        Some((left, asked)) if (WORTH_IT..asked).contains(&left) => {
            TooLong::Response { asked, left }
        }
        Some((left, _)) if left < WORTH_IT => TooLong::Prompt(without_room(overflow)),
        _ => TooLong::Prompt(overflow.message()),
    })
}

/// "Only 25536 are left of the context": a limit of this prompt and not of the model.
fn left_by_prompt(message: &str, asked: u64) -> Option<TooLong> {
    let lower = message.to_ascii_lowercase();
    let of_prompt = ["left", "remain", "available", "your prompt", "this prompt"];
    let left = output_limit(message, asked)?;
    let is_worth_it = left >= WORTH_IT && of_prompt.iter().any(|words| lower.contains(words));
    is_worth_it.then_some(TooLong::Response { asked, left })
}

fn overflow(
    reported: &UpstreamError,
    asked: Option<u64>,
    wordings: &OverflowWordings,
) -> Option<Overflow> {
    let by_code = [&reported.code, &reported.kind]
        .into_iter()
        .any(|code| Overflow::is_code(code));
    wordings
        .read(&reported.message, asked)
        .or_else(|| by_code.then(|| OverflowWordings::read_numbers(&reported.message, asked))?)
}

/// The message for a prompt that leaves too little for a response.
fn without_room(overflow: Overflow) -> String {
    let limit = overflow.limit.map(|limit| limit.saturating_sub(WORTH_IT));
    let overflow = Overflow { limit, ..overflow };
    overflow.message()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::MaxTokens;

    fn read(message: &str, code: &str) -> Option<TooLong> {
        let reported = UpstreamError {
            message: message.to_owned(),
            code: code.to_owned(),
            ..UpstreamError::default()
        };
        let used = Used {
            max_tokens: Some((MaxTokens::MaxTokens, 128_000)),
            ..Used::default()
        };
        too_long(&reported, &used, &OverflowWordings::default())
    }

    #[test]
    fn the_room_that_a_prompt_leaves_is_found_in_the_messages_of_many_servers() {
        let table = [
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 128000. This model's maximum context length is 32768 tokens and your request has 2000 input tokens (128000 > 32768 - 2000).",
                30_768,
            ),
            (
                "This model's maximum context length is 32768 tokens. However, you requested 130000 tokens (2000 in the messages, 128000 in the completion). Please reduce the length of the messages or completion.",
                30_768,
            ),
            (
                "This model's maximum context length is 128000 tokens. However, you requested 128000 output tokens and your prompt contains at least 62466 input tokens, for a total of at least 190466 tokens.",
                65_534,
            ),
            (
                "This endpoint's maximum context length is 131072 tokens. However, you requested about 150000 tokens (21000 of text input, 1000 of tool input, 128000 in the output).",
                109_072,
            ),
            (
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 131073. Given: 5000 `inputs` tokens and 128000 `max_new_tokens`",
                126_073,
            ),
            (
                "You passed 40000 input tokens and requested 128000 output tokens. However, the model's context length is only 65536 tokens, resulting in a maximum input length of 0 tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=40000)",
                25_536,
            ),
            (
                "Requested token count exceeds the model's maximum context length of 65536 tokens. You requested a total of 168000 tokens: 40000 tokens from the input messages and 128000 tokens for the completion.",
                25_536,
            ),
            (
                "The prompt and max_tokens exceed the context window: 40000 + 128000 > 65536",
                25_536,
            ),
            (
                "Your request exceeded model token limit: 65536 (requested: 168000)",
                25_536,
            ),
            (
                "max_tokens is too large: 128000. The context is 65536 tokens and the prompt has 40000 tokens",
                25_536,
            ),
            (
                "the input (40000) and max_tokens (128000) exceed the context (65536)",
                25_536,
            ),
            ("total tokens 168000 exceed context window 65536", 25_536),
            (
                "128000 output tokens requested, but only 25536 are left of the context",
                25_536,
            ),
        ];
        for (message, left) in table {
            let wanted = TooLong::Response {
                asked: 128_000,
                left,
            };
            assert_eq!(read(message, ""), Some(wanted), "{message}");
        }
    }

    #[test]
    fn a_prompt_that_leaves_no_room_is_too_long() {
        let table = [
            (
                "This model's maximum context length is 16384 tokens. However, you requested 240946 tokens (112946 in the messages, 128000 in the completion).",
                "prompt is too long: 112946 tokens > 16384 maximum",
            ),
            (
                "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.",
                "prompt is too long: 130000 tokens > 128000 maximum",
            ),
            (
                "This model's maximum context length is 32768 tokens. However, you requested 160000 tokens (32000 in the messages, 128000 in the completion).",
                "prompt is too long: 32000 tokens > 31744 maximum",
            ),
            ("Prompt exceeds max length", "prompt is too long"),
        ];
        for (message, wanted) in table {
            let wanted = TooLong::Prompt(wanted.to_owned());
            assert_eq!(read(message, ""), Some(wanted), "{message}");
        }
    }

    #[test]
    fn a_code_says_it_where_the_message_does_not() {
        for code in ["context_length_exceeded", "exceed_context_size_error"] {
            assert_eq!(
                read("no", code),
                Some(TooLong::Prompt("prompt is too long".to_owned())),
                "{code}"
            );
        }
        assert_eq!(read("no", "invalid_request_error"), None);
        assert_eq!(read("max_tokens: 128000 > 64000", ""), None);
    }
}
