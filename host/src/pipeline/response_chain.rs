//! Response hooks called one after the other: what one of them returns is shown to the next.

use std::sync::Arc;

use witgate_contract::{
    event::{self, event_type_str},
    guard::{Facts, Guard},
    header,
    manifest::Hook,
    message_order::{MessageOrder, Step, is_end},
    note::Notes,
    verdict::is_json,
};

use super::{
    Catalog, ResponseHead,
    bindings::{Event as GuestEvent, EventVerdict},
    hook_call::HookCalls,
    instance::PluginError,
    plugin::Plugin,
    tracer::Guarded,
    views::ResponseView,
};
use crate::{
    config::OnError,
    fault::Fault,
    message::{Conversation, Event, RequestKind, Target},
};

/// The plugins that one response passes through.
pub(super) struct ResponseChain {
    pub(super) calls: HookCalls,
    kind: RequestKind,
    /// In the order in which they see events.
    hooks: Vec<ResponseHook>,
    pub(super) head: Arc<ResponseHead>,
    /// Why no header can be set, if so.
    pub(super) closed: Option<&'static str>,
    /// The events that were received. `None` if they need not be a message: on the wire, or if the
    /// upstream's own are not.
    received: Option<MessageOrder>,
}

/// A plugin that may want events of this response.
struct ResponseHook {
    /// Index in the catalog.
    at: usize,
    /// Whether it has asked for the response.
    watching: bool,
    /// The events that it let pass.
    sent: MessageOrder,
    /// Whether it was shown anything. Only then is it called at the end.
    shown: bool,
    /// Whether it discarded or replaced an event. Then the stream cannot continue without it.
    altered: bool,
    /// Whether it failed and was skipped.
    failed: bool,
}

/// What became of an event.
pub(super) enum Passed {
    Kept(Event),
    Replaced(Vec<Event>),
}

/// An event at the end of a message: one that was received, by its position, or a new one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LastEvent {
    Received(usize),
    Made(Event),
}

/// A plugin's index in the catalog, and whether it has asked for the response.
pub(super) type Listener = (usize, bool);

impl ResponseChain {
    /// A chain of the plugins with these indexes in the catalog, in this order.
    pub(super) fn new(
        calls: HookCalls,
        kind: RequestKind,
        plugins: Vec<Listener>,
        mut head: ResponseHead,
        closed: Option<&'static str>,
    ) -> Self {
        // While it is not found, a conversation may hold the request's body, and the response may
        // take long.
        if plugins.is_empty() {
            head.conversation = Conversation::alone(head.id.clone());
        } else {
            head.conversation.id();
        }
        let hook = |(at, watching)| ResponseHook {
            at,
            watching,
            sent: MessageOrder::default(),
            shown: false,
            altered: false,
            failed: false,
        };
        Self {
            calls,
            kind,
            hooks: plugins.into_iter().map(hook).collect(),
            head: Arc::new(head),
            closed,
            received: None,
        }
    }

    /// Checks that what plugins let pass is a message, as long as what is received is one.
    pub(super) fn checking_messages(self) -> Self {
        Self {
            received: Some(MessageOrder::default()),
            ..self
        }
    }

    pub(super) fn len(&self) -> usize {
        self.hooks.len()
    }

    /// The place of the dialect's plugin, if there is one.
    pub(super) fn dialect(&self) -> Option<usize> {
        let plugins = &self.calls.catalog.plugins;
        self.hooks
            .iter()
            .position(|hook| plugins[hook.at].is_dialect())
    }

    /// Whether any plugin may want events.
    pub(super) fn listens(&self) -> bool {
        self.hooks.iter().any(|hook| !hook.failed)
    }

    /// Whether any guard has a condition on the type of a delta.
    pub(super) fn asks_for_deltas(&self) -> bool {
        let mut guards = self.hooks.iter().filter_map(|hook| self.guard(hook));
        guards.any(Guard::asks_for_deltas)
    }

    /// Whether some plugin may want this event.
    pub(super) fn wants(&self, name: &str, delta: Option<&str>) -> bool {
        let mut hooks = self.hooks.iter();
        hooks.any(|hook| self.wanted_by(hook, name, delta))
    }

