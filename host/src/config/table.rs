//! TOML tables with positions: reading goes on after a problem, so that all of them are reported.
//!
//! A table is opened with the list of its keys, so that an unknown key is a problem. A string may
//! be a reference (`env:NAME`, `file:PATH`) instead of the value itself.

use std::{
    cell::RefCell,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::problem::{Problem, Problems, did_you_mean};

/// Keys of earlier versions, with the present name of each.
const RENAMED: &[(&str, &str)] = &[
    ("retry.patience", "max_cooldown_wait"),
    ("retry.short_wait", "same_account_wait"),
    ("retry.credential_rest", "credential_cooldown"),
];

/// Keys that other programs use, by table, with the key that has that meaning here.
#[rustfmt::skip]
const SYNONYMS: &[(&str, &[&str], &str)] = &[
    ("", &["address", "bind", "host", "port"], "listen"),
    ("", &["log_level", "level", "loglevel"], "log"),
    ("", &["providers", "models", "servers"], "[[upstream]]"),
    ("auth", &["api_key", "api_keys", "token", "tokens", "password"], "keys"),
    ("upstream", &["url", "uri", "endpoint", "address", "api_base", "api_base_url", "api_url"], "base_url"),
    ("upstream", &["key", "api_key", "apikey", "token", "keys", "api_keys", "auth_token"], "accounts = [{ name = \"...\", key = \"...\" }]"),
    ("upstream", &["type", "provider", "kind"], "preset"),
    ("upstream", &["protocol", "format", "api"], "dialect"),
    ("upstream", &["body", "extra", "extra_params", "params"], "extra_body"),
    ("upstream", &["timeout"], "first_event"),
    ("upstream", &["extra_headers", "header"], "headers"),
    ("upstream.accounts", &["api_key", "apikey", "token", "secret", "value"], "key"),
    ("upstream.accounts", &["id", "email", "user"], "name"),
    ("upstream.accounts", &["cmd", "helper", "api_key_helper", "exec"], "command"),
    ("route", &["match", "pattern", "from", "glob"], "model"),
    ("route", &["upstream", "upstreams", "target", "targets", "provider"], "to"),
    ("passthrough", &["open", "allow", "paths"], "routes"),
    ("plugins", &["path", "folder", "directory"], "dir"),
    ("retry", &["retries", "max_retries"], "max_attempts"),
    ("retry", &["timeout"], "first_event"),
];

/// The key of this table that another program calls `name`.
fn synonym(table: &str, name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let mut known = SYNONYMS.iter().filter(|(of, ..)| *of == table);
    known
        .find(|(_, names, _)| names.contains(&name.as_str()))
        .map(|(.., key)| *key)
}

/// The text of a configuration file, with the problems found so far.
pub(super) struct Source<'a> {
    file: String,
    text: &'a str,
    /// The folder that relative paths start from.
    folder: &'a Path,
    env: &'a dyn Fn(&str) -> Option<String>,
    found: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    files: Vec<PathBuf>,
}

/// One table of a [`Source`].
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    source: &'a Source<'a>,
    entries: &'a DeTable<'a>,
    path: &'a str,
    at: usize,
}

