//! Response hooks: a response passes through them on its way to the client, in reverse order. The
//! dialect's and the wire plugins are not among them, because they get the response as it arrives.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use super::{
    EventOutcome, Receipt, ResponseHead, Run,
    plugin::Plugin,
    response_chain::{LastEvent, Passed, ResponseChain, plugins_for},
    translator::Loan,
};
use crate::{
    fault::Fault,
    message::{Event, RequestKind},
};

/// Why no header can be set once something was sent to the client.
const BEGUN: &str = "the answer has begun";

/// A response on its way to the client through the response hooks.
pub(crate) struct ResponseRun {
    chain: ResponseChain,
    /// Whether the hooks were called for the end.
    ended: bool,
    /// The dialect's and the wire plugins, which work for as long as the response arrives.
    loan: Option<Loan>,
}

impl ResponseRun {
    pub(super) fn begin(mut run: Run, head: ResponseHead) -> Self {
        run.recall();
        let Run {
            mut calls,
            kind,
            loan,
            watchers,
            ..
        } = run;
        if let Some(loan) = &loan {
            loan.close();
        }
        let plugins = plugins_for(
            &mut calls,
            kind,
            &head.target,
            &watchers,
            Plugin::sees_messages,
        );
        calls
            .slots
            .keep(|plugin| plugins.iter().any(|(at, _)| *at == plugin));
        let mut chain = ResponseChain::new(calls, kind, plugins, head, None);
        if kind == RequestKind::Messages {
            chain = chain.checking_messages();
        }
        Self {
            chain,
            ended: false,
            loan,
        }
    }

    /// Whether any plugin may want events of this response. If not, bytes can be relayed without
    /// decoding.
    pub(crate) fn listens(&self) -> bool {
        !self.ended && self.chain.listens()
    }

    /// Whether the end of the message has to wait for what plugins return at the end.
    pub(crate) fn awaits_end(&self) -> bool {
        !self.ended && self.chain.awaits_end()
    }

    /// Whether an event of this type that no plugin wants has to be [noted](Self::passes) before it
    /// is passed on.
    pub(crate) fn follows(&self, kind: &[u8]) -> bool {
        self.listens() && self.chain.follows(kind)
    }

    /// Takes note of an event that is passed on, by which the order of the others is checked.
    pub(crate) fn passes(&mut self, event: &Event) -> Result<(), Fault> {
        self.chain.passes(event)
    }

    /// Whether any guard has a condition on the type of a delta.
    pub(crate) fn asks_for_deltas(&self) -> bool {
        self.chain.asks_for_deltas()
    }

    /// Whether some plugin may want this event. This is cheap, so callers check it before they
    /// build an [`Event`]. `delta` is the type of the delta of a `content_block_delta`, needed only
    /// if some plugin [asks for it](Self::asks_for_deltas).
    pub(crate) fn wants(&self, name: &str, delta: Option<&str>) -> bool {
        self.chain.wants(name, delta)
    }

    /// The head as the hooks left it. It is sent after the first event has passed.
    pub(crate) fn head(&self) -> &ResponseHead {
        &self.chain.head
    }

    /// The headers for the client. They keep the buffer alive that the upstream's head was read
    /// into, so they are moved out if no plugin can ask for them any more.
    pub(crate) fn take_headers(&mut self) -> HeaderMap {
        let no_plugin = self.chain.len() == 0;
        match Arc::get_mut(&mut self.chain.head) {
            Some(head) if no_plugin => std::mem::take(&mut head.headers),
            _ => self.chain.head.headers.clone(),
        }
    }

    /// Records that the head was sent before any event passed. Its headers can no longer change.
    pub(crate) fn head_is_sent(&mut self) {
        self.chain.closed = Some(BEGUN);
    }

    /// Shows one event to the response hooks, in reverse order.
    pub(crate) async fn on_event(&mut self, event: Event) -> Result<EventOutcome, Fault> {
        let outcome = match self.chain.on_event(0, event).await? {
            Passed::Kept(_) => EventOutcome::Kept,
            Passed::Replaced(events) => EventOutcome::Replaced(events),
        };
        if outcome != EventOutcome::Replaced(Vec::new()) {
            self.head_is_sent();
        }
        Ok(outcome)
    }

    /// Shows the last events of a message, and ends the response, once. `complete` is false if it
    /// was truncated. What plugins return at the end goes before the end of the message.
    pub(crate) async fn on_last(
        &mut self,
        events: Vec<Event>,
        complete: bool,
    ) -> Result<Vec<LastEvent>, Fault> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok((0..events.len()).map(LastEvent::Received).collect());
        }
        let events = self.chain.on_last(events, complete).await?;
        self.chain.calls.slots.clear();
        if !events.is_empty() {
            self.head_is_sent();
        }
        Ok(events)
    }

    /// Shows the body of a response that is not a message. `None` if all plugins kept it.
    pub(crate) async fn on_body(&mut self, body: &Bytes) -> Result<Option<Bytes>, Fault> {
        // A body that is not text is not JSON either, so plugins do not see it.
        let Ok(text) = std::str::from_utf8(body) else {
            return Ok(None);
        };
        let replaced = self.chain.on_body(self.chain.len(), text).await?;
        self.chain.calls.slots.clear();
        self.head_is_sent();
        Ok(replaced.map(Bytes::from))
    }

    pub(crate) fn receipt(&mut self) -> &Receipt {
        if let Some(loan) = &self.loan {
            // An instance that was returned before the loan was closed is dropped.
            drop(loan.settle(&mut self.chain.calls.receipt));
        }
        &self.chain.calls.receipt
    }

    /// Marks every plugin as one that has changed the stream.
    #[cfg(test)]
    pub(super) fn mark_all_altered(&mut self) {
        self.chain.mark_all_altered();
    }
}
