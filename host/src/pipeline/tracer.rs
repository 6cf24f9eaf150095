//! Records what plugins do in an exchange. An exchange without a tracer pays for one comparison per
//! call. One with a tracer pays little for each guard: most traces are never read, so the words for
//! it are found when one is.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::value::RawValue;
use witgate_contract::{
    guard::{Facts, Unmet},
    manifest::{Hook, Manifest},
};
use witgate_document::Operation;

use super::trace::{
    HeaderChange, LogLine, ShownEvent, Step, Trace, TraceEnd, TracedAttempt, TracedCall,
    TracedEvent, TracedEvents,
};
use crate::{
    config,
    ids::{ExchangeId, PluginId},
    message::{Event, RequestKind, Target},
};

/// The fixed size of a step and of an entry in one, in bytes, for the limit of a trace.
const ENTRY: usize = 128;

/// The traces of the latest exchanges.
#[derive(Default)]
pub(super) struct Traces(Mutex<VecDeque<Tracer>>);

/// Records one exchange. Clones record the same one.
#[derive(Clone)]
pub(crate) struct Tracer {
    id: ExchangeId,
    /// Whether events are recorded, or only counted.
    events: bool,
    recording: Arc<Mutex<Recording>>,
}

struct Recording {
    kind: RequestKind,
    /// The set of plugins that serves the exchange.
    generation: u64,
    /// The target of each attempt.
    targets: Vec<Target>,
    steps: Vec<RecordedStep>,
    end: Option<TraceEnd>,
    /// How much was left out.
    left_out: u32,
    /// What may still be added, in bytes.
    room: usize,
    /// The number of the current attempt.
    attempt: u32,
    /// The time of the latest call.
    latest: Duration,
    /// The index of the step that was last added to.
    at: usize,
}

/// A [`Step`] whose guard is not in words yet.
struct RecordedStep {
    plugin: PluginId,
    manifest: Arc<Manifest>,
    hook: Hook,
    attempt: u32,
    guarded: Guarded,
    /// The status of the failure, for a failure hook.
    status: Option<u16>,
    call: Option<Box<TracedCall>>,
}

/// Whether a guard holds.
pub(super) enum Guarded {
    /// By the alternative with this index.
    Held(usize),
    /// That of a response hook: each event decides.
    MayHold,
    Unmet(Unmet),
    /// The plugin does not translate for the target.
    OtherDialect,
    /// The plugin failed earlier in the exchange.
    Failed,
}

/// What is measured of a call.
pub(super) struct Measured {
    pub(super) time: Duration,
    pub(super) deadline: Duration,
    /// How long it took to create the instance, if the call had to.
    pub(super) instantiated: Option<Duration>,
    pub(super) memory: usize,
    pub(super) memory_limit: usize,
    pub(super) log: Vec<LogLine>,
}

/// What a call did to the request.
pub(super) struct Edited<'a> {
    pub(super) patch: &'a [Operation],
    pub(super) left_out: u32,
    pub(super) headers: Vec<HeaderChange>,
    pub(super) path: Option<String>,
}

impl Traces {
    /// Begins a trace, and drops the oldest ones. `None` if none are to be kept.
    pub(super) fn begin(
        &self,
        id: &ExchangeId,
        kind: RequestKind,
        limits: config::Traces,
    ) -> Option<Tracer> {
        let mut kept = self.0.lock();
        while kept.len() >= limits.count.max(1) {
            kept.pop_front();
        }
        if limits.count == 0 {
            return None;
        }
        let tracer = Tracer::new(id.clone(), kind, limits);
        kept.push_back(tracer.clone());
        Some(tracer)
    }

    pub(super) fn find(&self, id: &str) -> Option<Trace> {
        let kept = self.0.lock();
        let found = kept.iter().rev().find(|tracer| tracer.id.as_str() == id)?;
        let tracer = found.clone();
        drop(kept);
        let recording = tracer.recording.lock();
        Some(recording.read(&tracer.id))
    }
}

impl Tracer {
    fn new(id: ExchangeId, kind: RequestKind, limits: config::Traces) -> Self {
        let recording = Recording {
            kind,
            generation: 0,
            targets: Vec::new(),
            steps: Vec::new(),
            end: None,
            left_out: 0,
            room: limits.bytes,
            attempt: 0,
            latest: Duration::ZERO,
            at: 0,
        };
        Self {
            id,
            events: limits.events,
            recording: Arc::new(Mutex::new(recording)),
        }
    }

