//! The record of an exchange: what happened, for its log line and the metrics.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::Method;
use tracing::{Level, debug, enabled, info};
use witgate_document::Operation;

use super::{attempt::AttemptStatus, prefix::Outcome};
use crate::{
    ids::{AccountId, ExchangeId, PluginId, UpstreamId},
    message::{Request, Target},
    pipeline::{Edits, Receipt, TraceEnd, Tracer},
    shutdown::Stopping,
    telemetry::{Ended, Metrics, OpenStream, Usage},
};

/// How an upstream reports that it dropped thinking of another account.
const BOUND: &str = "organization_binding_mismatch";

/// Writes its log line when it is dropped, so every exchange has one, however it ends. If it is
/// dropped before [`Record::end`], the client has disconnected, or the gateway cut the exchange at
/// its own end.
pub(crate) struct Record {
    pub(super) id: ExchangeId,
    pub(super) kind: &'static str,
    pub(super) session: Option<Arc<str>>,
    /// Method and path of a passthrough request, which has no other name.
    pub(crate) passthrough: Option<(Method, String)>,
    pub(super) model: Arc<str>,
    pub(super) bytes_in: usize,
    pub(crate) bytes_out: usize,
    pub(crate) status: u16,
    pub(super) attempts: u32,
    /// Whether a plugin answered, so that no upstream request was needed.
    pub(super) saved: bool,
    pub(crate) note: Option<String>,
    /// Of the last attempt: how it compares with the conversation's previous exchange.
    pub(super) prefix: Option<Outcome>,
    /// What the upstream reports.
    pub(super) usage: Usage,
    /// Where the end of the exchange is recorded for `witgate plugin explain`.
    pub(super) trace: Option<Tracer>,
    metrics: Arc<Metrics>,
    stream: Option<OpenStream>,
    /// All attempts, in order.
    pub(super) tried: Vec<Tried>,
    target: Option<(UpstreamId, Option<AccountId>, Arc<str>)>,
    receipt: Summary,
    ending: Ending,
    /// Whether the gateway cuts exchanges in flight.
    cut: Stopping,
    begun: Instant,
    first_event: Option<Duration>,
}

/// One attempt.
pub(super) struct Tried {
    pub(super) upstream: UpstreamId,
    pub(super) account: Option<AccountId>,
    /// How it ended; `None` while it is in progress.
    pub(super) status: Option<AttemptStatus>,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The upstream's response was sent completely.
    Complete,
    /// The upstream's response was truncated.
    Truncated,
    /// The client disconnected before the end.
    ClientGone,
    /// An error status, or an error in the stream.
    Error,
    /// A plugin or the gateway answered instead of an upstream.
    Answered,
}

impl Ending {
    fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Truncated => "truncated",
            Self::ClientGone => "client_gone",
            Self::Error => "error",
            Self::Answered => "answered",
        }
    }
}

#[derive(Default)]
struct Summary {
    edits: String,
    patches: Vec<Edits>,
    calls: u32,
    guard_skips: u32,
    instances: u32,
    skipped: Vec<(PluginId, String)>,
    notes: Vec<(PluginId, String)>,
}

impl Record {
    /// Boxed, because each step of the exchange passes it on, and would copy it.
    pub(crate) fn begin(
        id: ExchangeId,
        kind: &'static str,
        metrics: &Arc<Metrics>,
        cut: Stopping,
    ) -> Box<Self> {
        Box::new(Self {
            id,
            kind,
            session: None,
            passthrough: None,
            model: "".into(),
            bytes_in: 0,
            bytes_out: 0,
            status: 0,
            attempts: 0,
            saved: false,
            note: None,
            prefix: None,
            usage: Usage::default(),
            trace: None,
            metrics: Arc::clone(metrics),
            stream: None,
            tried: Vec::new(),
            target: None,
            receipt: Summary::default(),
            ending: Ending::ClientGone,
            cut,
            begun: Instant::now(),
            first_event: None,
        })
    }

    pub(crate) fn request(&mut self, request: &Request) {
        self.session = request.session.clone();
        self.model = Arc::clone(&request.requested_model);
        self.bytes_in = request.body.len();
    }

    /// Records that an attempt begins.
    pub(super) fn attempt(&mut self, target: &Target) {
        self.attempts += 1;
        let Target {
            upstream,
            account,
            model,
            ..
        } = target;
        self.tried.push(Tried {
            upstream: upstream.clone(),
            account: account.clone(),
            status: None,
        });
        self.target = Some((upstream.clone(), account.clone(), Arc::clone(model)));
    }

    /// Records how the current attempt ended.
    pub(super) fn attempted(&mut self, status: AttemptStatus) {
        if let Some(tried) = self.tried.last_mut() {
            tried.status = Some(status);
            match status {
                AttemptStatus::Code(code) => self.metrics.attempt(&tried.upstream, code),
                AttemptStatus::Word("answered" | "refused" | "failed") => {}
                AttemptStatus::Word(_) => self.metrics.attempt(&tried.upstream, 0),
            }
        }
    }

    /// Records the response status of a passthrough request; 0 if there was no response.
    pub(crate) fn passed(&self, status: u16) {
        if let Some((upstream, _, _)) = &self.target {
            self.metrics.attempt(upstream, status);
        }
    }

    /// Records a retry and its cause.
    pub(super) fn retried(&self, cause: &'static str) {
        self.metrics.retry(cause);
    }

    /// Records that a stream to the client begins.
    pub(super) fn streams(&mut self) {
        self.stream.get_or_insert_with(|| self.metrics.stream());
    }