    /// Whether some plugin will be called at the end of the message, of which these events are the
    /// next and the last.
    pub(super) fn awaits_end(&self) -> bool {
        self.hooks.iter().any(|hook| {
            let is_shown = hook.shown && !hook.failed;
            let mut last = ["message_delta", "message_stop"].iter();
            is_shown || last.any(|name| self.wanted_by(hook, name, None))
        })
    }

    /// Whether an event of this type that no plugin wants has to be noted all the same.
    pub(super) fn follows(&self, kind: &[u8]) -> bool {
        let is_noted = match kind {
            // As long as all blocks are as they were received, each delta has its block.
            b"content_block_delta" => self.hooks.iter().any(|hook| hook.altered),
            kind => kind.starts_with(b"message_") || kind.starts_with(b"content_block_"),
        };
        is_noted && self.received.is_some()
    }

    /// Takes note of an event that no plugin wants, and that is passed on.
    pub(super) fn passes(&mut self, event: &Event) -> Result<(), Fault> {
        let step = self.receive(event);
        (0..self.hooks.len()).try_for_each(|place| self.check_kept(place, step.as_ref()))
    }

    /// Marks every plugin as one that has changed the stream.
    #[cfg(test)]
    pub(super) fn mark_all_altered(&mut self) {
        for hook in &mut self.hooks {
            hook.altered = true;
        }
    }

    /// Shows one event to the plugins from this place on.
    pub(super) async fn on_event(
        &mut self,
        from: usize,
        mut event: Event,
    ) -> Result<Passed, Fault> {
        let step = self.receive(&event);
        for place in from..self.hooks.len() {
            match self.show_checked(place, event, step.as_ref()).await? {
                Passed::Kept(same) => event = same,
                Passed::Replaced(mut events) => {
                    for outer in place + 1..self.hooks.len() {
                        events = self.show_all(outer, events).await?;
                    }
                    return Ok(Passed::Replaced(events));
                }
            }
        }
        Ok(Passed::Kept(event))
    }

    /// Ends the response, once, after the last event. `complete` is false if it was truncated.
    /// Events that a plugin held back pass through the next ones before these end themselves.
    pub(super) async fn on_end(&mut self, complete: bool) -> Result<Vec<Event>, Fault> {
        let events = self.on_last(Vec::new(), complete).await?;
        let made = events.into_iter().filter_map(|event| match event {
            LastEvent::Made(event) => Some(event),
            LastEvent::Received(_) => None,
        });
        Ok(made.collect())
    }

    /// Shows the last events of a message, and ends the response. What plugins return at the end
    /// goes before the end of the message, so each of them sees a message with its end last.
    pub(super) async fn on_last(
        &mut self,
        received: Vec<Event>,
        complete: bool,
    ) -> Result<Vec<LastEvent>, Fault> {
        for event in &received {
            self.receive(event);
        }
        let received = received.into_iter().enumerate();
        let mut events: Vec<_> = received.map(|(nth, event)| (Some(nth), event)).collect();
        for place in 0..self.hooks.len() {
            let ends = |(_, event): &(_, Event)| is_end(&event_type_str(&event.name, &event.data));
            let begin = events.iter().position(ends).unwrap_or(events.len());
            let end = events.split_off(begin);
            let mut passed = self.show_last(place, events).await?;
            let end = self.show_last(place, end).await?;
            let made = self.end(place, complete).await?;
            passed.extend(made.into_iter().map(|event| (None, event)));
            passed.extend(end);
            for (nth, event) in &passed {
                self.check(place, event, nth.is_none())?;
            }
            self.check_end(place, complete)?;
            events = passed;
        }
        let last = |(nth, event): (Option<usize>, Event)| match nth {
            Some(nth) => LastEvent::Received(nth),
            None => LastEvent::Made(event),
        };
        Ok(events.into_iter().map(last).collect())
    }

    /// Shows events to one plugin, each with its position if it is as it was received.
    async fn show_last(
        &mut self,
        place: usize,
        events: Vec<(Option<usize>, Event)>,
    ) -> Result<Vec<(Option<usize>, Event)>, Fault> {
        let mut passed = Vec::with_capacity(events.len());
        for (nth, event) in events {
            match self.show(place, event).await? {
                Passed::Kept(event) => passed.push((nth, event)),
                Passed::Replaced(events) => {
                    passed.extend(events.into_iter().map(|event| (None, event)));
                }
            }
        }
        Ok(passed)
    }

