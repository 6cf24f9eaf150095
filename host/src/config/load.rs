//! Reads and checks a configuration file, and reports all problems with file, line and key.
//!
//! Only this module reads the environment, through a function that tests replace.

use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::de::DeTable;
use witgate_contract::limits;

use super::{
    Auth, AuthMode, Config, Connections, DEFAULT_BODY_LIMIT, DEFAULT_DRAIN, DEFAULT_INSTANCES,
    DEFAULT_KEEP_VERSIONS, DEFAULT_LISTEN, DEFAULT_LOG, DEFAULT_MAX_BODY_MEMORY, MIN_POLL,
    Passthrough, Plugins, Problem, Problems, Retry, Traces, pages, passthrough, plugin_settings,
    table::{Source, Table},
    upstreams,
    value::{DURATION, SIZE, address, duration, header_text, reference_of_others, size, some_time},
};
use crate::{secret::Secret, telemetry};

/// The keys of each table, as explained in docs/configuration.md. Those of upstreams and routes are
/// in `upstreams`.
pub(super) const TOP: &[&str] = &[
    "listen",
    "log",
    "body_limit",
    "max_body_memory",
    "drain",
    "hosts",
    "cors_origins",
    "expose_accounts",
    "prefix_ledger",
    "auth",
    "connections",
    "retry",
    "upstream",
    "route",
    "passthrough",
    "plugins",
    "plugin",
];
pub(super) const AUTH: &[&str] = &["mode", "keys"];
pub(super) const CONNECTIONS: &[&str] = &[
    "request_head",
    "request_body",
    "idle",
    "write",
    "http2_ping",
];
pub(super) const RETRY: &[&str] = &[
    "max_attempts",
    "connect",
    "first_event",
    "answer",
    "idle",
    "max_cooldown_wait",
    "same_account_wait",
    "ping_after",
    "ping_every",
    "credential_cooldown",
];
pub(super) const PLUGINS: &[&str] = &[
    "dir",
    "poll",
    "cache",
    "instances",
    "keep_versions",
    "traces",
];

/// The upper bound of `max_attempts`: far more than useful, but a typing error floods no upstream.
const MAX_ATTEMPTS: u32 = 100;

/// The upper bound of `traces`: at 64 KiB each they take up to 640 MiB.
const MAX_TRACES: u32 = 10_000;

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a variable of the process's environment. One that is not UTF-8 counts as not set.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub(super) fn environment(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// Whether the user wants no colours on terminals (no-color.org).
pub(crate) fn wants_no_color() -> bool {
    environment("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Reads a configuration file and everything it refers to.
pub(super) fn file(file: &Path, env: Env<'_>) -> Result<(Config, Vec<Problem>), Problems> {
    let text = fs::read_to_string(file).map_err(|error| {
        let what = format!("cannot read the file: {error}");
        let file = file.display().to_string();
        Problems(vec![Problem {
            file,
            line: 0,
            key: String::new(),
            what,
        }])
    })?;
    parse(file, &text, env)
}

/// The configuration without a file. Relative paths start from `folder`.
pub(super) fn defaults(folder: &Path, env: Env<'_>) -> Config {
    Config {
        listen: DEFAULT_LISTEN,
        log: DEFAULT_LOG.to_owned(),
        body_limit: DEFAULT_BODY_LIMIT,
        max_body_memory: DEFAULT_MAX_BODY_MEMORY,
        drain: DEFAULT_DRAIN,
        hosts: pages::default_hosts(),
        cors_origins: Vec::new(),
        expose_accounts: true,
        prefix_ledger: true,
        auth: Auth {
            mode: AuthMode::Auto,
            keys: Vec::new(),
        },
        connections: Connections::default(),
        retry: Retry::default(),
        upstreams: Vec::new(),
        routes: Vec::new(),
        passthrough: Passthrough::default(),
        plugins: Plugins {
            dir: folder.join("plugins"),
            poll: None,
            cache: cache_folder(env),
            instances: DEFAULT_INSTANCES,
            keep_versions: DEFAULT_KEEP_VERSIONS,
            traces: Traces::default(),
        },
        plugin: BTreeMap::new(),
        sources: Vec::new(),
    }
}

pub(super) fn parse(
    file: &Path,
    text: &str,
    env: Env<'_>,
) -> Result<(Config, Vec<Problem>), Problems> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let source = Source::new(file, text, folder, env);
    let (entries, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            source.problem(at, "", format!("invalid TOML: {}", error.message()));
        }
        // After a syntax error, other problems would be about the parser's guesses.
        source.finish()?;
    }
    let top = Table::open(&source, entries.get_ref(), "", 0, TOP);
    let mut config = read(&source, &top, defaults(folder, env));
    let (warnings, sources) = source.finish()?;
    config.sources = sources;
    Ok((config, warnings))
}