    /// The attempts in one line: `first/ada 429, second 529`.
    pub(super) fn attempts_line(&self, with_accounts: bool) -> String {
        let each = self.tried.iter().map(|tried| {
            let mut line = tried.upstream.to_string();
            if let Some(account) = tried.account.as_ref().filter(|_| with_accounts) {
                line.push('/');
                line.push_str(account.as_str());
            }
            if let Some(status) = tried.status {
                line.push_str(&format!(" {status}"));
            }
            line
        });
        each.collect::<Vec<_>>().join(", ")
    }

    /// Records where a passthrough request goes.
    pub(crate) fn passed_to(&mut self, upstream: &UpstreamId, account: Option<AccountId>) {
        self.attempts = 1;
        self.target = Some((upstream.clone(), account, "".into()));
    }

    /// Records what plugins have done so far; the last call counts.
    pub(super) fn receipt(&mut self, receipt: &Receipt, edits: String) {
        self.receipt = Summary {
            edits,
            patches: if enabled!(Level::DEBUG) {
                receipt.edits.clone()
            } else {
                // They may be as long as the body, and are only written at this level.
                Vec::new()
            },
            calls: receipt.calls,
            guard_skips: receipt.guarded,
            instances: receipt.instances,
            skipped: receipt.skipped.clone(),
            notes: receipt.notes.clone(),
        };
    }

    pub(super) fn first_event(&mut self) {
        self.first_event.get_or_insert_with(|| self.begun.elapsed());
    }

    pub(crate) fn end(&mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Record {
    fn trace_end(&self, total: Duration) -> TraceEnd {
        let notes = self.receipt.notes.iter();
        let prefix = self.prefix.as_ref().map(|prefix| {
            let (check, cache) = (prefix.check(), prefix.cache());
            format!("{check}; cache: {cache}")
        });
        TraceEnd {
            kind: self.kind.to_owned(),
            model: self.model.to_string(),
            status: self.status,
            ending: self.ending.as_str().to_owned(),
            attempts: self.attempts_line(true),
            edits: self.receipt.edits.clone(),
            prefix,
            note: self.note.clone(),
            notes: notes
                .map(|(plugin, note)| (plugin.to_string(), note.clone()))
                .collect(),
            time_ns: u64::try_from(total.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.ending == Ending::ClientGone && self.cut.is_ended() {
            self.ending = Ending::Truncated;
            self.note
                .get_or_insert_with(|| "the gateway was shutting down".to_owned());
        }
        for Edits {
            plugin,
            patch,
            left_out,
            ..
        } in &self.receipt.patches
        {
            let patch = Operation::write_list(patch);
            debug!(id = %self.id, %plugin, %patch, left_out, "edited");
        }
        for (plugin, reason) in &self.receipt.skipped {
            debug!(id = %self.id, %plugin, reason, "skipped");
        }
        let remarks = self.usage.remarks.as_deref();
        let transformations = remarks.and_then(|remarks| remarks.transformations.as_deref());
        if transformations.is_some_and(|words| words.contains(BOUND)) {
            self.prefix.iter_mut().for_each(Outcome::thinking_was_bound);
        }
        for (check, broken) in self.prefix.iter().flat_map(Outcome::breaks) {
            self.metrics.prefix_break(check, broken.by.to_string());
        }
        let total = self.begun.elapsed();
        if let Some(trace) = &self.trace {
            trace.end(self.trace_end(total));
        }
        self.metrics.ended(&Ended {
            kind: self.kind,
            ending: self.ending.as_str(),
            saved: self.saved,
            upstream: self.target.as_ref().map(|(upstream, _, _)| upstream),
            usage: self.usage.clone(),
            total,
            first_event: self.first_event,
        });
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let target = self.target.as_ref();
        let plugin_notes = notes(&self.receipt.notes);
        let tried = (self.tried.len() > 1).then(|| self.attempts_line(true));
        // A field without a value is left out of the line.
        info!(
            id = %self.id,
            session = self.session.as_deref(),
            kind = self.kind,
            method = self.passthrough.as_ref().map(|(method, _)| method.as_str()),
            path = self.passthrough.as_ref().map(|(_, path)| path.as_str()),
            model = some(&self.model),
            mapped = target.and_then(|(_, _, model)| some(model)),
            upstream = target.map(|(upstream, _, _)| upstream.as_str()),
            account = target.and_then(|(_, account, _)| account.as_ref()).map(AccountId::as_str),
            status = self.status,
            attempts = self.attempts,
            tried,
            edits = some(&self.receipt.edits),
            calls = self.receipt.calls,
            guard_skips = self.receipt.guard_skips,
            instances = self.receipt.instances,
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            input_tokens = self.usage.input,
            output_tokens = self.usage.output,
            cache_read_tokens = self.usage.cache_read,
            cache_creation_tokens = self.usage.cache_creation,
            prefix = self.prefix.as_ref().map(Outcome::check),
            cache_prefix = self.prefix.as_ref().map(Outcome::cache),
            input_transformations = transformations,
            cache_miss_reason = remarks.and_then(|remarks| remarks.cache_miss.as_deref()),
            ending = self.ending.as_str(),
            saved = self.saved.then_some(true),
            note = self.note.as_deref(),
            notes = some(&plugin_notes),
            ms = millis(total),
            first_event_ms = self.first_event.map(millis),
            "exchange"
        );
    }
}

/// The notes of plugins in one line: `dialect-x: left out: metadata; dialect-x: ...`.
fn notes(notes: &[(PluginId, String)]) -> String {
    let lines = notes
        .iter()
        .map(|(plugin, line)| format!("{plugin}: {line}"));
    lines.collect::<Vec<_>>().join("; ")
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
