//! A dialect's plugin, lent to one response: the upstream's events go in, Messages events come out.
//!
//! It is the instance that translated the request, and it is returned when the translator is
//! dropped. An invalid response is a failed attempt: then the plugin's failure hook is called, and
//! its attempt hook again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{
    Receipt, ResponseHead, Run,
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

/// Why a dialect cannot set headers.
const UNDECIDED: &str =
    "a dialect cannot set headers: it is not known yet whether this is the answer";

/// A dialect's plugin, for the duration of one response.
pub(crate) struct Translator {
    chain: ResponseChain,
    owner: Arc<Mutex<Owner>>,
}

/// A lent instance, as the run that lent it sees it.
pub(super) struct Loan {
    owner: Arc<Mutex<Owner>>,
}

/// What the run and the translator share.
#[derive(Default)]
struct Owner {
    /// Whether the instance is not needed any more.
    closed: bool,
    returned: Option<InstanceSlots>,
    /// What was done on loan and is not in the run's receipt yet.
    receipt: Receipt,
}

impl Run {
    /// The dialect's plugin, to translate the response of the current attempt. `None` if the
    /// upstream speaks Anthropic's dialect, or if the plugin's guard does not hold for such
    /// responses.
    pub(crate) fn translator(&mut self, head: ResponseHead) -> Option<Translator> {
        let belongs = |plugin: &Plugin| plugin.is_dialect() && speaks(plugin, &head.target.dialect);
        let plugins = plugins_for(&mut self.calls, self.kind, &head, belongs);
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
            slots: self.calls.slots.lend(&plugins),
            receipt: Receipt::default(),
        };
        let chain = ResponseChain::new(calls, self.kind, plugins, head, Some(UNDECIDED));
        Some(Translator { chain, owner })
    }

    /// Takes back a lent instance if it was returned, and adds what it recorded to the receipt.
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
    /// The instance, if it was returned. What it recorded is added to the receipt.
    pub(super) fn settle(&self, receipt: &mut Receipt) -> Option<InstanceSlots> {
        let mut owner = lock(&self.owner);
        receipt.absorb(std::mem::take(&mut owner.receipt));
        owner.returned.take()
    }

    /// Gives the instance up: it is dropped at the end of the response.
    pub(super) fn close(&self) {
        lock(&self.owner).closed = true;
    }
}

impl Translator {
    /// Translates one event of the upstream.
    pub(crate) async fn on_event(&mut self, event: Event) -> Result<Vec<Event>, Fault> {
        let passed = self.chain.on_event(event).await;
        self.report();
        Ok(match passed? {
            Passed::Kept(event) => vec![event],
            Passed::Replaced(events) => events,
        })
    }

    /// Ends the response after the last event, if there was any. `complete` is false if it was
    /// truncated.
    pub(crate) async fn on_end(&mut self, complete: bool) -> Result<Vec<Event>, Fault> {
        let events = self.chain.on_end(complete).await;
        self.report();
        events
    }

    /// Translates the body of a response that is not a message. `None` if it stays as it is.
    pub(crate) async fn on_body(&mut self, body: &Bytes) -> Result<Option<Bytes>, Fault> {
        let body = self.chain.on_body(&String::from_utf8_lossy(body)).await;
        self.report();
        Ok(body?.map(Bytes::from))
    }

    /// Hands what was done since the last time to the run.
    fn report(&mut self) {
        let done = std::mem::take(&mut self.chain.calls.receipt);
        lock(&self.owner).receipt.absorb(done);
    }
}

impl Drop for Translator {
    fn drop(&mut self) {
        self.report();
        let mut slots = std::mem::take(&mut self.chain.calls.slots);
        slots.drop_unusable();
        let mut owner = lock(&self.owner);
        if !owner.closed {
            owner.returned = Some(slots);
        }
    }
}

fn lock(owner: &Mutex<Owner>) -> MutexGuard<'_, Owner> {
    owner.lock().unwrap_or_else(PoisonError::into_inner)
}
