//! The configuration as plain data. `config/load.rs` reads and checks it; whoever holds a [`Config`] need not.

mod load;
mod preset;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use globset::GlobMatcher;

use crate::{
    ids::{AccountId, PluginId, UpstreamId},
    secret::Secret,
};

pub use load::{Problem, Problems};

/// Everything the gateway is told, checked. Environment and file references are resolved.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the gateway listens. Does not change on reload.
    pub listen: SocketAddr,
    /// What is logged, as a `tracing` filter: `info`, `warn,witgate=debug`.
    pub log: String,
    /// The largest body of a message, in bytes.
    pub body_limit: usize,
    /// How long running exchanges may go on after a signal to stop.
    pub drain: Duration,
    /// Web origins whose pages may call the gateway, besides local ones.
    pub cors_origins: Vec<String>,
    /// Whether account names are shown to clients.
    pub expose_accounts: bool,
    pub auth: Auth,
    /// In file order. Empty: the echo upstream answers.
    pub upstreams: Vec<Upstream>,
    /// In file order, the first match wins. Empty: all upstreams in file order for every model.
    pub routes: Vec<Route>,
    pub plugins: Plugins,
    pub plugin: BTreeMap<PluginId, PluginConfig>,
}

/// Who may come in.
#[derive(Debug, Clone)]
pub struct Auth {
    pub mode: AuthMode,
    pub keys: Vec<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// No key is asked for.
    Off,
    /// Every route wants a key.
    Strict,
    /// Every route but `/healthz` and the two `HEAD` probes wants a key.
    AllExceptHealth,
    /// `Off` on a loopback address, else `AllExceptHealth`.
    Auto,
}

/// A base URL that serves models.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub name: UpstreamId,
    pub base_url: String,
    /// `anthropic`, or the one that a plugin implements.
    pub dialect: Arc<str>,
    /// What it lacks whatever the route.
    pub lacks: BTreeSet<String>,
    /// What it lacks where the route has another upstream as well.
    pub lacks_beside_others: BTreeSet<String>,
    /// Models that are listed where the upstream has no list of its own.
    pub models: Vec<String>,
    pub force_stream: bool,
    /// The proxy through which it is reached; the environment is not asked.
    pub proxy: Option<String>,
    /// A PEM file of certificate authorities to trust besides the platform's.
    pub ca_file: Option<PathBuf>,
    pub auth: AuthStyle,
    pub accounts: Vec<Account>,
}

/// In which header an upstream wants its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthStyle {
    XApiKey,
    Bearer,
    XGoogApiKey,
}

/// A name and a credential of an upstream.
#[derive(Debug, Clone)]
pub struct Account {
    pub name: AccountId,
    pub key: Secret,
}

/// Which models go where.
#[derive(Debug, Clone)]
pub struct Route {
    pub model: GlobMatcher,
    /// Tried in order.
    pub to: Vec<Destination>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Place in [`Config::upstreams`].
    pub upstream: usize,
    /// The model to send in place of the asked one.
    pub model: Option<String>,
}

/// Where plugins come from and what they may use in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugins {
    pub dir: PathBuf,
    /// Look at the folder this often instead of waiting for file events.
    pub poll: Option<Duration>,
    /// The folder for compiled code; none when it is switched off.
    pub cache: Option<PathBuf>,
    /// Plugin instances that may live at the same time.
    pub instances: u32,
}

/// `[plugin.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginConfig {
    pub enabled: bool,
    /// In place of what the plugin's manifest says.
    pub on_error: Option<OnError>,
    /// Time for one call, in place of 250 ms and 100 ms per MiB of body.
    pub deadline: Option<Duration>,
    /// The largest linear memory, in bytes.
    pub memory: Option<usize>,
    /// A JSON object.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// What becomes of an exchange when a plugin fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It ends with a 500 that names the plugin.
    Fail,
    /// It goes on without the plugin, visibly.
    Skip,
}
