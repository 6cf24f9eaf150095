//! Translates responses that are not messages: token counts and model lists.

use serde::Deserialize;
use witgate_plugin::{Error, json, serde_json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    total_tokens: u64,
}

#[derive(Deserialize)]
struct Models {
    #[serde(default)]
    models: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Model {
    name: String,
    display_name: Option<String>,
    #[serde(default)]
    supported_generation_methods: Vec<String>,
}

/// Translates the response of `countTokens`.
pub(crate) fn count(body: &str) -> Result<String, Error> {
    let count: Count =
        serde_json::from_str(body).map_err(|error| Error::from(error).context("countTokens"))?;
    Ok(json!({ "input_tokens": count.total_tokens }).to_string())
}

/// Translates the list of models, limited to those that answer messages.
pub(crate) fn models(body: &str) -> Result<String, Error> {
    let list: Models =
        serde_json::from_str(body).map_err(|error| Error::from(error).context("models"))?;
    let answers = |model: &&Model| {
        model
            .supported_generation_methods
            .iter()
            .any(|method| method == "generateContent")
    };
    let entry = |model: &Model| {
        let id = model.name.strip_prefix("models/").unwrap_or(&model.name);
        json!({ "type": "model", "id": id, "display_name": model.display_name.as_deref().unwrap_or(id) })
    };
    let data: Vec<_> = list.models.iter().filter(answers).map(entry).collect();
    Ok(json!({ "data": data }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_models_that_answer_messages_are_listed_and_without_their_collection() {
        let body = json!({ "models": [
            { "name": "models/gemini-2.5-pro", "displayName": "Gemini 2.5 Pro",
              "supportedGenerationMethods": ["generateContent", "countTokens"] },
            { "name": "models/text-embedding-004", "supportedGenerationMethods": ["embedContent"] },
            { "name": "tunedModels/mine", "supportedGenerationMethods": ["generateContent"] },
        ]});
        let wanted = json!({ "data": [
            { "type": "model", "id": "gemini-2.5-pro", "display_name": "Gemini 2.5 Pro" },
            { "type": "model", "id": "tunedModels/mine", "display_name": "tunedModels/mine" },
        ]});
        assert_eq!(models(&body.to_string()).unwrap(), wanted.to_string());
    }

    #[test]
    fn a_missing_count_is_an_error_and_never_zero() {
        assert_eq!(
            count(r#"{"totalTokens":7,"promptTokensDetails":[]}"#).unwrap(),
            r#"{"input_tokens":7}"#
        );
        assert!(count("{}").is_err());
    }
}
