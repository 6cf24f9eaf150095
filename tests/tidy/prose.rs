//! Checks of prose: retired words, the length of lines, and links.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Finding, finding, none, root, source::Source};

/// Where a word is retired.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// In every text and as a part of every name.
    Everywhere,
    /// As words of a text. In code they may be part of a name, as in `is_none`.
    Text,
    /// As a part of a declared name; the word itself stays in use.
    InNames,
    /// As a whole declared name.
    AsName,
}

/// A word or phrase that is no longer used.
struct Retired {
    word: &'static str,
    instead: &'static str,
    kind: Kind,
    /// The folders in which it is retired; empty for all of them.
    below: &'static [&'static str],
    /// Files and folders that may use it.
    but: &'static [&'static str],
}

/// Words that the project's glossary replaced, and phrases that have a plainer form.
const RETIRED: &[Retired] = &[
    everywhere("anew", "again"),
    everywhere("asked model", "requested model"),
    everywhere("nobody", "no one, or the passive"),
    everywhere("patience", "`max_cooldown_wait`"),
    everywhere("resting", "on cooldown"),
    everywhere("short wait", "`same_account_wait`"),
    everywhere("stand in", "placeholder"),
    everywhere("stand ins", "placeholders"),
    everywhere("told", "said, or the plain verb"),
    everywhere("whoever", "the subject itself"),
    text("as whom", "which account"),
    text("come into force", "take effect"),
    text("comes into force", "takes effect"),
    text("in place of", "instead of"),
    text("is none", "what it is"),
    text("shall", "must, will, or the plain verb"),
    text("takes a restart", "restart to apply it"),
    name(Kind::InNames, "door", "auth requirement, guard"),
    name(Kind::InNames, "rest", "cooldown").below(&["host/src", "plugins", "wit"]),
    name(Kind::InNames, "rests", "cooldown"),
    name(Kind::InNames, "seat", "instance slot"),
    name(Kind::InNames, "seats", "instance slots"),
    name(Kind::InNames, "whom", "failover, retry target"),
    name(Kind::AsName, "bad", "attempt error").below(&["host/src/exchange"]),
    name(Kind::AsName, "came", "attempt error").below(&["host/src/exchange"]),
    name(Kind::AsName, "failed", "attempt error").below(&["host/src/exchange"]),
    name(Kind::AsName, "pass", "passthrough").below(&["host/src/gateway"]),
    name(Kind::AsName, "verdict", "retry decision").below(&["host/src/exchange"]),
    name(Kind::AsName, "way", "target").below(&["host/src/exchange"]),
    name(Kind::AsName, "what", "attempt error").below(&["host/src/exchange"]),
];

/// Where words are checked. The goal is everything: `["."]`.
const CLEAN: &[&str] = &[
    "tests/bench",
    "tests/cases/README.md",
    "tests/cases.rs",
    "tests/support",
    "tests/tidy",
];

/// Where the Markdown and comments are wrapped. The goal is everything: `["."]`.
const WRAPPED: &[&str] = &[
    "tests/bench",
    "tests/cases",
    "tests/cases.rs",
    "tests/clients",
    "tests/e2e",
    "tests/support",
    "tests/tidy",
];

/// The maximum width of Markdown and comments.
const WIDTH: usize = 100;

const fn everywhere(word: &'static str, instead: &'static str) -> Retired {
    name(Kind::Everywhere, word, instead)
}

const fn text(word: &'static str, instead: &'static str) -> Retired {
    name(Kind::Text, word, instead)
}

const fn name(kind: Kind, word: &'static str, instead: &'static str) -> Retired {
    Retired {
        word,
        instead,
        kind,
        below: &[],
        but: &["tests/tidy/prose.rs"],
    }
}

impl Retired {
    const fn below(mut self, folders: &'static [&'static str]) -> Self {
        self.below = folders;
        self
    }

    fn applies_to(&self, file: &Path) -> bool {
        let is_in = |folder: &&str| file.starts_with(root().join(folder));
        (self.below.is_empty() || self.below.iter().any(is_in)) && !self.but.iter().any(is_in)
    }

    fn is_in(&self, text: &str) -> bool {
        let phrase: Vec<&str> = self.word.split(' ').collect();
        let words = words(text, self.kind != Kind::Text);
        match self.kind {
            Kind::AsName => words == phrase,
            _ => words.windows(phrase.len()).any(|window| window == phrase),
        }
    }
}

#[test]
fn retired_words_are_gone() {
    let mut findings = Vec::new();
    for file in files(CLEAN) {
        findings.extend(retired_in(&file));
    }
    none(&findings);
}

