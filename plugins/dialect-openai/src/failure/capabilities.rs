//! Learns from an upstream's errors which members a model accepts, and in which form. Pure.
//!
//! Models and servers differ in the optional members that they accept, and name the one that they
//! reject. The attempt is then repeated with the alternative, and later exchanges start with it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::upstream_error::UpstreamError;
use crate::settings::{MaxTokens, MidSystem, Options, Thoughts};

/// Members that can be dropped without making the response wrong.
pub(crate) const OPTIONAL: [&str; 6] = [
    "stream_options",
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "reasoning_effort",
    "prompt_cache_key",
];

/// What was learned about one model of one upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Capabilities {
    max_tokens: Option<MaxTokens>,
    max_output: Option<u64>,
    mid_system: Option<MidSystem>,
    reasoning: Option<Thoughts>,
    /// Of [`OPTIONAL`].
    without: BTreeSet<String>,
}

/// What an attempt used of the things that an upstream may reject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) max_tokens: Option<(MaxTokens, u64)>,
    /// Of [`OPTIONAL`].
    pub(crate) optional: Vec<&'static str>,
    pub(crate) mid_system: bool,
    pub(crate) reasoning: bool,
}

/// The requested number of output tokens, and the number that fits the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) asked: u64,
    pub(crate) left: u64,
}

impl Capabilities {
    /// Learns from an error. Returns whether it contained anything new.
    pub(crate) fn take(&mut self, reported: &UpstreamError, used: &Used) -> bool {
        let before = self.clone();
        let lower = reported.message.to_ascii_lowercase();
        if used.mid_system && is_about_system(&lower) {
            self.mid_system = Some(MidSystem::User);
        } else if !used.reasoning && lower.contains("reasoning_content") && lower.contains("back") {
            // DeepSeek requires it for turns in which tools were called.
            self.reasoning = Some(Thoughts::ReasoningContent);
        } else if let Some(most) = most_output(&lower, used) {
            self.max_output = Some(most);
        } else if let Some(name) = rejected(reported, &lower, used) {
            match used.max_tokens {
                Some((sent, _)) if name == sent.name() => self.max_tokens = Some(sent.other()),
                _ => drop(self.without.insert(name.to_owned())),
            }
        }
        *self != before
    }

    /// Overrides the settings with what was learned, because the settings are what failed.
    pub(crate) fn apply(&self, options: &mut Options) {
        options.max_tokens = self.max_tokens.unwrap_or(options.max_tokens);
        options.mid_system = self.mid_system.unwrap_or(options.mid_system);
        options.reasoning = self.reasoning.unwrap_or(options.reasoning);
        options.max_output = match (options.max_output, self.max_output) {
            (Some(set), Some(learned)) => Some(set.min(learned)),
            (set, learned) => set.or(learned),
        };
    }

    pub(crate) fn without(&self, name: &str) -> bool {
        self.without.contains(name)
    }
}

impl MaxTokens {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::MaxTokens => Self::MaxCompletionTokens,
            Self::MaxCompletionTokens => Self::MaxTokens,
        }
    }
}

/// The tokens left for the response if prompt and response together exceed the context.
///
/// `None` if the error is about something else, or if so little is left that the prompt itself is
/// too long.
pub(crate) fn room(reported: &UpstreamError, used: &Used) -> Option<Room> {
    const WORTH_IT: u64 = 1_024;
    let (_, asked) = used.max_tokens?;
    let lower = reported.message.to_ascii_lowercase();
    let context =
        after(&lower, "maximum context length is ").or_else(|| after(&lower, "must be <= "))?;
    let prompt = match after(&lower, "input tokens (").and(lower.split_once(" - ")) {
        // vLLM: `(128000 > 32768 - 2000)`.
        Some((_, prompt)) => numbers(prompt).next()?,
        None => {
            let (_, requested) = lower
                .split_once("requested ")
                .or_else(|| lower.split_once("given: "))?;
            let mut numbers = numbers(requested);
            match numbers.next()? {
                first if first == asked => numbers.next()?,
                total if lower.contains("requested ") => total.checked_sub(asked)?,
                prompt => prompt,
            }
        }
    };
    let left = context.checked_sub(prompt)?;
    (WORTH_IT..asked)
        .contains(&left)
        .then_some(Room { asked, left })
}

