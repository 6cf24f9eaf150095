//! Plugins: loaded sets, and the calls that an exchange makes to their hooks.
//!
//! [`Runtime`] belongs to the process: engine, linker, ticker and instance slots. [`Catalog`] is
//! one loaded set of plugins, immutable and numbered. [`Run`] calls the hooks of one exchange up to
//! the response. [`ResponseRun`] takes over from there, when nothing can be retried any more.

mod catalog; // the loaded set: layers, order, what is kept when a plugin is rejected
mod versions; // which versions of plugins serve a conversation (pure)
mod kept; // the versions that conversations keep when a plugin is replaced
mod files; // the plugin folder
mod plugin; // compiles, links and loads one component
mod inspect; // what a file is, before it is compiled
mod code; // a component that is compiled and linked
mod jobs; // work in the background
mod instance_slots; // the instances of one exchange
mod instance; // one instance: deadline, memory, traps
mod trap; // where in a plugin a trap happened
mod lend; // what a call lends to it
mod hook_call; // one call: instance, receipt, failure
mod trace; // what plugins did in one exchange, as data
mod tracer; // records it
mod views; // what a call sees of the exchange
mod host_functions; // what a plugin may call
mod verdict; // what a hook decided
mod response_chain; // response hooks, one after the other
mod translator; // a dialect's plugin, lent to the response that it translates
mod response_hooks; // the response on its way to the client
mod runtime; // engine, linker, ticker and slots of the process
mod ticker; // the deadline clock
mod bindings; // the contract as generated Rust
#[cfg(test)]
pub(crate) mod tests; // real components on the real engine

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tracing::warn;
use witgate_contract::{
    guard::{Facts, Guard},
    limits,
    manifest::Hook,
};
use witgate_document::{Document, Operation};

use self::{
    catalog::Entry,
    hook_call::HookCalls,
    instance::PluginError,
    instance_slots::InstanceSlots,
    plugin::Plugin,
    tracer::{Edited, Guarded},
    translator::Loan,
    verdict::Returned,
    versions::{Version, Versions},
    views::{EditScope, FailureView, Journal, RequestView},
};
use crate::{
    config::OnError,
    fault::{Fault, Kind},
    ids::{ExchangeId, PluginId},
    message::{
        Conversation, Event, Failure, Request, RequestKind, RetryRequest, Target, adapt_to_dialect,
    },
    off_worker::{is_large, off_worker},
    telemetry::Call,
};

pub(crate) use self::{
    kept::VersionInfo,
    response_chain::LastEvent,
    response_hooks::ResponseRun,
    runtime::Runtime,
    trace::{HeaderChange, ShownEvent, Step, Trace, TraceEnd, TracedCall, TracedEvents},
    tracer::Tracer,
    translator::Translator,
};

/// The built-in plugins and the text of the contract, collected by the build script.
mod builtin {
    include!(concat!(env!("OUT_DIR"), "/builtin.rs"));
}

/// The names of the built-in plugins.
pub(crate) fn builtin_names() -> impl Iterator<Item = PluginId> {
    // A test checks that all of them parse.
    builtin::BUILTIN
        .iter()
        .filter_map(|(_, name, _)| name.parse().ok())
}

/// The name of the plugin in a file, from the file's name.
pub(crate) fn plugin_name(file: &Path) -> Result<PluginId, String> {
    files::plugin_name(file)
}

/// A loaded set of plugins, immutable.
pub(crate) struct Catalog {
    pub(crate) generation: u64,
    /// In call order, disabled plugins included.
    entries: Arc<[Entry]>,
    /// In call order, without the disabled ones.
    plugins: Vec<Arc<Plugin>>,
    /// For each hook, in the order of [`Hook::ALL`]: the indexes in `plugins` of those that have
    /// it.
    hooks: [Vec<usize>; 4],
    /// See [`Catalog::added_rule`].
    added_rule: Option<PluginId>,
    /// The plugins of which a conversation keeps the version that it began with.
    kept_by_conversations: Vec<Version<Arc<Plugin>>>,
    /// Which versions serve which conversations. All sets of the process share it.
    versions: KeptVersions,
}

type KeptVersions = Arc<Mutex<Versions<Arc<Plugin>>>>;

