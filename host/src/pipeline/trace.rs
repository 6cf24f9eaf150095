//! What plugins did in one exchange, call by call: for `witgate plugin explain` and the kit. The
//! same types are written as JSON by a running gateway and read by the command line.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use witgate_contract::header;

/// What plugins did in one exchange, in the order of the calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// The exchange's id.
    pub(crate) id: String,
    /// The set of plugins that served it.
    pub(crate) generation: u64,
    pub(crate) attempts: Vec<TracedAttempt>,
    pub(crate) steps: Vec<Step>,
    /// How many steps and details were left out, because the trace had reached its limit.
    pub(crate) left_out: u32,
    /// `None` while the exchange is in progress.
    pub(crate) end: Option<TraceEnd>,
}

/// The target of an attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TracedAttempt {
    /// 1 for the first attempt.
    pub(crate) attempt: u32,
    pub(crate) upstream: String,
    pub(crate) account: Option<String>,
    pub(crate) model: String,
    pub(crate) dialect: String,
    pub(crate) lacks: Vec<String>,
}

/// A hook of a plugin that was called, or was not because of its guard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) plugin: String,
    /// `request`, `attempt`, `failure` or `response`.
    pub(crate) hook: Cow<'static, str>,
    /// 0 before the first attempt.
    pub(crate) attempt: u32,
    /// Whether the guard held.
    pub(crate) held: bool,
    /// Why it held or not.
    pub(crate) why: Vec<String>,
    /// `None` if it was not called.
    pub(crate) call: Option<TracedCall>,
}

/// The calls of one hook. A response hook is called once for each event.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TracedCall {
    pub(crate) calls: u32,
    /// The time of all calls, in nanoseconds.
    pub(crate) time_ns: u64,
    pub(crate) slowest_ns: u64,
    /// The time limit of the slowest call.
    pub(crate) deadline_ns: u64,
    /// How long it took to create the instance, if this call had to.
    pub(crate) instantiate_ns: Option<u64>,
    /// The high-water mark of the instance's memory, in bytes.
    pub(crate) memory: usize,
    pub(crate) memory_limit: usize,
    /// `proceed`, `answer` or `refuse` with the status.
    pub(crate) verdict: Option<String>,
    /// Edits of the body as a JSON Patch.
    pub(crate) patch: Option<Box<RawValue>>,
    /// The number of edits that are not in the patch.
    pub(crate) patch_left_out: u32,
    pub(crate) headers: Vec<HeaderChange>,
    /// The path and query that the plugin set.
    pub(crate) path: Option<String>,
    /// What a failure hook changed.
    pub(crate) corrections: Vec<String>,
    pub(crate) events: Option<TracedEvents>,
    pub(crate) notes: Vec<String>,
    pub(crate) log: Vec<LogLine>,
    /// Why the call failed.
    pub(crate) failure: Option<String>,
}

/// A header that a plugin set or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeaderChange {
    pub(crate) name: String,
    pub(crate) before: Vec<String>,
    pub(crate) after: Vec<String>,
}

/// A line that a plugin wrote to the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogLine {
    pub(crate) level: String,
    pub(crate) line: String,
}

/// What a response hook was shown and what it made of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TracedEvents {
    /// The number of events and bodies that it was shown.
    pub(crate) shown: u32,
    /// How many of them it kept.
    pub(crate) kept: u32,
    /// How many events it returned.
    pub(crate) returned: u32,
    /// The events themselves, where they are recorded.
    pub(crate) list: Vec<TracedEvent>,
}

/// One call of a response hook.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TracedEvent {
    /// `on-event`, `on-end` or `on-body`.
    pub(crate) function: String,
    pub(crate) time_ns: u64,
    /// `None` at the end of the response.
    pub(crate) before: Option<ShownEvent>,
    /// `None` if it was kept.
    pub(crate) after: Option<Vec<ShownEvent>>,
}

/// An event, or a body without a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShownEvent {
    pub(crate) event: String,
    pub(crate) data: String,
}

/// How an exchange ended, as in its log line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TraceEnd {
    pub(crate) kind: String,
    /// The requested model.
    pub(crate) model: String,
    pub(crate) status: u16,
    /// `complete`, `truncated`, `client_gone`, `error` or `answered`.
    pub(crate) ending: String,
    /// The attempts in one line, each with how it ended.
    pub(crate) attempts: String,
    /// The edits by plugins and by the gateway, in one line.
    pub(crate) edits: String,
    /// Whether the conversation's prefix was kept, and what broke it.
    pub(crate) prefix: Option<String>,
    pub(crate) note: Option<String>,
    /// The notes of plugins, each with the plugin's name.
    pub(crate) notes: Vec<(String, String)>,
    pub(crate) time_ns: u64,
}

/// The edits of headers, each with the values before. `headers` are those before the edits.
pub(super) fn header_changes(edits: &header::Edits, headers: &HeaderMap) -> Vec<HeaderChange> {
    let change = |name: &HeaderName| HeaderChange {
        name: name.as_str().to_owned(),
        before: header::Edits::default().values(name, headers),
        after: edits.values(name, headers),
    };
    edits.names().into_iter().map(change).collect()
}

impl Step {
    /// Why the plugin failed here, if it did.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.call.as_ref()?.failure.as_deref()
    }
}
