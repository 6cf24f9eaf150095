//! The loop of an exchange: attempt, judge, again or out.
//!
//! It runs in the future of whoever asked, and nothing of it is spawned: when the client goes, the future is dropped, and
//! with it the upstream's connection, the plugins' instances and the record, which writes its line.

mod arrival;
mod attempt;
mod collect;
mod expand;
mod failed;
mod kinds;
mod record;
mod relay;
mod route;
mod snapshot;
mod verdict;

use std::sync::Arc;

use http::HeaderMap;

use crate::{
    fault::Fault,
    ids::PluginId,
    message::{Request, Response, Target},
    pipeline::{AnswerHead, Decision, Run, Runtime},
};

use arrival::{Arrived, Whole};
use attempt::{End, Own};
use failed::Failed;
use relay::Wanted;
use route::Way;
use verdict::{Chances, Verdict, judge};

pub(crate) use record::{Ending, Record};
pub(crate) use route::leads_somewhere;
pub(crate) use snapshot::Snapshot;

/// What an exchange came to.
pub(crate) struct Answer {
    pub(crate) outcome: Result<Response, Fault>,
    /// What the client is told besides: where its answer came from.
    pub(crate) headers: HeaderMap,
    /// None where the body has it.
    pub(crate) record: Option<Record>,
}

impl Answer {
    fn fault(fault: Fault, mut record: Record) -> Self {
        record.end(Ending::Error);
        record.note = Some(fault.chain());
        Self {
            outcome: Err(fault),
            headers: HeaderMap::new(),
            record: Some(record),
        }
    }

    fn refused(plugin: &PluginId, fault: Fault, record: Record) -> Self {
        let mut answer = Self::fault(fault, record);
        if let Some(record) = &mut answer.record {
            let said = record.note.take().unwrap_or_default();
            record.note = Some(format!("refused by `{plugin}`: {said}"));
        }
        answer
    }

    fn whole(response: Response, record: Record) -> Self {
        Self {
            outcome: Ok(response),
            headers: HeaderMap::new(),
            record: Some(record),
        }
    }

    fn streaming(response: Response) -> Self {
        Self {
            outcome: Ok(response),
            headers: HeaderMap::new(),
            record: None,
        }
    }
}

/// Drives one exchange to its answer.
pub(crate) async fn exchange(
    runtime: &Arc<Runtime>,
    snapshot: &Snapshot,
    mut request: Request,
    mut record: Record,
) -> Answer {
    let mut run = snapshot.catalog.begin(runtime);
    match run.on_request(&mut request).await {
        Ok(Decision::Proceed) => {}
        Ok(Decision::Answer { plugin, answer }) => {
            record.saved = answer.status.is_success();
            let end = End::Local { plugin, answer };
            return finish(end, run, snapshot, &request, None, record).await;
        }
        Ok(Decision::Refuse { plugin, fault, .. }) => {
            return Answer::refused(&plugin, fault, record);
        }
        Err(fault) => return Answer::fault(fault, record),
    }
    let mut way = match Way::plan(snapshot, &request) {
        Ok(way) => way,
        Err(fault) => return Answer::fault(fault, record),
    };
    if let Err(fault) = run.reserve(&request, way.targets()) {
        return Answer::fault(fault, record);
    }
    // Ends because `judge` finishes on the last allowed attempt.
    loop {
        record.attempt(way.target());
        let end = attempt::run(&mut run, snapshot, &request, way.target()).await;
        if let Some(status) = end.status() {
            record.attempted(status);
        }
        let chances = Chances {
            attempt: way.target().attempt,
            another: way.has_another(),
            another_upstream: way.has_another_upstream(),
        };
        match judge(end.came(), chances) {
            Verdict::Finish => {
                return finish(end, run, snapshot, &request, Some(way.target()), record).await;
            }
            Verdict::Again { after, whom } => {
                record.retried(end.cause());
                tracing::debug!(id = %request.id, upstream = %way.target().upstream, ?after, ?whom, "trying again");
                tokio::time::sleep(after).await;
                way.advance(whom);
            }
        }
    }
}

/// Makes the answer of the last attempt's end, or of a plugin's in place of any.
async fn finish(
    end: End,
    run: Run,
    snapshot: &Snapshot,
    request: &Request,
    target: Option<&Target>,
    mut record: Record,
) -> Answer {
    let own = target
        .map(|target| Own::of(snapshot, request, target))
        .unwrap_or_default();
    let edits = attempt::edits(run.receipt(), own);
    let origin =
        target.map(|target| attempt::origin(target, snapshot.config.expose_accounts, &edits));
    let mut origin = origin.unwrap_or_default();
    record.receipt(run.receipt(), edits);
    let wanted = Wanted {
        kind: request.kind,
        stream: request.stream,
        own,
    };
    let mut answer = match (end, target) {
        (End::Arrived(arrived), Some(target)) => {
            begin(arrived, run, request, target, &origin, wanted, record).await
        }
        (End::Local { plugin, answer }, _) => {
            // No account was used.
            origin.remove("x-account-email");
            record.note = answer
                .note
                .or_else(|| Some(format!("answered by `{plugin}`")));
            record.end(Ending::Answered);
            let response = relay::local(answer.status, answer.headers, answer.body, wanted);
            Answer::whole(response, record)
        }
        (End::Failed(failed), _) => give_up(*failed, record),
        (End::Refused { plugin, fault, .. }, _) => Answer::refused(&plugin, fault, record),
        (End::Broken(fault), _) => Answer::fault(fault, record),
        (End::Arrived(_), None) => {
            Answer::fault(Fault::gateway("an answer came without a target"), record)
        }
    };
    answer.headers.extend(origin);
    answer
}

/// The answer begins, and with it the hooks' second half.
async fn begin(
    arrived: Arrived,
    run: Run,
    request: &Request,
    target: &Target,
    origin: &HeaderMap,
    wanted: Wanted,
    record: Record,
) -> Answer {
    let head = |status, mut headers: HeaderMap| {
        // Hooks read the headers as the client will get them.
        headers.extend(origin.clone());
        AnswerHead {
            id: request.id.clone(),
            session: request.session.clone(),
            status,
            headers,
            streaming: request.stream,
            target: target.clone(),
        }
    };
    match arrived {
        Arrived::Held(mut held) => {
            let answering = run.answering(head(held.status, std::mem::take(&mut held.headers)));
            held.deliver(answering, record, wanted).await
        }
        Arrived::Whole(Whole {
            status,
            headers,
            body,
        }) => {
            let answering = run.answering(head(status, headers));
            relay::whole(status, body, answering, record, wanted).await
        }
    }
}

/// The last failure is what the client gets.
fn give_up(failed: Failed, mut record: Record) -> Answer {
    let (outcome, headers) = failed.into_outcome();
    match outcome {
        Ok(response) => {
            record.end(Ending::Error);
            Answer {
                outcome: Ok(response),
                headers,
                record: Some(record),
            }
        }
        Err(fault) => Answer {
            headers,
            ..Answer::fault(fault, record)
        },
    }
}
