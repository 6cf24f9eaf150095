//! The retry loop of an exchange: attempt, decide, retry or respond.
//!
//! It runs inside the request handler's future and spawns nothing. When the client disconnects,
//! that future is dropped, and with it the upstream connection, the plugin instances and the
//! record, which writes its log line.

mod attempt; // one try: edits, send, first event, error
mod retry; // stop, or retry on which target
mod respond; // the client's response, JSON or stream
mod record; // what happened, for log and metrics
mod prefix; // whether it continues what its conversation sent before
mod causes; // why accounts are on cooldown
mod snapshot; // configuration, plugins, upstreams and accounts of an exchange
mod affinity; // what ties a request to an account
mod thread; // message threads, which continue on one account
mod collect; // events to a message (pure)
mod expand; // a message to events (pure)
mod members; // a JSON object as it is written (pure)
mod models; // the model list of an upstream with another dialect

use std::sync::Arc;

use http::HeaderMap;

use crate::{
    fault::Fault,
    message::{Request, RequestKind, Response},
    pipeline::{Run, Runtime},
};

use attempt::AttemptEnd;
use prefix::Prefix;
use respond::{ClientHead, Finished, Held};
use retry::{Failover, RetryContext, RetryDecision, decide};

pub(crate) use attempt::{AttemptError, keys_sent};
pub(crate) use models::models;
pub(crate) use record::{Ending, Record};
pub(crate) use retry::is_routed;
pub(crate) use snapshot::Snapshot;

/// The result of an exchange.
pub(crate) struct Answer {
    pub(crate) outcome: Result<Response, Fault>,
    /// Additional response headers that say where the response came from.
    pub(crate) headers: HeaderMap,
    /// `None` if the response body owns it: then it is written when the body ends.
    pub(crate) record: Option<Box<Record>>,
}

/// Answers one request.
pub(crate) async fn exchange(
    runtime: Arc<Runtime>,
    snapshot: Arc<Snapshot>,
    request: Request,
    record: Box<Record>,
) -> Answer {
    // Each branch creates its own future: sharing one in a variable would store it twice.
    if request.stream && request.kind == RequestKind::Messages {
        let config = Arc::clone(&snapshot.config);
        let finished = Held::new(drive(runtime, snapshot, request, record));
        finished.answer(&config.retry).await
    } else {
        let finished = drive(runtime, snapshot, request, record).await;
        finished.answer(ClientHead::Unsent).await
    }
}

/// Runs an exchange to the end of its last attempt. Nothing of a response has been sent by then.
async fn drive(
    runtime: Arc<Runtime>,
    snapshot: Arc<Snapshot>,
    mut request: Request,
    mut record: Box<Record>,
) -> Finished {
    let mut prefix = Prefix::begin(&snapshot, &request);
    let traces = snapshot.config.plugins.traces;
    let trace = runtime.trace(&request.id, request.kind, traces);
    record.trace.clone_from(&trace);
    let mut run = snapshot.plugins_for(&request).begin(&runtime).traced(trace);
    let begun = match AttemptEnd::of(run.on_request(&mut request).await) {
        Some(end) => Err(end),
        None => Failover::begin(&snapshot, &request, &mut run)
            .await
            .map_err(AttemptEnd::Fault),
    };
    let (end, failover) = match begun {
        Err(end) => (end, None),
        Ok(mut failover) => {
            let mut state = Progress {
                run: &mut run,
                prefix: prefix.as_deref_mut(),
                record: &mut record,
            };
            let end = attempts(&mut failover, &mut state, &snapshot, &request).await;
            (end, Some(failover))
        }
    };
    Finished {
        end,
        run,
        failover,
        snapshot,
        request,
        record,
    }
}

/// What the attempts of an exchange have in common.
struct Progress<'a> {
    run: &'a mut Run,
    prefix: Option<&'a mut Prefix>,
    record: &'a mut Record,
}

/// The retry loop: attempt, decide, retry or stop.
async fn attempts(
    failover: &mut Failover,
    progress: &mut Progress<'_>,
    snapshot: &Snapshot,
    request: &Request,
) -> AttemptEnd {
    // Ends because `decide` stops after the last allowed attempt.
    loop {
        progress.record.attempt(failover.target());
        let may_renew = failover.may_renew();
        let end = attempt::run(progress, snapshot, request, failover.target(), may_renew).await;
        let status = end.status();
        progress.record.attempted(status);
        failover.report(end.account_outcome(request), end.cooldown_cause());
        let context = RetryContext {
            attempt: failover.target().attempt,
            limits: &snapshot.config.retry,
            jitter: fastrand::f64(),
        };
        let RetryDecision::Retry { after, target } = decide(&end, context) else {
            return end;
        };
        let (id, upstream) = (&request.id, &failover.target().upstream);
        tracing::debug!(%id, %upstream, ended = %status, ?after, ?target, "retrying");
        if let Err(no_target) = failover.advance(after, target).await {
            return failover.give_up(end, &no_target);
        }
        progress.record.retried(end.retry_cause());
    }
}
