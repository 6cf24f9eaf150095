//! `/v1/models`: the models of all upstreams that a route leads to.

use std::{collections::HashSet, sync::Arc, time::Instant};

use futures_util::future::join_all;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::{
    exchange::{Snapshot, is_routed, models},
    fault::{Fault, Kind},
    pipeline::Runtime,
    secret::Secret,
    upstream::{Credential, Model},
};

/// The default and the largest page of Anthropic's API.
const PAGE: usize = 20;
const LARGEST_PAGE: usize = 1000;

/// Returns the union of the upstreams' lists, and the models that routes name. The lists are
/// fetched concurrently, each with its own time limit.
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
            let key = key(snapshot, index).await;
            let credential = credential(snapshot, index, key.as_ref(), own);
            models(runtime, snapshot, index, credential, now).await
        });
    let lists: Vec<Arc<[Model]>> = join_all(lists).await;
    let mut seen = HashSet::new();
    let routes = &snapshot.config.routes;
    let named: Vec<Model> = routes
        .iter()
        .filter_map(|route| route.one_model())
        .map(Model::named)
        .collect();
    let models = lists.iter().flat_map(|list| list.iter()).chain(&named);
    models
        .filter(|model| is_routed(&snapshot.config, &model.id) && seen.insert(&*model.id))
        .cloned()
        .collect()
}

/// The key of an upstream's first account.
async fn key(snapshot: &Snapshot, index: usize) -> Option<Secret> {
    let account = snapshot.accounts.first(index)?;
    snapshot.accounts.credential(index, account).await.ok()
}

/// The credential for requests to an upstream that need any one. The client's own goes only to the
/// first, and only if that has no accounts.
fn credential<'a>(
    snapshot: &Snapshot,
    index: usize,
    key: Option<&'a Secret>,
    own: &'a HeaderMap,
) -> Option<Credential<'a>> {
    let owns = || index == 0 && !snapshot.accounts.any(index);
    key.map(Credential::Account)
        .or_else(|| owns().then_some(Credential::Client(own)))
}

/// Returns one model by its id as in a path. One that no list has may be an alias, so the upstreams
/// are asked for it that its route leads to.
pub(super) async fn one(
    snapshot: &Snapshot,
    models: &[Model],
    id: &str,
    own: &HeaderMap,
) -> Result<Model, Fault> {
    let not_found = match listed(models, id) {
        Ok(model) => return Ok(model.clone()),
        Err(fault) => fault,
    };
    let name = decoded(id);
    for (index, upstream) in snapshot.upstreams.iter().enumerate() {
        if !is_sent_as_it_is(snapshot, index, &name) {
            continue;
        }
        let key = key(snapshot, index).await;
        if let Some(credential) = credential(snapshot, index, key.as_ref(), own)
            && let Some(model) = upstream.model(credential, id).await
        {
            return Ok(model);
        }
    }
    Err(not_found)
}

/// Whether a request for a model goes to this upstream under the same name.
fn is_sent_as_it_is(snapshot: &Snapshot, index: usize, model: &str) -> bool {
    if snapshot.config.routes.is_empty() {
        return true;
    }
    let route = snapshot.config.route(model);
    route.is_some_and(|(route, _)| {
        let mut destinations = route.to.iter();
        destinations.any(|to| to.upstream == index && to.model.is_none())
    })
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

/// Returns a listed model by its id as in a path.
fn listed<'a>(models: &'a [Model], id: &str) -> Result<&'a Model, Fault> {
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
pub(super) fn decoded(text: &str) -> String {
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
        assert_eq!(listed(&models(&["c/d"]), "c%2Fd").unwrap().id, "c/d");
        assert_eq!(
            listed(&models(&["a"]), "b").unwrap_err().to_string(),
            "model: b"
        );
    }
}