/// The result of loading a set.
pub(crate) struct Loaded {
    /// The new set, or `None` if it equals the previous one: same hashes, settings and order.
    pub(crate) catalog: Option<Arc<Catalog>>,
    /// Files that were rejected; the last good version of each stays in the set. Or the plugin
    /// folder, if it could not be listed.
    pub(crate) refused: Vec<Refused>,
    /// Plugins that are still being compiled. Until then each stays as it is.
    pub(crate) compiling: Vec<PluginId>,
}

/// When components are compiled that the set needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compile {
    /// Before the set is loaded.
    Wait,
    /// In the background. [`Runtime::on_compiled`] tells when to load again.
    Later,
}

pub(crate) struct Refused {
    pub(crate) file: PathBuf,
    pub(crate) evidence: Evidence,
    pub(crate) fault: Fault,
    /// Whether the system had no memory for the plugin.
    pub(crate) no_memory: bool,
}

/// What a rejection is based on. A repeated rejection with the same evidence is reported once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// The content, by its SHA-256.
    Content([u8; 32]),
    /// The name, the type or the size. The content was not read.
    Metadata,
    /// Reading the file failed.
    Unreadable,
    /// Listing the folder failed. All plugins stay as they are.
    Unlisted,
    /// A required plugin has no file. If it runs, it runs on.
    Missing,
}

impl Refused {
    /// The file or folder, for messages.
    pub(crate) fn place(&self) -> String {
        files::shown(&self.file)
    }
}

impl Evidence {
    /// Whether `path` can be read again although its metadata is unchanged.
    pub(crate) fn is_outdated(&self, path: &Path) -> bool {
        match self {
            Self::Content(_) | Self::Metadata | Self::Missing => false,
            Self::Unreadable => files::is_readable(path),
            Self::Unlisted => files::is_listable(path),
        }
    }
}

/// How a set of plugins differs from the previous one. Disabled plugins do not count.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) added: Vec<PluginId>,
    /// With another file or other settings.
    pub(crate) replaced: Vec<PluginId>,
    pub(crate) removed: Vec<PluginId>,
}

/// A line of `witgate plugin list`.
pub(crate) struct PluginInfo {
    pub(crate) order: u8,
    pub(crate) name: PluginId,
    pub(crate) version: String,
    pub(crate) summary: String,
    /// `messages`, `dialect` or `wire`.
    pub(crate) stage: &'static str,
    pub(crate) hooks: Vec<&'static str>,
    /// The guards as compact JSON.
    pub(crate) guards: String,
    /// When a new version replaces the plugin: `request` or `conversation`. `None` if it is
    /// disabled.
    pub(crate) reload: Option<&'static str>,
    /// `built in`, or the file.
    pub(crate) source: String,
    /// SHA-256 of the component, hexadecimal.
    pub(crate) hash: String,
    /// Whether the configuration leaves it enabled.
    pub(crate) enabled: bool,
}

impl Catalog {
    /// Begins an exchange. The run keeps this catalog, whatever is loaded in the meantime.
    pub(crate) fn begin(self: &Arc<Self>, runtime: &Arc<Runtime>) -> Run {
        Run {
            calls: HookCalls {
                catalog: Arc::clone(self),
                runtime: Arc::clone(runtime),
                slots: InstanceSlots::default(),
                receipt: Receipt::default(),
                trace: None,
            },
            kind: RequestKind::Messages,
            size: 0,
            lasting_edits: 0,
            lasting_notes: 0,
            watchers: Vec::new(),
            lasting_watchers: 0,
            messages_request: None,
            loan: None,
        }
    }

    fn with_hook(&self, hook: Hook) -> &[usize] {
        &self.hooks[hook as usize]
    }

    /// The plugins with this hook up to the dialect, and those of stage `wire`.
    fn split_at_wire(&self, hook: Hook) -> (&[usize], &[usize]) {
        let plugins = self.with_hook(hook);
        plugins.split_at(plugins.partition_point(|at| !self.plugins[*at].is_wire()))
    }
}

