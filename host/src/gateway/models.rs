//! `/v1/models`: the models of all upstreams that a route leads to.

use std::{collections::HashSet, sync::Arc, time::Instant};

use futures_util::future::join_all;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::{
    exchange::{Snapshot, is_routed, models},
    fault::{Fault, Kind},
    pipeline::Runtime,
    upstream::{Credential, Model},
};

/// The default and the largest page of Anthropic's API.
const PAGE: usize = 20;
const LARGEST_PAGE: usize = 1000;

/// Returns the union of the upstreams' lists. They are fetched concurrently, each with its own time
/// limit.
pub(super) async fn union(
    runtime: &Arc<Runtime>,
    snapshot: &Snapshot,
    own: &HeaderMap,
) -> Vec<Model> {
    let now = Instant::now();
    let lists = snapshot
        .upstreams
        .iter()
        .enumerate()
        .map(async |(index, _)| {
            let key = match snapshot.accounts.first(index) {
                Some(account) => snapshot.accounts.credential(index, account).await.ok(),
                None => None,
            };
            let credential = match &key {
                Some(key) => Some(Credential::Account(key)),
                // The client's own credential goes only to the first, and only if that has no
                // accounts.
                None => {
                    (index == 0 && !snapshot.accounts.any(index)).then_some(Credential::Client(own))
                }
            };
            models(runtime, snapshot, index, credential, now).await
        });
    let lists: Vec<Arc<[Model]>> = join_all(lists).await;
    let mut seen = HashSet::new();
    let models = lists.iter().flat_map(|list| list.iter());
    models
        .filter(|model| is_routed(&snapshot.config, &model.id) && seen.insert(&*model.id))
        .cloned()
        .collect()
}

/// Returns a page of the list, by `limit`, `after_id` and `before_id` in the query.
pub(super) fn page(models: &[Model], query: &str) -> Result<Value, Fault> {
    let mut limit = PAGE;
    let mut from = 0;
    let mut to = models.len();
    let mut backwards = false;
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let value = decoded(value);
        let place = || {
            let place = models.iter().position(|model| model.id == value);
            let what = || Fault::client(Kind::BadRequest, format!("{key}: no model `{value}`"));
            place.ok_or_else(what)
        };
        match key {
            "limit" => {
                limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=LARGEST_PAGE).contains(limit))
                    .ok_or_else(|| {
                        let what = format!(
                            "limit: got `{value}`, expected a number from 1 to {LARGEST_PAGE}"
                        );
                        Fault::client(Kind::BadRequest, what)
                    })?;
            }
            "after_id" => from = place()? + 1,
            "before_id" => {
                to = place()?;
                backwards = true;
            }
            _ => {}
        }
    }
    let part = models.get(from..to).unwrap_or_default();
    let has_more = part.len() > limit;
    let part = match (has_more, backwards) {
        (false, _) => part,
        (true, false) => &part[..limit],
        (true, true) => &part[part.len() - limit..],
    };
    Ok(json!({
        "data": part.iter().map(|model| &model.entry).collect::<Vec<_>>(),
        "has_more": has_more,
        "first_id": part.first().map(|model| &model.id),
        "last_id": part.last().map(|model| &model.id),
    }))
}

/// Returns one model by its id as in a path.
pub(super) fn one<'a>(models: &'a [Model], id: &str) -> Result<&'a Model, Fault> {
    let id = decoded(id);
    let found = models.iter().find(|model| model.id == id);
    found.ok_or_else(|| Fault::client(Kind::NotFound, format!("model: {id}")))
}

/// Returns the list in the format that clients of another API read.
pub(super) fn plain(models: &[Model]) -> Value {
    let entry = |model: &Model| json!({ "id": model.id, "object": "model", "created": 0, "owned_by": "witgate" });
    json!({ "object": "list", "data": models.iter().map(entry).collect::<Vec<_>>() })
}

/// Decodes percent-encoding.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.as_bytes();
    while let Some((&byte, tail)) = left.split_first() {
        let escaped = (byte == b'%').then(|| tail.get(..2)).flatten();
        let escaped = escaped.and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) => {
                bytes.push(value);
                left = &tail[2..];
            }
            None => {
                bytes.push(byte);
                left = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn models(ids: &[&str]) -> Vec<Model> {
        let model = |id: &&str| {
            let entry = Map::from_iter([("id".to_owned(), json!(id))]);
            Model {
                id: (*id).to_owned(),
                entry,
            }
        };
        ids.iter().map(model).collect()
    }

    #[track_caller]
    fn is(query: &str, ids: &[&str], has_more: bool) {
        let page = page(&models(&["a", "b", "c/d", "e"]), query).unwrap();
        let found: Vec<_> = page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["id"].as_str().unwrap())
            .collect();
        assert_eq!(found, ids, "{query}");
        assert_eq!(page["has_more"], has_more, "{query}");
        assert_eq!(page["first_id"].as_str(), ids.first().copied());
        assert_eq!(page["last_id"].as_str(), ids.last().copied());
    }

    #[test]
    fn pages_go_both_ways() {
        is("", &["a", "b", "c/d", "e"], false);
        is("limit=1000", &["a", "b", "c/d", "e"], false);
        is("limit=2", &["a", "b"], true);
        is("limit=2&after_id=b", &["c/d", "e"], false);
        is("after_id=c%2Fd", &["e"], false);
        is("before_id=c%2fd&limit=1", &["b"], true);
        is("after_id=e", &[], false);
    }

    #[test]
    fn an_invalid_page_is_rejected_with_the_name_of_the_field() {
        for query in ["limit=0", "limit=1001", "limit=x", "after_id=zz"] {
            let fault = page(&models(&["a"]), query).unwrap_err();
            assert!(
                fault
                    .to_string()
                    .starts_with(query.split('=').next().unwrap()),
                "{fault}"
            );
        }
    }

    #[test]
    fn an_unknown_model_is_named() {
        assert_eq!(one(&models(&["c/d"]), "c%2Fd").unwrap().id, "c/d");
        assert_eq!(
            one(&models(&["a"]), "b").unwrap_err().to_string(),
            "model: b"
        );
    }
}