/// Reads all tables. A value with a problem gets its default: the result is then not used.
fn read(source: &Source<'_>, top: &Table<'_>, defaults: Config) -> Config {
    let listen = top.parsed(
        "listen",
        "an address with a port such as `127.0.0.1:8045`",
        address,
    );
    let listen = listen.unwrap_or(defaults.listen);
    let upstreams = upstreams::read(source, top, listen);
    let auth = top.table("auth", AUTH, |table| auth(source, &table, listen));
    let auth = auth.unwrap_or(defaults.auth);
    let plugins = top.table("plugins", PLUGINS, |table| {
        folder(source, &table, &defaults.plugins)
    });
    let limit = |text: &str| size(text).filter(|size| *size > 0);
    let body_limit = top
        .parsed("body_limit", SIZE, limit)
        .unwrap_or(defaults.body_limit);
    Config {
        listen,
        log: log(source, top).unwrap_or(defaults.log),
        body_limit,
        max_body_memory: max_body_memory(top, body_limit),
        drain: top
            .parsed("drain", DURATION, duration)
            .unwrap_or(defaults.drain),
        hosts: pages::hosts(source, top),
        cors_origins: pages::origins(source, top),
        expose_accounts: top
            .boolean("expose_accounts")
            .unwrap_or(defaults.expose_accounts),
        prefix_ledger: top
            .boolean("prefix_ledger")
            .unwrap_or(defaults.prefix_ledger),
        auth,
        connections: top
            .table("connections", CONNECTIONS, |table| connections(&table))
            .unwrap_or(defaults.connections),
        retry: top
            .table("retry", RETRY, |table| retry(&table))
            .unwrap_or(defaults.retry),
        routes: upstreams.routes,
        passthrough: passthrough::read(source, top),
        plugins: plugins.unwrap_or(defaults.plugins),
        plugin: plugin_settings::read(source, top, &upstreams.list),
        upstreams: upstreams.list,
        sources: Vec::new(),
    }
}

/// Reads the log filter. The problem names the level that was probably meant.
fn log(source: &Source<'_>, top: &Table<'_>) -> Option<String> {
    let text = top.text("log")?;
    match telemetry::targets(&text.value) {
        Ok(_) => Some(text.value),
        Err(why) => {
            let expected = "a filter such as `info` or `warn,witgate=debug`";
            let what = format!("got {}, expected {expected}", text.shown());
            source.problem(text.at, &text.key, text.message(format!("{what}: {why}")));
            None
        }
    }
}

/// Reads `max_body_memory`. A body of the largest size fits in any case: otherwise it would be
/// rejected as if the gateway were busy, however often it is sent.
fn max_body_memory(top: &Table<'_>, body_limit: usize) -> usize {
    let expected = "a size of at least `body_limit`";
    let fits = |text: &str| size(text).filter(|size| *size >= body_limit);
    top.parsed("max_body_memory", expected, fits)
        .unwrap_or(DEFAULT_MAX_BODY_MEMORY.max(body_limit))
}

/// Keys that are configured are required, unless the mode says otherwise.
fn auth(source: &Source<'_>, table: &Table<'_>, listen: SocketAddr) -> Auth {
    let mode = table.parsed(
        "mode",
        "`off`, `strict`, `all-except-health` or `auto`",
        |text| {
            Some(match text {
                "off" => AuthMode::Off,
                "strict" => AuthMode::Strict,
                "all-except-health" => AuthMode::AllExceptHealth,
                "auto" => AuthMode::Auto,
                _ => return None,
            })
        },
    );
    let mut keys = Vec::new();
    for text in table.texts("keys").unwrap_or_default() {
        match header_text(&text.value) {
            Ok(()) => {
                if let Some(what) = reference_of_others(&text) {
                    source.problem(text.at, &text.key, what);
                }
                keys.push(Secret::new(text.value));
            }
            Err(what) => source.problem(text.at, &text.key, what),
        }
    }
    let mode = match mode {
        None if !keys.is_empty() => AuthMode::AllExceptHealth,
        mode => mode.unwrap_or(AuthMode::Auto),
    };
    if !keys.is_empty() && !mode.requires_key(listen.ip().is_loopback()) {
        let what = "the configured `keys` are not required in this mode: everybody who reaches \
                    the gateway can use its accounts; leave `mode` out to require them";
        table.warning("mode", what);
    }
    Auth { mode, keys }
}