/// The model's output limit, if the error states it.
fn most_output(lower: &str, used: &Used) -> Option<u64> {
    let (_, asked) = used.max_tokens?;
    if !lower.contains("max_tokens")
        && !lower.contains("max_completion_tokens")
        && !lower.contains("completion tokens")
    {
        return None;
    }
    const BEFORE_LIMIT: [&str; 3] = [
        "at most ",
        "less than or equal to ",
        "range of max_tokens is [1, ",
    ];
    let stated = BEFORE_LIMIT.iter().find_map(|words| after(lower, words));
    stated.filter(|most| (1..asked).contains(most))
}

fn is_about_system(lower: &str) -> bool {
    [
        "system message must be",
        "unexpected role 'system'",
        "system role must be",
        "system messages must be",
    ]
    .iter()
    .any(|words| lower.contains(words))
}

/// The member of the request that the upstream rejects.
fn rejected(reported: &UpstreamError, lower: &str, used: &Used) -> Option<&'static str> {
    const REJECTING: [&str; 8] = [
        "unsupported",
        "not supported",
        "does not support",
        "unrecognized",
        "unknown",
        "not permitted",
        "unexpected",
        "not allowed",
    ];
    if !reported.names(&["unsupported", "unknown_parameter"])
        && !REJECTING.iter().any(|word| lower.contains(word))
    {
        return None;
    }
    let sent = used.max_tokens.map(|(member, _)| member.name());
    let mut names = used.optional.iter().copied().chain(sent);
    if !reported.param.is_empty() {
        let param = reported.param.split('.').next().unwrap_or_default();
        return names.find(|name| *name == param);
    }
    // The member named first: `max_tokens` is not supported, use `max_completion_tokens`.
    names
        .filter_map(|name| Some((lower.find(name)?, name)))
        .min()
        .map(|(_, name)| name)
}

/// The first number after some words.
fn after(text: &str, words: &str) -> Option<u64> {
    numbers(text.split_once(words)?.1).next()
}