    /// Shows a body to the plugins before this place. `None` if all of them kept it.
    pub(super) async fn on_body(
        &mut self,
        before: usize,
        body: &str,
    ) -> Result<Option<String>, Fault> {
        let mut replaced: Option<String> = None;
        for place in 0..before {
            let text = replaced.as_deref().unwrap_or(body);
            if let Some(body) = self.show_body(place, text).await? {
                replaced = Some(body);
            }
        }
        Ok(replaced)
    }

    fn guard(&self, hook: &ResponseHook) -> Option<&Guard> {
        self.calls.catalog.plugins[hook.at].guard(Hook::Response)
    }

    fn wanted_by(&self, hook: &ResponseHook, name: &str, delta: Option<&str>) -> bool {
        let facts = Facts {
            kind: self.kind,
            headers: None,
            target: Some(self.head.target.facts()),
            remembers: &|_| false,
            watching: hook.watching,
        };
        let holds = |guard: &Guard| {
            // A dialect translates every event.
            self.calls.catalog.plugins[hook.at].is_dialect()
                || guard.holds_for_event(facts, name, delta)
        };
        !hook.failed && self.guard(hook).is_some_and(holds)
    }

    fn wants_event(&self, place: usize, event: &Event) -> bool {
        let hook = &self.hooks[place];
        let name = event_type_str(&event.name, &event.data);
        let asks =
            name == "content_block_delta" && self.guard(hook).is_some_and(Guard::asks_for_deltas);
        let delta = match asks {
            true => event::delta_type(event.data.as_bytes()),
            false => None,
        };
        self.wanted_by(hook, &name, delta.as_deref())
    }

    /// Shows events to one plugin.
    async fn show_all(&mut self, place: usize, events: Vec<Event>) -> Result<Vec<Event>, Fault> {
        let mut passed = Vec::with_capacity(events.len());
        for event in events {
            let step = self.read(&event);
            match self.show_checked(place, event, step.as_ref()).await? {
                Passed::Kept(event) => passed.push(event),
                Passed::Replaced(events) => passed.extend(events),
            }
        }
        Ok(passed)
    }

    /// Shows an event to one plugin, if it wants it, and checks what it lets pass. `step` is what
    /// was read from the event.
    async fn show_checked(
        &mut self,
        place: usize,
        event: Event,
        step: Option<&Step>,
    ) -> Result<Passed, Fault> {
        let passed = self.show(place, event).await?;
        match &passed {
            Passed::Kept(_) => self.check_kept(place, step)?,
            Passed::Replaced(events) => {
                for event in events {
                    self.check(place, event, true)?;
                }
            }
        }
        Ok(passed)
    }

    /// Takes note of an event that was received. If it has no place in a message, nothing is
    /// checked any more: plugins are not to blame for it.
    fn receive(&mut self, event: &Event) -> Option<Step> {
        let step = self.read(event)?;
        let received = self.received.as_mut()?;
        // As strictly as what plugins make, because a plugin may hand an event on as it was shown
        // it.
        if received.take(&step, true).is_err() {
            self.received = None;
        }
        Some(step)
    }

    /// Reads an event, if events are checked.
    fn read(&self, event: &Event) -> Option<Step> {
        self.received.as_ref()?;
        Some(Step::of(&event.name, &event.data))
    }

    /// Checks an event that a plugin let pass, or has `made`.
    fn check(&mut self, place: usize, event: &Event, made: bool) -> Result<(), Fault> {
        match self.read(event) {
            Some(step) => self.check_step(place, &step, made),
            None => Ok(()),
        }
    }

    /// Checks an event that a plugin let pass as it was.
    fn check_kept(&mut self, place: usize, step: Option<&Step>) -> Result<(), Fault> {
        match step {
            Some(step) if self.received.is_some() => self.check_step(place, step, false),
            _ => Ok(()),
        }
    }

