//! One exchange's run through its plugins.
//!
//! [`Runtime`] is the process's: engine, linker, ticker, instance slots. [`Catalog`] is one loaded set of plugins, immutable
//! and numbered. [`Run`] is one exchange's way through a catalog, [`Answering`] its second half, in which nothing can be
//! retried.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::{
    config::{Config, Plugins},
    fault::Fault,
    ids::{ExchangeId, PluginId},
    message::{Event, Failure, Request, Target},
    store::Store,
};

/// What plugins run on; one per process.
pub(crate) struct Runtime {}

impl Runtime {
    pub(crate) fn new(_config: &Plugins, _store: Arc<Store>) -> Result<Arc<Self>, Fault> {
        Ok(Arc::new(Self {}))
    }
}

/// A loaded set of plugins.
pub(crate) struct Catalog {
    pub(crate) generation: u64,
}

/// What came of loading a set.
pub(crate) struct Loaded {
    /// The new set, or `None` where it would equal the previous one: same hashes, settings and order.
    pub(crate) catalog: Option<Arc<Catalog>>,
    /// Files that were refused; the last good version of each stays in the set.
    pub(crate) refused: Vec<Refused>,
}

pub(crate) struct Refused {
    pub(crate) file: PathBuf,
    pub(crate) fault: Fault,
}

/// A line of `witgate plugins list`.
pub(crate) struct PluginInfo {
    pub(crate) order: u8,
    pub(crate) name: PluginId,
    pub(crate) version: String,
    pub(crate) summary: String,
    pub(crate) hooks: Vec<&'static str>,
    /// The guards as compact JSON.
    pub(crate) guards: String,
    /// `built in`, or the file.
    pub(crate) source: String,
    /// SHA-256 of the component, hexadecimal.
    pub(crate) hash: String,
    /// Whether configuration switches it off.
    pub(crate) enabled: bool,
}

impl Catalog {
    /// Compiles, links and tries what lies in the folder over the built-in set. Blocks for as long as compiling takes:
    /// call it on a thread of its own.
    pub(crate) fn load(
        _runtime: &Arc<Runtime>,
        _config: &Config,
        previous: Option<&Arc<Catalog>>,
    ) -> Loaded {
        let generation = previous.map_or(1, |previous| previous.generation + 1);
        Loaded { catalog: Some(Arc::new(Catalog { generation })), refused: Vec::new() }
    }

    /// In the order of calls, the disabled ones included.
    pub(crate) fn list(&self) -> Vec<PluginInfo> {
        Vec::new()
    }

    /// The dialects that the set can speak besides `anthropic`.
    pub(crate) fn dialects(&self) -> Vec<String> {
        Vec::new()
    }

    /// Begins an exchange. The catalog lives until the run is dropped, whatever is loaded meanwhile.
    pub(crate) fn begin(self: &Arc<Self>, _runtime: &Arc<Runtime>) -> Run {
        Run { receipt: Receipt::default() }
    }
}

/// One exchange's way through the hooks, up to the answer.
pub(crate) struct Run {
    receipt: Receipt,
}

/// What a request or attempt hook decided.
pub(crate) enum Decision {
    Proceed,
    Answer { plugin: PluginId, answer: LocalAnswer },
    Refuse { plugin: PluginId, fault: Fault, try_next: bool },
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
    /// Runs the request hooks in order. A fault is a 500 that names the plugin, or a 529 where no slot is free.
    pub(crate) async fn on_request(&mut self, _request: &mut Request) -> Result<Decision, Fault> {
        Ok(Decision::Proceed)
    }

    /// Reserves the instance slots for all that may be called from here on, at once: none free is a 529 before the first
    /// byte, never a failure later.
    pub(crate) fn reserve(&mut self, _request: &Request, _targets: &[Target]) -> Result<(), Fault> {
        Ok(())
    }

    /// Runs the attempt hooks in order, a dialect last. `request` is this attempt's own clone.
    pub(crate) async fn on_attempt(
        &mut self,
        _request: &mut Request,
        _target: &Target,
    ) -> Result<Decision, Fault> {
        Ok(Decision::Proceed)
    }

    /// Runs the failure hooks in reverse order, a dialect first.
    pub(crate) async fn on_failure(
        &mut self,
        _request: &Request,
        _target: &Target,
        failure: Failure,
    ) -> Result<Failure, Fault> {
        Ok(failure)
    }

    /// The answer begins; from here on only response hooks are called. What no response hook can need is dropped.
    pub(crate) fn answering(self, head: AnswerHead) -> Answering {
        Answering { receipt: self.receipt, head }
    }

    pub(crate) fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

/// What response hooks may know and change of an answer besides its events.
pub(crate) struct AnswerHead {
    pub(crate) id: ExchangeId,
    pub(crate) session: Option<Arc<str>>,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) streaming: bool,
    pub(crate) target: Target,
}

/// An answer on its way to the client through the response hooks.
pub(crate) struct Answering {
    receipt: Receipt,
    head: AnswerHead,
}

/// What became of one event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// All plugins kept it: the upstream's bytes go out.
    Kept,
    /// These go out in its place; none if it was discarded.
    Became(Vec<Event>),
}

impl Answering {
    /// Whether any plugin may want events of this answer. If not, bytes can be relayed without decoding.
    pub(crate) fn listens(&self) -> bool {
        false
    }

    /// Whether some plugin may want this event; cheap, to be asked before an [`Event`] is made. `delta` is the type of
    /// the delta where the event is a `content_block_delta`.
    pub(crate) fn wants(&self, _name: &str, _delta: Option<&str>) -> bool {
        false
    }

    /// The head as hooks left it; to be sent after the first event passed.
    pub(crate) fn head(&self) -> &AnswerHead {
        &self.head
    }

    /// Shows one event to the response hooks, in reverse order, a dialect first.
    pub(crate) async fn on_event(&mut self, _event: Event) -> Result<Passed, Fault> {
        Ok(Passed::Kept)
    }

    /// After the last event, once; `complete` is false where the answer was cut short.
    pub(crate) async fn on_end(&mut self, _complete: bool) -> Result<Vec<Event>, Fault> {
        Ok(Vec::new())
    }

    /// Shows the body of an answer that is no message; `None` where all plugins kept it.
    pub(crate) async fn on_body(&mut self, _body: &Bytes) -> Result<Option<Bytes>, Fault> {
        Ok(None)
    }

    pub(crate) fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

/// What plugins did in one exchange, for the answer's headers, the log and the record.
#[derive(Debug, Default, Clone)]
pub(crate) struct Receipt {
    /// Plugins that edited the request as it left, in order, each with the operations as a JSON Patch text.
    pub(crate) edits: Vec<Edits>,
    /// Hook calls made.
    pub(crate) calls: u32,
    /// Hook calls not made because a guard said no.
    pub(crate) guarded: u32,
    /// Plugin instances made.
    pub(crate) instances: u32,
    /// Plugins that failed and were skipped, with the reason.
    pub(crate) skipped: Vec<(PluginId, String)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Edits {
    pub(crate) plugin: PluginId,
    pub(crate) count: u32,
    pub(crate) patch: String,
}
