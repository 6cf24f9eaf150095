//! Translates the upstream's list of models into Anthropic's format.

use serde_json::{Map, Value, json};
use witgate_plugin::Error;

use crate::failure::UpstreamError;

/// Where a server has the list. The others than OpenAI's are those of Ollama and its relatives.
const LISTS: [&str; 3] = ["data", "models", "result"];

/// The members of an entry that name the model.
const IDS: [&str; 3] = ["id", "model", "name"];

pub(crate) fn models(body: &str) -> Result<Value, Error> {
    let value: Value = serde_json::from_str(body).map_err(|error| invalid(&error.to_string()))?;
    let Some(list) = list(value) else {
        let reported = UpstreamError::parse(body).map(|reported| reported.message);
        return Err(invalid(reported.as_deref().unwrap_or("it has no list")));
    };
    let data: Vec<Value> = list.into_iter().filter_map(model).collect();
    Ok(json!({ "data": data }))
}

fn invalid(why: &str) -> Error {
    Error::new(format!(
        "the upstream's response is not a list of models: {why}"
    ))
}

/// The entries. A list that is `null` is empty.
fn list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(list) => Some(list),
        Value::Null => Some(Vec::new()),
        Value::Object(mut members) => {
            let name = LISTS.iter().find(|name| members.contains_key(**name))?;
            list(members.remove(*name)?)
        }
        _ => None,
    }
}

fn model(entry: Value) -> Option<Value> {
    let entry = match entry {
        Value::String(id) => Map::from_iter([("id".to_owned(), Value::String(id))]),
        Value::Object(entry) => entry,
        _ => return None,
    };
    let text = |name: &str| {
        entry
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let id = IDS.iter().find_map(|name| text(name))?;
    // OpenRouter's entries have a name for people.
    let name = text("name").unwrap_or(id);
    Some(json!({ "type": "model", "id": id, "display_name": name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(body: Value) -> Vec<String> {
        let list = models(&body.to_string()).unwrap();
        let entries = list["data"].as_array().unwrap().iter();
        entries
            .map(|entry| entry["id"].as_str().unwrap().to_owned())
            .collect()
    }

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
    fn a_list_is_found_in_every_form() {
        let entries = json!([{ "id": "a", "object": "model" }, { "name": "b" }, "c", null, {}, 7]);
        for body in [
            entries.clone(),
            json!({ "data": entries }),
            json!({ "models": entries }),
            json!({ "data": { "models": entries } }),
        ] {
            assert_eq!(ids(body.clone()), ["a", "b", "c"], "{body}");
        }
        for empty in [
            json!([]),
            json!(null),
            json!({ "data": [] }),
            json!({ "object": "list", "data": null }),
            json!({ "models": null }),
        ] {
            assert_eq!(ids(empty.clone()), Vec::<String>::new(), "{empty}");
        }
    }

    #[test]
    fn an_invalid_list_reports_the_upstreams_message() {
        for (body, wanted) in [
            (
                r#"{"error":"Unexpected endpoint or method. (GET /models)"}"#,
                "Unexpected endpoint or method. (GET /models)",
            ),
            (r#"{"data":7}"#, "it has no list"),
            ("<html>", "expected value at line 1 column 1"),
        ] {
            let error = models(body).unwrap_err().to_string();
            assert!(error.ends_with(wanted), "{error}");
        }
    }
}
