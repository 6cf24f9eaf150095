//! Translates what Gemini found on the web into the blocks of Anthropic's web search.

use witgate_plugin::{Value, json};

/// The searches of a response, from its grounding metadata.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Search {
    queries: Vec<String>,
    /// URL and title.
    results: Vec<(String, String)>,
}

impl Search {
    /// Adds the metadata of a chunk. Later chunks repeat what earlier ones said.
    pub(super) fn add(&mut self, metadata: &Value) {
        let list = |name: &str| metadata.get(name).and_then(Value::as_array);
        let queries = list("webSearchQueries").into_iter().flatten();
        for query in queries.filter_map(Value::as_str) {
            if !self.queries.iter().any(|known| known == query) {
                self.queries.push(query.to_owned());
            }
        }
        for chunk in list("groundingChunks").into_iter().flatten() {
            let of = |name: &str| {
                chunk
                    .pointer(&format!("/web/{name}"))
                    .and_then(Value::as_str)
            };
            let Some(url) = of("uri") else {
                continue;
            };
            if !self.results.iter().any(|(known, _)| known == url) {
                let title = of("title").unwrap_or(url);
                self.results.push((url.to_owned(), title.to_owned()));
            }
        }
    }

    /// A call of the search and its results, as blocks. None if the model did not search.
    pub(super) fn blocks(&self, id: &str) -> Option<[Value; 2]> {
        if self.queries.is_empty() && self.results.is_empty() {
            return None;
        }
        let query = self.queries.join("; ");
        let call = json!({ "type": "server_tool_use", "id": id, "name": "web_search", "input": { "query": query } });
        // Only Anthropic can read the encrypted content.
        let results: Vec<Value> = self
            .results
            .iter()
            .map(|(url, title)| {
                json!({ "type": "web_search_result", "url": url, "title": title,
                    "encrypted_content": "", "page_age": null })
            })
            .collect();
        let results =
            json!({ "type": "web_search_tool_result", "tool_use_id": id, "content": results });
        Some([call, results])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_is_listed_once() {
        let mut search = Search::default();
        assert_eq!(search.blocks("s"), None);
        let page = json!({ "web": { "uri": "https://a.example/", "title": "A" } });
        let untitled = json!({ "web": { "uri": "https://b.example/" } });
        search.add(&json!({ "webSearchQueries": ["q"], "groundingChunks": [page] }));
        search.add(&json!({ "webSearchQueries": ["q", "r"], "groundingChunks": [page, untitled, { "maps": {} }] }));
        search.add(&json!("odd"));
        let [call, results] = search.blocks("s").unwrap();
        assert_eq!(call["input"]["query"], "q; r");
        assert_eq!(results["tool_use_id"], call["id"]);
        let results = results["content"].as_array().unwrap();
        assert_eq!(results.len(), 2);
        assert_eq!(results[0]["title"], "A");
        assert_eq!(results[1]["title"], "https://b.example/");
    }
}