/// The hook calls of one exchange, up to the response.
pub(crate) struct Run {
    calls: HookCalls,
    kind: RequestKind,
    /// The size of the client's body, which deadlines depend on.
    size: usize,
    /// How many of the receipt's edits apply to all attempts.
    lasting_edits: usize,
    /// How many of its notes do.
    lasting_notes: usize,
    /// The indexes of the plugins that have asked for the response to the current attempt.
    watchers: Vec<usize>,
    /// How many of them have asked for it in the request hook, for all attempts.
    lasting_watchers: usize,
    /// The request before the dialect and the wire plugins, if there are any. Failure hooks of the
    /// others get this one, since they see the shapes of the Messages API only.
    messages_request: Option<Request>,
    /// The dialect's and the wire plugins, while they have the response of the current attempt.
    loan: Option<Loan>,
}

/// What a request or attempt hook decided.
pub(crate) enum Decision {
    Proceed,
    Answer {
        plugin: PluginId,
        answer: LocalAnswer,
    },
    Refuse {
        plugin: PluginId,
        fault: Fault,
        try_next: bool,
    },
}

/// An answer that a plugin made.
pub(crate) struct LocalAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// A JSON text.
    pub(crate) body: Bytes,
    pub(crate) note: Option<String>,
}

impl Run {
    /// Records what the plugins do, if there is a tracer.
    pub(crate) fn traced(mut self, trace: Option<Tracer>) -> Self {
        if let Some(trace) = &trace {
            trace.begin(self.calls.catalog.generation);
        }
        self.calls.trace = trace;
        self
    }

    /// Runs the request hooks in order. A fault is a 500 that names the plugin, a 529 if no slot is
    /// free, or a 400 if a guard had to read a body that is not JSON.
    pub(crate) async fn on_request(&mut self, request: &mut Request) -> Result<Decision, Fault> {
        self.kind = request.kind;
        self.size = request.body.len();
        let catalog = Arc::clone(&self.calls.catalog);
        for &at in catalog.with_hook(Hook::Request) {
            if !self.guard_holds(at, Hook::Request, request, None)? {
                continue;
            }
            // Boxed: an exchange in which no plugin is called reserves no space for it.
            let decided = Box::pin(self.decide(at, request, None)).await;
            self.lasting_edits = self.calls.receipt.edits.len();
            self.lasting_notes = self.calls.receipt.notes.len();
            self.lasting_watchers = self.watchers.len();
            match decided {
                Ok(Decision::Proceed) => {}
                Ok(decision) => return Ok(decision),
                Err(error) => self.failed(at, "on-request", &error)?,
            }
            let only_hook = catalog.plugins[at].code.hooks() == [Hook::Request];
            if only_hook && !self.calls.slots.is_out(at) {
                self.calls.slots.release(at);
            }
        }
        Ok(Decision::Proceed)
    }

    /// Reserves the instance slots of all plugins that may still be called, at once. If too few are
    /// free, the exchange fails with a 529 before the first byte, never later. Instances that no
    /// later hook can need are dropped.
    pub(crate) fn reserve(&mut self, request: &Request, targets: &[Target]) -> Result<(), Fault> {
        let watchers = &self.watchers;
        let HookCalls {
            catalog,
            runtime,
            slots,
            ..
        } = &mut self.calls;
        let mut wanted = Vec::new();
        for (at, plugin) in catalog.plugins.iter().enumerate() {
            if slots.is_out(at) {
                continue;
            }
            let likely = |hook: Hook| {
                plugin.guard(hook).is_some_and(|guard| {
                    targets.iter().any(|target| {
                        let facts = Facts {
                            kind: request.kind,
                            // On the wire, headers and body are other ones.
                            headers: (!plugin.is_wire()).then_some(&*request.headers),
                            target: Some(target.facts()),
                            remembers: &|key| {
                                plugin.remembers(key, Some(target), &request.conversation)
                            },
                            // Others can ask in the attempt hook only, which has a slot by then.
                            watching: watchers.contains(&at),
                        };
                        speaks(plugin, &target.dialect)
                            && match plugin.is_wire() {
                                true => guard.may_hold(facts),
                                false => guard.likely(facts, &request.body),
                            }
                    })
                })
            };
            let needed = likely(Hook::Attempt) || likely(Hook::Response);
            match (needed, slots.has(at)) {
                (true, false) => wanted.push(at),
                (false, true) if !likely(Hook::Failure) => slots.release(at),
                _ => {}
            }
        }
        slots.reserve(runtime, &wanted)
    }

