//! The token counts of a response, wherever a server puts them.

use serde_json::{Map, Value};
use witgate_plugin::dialect::Usage;

/// Where a chunk or a choice has its counts.
const PLACES: [&[&str]; 6] = [
    &["usage"],
    &["usageMetadata"],
    &["delta", "usage"],
    &["message", "usage"],
    // Groq.
    &["x_groq", "usage"],
    &["response", "usage"],
];

const PROMPT: [&[&str]; 4] = [
    &["prompt_tokens"],
    &["input_tokens"],
    &["promptTokenCount"],
    // Ollama.
    &["prompt_eval_count"],
];

const OUTPUT: [&[&str]; 4] = [
    &["completion_tokens"],
    &["output_tokens"],
    &["candidatesTokenCount"],
    &["eval_count"],
];

/// Tokens of thinking, which some servers do not count as output.
const THINKING: [&[&str]; 2] = [
    &["completion_tokens_details", "reasoning_tokens"],
    &["thoughtsTokenCount"],
];

const TOTAL: [&[&str]; 2] = [&["total_tokens"], &["totalTokenCount"]];

/// Tokens of the prompt that were read from a cache.
const READ: [&[&str]; 10] = [
    &["prompt_tokens_details", "cached_tokens"],
    &["input_tokens_details", "cached_tokens"],
    // Moonshot.
    &["cached_tokens"],
    // DeepSeek.
    &["prompt_cache_hit_tokens"],
    // LiteLLM and others that translate from the Messages API.
    &["cache_read_input_tokens"],
    &["prompt_tokens_details", "cache_read_input_tokens"],
    &["prompt_tokens_details", "cache_read_tokens"],
    &["cache_read_tokens"],
    &["num_cached_tokens"],
    &["cachedContentTokenCount"],
];

/// Tokens of the prompt that were written to a cache.
const WRITTEN: [&[&str]; 7] = [
    // OpenRouter.
    &["prompt_tokens_details", "cache_write_tokens"],
    // DashScope.
    &["prompt_tokens_details", "cache_creation_input_tokens"],
    &["prompt_tokens_details", "cache_creation_tokens"],
    &["input_tokens_details", "cache_write_tokens"],
    // LiteLLM and others that translate from the Messages API.
    &["cache_creation_input_tokens"],
    &["cache_write_tokens"],
    &["cache_creation_tokens"],
];

/// Counts, zero where the server reports none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    prompt: u64,
    output: u64,
    read: u64,
    written: u64,
    /// The prompt is counted without its cached tokens, as in the Messages API.
    without_cached: bool,
}

impl Counts {
    /// The counts of a chunk or a choice.
    pub(super) fn of(object: &Map<String, Value>) -> Self {
        let mut counts = Self::of_usage(object);
        for place in PLACES {
            if let Some(usage) = at(object, place).and_then(Value::as_object) {
                counts.add(Self::of_usage(usage));
            }
        }
        counts
    }

    fn of_usage(usage: &Map<String, Value>) -> Self {
        let find = |places: &[&[&str]]| {
            let counts = places.iter().filter_map(|place| count(at(usage, place)));
            counts.max().unwrap_or_default()
        };
        let prompt = find(&PROMPT);
        let output = find(&OUTPUT);
        // Most chunks have no counts.
        if prompt == 0 && output == 0 {
            return Self::default();
        }
        let (thinking, total) = (find(&THINKING), find(&TOTAL));
        let output = match output {
            // Only with a prompt: some servers begin with a total alone.
            0 if prompt > 0 => total.saturating_sub(prompt),
            // xAI.
            output if total > 0 && sum(prompt, output, thinking) == Some(total) => {
                output + thinking
            }
            output => output,
        };
        Self {
            prompt,
            output,
            read: find(&READ),
            written: find(&WRITTEN),
            without_cached: usage.contains_key("input_tokens")
                && !usage.contains_key("prompt_tokens")
                && !usage.contains_key("input_tokens_details"),
        }
    }

    /// Adds later counts. They replace the earlier ones, except where they say nothing.
    pub(super) fn add(&mut self, later: Self) {
        if later.prompt > 0 {
            self.without_cached = later.without_cached;
        }
        for (count, later) in [
            (&mut self.prompt, later.prompt),
            (&mut self.output, later.output),
            (&mut self.read, later.read),
            (&mut self.written, later.written),
        ] {
            if later > 0 {
                *count = later;
            }
        }
    }

    /// The counts as Anthropic's API reports them: the input excludes the cached tokens.
    pub(super) fn tokens(&self) -> Usage {
        let cached = match self.without_cached {
            true => 0,
            false => self.read.saturating_add(self.written),
        };
        Usage {
            input: self.prompt.saturating_sub(cached),
            cache_read: self.read,
            cache_write: self.written,
            output: self.output,
        }
    }
}

