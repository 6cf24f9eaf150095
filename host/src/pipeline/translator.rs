//! A dialect's plugin, lent to one response: the upstream's events go in, Messages events come out.
//!
//! It is the instance that translated the request, and it is returned when the translator is
//! dropped. An invalid response is a failed attempt: then the plugin's failure hook is called, and
//! its attempt hook again.

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

/// A dialect's plugin, for the duration of one response.
pub(crate) struct Translator {
    plugin: Arc<Plugin>,
    head: Arc<ResponseHead>,
    /// `None` after a failure.
    live: Option<LiveInstance>,
    /// Whether it was shown anything. Only then is it called at the end.
    shown: bool,
    /// Whether a call is in progress. An instance that was dropped in the middle of a call cannot
    /// be used again.
    calling: bool,
    owner: Arc<Mutex<Owner>>,
}

/// A lent instance, as the run that lent it sees it.
pub(super) struct LentInstance {
    /// Index in the catalog.
    at: usize,
    owner: Arc<Mutex<Owner>>,
}

/// What the run and the translator share.
#[derive(Default)]
struct Owner {
    /// Whether the instance is not needed any more.
    closed: bool,
    returned: Option<SlotState>,
    /// What was done on loan and is not in the run's receipt yet.
    receipt: Receipt,
}

impl Run {
    /// The dialect's plugin, to translate the response of the current attempt. `None` if the
    /// upstream speaks Anthropic's dialect, or if the plugin's guard does not hold for such
    /// responses.
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

    /// Takes back a lent instance if it was returned, and adds what it recorded to the receipt.
    pub(super) fn recall(&mut self) {
        let Some(lent) = &self.lent else { return };
        if let Some(state) = lent.settle(&mut self.receipt) {
            self.slots.put_back(lent.at, state);
            self.lent = None;
        }
    }

    /// The fault of a target that no plugin can translate for.
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
    /// The instance, if it was returned. What it recorded is added to the receipt.
    pub(super) fn settle(&self, receipt: &mut Receipt) -> Option<SlotState> {
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

    /// Ends the response after the last event, if there was any. `complete` is false if it was
    /// truncated.
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
            // A truncated stream must not look complete.
            events.retain(|event| event_type_str(&event.name, &event.data) != "message_stop");
        }
        Ok(events)
    }

    /// Translates the body of a response that is not a message. `None` if it stays as it is.
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

    /// The instance for one call, which [`Self::settle`] ends.
    fn instance(&mut self) -> Result<&mut Instance, PluginError> {
        let live = self.live.as_mut().ok_or(PluginError::Lost)?;
        self.calling = true;
        Ok(&mut live.instance)
    }

    /// Ends a call. A dialect's failure always ends the response, since half a translation is
    /// useless.
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
