//! The format of case folders: which files a case has itself, and which it takes from the defaults
//! beside it. docs/cases.md describes the files.
//!
//! The gateway's own tests include this file, so both read the same format.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

/// Every file that a case may have, without those of further attempts.
pub(crate) const FILES: [&str; 19] = [
    "request.json",
    "request.merge.json",
    "request.headers.txt",
    "kind.txt",
    "target.txt",
    "sent.json",
    "sent.merge.json",
    "sent.txt",
    "upstream.sse",
    "upstream.json",
    "upstream.http",
    "reply.sse",
    "reply.json",
    "status.txt",
    "headers.txt",
    "notes.txt",
    "settings.json",
    "foreign.txt",
    "ignored.txt",
];

/// What a case may have of each further attempt, with its number: `upstream.2.http`.
const OF_ATTEMPT: [&str; 5] = [
    "upstream.N.sse",
    "upstream.N.json",
    "upstream.N.http",
    "sent.N.json",
    "sent.N.txt",
];

/// The most attempts of a case.
const ATTEMPTS: u32 = 5;

/// The content of `sent.txt` if the gateway answers without asking the upstream.
pub(crate) const NOTHING: &str = "nothing";

/// The folder with the defaults.
pub(crate) const DEFAULT: &str = "_default";

/// JSON is broken into lines where it would exceed this many columns.
const WIDTH: usize = 120;

/// A case folder.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) folder: PathBuf,
}

/// What the upstream answers.
pub(crate) struct Scripted {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Every case in a folder of cases, in order.
pub(crate) fn all(cases: &Path) -> io::Result<Vec<Case>> {
    let cases = folders(cases)?.into_iter().map(|folder| Case { folder });
    Ok(cases.filter(|case| case.name() != DEFAULT).collect())
}

/// The folders in a folder, in order.
pub(crate) fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

impl Case {
    pub(crate) fn name(&self) -> &str {
        name(&self.folder)
    }

