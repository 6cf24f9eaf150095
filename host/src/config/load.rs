//! Reads and checks a configuration file, and reports all problems with file, line and key.
//!
//! Only this module reads the environment, through a function that tests replace.

use std::{
    collections::BTreeMap,
    env, fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use http::Uri;
use toml::de::DeTable;
use witgate_contract::limits;

use super::{
    Auth, AuthMode, Config, Connections, DEFAULT_BODY_LIMIT, DEFAULT_DRAIN, DEFAULT_INSTANCES,
    DEFAULT_LISTEN, DEFAULT_LOG, MIN_POLL, OnError, PluginConfig, Plugins, Problem, Problems,
    Retry,
    problem::did_you_mean,
    table::{Source, Table},
    upstreams,
};
use crate::{ids::PluginId, secret::Secret, telemetry};

/// The keys of each table, as explained in docs/configuration.md. Those of upstreams and routes are
/// in `upstreams`.
pub(super) const TOP: &[&str] = &[
    "listen",
    "log",
    "body_limit",
    "drain",
    "cors_origins",
    "expose_accounts",
    "auth",
    "connections",
    "retry",
    "upstream",
    "route",
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
pub(super) const PLUGINS: &[&str] = &["dir", "poll", "cache", "instances"];
pub(super) const PLUGIN: &[&str] = &["enabled", "on_error", "deadline", "memory", "settings"];

/// The page size of a WebAssembly memory, in bytes.
const PAGE: usize = 64 * 1024;

/// The upper bound of `max_attempts`: far more than useful, but a typing error floods no upstream.
const MAX_ATTEMPTS: u32 = 100;

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a variable of the process's environment. One that is not UTF-8 counts as not set.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
pub(super) fn environment(name: &str) -> Option<String> {
    env::var(name).ok()
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
        drain: DEFAULT_DRAIN,
        cors_origins: Vec::new(),
        expose_accounts: true,
        auth: Auth {
            mode: AuthMode::Auto,
            keys: Vec::new(),
        },
        connections: Connections::default(),
        retry: Retry::default(),
        upstreams: Vec::new(),
        routes: Vec::new(),
        plugins: Plugins {
            dir: folder.join("plugins"),
            poll: None,
            cache: cache_folder(env),
            instances: DEFAULT_INSTANCES,
        },
        plugin: BTreeMap::new(),
        sources: Vec::new(),
    }
}

fn parse(file: &Path, text: &str, env: Env<'_>) -> Result<(Config, Vec<Problem>), Problems> {
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
    let upstreams = upstreams::read(source, top);
    let listen = top.parsed(
        "listen",
        "an address with a port such as `127.0.0.1:8045`",
        address,
    );
    let filter = |text: &str| telemetry::targets(text).is_ok().then(|| text.to_owned());
    let log = top.parsed(
        "log",
        "a filter such as `info` or `warn,witgate=debug`",
        filter,
    );
    let plugins = top.table("plugins", PLUGINS, |table| {
        folder(source, &table, &defaults.plugins)
    });
    let limit = |text: &str| size(text).filter(|size| *size > 0);
    Config {
        listen: listen.unwrap_or(defaults.listen),
        log: log.unwrap_or(defaults.log),
        body_limit: top
            .parsed("body_limit", SIZE, limit)
            .unwrap_or(defaults.body_limit),
        drain: top
            .parsed("drain", DURATION, duration)
            .unwrap_or(defaults.drain),
        cors_origins: origins(source, top),
        expose_accounts: top
            .boolean("expose_accounts")
            .unwrap_or(defaults.expose_accounts),
        auth: top
            .table("auth", AUTH, |table| auth(source, &table))
            .unwrap_or(defaults.auth),
        connections: top
            .table("connections", CONNECTIONS, |table| connections(&table))
            .unwrap_or(defaults.connections),
        retry: top
            .table("retry", RETRY, |table| retry(&table))
            .unwrap_or(defaults.retry),
        routes: upstreams.routes,
        upstreams: upstreams.list,
        plugins: plugins.unwrap_or(defaults.plugins),
        plugin: each_plugin(source, top),
        sources: Vec::new(),
    }
}

const DURATION: &str = "a duration such as `15s`";
const SIZE: &str = "a size such as `32MiB`";

fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

pub(super) fn some_time(text: &str) -> Option<Duration> {
    duration(text).filter(|time| !time.is_zero())
}

fn size(text: &str) -> Option<usize> {
    usize::try_from(text.parse::<ByteSize>().ok()?.as_u64()).ok()
}

/// Replaces `localhost` by `127.0.0.1`, because the name has two addresses and a listener one.
fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::new(
            IpAddr::from([127, 0, 0, 1]),
            port.parse().ok()?,
        )),
        None => text.parse().ok(),
    }
}

