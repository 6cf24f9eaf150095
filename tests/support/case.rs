//! The format of the case folders in `tests/cases`: which files a case has itself, and which it
//! takes from the defaults of its dialect. `tests/cases/README.md` describes the files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

/// Every file that a case may have.
pub const FILES: [&str; 17] = [
    "request.json",
    "request.merge.json",
    "kind.txt",
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

/// The content of `sent.txt` if the gateway answers without asking the upstream.
pub const NOTHING: &str = "nothing";

/// The folder with the defaults of a dialect.
const DEFAULT: &str = "_default";

/// JSON is broken into lines where it would exceed this many columns.
const WIDTH: usize = 120;

/// A folder of `tests/cases/dialect-*`.
#[derive(Clone)]
pub struct Case {
    pub folder: PathBuf,
}

/// Every case in the folder of cases, in order.
pub fn all(cases: &Path) -> Vec<Case> {
    let dialects = folders(cases).into_iter();
    let folders = dialects.flat_map(|dialect| folders(&dialect));
    let cases = folders.map(|folder| Case { folder });
    cases.filter(|case| case.name() != DEFAULT).collect()
}

/// The text of a file in this folder, as it is.
pub fn read(folder: &Path, file: &str) -> Option<String> {
    fs::read_to_string(folder.join(file)).ok()
}

impl Case {
    pub fn name(&self) -> &str {
        name(&self.folder)
    }

    /// The dialect: `openai` for a case in `dialect-openai`.
    pub fn dialect(&self) -> &str {
        let folder = name(self.dialect_folder());
        let dialect = folder.strip_prefix("dialect-");
        dialect.unwrap_or_else(|| panic!("`{folder}` is not named after a dialect"))
    }

    /// The text of a file: the case's own, its merge patch applied to the default, or the default.
    pub fn text(&self, file: &str) -> Option<String> {
        if let Some(own) = self.own(file) {
            return Some(own);
        }
        match file {
            "request.json" => self.patched("request"),
            "sent.json" if self.asks() => self.patched("sent"),
            "sent.txt" => self.default(file),
            "upstream.sse" if self.asks() && !self.has_own("upstream") => self.default(file),
            "reply.sse" if !self.has_own("reply") => self.default(file),
            _ => None,
        }
    }

    pub fn json(&self, file: &str) -> Option<Value> {
        let text = self.text(file)?;
        let value = serde_json::from_str(&text);
        Some(value.unwrap_or_else(|error| panic!("{}/{file}: {error}", self.folder.display())))
    }

    /// Whether the upstream is asked at all.
    pub fn asks(&self) -> bool {
        self.own("sent.txt")
            .is_none_or(|path| path.trim() != NOTHING)
    }

    pub fn own(&self, file: &str) -> Option<String> {
        read(&self.folder, file)
    }

    pub fn default(&self, file: &str) -> Option<String> {
        read(&self.dialect_folder().join(DEFAULT), file)
    }

    /// Writes a file. A file that says the same as the default is removed.
    pub fn write(&self, file: &str, text: Option<&str>) {
        let text = text.filter(|text| self.default(file).as_deref() != Some(text));
        match text {
            Some(text) => fs::write(self.folder.join(file), text).expect("a case can be written"),
            None if self.own(file).is_some() => {
                fs::remove_file(self.folder.join(file)).expect("a case can be written");
            }
            None => {}
        }
    }

    /// Writes `sent.json` in the shortest form: the default, a merge patch, or whole.
    pub fn write_sent(&self, sent: &Value) {
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
        self.write("sent.json", whole.as_deref());
        self.write("sent.merge.json", patch.as_deref());
    }

    /// Writes the case into this folder, including everything that it takes from the defaults.
    pub fn expand_into(&self, folder: &Path) {
        fs::create_dir_all(folder).expect("a folder for the case");
        for file in FILES.iter().filter(|file| !file.contains(".merge.")) {
            if *file == "sent.txt" && !self.asks() {
                continue;
            }
            if let Some(text) = self.text(file) {
                fs::write(folder.join(file), text).expect("the case can be written");
            }
        }
    }

    fn has_own(&self, stem: &str) -> bool {
        let files = FILES.iter().filter(|file| file.starts_with(stem));
        files.into_iter().any(|file| self.own(file).is_some())
    }

    fn patched(&self, stem: &str) -> Option<String> {
        let default = self.default(&format!("{stem}.json"))?;
        let Some(patch) = self.json(&format!("{stem}.merge.json")) else {
            return Some(default);
        };
        let mut value = serde_json::from_str(&default).expect("JSON in the defaults");
        merge(&mut value, patch);
        Some(pretty(&value))
    }

    fn dialect_folder(&self) -> &Path {
        self.folder
            .parent()
            .expect("a case is in a dialect's folder")
    }
}

/// JSON in the format of the cases: a value that fits on a line is on one line.
pub fn pretty(value: &Value) -> String {
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
pub fn merge(value: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *value = patch;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let members = value.as_object_mut().expect("it was made an object");
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

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn name(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str());
    name.expect("a folder's name in UTF-8")
}
