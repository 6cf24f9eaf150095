//! The models that an upstream lists, requested at most every five minutes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::message::Body;

use super::{Credential, Http, Upstream, convert};

/// How long a list is kept.
const TTL: Duration = Duration::from_secs(300);

/// How long an upstream may take. Claude Code waits three seconds for the whole list.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The longest list that is read, in bytes.
const LIMIT: usize = 4 * 1024 * 1024;

/// The largest page of Anthropic's API, and how many pages are read.
const PAGE: usize = 1000;
const PAGES: usize = 10;

/// The characters of a query parameter that are not escaped (RFC 3986, section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// An entry of a list of models, in Anthropic's shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) id: String,
    /// The whole object, with fields that only the upstream knows.
    pub(crate) entry: Map<String, Value>,
}

impl Model {
    /// A model of which nothing but its name is known.
    pub(crate) fn named(id: &str) -> Self {
        Self::from_entry(id.to_owned(), Map::new())
    }

    fn from_entry(id: String, mut entry: Map<String, Value>) -> Self {
        entry.insert("type".to_owned(), json!("model"));
        let mut default = |key: &str, value: Value| {
            entry.entry(key).or_insert(value);
        };
        default("id", json!(id));
        default("display_name", json!(id));
        // What the API sends if the date is unknown.
        default("created_at", json!("1970-01-01T00:00:00Z"));
        Self { id, entry }
    }
}

/// Requests the list from an upstream that speaks Anthropic's dialect.
pub(super) async fn list(
    upstream: &Upstream,
    http: &Http,
    credential: Option<Credential<'_>>,
    now: Instant,
) -> Arc<[Model]> {
    let request = credential.map(|credential| fetch(upstream, http, credential));
    let from_account = matches!(credential, Some(Credential::Account(_)));
    list_with(upstream, request, from_account, now).await
}

/// The list that `request` yields in time. It is kept for all clients if it is `from_account`.
pub(super) async fn list_with(
    upstream: &Upstream,
    request: Option<impl Future<Output = Option<Bytes>>>,
    from_account: bool,
    now: Instant,
) -> Arc<[Model]> {
    if let Some(list) = remembered(upstream, now) {
        return list;
    }
    let configured = || {
        let models = upstream.config.models.iter();
        models.map(|id| Model::named(id)).collect()
    };
    let Some(request) = request else {
        return configured();
    };
    // Dropping the future after the timeout closes the connection.
    let response = tokio::time::timeout(TIMEOUT, request).await;
    let Some(list) = response.ok().flatten().and_then(|body| parse(&body)) else {
        tracing::debug!(upstream = %upstream.config.name, "could not list models in time");
        return configured();
    };
    let list: Arc<[Model]> = list.into();
    // What one client's own credential may see is not shown to others.
    if from_account {
        *upstream.listed.lock() = Some((now, Arc::clone(&list)));
    }
    list
}

fn remembered(upstream: &Upstream, now: Instant) -> Option<Arc<[Model]>> {
    let listed = upstream.listed.lock();
    let (at, list) = listed.as_ref()?;
    (now.duration_since(*at) < TTL).then(|| Arc::clone(list))
}

/// Fetches all pages of the list; `None` if a request fails.
async fn fetch(upstream: &Upstream, http: &Http, credential: Credential<'_>) -> Option<Bytes> {
    let mut query = format!("limit={PAGE}");
    let mut entries = Vec::new();
    for _ in 0..PAGES {
        let body = get(upstream, http, "/v1/models", &query, credential).await?;
        let mut page: Value = serde_json::from_slice(&body).ok()?;
        let next = next_page(&page);
        let Some(Value::Array(data)) = page.get_mut("data").map(Value::take) else {
            // Not Anthropic's form.
            return entries.is_empty().then_some(body);
        };
        entries.extend(data);
        match next {
            Some(next) => query = format!("limit={PAGE}&after_id={next}"),
            None => break,
        }
    }
    Some(json!({ "data": entries }).to_string().into())
}

/// The id to go on after, if the list has another page.
fn next_page(page: &Value) -> Option<String> {
    let last = page["last_id"].as_str()?;
    (page["has_more"] == true).then(|| utf8_percent_encode(last, UNRESERVED).to_string())
}

/// One model. The id is as in a path; it may be an alias.
pub(super) async fn one(
    upstream: &Upstream,
    http: &Http,
    credential: Credential<'_>,
    id: &str,
) -> Option<Model> {
    let path = format!("/v1/models/{id}");
    let response = get(upstream, http, &path, "", credential);
    let body = tokio::time::timeout(TIMEOUT, response).await.ok()??;
    let Ok(Value::Object(entry)) = serde_json::from_slice(&body) else {
        return None;
    };
    let id = entry.get("id")?.as_str()?.to_owned();
    Some(Model::from_entry(id, entry))
}

/// The body of a successful response of limited size.
async fn get(
    upstream: &Upstream,
    http: &Http,
    path: &str,
    query: &str,
    credential: Credential<'_>,
) -> Option<Bytes> {
    let mut headers = HeaderMap::new();
    upstream.prepare(&mut headers, credential).ok()?;
    let url = http.url(path, &upstream.query(query)).ok()?;
    let response = http.send(Method::GET, url, headers, "".into()).await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let response = convert(response, upstream.config.name.clone(), upstream.idle);
    let Body::Stream(mut chunks) = response.body else {
        return None;
    };
    let mut body = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.ok()?);
        if body.len() > LIMIT {
            return None;
        }
    }
    Some(body.freeze())
}

/// Parses Anthropic's list, and any other that has `data[].id`.
fn parse(body: &[u8]) -> Option<Vec<Model>> {
    let mut list: Value = serde_json::from_slice(body).ok()?;
    let Value::Array(data) = list.get_mut("data")?.take() else {
        return None;
    };
    let entries = data.into_iter().filter_map(|entry| {
        let Value::Object(mut entry) = entry else {
            return None;
        };
        let id = entry.get("id")?.as_str()?.to_owned();
        // Other APIs have this field; it means nothing here.
        entry.shift_remove("object");
        Some(Model::from_entry(id, entry))
    });
    Some(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_another_api_is_read_too() {
        let body =
            br#"{"object":"list","data":[{"id":"glm-5","object":"model","created":1},{"no":1}]}"#;
        let list = parse(body).unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].entry["type"], "model");
        assert_eq!(list[0].entry["display_name"], "glm-5");
        assert_eq!(parse(b"<html>"), None);
    }

    #[test]
    fn a_list_goes_on_after_its_last_id_if_there_is_more() {
        let page = |text| next_page(&serde_json::from_str(text).unwrap());
        let next = page(r#"{"has_more":true,"last_id":"a-1/b"}"#);
        assert_eq!(next.as_deref(), Some("a-1%2Fb"));
        assert_eq!(page(r#"{"has_more":false,"last_id":"a"}"#), None);
        assert_eq!(page(r#"{"has_more":true,"last_id":null}"#), None);
        assert_eq!(page("[]"), None);
    }

    #[test]
    fn unknown_fields_of_an_entry_are_kept() {
        let body = br#"{"data":[{"id":"m","display_name":"M","capabilities":{"x":1}}]}"#;
        let list = parse(body).unwrap();
        assert_eq!(list[0].entry["display_name"], "M");
        assert_eq!(list[0].entry["capabilities"]["x"], 1);
    }
}
