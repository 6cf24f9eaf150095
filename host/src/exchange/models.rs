//! The list of models of one upstream. One that speaks another protocol is asked through its dialect's plugin, by a request
//! that no client sent: that of kind `models`.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use witgate_document::Document;

use crate::{
    fault::{Blame, Fault, Kind},
    ids::ExchangeId,
    message::{Request, RequestKind, Target},
    pipeline::{Decision, Run, Runtime},
    upstream::{Credential, Model},
};

use super::{
    Snapshot,
    attempt::{Deadline, JsonResponse, Received, head_of, read_response, suit_foreigners},
};

/// What the upstream at this place lists, in Anthropic's shape, or what is configured where it lists nothing.
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
    let asking = credential.map(async |credential| {
        let run = snapshot.catalog.begin(runtime);
        let listed = ask(run, snapshot, &target, credential).await;
        listed.map_err(|fault| complain(&target, &fault)).ok()
    });
    let own = matches!(credential, Some(Credential::Account(_)));
    upstream.models_with(asking, own, now).await
}

/// A plugin that fails has to be looked at; an upstream without a list has not.
fn complain(target: &Target, fault: &Fault) {
    let (upstream, why) = (&target.upstream, fault.chain());
    match fault.blame {
        Blame::Plugin(_) => tracing::warn!(%upstream, why, "no list of models"),
        _ => tracing::debug!(%upstream, why, "no list of models"),
    }
}

/// The list as the plugins translate it.
async fn ask(
    mut run: Run,
    snapshot: &Snapshot,
    target: &Target,
    credential: Credential<'_>,
) -> Result<Bytes, Fault> {
    let none = |what: String| Fault::upstream(Kind::NotFound, what);
    let Some(upstream) = snapshot.upstreams.at(target.index) else {
        return Err(none("it is gone from the configuration".to_owned()));
    };
    let blank = blank();
    let mut request = blank.clone();
    run.reserve(&request, std::slice::from_ref(target))?;
    match run.on_attempt(&mut request, target).await? {
        Decision::Proceed => {}
        Decision::Answer { plugin, .. } => return Err(none(format!("`{plugin}` answered"))),
        Decision::Refuse { plugin, fault, .. } => {
            return Err(none(format!("`{plugin}` refused: {fault}")));
        }
    }
    suit_foreigners(&mut request, &blank);
    let answer = upstream.send(&request, credential, "").await?;
    let head = head_of(&request, target, &answer);
    let translator = match answer.status.is_success() {
        true => run.translator(head.clone()).await?,
        false => None,
    };
    let due = Deadline::of(target, "answer", snapshot.config.retry.answer);
    match read_response(answer, request.kind, target, &due, translator).await {
        Ok(Received::Json(JsonResponse { body, .. })) => {
            let changed = run.begin_response(head).on_body(&body).await?;
            Ok(changed.unwrap_or(body))
        }
        Ok(Received::Stream(_)) => Err(none("a stream came".to_owned())),
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
        lacks: snapshot.lacks(index, false),
    })
}

/// A request without a client.
fn blank() -> Request {
    Request {
        id: ExchangeId::new(),
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