    fn check_step(&mut self, place: usize, step: &Step, made: bool) -> Result<(), Fault> {
        let fits = self.hooks[place].sent.take(step, made);
        fits.or_else(|why| self.misfit(place, &why))
    }

    /// Checks that a plugin has left a message with its end.
    fn check_end(&mut self, place: usize, complete: bool) -> Result<(), Fault> {
        if !complete || self.received.is_none() {
            return Ok(());
        }
        let ended = self.hooks[place].sent.end();
        ended.or_else(|why| self.misfit(place, &why))
    }

    /// Ends the response if a plugin has changed it so that no message is left.
    fn misfit(&mut self, place: usize, why: &str) -> Result<(), Fault> {
        let hook = &mut self.hooks[place];
        if !hook.altered {
            return Ok(());
        }
        hook.failed = true;
        let at = hook.at;
        let error = PluginError::Unusable(format!("it does not leave a message: {why}"));
        self.calls.failed(at, "on-event", &error, OnError::Fail)
    }

    /// Shows an event to one plugin, if it wants it.
    async fn show(&mut self, place: usize, mut event: Event) -> Result<Passed, Fault> {
        if !self.wants_event(place, &event) {
            return Ok(Passed::Kept(event));
        }
        let (at, view) = (self.hooks[place].at, self.view(false));
        let limit = self.plugin(at).deadline(event.data.len());
        self.hooks[place].shown = true;
        let outcome = self
            .calls
            .call(at, Hook::Response, &self.head.id, async |instance| {
                let (verdict, view) = instance.on_event(view, &mut event, limit).await?;
                Ok((events_of_verdict(verdict)?, view))
            })
            .await;
        let settled = self.settle(place, "on-event", outcome)?;
        if let (Some(trace), Some(made)) = (&self.calls.trace, &settled) {
            let shown = (event.name.as_str(), event.data.as_str());
            let plugin = self.plugin(at).id();
            trace.event(plugin, "on-event", Some(shown), made.as_deref());
        }
        Ok(match settled.flatten() {
            None => Passed::Kept(event),
            Some(events) => {
                self.hooks[place].altered = true;
                Passed::Replaced(events)
            }
        })
    }

    /// Calls one plugin's `on-end`, if it was shown anything.
    async fn end(&mut self, place: usize, complete: bool) -> Result<Vec<Event>, Fault> {
        let hook = &self.hooks[place];
        if !hook.shown || hook.failed {
            return Ok(Vec::new());
        }
        let (at, view) = (hook.at, self.view(complete));
        let limit = self.plugin(at).deadline(0);
        let outcome = self
            .calls
            .call(at, Hook::Response, &self.head.id, async |instance| {
                let (events, view) = instance.on_end(view, limit).await?;
                Ok((events_of(events)?, view))
            })
            .await;
        let settled = self.settle(place, "on-end", outcome)?;
        if let (Some(trace), Some(events)) = (&self.calls.trace, &settled) {
            trace.event(
                self.plugin(at).id(),
                "on-end",
                None,
                Some(events.as_slice()),
            );
        }
        let mut events = settled.unwrap_or_default();
        if !complete {
            // A truncated stream must not look complete.
            events.retain(|event| event_type_str(&event.name, &event.data) != "message_stop");
        }
        self.hooks[place].altered |= !events.is_empty();
        Ok(events)
    }

    async fn show_body(&mut self, place: usize, body: &str) -> Result<Option<String>, Fault> {
        if self.hooks[place].failed {
            return Ok(None);
        }
        let (at, view) = (self.hooks[place].at, self.view(true));
        let limit = self.plugin(at).deadline(body.len());
        let outcome = self
            .calls
            .call(at, Hook::Response, &self.head.id, async |instance| {
                let (body, view) = instance.on_body(view, body, limit).await?;
                match body.as_deref().is_none_or(is_json) {
                    true => Ok((body, view)),
                    false => Err(PluginError::Unusable(
                        "the body that it returned is not JSON".to_owned(),
                    )),
                }
            })
            .await;
        let settled = self.settle(place, "on-body", outcome)?;
        if let (Some(trace), Some(made)) = (&self.calls.trace, &settled) {
            let made = made.as_ref().map(|data| Event {
                name: String::new(),
                data: data.clone(),
            });
            let made = made.as_ref().map(std::slice::from_ref);
            let plugin = self.plugin(at).id();
            trace.event(plugin, "on-body", Some(("", body)), made);
        }
        let body = settled.flatten();
        self.hooks[place].altered |= body.is_some();
        Ok(body)
    }

