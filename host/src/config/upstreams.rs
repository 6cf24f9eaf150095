//! Reads the upstreams, their accounts and the routes.

use std::{collections::BTreeSet, net::SocketAddr};

use sha2::{Digest, Sha256};

use super::{
    AuthStyle, Route, Upstream,
    accounts::accounts,
    endpoint::{base_url, ca_file, extra, header_name, proxy},
    preset::{self, FEATURES, NEW_FEATURES, PRESETS, Preset, WITHOUT_PRESET},
    problem::{did_you_mean, nearest},
    routes::{self, Named},
    table::{Source, Table, Text},
    value::{is_loopback_name, some_time, web_host},
};
use crate::ids::UpstreamId;

/// The keys of the table, which docs/configuration.md explains.
pub(super) const UPSTREAM: &[&str] = &[
    "name",
    "preset",
    "base_url",
    "dialect",
    "lacks",
    "models",
    "force_stream",
    "proxy",
    "ca_file",
    "auth",
    "headers",
    "query",
    "extra_body",
    "images",
    "first_event",
    "idle",
    "accounts",
];

/// The feature that `images = false` says is missing.
const IMAGES: &str = "images";

/// The upstreams and routes of a configuration file.
pub(super) struct Upstreams {
    pub(super) list: Vec<Upstream>,
    pub(super) routes: Vec<Route>,
}

pub(super) fn read(source: &Source<'_>, top: &Table<'_>, listen: SocketAddr) -> Upstreams {
    // By position in the file, so that one without a name does not shift those after it.
    let mut named: Vec<Named> = Vec::new();
    let list = top.tables("upstream", UPSTREAM, |table| {
        let upstream = upstream(source, &table);
        let name = upstream
            .as_ref()
            .map(|upstream| upstream.name.to_string())
            .unwrap_or_default();
        if !name.is_empty() && named.iter().any(|earlier| earlier.name == name) {
            table.problem("name", "an earlier upstream has the same name");
        }
        if let Some(upstream) = &upstream {
            warn_of_address(&table, upstream, listen);
        }
        let has_accounts = upstream.as_ref().is_some_and(|of| !of.accounts.is_empty());
        named.push(Named { name, has_accounts });
        upstream.map(|upstream| (upstream, table.at()))
    });
    let routes = routes::read(source, top, &named);
    let list: Vec<(Upstream, usize)> = list.into_iter().flatten().collect();
    // Their places are only right if every upstream could be read.
    if list.len() == named.len() {
        routes::warn_of_unused(source, &list, &routes);
    }
    Upstreams {
        list: list.into_iter().map(|(upstream, _)| upstream).collect(),
        routes,
    }
}

/// Warns of an address that cannot work: the gateway's own, or one without the version that
/// servers of its dialect expect.
fn warn_of_address(table: &Table<'_>, upstream: &Upstream, listen: SocketAddr) {
    let Some((host, port)) = web_host(&upstream.base_url.url) else {
        return;
    };
    let is_local = is_loopback_name(&host);
    let is_own = port == listen.port() && (is_local || host == listen.ip().to_string());
    if is_own && port != 0 {
        let what = format!(
            "this is the address that the gateway listens on, `{listen}`: it would send its \
             requests to itself"
        );
        table.warning("base_url", what);
    }
    let url = &upstream.base_url.url;
    let has_path = url
        .split_once("://")
        .is_some_and(|(_, rest)| rest.contains('/'));
    if is_local && !has_path && preset::has_version_in_path(&upstream.dialect) {
        let what = "has no path; servers of this dialect mostly expect `/v1` at the end";
        table.warning("base_url", what);
    }
}

/// `None` without a valid name. That is a problem, so the result is not used.
fn upstream(source: &Source<'_>, table: &Table<'_>) -> Option<Upstream> {
    let known = match table.has("preset") {
        true => table
            .text("preset")
            .and_then(|text| find_preset(source, &text)),
        false => preset::find(WITHOUT_PRESET),
    };
    let named = known.is_some() || table.has("name");
    // An unknown preset is a problem already; any complete one lets reading go on.
    let preset = known.or_else(|| PRESETS.first())?;
    let name = name(table, preset);
    let dialect = table.parsed("dialect", "the name of a dialect", |text| {
        (!text.is_empty()).then(|| text.to_owned())
    });
    let dialect = dialect.unwrap_or_else(|| preset.dialect.to_owned());
    let (base_url, parameters) = base_url(source, table, preset);
    let extra = extra(source, table, parameters);
    let models = models(source, table);
    let proxy = proxy(table);
    let auth = auth(table);
    let (mut lacks, lacks_beside_others) = lacks(source, table, preset);
    match table.boolean("images") {
        Some(false) => drop(lacks.insert(IMAGES.to_owned())),
        Some(true) => drop(lacks.remove(IMAGES)),
        None => {}
    }
    let limit = |name| table.parsed(name, "a duration above zero such as `90s`", some_time);
    let (first_event, idle) = (limit("first_event"), limit("idle"));
    let force_stream = table.boolean("force_stream").unwrap_or(false);
    let ca_file = ca_file(source, table);
    let accounts = accounts(source, table);
    let mut upstream = Upstream {
        name: name.filter(|_| named)?,
        base_url,
        dialect: dialect.as_str().into(),
        lacks,
        lacks_beside_others,
        models,
        force_stream,
        proxy,
        ca_file,
        auth: auth.unwrap_or_else(|| preset.auth.clone()),
        extra,
        listed_in: preset.listed_in.filter(|_| dialect == preset.dialect),
        first_event,
        idle,
        version: 0,
        accounts,
    };
    upstream.version = version(&upstream);
    Some(upstream)
}

