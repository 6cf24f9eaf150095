//! Reads the upstreams, their accounts and the routes.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use globset::Glob;
use http::Uri;

use super::{
    Access, Account, AuthStyle, Command, Destination, OAuth2, Route, Upstream,
    load::{header_text, some_time},
    preset::{self, FEATURES, PRESETS, Preset, WITHOUT_PRESET},
    problem::{did_you_mean, nearest},
    table::{Source, Table, Text},
};
use crate::{
    ids::{AccountId, UpstreamId},
    secret::Secret,
};

/// The keys of each table, which docs/configuration.md explains.
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
    "accounts",
];
pub(super) const ACCOUNT: &[&str] = &["name", "key", "command", "ttl", "oauth2"];
pub(super) const OAUTH2: &[&str] = &[
    "token_url",
    "client_id",
    "client_secret",
    "refresh_token",
    "scopes",
];
pub(super) const ROUTE: &[&str] = &["model", "to"];

/// Short enough to pick up a changed key soon, long enough not to run the program per exchange.
const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// The upstreams and routes of a configuration file.
pub(super) struct Upstreams {
    pub(super) list: Vec<Upstream>,
    pub(super) routes: Vec<Route>,
}

pub(super) fn read(source: &Source<'_>, top: &Table<'_>) -> Upstreams {
    // By position in the file, so that one without a name does not shift those after it.
    let mut names: Vec<String> = Vec::new();
    let list = top.tables("upstream", UPSTREAM, |table| {
        let upstream = upstream(source, &table);
        let name = upstream
            .as_ref()
            .map(|upstream| upstream.name.to_string())
            .unwrap_or_default();
        if !name.is_empty() && names.contains(&name) {
            table.problem("name", "an earlier upstream has the same name");
        }
        names.push(name);
        upstream
    });
    let routes = top.tables("route", ROUTE, |table| route(source, &table, &names));
    Upstreams {
        list: list.into_iter().flatten().collect(),
        routes: routes.into_iter().flatten().collect(),
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
    let base_url = base_url(table, preset);
    let models = models(source, table);
    let proxy = table.parsed("proxy", "an http or https URL", |text| {
        is_web_address(text).then(|| text.to_owned())
    });
    let auth = table.parsed(
        "auth",
        "`x-api-key`, `bearer` or `x-goog-api-key`",
        |text| {
            Some(match text {
                "x-api-key" => AuthStyle::XApiKey,
                "bearer" => AuthStyle::Bearer,
                "x-goog-api-key" => AuthStyle::XGoogApiKey,
                _ => return None,
            })
        },
    );
    let (lacks, lacks_beside_others) = lacks(source, table, preset);
    let force_stream = table.boolean("force_stream").unwrap_or(false);
    let ca_file = ca_file(source, table);
    let accounts = accounts(source, table);
    Some(Upstream {
        name: name.filter(|_| named)?,
        base_url,
        dialect: dialect.into(),
        lacks,
        lacks_beside_others,
        models,
        force_stream,
        proxy,
        ca_file,
        auth: auth.unwrap_or(preset.auth),
        accounts,
    })
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

fn base_url(table: &Table<'_>, preset: &Preset) -> String {
    if !table.has("base_url") {
        if preset.base_url.is_none() {
            let what = "missing, expected an http or https URL, or a preset that has one";
            table.problem("base_url", what);
        }
        return preset.base_url.unwrap_or_default().to_owned();
    }
    let url = table.parsed("base_url", "an http or https URL", |text| {
        let plain = !text.contains(['?', '#', '@']);
        (plain && is_web_address(text)).then(|| text.trim_end_matches('/').to_owned())
    });
    url.unwrap_or_default()
}

fn is_web_address(text: &str) -> bool {
    text.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    })
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

/// Reads `lacks`, which replaces all of the preset's and applies to every route.
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
    (
        words.into_iter().map(|text| text.value).collect(),
        BTreeSet::new(),
    )
}

fn ca_file(source: &Source<'_>, table: &Table<'_>) -> Option<PathBuf> {
    let path = source.path(&table.text("ca_file")?.value);
    source.depends_on(path.clone());
    if let Err(error) = fs::read(&path) {
        table.problem(
            "ca_file",
            format!("cannot read `{}`: {error}", path.display()),
        );
    }
    Some(path)
}

fn accounts(source: &Source<'_>, table: &Table<'_>) -> Vec<Account> {
    let mut names = BTreeSet::new();
    let accounts = table.tables("accounts", ACCOUNT, |table| {
        let name = account_name(&table, &mut names);
        let access = access(source, &table);
        Some(Account {
            name: name?,
            access: access?,
        })
    });
    accounts.into_iter().flatten().collect()
}

