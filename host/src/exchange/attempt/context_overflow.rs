//! That a prompt is too long, said by servers of many makes, in the words by which clients know that they must compact. Pure.

/// Words that say so, lower-case; the limit is the first number behind them.
const TELLING: [&str; 9] = [
    // OpenAI and the many servers that speak like it.
    "maximum context length is",
    "context_length_exceeded",
    "maximum prompt length is",
    // Gemini.
    "exceeds the maximum number of tokens allowed",
    // llama.cpp.
    "exceeds the available context size",
    "exceed context size",
    // Mistral.
    "too large for model with",
    // Moonshot.
    "exceeded model token limit",
    // LM Studio, Ollama.
    "exceeds the context length",
];

const WANTED: &str = "prompt is too long";

/// `prompt is too long: N tokens > M maximum` if that is what a text says in other words.
pub(super) fn too_long(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    if text.contains(WANTED) {
        return None;
    }
    let (at, telling) = TELLING
        .iter()
        .find_map(|telling| Some((text.find(telling)?, telling)))?;
    let behind = &text[at + telling.len()..];
    let limit = numbers(behind).next().or_else(|| numbers(&text).min());
    let prompt = numbers(&text).max();
    Some(match (prompt, limit) {
        (Some(prompt), Some(limit)) if prompt > limit => {
            format!("{WANTED}: {prompt} tokens > {limit} maximum")
        }
        _ => WANTED.to_owned(),
    })
}

/// The numbers that stand for themselves and can count tokens: `gpt-4` and `400` are none.
fn numbers(text: &str) -> impl Iterator<Item = u64> {
    let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
    parts
        .filter_map(|part| part.trim_end_matches('.').parse().ok())
        .filter(|number| *number > 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_many_makes_become_one() {
        let table = [
            (
                "This model's maximum context length is 8192 tokens. However, your messages resulted in 10000 tokens.",
                "prompt is too long: 10000 tokens > 8192 maximum",
            ),
            (
                "This model's maximum context length is 4097 tokens, however you requested 5360 tokens (1360 in your prompt; 4000 for the completion).",
                "prompt is too long: 5360 tokens > 4097 maximum",
            ),
            (
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                "prompt is too long: 1200000 tokens > 1048576 maximum",
            ),
            (
                "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
                "prompt is too long: 9000 tokens > 8192 maximum",
            ),
            (
                "Your request exceeded model token limit: 262144 (requested: 300000)",
                "prompt is too long: 300000 tokens > 262144 maximum",
            ),
            (
                "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
                "prompt is too long: 200000 tokens > 131072 maximum",
            ),
            (
                r#"{"error":{"code":"context_length_exceeded"}}"#,
                "prompt is too long",
            ),
        ];
        for (said, wanted) in table {
            assert_eq!(too_long(said).as_deref(), Some(wanted), "{said}");
        }
    }

    #[test]
    fn anthropics_own_words_stay() {
        let own = "prompt is too long: 210000 tokens > 200000 maximum";
        assert_eq!(too_long(own), None);
        let other = "input length and `max_tokens` exceed context limit: 197202 + 21333 > 200000";
        assert_eq!(too_long(other), None);
    }
}
