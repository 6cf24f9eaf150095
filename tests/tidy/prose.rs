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
    /// Files and folders that may use it, each with its reason above the constant.
    except: &'static [&'static str],
}

/// Words that the project's glossary replaced, and phrases that have a plainer form.
const RETIRED: &[Retired] = &[
    everywhere("anew", "again"),
    everywhere("asked model", "requested model").except(WIT_CHANGES),
    everywhere("nobody", "no one, or the passive"),
    everywhere("patience", "`max_cooldown_wait`").except(RENAMED_KEYS),
    everywhere("resting", "on cooldown"),
    everywhere("short wait", "`same_account_wait`").except(RENAMED_KEYS),
    everywhere("stand in", "placeholder").except(WIT_CHANGES),
    everywhere("stand ins", "placeholders"),
    everywhere("told", "said, or the plain verb"),
    everywhere("whoever", "the subject itself"),
    text("as whom", "which account"),
    text("come into force", "take effect"),
    text("comes into force", "takes effect"),
    text("in place of", "instead of"),
    text("is none of", "is not a, is no"),
    text("shall", "must, will, or the plain verb").except(QUOTED_LICENCE),
    text("takes a restart", "restart to apply it"),
    text("that are none", "what they are"),
    text("that is none", "what it is"),
    text("which is none", "what it is"),
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

/// An old configuration key is an error that names the new one.
const RENAMED_KEYS: &[&str] = &["host/src/config"];

/// The change log of the contract lists what was renamed.
const WIT_CHANGES: &[&str] = &["plugins/sdk/wit/CHANGES.md", "wit/CHANGES.md"];

/// The licence of test data by others, as they wrote it.
const QUOTED_LICENCE: &[&str] = &["host/document/tests/conformance/README.md"];

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
        except: &[],
    }
}

impl Retired {
    const fn below(mut self, folders: &'static [&'static str]) -> Self {
        self.below = folders;
        self
    }

    const fn except(mut self, files: &'static [&'static str]) -> Self {
        self.except = files;
        self
    }

    fn applies_to(&self, file: &Path) -> bool {
        let is_in = |folder: &&str| file.starts_with(root().join(folder));
        // This file lists the words.
        let exempt = self.except.iter().any(is_in) || is_in(&"tests/tidy/prose.rs");
        (self.below.is_empty() || self.below.iter().any(is_in)) && !exempt
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
    for file in files() {
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
        (
            text("that is none", ""),
            "a file that is none.",
            "there is none, x.is_none()",
        ),
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
    let generated = root().join("plugins/sdk/src/wasm");
    for file in files() {
        if file.starts_with(&generated) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap_or_default();
        let markdown = has_extension(&file, &["md"]);
        let mut fenced = false;
        for (number, line) in text.lines().enumerate() {
            fenced ^= markdown && line.trim_start().starts_with("```");
            let (is_comment, text) = comment(&file, line);
            // Neither a table nor a single word can be wrapped.
            let wraps = (is_comment || markdown && !fenced) && !text.starts_with('|');
            let columns = line.chars().count();
            let end: String = line.chars().take(WIDTH).collect();
            let breakable = text.split_whitespace().nth(1).is_some() && end.contains(' ');
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
    let documents = files().into_iter();
    for file in documents.filter(|file| has_extension(file, &["md"])) {
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

/// The project's files with prose, comments or names.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![root()];
    while let Some(path) = open.pop() {
        let name = path.file_name().unwrap_or_default();
        if path.is_dir()
            && !["target", ".git", "node_modules"]
                .iter()
                .any(|skip| name == *skip)
        {
            let entries = fs::read_dir(&path).unwrap().flatten();
            open.extend(entries.map(|entry| entry.path()));
        } else if has_extension(&path, &["rs", "md", "wit", "mjs"]) || is_hashed(&path) {
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
    const SCRIPTS: [&str; 5] = [
        ".ci/deny",
        ".ci/packages",
        ".ci/run",
        "justfile",
        "tests/run",
    ];
    has_extension(file, &["py", "toml", "yml"])
        || SCRIPTS.iter().any(|script| file == root().join(script))
}

/// Whether a line is a comment, and its text without the marker.
fn comment<'a>(file: &Path, line: &'a str) -> (bool, &'a str) {
    let line = line.trim_start();
    let text = match is_hashed(file) {
        true => line.strip_prefix('#'),
        false => line
            .strip_prefix("//")
            .map(|text| text.trim_start_matches(['/', '!'])),
    };
    (text.is_some(), text.unwrap_or(line).trim_start())
}