/// `None` after a problem.
fn access(source: &Source<'_>, table: &Table<'_>) -> Option<Access> {
    let kinds = ["key", "command", "oauth2"];
    let mut given = kinds.into_iter().filter(|kind| table.has(kind));
    let kind = given.next();
    if let (Some(kind), Some(other)) = (kind, given.next()) {
        table.problem(
            other,
            format!("cannot be combined with `{kind}`, expected one of them"),
        );
        return None;
    }
    if table.has("ttl") && kind != Some("command") {
        table.problem("ttl", "can only be combined with `command`");
    }
    match kind {
        Some("command") => command(source, table).map(Access::Command),
        Some("oauth2") => {
            let read = table.table("oauth2", OAUTH2, |table| oauth2(source, &table));
            read.flatten().map(Access::OAuth2)
        }
        Some(_) => key(source, table, "key").map(Access::Key),
        None => {
            let what = "missing, expected `key` (the key, `env:NAME` or `file:PATH`), `command` or \
                        `oauth2`";
            table.problem("key", what);
            None
        }
    }
}

fn key(source: &Source<'_>, table: &Table<'_>, name: &str) -> Option<Secret> {
    let key = table.text(name)?;
    if let Err(what) = header_text(&key.value) {
        source.problem(key.at, &key.key, what);
    }
    Some(Secret::new(key.value))
}

/// Splits the command as a shell does, without expanding anything: no shell runs it. A program with
/// a slash is a path relative to the file.
fn command(source: &Source<'_>, table: &Table<'_>) -> Option<Command> {
    let words = table.parsed("command", "a program and its arguments", |text| {
        shlex::split(text).filter(|words| words.first().is_some_and(|word| !word.is_empty()))
    });
    let expected = "a duration above zero such as `5m`";
    let ttl = table.parsed("ttl", expected, some_time);
    let mut words = words?.into_iter();
    let program = words.next()?;
    let program = match program.contains('/') {
        true => source.path(&program),
        false => PathBuf::from(program),
    };
    Some(Command {
        program,
        arguments: words.collect(),
        ttl: ttl.unwrap_or(DEFAULT_TTL),
    })
}

fn oauth2(source: &Source<'_>, table: &Table<'_>) -> Option<OAuth2> {
    let token_url = table.parsed("token_url", "an http or https URL", |text| {
        is_web_address(text).then(|| text.to_owned())
    });
    let client_id = table.text("client_id");
    let client_secret = table
        .has("client_secret")
        .then(|| key(source, table, "client_secret"));
    let refresh_token = key(source, table, "refresh_token");
    let scopes = table.texts("scopes").unwrap_or_default();
    for (name, expected) in [
        ("token_url", "the URL of the token server"),
        ("client_id", "the client's id at the token server"),
        (
            "refresh_token",
            "a refresh token, or `env:NAME` or `file:PATH`",
        ),
    ] {
        if !table.has(name) {
            table.problem(name, format!("missing, expected {expected}"));
        }
    }
    Some(OAuth2 {
        token_url: token_url?,
        client_id: client_id?.value,
        client_secret: client_secret.flatten(),
        refresh_token: refresh_token?,
        scopes: scopes.into_iter().map(|scope| scope.value).collect(),
    })
}

fn account_name(table: &Table<'_>, names: &mut BTreeSet<AccountId>) -> Option<AccountId> {
    if !table.has("name") {
        table.problem("name", "missing, expected the account's name");
    }
    let text = table.text("name")?;
    let name: Result<AccountId, _> = text.value.parse();
    let name = name
        .map_err(|error| table.problem("name", text.message(error)))
        .ok()?;
    if !names.insert(name.clone()) {
        table.problem("name", "an earlier account has the same name");
    }
    Some(name)
}

fn route(source: &Source<'_>, table: &Table<'_>, names: &[String]) -> Option<Route> {
    let model = table.parsed("model", "a glob such as `claude-*`", |text| {
        let glob = (!text.is_empty()).then(|| Glob::new(text).ok())?;
        Some(glob?.compile_matcher())
    });
    if !table.has("model") {
        table.problem("model", "missing, expected a glob such as `claude-*`");
    }
    if !table.has("to") {
        table.problem("to", "missing, expected an upstream, or `upstream/model`");
    }
    let given = table.one_or_more("to", "upstream")?;
    let to = given
        .iter()
        .filter_map(|text| destination(source, text, names))
        .collect();
    Some(Route { model: model?, to })
}

/// Splits at the first slash, because a model's name may contain one and an upstream's may not.
fn destination(source: &Source<'_>, text: &Text, names: &[String]) -> Option<Destination> {
    let (name, model) = match text.value.split_once('/') {
        Some((name, model)) => (name, Some(model.to_owned())),
        None => (text.value.as_str(), None),
    };
    if model.as_ref().is_some_and(String::is_empty) {
        let what = format!("got {}, expected a model after the slash", text.shown());
        source.problem(text.at, &text.key, what);
    }
    let upstream = names
        .iter()
        .position(|known| known == name && !name.is_empty());
    if upstream.is_none() {
        let near = did_you_mean(
            name,
            names.iter().map(String::as_str).filter(|n| !n.is_empty()),
        );
        let what = text.message(format!("no upstream is named `{name}`{near}"));
        source.problem(text.at, &text.key, what);
    }
    Some(Destination {
        upstream: upstream?,
        model,
    })
}