    /// The text of a file: the case's own, its merge patch applied to the default, or the default.
    pub(crate) fn text(&self, file: &str) -> Result<Option<String>, String> {
        if let Some(own) = self.own(file) {
            return Ok(Some(own));
        }
        match file {
            "request.json" => self.patched("request"),
            "sent.json" if self.asks() => self.patched("sent"),
            "upstream.sse" if self.asks() && !self.has_own("upstream") => Ok(self.default(file)),
            "reply.sse" if !self.has_own("reply") => Ok(self.default(file)),
            "sent.txt" | "target.txt" | "settings.json" | "request.headers.txt" => {
                Ok(self.default(file))
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn json(&self, file: &str) -> Result<Option<Value>, String> {
        let text = self.text(file)?;
        text.map(|text| self.parse(file, &text)).transpose()
    }

    /// Whether the upstream is asked at all.
    pub(crate) fn asks(&self) -> bool {
        self.own("sent.txt")
            .is_none_or(|path| path.trim() != NOTHING)
    }

    pub(crate) fn own(&self, file: &str) -> Option<String> {
        read(&self.folder, file)
    }

    pub(crate) fn default(&self, file: &str) -> Option<String> {
        read(&self.folder.parent()?.join(DEFAULT), file)
    }

    /// The upstream's answers, one for each attempt.
    pub(crate) fn answers(&self) -> Result<Vec<Scripted>, String> {
        let mut answers = Vec::new();
        for attempt in 1..=ATTEMPTS {
            match self.answer(attempt)? {
                Some(answer) => answers.push(answer),
                None => break,
            }
        }
        Ok(answers)
    }

    fn answer(&self, attempt: u32) -> Result<Option<Scripted>, String> {
        let name = |extension: &str| match attempt {
            1 => format!("upstream.{extension}"),
            attempt => format!("upstream.{attempt}.{extension}"),
        };
        for (extension, kind) in [("sse", "text/event-stream"), ("json", "application/json")] {
            if let Some(body) = self.text(&name(extension))? {
                return Ok(Some(Scripted {
                    status: 200,
                    headers: vec![("content-type".to_owned(), kind.to_owned())],
                    body: body.into_bytes(),
                }));
            }
        }
        let file = name("http");
        let whole = self.text(&file)?;
        let parsed = whole.map(|whole| {
            response(&whole).ok_or_else(|| {
                let what = "expected a status line, headers, an empty line and a body";
                self.wrong(&file, &what)
            })
        });
        parsed.transpose()
    }

    /// What an attempt after the first is expected to send: path and body. Without files of its own
    /// it is the same as in the first.
    pub(crate) fn sent_again(
        &self,
        attempt: usize,
    ) -> Result<(Option<String>, Option<Value>), String> {
        let path = self.own(&format!("sent.{attempt}.txt"));
        let file = format!("sent.{attempt}.json");
        let body = self.own(&file).map(|text| self.parse(&file, &text));
        let path = match path {
            None => self.text("sent.txt")?,
            path => path,
        };
        let body = match body {
            None => self.json("sent.json")?,
            Some(body) => Some(body?),
        };
        Ok((path, body))
    }

    /// Writes a file. A file that says the same as the default is removed.
    pub(crate) fn write(&self, file: &str, text: Option<&str>) -> Result<(), String> {
        let text = text.filter(|text| self.default(file).as_deref() != Some(text));
        let path = self.folder.join(file);
        let done = match text {
            Some(text) => fs::write(path, text),
            None if self.own(file).is_some() => fs::remove_file(path),
            None => Ok(()),
        };
        done.map_err(|error| self.wrong(file, &error))
    }

    /// Writes `sent.json` in the shortest form: the default, a merge patch, or whole.
    pub(crate) fn write_sent(&self, sent: &Value) -> Result<(), String> {
        let default: Option<Value> = self
            .default("sent.json")
            .and_then(|text| serde_json::from_str(&text).ok());
        let whole = pretty(sent);
        let patch = default.as_ref().and_then(|default| {
            let patch = difference(default, sent);
            let text = pretty(&patch);
            let mut merged = default.clone();
            merge(&mut merged, patch);
            (merged == *sent && text.lines().count() < whole.lines().count()).then_some(text)
        });
        let is_default = default.as_ref() == Some(sent);
        let (whole, patch) = match patch {
            _ if is_default => (None, None),
            Some(patch) => (None, Some(patch)),
            None => (Some(whole), None),
        };
        self.write("sent.json", whole.as_deref())?;
        self.write("sent.merge.json", patch.as_deref())
    }

    /// Problems with the files of a case, independent of its result.
    pub(crate) fn flaws(&self) -> Vec<String> {
        let mut flaws = Vec::new();
        for file in files(&self.folder) {
            if !is_known(&file) {
                flaws.push(format!("{file}: unknown file"));
            }
            if self.own(&file).is_some() && self.own(&file) == self.default(&file) {
                flaws.push(format!("{file}: the default says the same, so remove it"));
            }
        }
        for stem in ["request", "sent", "upstream", "reply"] {
            let own = self.own_of(stem);
            if own.len() > 1 {
                flaws.push(format!("{own:?}: only one of these files is used"));
            }
        }
        let ignored = self.own("ignored.txt");
        if ignored.is_some_and(|reason| reason.trim().is_empty()) {
            flaws.push("ignored.txt: no reason is given".to_owned());
        }
        flaws
    }

    fn has_own(&self, stem: &str) -> bool {
        !self.own_of(stem).is_empty()
    }

    /// The alternatives for a part of the case that exist in its folder.
    fn own_of(&self, stem: &str) -> Vec<&'static str> {
        let alternative = |file: &&str| {
            file.starts_with(stem) && !matches!(*file, "sent.txt" | "request.headers.txt")
        };
        let files = FILES.into_iter().filter(alternative);
        files.filter(|file| self.own(file).is_some()).collect()
    }

    fn patched(&self, stem: &str) -> Result<Option<String>, String> {
        let file = format!("{stem}.json");
        let Some(default) = self.default(&file) else {
            return Ok(None);
        };
        let Some(patch) = self.json(&format!("{stem}.merge.json"))? else {
            return Ok(Some(default));
        };
        let mut value = self.parse(&format!("../{DEFAULT}/{file}"), &default)?;
        merge(&mut value, patch);
        Ok(Some(pretty(&value)))
    }

    fn parse(&self, file: &str, text: &str) -> Result<Value, String> {
        serde_json::from_str(text).map_err(|error| self.wrong(file, &error))
    }

    fn wrong(&self, file: &str, why: &dyn std::fmt::Display) -> String {
        format!("{}: {why}", self.folder.join(file).display())
    }
}

/// Whether a case may have a file of this name.
fn is_known(file: &str) -> bool {
    let of_attempt =
        |name: &str| (2..=ATTEMPTS).any(|attempt| name.replace('N', &attempt.to_string()) == file);
    FILES.contains(&file) || OF_ATTEMPT.iter().any(|name| of_attempt(name))
}

/// The names of the files in a folder that are no hidden ones.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.')).collect()
}

/// The text of a file in this folder, as it is.
fn read(folder: &Path, file: &str) -> Option<String> {
    fs::read_to_string(folder.join(file)).ok()
}

/// Parses status, headers, an empty line and a body.
fn response(whole: &str) -> Option<Scripted> {
    let whole = whole.replace("\r\n", "\n");
    let (head, body) = whole.split_once("\n\n")?;
    let mut lines = head.lines();
    let words = lines.next()?;
    let status = words.split(' ').find_map(|word| word.parse().ok())?;
    let headers = lines.map(header).collect::<Option<_>>()?;
    Some(Scripted {
        status,
        headers,
        body: body.as_bytes().to_vec(),
    })
}

/// Parses `name: value`.
pub(crate) fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

/// JSON in the format of the cases: a value that fits on a line is on one line.
pub(crate) fn pretty(value: &Value) -> String {
    let mut text = String::new();
    write_pretty(&mut text, value, 0, 0);
    text.push('\n');
    text
}

fn write_pretty(text: &mut String, value: &Value, indent: usize, before: usize) {
    let line = one_line(value);
    // Leaves room for a comma.
    let fits = indent + before + line.chars().count() < WIDTH;
    let pad = " ".repeat(indent + 2);
    let end = " ".repeat(indent);
    match value {
        Value::Object(members) if !fits && !members.is_empty() => {
            text.push_str("{\n");
            for (at, (name, value)) in members.iter().enumerate() {
                let name = format!("{}: ", Value::from(name.as_str()));
                text.push_str(if at > 0 { ",\n" } else { "" });
                text.push_str(&pad);
                text.push_str(&name);
                write_pretty(text, value, indent + 2, name.chars().count());
            }
            text.push_str(&format!("\n{end}}}"));
        }
        Value::Array(items) if !fits && !items.is_empty() => {
            text.push_str("[\n");
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at > 0 { ",\n" } else { "" });
                text.push_str(&pad);
                write_pretty(text, item, indent + 2, 0);
            }
            text.push_str(&format!("\n{end}]"));
        }
        _ => text.push_str(&line),
    }
}

fn one_line(value: &Value) -> String {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let member = |(name, value): (&String, &Value)| {
                format!("{}: {}", Value::from(name.as_str()), one_line(value))
            };
            let members: Vec<String> = members.iter().map(member).collect();
            format!("{{ {} }}", members.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(one_line).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// Applies a JSON merge patch (RFC 7396).
pub(crate) fn merge(value: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *value = patch;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Some(members) = value.as_object_mut() else {
        return;
    };
    for (name, patch) in patch {
        if patch.is_null() {
            members.shift_remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), patch);
        }
    }
}

/// The merge patch that turns the first value into the second, if one exists.
fn difference(from: &Value, to: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (from, to) else {
        return to.clone();
    };
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let mut patch: Map<String, Value> = gone.map(|name| (name.clone(), Value::Null)).collect();
    for (name, value) in after {
        match before.get(name) {
            Some(was) if was == value => {}
            was => {
                let value = was.map_or_else(|| value.clone(), |was| difference(was, value));
                patch.insert(name.clone(), value);
            }
        }
    }
    Value::Object(patch)
}

fn name(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str());
    name.unwrap_or_default()
}