    /// Runs the attempt hooks in order, then a dialect, then the wire plugins. `request` is this
    /// attempt's own clone.
    ///
    /// A fault with `Retry::Failover` means that no plugin translates for this target.
    pub(crate) async fn on_attempt(
        &mut self,
        request: &mut Request,
        target: &Target,
    ) -> Result<Decision, Fault> {
        self.recall();
        self.kind = request.kind;
        self.messages_request = None;
        if let Some(trace) = &self.calls.trace {
            trace.attempt(target);
        }
        // The edits of an earlier attempt are not sent.
        self.calls.receipt.edits.truncate(self.lasting_edits);
        self.calls.receipt.notes.truncate(self.lasting_notes);
        self.watchers.truncate(self.lasting_watchers);
        let catalog = Arc::clone(&self.calls.catalog);
        let (inner, wire) = catalog.split_at_wire(Hook::Attempt);
        let original = Arc::clone(&request.headers);
        match self.run_attempt_hooks(inner, request, target).await? {
            Decision::Proceed => {}
            decision => return Ok(decision),
        }
        if target.is_foreign() {
            if self.messages_request.is_none() {
                return Err(self.untranslated(target));
            }
            let headers = Arc::make_mut(&mut request.headers);
            adapt_to_dialect(headers, &original, request.kind);
        }
        if !wire.is_empty() {
            self.messages_request.get_or_insert_with(|| request.clone());
        }
        self.run_attempt_hooks(wire, request, target).await
    }

    /// Runs the attempt hooks of these plugins.
    async fn run_attempt_hooks(
        &mut self,
        plugins: &[usize],
        request: &mut Request,
        target: &Target,
    ) -> Result<Decision, Fault> {
        for &at in plugins {
            if !self.guard_holds(at, Hook::Attempt, request, Some(target))? {
                continue;
            }
            if self.calls.catalog.plugins[at].is_dialect() {
                self.messages_request = Some(request.clone());
            }
            match Box::pin(self.decide(at, request, Some(target))).await {
                Ok(Decision::Proceed) => {}
                Ok(decision) => return Ok(decision),
                Err(error) => self.failed(at, "on-attempt", &error)?,
            }
        }
        Ok(Decision::Proceed)
    }

    /// Runs the failure hooks in reverse order: the wire plugins, a dialect, then the others.
    pub(crate) async fn on_failure(
        &mut self,
        sent: &Request,
        target: &Target,
        mut failure: Failure,
    ) -> Result<Failure, Fault> {
        self.recall();
        let messages_request = self.messages_request.take();
        let catalog = Arc::clone(&self.calls.catalog);
        for &at in catalog.with_hook(Hook::Failure).iter().rev() {
            let request = match &messages_request {
                Some(request) if !catalog.plugins[at].is_wire() => request,
                _ => sent,
            };
            if !self.failure_guard_holds(at, request, target, failure.status) {
                continue;
            }
            let limit = catalog.plugins[at].deadline(self.size);
            let view = FailureView(failure.clone());
            let outcome = self
                .calls
                .call(at, Hook::Failure, &request.id, async |instance| {
                    let request = RequestView::read_only(request);
                    instance
                        .on_failure(request, target.clone(), view, limit)
                        .await
                })
                .await;
            match outcome {
                Ok(FailureView(corrected)) => {
                    if let Some(trace) = &self.calls.trace {
                        let plugin = catalog.plugins[at].id();
                        trace.corrected(plugin, corrections(&failure, &corrected));
                    }
                    failure = corrected;
                }
                Err(error) => self.failed(at, "on-failure", &error)?,
            }
        }
        Ok(failure)
    }

    /// Whether to call a failure hook.
    fn failure_guard_holds(
        &mut self,
        at: usize,
        request: &Request,
        target: &Target,
        status: u16,
    ) -> bool {
        let facts = Facts {
            kind: request.kind,
            headers: Some(&request.headers),
            target: Some(target.facts()),
            remembers: &|_| false,
            watching: false,
        };
        let plugin = &self.calls.catalog.plugins[at];
        let body = &request.body;
        let holding = plugin.guard(Hook::Failure).and_then(|guard| {
            off_worker(is_large(body), || {
                guard.holding_for_failure(facts, status, body)
            })
        });
        let called =
            holding.is_some() && speaks(plugin, &target.dialect) && !self.calls.slots.is_out(at);
        let status = Some(status);
        self.calls.trace_guard(at, Hook::Failure, status, |guard| {
            guarded(plugin, guard, holding, facts, status)
        });
        if !called {
            self.calls.guarded(at, Hook::Failure);
        }
        called
    }