fn numbers(text: &str) -> impl Iterator<Item = u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used() -> Used {
        Used {
            max_tokens: Some((MaxTokens::MaxTokens, 128_000)),
            optional: OPTIONAL.to_vec(),
            mid_system: true,
            reasoning: false,
        }
    }

    fn reported(message: &str, param: &str) -> UpstreamError {
        UpstreamError {
            message: message.to_owned(),
            param: param.to_owned(),
            ..UpstreamError::default()
        }
    }

    #[track_caller]
    fn teaches(message: &str, param: &str, wanted: Capabilities) {
        let mut capabilities = Capabilities::default();
        assert_eq!(
            capabilities.take(&reported(message, param), &used()),
            wanted != Capabilities::default()
        );
        assert_eq!(capabilities, wanted, "{message}");
        assert!(
            !capabilities.take(&reported(message, param), &used()),
            "it is only new once: {message}"
        );
    }

    fn without(name: &str) -> Capabilities {
        Capabilities {
            without: [name.to_owned()].into(),
            ..Capabilities::default()
        }
    }

    #[test]
    fn the_other_name_of_max_tokens_is_learned() {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        let wanted = || Capabilities {
            max_tokens: Some(MaxTokens::MaxCompletionTokens),
            ..Capabilities::default()
        };
        teaches(message, "max_tokens", wanted());
        teaches(message, "", wanted());
    }

    #[test]
    fn a_rejected_member_is_left_out() {
        teaches(
            "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.",
            "temperature",
            without("temperature"),
        );
        teaches(
            "body.stream_options: Extra inputs are not permitted",
            "",
            without("stream_options"),
        );
        teaches(
            "Unrecognized request argument supplied: parallel_tool_calls",
            "",
            without("parallel_tool_calls"),
        );
        teaches(
            "stream_options.include_usage is not supported",
            "stream_options.include_usage",
            without("stream_options"),
        );
    }

    #[test]
    fn the_output_limit_of_a_model_is_learned() {
        let most = |most| Capabilities {
            max_output: Some(most),
            ..Capabilities::default()
        };
        teaches(
            "max_tokens is too large: 128000. This model supports at most 16384 completion tokens, whereas you provided 128000.",
            "max_tokens",
            most(16_384),
        );
        teaches(
            "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model",
            "max_tokens",
            most(8_192),
        );
        teaches(
            "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
            "",
            most(8_192),
        );
    }

    #[test]
    fn the_role_of_system_messages_and_the_member_for_thinking_are_learned() {
        let user = || Capabilities {
            mid_system: Some(MidSystem::User),
            ..Capabilities::default()
        };
        teaches(
            "Jinja Exception: System message must be at the beginning.",
            "",
            user(),
        );
        teaches("Unexpected role 'system' after role 'user'", "", user());
        let reasoning = Capabilities {
            reasoning: Some(Thoughts::ReasoningContent),
            ..Capabilities::default()
        };
        teaches(
            "The `reasoning_content` in the thinking mode must be passed back to the API.",
            "",
            reasoning,
        );
    }

    #[test]
    fn any_other_error_teaches_nothing() {
        for (message, param) in [
            (
                "Invalid value: 'x'. Supported values are: 'a'.",
                "messages[1].content",
            ),
            (
                "Unsupported parameter: 'stop' is not supported with this model.",
                "stop",
            ),
            ("temperature must be between 0 and 2", "temperature"),
            ("unknown model", "model"),
            (
                "This model's maximum context length is 8192 tokens.",
                "messages",
            ),
            ("", ""),
        ] {
            teaches(message, param, Capabilities::default());
        }
        let mut capabilities = Capabilities::default();
        let refusal = reported("unsupported parameter: temperature", "");
        assert!(
            !capabilities.take(&refusal, &Used::default()),
            "it was not sent"
        );
    }

    #[test]
    fn what_was_learned_overrides_the_settings() {
        let capabilities = Capabilities {
            max_output: Some(8_192),
            max_tokens: Some(MaxTokens::MaxCompletionTokens),
            ..Capabilities::default()
        };
        let mut options = Options {
            max_output: Some(4_096),
            ..Options::default()
        };
        capabilities.apply(&mut options);
        assert_eq!(
            (options.max_output, options.max_tokens),
            (Some(4_096), MaxTokens::MaxCompletionTokens)
        );
        let again: Capabilities =
            serde_json::from_str(&serde_json::to_string(&capabilities).unwrap()).unwrap();
        assert_eq!(again, capabilities);
    }

    #[test]
    fn the_room_that_a_prompt_leaves_is_found_in_the_messages_of_many_servers() {
        let table = [
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 128000. This model's maximum context length is 32768 tokens and your request has 2000 input tokens (128000 > 32768 - 2000).",
                Some(30_768),
            ),
            (
                "This model's maximum context length is 32768 tokens. However, you requested 130000 tokens (2000 in the messages, 128000 in the completion). Please reduce the length of the messages or completion.",
                Some(30_768),
            ),
            (
                "This model's maximum context length is 128000 tokens. However, you requested 128000 output tokens and your prompt contains at least 62466 input tokens, for a total of at least 190466 tokens.",
                Some(65_534),
            ),
            (
                "This endpoint's maximum context length is 131072 tokens. However, you requested about 150000 tokens (21000 of text input, 1000 of tool input, 128000 in the output).",
                Some(109_072),
            ),
            (
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 131073. Given: 5000 `inputs` tokens and 128000 `max_new_tokens`",
                Some(126_073),
            ),
            // The prompt itself is too long.
            (
                "This model's maximum context length is 16384 tokens. However, you requested 240946 tokens (112946 in the messages, 128000 in the completion).",
                None,
            ),
            (
                "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.",
                None,
            ),
            (
                "This model's maximum context length is 32768 tokens. However, you requested 160000 tokens (32000 in the messages, 128000 in the completion).",
                None,
            ),
            ("", None),
        ];
        for (message, wanted) in table {
            assert_eq!(
                room(&reported(message, ""), &used()).map(|room| room.left),
                wanted,
                "{message}"
            );
        }
        assert_eq!(room(&reported(table[0].0, ""), &Used::default()), None);
    }
}
