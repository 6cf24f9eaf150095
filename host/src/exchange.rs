//! The loop of an exchange: attempt, judge, again or out.
//!
//! It runs in the future of whoever asked, and nothing of it is spawned: when the client goes, the future is dropped, and
//! with it the upstream's connection, the plugins' instances and the record, which writes its line.

mod arrival;
mod attempt;
mod collect;
#[cfg(test)]
mod cost;
mod expand;
mod failed;
mod finish;
mod kinds;
mod models;
mod prompt;
mod record;
mod refusal;
mod relay;
mod route;
mod snapshot;
mod thread;
mod translate;
mod verdict;

use std::sync::Arc;

use http::HeaderMap;

use crate::{
    fault::Fault,
    message::{Request, RequestKind, Response},
    pipeline::{Run, Runtime},
};

use attempt::End;
use finish::{Finished, Head};
use relay::Held;
use route::Way;
use verdict::{Chances, Verdict, judge};

pub(crate) use models::models;
pub(crate) use record::{Ending, Record};
pub(crate) use route::leads_somewhere;
pub(crate) use snapshot::Snapshot;

/// What an exchange came to.
pub(crate) struct Answer {
    pub(crate) outcome: Result<Response, Fault>,
    /// What the client is told besides: where its answer came from.
    pub(crate) headers: HeaderMap,
    /// None where the body has it.
    pub(crate) record: Option<Box<Record>>,
}

/// Answers one request.
pub(crate) async fn exchange(
    runtime: Arc<Runtime>,
    snapshot: Arc<Snapshot>,
    request: Request,
    record: Box<Record>,
) -> Answer {
    // Each branch makes its own: a future in a variable takes its room twice, there and where it is awaited.
    if request.stream && request.kind == RequestKind::Messages {
        let config = Arc::clone(&snapshot.config);
        let finished = Held::new(drive(runtime, snapshot, request, record));
        finished.answer(&config.retry).await
    } else {
        let finished = drive(runtime, snapshot, request, record).await;
        finished.answer(Head::Open).await
    }
}

/// Drives an exchange to its end, or to the beginning of its answer: until then nothing of one has gone to the client.
async fn drive(
    runtime: Arc<Runtime>,
    snapshot: Arc<Snapshot>,
    mut request: Request,
    mut record: Box<Record>,
) -> Finished {
    let mut run = snapshot.catalog.begin(&runtime);
    let begun = match End::of(run.on_request(&mut request).await) {
        Some(end) => Err(end),
        None => Way::begin(&snapshot, &request, &mut run)
            .await
            .map_err(End::Broken),
    };
    let (end, way) = match begun {
        Err(end) => (end, None),
        Ok(mut way) => {
            let end = attempts(&mut way, &mut run, &snapshot, &request, &mut record).await;
            (end, Some(way))
        }
    };
    Finished {
        end,
        run,
        way,
        snapshot,
        request,
        record,
    }
}

/// The loop: attempt, judge, again or out.
async fn attempts(
    way: &mut Way,
    run: &mut Run,
    snapshot: &Snapshot,
    request: &Request,
    record: &mut Record,
) -> End {
    // Ends because `judge` finishes on the last allowed attempt.
    loop {
        record.attempt(way.target());
        let end = attempt::run(run, snapshot, request, way.target(), way.may_renew()).await;
        record.attempted(end.mark());
        way.report(end.outcome(request));
        let chances = Chances {
            attempt: way.target().attempt,
            limits: &snapshot.config.retry,
            chance: fastrand::f64(),
        };
        let Verdict::Again { after, whom } = judge(&end.came(), chances) else {
            return end;
        };
        let (id, ended) = (&request.id, end.mark());
        tracing::debug!(%id, upstream = %way.target().upstream, %ended, ?after, ?whom, "again");
        if let Err(nobody) = way.advance(after, whom).await {
            return end.for_want_of_others(way, &nobody);
        }
        record.retried(end.cause());
    }
}