    /// Begins the response. From here on only response hooks are called; instances that they cannot
    /// need are dropped.
    pub(crate) fn begin_response(self, head: ResponseHead) -> ResponseRun {
        ResponseRun::begin(self, head)
    }

    /// The body before the dialect and the wire plugins, if there are any.
    pub(crate) fn messages_body(&self) -> Option<&Document> {
        Some(&self.messages_request.as_ref()?.body)
    }

    /// What identifies a plugin's component and settings: `removed` without the plugin.
    pub(crate) fn version(&self, plugin: &PluginId) -> String {
        let known = self.plugin(plugin);
        known.map_or_else(|| "removed".to_owned(), |known| known.version())
    }

    /// Whether a plugin sees the shapes of the Messages API.
    pub(crate) fn sees_messages(&self, plugin: &PluginId) -> bool {
        self.plugin(plugin)
            .is_some_and(|known| known.sees_messages())
    }

    fn plugin(&self, id: &PluginId) -> Option<&Arc<Plugin>> {
        let mut plugins = self.calls.catalog.plugins.iter();
        plugins.find(|plugin| plugin.id() == id)
    }

    pub(crate) fn receipt(&mut self) -> &Receipt {
        self.recall();
        &self.calls.receipt
    }

    /// Whether to call a request or attempt hook.
    fn guard_holds(
        &mut self,
        at: usize,
        hook: Hook,
        request: &Request,
        target: Option<&Target>,
    ) -> Result<bool, Fault> {
        let plugin = &self.calls.catalog.plugins[at];
        let Some(guard) = plugin.guard(hook) else {
            return Ok(false);
        };
        let facts = Facts {
            kind: request.kind,
            headers: Some(&request.headers),
            target: target.map(Target::facts),
            remembers: &|key| plugin.remembers(key, target, &request.conversation),
            watching: false,
        };
        let may_hold =
            target.is_none_or(|target| speaks(plugin, &target.dialect)) && guard.may_hold(facts);
        let unreadable = |error| {
            let what = format!("the body cannot be read: {error}");
            Fault::client(Kind::BadRequest, what)
        };
        let holding = match may_hold {
            true => {
                let off = guard.reads_body() && is_large(&request.body);
                off_worker(off, || guard.holding(facts, &request.body)).map_err(unreadable)?
            }
            false => None,
        };
        self.calls.trace_guard(at, hook, None, |guard| {
            guarded(plugin, guard, holding, facts, None)
        });
        if holding.is_none() {
            self.calls.guarded(at, hook);
        }
        Ok(holding.is_some() && !self.calls.slots.is_out(at))
    }

    /// Calls the attempt hook if there is a target, else the request hook. The edits take effect if
    /// the call succeeded.
    async fn decide(
        &mut self,
        at: usize,
        request: &mut Request,
        target: Option<&Target>,
    ) -> Result<Decision, PluginError> {
        let plugin = Arc::clone(&self.calls.catalog.plugins[at]);
        let limit = plugin.deadline(self.size);
        let hook = target.map_or(Hook::Request, |_| Hook::Attempt);
        let id = request.id.clone();
        let called = self.calls.call(at, hook, &id, async |instance| {
            Ok(match target {
                None => {
                    let view = RequestView::lend(request, EditScope::Edit);
                    instance.on_request(view, limit).await
                }
                Some(target) => {
                    let view = RequestView::lend(request, EditScope::Redirect);
                    instance.on_attempt(view, target.clone(), limit).await
                }
            })
        });
        let (outcome, view) = called.await?;
        self.settle(at, hook, request, outcome, view)
    }

