//! The configuration as plain data. `config/load.rs` reads and checks it.

mod load; // reads and checks a file, or applies the defaults
mod upstreams; // reads the upstreams
mod endpoint; // where an upstream is, and what every request to it carries
mod accounts; // reads the accounts of an upstream
mod routes; // reads the routes
mod plugin_settings; // reads the configuration of each plugin
mod passthrough; // reads which routes are open past the plugins
mod pages; // host names and web origins that may call
mod preset; // data about providers
mod value; // single values: durations, sizes, addresses, keys
mod table; // TOML tables with positions that collect all problems
mod problem; // a problem with file, line and key

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use globset::GlobMatcher;
use http::{HeaderMap, HeaderName};

use crate::{
    ids::{AccountId, PluginId, UpstreamId},
    secret::Secret,
};

pub(crate) use load::wants_no_color;
pub(crate) use pages::{matches_host, matches_origin, without_port};
pub(crate) use preset::dialect_of_preset;
pub(crate) use problem::did_you_mean;
pub(crate) use problem::{Problem, Problems};
pub(crate) use value::address;
pub(crate) use witgate_contract::manifest::OnError;

/// The file that is read if it exists and the command line names no other.
pub(crate) const DEFAULT_FILE: &str = "witgate.toml";

/// Loopback only. On any other address, `auth.mode = "auto"` requires a key.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8045);

/// One line per exchange, and what an operator has to know.
const DEFAULT_LOG: &str = "info";

/// The limit of Anthropic's API for messages.
const DEFAULT_BODY_LIMIT: usize = 32 * 1024 * 1024;

/// Room for 32 of the largest bodies. Requests of usual size are some thousand.
const DEFAULT_MAX_BODY_MEMORY: usize = 1024 * 1024 * 1024;

/// Less than the 30 s after which container managers kill, so that the last log lines are written.
const DEFAULT_DRAIN: Duration = Duration::from_secs(25);

/// Enough for some 300 concurrent exchanges with three plugins each. A live instance
/// reserves a stack of 2 MiB, of which it touches a part.
const DEFAULT_INSTANCES: u32 = 1000;
const DEFAULT_KEEP_VERSIONS: Duration = Duration::from_secs(3600);

/// The shortest poll interval: a shorter one costs more than it finds.
const MIN_POLL: Duration = Duration::from_millis(10);

/// The checked configuration, with references to the environment and to files resolved.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The address to listen on. A reload does not change it.
    pub(crate) listen: SocketAddr,
    /// The log filter, such as `info` or `warn,witgate=debug`.
    pub(crate) log: String,
    /// The largest request body of a message, in bytes.
    pub(crate) body_limit: usize,
    /// The largest size of all request bodies in memory together, in bytes.
    pub(crate) max_body_memory: usize,
    /// How long exchanges in flight may continue after a signal to stop.
    pub(crate) drain: Duration,
    /// Host names besides local ones by which clients reach a gateway on a loopback address. The
    /// syntax is checked, as is that of `cors_origins`.
    pub(crate) hosts: Vec<String>,
    /// Web origins besides local ones whose pages may call the gateway.
    pub(crate) cors_origins: Vec<String>,
    /// Whether account names are shown to clients.
    pub(crate) expose_accounts: bool,
    /// Whether the prefixes of conversations are compared.
    pub(crate) prefix_ledger: bool,
    pub(crate) auth: Auth,
    pub(crate) connections: Connections,
    pub(crate) retry: Retry,
    /// In file order. If empty, the echo upstream responds.
    pub(crate) upstreams: Vec<Upstream>,
    /// In file order; the first match wins. If empty, every model goes to all upstreams in file
    /// order.
    pub(crate) routes: Vec<Route>,
    pub(crate) passthrough: Passthrough,
    pub(crate) plugins: Plugins,
    pub(crate) plugin: BTreeMap<PluginId, PluginConfig>,
    /// The other files that it was read from. A change to one is a change to the configuration.
    pub(crate) sources: Vec<PathBuf>,
}

impl Config {
    /// Reads a configuration file, and the environment variables and files that it refers to.
    ///
    /// Returns the warnings as well, or all problems.
    pub(crate) fn load(file: &Path) -> Result<(Self, Vec<Problem>), Problems> {
        load::file(file, &load::environment)
    }

    /// Reads a configuration that is not in a file. Problems name it as `file`.
    pub(crate) fn of_text(file: &Path, text: &str) -> Result<(Self, Vec<Problem>), Problems> {
        load::parse(file, text, &load::environment)
    }