    /// Records which set of plugins serves the exchange.
    pub(super) fn begin(&self, generation: u64) {
        self.recording.lock().generation = generation;
    }

    /// Records that an attempt begins.
    pub(super) fn attempt(&self, target: &Target) {
        let mut recording = self.recording.lock();
        recording.attempt = target.attempt;
        if recording.has_room(target.model.len()) {
            recording.targets.push(target.clone());
        }
    }

    /// Records whether a guard holds. `hook` comes with the status of the failure, if it is one.
    pub(super) fn guard(
        &self,
        plugin: &PluginId,
        manifest: &Arc<Manifest>,
        (hook, status): (Hook, Option<u16>),
        guarded: Guarded,
    ) {
        let mut recording = self.recording.lock();
        if !recording.has_room(0) {
            return;
        }
        let attempt = recording.attempt;
        recording.at = recording.steps.len();
        recording.steps.push(RecordedStep {
            plugin: plugin.clone(),
            manifest: Arc::clone(manifest),
            hook,
            attempt,
            guarded,
            status,
            call: None,
        });
    }

    /// Records a call that has ended.
    pub(super) fn called(&self, plugin: &PluginId, hook: Hook, measured: Measured) {
        let mut recording = self.recording.lock();
        recording.latest = measured.time;
        let lines = measured.log.iter().map(|line| line.line.len() + ENTRY);
        let log = match measured.log.is_empty() || recording.has_room(lines.sum()) {
            true => measured.log,
            false => Vec::new(),
        };
        let Some(call) = recording.call(plugin, hook) else {
            return;
        };
        let time = nanos(measured.time);
        call.calls += 1;
        call.time_ns = call.time_ns.saturating_add(time);
        if time >= call.slowest_ns {
            call.slowest_ns = time;
            call.deadline_ns = nanos(measured.deadline);
        }
        call.instantiate_ns = call
            .instantiate_ns
            .or_else(|| measured.instantiated.map(nanos));
        call.memory = call.memory.max(measured.memory);
        call.memory_limit = measured.memory_limit;
        call.log.extend(log);
    }

    pub(super) fn verdict(&self, plugin: &PluginId, hook: Hook, verdict: String) {
        if let Some(call) = self.recording.lock().call(plugin, hook) {
            call.verdict = Some(verdict);
        }
    }

    /// Records the edits of a request or attempt hook.
    pub(super) fn edited(&self, plugin: &PluginId, hook: Hook, edited: Edited<'_>) {
        let mut recording = self.recording.lock();
        let mut left_out = edited.left_out;
        let mut patch = None;
        if !edited.patch.is_empty() {
            let text = Operation::write_list(edited.patch);
            let fits = recording.has_room(text.len());
            patch = RawValue::from_string(text).ok().filter(|_| fits);
            if patch.is_none() {
                left_out += u32::try_from(edited.patch.len()).unwrap_or(u32::MAX);
            }
        }
        let headers = recording.fitting(edited.headers);
        if let Some(call) = recording.call(plugin, hook) {
            call.patch = patch;
            call.patch_left_out = left_out;
            call.headers.extend(headers);
            call.path = edited.path;
        }
    }

    /// Records the header edits of a response hook.
    pub(super) fn headers(&self, plugin: &PluginId, hook: Hook, headers: Vec<HeaderChange>) {
        let mut recording = self.recording.lock();
        let headers = recording.fitting(headers);
        if let Some(call) = recording.call(plugin, hook) {
            call.headers.extend(headers);
        }
    }

    /// Records what a failure hook changed.
    pub(super) fn corrected(&self, plugin: &PluginId, corrections: Vec<String>) {
        let mut recording = self.recording.lock();
        let fits = recording.has_room(corrections.iter().map(String::len).sum());
        if let Some(call) = recording.call(plugin, Hook::Failure).filter(|_| fits) {
            call.corrections = corrections;
        }
    }

    pub(super) fn notes(&self, plugin: &PluginId, hook: Hook, notes: &[String]) {
        if notes.is_empty() {
            return;
        }
        let mut recording = self.recording.lock();
        let fits = recording.has_room(notes.iter().map(String::len).sum());
        if let Some(call) = recording.call(plugin, hook).filter(|_| fits) {
            call.notes.extend_from_slice(notes);
        }
    }

