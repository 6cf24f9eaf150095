//! The plugin kit: runs exchanges offline through the real gateway, with a scripted upstream, and
//! reports what was sent, what the client received, and what each plugin did.
//!
//! [`Kit::new`] loads plugins and starts the upstream. [`Kit::run`] answers one request. Everything
//! between both is the code that serves clients: routes, hooks, retries, the HTTP client. State
//! lasts from one run to the next, as in a running gateway: the plugins' key-value data,
//! conversations, cooldowns. [`Kit::restart`] forgets it.

mod setup; // the configuration of the gateway
mod scripted; // the upstream
mod folder; // the plugin folder
mod answer; // what the upstream answers
mod outcome; // what happened
mod diff; // what differs between two JSON texts (pure)
#[cfg(test)]
mod tests; // exchanges without plugins

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONTENT_TYPE, HOST},
};
use tokio::runtime::{self, Runtime as Threads};

use crate::{
    config::Config,
    exchange::Snapshot,
    fault::Fault,
    gateway::{InProcess, Shared},
    pipeline::{Catalog, PluginInfo, Runtime},
    reload, shutdown,
    store::Store,
    telemetry::Metrics,
};

pub(crate) use self::{
    answer::Answer,
    diff::{Changes, changes, clipped},
    outcome::{Outcome, Reply, Sent},
    setup::{Settings, Target},
};

use folder::Folder;
use scripted::Scripted;

/// What a kit is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// Files of plugins. As in a plugin folder, the name of a file is that of the plugin, perhaps
    /// with its place in the call order: `55-my_rule.wasm`.
    pub(crate) plugins: Vec<PathBuf>,
    /// Whether the built-in plugins are loaded as well. That of the target's dialect always is.
    pub(crate) with_builtins: bool,
    /// By the name of the plugin.
    pub(crate) settings: Settings,
    pub(crate) target: Target,
    /// Whether compiled code is taken from the cache and kept there.
    pub(crate) cached: bool,
}

/// A client's request, and what the upstream answers.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) method: Method,
    /// The path and query.
    pub(crate) path: String,
    /// They are sent besides `content-type` and `anthropic-version`, which they may replace.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// One for each attempt: there are no more attempts than answers. Without any there is one
    /// attempt, and the echo upstream answers it; for another dialect, a 503 does.
    pub(crate) answers: Vec<Answer>,
}

/// Why there is no kit.
#[derive(Debug)]
pub(crate) enum SetupError {
    /// The target cannot be used.
    Target(String),
    /// These plugins do not load, each with the reason.
    Plugins(Vec<String>),
    /// Anything else.
    Failed(Fault),
}

/// A gateway without a socket, its plugins and its upstream.
pub(crate) struct Kit {
    threads: Option<Threads>,
    gateway: InProcess,
    shared: Arc<Shared>,
    config: Config,
    catalog: Arc<Catalog>,
    store: Arc<Store>,
    upstream: Scripted,
    load_time: Duration,
    /// While this is held, the plugins' files exist.
    _folder: Folder,
}

impl Exchange {
    /// A `POST` of this body to `/v1/messages`, answered by the echo upstream.
    pub(crate) fn of(body: impl Into<Bytes>) -> Self {
        Self {
            method: Method::POST,
            path: "/v1/messages".to_owned(),
            headers: HeaderMap::new(),
            body: body.into(),
            answers: Vec::new(),
        }
    }

    fn request(&self) -> Result<http::Request<Bytes>, Fault> {
        let mut request = http::Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        let uri = self.path.parse();
        *request.uri_mut() =
            uri.map_err(|error| Fault::gateway("the path is not valid").from(error))?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(VERSION, HeaderValue::from_static("2023-06-01"));
        headers.extend(self.headers.clone());
        Ok(request)
    }

    /// The most attempts that it may take.
    fn attempts(&self) -> u32 {
        u32::try_from(self.answers.len()).unwrap_or(u32::MAX).max(1)
    }
}

const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

