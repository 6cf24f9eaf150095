//! The list of models of one upstream. If the upstream speaks another dialect, the list is
//! requested through the dialect's plugin, by a request of kind `models` that no client sent.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use witgate_document::Document;

use crate::{
    fault::{Blame, Fault, Kind},
    ids::ExchangeId,
    message::{Conversation, Request, RequestKind, Target},
    pipeline::{Decision, Run, Runtime},
    upstream::{Credential, Model},
};

use super::{
    Snapshot,
    attempt::{Deadline, JsonResponse, Received, head_of, read_response},
};

/// The models that the upstream at this index lists, in Anthropic's shape. If it has no list, the
/// configured ones.
pub(crate) async fn models(
    runtime: &Arc<Runtime>,
    snapshot: &Snapshot,
    index: usize,
    credential: Option<Credential<'_>>,
    now: Instant,
) -> Arc<[Model]> {
    let Some(upstream) = snapshot.upstreams.at(index) else {
        return Arc::new([]);
    };
    let Some(target) = target(snapshot, index).filter(Target::is_foreign) else {
        return upstream.models(credential, now).await;
    };
    let request = credential.map(async |credential| {
        let run = snapshot.catalog.begin(runtime);
        let list = request_list(run, snapshot, &target, credential).await;
        list.map_err(|fault| log_failure(&target, &fault)).ok()
    });
    let from_account = matches!(credential, Some(Credential::Account(_)));
    upstream.models_with(request, from_account, now).await
}

/// Logs why there is no list: a failed plugin is worth a warning, an upstream without a list is
/// not.
fn log_failure(target: &Target, fault: &Fault) {
    let (upstream, why) = (&target.upstream, fault.chain());
    match fault.blame {
        Blame::Plugin(_) => tracing::warn!(%upstream, why, "could not list models"),
        _ => tracing::debug!(%upstream, why, "could not list models"),
    }
}

/// Requests the list, translated by the plugins.
async fn request_list(
    mut run: Run,
    snapshot: &Snapshot,
    target: &Target,
    credential: Credential<'_>,
) -> Result<Bytes, Fault> {
    let no_list = |what: String| Fault::upstream(Kind::NotFound, what);
    let Some(upstream) = snapshot.upstreams.at(target.index) else {
        return Err(no_list("the upstream is no longer configured".to_owned()));
    };
    let mut request = blank();
    run.reserve(&request, std::slice::from_ref(target))?;
    match run.on_attempt(&mut request, target).await? {
        Decision::Proceed => {}
        Decision::Answer { plugin, .. } => {
            return Err(no_list(format!("plugin `{plugin}` answered the request")));
        }
        Decision::Refuse { plugin, fault, .. } => {
            return Err(no_list(format!(
                "plugin `{plugin}` refused the request: {fault}"
            )));
        }
    }
    let response = upstream.send(&request, credential, "").await?;
    let head = head_of(&request, target, &response);
    let translator = match response.status.is_success() {
        true => run.translator(target, || head.clone()),
        false => None,
    };
    let deadline = Deadline::of(target, "response", snapshot.config.retry.answer);
    match read_response(response, request.kind, target, &deadline, translator).await {
        Ok(Received::Json(JsonResponse { body, .. })) => {
            let changed = run.begin_response(head).on_body(&body).await?;
            Ok(changed.unwrap_or(body))
        }
        Ok(Received::Stream(_)) => Err(no_list("got a stream, expected a JSON list".to_owned())),
        Err(error) => Err(error.into_fault()),
    }
}

fn target(snapshot: &Snapshot, index: usize) -> Option<Target> {
    let config = &snapshot.upstreams.at(index)?.config;
    let account = snapshot.accounts.first(index).cloned();
    Some(Target {
        upstream: config.name.clone(),
        index,
        dialect: Arc::clone(&config.dialect),
        account,
        model: "".into(),
        requested_model: "".into(),
        attempt: 1,
        lacks: snapshot.lacks(index),
        version: config.version,
    })
}

/// The request for the list, without a client.
fn blank() -> Request {
    let id = ExchangeId::new();
    Request {
        conversation: Conversation::alone(id.clone()),
        id,
        kind: RequestKind::Models,
        method: Method::GET,
        path: "/v1/models".to_owned(),
        query: String::new(),
        headers: Arc::default(),
        credentials: HeaderMap::new(),
        session: None,
        stream: false,
        requested_model: "".into(),
        body: Document::new(Bytes::new()),
    }
}
