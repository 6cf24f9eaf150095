//! The plugin of a dialect on loan to one answer: what the upstream says goes in, what everything above understands comes
//! out.
//!
//! It is the same instance that translated the request, and it comes back when the loan is dropped, because an answer that
//! turns out to be none is a failed attempt: then the plugin's failure hook is called, and its attempt hook again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use witgate_contract::{
    event::event_type_str, guard::Facts, header, manifest::Hook, note::Notes, verdict::is_json,
};

use super::{
    Receipt, ResponseHead, Run,
    bindings::EventVerdict,
    host_functions::ResponseView,
    instance::{Instance, PluginError},
    instance_slots::{LiveInstance, SlotState},
    plugin::Plugin,
    response_hooks::events_of,
    speaks,
};
use crate::{
    config::OnError,
    fault::{Fault, Retry},
    message::{Event, Target},
};

/// A dialect's plugin, for the length of one answer.
pub(crate) struct Translator {
    plugin: Arc<Plugin>,
    head: Arc<ResponseHead>,
    /// None after a failure.
    live: Option<LiveInstance>,
    /// Whether it was shown anything: only then it is told of the end.
    shown: bool,
    /// Whether a call is under way. An instance that was left in the middle of one is of no use any more.
    calling: bool,
    owner: Arc<Mutex<Owner>>,
}

/// The lender's end of it.
pub(super) struct LentInstance {
    /// Place in the catalog.
    at: usize,
    owner: Arc<Mutex<Owner>>,
}

/// What both ends share.
#[derive(Default)]
struct Owner {
    /// Nobody can need the instance any more.
    closed: bool,
    returned: Option<SlotState>,
    /// Of what was done on loan and is not told yet.
    receipt: Receipt,
}

impl Run {
    /// The dialect's plugin, to translate the answer of the present attempt. None where the upstream speaks Anthropic's
    /// dialect, or where the plugin does not care for such answers.
    pub(crate) async fn translator(
        &mut self,
        head: ResponseHead,
    ) -> Result<Option<Translator>, Fault> {
        let facts = Facts {
            kind: self.kind,
            headers: None,
            target: Some(head.target.facts()),
        };
        let catalog = Arc::clone(&self.catalog);
        let speaker = |plugin: &Plugin| plugin.is_dialect() && speaks(plugin, &head.target.dialect);
        let mut places = catalog.with_hook(Hook::Response).iter().copied();
        let Some(at) = places.find(|at| speaker(&catalog.plugins[*at])) else {
            return Ok(None);
        };
        let plugin = &catalog.plugins[at];
        let guard = plugin.guard(Hook::Response);
        if !guard.is_some_and(|guard| guard.may_hold(facts)) {
            self.receipt.guarded(plugin, Hook::Response);
            return Ok(None);
        }
        let (runtime, receipt) = (&self.runtime, &mut self.receipt);
        let instance = self
            .slots
            .instance(runtime, at, plugin, &head.id, receipt)
            .await;
        if let Err(error) = instance {
            self.failed(at, plugin, "on-event", &error)?;
        }
        let owner = Arc::new(Mutex::new(Owner::default()));
        self.lent = Some(LentInstance {
            at,
            owner: Arc::clone(&owner),
        });
        Ok(Some(Translator {
            plugin: Arc::clone(plugin),
            head: Arc::new(head),
            live: self.slots.lend(at),
            shown: false,
            calling: false,
            owner,
        }))
    }

    /// Takes back what was lent, as far as it is back, and the receipt of it.
    pub(super) fn recall(&mut self) {
        let Some(lent) = &self.lent else { return };
        if let Some(state) = lent.settle(&mut self.receipt) {
            self.slots.put_back(lent.at, state);
            self.lent = None;
        }
    }