/// A count, which some servers send as a text or in floating point.
pub(super) fn count(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64().or_else(|| {
            let number = number.as_f64().filter(|number| *number >= 0.0)?;
            Some(number as u64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn sum(prompt: u64, output: u64, thinking: u64) -> Option<u64> {
    prompt.checked_add(output)?.checked_add(thinking)
}

fn at<'a>(object: &'a Map<String, Value>, place: &[&str]) -> Option<&'a Value> {
    let (first, rest) = place.split_first()?;
    let found = object.get(*first)?;
    rest.iter().try_fold(found, |value, name| value.get(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> [u64; 4] {
        let tokens = Counts::of(value.as_object().unwrap()).tokens();
        [
            tokens.input,
            tokens.cache_read,
            tokens.cache_write,
            tokens.output,
        ]
    }

    #[test]
    fn counts_are_found_wherever_a_server_puts_them() {
        let usage = json!({ "prompt_tokens": 30, "completion_tokens": 3 });
        for place in [
            json!({ "usage": usage }),
            json!({ "x_groq": { "usage": usage } }),
            json!({ "delta": { "usage": usage } }),
            json!({ "usage": { "prompt_tokens": "30", "completion_tokens": 3.0 } }),
            json!({ "usage": { "prompt_tokens": 30, "total_tokens": 33 } }),
            json!({ "usage": { "input_tokens": 30, "output_tokens": 3 } }),
            json!({ "prompt_eval_count": 30, "eval_count": 3 }),
            json!({ "usageMetadata": { "promptTokenCount": 30, "candidatesTokenCount": 1, "thoughtsTokenCount": 2, "totalTokenCount": 33 } }),
            json!({ "usage": { "prompt_tokens": 30, "completion_tokens": 1, "total_tokens": 33, "completion_tokens_details": { "reasoning_tokens": 2 } } }),
            json!({ "usage": { "prompt_tokens": 30, "completion_tokens": 3, "total_tokens": 33, "completion_tokens_details": { "reasoning_tokens": 2 } } }),
        ] {
            assert_eq!(of(place.clone()), [30, 0, 0, 3], "{place}");
        }
        for odd in [
            json!({ "usage": "none" }),
            json!({ "usage": { "prompt_tokens": -1, "prompt_tokens_details": null } }),
            json!({ "usage": { "total_tokens": 7 } }),
        ] {
            assert_eq!(of(odd.clone()), [0; 4], "{odd}");
        }
    }

    #[test]
    fn cached_tokens_are_found_in_every_servers_words() {
        for (more, wanted) in [
            (
                json!({ "prompt_tokens_details": { "cached_tokens": 20 } }),
                [10, 20, 0, 3],
            ),
            (json!({ "cached_tokens": 20 }), [10, 20, 0, 3]),
            (
                json!({ "prompt_cache_hit_tokens": 20, "prompt_cache_miss_tokens": 10 }),
                [10, 20, 0, 3],
            ),
            (
                json!({ "prompt_tokens_details": { "cached_tokens": 20, "cache_write_tokens": 9 } }),
                [1, 20, 9, 3],
            ),
            (
                json!({ "cache_read_input_tokens": 20, "cache_creation_input_tokens": 9 }),
                [1, 20, 9, 3],
            ),
            (
                json!({ "prompt_tokens_details": { "cached_tokens": 0, "cache_creation_input_tokens": 9 } }),
                [21, 0, 9, 3],
            ),
        ] {
            let mut usage = json!({ "prompt_tokens": 30, "completion_tokens": 3 });
            let all = usage.as_object_mut().unwrap();
            all.extend(more.as_object().unwrap().clone());
            assert_eq!(of(json!({ "usage": usage })), wanted, "{more}");
        }
        let as_anthropic =
            json!({ "input_tokens": 10, "output_tokens": 3, "cache_read_input_tokens": 20 });
        assert_eq!(of(json!({ "usage": as_anthropic })), [10, 20, 0, 3]);
        let as_responses = json!({ "input_tokens": 30, "output_tokens": 3, "input_tokens_details": { "cached_tokens": 20 } });
        assert_eq!(of(json!({ "usage": as_responses })), [10, 20, 0, 3]);
    }

    #[test]
    fn later_counts_replace_earlier_ones_unless_they_are_zero() {
        let mut counts = Counts::default();
        let usage = |value: Value| Counts::of_usage(value.as_object().unwrap());
        counts.add(usage(
            json!({ "prompt_tokens": 10, "completion_tokens": 1 }),
        ));
        counts.add(usage(
            json!({ "prompt_tokens": 10, "completion_tokens": 5 }),
        ));
        counts.add(usage(json!({ "total_tokens": 0, "prompt_tokens": 0 })));
        counts.add(usage(json!({})));
        assert_eq!((counts.prompt, counts.output), (10, 5));
    }
}
