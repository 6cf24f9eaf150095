//! Response hooks: a response passes through them on its way to the client, in reverse order. A
//! dialect's plugin is not among them, because it translates the response when it arrives.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use witgate_contract::{
    event,
    guard::{Facts, Guard},
    header,
    manifest::Hook,
    note::Notes,
    verdict::is_json,
};

use super::{
    Catalog, EventOutcome, Receipt, ResponseHead, Run, Runtime,
    bindings::{Event as GuestEvent, EventVerdict},
    host_functions::ResponseView,
    instance::PluginError,
    instance_slots::InstanceSlots,
    plugin::Plugin,
    translator::LentInstance,
};
use crate::{
    config::OnError,
    fault::Fault,
    message::{Event, RequestKind},
};

/// A response on its way to the client through the response hooks.
pub(crate) struct ResponseRun {
    catalog: Arc<Catalog>,
    runtime: Arc<Runtime>,
    kind: RequestKind,
    slots: InstanceSlots,
    /// In the order in which they see events.
    hooks: Vec<ResponseHook>,
    receipt: Receipt,
    /// The dialect's plugin, which works for as long as the response arrives.
    lent: Option<LentInstance>,
    head: Arc<ResponseHead>,
    /// Whether anything was sent to the client.
    sent: bool,
}

/// A plugin that may want events of this response.
struct ResponseHook {
    /// Index in the catalog.
    at: usize,
    /// Whether it was shown anything. Only then is it called at the end.
    shown: bool,
    /// Whether it discarded or replaced an event. Then the stream cannot continue without it.
    altered: bool,
    /// Whether it failed and was skipped.
    failed: bool,
}

/// What one plugin made of an event.
enum HookOutput {
    Kept(Event),
    Replaced(Vec<Event>),
}

impl ResponseRun {
    pub(super) fn begin(mut run: Run, head: ResponseHead) -> Self {
        run.recall();
        let Run {
            catalog,
            runtime,
            kind,
            mut slots,
            mut receipt,
            lent,
            ..
        } = run;
        if let Some(lent) = &lent {
            lent.close();
        }
        let facts = Facts {
            kind,
            headers: None,
            target: Some(head.target.facts()),
        };
        let mut hooks = Vec::new();
        for &at in catalog.with_hook(Hook::Response).iter().rev() {
            let plugin = &catalog.plugins[at];
            if plugin.is_dialect() {
                continue;
            }
            let guard = plugin.guard(Hook::Response);
            if !guard.is_some_and(|guard| guard.may_hold(facts)) {
                receipt.guarded(plugin, Hook::Response);
            } else if !slots.is_out(at) {
                hooks.push(ResponseHook {
                    at,
                    shown: false,
                    altered: false,
                    failed: false,
                });
            }
        }
        slots.keep(|plugin| hooks.iter().any(|hook_state| hook_state.at == plugin));
        let head = Arc::new(head);
        Self {
            catalog,
            runtime,
            kind,
            slots,
            hooks,
            receipt,
            lent,
            head,
            sent: false,
        }
    }

    /// Whether any plugin may want events of this response. If not, bytes can be relayed without
    /// decoding.
    pub(crate) fn listens(&self) -> bool {
        self.hooks.iter().any(|hook_state| !hook_state.failed)
    }

    /// Whether any guard has a condition on the type of a delta.
    pub(crate) fn asks_for_deltas(&self) -> bool {
        let mut guards = self.hooks.iter().filter_map(|hook_state| {
            let plugin = &self.catalog.plugins[hook_state.at];
            plugin.guard(Hook::Response)
        });
        guards.any(Guard::asks_for_deltas)
    }

    /// Whether some plugin may want this event. This is cheap, so callers check it before they
    /// build an [`Event`]. `delta` is the type of the delta of a `content_block_delta`, needed only
    /// if some plugin [asks for it](Self::asks_for_deltas).
    pub(crate) fn wants(&self, name: &str, delta: Option<&str>) -> bool {
        self.hooks
            .iter()
            .any(|hook_state| self.wanted_by(hook_state, name, delta))
    }

    /// The head as the hooks left it. It is sent after the first event has passed.
    pub(crate) fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// The headers for the client. They keep the buffer alive that the upstream's head was read
    /// into, so they are moved out if no plugin can ask for them any more.
    pub(crate) fn take_headers(&mut self) -> HeaderMap {
        match Arc::get_mut(&mut self.head) {
            Some(head) if self.hooks.is_empty() => std::mem::take(&mut head.headers),
            _ => self.head.headers.clone(),
        }
    }

    /// Records that the head was sent before any event passed. Its headers can no longer change.
    pub(crate) fn head_is_sent(&mut self) {
        self.sent = true;
    }