#[test]
fn a_retired_word_is_seen_in_every_spelling() {
    for (retired, seen, unseen) in [
        (everywhere("told", ""), "Is told_of", "untold"),
        (everywhere("nobody", ""), "Nobody!", "body"),
        (
            everywhere("asked model", ""),
            "fn askedModel()",
            "asked, modelled",
        ),
        (everywhere("stand in", ""), "a STAND-IN", "standing"),
        (text("is none", ""), "it is none.", "x.is_none()"),
        (name(Kind::InNames, "rest", ""), "set_rest", "restore"),
        (name(Kind::AsName, "way", ""), "Way", "way_out"),
    ] {
        assert!(
            retired.is_in(seen),
            "`{}` is not seen in `{seen}`",
            retired.word
        );
        assert!(
            !retired.is_in(unseen),
            "`{}` is seen in `{unseen}`",
            retired.word
        );
    }
}

#[test]
fn markdown_and_comments_are_wrapped() {
    let mut findings = Vec::new();
    for file in files(WRAPPED) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let markdown = has_extension(&file, &["md"]);
        let mut fenced = false;
        for (number, line) in text.lines().enumerate() {
            fenced ^= markdown && line.trim_start().starts_with("```");
            let start = line.trim_start();
            // Neither a table nor a single word can be wrapped.
            let wraps = match markdown {
                true => !fenced && !start.starts_with('|'),
                false => start.starts_with("//") || start.starts_with('#') && is_hashed(&file),
            };
            let columns = line.chars().count();
            let end: String = line.chars().take(WIDTH).collect();
            let breakable = start.split_whitespace().nth(1).is_some() && end.contains(' ');
            if wraps && columns > WIDTH && breakable {
                findings.push(finding(&file, number + 1, format!("{columns} columns")));
            }
        }
    }
    none(&findings);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut findings = Vec::new();
    for file in files(&["."])
        .into_iter()
        .filter(|file| has_extension(file, &["md"]))
    {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for target in links(line) {
                let path = target.split('#').next().unwrap_or_default();
                let there = file.parent().unwrap().join(path);
                if !path.is_empty() && !path.contains("://") && !there.exists() {
                    findings.push(finding(&file, number + 1, format!("no `{target}`")));
                }
            }
        }
    }
    none(&findings);
}

/// The targets of `[text](target)` and `[name]: target`.
fn links(line: &str) -> Vec<&str> {
    let inline = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let named = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]: "));
    inline
        .chain(named.map(|(_, target)| target.trim()))
        .collect()
}

fn retired_in(file: &Path) -> Vec<Finding> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let declared = declared(file, &text);
    let mut findings = Vec::new();
    for retired in RETIRED.iter().filter(|retired| retired.applies_to(file)) {
        let lines: Vec<(usize, &str)> = match retired.kind {
            Kind::Everywhere | Kind::Text => text
                .lines()
                .enumerate()
                .map(|(at, line)| (at + 1, line))
                .collect(),
            Kind::InNames | Kind::AsName => declared
                .iter()
                .map(|(at, name)| (*at, name.as_str()))
                .collect(),
        };
        for (number, _) in lines.into_iter().filter(|(_, line)| retired.is_in(line)) {
            let text = format!("`{}` is retired; write: {}", retired.word, retired.instead);
            findings.push(finding(file, number, text));
        }
    }
    findings
}

/// The names that a file declares: items, fields and variants of Rust, and everything but the
/// comments of WIT.
fn declared(file: &Path, text: &str) -> Vec<(usize, String)> {
    if has_extension(file, &["wit"]) {
        let lines = text.lines().enumerate();
        let code = lines.map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()));
        let names = code.flat_map(|(at, line)| {
            let names = line.split(|c: char| !c.is_alphanumeric() && c != '-');
            names.map(move |name| (at, name.to_owned()))
        });
        return names.collect();
    }
    if has_extension(file, &["rs"]) {
        let mut names = Source::parse(file, text).names;
        // The file itself is a module.
        let stem = file.file_stem().unwrap_or_default();
        names.push((1, stem.to_string_lossy().into_owned()));
        return names;
    }
    Vec::new()
}

/// The words of a text in lower case, optionally splitting `snake_case` and `CamelCase`.
fn words(text: &str, splits_names: bool) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in text.chars() {
        let joins = c.is_alphanumeric() || c == '_' && !splits_names;
        let humps = splits_names && before.is_lowercase() && c.is_uppercase();
        if !joins || humps {
            words.push(String::new());
        }
        if joins {
            words.last_mut().unwrap().extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The project's files in these folders, and these files themselves.
fn files(below: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open: Vec<PathBuf> = below.iter().map(|path| root().join(path)).collect();
    while let Some(path) = open.pop() {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && !["target", ".git", "node_modules"].contains(&name.as_str()) {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .flatten()
                    .map(|entry| entry.path()),
            );
        } else if has_extension(&path, &["rs", "md", "wit", "toml"]) {
            assert!(path.exists(), "{} does not exist", path.display());
            files.push(path);
        }
    }
    files.sort();
    files
}

fn has_extension(file: &Path, extensions: &[&str]) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| extensions.contains(&extension))
}

/// Whether comments of this file begin with `#`.
fn is_hashed(file: &Path) -> bool {
    has_extension(file, &["toml"])
}