    /// Returns the lent parts to the request, with the edits if the call succeeded.
    fn settle(
        &mut self,
        at: usize,
        hook: Hook,
        request: &mut Request,
        outcome: Result<Returned, PluginError>,
        view: Option<RequestView>,
    ) -> Result<Decision, PluginError> {
        let plugin = &Arc::clone(&self.calls.catalog.plugins[at]);
        let decided = outcome
            .and_then(|verdict| verdict::read(verdict, plugin.id()).map_err(PluginError::Unusable));
        let view = view.ok_or(PluginError::Lost)?;
        let trace = self.calls.trace.as_ref();
        // With the headers as they were before the call.
        let redirected = trace.map(|_| (view.header_changes(), view.redirected()));
        let journal = view.give_back(request, decided.is_ok());
        if let (Some(trace), Ok(decision), Some((headers, path))) = (trace, &decided, redirected) {
            let edited = Edited {
                patch: &journal.edits,
                left_out: journal.left_out,
                headers,
                path,
            };
            trace.edited(plugin.id(), hook, edited);
            trace.verdict(plugin.id(), hook, decision.words());
        }
        if journal.watches && !self.watchers.contains(&at) {
            self.watchers.push(at);
        }
        self.note(plugin, hook, journal);
        match decided {
            // The client's fault, so the plugin has not failed.
            Err(PluginError::BadDocument(why)) => Ok(Decision::Refuse {
                plugin: plugin.id().clone(),
                fault: Fault::client(
                    Kind::BadRequest,
                    format!("the body is not valid JSON: {why}"),
                ),
                try_next: false,
            }),
            decided => decided,
        }
    }

    fn note(&mut self, plugin: &Plugin, hook: Hook, mut journal: Journal) {
        let notes = std::mem::take(&mut journal.notes).into_lines();
        if let Some(trace) = &self.calls.trace {
            trace.notes(plugin.id(), hook, &notes);
        }
        let receipt = &mut self.calls.receipt;
        receipt.note(plugin.id(), notes);
        if journal.count == 0 {
            return;
        }
        receipt.edits.push(Edits {
            plugin: plugin.id().clone(),
            count: journal.count,
            patch: journal.edits,
            left_out: journal.left_out,
        });
    }

    fn failed(
        &mut self,
        at: usize,
        function: &'static str,
        error: &PluginError,
    ) -> Result<(), Fault> {
        let on_error = self.calls.catalog.plugins[at].on_error;
        self.calls.failed(at, function, error, on_error)
    }
}

impl Decision {
    /// The decision in words, for a trace.
    fn words(&self) -> String {
        match self {
            Self::Proceed => "proceed".to_owned(),
            Self::Answer { answer, .. } => format!("answer {}", answer.status.as_u16()),
            Self::Refuse {
                fault, try_next, ..
            } => {
                let status = match &fault.kind {
                    Kind::Refused { status, .. } => *status,
                    _ => 400,
                };
                let next = if *try_next { ", try next" } else { "" };
                format!("refuse {status}{next}: {fault}")
            }
        }
    }
}

/// Whether the guard of a request, attempt or failure hook holds, for a trace.
fn guarded(
    plugin: &Plugin,
    guard: &Guard,
    holding: Option<usize>,
    facts: Facts<'_>,
    status: Option<u16>,
) -> Guarded {
    match holding {
        _ if facts
            .target
            .is_some_and(|target| !speaks(plugin, target.dialect)) =>
        {
            Guarded::OtherDialect
        }
        Some(index) => Guarded::Held(index),
        None => Guarded::Unmet(guard.unmet(facts, status)),
    }
}

/// What a failure hook changed, in words.
fn corrections(before: &Failure, after: &Failure) -> Vec<String> {
    let mut changed = Vec::new();
    if before.status != after.status {
        changed.push(format!("status {} -> {}", before.status, after.status));
    }
    if before.kind != after.kind {
        changed.push(format!("error type {} -> {}", before.kind, after.kind));
    }
    if before.body != after.body {
        let body = String::from_utf8_lossy(&after.body);
        changed.push(format!("body: {body}"));
    }
    if let Some(retry) = after.retry.filter(|retry| before.retry != Some(*retry)) {
        changed.push(match retry {
            RetryRequest::SameAccount(after) => {
                format!("retry on the same account after {after:?}")
            }
            RetryRequest::OtherAccount(after) => {
                format!("retry on another account after {after:?}")
            }
            RetryRequest::Never => "no retry".to_owned(),
        });
    }
    if let Some(cooldown) = after.cooldown.filter(|time| before.cooldown != Some(*time)) {
        changed.push(format!("account on cooldown for {cooldown:?}"));
    }
    changed
}

