//! Types for what Gemini sends, limited to what the translation uses.

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use witgate_plugin::{Value, serde_json::value::RawValue};

use super::lenient;

/// One event of a stream, or a whole response.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Chunk {
    #[serde(deserialize_with = "lenient::list")]
    pub(super) candidates: Option<Vec<Candidate>>,
    #[serde(deserialize_with = "lenient::member")]
    pub(super) prompt_feedback: Option<PromptFeedback>,
    #[serde(deserialize_with = "lenient::member")]
    pub(super) usage_metadata: Option<UsageMetadata>,
    #[serde(deserialize_with = "lenient::member")]
    pub(super) response_id: Option<String>,
    pub(super) error: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Candidate {
    #[serde(deserialize_with = "lenient::member")]
    pub(super) content: Option<Content>,
    #[serde(deserialize_with = "lenient::member")]
    pub(super) finish_reason: Option<String>,
    #[serde(deserialize_with = "lenient::member")]
    pub(super) finish_message: Option<String>,
    pub(super) grounding_metadata: Option<Value>,
    pub(super) citation_metadata: Option<IgnoredAny>,
    pub(super) url_context_metadata: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Content {
    #[serde(deserialize_with = "lenient::list")]
    pub(super) parts: Option<Vec<Part>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Part {
    #[serde(deserialize_with = "lenient::member")]
    pub(super) text: Option<String>,
    #[serde(deserialize_with = "lenient::member")]
    pub(super) thought: Option<bool>,
    #[serde(deserialize_with = "lenient::member")]
    pub(super) thought_signature: Option<String>,
    #[serde(deserialize_with = "lenient::member")]
    pub(super) function_call: Option<FunctionCall>,
    #[serde(deserialize_with = "lenient::member")]
    pub(super) executable_code: Option<ExecutableCode>,
    #[serde(deserialize_with = "lenient::member")]
    pub(super) code_execution_result: Option<CodeExecutionResult>,
    pub(super) inline_data: Option<IgnoredAny>,
    pub(super) file_data: Option<IgnoredAny>,
    pub(super) tool_call: Option<IgnoredAny>,
    pub(super) tool_response: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionCall {
    #[serde(deserialize_with = "lenient::member")]
    pub(super) id: Option<String>,
    #[serde(deserialize_with = "lenient::member")]
    pub(super) name: Option<String>,
    /// The arguments as the model wrote them.
    pub(super) args: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExecutableCode {
    #[serde(deserialize_with = "lenient::member")]
    pub(super) code: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CodeExecutionResult {
    #[serde(deserialize_with = "lenient::member")]
    pub(super) output: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PromptFeedback {
    #[serde(deserialize_with = "lenient::member")]
    pub(super) block_reason: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct UsageMetadata {
    #[serde(deserialize_with = "count")]
    pub(super) prompt_token_count: u64,
    #[serde(deserialize_with = "count")]
    pub(super) cached_content_token_count: u64,
    #[serde(deserialize_with = "count")]
    pub(super) candidates_token_count: u64,
    #[serde(deserialize_with = "count")]
    pub(super) thoughts_token_count: u64,
    #[serde(deserialize_with = "count")]
    pub(super) tool_use_prompt_token_count: u64,
}

impl UsageMetadata {
    /// Adds what a later chunk says. Counts are totals: they only grow, and one that is missing is
    /// what it was.
    pub(super) fn update(&mut self, later: Self) {
        let grow = |count: &mut u64, later: u64| *count = later.max(*count);
        grow(&mut self.prompt_token_count, later.prompt_token_count);
        grow(
            &mut self.cached_content_token_count,
            later.cached_content_token_count,
        );
        grow(
            &mut self.candidates_token_count,
            later.candidates_token_count,
        );
        grow(&mut self.thoughts_token_count, later.thoughts_token_count);
        grow(
            &mut self.tool_use_prompt_token_count,
            later.tool_use_prompt_token_count,
        );
    }
}

/// Reads a count in any notation. A malformed one must not make the response unreadable.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number
            .as_u64()
            .or(number.as_f64().map(|count| count as u64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
    .unwrap_or_default())
}