    pub(super) fn failed(&self, plugin: &PluginId, hook: Hook, why: String) {
        let mut recording = self.recording.lock();
        let fits = recording.has_room(why.len());
        if let Some(call) = recording.call(plugin, hook).filter(|_| fits) {
            call.failure = Some(why);
        }
    }

    /// Records an event that a response hook was shown, and what it returned; `None` if it kept it.
    pub(super) fn event(
        &self,
        plugin: &PluginId,
        function: &'static str,
        before: Option<(&str, &str)>,
        after: Option<&[Event]>,
    ) {
        let mut recording = self.recording.lock();
        let time_ns = nanos(recording.latest);
        let listed = self.events && recording.has_room(size_of_event(before, after));
        let Some(call) = recording.call(plugin, Hook::Response) else {
            return;
        };
        let events = call.events.get_or_insert_with(TracedEvents::default);
        events.shown += u32::from(before.is_some());
        events.kept += u32::from(before.is_some() && after.is_none());
        let returned = after.map_or(0, <[Event]>::len);
        events.returned += u32::try_from(returned).unwrap_or(u32::MAX);
        if listed {
            events.list.push(TracedEvent {
                function: function.to_owned(),
                time_ns,
                before: before.map(|(event, data)| shown(event, data)),
                after: after.map(|after| {
                    let each = after.iter();
                    each.map(|event| shown(&event.name, &event.data)).collect()
                }),
            });
        }
    }

    /// Records how the exchange ended.
    pub(crate) fn end(&self, end: TraceEnd) {
        self.recording.lock().end = Some(end);
    }
}

impl Recording {
    /// Takes room for this many bytes and an entry. What does not fit is counted.
    fn has_room(&mut self, bytes: usize) -> bool {
        match self.room.checked_sub(bytes.saturating_add(ENTRY)) {
            Some(left) => {
                self.room = left;
                true
            }
            None => {
                self.left_out = self.left_out.saturating_add(1);
                false
            }
        }
    }

    fn fitting(&mut self, headers: Vec<HeaderChange>) -> Vec<HeaderChange> {
        let mut fitting = Vec::with_capacity(headers.len());
        for change in headers {
            let values = change.before.iter().chain(&change.after);
            if self.has_room(values.map(String::len).sum()) {
                fitting.push(change);
            }
        }
        fitting
    }

    /// The call of the latest step of this hook. `None` if the step was left out.
    fn call(&mut self, plugin: &PluginId, hook: Hook) -> Option<&mut TracedCall> {
        let is_wanted = |step: &RecordedStep| {
            step.attempt == self.attempt && step.hook == hook && step.plugin == *plugin
        };
        // Mostly the same one again: a response hook is called once for each event.
        if !self.steps.get(self.at).is_some_and(is_wanted) {
            self.at = self.steps.iter().rposition(is_wanted)?;
        }
        let step = self.steps.get_mut(self.at)?;
        Some(step.call.get_or_insert_default())
    }

    /// The trace in words.
    fn read(&self, id: &ExchangeId) -> Trace {
        let attempt = |target: &Target| TracedAttempt {
            attempt: target.attempt,
            upstream: target.upstream.to_string(),
            account: target.account.as_ref().map(ToString::to_string),
            model: target.model.to_string(),
            dialect: target.dialect.to_string(),
            lacks: target.lacks.iter().cloned().collect(),
        };
        Trace {
            id: id.as_str().to_owned(),
            generation: self.generation,
            attempts: self.targets.iter().map(attempt).collect(),
            steps: self.steps.iter().map(|step| self.read_step(step)).collect(),
            left_out: self.left_out,
            end: self.end.clone(),
        }
    }

    fn read_step(&self, step: &RecordedStep) -> Step {
        let mut targets = self.targets.iter();
        let target = targets.find(|target| target.attempt == step.attempt);
        let facts = Facts {
            kind: self.kind,
            headers: None,
            target: target.map(Target::facts),
            remembers: &|_| false,
            watching: false,
        };
        Step {
            plugin: step.plugin.as_str().to_owned(),
            hook: step.hook.as_str().into(),
            attempt: step.attempt,
            held: matches!(step.guarded, Guarded::Held(_) | Guarded::MayHold),
            why: step.why(facts),
            call: step.call.as_deref().cloned(),
        }
    }
}