/// A string value with its position. A value from a reference is never shown.
pub(super) struct Text {
    pub(super) value: String,
    pub(super) key: String,
    pub(super) at: usize,
    /// The reference that the value was read from.
    from: Option<String>,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        file: &Path,
        text: &'a str,
        folder: &'a Path,
        env: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        Self {
            file: file.display().to_string(),
            text,
            folder,
            env,
            found: RefCell::default(),
        }
    }

    /// Records a problem at a position in the text.
    pub(super) fn problem(&self, at: usize, key: impl Display, what: impl Display) {
        let problem = self.place(at, key, what);
        self.found.borrow_mut().problems.push(problem);
    }

    /// Records a warning, with which the configuration is still valid.
    pub(super) fn warning(&self, at: usize, key: impl Display, what: impl Display) {
        let warning = self.place(at, key, what);
        self.found.borrow_mut().warnings.push(warning);
    }

    /// Resolves a path relative to the folder of the file.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// Records that the configuration depends on this file.
    pub(super) fn depends_on(&self, file: PathBuf) {
        self.found.borrow_mut().files.push(file);
    }

    /// Returns the warnings and the files, or the problems if there are any.
    pub(super) fn finish(&self) -> Result<(Vec<Problem>, Vec<PathBuf>), Problems> {
        let mut found = self.found.take();
        if found.problems.is_empty() {
            found.warnings.sort_by_key(|warning| warning.line);
            return Ok((found.warnings, found.files));
        }
        found.problems.sort_by_key(|problem| problem.line);
        Err(Problems(found.problems))
    }

    fn place(&self, at: usize, key: impl Display, what: impl Display) -> Problem {
        let before = self.text.as_bytes().iter().take(at);
        Problem {
            file: self.file.clone(),
            line: 1 + before.filter(|byte| **byte == b'\n').count(),
            key: key.to_string(),
            what: what.to_string(),
        }
    }

    /// Resolves a string: itself, or the value that it refers to. `None` after a problem.
    fn resolve(&self, text: &str, key: String, at: usize) -> Option<Text> {
        let read = if let Some(name) = text.strip_prefix("env:") {
            self.read_variable(name)
        } else if let Some(path) = text.strip_prefix("file:") {
            self.read_file(path)
        } else {
            return Some(Text {
                value: text.to_owned(),
                key,
                at,
                from: None,
            });
        };
        match read {
            Ok(value) => Some(Text {
                value,
                key,
                at,
                from: Some(text.to_owned()),
            }),
            Err(what) => {
                self.problem(at, key, what);
                None
            }
        }
    }

    fn read_variable(&self, name: &str) -> Result<String, String> {
        match (self.env)(name) {
            None => Err(format!("the environment variable `{name}` is not set")),
            Some(value) if value.trim().is_empty() => {
                Err(format!("the environment variable `{name}` is empty"))
            }
            Some(value) => Ok(value.trim().to_owned()),
        }
    }

    fn read_file(&self, path: &str) -> Result<String, String> {
        let path = self.path(path);
        self.depends_on(path.clone());
        match fs::read_to_string(&path) {
            Err(error) => Err(format!("cannot read `{}`: {error}", path.display())),
            Ok(text) if text.trim().is_empty() => Err(format!("`{}` is empty", path.display())),
            Ok(text) => Ok(text.trim().to_owned()),
        }
    }
}

impl Text {
    /// The reference that the value was read from, such as `env:NAME`.
    pub(super) fn reference(&self) -> Option<&str> {
        self.from.as_deref()
    }

    /// The text for a message. Values from the environment or from files are not shown.
    pub(super) fn shown(&self) -> String {
        match &self.from {
            Some(reference) => format!("the value of `{reference}`"),
            // A URL may contain a password.
            None if self.value.contains('@') => "a value with `@`".to_owned(),
            None => format!("\"{}\"", self.value),
        }
    }

    /// Returns this message, which repeats the text, unless the text must not be shown.
    pub(super) fn message(&self, inline: impl Display) -> String {
        match &self.from {
            Some(_) => format!("{} is not valid here", self.shown()),
            None => inline.to_string(),
        }
    }
}

impl<'a> Table<'a> {
    /// Opens a table. A key that is not in `keys` is a problem.
    pub(super) fn open(
        source: &'a Source<'a>,
        entries: &'a DeTable<'a>,
        path: &'a str,
        at: usize,
        keys: &[&str],
    ) -> Self {
        let table = Self {
            source,
            entries,
            path,
            at,
        };
        for key in entries.keys() {
            let name: &str = key.get_ref();
            if !keys.contains(&name) {
                let path = table.key(name);
                let renamed = RENAMED.iter().find(|(old, _)| *old == path);
                let meant = || {
                    let meant = synonym(&table.without_places(), name);
                    meant.map(|meant| format!(", did you mean `{meant}`?"))
                };
                let what = match renamed {
                    Some((_, new)) => format!("`{name}` was renamed to `{new}`"),
                    None => {
                        let near = did_you_mean(name, keys.iter().copied());
                        let near = Some(near).filter(|near| !near.is_empty()).or_else(meant);
                        format!("unknown key{}", near.unwrap_or_default())
                    }
                };
                source.problem(key.span().start, path, what);
            }
        }
        table
    }

    /// Records a problem with a value of this table, or with the table if the value is missing.
    pub(super) fn problem(&self, name: &str, what: impl Display) {
        let at = self.value(name).map_or(self.at, |value| value.span().start);
        self.source.problem(at, self.key(name), what);
    }

    /// Records a warning about a value of this table, or about the table if the value is missing.
    pub(super) fn warning(&self, name: &str, what: impl Display) {
        let at = self.value(name).map_or(self.at, |value| value.span().start);
        self.source.warning(at, self.key(name), what);
    }

