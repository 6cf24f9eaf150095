//! Turns the end of the last attempt into the client's response.
//!
//! The exchange of a streaming client is [`Held`] until its response begins. After a long silence
//! the client gets status 200 and pings. From the first event on the response is streamed, and
//! nothing can be retried.

mod keepalive; // nothing was sent, or only pings
mod stream; // events are being sent
mod json; // a response that is complete
mod relay; // events through the response hooks

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue};

use crate::{
    accounts::Lease,
    fault::Fault,
    ids::PluginId,
    message::{Request, RequestKind, Response, Target, keep_common},
    pipeline::{ResponseHead, Run},
};

use super::{
    Answer, Ending, Record, Snapshot,
    attempt::{self, AttemptEnd, AttemptError, HostEdits, JsonResponse, Received},
    retry::Failover,
    thread,
};

use relay::ResponseMode;

pub(crate) use keepalive::Held;
pub(crate) use relay::ClientHead;

/// An exchange after its last attempt. Nothing of its response has been sent to the client.
pub(crate) struct Finished {
    pub(crate) end: AttemptEnd,
    pub(crate) run: Run,
    /// `None` if no attempt was made.
    pub(crate) failover: Option<Failover>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) request: Request,
    pub(crate) record: Box<Record>,
}

impl Finished {
    /// Makes the client's response from the end of the last attempt, or from a plugin's answer.
    pub(crate) fn answer(self, head: ClientHead) -> BoxFuture<'static, Answer> {
        self.answered(head).boxed()
    }

    async fn answered(self, head: ClientHead) -> Answer {
        let Self {
            end,
            mut run,
            failover,
            snapshot,
            request,
            mut record,
        } = self;
        let target = failover.as_ref().map(|failover| failover.target().clone());
        let host_edits = target
            .as_ref()
            .map(|target| HostEdits::of(&snapshot, &request, target))
            .unwrap_or_default();
        let edits = attempt::edits(run.receipt(), host_edits);
        let expose = snapshot.config.expose_accounts;
        let mut origin = target
            .as_ref()
            .map(|target| attempt::origin(target, expose, &edits))
            .unwrap_or_default();
        // A single successful attempt needs no header.
        if (record.tried.len() > 1 || matches!(end, AttemptEnd::Error(_)))
            && let Ok(tried) = HeaderValue::from_str(&record.attempts_line(expose))
        {
            origin.insert("x-witgate-attempts", tried);
        }
        record.receipt(run.receipt(), edits);
        let mode = ResponseMode {
            kind: request.kind,
            stream: request.stream,
            host_edits,
            head,
            ping_every: snapshot.config.retry.ping_every,
        };
        let mut answer = match (end, target) {
            (AttemptEnd::Received(received), Some(target)) => {
                remember_account(&snapshot, &request, &target, &received);
                let head = HeadOf {
                    request: &request,
                    target,
                    origin: &origin,
                };
                let lease = failover.and_then(Failover::into_lease);
                begin(received, run, head, lease, mode, record).await
            }
            (AttemptEnd::Answered { plugin, answer }, target) => {
                record.saved = target.is_none() && answer.status.is_success();
                // No account was used.
                origin.remove("x-account-email");
                record.note = answer
                    .note
                    .or_else(|| Some(format!("answered by `{plugin}`")));
                record.end(Ending::Answered);
                let response = json::local(answer.status, answer.headers, answer.body, mode);
                Answer::whole(response, record)
            }
            (AttemptEnd::Error(error), _) => give_up(*error, record),
            (AttemptEnd::Refused { plugin, fault, .. }, _) => {
                Answer::refused(&plugin, fault, record)
            }
            (AttemptEnd::Fault(fault), _) => Answer::fault(fault, record),
            (AttemptEnd::Received(_), None) => {
                Answer::fault(Fault::gateway("a response has no target"), record)
            }
        };
        answer.headers.extend(origin);
        answer
    }
}

/// The parts of the response head that hooks read.
struct HeadOf<'a> {
    request: &'a Request,
    target: Target,
    origin: &'a HeaderMap,
}

/// Begins the response to the client, and calls the response hooks.
async fn begin(
    received: Received,
    run: Run,
    head: HeadOf<'_>,
    lease: Option<Lease>,
    mode: ResponseMode,
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
        // Hooks read the headers that the client will get.
        headers.extend(origin.clone());
        ResponseHead {
            id: request.id.clone(),
            session: request.session.clone(),
            status,
            headers,
            streaming: request.stream,
            target,
        }
    };
    match received {
        Received::Stream(mut stream) => {
            let headers = std::mem::take(&mut stream.headers);
            let answering = run.begin_response(head(stream.status, headers));
            stream.deliver(answering, lease, record, mode).await
        }
        Received::Json(JsonResponse {
            status,
            headers,
            body,
            usage,
        }) => {
            if mode.kind == RequestKind::Messages {
                record.usage = usage;
            }
            let answering = run.begin_response(head(status, headers));
            json::respond_json(status, body, answering, record, mode).await
        }
    }
}

/// Remembers which account made the message, if it belongs to a message thread.
fn remember_account(snapshot: &Snapshot, request: &Request, target: &Target, received: &Received) {
    if let Some(account) = &target.account
        && thread::Thread::of(request).is_some()
        && let Some(message) = thread::message_id(received)
    {
        let now = std::time::Instant::now();
        snapshot
            .accounts
            .remember_message(&message, target.index, account, now);
    }
}

/// The client gets the last attempt's error.
fn give_up(error: AttemptError, mut record: Box<Record>) -> Answer {
    let (outcome, headers) = error.into_outcome();
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
            let why = record.note.take().unwrap_or_default();
            record.note = Some(format!("refused by `{plugin}`: {why}"));
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