    fn plugin(&self, at: usize) -> &Plugin {
        &self.calls.catalog.plugins[at]
    }

    fn view(&self, complete: bool) -> ResponseView {
        ResponseView {
            head: Arc::clone(&self.head),
            edits: header::Edits::default(),
            closed: self.closed,
            complete,
            notes: Notes::default(),
        }
    }

    /// Ends a call: applies its header edits and notes, or records its failure. `None` if the
    /// plugin failed and is skipped. One that has changed the stream cannot be skipped.
    fn settle<T>(
        &mut self,
        place: usize,
        function: &'static str,
        outcome: Result<(T, ResponseView), PluginError>,
    ) -> Result<Option<T>, Fault> {
        let at = self.hooks[place].at;
        match outcome {
            Ok((value, view)) => {
                self.keep(at, view);
                Ok(Some(value))
            }
            Err(error) => {
                let hook = &mut self.hooks[place];
                hook.failed = true;
                let on_error = match hook.altered {
                    true => OnError::Fail,
                    false => self.calls.catalog.plugins[at].on_error,
                };
                self.calls.failed(at, function, &error, on_error)?;
                Ok(None)
            }
        }
    }

    /// Applies the header edits and notes of a successful call.
    fn keep(&mut self, at: usize, view: ResponseView) {
        let plugin = self.calls.catalog.plugins[at].id();
        let trace = self.calls.trace.as_ref();
        if let Some(trace) = trace.filter(|_| !view.edits.is_empty()) {
            trace.headers(plugin, Hook::Response, view.header_changes());
        }
        let ResponseView {
            head, edits, notes, ..
        } = view;
        let notes = notes.into_lines();
        if let Some(trace) = trace {
            trace.notes(plugin, Hook::Response, &notes);
        }
        self.calls.receipt.note(plugin, notes);
        // While the view shares the head, the next line would copy it.
        drop(head);
        if !edits.is_empty() {
            edits.apply(&mut Arc::make_mut(&mut self.head).headers);
        }
    }
}

/// The plugins whose response hooks may be called, outermost last. `watchers` have asked for the
/// response, and `belongs` says which plugins are meant.
pub(super) fn plugins_for(
    calls: &mut HookCalls,
    kind: RequestKind,
    target: &Target,
    watchers: &[usize],
    belongs: impl Fn(&Plugin) -> bool,
) -> Vec<Listener> {
    let facts = |watching| Facts {
        kind,
        headers: None,
        target: Some(target.facts()),
        remembers: &|_| false,
        watching,
    };
    let catalog: Arc<Catalog> = Arc::clone(&calls.catalog);
    let places = catalog.with_hook(Hook::Response).iter().rev().copied();
    let mut plugins = Vec::new();
    for at in places.filter(|at| belongs(&catalog.plugins[*at])) {
        let guard = catalog.plugins[at].guard(Hook::Response);
        let watching = watchers.contains(&at);
        let holds = guard.is_some_and(|guard| guard.may_hold(facts(watching)));
        calls.trace_guard(at, Hook::Response, None, |guard| match holds {
            true => Guarded::MayHold,
            false => Guarded::Unmet(guard.unmet(facts(watching), None)),
        });
        if !holds {
            calls.guarded(at, Hook::Response);
        } else if !calls.slots.is_out(at) {
            plugins.push((at, watching));
        }
    }
    plugins
}

/// The events that replace the one that was shown. `None` if it is kept.
fn events_of_verdict(verdict: EventVerdict) -> Result<Option<Vec<Event>>, PluginError> {
    match verdict {
        EventVerdict::Keep => Ok(None),
        EventVerdict::Discard => Ok(Some(Vec::new())),
        EventVerdict::Replace(events) => events_of(events).map(Some),
    }
}

/// Checks and converts the events that a plugin made.
fn events_of(events: Vec<GuestEvent>) -> Result<Vec<Event>, PluginError> {
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
