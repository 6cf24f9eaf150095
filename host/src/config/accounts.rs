//! Reads the accounts of an upstream and where their credentials come from.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::{
    Access, Account, Command, OAuth2,
    table::{Source, Table},
    value::{header_text, is_web_address, reference_of_others, some_time},
};
use crate::{ids::AccountId, secret::Secret};

/// The keys of each table, which docs/configuration.md explains.
pub(super) const ACCOUNT: &[&str] = &["name", "organization", "key", "command", "ttl", "oauth2"];
pub(super) const OAUTH2: &[&str] = &[
    "token_url",
    "client_id",
    "client_secret",
    "refresh_token",
    "scopes",
];

/// Short enough to pick up a changed key soon, long enough not to run the program per exchange.
const DEFAULT_TTL: Duration = Duration::from_secs(300);

pub(super) fn accounts(source: &Source<'_>, table: &Table<'_>) -> Vec<Account> {
    let mut names = BTreeSet::new();
    let mut accesses = Vec::new();
    let accounts = table.tables("accounts", ACCOUNT, |table| {
        let name = account_name(&table, &mut names);
        let access = access(source, &table);
        let organization = table.parsed("organization", "a name", |text| {
            (!text.trim().is_empty()).then(|| text.into())
        });
        if let Some(access) = &access {
            if accesses.contains(access) {
                let what = "an earlier account has the same credential, so both share its limits";
                table.warning("name", what);
            }
            accesses.push(access.clone());
        }
        Some(Account {
            name: name?,
            organization,
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
    } else if let Some(what) = reference_of_others(&key) {
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