    /// Shows one event to the response hooks, in reverse order.
    pub(crate) async fn on_event(&mut self, mut event: Event) -> Result<EventOutcome, Fault> {
        for place in 0..self.hooks.len() {
            match self.show(place, event).await? {
                HookOutput::Kept(same) => event = same,
                HookOutput::Replaced(events) => {
                    let events = self.pass(place + 1, events).await?;
                    self.sent |= !events.is_empty();
                    return Ok(EventOutcome::Replaced(events));
                }
            }
        }
        self.sent = true;
        Ok(EventOutcome::Kept)
    }

    /// Ends the response, once, after the last event. `complete` is false if it was truncated.
    pub(crate) async fn on_end(&mut self, complete: bool) -> Result<Vec<Event>, Fault> {
        let mut events = Vec::new();
        for place in 0..self.hooks.len() {
            // Events that inner plugins held back pass through the outer ones before these end
            // themselves.
            let mut passed = Vec::new();
            for event in events {
                match self.show(place, event).await? {
                    HookOutput::Kept(event) => passed.push(event),
                    HookOutput::Replaced(events) => passed.extend(events),
                }
            }
            passed.extend(self.end(place, complete).await?);
            events = passed;
        }
        self.slots.clear();
        if !complete {
            // A truncated stream must not look complete.
            events
                .retain(|event| event::event_type_str(&event.name, &event.data) != "message_stop");
        }
        self.sent |= !events.is_empty();
        Ok(events)
    }

    /// Shows the body of a response that is not a message. `None` if all plugins kept it.
    pub(crate) async fn on_body(&mut self, body: &Bytes) -> Result<Option<Bytes>, Fault> {
        let mut replaced: Option<String> = None;
        for place in 0..self.hooks.len() {
            let text = match &replaced {
                Some(text) => text.as_str(),
                None => match std::str::from_utf8(body) {
                    Ok(text) => text,
                    // A body that is not text is not JSON either, so plugins do not see it.
                    Err(_) => return Ok(None),
                },
            };
            if let Some(body) = self.show_body(place, text).await? {
                replaced = Some(body);
            }
        }
        self.slots.clear();
        self.sent = true;
        Ok(replaced.map(Bytes::from))
    }

    pub(crate) fn receipt(&mut self) -> &Receipt {
        if let Some(lent) = &self.lent {
            // An instance that was returned before the loan was closed is dropped.
            drop(lent.settle(&mut self.receipt));
        }
        &self.receipt
    }

    /// Marks every plugin as one that has changed the stream.
    #[cfg(test)]
    pub(super) fn mark_all_altered(&mut self) {
        for hook_state in &mut self.hooks {
            hook_state.altered = true;
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            kind: self.kind,
            headers: None,
            target: Some(self.head.target.facts()),
        }
    }

    fn wanted_by(&self, hook_state: &ResponseHook, name: &str, delta: Option<&str>) -> bool {
        let guard = self.catalog.plugins[hook_state.at].guard(Hook::Response);
        !hook_state.failed
            && guard.is_some_and(|guard| guard.holds_for_event(self.facts(), name, delta))
    }

    /// Passes events that a plugin made through the plugins outside of it.
    async fn pass(&mut self, from: usize, mut events: Vec<Event>) -> Result<Vec<Event>, Fault> {
        for place in from..self.hooks.len() {
            let mut passed = Vec::with_capacity(events.len());
            for event in events {
                match self.show(place, event).await? {
                    HookOutput::Kept(event) => passed.push(event),
                    HookOutput::Replaced(events) => passed.extend(events),
                }
            }
            events = passed;
        }
        Ok(events)
    }

    /// Shows an event to one plugin, if it wants it.
    async fn show(&mut self, place: usize, mut event: Event) -> Result<HookOutput, Fault> {
        let hook_state = &self.hooks[place];
        let at = hook_state.at;
        let plugin = Arc::clone(&self.catalog.plugins[at]);
        let asks = plugin
            .guard(Hook::Response)
            .is_some_and(Guard::asks_for_deltas);
        let name = event::event_type_str(&event.name, &event.data);
        let delta = if asks && name == "content_block_delta" {
            event::delta_type(event.data.as_bytes())
        } else {
            None
        };
        let wanted = self.wanted_by(hook_state, &name, delta.as_deref());
        if !wanted {
            return Ok(HookOutput::Kept(event));
        }
        let view = self.view(false);
        let limit = plugin.deadline(event.data.len());
        let (runtime, receipt) = (&self.runtime, &mut self.receipt);
        let outcome = match self
            .slots
            .instance(runtime, at, &plugin, &self.head.id, receipt)
            .await
        {
            Ok(instance) => {
                let _call = self.receipt.call(&plugin, Hook::Response);
                self.hooks[place].shown = true;
                instance.on_event(view, &mut event, limit).await
            }
            Err(error) => Err(error),
        };
        let outcome = outcome.and_then(|(verdict, view)| {
            let shown = match verdict {
                EventVerdict::Keep => None,
                EventVerdict::Discard => Some(Vec::new()),
                EventVerdict::Replace(events) => Some(events_of(events)?),
            };
            Ok((shown, view))
        });
        match outcome {
            Ok((shown, view)) => {
                self.keep(&plugin, view);
                Ok(match shown {
                    None => HookOutput::Kept(event),
                    Some(events) => {
                        self.hooks[place].altered = true;
                        HookOutput::Replaced(events)
                    }
                })
            }
            Err(error) => {
                self.failed(place, &plugin, "on-event", &error)?;
                Ok(HookOutput::Kept(event))
            }
        }
    }

