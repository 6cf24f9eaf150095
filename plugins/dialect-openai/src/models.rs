//! Translates the upstream's list of models into Anthropic's format.

use serde::Deserialize;
use serde_json::{Value, json};
use witgate_plugin::Error;

use crate::failure::UpstreamError;

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    /// Sent by OpenRouter.
    name: Option<String>,
}

pub(crate) fn models(body: &str) -> Result<Value, Error> {
    let list: List = serde_json::from_str(body).map_err(|error| {
        let why = UpstreamError::parse(body)
            .map_or_else(|| error.to_string(), |reported| reported.message);
        Error::new(format!(
            "the upstream's response is not a list of models: {why}"
        ))
    })?;
    let model = |Model { id, name }| {
        let name = name.unwrap_or_else(|| id.clone());
        json!({ "type": "model", "id": id, "display_name": name })
    };
    let data: Vec<Value> = list.data.into_iter().map(model).collect();
    Ok(json!({ "data": data }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_translated_with_ids_and_names() {
        let body = r#"{"object":"list","data":[{"id":"gpt-4o","object":"model"},{"id":"a/b","name":"B"}]}"#;
        let wanted = json!({ "data": [
            { "type": "model", "id": "gpt-4o", "display_name": "gpt-4o" },
            { "type": "model", "id": "a/b", "display_name": "B" },
        ] });
        assert_eq!(models(body).unwrap(), wanted);
    }

    #[test]
    fn an_invalid_list_reports_the_upstreams_message() {
        let body = r#"{"error":"Unexpected endpoint or method. (GET /models)"}"#;
        let error = models(body).unwrap_err().to_string();
        assert!(
            error.ends_with("Unexpected endpoint or method. (GET /models)"),
            "{error}"
        );
    }
}