    /// The table's position in the text.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The path of the table without the places in lists: `upstream.accounts`.
    fn without_places(&self) -> String {
        let parts = self.path.split('.');
        let parts = parts.map(|part| part.split('[').next().unwrap_or_default());
        parts.collect::<Vec<_>>().join(".")
    }

    pub(super) fn has_table(&self, name: &str) -> bool {
        self.value(name)
            .is_some_and(|value| value.get_ref().is_table())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        let value = self.value(name)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.wrong_type(value, self.key(name), "`true` or `false`");
        }
        found
    }

    /// Reads a boolean, or a string as `Err`.
    pub(super) fn boolean_or_text(&self, name: &str, expected: &str) -> Option<Result<bool, Text>> {
        let value = self.value(name)?;
        match value.get_ref().as_bool() {
            Some(found) => Some(Ok(found)),
            None => self.string(value, self.key(name), expected).map(Err),
        }
    }

    /// Reads an integer within a range.
    pub(super) fn number(&self, name: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let value = self.value(name)?;
        let (low, high) = (range.start(), range.end());
        let expected = format!("a whole number from {low} to {high}");
        let DeValue::Integer(digits) = value.get_ref() else {
            self.wrong_type(value, self.key(name), &expected);
            return None;
        };
        let number = u32::from_str_radix(digits.as_str(), digits.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.problem(name, format!("got {digits}, expected {expected}"));
        }
        number
    }

    /// Reads a string and resolves its reference.
    pub(super) fn text(&self, name: &str) -> Option<Text> {
        self.string(self.value(name)?, self.key(name), "a string")
    }

    /// Reads a string and parses it. `None` from `parse` is a problem.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.string(self.value(name)?, self.key(name), expected)?;
        let parsed = parse(&text.value);
        if parsed.is_none() {
            self.problem(name, format!("got {}, expected {expected}", text.shown()));
        }
        parsed
    }

    /// Reads a list of strings. Other values are problems and left out.
    pub(super) fn texts(&self, name: &str) -> Option<Vec<Text>> {
        let value = self.value(name)?;
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(value, self.key(name), "a list of strings");
            return None;
        };
        Some(self.strings(name, items))
    }

    /// Reads a string, or a list of at least one.
    pub(super) fn one_or_more(&self, name: &str, one: &str) -> Option<Vec<Text>> {
        let value = self.value(name)?;
        match value.get_ref() {
            DeValue::Array(items) => {
                if items.is_empty() {
                    self.problem(
                        name,
                        format!("got an empty list, expected at least one {one}"),
                    );
                }
                Some(self.strings(name, items))
            }
            _ => {
                let text = self.string(value, self.key(name), "a string or a list of strings")?;
                Some(vec![text])
            }
        }
    }

    /// Reads a table of strings with any names. Other values are problems and left out.
    pub(super) fn named_texts(&self, name: &str) -> Option<Vec<(String, Text)>> {
        let value = self.value(name)?;
        let Some(entries) = value.get_ref().as_table() else {
            self.wrong_type(value, self.key(name), "a table of strings");
            return None;
        };
        let texts = entries.iter().filter_map(|(key, item)| {
            let path = format!("{}.{key}", self.key(name));
            Some((key.to_string(), self.string(item, path, "a string")?))
        });
        Some(texts.collect())
    }

    /// Calls `read` with the table of this name, if there is one.
    pub(super) fn table<T>(
        &self,
        name: &str,
        keys: &[&str],
        read: impl FnOnce(Table<'_>) -> T,
    ) -> Option<T> {
        let value = self.value(name)?;
        let path = self.key(name);
        let Some(entries) = value.get_ref().as_table() else {
            self.wrong_type(value, path, "a table");
            return None;
        };
        Some(read(Table::open(
            self.source,
            entries,
            &path,
            value.span().start,
            keys,
        )))
    }

    /// Calls `read` with each table of a list of tables.
    pub(super) fn tables<T>(
        &self,
        name: &str,
        keys: &[&str],
        mut read: impl FnMut(Table<'_>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.value(name) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            let expected = if self.path.is_empty() {
                format!("a list of tables, each under `[[{name}]]`")
            } else {
                "a list of tables".to_owned()
            };
            self.wrong_type(value, self.key(name), &expected);
            return Vec::new();
        };
        let mut results = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", self.key(name));
            match item.get_ref().as_table() {
                Some(entries) => {
                    let at = item.span().start;
                    results.push(read(Table::open(self.source, entries, &path, at, keys)));
                }
                None => self.wrong_type(item, path, "a table"),
            }
        }
        results
    }

    /// Calls `read` with the name and content of each table in a table.
    pub(super) fn named_tables(
        &self,
        name: &str,
        keys: &[&str],
        mut read: impl FnMut(&Spanned<std::borrow::Cow<'_, str>>, Table<'_>),
    ) {
        let Some(value) = self.value(name) else {
            return;
        };
        let Some(entries) = value.get_ref().as_table() else {
            self.wrong_type(value, self.key(name), "a table");
            return;
        };
        for (key, item) in entries {
            let path = format!("{}.{key}", self.key(name));
            match item.get_ref().as_table() {
                Some(entries) => {
                    let at = key.span().start;
                    read(key, Table::open(self.source, entries, &path, at, keys));
                }
                None => self.wrong_type(item, path, "a table"),
            }
        }
    }

    /// Reads a table with any keys as JSON and resolves its references.
    pub(super) fn json(&self, name: &str) -> Option<Map<String, Value>> {
        let value = self.value(name)?;
        let Some(entries) = value.get_ref().as_table() else {
            self.wrong_type(value, self.key(name), "a table");
            return None;
        };
        Some(self.json_table(entries, &self.key(name)))
    }

    /// Reads a table with any keys as JSON, or a string with a JSON object: TOML has no `null`.
    pub(super) fn json_object(&self, name: &str) -> Option<Map<String, Value>> {
        let value = self.value(name)?;
        if !value.get_ref().is_str() {
            return self.json(name);
        }
        let expected = "a table, or a JSON object as a string";
        self.parsed(name, expected, |text| serde_json::from_str(text).ok())
    }

    fn json_table(&self, entries: &DeTable<'_>, path: &str) -> Map<String, Value> {
        let member = |(key, value): (&Spanned<_>, _)| {
            Some((
                key.to_string(),
                self.json_value(value, format!("{path}.{key}"))?,
            ))
        };
        entries.iter().filter_map(member).collect()
    }

    /// `None` after a problem.
    fn json_value(&self, value: &Spanned<DeValue<'_>>, path: String) -> Option<Value> {
        let at = value.span().start;
        match value.get_ref() {
            DeValue::String(text) => self
                .source
                .resolve(text, path, at)
                .map(|text| Value::String(text.value)),
            DeValue::Boolean(value) => Some(Value::Bool(*value)),
            DeValue::Datetime(when) => Some(Value::String(when.to_string())),
            DeValue::Integer(digits) => {
                let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok();
                if number.is_none() {
                    self.source.problem(
                        at,
                        path,
                        format!("got {digits}, expected a 64-bit integer"),
                    );
                }
                number.map(|number| Value::Number(number.into()))
            }
            DeValue::Float(text) => {
                let number = text.as_str().parse().ok().and_then(Number::from_f64);
                if number.is_none() {
                    self.source.problem(
                        at,
                        path,
                        format!("got {text}, expected a number that JSON can represent"),
                    );
                }
                number.map(Value::Number)
            }
            DeValue::Array(items) => {
                let item = |(index, item)| self.json_value(item, format!("{path}[{index}]"));
                Some(Value::Array(
                    items.iter().enumerate().filter_map(item).collect(),
                ))
            }
            DeValue::Table(entries) => Some(Value::Object(self.json_table(entries, &path))),
        }
    }

    fn strings(&self, name: &str, items: &[Spanned<DeValue<'_>>]) -> Vec<Text> {
        let path = self.key(name);
        let string = |(index, item)| self.string(item, format!("{path}[{index}]"), "a string");
        items.iter().enumerate().filter_map(string).collect()
    }

    fn string(&self, value: &Spanned<DeValue<'_>>, key: String, expected: &str) -> Option<Text> {
        match value.get_ref() {
            DeValue::String(text) => self.source.resolve(text, key, value.span().start),
            _ => {
                self.wrong_type(value, key, expected);
                None
            }
        }
    }

    fn wrong_type(&self, value: &Spanned<DeValue<'_>>, key: String, expected: &str) {
        let kind = value.get_ref().type_str();
        let article = if matches!(kind, "integer" | "array") {
            "an"
        } else {
            "a"
        };
        let what = format!("got {article} {kind}, expected {expected}");
        self.source.problem(value.span().start, key, what);
    }

    fn value(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.entries.get(name)
    }

    fn key(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }
}