    /// Calls one plugin's `on-end`, if it was shown anything.
    async fn end(&mut self, place: usize, complete: bool) -> Result<Vec<Event>, Fault> {
        let hook_state = &self.hooks[place];
        if !hook_state.shown || hook_state.failed {
            return Ok(Vec::new());
        }
        let at = hook_state.at;
        let plugin = Arc::clone(&self.catalog.plugins[at]);
        let view = self.view(complete);
        let (runtime, receipt) = (&self.runtime, &mut self.receipt);
        let outcome = match self
            .slots
            .instance(runtime, at, &plugin, &self.head.id, receipt)
            .await
        {
            Ok(instance) => {
                let _call = self.receipt.call(&plugin, Hook::Response);
                instance.on_end(view, plugin.deadline(0)).await
            }
            Err(error) => Err(error),
        };
        match outcome.and_then(|(events, view)| Ok((events_of(events)?, view))) {
            Ok((events, view)) => {
                self.keep(&plugin, view);
                Ok(events)
            }
            Err(error) => {
                self.failed(place, &plugin, "on-end", &error)?;
                Ok(Vec::new())
            }
        }
    }

    async fn show_body(&mut self, place: usize, body: &str) -> Result<Option<String>, Fault> {
        let at = self.hooks[place].at;
        let plugin = Arc::clone(&self.catalog.plugins[at]);
        if self.hooks[place].failed {
            return Ok(None);
        }
        let view = self.view(true);
        let (runtime, receipt) = (&self.runtime, &mut self.receipt);
        let outcome = match self
            .slots
            .instance(runtime, at, &plugin, &self.head.id, receipt)
            .await
        {
            Ok(instance) => {
                let _call = self.receipt.call(&plugin, Hook::Response);
                let limit = plugin.deadline(body.len());
                instance.on_body(view, body.to_owned(), limit).await
            }
            Err(error) => Err(error),
        };
        let outcome = outcome.and_then(|(body, view)| match body {
            Some(body) if !is_json(&body) => Err(PluginError::Unusable(
                "the body that it returned is not JSON".to_owned(),
            )),
            body => Ok((body, view)),
        });
        match outcome {
            Ok((body, view)) => {
                self.keep(&plugin, view);
                self.hooks[place].altered |= body.is_some();
                Ok(body)
            }
            Err(error) => {
                self.failed(place, &plugin, "on-body", &error)?;
                Ok(None)
            }
        }
    }

    fn view(&self, complete: bool) -> ResponseView {
        let head = Arc::clone(&self.head);
        ResponseView {
            head,
            edits: header::Edits::default(),
            closed: self.sent.then_some("the answer has begun"),
            complete,
            notes: Notes::default(),
        }
    }

    /// Applies the header edits and notes of a successful call.
    fn keep(&mut self, plugin: &Plugin, view: ResponseView) {
        let ResponseView {
            head, edits, notes, ..
        } = view;
        self.receipt.note(plugin.id(), notes.into_lines());
        // While the view shares the head, the next line would copy it.
        drop(head);
        if !edits.is_empty() {
            edits.apply(&mut Arc::make_mut(&mut self.head).headers);
        }
    }

    /// Records a failed call. A plugin that has changed the stream cannot be skipped from there on.
    fn failed(
        &mut self,
        place: usize,
        plugin: &Plugin,
        hook: &'static str,
        error: &PluginError,
    ) -> Result<(), Fault> {
        let hook_state = &mut self.hooks[place];
        hook_state.failed = true;
        self.slots.dismiss(hook_state.at);
        let on_error = if hook_state.altered {
            OnError::Fail
        } else {
            plugin.on_error
        };
        self.receipt.failed(plugin, hook, error, on_error)
    }
}

/// Checks and converts the events that a plugin made.
pub(super) fn events_of(events: Vec<GuestEvent>) -> Result<Vec<Event>, PluginError> {
    let check = |GuestEvent { name, data }: GuestEvent| {
        event::check(&name, &data).map_err(|why| {
            PluginError::Unusable(format!("an event that it returned is invalid: {why}"))
        })?;
        Ok(Event { name, data })
    };
    events.into_iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_cannot_smuggle_an_event_in_a_line_break() {
        for (name, data) in [("a\nevent: b", "{}"), ("a", "{}\r\rdata: x")] {
            let made = vec![GuestEvent {
                name: name.to_owned(),
                data: data.to_owned(),
            }];
            assert!(matches!(events_of(made), Err(PluginError::Unusable(_))));
        }
    }
}
