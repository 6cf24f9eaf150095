//! Which models an upstream lists, asked for at most every five minutes.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, header::ACCEPT_ENCODING};
use serde_json::{Map, Value, json};

use super::{Credential, Http, Transport, Upstream, echo};

/// New models do not come oftener.
const FRESH: Duration = Duration::from_secs(300);

/// Claude Code waits three seconds for the whole list.
const PATIENCE: Duration = Duration::from_secs(2);

/// More than any list is long.
const LIMIT: usize = 4 * 1024 * 1024;

/// An entry of a list of models, in Anthropic's shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) id: String,
    /// The whole object, with fields that only the upstream knows.
    pub(crate) entry: Map<String, Value>,
}

impl Model {
    pub(super) fn named(id: &str) -> Self {
        Self::from_entry(id.to_owned(), Map::new())
    }

    fn from_entry(id: String, mut entry: Map<String, Value>) -> Self {
        entry.insert("type".to_owned(), json!("model"));
        let mut default = |key: &str, value: Value| {
            entry.entry(key).or_insert(value);
        };
        default("id", json!(id));
        default("display_name", json!(id));
        // What the API gives where the day is not known.
        default("created_at", json!("1970-01-01T00:00:00Z"));
        Self { id, entry }
    }
}

pub(super) async fn list(
    upstream: &Upstream,
    credential: Option<Credential<'_>>,
    now: Instant,
) -> Arc<[Model]> {
    let http = match &upstream.transport {
        Transport::Echo => return echo::models().into(),
        Transport::Http(http) => http,
    };
    let asking = credential.map(|credential| ask(upstream, http, credential));
    let own = matches!(credential, Some(Credential::Account(_)));
    told(upstream, asking, own, now).await
}

/// What `asking` tells, in time. `own` where that is for every client to know.
pub(super) async fn told(
    upstream: &Upstream,
    asking: Option<impl Future<Output = Option<Bytes>>>,
    own: bool,
    now: Instant,
) -> Arc<[Model]> {
    if let Some(list) = remembered(upstream, now) {
        return list;
    }
    let configured = || {
        let models = upstream.config.models.iter();
        models.map(|id| Model::named(id)).collect()
    };
    let Some(asking) = asking else {
        return configured();
    };
    // Dropping the future at the time-out drops the connection.
    let asked = tokio::time::timeout(PATIENCE, asking).await;
    let Some(list) = asked.ok().flatten().and_then(|body| parse(&body)) else {
        tracing::debug!(upstream = %upstream.config.name, "no list of models in time");
        return configured();
    };
    let list: Arc<[Model]> = list.into();
    // What one client's own credential may see is not for others.
    if own {
        *upstream
            .listed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&list)));
    }
    list
}

fn remembered(upstream: &Upstream, now: Instant) -> Option<Arc<[Model]>> {
    let listed = upstream
        .listed
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let (asked, list) = listed.as_ref()?;
    (now.duration_since(*asked) < FRESH).then(|| Arc::clone(list))
}

/// `None` where what comes is no answer.
async fn ask(upstream: &Upstream, http: &Http, credential: Credential<'_>) -> Option<Bytes> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    upstream.sign(&mut headers, credential).ok()?;
    let url = http.url("/v1/models", "limit=1000").ok()?;
    let answer = http.send(Method::GET, url, headers, "".into()).await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    let mut body = BytesMut::new();
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.ok()?);
        if body.len() > LIMIT {
            return None;
        }
    }
    Some(body.freeze())
}

/// Reads Anthropic's list, and any other that has `data[].id`.
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
        // What other makers put there says nothing here.
        entry.shift_remove("object");
        Some(Model::from_entry(id, entry))
    });
    Some(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_another_make_is_read_too() {
        let body =
            br#"{"object":"list","data":[{"id":"glm-5","object":"model","created":1},{"no":1}]}"#;
        let list = parse(body).unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].entry["type"], "model");
        assert_eq!(list[0].entry["display_name"], "glm-5");
        assert_eq!(parse(b"<html>"), None);
    }

    #[test]
    fn what_only_the_upstream_knows_stays_in_the_entry() {
        let body = br#"{"data":[{"id":"m","display_name":"M","capabilities":{"x":1}}]}"#;
        let list = parse(body).unwrap();
        assert_eq!(list[0].entry["display_name"], "M");
        assert_eq!(list[0].entry["capabilities"]["x"], 1);
    }
}
