//! Context overflow: the errors of many servers for a prompt that is too long, in the words by
//! which clients know that they must compact. Pure.

/// Phrases of these errors, in lower case. The limit is the first number after the phrase.
const PHRASES: [&str; 9] = [
    // OpenAI and the many compatible servers.
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

/// What clients look for.
const ANTHROPIC: &str = "prompt is too long";

/// `prompt is too long: N tokens > M maximum` if the text says this in other words.
pub(super) fn too_long(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    if text.contains(ANTHROPIC) {
        return None;
    }
    let (at, phrase) = PHRASES
        .iter()
        .find_map(|phrase| Some((text.find(phrase)?, phrase)))?;
    let after = &text[at + phrase.len()..];
    let limit = numbers(after).next().or_else(|| numbers(&text).min());
    let prompt = numbers(&text).max();
    Some(match (prompt, limit) {
        (Some(prompt), Some(limit)) if prompt > limit => {
            format!("{ANTHROPIC}: {prompt} tokens > {limit} maximum")
        }
        _ => ANTHROPIC.to_owned(),
    })
}

/// The separate numbers that can be token counts: not the 4 in `gpt-4`, and not `400`.
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
    fn every_provider_wording_becomes_the_anthropic_one() {
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
        for (text, expected) in table {
            assert_eq!(too_long(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn anthropic_wording_is_kept() {
        let overflow = "prompt is too long: 210000 tokens > 200000 maximum";
        assert_eq!(too_long(overflow), None);
        let other = "input length and `max_tokens` exceed context limit: 197202 + 21333 > 200000";
        assert_eq!(too_long(other), None);
    }
}