    /// Why nobody can translate for this target.
    pub(super) fn untranslated(&self, target: &Target) -> Fault {
        let (upstream, dialect) = (&target.upstream, &target.dialect);
        let mut plugins = self.catalog.plugins.iter();
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

impl LentInstance {
    /// What came back, if it did.
    pub(super) fn settle(&self, receipt: &mut Receipt) -> Option<SlotState> {
        let mut owner = lock(&self.owner);
        receipt.absorb(std::mem::take(&mut owner.receipt));
        owner.returned.take()
    }

    /// Nobody waits for it: it ends with the answer.
    pub(super) fn close(&self) {
        lock(&self.owner).closed = true;
    }
}

impl Translator {
    /// What becomes of one event of the upstream.
    pub(crate) async fn on_event(&mut self, mut event: Event) -> Result<Vec<Event>, Fault> {
        let limit = self.plugin.deadline(event.data.len());
        let view = self.view(false);
        self.shown = true;
        let (plugin, owner) = (Arc::clone(&self.plugin), Arc::clone(&self.owner));
        let _call = lock(&owner).receipt.call(&plugin, Hook::Response);
        let outcome = match self.instance() {
            Ok(instance) => instance.on_event(view, &mut event, limit).await,
            Err(error) => Err(error),
        };
        let became = |(verdict, view)| {
            let events = match verdict {
                EventVerdict::Keep => vec![event],
                EventVerdict::Discard => Vec::new(),
                EventVerdict::Replace(events) => events_of(events)?,
            };
            Ok((events, view))
        };
        self.settle("on-event", outcome.and_then(became))
    }

    /// After the last event, if there was any; `complete` is false where the answer was cut short.
    pub(crate) async fn on_end(&mut self, complete: bool) -> Result<Vec<Event>, Fault> {
        if !self.shown {
            return Ok(Vec::new());
        }
        let limit = self.plugin.deadline(0);
        let view = self.view(complete);
        let (plugin, owner) = (Arc::clone(&self.plugin), Arc::clone(&self.owner));
        let _call = lock(&owner).receipt.call(&plugin, Hook::Response);
        let outcome = match self.instance() {
            Ok(instance) => instance.on_end(view, limit).await,
            Err(error) => Err(error),
        };
        let outcome = outcome.and_then(|(events, view)| Ok((events_of(events)?, view)));
        let mut events = self.settle("on-end", outcome)?;
        if !complete {
            // A stream that was cut must not look complete.
            events.retain(|event| event_type_str(&event.name, &event.data) != "message_stop");
        }
        Ok(events)
    }

    /// The answer to something that is no message, a JSON text; `None` where it is to stay as it came.
    pub(crate) async fn on_body(&mut self, body: &Bytes) -> Result<Option<Bytes>, Fault> {
        let limit = self.plugin.deadline(body.len());
        let view = self.view(true);
        let (plugin, owner) = (Arc::clone(&self.plugin), Arc::clone(&self.owner));
        let _call = lock(&owner).receipt.call(&plugin, Hook::Response);
        let text = String::from_utf8_lossy(body).into_owned();
        let outcome = match self.instance() {
            Ok(instance) => instance.on_body(view, text, limit).await,
            Err(error) => Err(error),
        };
        let outcome = outcome.and_then(|(body, view)| match body {
            Some(body) if !is_json(&body) => Err(PluginError::Unusable(
                "the body that it returned is not JSON".to_owned(),
            )),
            body => Ok((body.map(Bytes::from), view)),
        });
        self.settle("on-body", outcome)
    }

    fn view(&self, complete: bool) -> ResponseView {
        ResponseView {
            head: Arc::clone(&self.head),
            edits: header::Edits::default(),
            closed: Some(
                "a dialect cannot set headers: it is not known yet whether this is the answer",
            ),
            complete,
            notes: Notes::default(),
        }
    }

    /// For a call, which [`Self::settle`] ends.
    fn instance(&mut self) -> Result<&mut Instance, PluginError> {
        let live = self.live.as_mut().ok_or(PluginError::Lost)?;
        self.calling = true;
        Ok(&mut live.instance)
    }

    /// A dialect's failure is always the answer's: half a translation helps nobody.
    fn settle<T>(
        &mut self,
        hook: &'static str,
        outcome: Result<(T, ResponseView), PluginError>,
    ) -> Result<T, Fault> {
        self.calling = false;
        let mut owner = lock(&self.owner);
        match outcome {
            Ok((value, view)) => {
                owner
                    .receipt
                    .note(self.plugin.id(), view.notes.into_lines());
                Ok(value)
            }
            Err(error) => {
                self.live = None;
                let (plugin, receipt) = (&self.plugin, &mut owner.receipt);
                let failed = receipt.failed(plugin, hook, &error, OnError::Fail);
                Err(failed
                    .err()
                    .unwrap_or_else(|| error.fault(plugin.id(), hook)))
            }
        }
    }
}

impl Drop for Translator {
    fn drop(&mut self) {
        let returned = match self.live.take() {
            None => SlotState::Out,
            Some(live) if self.calling => live.vacated(),
            Some(live) => SlotState::Live(live),
        };
        let mut owner = lock(&self.owner);
        if !owner.closed {
            owner.returned = Some(returned);
        }
    }
}

fn lock(owner: &Mutex<Owner>) -> MutexGuard<'_, Owner> {
    owner.lock().unwrap_or_else(PoisonError::into_inner)
}
