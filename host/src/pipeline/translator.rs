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
    AnswerHead, Receipt, Run,
    answering::events_of,
    bindings::EventVerdict,
    imports::ResponseView,
    instance::{Cause, Instance},
    plugin::Plugin,
    seats::{Live, State},
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
    head: Arc<AnswerHead>,
    /// None after a failure.
    live: Option<Live>,
    /// Whether it was shown anything: only then it is told of the end.
    shown: bool,
    /// Whether a call is under way. An instance that was left in the middle of one is of no use any more.
    calling: bool,
    home: Arc<Mutex<Home>>,
}

/// The lender's end of it.
pub(super) struct Loan {
    /// Place in the catalog.
    at: usize,
    home: Arc<Mutex<Home>>,
}

/// What both ends share.
#[derive(Default)]
struct Home {
    /// Nobody can need the instance any more.
    closed: bool,
    back: Option<State>,
    /// Of what was done on loan and is not told yet.
    receipt: Receipt,
}

impl Run {
    /// The dialect's plugin, to translate the answer of the present attempt. None where the upstream speaks Anthropic's
    /// dialect, or where the plugin does not care for such answers.
    pub(crate) async fn translator(
        &mut self,
        head: AnswerHead,
    ) -> Result<Option<Translator>, Fault> {
        let facts = Facts {
            kind: self.kind,
            headers: None,
            target: Some(head.target.facts()),
        };
        let catalog = Arc::clone(&self.catalog);
        let speaker = |plugin: &Plugin| plugin.is_dialect() && speaks(plugin, &head.target.dialect);
        let mut places = catalog.having(Hook::Response).iter().copied();
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
        let seated = self
            .seats
            .instance(runtime, at, plugin, &head.id, receipt)
            .await;
        if let Err(cause) = seated {
            self.failed(at, plugin, "on-event", &cause)?;
        }
        let home = Arc::new(Mutex::new(Home::default()));
        self.loan = Some(Loan {
            at,
            home: Arc::clone(&home),
        });
        Ok(Some(Translator {
            plugin: Arc::clone(plugin),
            head: Arc::new(head),
            live: self.seats.lend(at),
            shown: false,
            calling: false,
            home,
        }))
    }

    /// Takes back what was lent, as far as it is back, and the receipt of it.
    pub(super) fn recall(&mut self) {
        let Some(loan) = &self.loan else { return };
        if let Some(state) = loan.settle(&mut self.receipt) {
            self.seats.put_back(loan.at, state);
            self.loan = None;
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

impl Loan {
    /// What came back, if it did.
    pub(super) fn settle(&self, receipt: &mut Receipt) -> Option<State> {
        let mut home = lock(&self.home);
        receipt.absorb(std::mem::take(&mut home.receipt));
        home.back.take()
    }

    /// Nobody waits for it: it ends with the answer.
    pub(super) fn close(&self) {
        lock(&self.home).closed = true;
    }
}

impl Translator {
    /// What becomes of one event of the upstream.
    pub(crate) async fn on_event(&mut self, mut event: Event) -> Result<Vec<Event>, Fault> {
        let limit = self.plugin.deadline(event.data.len());
        let view = self.view(false);
        self.shown = true;
        let (plugin, home) = (Arc::clone(&self.plugin), Arc::clone(&self.home));
        let _call = lock(&home).receipt.call(&plugin, Hook::Response);
        let outcome = match self.instance() {
            Ok(instance) => instance.on_event(view, &mut event, limit).await,
            Err(cause) => Err(cause),
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
        let (plugin, home) = (Arc::clone(&self.plugin), Arc::clone(&self.home));
        let _call = lock(&home).receipt.call(&plugin, Hook::Response);
        let outcome = match self.instance() {
            Ok(instance) => instance.on_end(view, limit).await,
            Err(cause) => Err(cause),
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
        let (plugin, home) = (Arc::clone(&self.plugin), Arc::clone(&self.home));
        let _call = lock(&home).receipt.call(&plugin, Hook::Response);
        let text = String::from_utf8_lossy(body).into_owned();
        let outcome = match self.instance() {
            Ok(instance) => instance.on_body(view, text, limit).await,
            Err(cause) => Err(cause),
        };
        let outcome = outcome.and_then(|(body, view)| match body {
            Some(body) if !is_json(&body) => Err(Cause::Unusable(
                "the body that it handed back is no JSON".to_owned(),
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
    fn instance(&mut self) -> Result<&mut Instance, Cause> {
        let live = self.live.as_mut().ok_or(Cause::Lost)?;
        self.calling = true;
        Ok(&mut live.instance)
    }

    /// A dialect's failure is always the answer's: half a translation helps nobody.
    fn settle<T>(
        &mut self,
        hook: &'static str,
        outcome: Result<(T, ResponseView), Cause>,
    ) -> Result<T, Fault> {
        self.calling = false;
        let mut home = lock(&self.home);
        match outcome {
            Ok((value, view)) => {
                home.receipt.note(self.plugin.id(), view.notes.into_lines());
                Ok(value)
            }
            Err(cause) => {
                self.live = None;
                let (plugin, receipt) = (&self.plugin, &mut home.receipt);
                let failed = receipt.failed(plugin, hook, &cause, OnError::Fail);
                Err(failed
                    .err()
                    .unwrap_or_else(|| cause.fault(plugin.id(), hook)))
            }
        }
    }
}

impl Drop for Translator {
    fn drop(&mut self) {
        let back = match self.live.take() {
            None => State::Out,
            Some(live) if self.calling => live.vacated(),
            Some(live) => State::Live(live),
        };
        let mut home = lock(&self.home);
        if !home.closed {
            home.back = Some(back);
        }
    }
}

fn lock(home: &Mutex<Home>) -> MutexGuard<'_, Home> {
    home.lock().unwrap_or_else(PoisonError::into_inner)
}