    /// The route of a model, and the model without Claude Code's suffix `[1m]` if only that
    /// matches.
    pub(crate) fn route<'a>(&'a self, model: &'a str) -> Option<(&'a Route, Option<&'a str>)> {
        routes::find(&self.routes, model)
    }

    /// Whether nothing may be served without this plugin.
    pub(crate) fn requires(&self, plugin: &PluginId) -> bool {
        self.plugin
            .get(plugin)
            .is_some_and(|plugin| plugin.required)
    }

    /// The configuration without a file: the echo upstream, the default plugins, and `plugins/` in
    /// the current folder.
    pub(crate) fn without_file() -> Self {
        load::defaults(Path::new(""), &load::environment)
    }
}

/// `[auth]`: which clients may use the gateway.
#[derive(Debug, Clone)]
pub(crate) struct Auth {
    pub(crate) mode: AuthMode,
    pub(crate) keys: Vec<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthMode {
    /// No route requires a key.
    Off,
    /// Every route except the two `HEAD` probes requires a key.
    Strict,
    /// Every route except `/healthz` and the two `HEAD` probes requires a key.
    AllExceptHealth,
    /// `Off` on a loopback address, otherwise `AllExceptHealth`.
    Auto,
}

impl AuthMode {
    /// Whether an ordinary route requires a key.
    pub(crate) fn requires_key(self, loopback: bool) -> bool {
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
    /// From accepting a connection to the complete head of its first request.
    pub(crate) request_head: Duration,
    /// For each 16 KiB of a request body.
    pub(crate) request_body: Duration,
    /// From the end of a request to the complete head of the next.
    pub(crate) idle: Duration,
    /// Until the client reads some of what is sent to it.
    pub(crate) write: Duration,
    /// Between two pings of an HTTP/2 connection, and for the response to one.
    pub(crate) http2_ping: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            // Clients connect in order to send a request.
            request_head: seconds(30),
            // No usable network is this slow.
            request_body: seconds(60),
            // Long, because clients keep connections open between turns, and a connection that is
            // closed just when it is used again looks like an error.
            idle: seconds(300),
            // Longer than a person pauses a client that has something to read.
            write: seconds(120),
            http2_ping: seconds(60),
        }
    }
}

/// A base URL that serves models.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub(crate) name: UpstreamId,
    pub(crate) base_url: Endpoint,
    /// `anthropic`, or a dialect that a plugin implements.
    pub(crate) dialect: Arc<str>,
    /// The features that it lacks on every route.
    pub(crate) lacks: BTreeSet<String>,
    /// The features that it lacks if there are other upstreams.
    pub(crate) lacks_beside_others: BTreeSet<String>,
    /// The models to list if the upstream has no list.
    pub(crate) models: Vec<String>,
    pub(crate) force_stream: bool,
    /// The proxy to connect through. Proxy variables of the environment are ignored.
    pub(crate) proxy: Option<String>,
    /// A PEM file with certificate authorities to trust besides the platform's.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) auth: AuthStyle,
    pub(crate) extra: Extra,
    /// The plugin and its setting that lists upstreams of this kind.
    pub(crate) listed_in: Option<(&'static str, &'static str)>,
    /// Replaces [`Retry::first_event`].
    pub(crate) first_event: Option<Duration>,
    /// Replaces [`Retry::idle`].
    pub(crate) idle: Option<Duration>,
    /// A digest of what decides how the upstream is asked, so that what was learned about it is
    /// forgotten when that changes.
    pub(crate) version: u64,
    pub(crate) accounts: Vec<Account>,
}

/// The base URL of an upstream, without a query and a final slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    /// What may be logged: the URL, or the reference that it was read from.
    pub(crate) shown: String,
    /// Whether it is the provider's own, as the preset has it.
    pub(crate) is_providers: bool,
}

/// What the operator adds to every request to an upstream.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Extra {
    /// They replace headers of the same name.
    pub(crate) headers: HeaderMap,
    /// Names and values as in a URL. They replace parameters of the same name.
    pub(crate) query: Vec<(String, String)>,
    /// A JSON merge patch (RFC 7396) for the bodies of messages.
    pub(crate) body: serde_json::Map<String, serde_json::Value>,
}

/// The header in which an upstream expects its credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AuthStyle {
    XApiKey,
    Bearer,
    XGoogApiKey,
    /// Any other, with the key as its value.
    Header(HeaderName),
}

impl Upstream {
    /// An upstream with Anthropic's dialect at this URL, without accounts and with defaults.
    pub(crate) fn plain(name: UpstreamId, url: &str) -> Self {
        Self {
            name,
            base_url: Endpoint::of_preset(url),
            dialect: "anthropic".into(),
            lacks: BTreeSet::new(),
            lacks_beside_others: BTreeSet::new(),
            models: Vec::new(),
            force_stream: false,
            proxy: None,
            ca_file: None,
            auth: AuthStyle::XApiKey,
            extra: Extra::default(),
            listed_in: None,
            first_event: None,
            idle: None,
            version: 0,
            accounts: Vec::new(),
        }
    }
}