/// Reads a time limit, which cannot be zero.
fn limit(table: &Table<'_>, key: &str, default: Duration) -> Duration {
    let expected = "a duration above zero such as `15s`";
    table.parsed(key, expected, some_time).unwrap_or(default)
}

fn connections(table: &Table<'_>) -> Connections {
    let defaults = Connections::default();
    let limit = |key, default| limit(table, key, default);
    Connections {
        request_head: limit("request_head", defaults.request_head),
        request_body: limit("request_body", defaults.request_body),
        idle: limit("idle", defaults.idle),
        write: limit("write", defaults.write),
        http2_ping: limit("http2_ping", defaults.http2_ping),
    }
}

fn retry(table: &Table<'_>) -> Retry {
    let defaults = Retry::default();
    let wait = |key: &str, default| table.parsed(key, DURATION, duration).unwrap_or(default);
    let limit = |key, default| limit(table, key, default);
    Retry {
        max_attempts: table
            .number("max_attempts", 1..=MAX_ATTEMPTS)
            .unwrap_or(defaults.max_attempts),
        connect: limit("connect", defaults.connect),
        first_event: limit("first_event", defaults.first_event),
        answer: limit("answer", defaults.answer),
        idle: limit("idle", defaults.idle),
        max_cooldown_wait: wait("max_cooldown_wait", defaults.max_cooldown_wait),
        same_account_wait: wait("same_account_wait", defaults.same_account_wait),
        ping_after: limit("ping_after", defaults.ping_after),
        ping_every: limit("ping_every", defaults.ping_every),
        credential_cooldown: limit("credential_cooldown", defaults.credential_cooldown),
    }
}

fn folder(source: &Source<'_>, table: &Table<'_>, defaults: &Plugins) -> Plugins {
    let dir = table.parsed("dir", "a folder", |text| {
        (!text.is_empty()).then(|| source.path(text))
    });
    if let Some(dir) = dir.as_ref().filter(|dir| !dir.is_dir()) {
        let what = format!("there is no folder `{}` yet", dir.display());
        table.warning("dir", what);
    }
    let poll = |text: &str| duration(text).filter(|poll| *poll >= MIN_POLL);
    Plugins {
        dir: dir.unwrap_or_else(|| defaults.dir.clone()),
        poll: table.parsed("poll", "a duration of at least `10ms`", poll),
        cache: cache(source, table, defaults),
        instances: table
            .number("instances", 1..=limits::INSTANCES)
            .unwrap_or(defaults.instances),
        keep_versions: table
            .parsed("keep_versions", "a duration such as `1h`", duration)
            .unwrap_or(defaults.keep_versions),
        traces: traces(table, defaults.traces),
    }
}

/// `traces = 0` keeps none.
fn traces(table: &Table<'_>, defaults: Traces) -> Traces {
    let count = table.number("traces", 0..=MAX_TRACES);
    let count = count.map_or(defaults.count, |count| count as usize);
    Traces { count, ..defaults }
}

/// `false` disables the cache, `true` is the default, a string is another folder.
fn cache(source: &Source<'_>, table: &Table<'_>, defaults: &Plugins) -> Option<PathBuf> {
    if !table.has("cache") {
        return defaults.cache.clone();
    }
    match table.boolean_or_text("cache", "a folder or `false`") {
        Some(Ok(on)) => defaults.cache.clone().filter(|_| on),
        Some(Err(text)) if text.value.is_empty() => {
            table.problem("cache", "got an empty string, expected a folder or `false`");
            None
        }
        Some(Err(text)) => Some(source.path(&text.value)),
        None => None,
    }
}

/// The platform's folder for caches.
fn cache_folder(env: Env<'_>) -> Option<PathBuf> {
    let absolute = |name: &str| {
        env(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let folder = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("LOCALAPPDATA"))
        .or_else(|| Some(absolute("HOME")?.join(".cache")));
    Some(folder?.join("witgate"))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
