//! The wire plugins and the dialect's plugin, lent to one response: the upstream's events go in,
//! Messages events come out.
//!
//! They are the instances that had the request, and they are returned when the translator is
//! dropped. An invalid response is a failed attempt: then the plugins' failure hooks are called,
//! and their attempt hooks again.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    EventOutcome, Receipt, ResponseHead, Run,
    hook_call::HookCalls,
    instance_slots::InstanceSlots,
    plugin::Plugin,
    response_chain::{Passed, ResponseChain, plugins_for},
    speaks,
};
use crate::{
    fault::{Fault, Retry},
    message::{Event, Target},
};

/// Why no header can be set.
const UNDECIDED: &str = "a dialect or wire plugin cannot set headers: it is not known yet whether this \
                         is the answer";

/// The wire plugins and the dialect's plugin, for the duration of one response.
pub(crate) struct Translator {
    /// The wire plugins, the last one first, then the dialect's if the upstream speaks one.
    chain: ResponseChain,
    /// The place of the dialect's plugin in the chain.
    dialect: Option<usize>,
    owner: Arc<Mutex<Owner>>,
}

/// The lent instances, as the run that lent them sees them.
pub(super) struct Loan {
    owner: Arc<Mutex<Owner>>,
}

/// What the run and the translator share.
#[derive(Default)]
struct Owner {
    /// Whether the instances are not needed any more.
    closed: bool,
    returned: Option<InstanceSlots>,
    /// What was done on loan and is not in the run's receipt yet.
    receipt: Receipt,
}

impl Run {
    /// The plugins that get the response of the current attempt as it arrives. `None` if there are
    /// none: the upstream speaks Anthropic's dialect and no wire plugin is for it, or no guard
    /// holds for such responses.
    pub(crate) fn translator(
        &mut self,
        target: &Target,
        head: impl FnOnce() -> ResponseHead,
    ) -> Option<Translator> {
        let belongs = |plugin: &Plugin| !plugin.sees_messages() && speaks(plugin, &target.dialect);
        let plugins = plugins_for(&mut self.calls, self.kind, target, &self.watchers, belongs);
        if plugins.is_empty() {
            return None;
        }
        let owner = Arc::default();
        self.loan = Some(Loan {
            owner: Arc::clone(&owner),
        });
        let calls = HookCalls {
            catalog: Arc::clone(&self.calls.catalog),
            runtime: Arc::clone(&self.calls.runtime),
            slots: self
                .calls
                .slots
                .lend(&plugins.iter().map(|(at, _)| *at).collect::<Vec<_>>()),
            receipt: Receipt::default(),
            trace: self.calls.trace.clone(),
        };
        let chain = ResponseChain::new(calls, self.kind, plugins, head(), Some(UNDECIDED));
        Some(Translator {
            dialect: chain.dialect(),
            chain,
            owner,
        })
    }

    /// Takes back the lent instances if they were returned, and adds what they recorded to the
    /// receipt.
    pub(super) fn recall(&mut self) {
        let Some(loan) = &self.loan else { return };
        if let Some(returned) = loan.settle(&mut self.calls.receipt) {
            self.calls.slots.put_back(returned);
            self.loan = None;
        }
    }

    /// The fault of a target that no plugin can translate for.
    pub(super) fn untranslated(&self, target: &Target) -> Fault {
        let (upstream, dialect) = (&target.upstream, &target.dialect);
        let mut plugins = self.calls.catalog.plugins.iter();
        let what = match plugins
            .find(|plugin| plugin.is_dialect() && speaks(plugin, &target.dialect))
        {
            Some(plugin) => format!(
                "upstream `{upstream}` speaks `{dialect}`, and plugin `{}` does not translate `{}` for it",
                plugin.id(),
                self.kind.as_str()
            ),
            None => format!("upstream `{upstream}` speaks `{dialect}`, which no plugin translates"),
        };
        Fault::gateway(what).retry(Retry::Failover)
    }
}

impl Loan {
    /// The instances, if they were returned. What they recorded is added to the receipt.
    pub(super) fn settle(&self, receipt: &mut Receipt) -> Option<InstanceSlots> {
        let mut owner = self.owner.lock();
        receipt.absorb(std::mem::take(&mut owner.receipt));
        owner.returned.take()
    }

    /// Gives the instances up: they are dropped at the end of the response.
    pub(super) fn close(&self) {
        self.owner.lock().closed = true;
    }
}

impl Translator {
    /// Whether the upstream speaks another dialect, which one of the plugins translates.
    pub(crate) fn has_dialect(&self) -> bool {
        self.dialect.is_some()
    }

    /// Translates one event of the upstream.
    pub(crate) async fn on_event(&mut self, event: Event) -> Result<EventOutcome, Fault> {
        let passed = self.chain.on_event(0, event).await;
        self.report();
        Ok(match passed? {
            // A dialect's events are always written from their parts.
            Passed::Kept(event) if self.has_dialect() => EventOutcome::Replaced(vec![event]),
            Passed::Kept(_) => EventOutcome::Kept,
            Passed::Replaced(events) => EventOutcome::Replaced(events),
        })
    }

    /// Translates a message that arrived as a whole. The wire plugins get it as a body, the dialect
    /// as a single event.
    pub(crate) async fn on_whole(&mut self, body: &Bytes) -> Result<EventOutcome, Fault> {
        let event = self.whole(body).await;
        self.report();
        Ok(match event? {
            Passed::Kept(event) => EventOutcome::Replaced(vec![event]),
            Passed::Replaced(events) => EventOutcome::Replaced(events),
        })
    }

    async fn whole(&mut self, body: &Bytes) -> Result<Passed, Fault> {
        let text = String::from_utf8_lossy(body);
        let dialect = self.dialect.unwrap_or(self.chain.len());
        let mended = self.chain.on_body(dialect, &text).await?;
        let event = Event {
            name: String::new(),
            data: mended.unwrap_or_else(|| text.into_owned()),
        };
        self.chain.on_event(dialect, event).await
    }

    /// Ends the response after the last event, if there was any. `complete` is false if it was
    /// truncated.
    pub(crate) async fn on_end(&mut self, complete: bool) -> Result<Vec<Event>, Fault> {
        let events = self.chain.on_end(complete).await;
        self.report();
        events
    }

    /// Translates the body of a response that is not a message, or a message for which there is no
    /// dialect. `None` if it stays as it is.
    pub(crate) async fn on_body(&mut self, body: &Bytes) -> Result<Option<Bytes>, Fault> {
        let all = self.chain.len();
        let body = self
            .chain
            .on_body(all, &String::from_utf8_lossy(body))
            .await;
        self.report();
        Ok(body?.map(Bytes::from))
    }

    /// Hands what was done since the last time to the run.
    fn report(&mut self) {
        let done = std::mem::take(&mut self.chain.calls.receipt);
        self.owner.lock().receipt.absorb(done);
    }
}

impl Drop for Translator {
    fn drop(&mut self) {
        self.report();
        let mut slots = std::mem::take(&mut self.chain.calls.slots);
        slots.drop_unusable();
        let mut owner = self.owner.lock();
        if !owner.closed {
            owner.returned = Some(slots);
        }
    }
}