/// A digest of what decides where and how requests are sent. Accounts do not count: they come and
/// go without a change of the server. Values of headers may be secrets, so only their digest, cut
/// to 64 bits together with all else, leaves the configuration.
fn version(upstream: &Upstream) -> u64 {
    let extra = &upstream.extra;
    let headers = extra.headers.iter();
    let headers: Vec<(&str, &[u8])> = headers
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let decisive = format!(
        "{:?}",
        (
            &upstream.base_url.url,
            &upstream.dialect,
            (&upstream.lacks, &upstream.lacks_beside_others),
            (upstream.force_stream, &upstream.proxy, &upstream.auth),
            (headers, &extra.query, &extra.body),
        )
    );
    let digest = Sha256::digest(decisive);
    let first = digest.first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(first)
}

/// Reads `auth`: the name of a header, or a table with the name of any other.
fn auth(table: &Table<'_>) -> Option<AuthStyle> {
    if table.has_table("auth") {
        return table.table("auth", &["header"], |table| own_header(&table))?;
    }
    let expected = "`x-api-key`, `bearer`, `x-goog-api-key` or `{ header = \"...\" }`";
    table.parsed("auth", expected, |text| {
        Some(match text {
            "x-api-key" => AuthStyle::XApiKey,
            "bearer" => AuthStyle::Bearer,
            "x-goog-api-key" => AuthStyle::XGoogApiKey,
            _ => return None,
        })
    })
}

fn own_header(table: &Table<'_>) -> Option<AuthStyle> {
    if !table.has("header") {
        table.problem("header", "missing, expected the name of a header");
    }
    let name = header_name(&table.text("header")?.value);
    name.map_err(|what| table.problem("header", what))
        .map(AuthStyle::Header)
        .ok()
}

fn find_preset(source: &Source<'_>, text: &Text) -> Option<&'static Preset> {
    let found = preset::find(&text.value);
    if found.is_none() {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        let near = did_you_mean(&text.value, names.iter().copied());
        let what = format!(
            "got {}, expected one of {}{near}",
            text.shown(),
            names.join(", ")
        );
        source.problem(text.at, &text.key, what);
    }
    found
}

/// The name defaults to that of the preset.
fn name(table: &Table<'_>, preset: &Preset) -> Option<UpstreamId> {
    if !table.has("name") && table.has("preset") {
        return preset.name.parse().ok();
    }
    let Some(text) = table.text("name") else {
        if !table.has("name") {
            table.problem(
                "name",
                "missing, expected a name, or a preset that gives it one",
            );
        }
        return None;
    };
    text.value
        .parse()
        .map_err(|error| table.problem("name", text.message(error)))
        .ok()
}

fn models(source: &Source<'_>, table: &Table<'_>) -> Vec<String> {
    let mut models = Vec::new();
    for text in table.texts("models").unwrap_or_default() {
        if text.value.is_empty() {
            source.problem(
                text.at,
                &text.key,
                "got an empty string, expected a model's name",
            );
        }
        models.push(text.value);
    }
    models
}

/// Reads `lacks`, which replaces all of the preset's but [`NEW_FEATURES`] and applies to every
/// route.
fn lacks(
    source: &Source<'_>,
    table: &Table<'_>,
    preset: &Preset,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let Some(words) = table.texts("lacks") else {
        return (owned(preset.lacks), owned(preset.lacks_beside_others));
    };
    for text in &words {
        // Any word is allowed, since plugins may check for any. One that is similar to a known
        // word is probably a typing error.
        let near = nearest(&text.value, FEATURES.iter().copied());
        if let Some(near) = near.filter(|near| *near != text.value) {
            let what = format!(
                "no default plugin knows {}, did you mean `{near}`?",
                text.shown()
            );
            source.warning(text.at, &text.key, what);
        }
    }
    // A list of what is known to be missing does not say that nothing else is.
    let unlisted = preset.lacks.iter().filter(|word| **word == NEW_FEATURES);
    let words = words.into_iter().map(|text| text.value);
    let all = words.chain(unlisted.map(|word| (*word).to_owned()));
    (all.collect(), BTreeSet::new())
}
