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
    accounts::{Lease, Made},
    fault::Fault,
    ids::PluginId,
    message::{Request, RequestKind, Response, Target, keep_common},
    pipeline::{LocalAnswer, ResponseHead, ResponseRun, Run},
};

use super::{
    Answer, Ending, Record, Snapshot,
    attempt::{self, AttemptEnd, AttemptError, HostEdits, Received},
    retry::Failover,
    thread,
};

use relay::ResponseMode;

pub(super) use keepalive::Held;
pub(super) use relay::ClientHead;

/// An exchange after its last attempt. Nothing of its response has been sent to the client.
pub(super) struct Finished {
    pub(super) end: AttemptEnd,
    pub(super) run: Run,
    /// `None` if no attempt was made.
    pub(super) failover: Option<Failover>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) request: Request,
    pub(super) record: Box<Record>,
}

impl Finished {
    /// Makes the client's response from the end of the last attempt, or from a plugin's answer.
    pub(super) fn answer(self, head: ClientHead) -> BoxFuture<'static, Answer> {
        self.answered(head).boxed()
    }

    async fn answered(mut self, head: ClientHead) -> Answer {
        let host_edits = self.host_edits();
        let edits = attempt::edits(self.run.receipt(), host_edits);
        let origin = self.origin(&edits);
        self.record.receipt(self.run.receipt(), edits);
        let mode = ResponseMode {
            kind: self.request.kind,
            stream: self.request.stream,
            host_edits,
            head,
            ping_every: self.snapshot.config.retry.ping_every,
            idle: self.snapshot.config.retry.idle,
        };
        let mut answer = self.by_end(&origin, mode).await;
        answer.headers.extend(origin);
        answer
    }

    fn target(&self) -> Option<&Target> {
        self.failover.as_ref().map(Failover::target)
    }

    fn host_edits(&self) -> HostEdits {
        self.target()
            .map(|target| HostEdits::of(&self.snapshot, &self.request, target))
            .unwrap_or_default()
    }

    /// The headers that say where the response came from.
    fn origin(&self, edits: &str) -> HeaderMap {
        let expose = self.snapshot.config.expose_accounts;
        // A plugin's answer used no account.
        let expose_account = expose && !matches!(self.end, AttemptEnd::Answered { .. });
        let mut origin = self
            .target()
            .map(|target| attempt::origin(target, expose_account, edits))
            .unwrap_or_default();
        if let Some(found) = &self.record.prefix
            && let Ok(prefix) = HeaderValue::from_str(&found.check())
        {
            origin.insert("x-witgate-prefix", prefix);
        }
        // A single successful attempt needs no header.
        if (self.record.tried.len() > 1 || matches!(self.end, AttemptEnd::Error(_)))
            && let Ok(tried) = HeaderValue::from_str(&self.record.attempts_line(expose))
        {
            origin.insert("x-witgate-attempts", tried);
        }
        origin
    }

    /// The response without the headers about its origin, which hooks see but cannot change.
    async fn by_end(self, origin: &HeaderMap, mode: ResponseMode) -> Answer {
        let target = self.target().cloned();
        let (run, record) = (self.run, self.record);
        match (self.end, target) {
            (AttemptEnd::Received(mut received), Some(target)) => {
                remember_message(&self.snapshot, &self.request, &target, &received);
                if let Some(failover) = &self.failover {
                    failover.remember_account();
                }
                let head = response_head(&mut received, &self.request, target, origin);
                let answering = run.begin_response(head);
                let lease = self.failover.and_then(Failover::into_lease);
                begin(received, answering, lease, mode, record).await
            }
            (AttemptEnd::Answered { plugin, answer }, target) => {
                let saved = target.is_none() && answer.status.is_success();
                Answer::by_plugin(&plugin, answer, saved, mode, record)
            }
            (AttemptEnd::Error(error), _) => give_up(*error, record),
            (AttemptEnd::Refused { plugin, fault, .. }, _) => {
                Answer::refused(&plugin, fault, record)
            }
            (AttemptEnd::Fault(fault), _) => Answer::fault(fault, record),
            (AttemptEnd::Received(_), None) => {
                Answer::fault(Fault::gateway("a response has no target"), record)
            }
        }
    }
}

/// The head that response hooks read: the status and the headers that the client will get.
fn response_head(
    received: &mut Received,
    request: &Request,
    target: Target,
    origin: &HeaderMap,
) -> ResponseHead {
    let status = received.status();
    let mut headers = received.take_headers();
    if target.is_foreign() {
        keep_common(&mut headers);
    }
    headers.extend(origin.clone());
    ResponseHead {
        id: request.id.clone(),
        session: request.session.clone(),
        conversation: request.conversation.clone(),
        status,
        headers,
        streaming: request.stream,
        target,
    }
}

/// Begins the response to the client, and calls the response hooks.
async fn begin(
    received: Received,
    answering: ResponseRun,
    lease: Option<Lease>,
    mode: ResponseMode,
    mut record: Box<Record>,
) -> Answer {
    match received {
        Received::Stream(stream) => stream.deliver(answering, lease, record, mode).await,
        Received::Json(response) => {
            if mode.kind == RequestKind::Messages {
                record.usage = response.usage;
            }
            json::respond_json(response.status, response.body, answering, record, mode).await
        }
    }
}

/// Remembers which account made the message, if it belongs to a message thread.
fn remember_message(snapshot: &Snapshot, request: &Request, target: &Target, received: &Received) {
    if let Some(account) = &target.account
        && thread::Thread::of(request).is_some()
        && let Some(message) = thread::message_id(received)
    {
        let now = std::time::Instant::now();
        snapshot
            .accounts
            .remember(&Made::Message(&message), target.index, account, now);
    }
}

/// The client gets the last attempt's error.
fn give_up(error: AttemptError, mut record: Box<Record>) -> Answer {
    let words = attempt::error_words(&error.failure.body);
    let (outcome, headers) = error.into_outcome();
    match outcome {
        Ok(response) => {
            record.end(Ending::Error);
            record.note = Some(words);
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

    /// A plugin's answer. `saved` says that no upstream request was needed.
    fn by_plugin(
        plugin: &PluginId,
        answer: LocalAnswer,
        saved: bool,
        mode: ResponseMode,
        mut record: Box<Record>,
    ) -> Self {
        record.saved = saved;
        record.note = answer
            .note
            .or_else(|| Some(format!("answered by `{plugin}`")));
        record.end(Ending::Answered);
        let response = json::local(answer.status, answer.headers, answer.body, mode);
        Self::whole(response, record)
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