impl RecordedStep {
    /// Why its guard holds or not.
    fn why(&self, facts: Facts<'_>) -> Vec<String> {
        let Some(guard) = self.manifest.guard(self.hook) else {
            return Vec::new();
        };
        match self.guarded {
            Guarded::Held(index) => vec![guard.why(index, facts, self.status)],
            Guarded::MayHold => guard.why_begun(facts),
            Guarded::Unmet(unmet) => guard.why_not(unmet, facts, self.status),
            Guarded::OtherDialect => {
                let dialect = facts.target.map_or("", |target| target.dialect);
                vec![format!("it does not translate for the dialect `{dialect}`")]
            }
            Guarded::Failed => vec!["it failed earlier in this exchange".to_owned()],
        }
    }
}

fn shown(event: &str, data: &str) -> ShownEvent {
    ShownEvent {
        event: event.to_owned(),
        data: data.to_owned(),
    }
}

fn size_of_event(before: Option<(&str, &str)>, after: Option<&[Event]>) -> usize {
    let before = before.map_or(0, |(event, data)| event.len() + data.len());
    let after = after.unwrap_or_default().iter();
    before
        + after
            .map(|event| event.name.len() + event.data.len() + ENTRY)
            .sum::<usize>()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(count: usize, bytes: usize) -> config::Traces {
        config::Traces {
            count,
            bytes,
            events: true,
        }
    }

    fn plugin() -> PluginId {
        "rule".parse().unwrap()
    }

    fn begin(traces: &Traces, id: &ExchangeId, limits: config::Traces) -> Option<Tracer> {
        traces.begin(id, RequestKind::Messages, limits)
    }

    /// Records that the plugin's hook is called.
    fn held(tracer: &Tracer, hook: Hook) {
        let text = r#"{"summary":"s"}"#;
        let manifest = Manifest::parse(text, &[hook]).unwrap();
        let guarded = Guarded::Held(0);
        tracer.guard(&plugin(), &Arc::new(manifest), (hook, None), guarded);
    }

    fn measured() -> Measured {
        Measured {
            time: Duration::from_micros(5),
            deadline: Duration::from_millis(250),
            instantiated: None,
            memory: 1 << 20,
            memory_limit: 64 << 20,
            log: Vec::new(),
        }
    }

    #[test]
    fn only_the_latest_traces_are_kept() {
        let traces = Traces::default();
        let ids: Vec<ExchangeId> = (0..3).map(|_| ExchangeId::new()).collect();
        for id in &ids {
            assert!(begin(&traces, id, limits(2, 1_000)).is_some());
        }
        let found = |at: usize| traces.find(ids[at].as_str()).is_some();
        assert_eq!([found(0), found(1), found(2)], [false, true, true]);
        assert!(begin(&traces, &ExchangeId::new(), limits(0, 1_000)).is_none());
        assert!(!found(1) && !found(2), "none are kept any more");
    }

    #[test]
    fn a_trace_has_a_limit_and_counts_what_is_left_out() {
        let traces = Traces::default();
        let id = ExchangeId::new();
        let tracer = begin(&traces, &id, limits(1, 2 * ENTRY)).unwrap();
        for _ in 0..3 {
            held(&tracer, Hook::Request);
        }
        tracer.called(&plugin(), Hook::Request, measured());
        let trace = traces.find(id.as_str()).unwrap();
        assert_eq!((trace.steps.len(), trace.left_out), (2, 1));
        assert_eq!(trace.steps[1].call.as_ref().unwrap().calls, 1);
    }

    #[test]
    fn events_are_counted_and_listed() {
        let traces = Traces::default();
        let id = ExchangeId::new();
        let tracer = begin(&traces, &id, limits(1, 10_000)).unwrap();
        held(&tracer, Hook::Response);
        let replaced = [Event {
            name: "b".to_owned(),
            data: "{}".to_owned(),
        }];
        tracer.called(&plugin(), Hook::Response, measured());
        tracer.event(&plugin(), "on-event", Some(("a", "{}")), None);
        tracer.called(&plugin(), Hook::Response, measured());
        tracer.event(&plugin(), "on-event", Some(("a", "{}")), Some(&replaced));
        tracer.called(&plugin(), Hook::Response, measured());
        tracer.event(&plugin(), "on-end", None, Some(&[]));
        let trace = traces.find(id.as_str()).unwrap();
        let call = trace.steps[0].call.as_ref().unwrap();
        let events = call.events.as_ref().unwrap();
        assert_eq!((events.shown, events.kept, events.returned), (2, 1, 1));
        assert_eq!((call.calls, events.list.len()), (3, 3));
        assert_eq!(events.list[1].time_ns, 5_000);
    }
}
