//! What the last attempt came to becomes the client's answer.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue};

use crate::{
    accounts::Lease,
    fault::Fault,
    ids::PluginId,
    message::{Request, RequestKind, Response, Target, keep_common},
    pipeline::{AnswerHead, Run},
};

use super::{
    Answer, Ending, Record, Snapshot,
    arrival::{Arrived, Whole},
    attempt::{self, End, Own},
    failed::Failed,
    relay::{self, Wanted},
    route::Way,
    thread,
};

/// An exchange at the end of its attempts. If an answer has begun, none of it has gone to the client.
pub(crate) struct Finished {
    pub(crate) end: End,
    pub(crate) run: Run,
    /// None where no attempt was made.
    pub(crate) way: Option<Way>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) request: Request,
    pub(crate) record: Box<Record>,
}

/// Whether the client knows status and headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Open,
    Sent,
}

impl Finished {
    /// Makes the answer of the last attempt's end, or of a plugin's in place of any.
    pub(crate) fn answer(self, head: Head) -> BoxFuture<'static, Answer> {
        self.answered(head).boxed()
    }

    async fn answered(self, head: Head) -> Answer {
        let Self {
            end,
            mut run,
            way,
            snapshot,
            request,
            mut record,
        } = self;
        let target = way.as_ref().map(|way| way.target().clone());
        let own = target
            .as_ref()
            .map(|target| Own::of(&snapshot, &request, target))
            .unwrap_or_default();
        let edits = attempt::edits(run.receipt(), own);
        let expose = snapshot.config.expose_accounts;
        let mut origin = target
            .as_ref()
            .map(|target| attempt::origin(target, expose, &edits))
            .unwrap_or_default();
        // One attempt that went well is nothing to tell of.
        if (record.tried.len() > 1 || matches!(end, End::Failed(_)))
            && let Ok(tried) = HeaderValue::from_str(&record.attempts_line(expose))
        {
            origin.insert("x-witgate-attempts", tried);
        }
        record.receipt(run.receipt(), edits);
        let wanted = Wanted {
            kind: request.kind,
            stream: request.stream,
            own,
            head,
            ping_every: snapshot.config.retry.ping_every,
        };
        let mut answer = match (end, target) {
            (End::Arrived(arrived), Some(target)) => {
                remember_maker(&snapshot, &request, &target, &arrived);
                let head = HeadOf {
                    request: &request,
                    target,
                    origin: &origin,
                };
                let lease = way.and_then(Way::into_lease);
                begin(arrived, run, head, lease, wanted, record).await
            }
            (End::Local { plugin, answer }, target) => {
                record.saved = target.is_none() && answer.status.is_success();
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
}

/// What goes into the head that hooks read.
struct HeadOf<'a> {
    request: &'a Request,
    target: Target,
    origin: &'a HeaderMap,
}

/// The answer begins, and with it the hooks' second half.
async fn begin(
    arrived: Arrived,
    run: Run,
    head: HeadOf<'_>,
    lease: Option<Lease>,
    wanted: Wanted,
    mut record: Box<Record>,
) -> Answer {
    let HeadOf {
        request,
        target,
        origin,
    } = head;
    let head = |status, mut headers: HeaderMap| {
        if target.is_foreign() {
            keep_common(&mut headers);
        }
        // Hooks read the headers as the client will get them.
        headers.extend(origin.clone());
        AnswerHead {
            id: request.id.clone(),
            session: request.session.clone(),
            status,
            headers,
            streaming: request.stream,
            target,
        }
    };
    match arrived {
        Arrived::Begun(mut begun) => {
            let answering = run.answering(head(begun.status, std::mem::take(&mut begun.headers)));
            begun.deliver(answering, lease, record, wanted).await
        }
        Arrived::Whole(Whole {
            status,
            headers,
            body,
            usage,
        }) => {
            if wanted.kind == RequestKind::Messages {
                record.usage = usage;
            }
            let answering = run.answering(head(status, headers));
            relay::whole(status, body, answering, record, wanted).await
        }
    }
}

/// Where a thread goes on. Requests of no thread are not looked at.
fn remember_maker(snapshot: &Snapshot, request: &Request, target: &Target, arrived: &Arrived) {
    if let Some(account) = &target.account
        && thread::Thread::of(request).is_some()
        && let Some(message) = thread::message_id(arrived)
    {
        let now = std::time::Instant::now();
        snapshot
            .accounts
            .remember_message(&message, target.index, account, now);
    }
}

/// The last failure is what the client gets.
fn give_up(failed: Failed, mut record: Box<Record>) -> Answer {
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

impl Answer {
    pub(super) fn fault(fault: Fault, mut record: Box<Record>) -> Self {
        record.end(Ending::Error);
        record.note = Some(fault.chain());
        Self {
            outcome: Err(fault),
            headers: HeaderMap::new(),
            record: Some(record),
        }
    }

    fn refused(plugin: &PluginId, fault: Fault, record: Box<Record>) -> Self {
        let mut answer = Self::fault(fault, record);
        if let Some(record) = &mut answer.record {
            let said = record.note.take().unwrap_or_default();
            record.note = Some(format!("refused by `{plugin}`: {said}"));
        }
        answer
    }

    pub(super) fn whole(response: Response, record: Box<Record>) -> Self {
        Self {
            outcome: Ok(response),
            headers: HeaderMap::new(),
            record: Some(record),
        }
    }

    pub(super) fn streaming(response: Response) -> Self {
        Self {
            outcome: Ok(response),
            headers: HeaderMap::new(),
            record: None,
        }
    }
}