impl Kit {
    /// Loads the plugins and starts the upstream.
    pub(crate) fn new(setup: &Setup) -> Result<Self, SetupError> {
        let threads = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let threads = threads.map_err(|error| failed("cannot start threads", error))?;
        let folder = Folder::with(&setup.plugins)
            .map_err(|error| failed("cannot copy the plugins to a temporary folder", error))?;
        let upstream = threads.block_on(Scripted::start(setup.target.is_anthropic()));
        let upstream = upstream.map_err(|error| failed("cannot start the upstream", error))?;
        let config = setup.config(upstream.address, folder.path())?;
        let store = Arc::new(Store::default());
        let metrics = Arc::new(Metrics::new());
        // Calls into plugins are asynchronous and have deadlines.
        let entered = threads.enter();
        let runtime = Runtime::new(&config.plugins, Arc::clone(&store), Arc::clone(&metrics))
            .map_err(SetupError::Failed)?;
        let (catalog, load_time) = load(&runtime, &config)?;
        let snapshot = snapshot(&config, &catalog, None).map_err(SetupError::Failed)?;
        drop(entered);
        let shared = Arc::new(Shared {
            runtime,
            metrics,
            snapshot: ArcSwap::from_pointee(snapshot),
            open_files: 1024,
        });
        Ok(Self {
            threads: Some(threads),
            gateway: InProcess::new(Arc::clone(&shared)),
            shared,
            config,
            catalog,
            store,
            upstream,
            load_time,
            _folder: folder,
        })
    }

    /// How long it took to load the plugins.
    pub(crate) fn load_time(&self) -> Duration {
        self.load_time
    }

    /// The names of the loaded plugins, in call order.
    pub(crate) fn plugins(&self) -> Vec<String> {
        let list = self.catalog.list().into_iter();
        let enabled = list.filter(|plugin| plugin.enabled);
        enabled.map(|plugin| plugin.name.to_string()).collect()
    }

    /// What the loaded plugins say about themselves, in call order.
    pub(crate) fn list(&self) -> Vec<PluginInfo> {
        self.catalog.list()
    }

    /// Runs one exchange to its end.
    pub(crate) fn run(&mut self, exchange: &Exchange) -> Result<Outcome, Fault> {
        let request = self.prepare(exchange)?;
        let reply = self.threads()?.block_on(self.gateway.answer(request));
        let id = reply.headers.get("request-id");
        let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
        let trace = self.shared.runtime.find_trace(id).unwrap_or_default();
        Ok(Outcome {
            sent: self.upstream.take_sent(),
            reply: Reply::of(reply),
            trace,
        })
    }

    /// Runs one exchange whose client leaves after this many bytes of the response.
    pub(crate) fn leave(&mut self, exchange: &Exchange, after: usize) -> Result<(), Fault> {
        let request = self.prepare(exchange)?;
        self.threads()?
            .block_on(self.gateway.begin_answer(request, after));
        Ok(())
    }

    /// Makes gateway and upstream ready for an exchange.
    fn prepare(&mut self, exchange: &Exchange) -> Result<http::Request<Bytes>, Fault> {
        let request = exchange.request()?;
        if self.config.retry.max_attempts != exchange.attempts() {
            self.config.retry.max_attempts = exchange.attempts();
            let previous = self.shared.snapshot.load();
            let next = snapshot(&self.config, &self.catalog, Some(&previous))?;
            self.shared.snapshot.store(Arc::new(next));
        }
        self.upstream.script(&exchange.answers);
        Ok(request)
    }

    fn threads(&self) -> Result<&Threads, Fault> {
        let ended = || Fault::gateway("the kit has ended");
        self.threads.as_ref().ok_or_else(ended)
    }

    /// Forgets everything that exchanges left: the plugins' key-value data, conversations and
    /// cooldowns.
    pub(crate) fn restart(&mut self) {
        self.store.clear();
        let next = self.shared.snapshot.load().restarted();
        self.shared.snapshot.store(Arc::new(next));
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            shutdown::end(threads);
        }
    }
}

fn failed(what: &'static str, error: std::io::Error) -> SetupError {
    SetupError::Failed(Fault::gateway(what).from(error))
}

fn snapshot(
    config: &Config,
    catalog: &Arc<Catalog>,
    previous: Option<&Snapshot>,
) -> Result<Snapshot, Fault> {
    Snapshot::new(Arc::new(config.clone()), Arc::clone(catalog), previous)
}

/// Loads the plugins, and measures it.
fn load(runtime: &Arc<Runtime>, config: &Config) -> Result<(Arc<Catalog>, Duration), SetupError> {
    let begun = Instant::now();
    let loaded = reload::load(runtime, config);
    let time = begun.elapsed();
    let why = loaded.refused.iter().map(|refused| refused.fault.chain());
    let why: Vec<String> = why.collect();
    match loaded.catalog {
        Some(catalog) if why.is_empty() => Ok((catalog, time)),
        _ => Err(SetupError::Plugins(why)),
    }
}

impl std::fmt::Display for SetupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Target(why) => f.write_str(why),
            Self::Plugins(why) => f.write_str(&why.join("; ")),
            Self::Failed(fault) => f.write_str(&fault.chain()),
        }
    }
}
