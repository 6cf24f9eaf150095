//! The configuration as plain data. `config/load.rs` reads and checks it; whoever holds a [`Config`] need not.

mod load; // a file, or no file: all of it, checked
mod upstreams; // its upstreams and routes
mod preset; // what is known of providers, as data
mod table; // spanned TOML tables whose every problem is kept
mod problem; // what is wrong, and where

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use globset::GlobMatcher;

use crate::{
    ids::{AccountId, PluginId, UpstreamId},
    secret::Secret,
};

pub(crate) use problem::did_you_mean;
pub(crate) use problem::{Problem, Problems};
pub(crate) use witgate_contract::manifest::OnError;

/// The file that is read where none is named, if it is there.
pub(crate) const DEFAULT_FILE: &str = "witgate.toml";

/// Loopback: whoever wants to be reached from elsewhere says so, and `auth = auto` then asks for a key.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8045);

/// One line per exchange and what an operator has to know.
const DEFAULT_LOG: &str = "info";

/// What Anthropic's own API accepts for messages.
const DEFAULT_BODY_LIMIT: usize = 32 * 1024 * 1024;

/// Below the 30 s after which container managers kill, so that the last log lines still come out.
const DEFAULT_DRAIN: Duration = Duration::from_secs(25);

/// Some 300 exchanges at once with three plugins each; a live one holds a 2 MiB stack, touched in part.
const DEFAULT_INSTANCES: u32 = 1000;

/// Polling faster than this burns more than it finds.
const MIN_POLL: Duration = Duration::from_millis(10);

/// Everything the gateway is told, checked. Environment and file references are resolved.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where the gateway listens. Does not change on reload.
    pub(crate) listen: SocketAddr,
    /// What is logged, as a `tracing` filter: `info`, `warn,witgate=debug`.
    pub(crate) log: String,
    /// The largest body of a message, in bytes.
    pub(crate) body_limit: usize,
    /// How long running exchanges may go on after a signal to stop.
    pub(crate) drain: Duration,
    /// Web origins whose pages may call the gateway, besides local ones.
    pub(crate) cors_origins: Vec<String>,
    /// Whether account names are shown to clients.
    pub(crate) expose_accounts: bool,
    pub(crate) auth: Auth,
    pub(crate) connections: Connections,
    pub(crate) retry: Retry,
    /// In file order. Empty: the echo upstream answers.
    pub(crate) upstreams: Vec<Upstream>,
    /// In file order, the first match wins. Empty: all upstreams in file order for every model.
    pub(crate) routes: Vec<Route>,
    pub(crate) plugins: Plugins,
    pub(crate) plugin: BTreeMap<PluginId, PluginConfig>,
    /// The files that were read for it besides its own: a change in one is a change of the configuration.
    pub(crate) sources: Vec<PathBuf>,
}

impl Config {
    /// Reads a configuration file, the environment variables and the files that it refers to.
    ///
    /// The problems are all there are, not the first; the warnings stand in no one's way.
    pub(crate) fn load(file: &Path) -> Result<(Self, Vec<Problem>), Problems> {
        load::file(file, &load::environment)
    }

    /// What holds without a file: the echo upstream, the default plugins, and `plugins/` in the present folder.
    pub(crate) fn without_file() -> Self {
        load::defaults(Path::new(""), &load::environment)
    }
}

/// Who may come in.
#[derive(Debug, Clone)]
pub(crate) struct Auth {
    pub(crate) mode: AuthMode,
    pub(crate) keys: Vec<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthMode {
    /// No key is asked for.
    Off,
    /// Every route but the two `HEAD` probes wants a key.
    Strict,
    /// Every route but `/healthz` and the two `HEAD` probes wants a key.
    AllExceptHealth,
    /// `Off` on a loopback address, else `AllExceptHealth`.
    Auto,
}

impl AuthMode {
    /// Whether an ordinary route wants a key.
    pub(crate) fn asks(self, loopback: bool) -> bool {
        match self {
            Self::Off => false,
            Self::Strict | Self::AllExceptHealth => true,
            Self::Auto => !loopback,
        }
    }
}

/// `[connections]`: how long a client may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connections {
    /// From accepting a connection to the whole head of its first request.
    pub(crate) request_head: Duration,
    /// For each 16 KiB of a request body.
    pub(crate) request_body: Duration,
    /// From the end of a request to the whole head of the next.
    pub(crate) idle: Duration,
    /// Until the client takes some of what is sent to it.
    pub(crate) write: Duration,
    /// Between two pings of an HTTP/2 connection, and for the answer to one.
    pub(crate) http2_ping: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            // Clients connect in order to send a request.
            request_head: seconds(30),
            // No network that a client works over is so slow.
            request_body: seconds(60),
            // Long, because clients keep connections open between two turns, and closing one just
            // when it is used again looks like an error.
            idle: seconds(300),
            // Longer than a person leaves a client paused that has something to read.
            write: seconds(120),
            http2_ping: seconds(60),
        }
    }
}