/// Whether a plugin serves upstreams of this dialect. A dialect's plugin serves its own, others
/// serve all.
fn speaks(plugin: &Plugin, dialect: &str) -> bool {
    let own = plugin.manifest.dialect.as_deref();
    own.is_none_or(|own| own == dialect)
}

/// The head of a response, which response hooks read and change.
#[derive(Clone)]
pub(crate) struct ResponseHead {
    pub(crate) id: ExchangeId,
    pub(crate) session: Option<Arc<str>>,
    pub(crate) conversation: Conversation,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) streaming: bool,
    pub(crate) target: Target,
}

/// What the response hooks made of one event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EventOutcome {
    /// All plugins kept it: the upstream's bytes are sent.
    Kept,
    /// These are sent instead; none if it was discarded.
    Replaced(Vec<Event>),
}

/// What plugins did in one exchange, for the response headers, the log and the record.
#[derive(Debug, Default, Clone)]
pub(crate) struct Receipt {
    /// Plugins that edited the request that was sent, in order, each with its operations.
    pub(crate) edits: Vec<Edits>,
    /// Hook calls made.
    pub(crate) calls: u32,
    /// Hook calls skipped because a guard did not hold.
    pub(crate) guarded: u32,
    /// Plugin instances created.
    pub(crate) instances: u32,
    /// Plugins that failed and were skipped, with the reason.
    pub(crate) skipped: Vec<(PluginId, String)>,
    /// Notes of plugins about this exchange, mostly what a dialect could not express. Each line
    /// once.
    pub(crate) notes: Vec<(PluginId, String)>,
}

impl Receipt {
    /// Adds what another receipt recorded.
    fn absorb(&mut self, other: Self) {
        self.calls += other.calls;
        self.guarded += other.guarded;
        self.instances += other.instances;
        self.edits.extend(other.edits);
        self.skipped.extend(other.skipped);
        for (plugin, line) in other.notes {
            self.note(&plugin, [line]);
        }
    }

    fn note(&mut self, plugin: &PluginId, lines: impl IntoIterator<Item = String>) {
        for line in lines {
            let known = |(by, note): &(PluginId, String)| by == plugin && *note == line;
            if self.notes.len() < limits::NOTES && !self.notes.iter().any(known) {
                self.notes.push((plugin.clone(), line));
            }
        }
    }

    /// Counts a hook call, which lasts until the returned value is dropped.
    fn call<'a>(&mut self, plugin: &'a Plugin, hook: Hook) -> Call<'a> {
        self.calls += 1;
        plugin.meter(hook).call()
    }

    /// Counts a hook call that is skipped because the guard does not hold.
    fn guarded(&mut self, plugin: &Plugin, hook: Hook) {
        self.guarded += 1;
        plugin.meter(hook).guarded();
    }

    /// Records a failure that the exchange survives, or returns the fault that ends it.
    fn failed(
        &mut self,
        plugin: &Plugin,
        hook: &'static str,
        error: &PluginError,
        on_error: OnError,
    ) -> Result<(), Fault> {
        let ours = matches!(
            error,
            PluginError::NoSlot | PluginError::NoMemory | PluginError::Lost
        );
        if !ours {
            plugin.meter(Hook::of_function(hook)).failed();
        }
        // None is the plugin's fault, and a lost request cannot be sent.
        if on_error == OnError::Fail || ours {
            return Err(error.fault(plugin.id(), hook));
        }
        warn!(plugin = %plugin.id(), hook, cause = %error, "plugin failed; skipping it for this exchange");
        self.skipped
            .push((plugin.id().clone(), format!("{error} (in `{hook}`)")));
        Ok(())
    }
}

/// What one plugin did to the request in one hook.
#[derive(Debug, Clone)]
pub(crate) struct Edits {
    pub(crate) plugin: PluginId,
    /// Edits of body, headers and path.
    pub(crate) count: u32,
    /// Edits of the body, up to 16 KiB.
    pub(crate) patch: Vec<Operation>,
    /// The number of body edits beyond that.
    pub(crate) left_out: u32,
}