fn origins(source: &Source<'_>, top: &Table<'_>) -> Vec<String> {
    let mut origins = Vec::new();
    for text in top.texts("cors_origins").unwrap_or_default() {
        let given = text.value.trim_end_matches('/');
        if is_origin(given) {
            // Browsers send it in lower case.
            origins.push(given.to_ascii_lowercase());
        } else {
            let expected = "an origin such as `https://app.example.com`";
            source.problem(
                text.at,
                &text.key,
                format!("got {}, expected {expected}", text.shown()),
            );
        }
    }
    origins
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    let scheme = !scheme.is_empty()
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-');
    scheme && !authority.contains('/') && text.parse::<Uri>().is_ok_and(|uri| uri.host().is_some())
}

fn auth(source: &Source<'_>, table: &Table<'_>) -> Auth {
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
            Ok(()) => keys.push(Secret::new(text.value)),
            Err(what) => source.problem(text.at, &text.key, what),
        }
    }
    Auth {
        mode: mode.unwrap_or(AuthMode::Auto),
        keys,
    }
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

/// Checks whether a secret is allowed in a header. The error does not contain the secret.
pub(super) fn header_text(secret: &str) -> Result<(), &'static str> {
    if secret.trim().is_empty() {
        Err("got an empty key, expected a key")
    } else if !secret.chars().all(|c| c.is_ascii_graphic()) {
        Err("got a key with spaces or other characters that are not allowed in a header")
    } else {
        Ok(())
    }
}

fn folder(source: &Source<'_>, table: &Table<'_>, defaults: &Plugins) -> Plugins {
    let dir = table.parsed("dir", "a folder", |text| {
        (!text.is_empty()).then(|| source.path(text))
    });
    let poll = |text: &str| duration(text).filter(|poll| *poll >= MIN_POLL);
    Plugins {
        dir: dir.unwrap_or_else(|| defaults.dir.clone()),
        poll: table.parsed("poll", "a duration of at least `10ms`", poll),
        cache: cache(source, table, defaults),
        instances: table
            .number("instances", 1..=limits::INSTANCES)
            .unwrap_or(defaults.instances),
    }
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

fn each_plugin(source: &Source<'_>, top: &Table<'_>) -> BTreeMap<PluginId, PluginConfig> {
    let mut plugins = BTreeMap::new();
    top.named_tables("plugin", PLUGIN, |name, table| {
        let config = plugin(&table);
        match name.get_ref().parse::<PluginId>() {
            Ok(id) => {
                plugins.insert(id, config);
            }
            Err(error) => {
                let spelt = name.get_ref().to_ascii_lowercase().replace('_', "-");
                let near = did_you_mean(name.get_ref(), [spelt.as_str()]);
                source.problem(
                    name.span().start,
                    format!("plugin.{name}"),
                    format!("{error}{near}"),
                );
            }
        }
    });
    plugins
}

fn plugin(table: &Table<'_>) -> PluginConfig {
    let on_error = table.parsed("on_error", "`fail` or `skip`", |text| match text {
        "fail" => Some(OnError::Fail),
        "skip" => Some(OnError::Skip),
        _ => None,
    });
    let pages = |text: &str| size(text).filter(|size| (PAGE..=limits::MEMORY).contains(size));
    PluginConfig {
        enabled: table.boolean("enabled").unwrap_or(true),
        on_error,
        deadline: table.parsed("deadline", "a duration such as `500ms`", some_time),
        memory: table.parsed("memory", "a size from `64KiB` to `1GiB`", pages),
        settings: table.json("settings").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