/// A base URL that serves models.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub(crate) name: UpstreamId,
    pub(crate) base_url: String,
    /// `anthropic`, or the one that a plugin implements.
    pub(crate) dialect: Arc<str>,
    /// What it lacks whatever the route.
    pub(crate) lacks: BTreeSet<String>,
    /// What it lacks where the route has another upstream as well.
    pub(crate) lacks_beside_others: BTreeSet<String>,
    /// Models that are listed where the upstream has no list of its own.
    pub(crate) models: Vec<String>,
    pub(crate) force_stream: bool,
    /// The proxy through which it is reached; the environment is not asked.
    pub(crate) proxy: Option<String>,
    /// A PEM file of certificate authorities to trust besides the platform's.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) auth: AuthStyle,
    pub(crate) accounts: Vec<Account>,
}

/// In which header an upstream wants its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthStyle {
    XApiKey,
    Bearer,
    XGoogApiKey,
}

/// A name and a credential of an upstream.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) name: AccountId,
    pub(crate) access: Access,
}

/// Where an account's credential comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    Key(Secret),
    Command(Command),
    OAuth2(OAuth2),
}

/// A program that prints a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// How long what it printed is good.
    pub(crate) ttl: Duration,
}

/// A refresh token and where it is traded for access tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OAuth2 {
    pub(crate) token_url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<Secret>,
    pub(crate) refresh_token: Secret,
    pub(crate) scopes: Vec<String>,
}

/// `[retry]`: how often another attempt is made, and how long anything is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retry {
    /// Over all accounts and upstreams of an exchange.
    pub(crate) max_attempts: u32,
    /// Until the connection stands.
    pub(crate) connect: Duration,
    /// From sending a request to the first event of a streamed answer.
    pub(crate) first_event: Duration,
    /// From sending a request to the head of an answer that is not streamed.
    pub(crate) answer: Duration,
    /// Without a byte of an answer that has begun.
    pub(crate) idle: Duration,
    /// The longest that an exchange waits for an account to end its rest.
    pub(crate) max_cooldown_wait: Duration,
    /// The longest told wait after which the same account is asked again instead of another.
    pub(crate) same_account_wait: Duration,
    /// How long a client that wants a stream hears nothing before the first ping.
    pub(crate) ping_after: Duration,
    /// Between two pings.
    pub(crate) ping_every: Duration,
    /// How long an account rests whose credential was refused, unless the credential changes before.
    pub(crate) credential_cooldown: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            // More would keep the client waiting longer than its own repeats.
            max_attempts: 3,
            // Long enough for a slow handshake across the world, short enough that the next upstream gets its chance.
            connect: seconds(10),
            // A full context may take a minute to the first token; a dead upstream is left before the client gives up.
            first_event: seconds(120),
            // A long answer in JSON says nothing for minutes.
            answer: seconds(600),
            // Upstreams send pings far oftener.
            idle: seconds(300),
            // What a person takes for slow and not for broken.
            max_cooldown_wait: seconds(5),
            // Shorter than what the other account's cold prompt cache costs.
            same_account_wait: seconds(2),
            // Below the shortest idle limit of known clients and proxies, beyond the usual time to the first token.
            ping_after: seconds(15),
            ping_every: seconds(10),
            // So that a key that was revived at the provider is found without a reload.
            credential_cooldown: seconds(600),
        }
    }
}

/// Which models go where.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) model: GlobMatcher,
    /// Tried in order.
    pub(crate) to: Vec<Destination>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    /// Place in [`Config::upstreams`].
    pub(crate) upstream: usize,
    /// The model to send in place of the asked one.
    pub(crate) model: Option<String>,
}

/// Where plugins come from and what they may use in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plugins {
    pub(crate) dir: PathBuf,
    /// Look at the folder this often instead of waiting for file events.
    pub(crate) poll: Option<Duration>,
    /// The folder for compiled code; none when it is switched off.
    pub(crate) cache: Option<PathBuf>,
    /// Plugin instances that may live at the same time.
    pub(crate) instances: u32,
}

/// `[plugin.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PluginConfig {
    pub(crate) enabled: bool,
    /// In place of what the plugin's manifest says.
    pub(crate) on_error: Option<OnError>,
    /// Time for one call, in place of 250 ms and 100 ms per MiB of body.
    pub(crate) deadline: Option<Duration>,
    /// The largest linear memory, in bytes.
    pub(crate) memory: Option<usize>,
    /// A JSON object.
    pub(crate) settings: serde_json::Map<String, serde_json::Value>,
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            on_error: None,
            deadline: None,
            memory: None,
            settings: serde_json::Map::new(),
        }
    }
}