impl Endpoint {
    /// The URL that a preset has; empty if it has none.
    fn of_preset(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            shown: url.to_owned(),
            is_providers: true,
        }
    }
}

/// A named credential of an upstream.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) name: AccountId,
    /// The organization at the upstream, by any name: accounts with the same one read each other's
    /// thinking.
    pub(crate) organization: Option<Arc<str>>,
    pub(crate) access: Access,
}

/// The source of an account's credential.
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
    /// How long the printed credential is used.
    pub(crate) ttl: Duration,
}

/// A refresh token, and the server that exchanges it for access tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OAuth2 {
    pub(crate) token_url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<Secret>,
    pub(crate) refresh_token: Secret,
    pub(crate) scopes: Vec<String>,
}

/// `[retry]`: the number of attempts and the time limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retry {
    /// Attempts per exchange, over all accounts and upstreams.
    pub(crate) max_attempts: u32,
    /// Until the connection is established.
    pub(crate) connect: Duration,
    /// From sending a request to the first event of a streamed response.
    pub(crate) first_event: Duration,
    /// From sending a request to the head of a response that is not streamed.
    pub(crate) answer: Duration,
    /// Between two pieces of a response body.
    pub(crate) idle: Duration,
    /// The longest time that an exchange waits for the end of an account's cooldown.
    pub(crate) max_cooldown_wait: Duration,
    /// The longest `retry-after` that an exchange waits for to retry with the same account.
    pub(crate) same_account_wait: Duration,
    /// How long a client of a stream receives nothing before the first ping.
    pub(crate) ping_after: Duration,
    /// Between two pings.
    pub(crate) ping_every: Duration,
    /// The cooldown of an account whose credential was rejected, unless the credential changes.
    pub(crate) credential_cooldown: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            // More attempts would take longer than the client's own retries.
            max_attempts: 3,
            // Long enough for a slow handshake across the world, short enough for a failover.
            connect: seconds(10),
            // A full context may take a minute to the first token. The failover from a dead
            // upstream comes before the client gives up.
            first_event: seconds(120),
            // A long response in JSON sends nothing for minutes.
            answer: seconds(600),
            // Upstreams send pings far more often.
            idle: seconds(300),
            // A person takes this for slow and not for broken.
            max_cooldown_wait: seconds(5),
            // Shorter than the delay from another account's cold prompt cache.
            same_account_wait: seconds(2),
            // Shorter than the idle limits of known clients and proxies, longer than the usual time
            // to the first token.
            ping_after: seconds(15),
            ping_every: seconds(10),
            // A key that works again at the provider is then used without a reload.
            credential_cooldown: seconds(600),
        }
    }
}

/// `[[route]]`: the upstreams for some models.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The glob as written.
    pattern: String,
    model: GlobMatcher,
    /// Tried in order.
    pub(crate) to: Vec<Destination>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    /// Index in [`Config::upstreams`].
    pub(crate) upstream: usize,
    /// The model to send instead of the requested one.
    pub(crate) model: Option<String>,
}

/// `[passthrough]`: the routes that are forwarded without plugins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Passthrough {
    /// The routes that are open to requests with a body. `None`: all, unless a plugin would have to
    /// see them.
    pub(crate) routes: Option<Vec<OpenRoute>>,
}

/// A route that is open, with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OpenRoute {
    /// `*`: every route.
    All,
    /// A path: `/v1/files`.
    Below(String),
}

/// `[plugins]`: the plugin folder, and the limits for all plugins together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plugins {
    pub(crate) dir: PathBuf,
    /// How often to look at the folder instead of waiting for file events.
    pub(crate) poll: Option<Duration>,
    /// The folder for compiled code. `None` disables the cache.
    pub(crate) cache: Option<PathBuf>,
    /// The largest number of live plugin instances.
    pub(crate) instances: u32,
    /// How long a conversation without a request keeps old versions of plugins.
    pub(crate) keep_versions: Duration,
    pub(crate) traces: Traces,
}

/// Which traces of exchanges are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traces {
    /// Of how many exchanges, counted back from the latest.
    pub(crate) count: usize,
    /// The size of one trace, in bytes.
    pub(crate) bytes: usize,
    /// Whether events are recorded, or only counted.
    pub(crate) events: bool,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            // Of the last minutes, for a person who looks into one exchange.
            count: 200,
            bytes: 64 << 10,
            events: false,
        }
    }
}

/// `[plugin.NAME]`: the configuration of one plugin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PluginConfig {
    pub(crate) enabled: bool,
    /// Whether no request may be served without it.
    pub(crate) required: bool,
    /// Overrides the plugin's manifest.
    pub(crate) on_error: Option<OnError>,
    /// The time for one call, instead of 250 ms plus 100 ms per MiB of body.
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
            required: false,
            on_error: None,
            deadline: None,
            memory: None,
            settings: serde_json::Map::new(),
        }
    }
}
