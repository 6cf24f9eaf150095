//! What no compiler checks: the layers, who may know which library, and that everything in the tree is used and documented.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A place in a source file that should not be as it is.
struct Finding {
    file: PathBuf,
    line: usize,
    text: String,
}

#[test]
fn modules_name_only_what_lies_below_them() {
    let layers = layers();
    let mut findings = Vec::new();
    for (file, text) in host_files() {
        let module = module_of(&file);
        let Some(layer) = layers.get(module.as_str()) else {
            findings.push(finding(
                &file,
                1,
                format!("`{module}` is in no layer of ARCHITECTURE.md"),
            ));
            continue;
        };
        for (number, line) in code(&text) {
            for named in crate_names(&line) {
                let fine = named == module
                    || layers
                        .get(named.as_str())
                        .is_some_and(|other| other.is_below(*layer));
                // `crate::Name` is what lib.rs itself exports.
                if !fine && named.starts_with(|first: char| first.is_lowercase()) {
                    findings.push(finding(
                        &file,
                        number,
                        format!("`{module}` may not name `{named}`"),
                    ));
                }
            }
        }
    }
    none(&findings);
}

#[test]
fn big_libraries_are_known_in_one_place_each() {
    let borders = [
        ("axum", "gateway"),
        ("reqwest", "upstream"),
        ("wasmtime", "pipeline"),
        ("wasmtime_wasi", "pipeline"),
        ("clap", "cli"),
    ];
    let mut findings = Vec::new();
    for (file, text) in host_files() {
        let module = module_of(&file);
        for (number, line) in code(&text) {
            for (library, home) in borders {
                if module != home && names_library(&line, library) {
                    findings.push(finding(
                        &file,
                        number,
                        format!("only `{home}` knows {library}"),
                    ));
                }
            }
        }
    }
    none(&findings);
}

#[test]
fn the_environment_is_read_in_one_file_and_nobody_exits_but_main() {
    let mut findings = Vec::new();
    for (file, text) in host_files() {
        for (number, line) in code(&text) {
            let reads = [
                "env::var",
                "env::vars",
                "std::env",
                "env::args",
                "env::temp_dir",
            ];
            if !file.ends_with("config/load.rs") && reads.iter().any(|read| line.contains(read)) {
                findings.push(finding(
                    &file,
                    number,
                    "only config/load.rs reads the environment".to_owned(),
                ));
            }
            if line.contains("process::exit") || line.contains("process::abort") {
                findings.push(finding(
                    &file,
                    number,
                    "main returns an exit code; nobody exits".to_owned(),
                ));
            }
        }
    }
    none(&findings);
}

#[test]
fn what_decides_does_not_wait_and_reads_no_clock() {
    let pure = [
        "host/src/sse.rs",
        "host/src/exchange/verdict.rs",
        "host/src/exchange/collect.rs",
        "host/src/exchange/expand.rs",
        "host/src/accounts/cooldown.rs",
        "host/src/pipeline/guard.rs",
    ];
    let mut findings = Vec::new();
    let document = rust_files(&root().join("host/document/src"));
    let files = pure
        .iter()
        .map(|name| root().join(name))
        .filter(|file| file.exists());
    let files = files
        .map(|file| (file.clone(), fs::read_to_string(file).unwrap()))
        .chain(document);
    for (file, text) in files {
        for (number, line) in code(&text) {
            for word in [
                "async fn",
                ".await",
                "Instant::now",
                "SystemTime::now",
                "std::fs",
                "std::net",
            ] {
                if line.contains(word) {
                    findings.push(finding(&file, number, format!("no `{word}` here")));
                }
            }
        }
    }
    none(&findings);
}

#[test]
fn every_guest_and_every_case_is_used_by_a_test() {
    let mut tests = String::new();
    for (file, text) in rust_files(&root().join("tests")) {
        if !file.starts_with(root().join("tests/guests")) {
            tests.push_str(&text);
        }
    }
    let mut findings = Vec::new();
    for folder in ["tests/guests", "tests/cases"] {
        let Ok(entries) = fs::read_dir(root().join(folder)) else {
            continue;
        };
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && !tests.contains(&format!("\"{name}\"")) {
                findings.push(finding(&entry.path(), 0, "no test names it".to_owned()));
            }
        }
    }
    none(&findings);
}

#[test]
fn no_file_names_a_machine_or_its_folders() {
    // Spelt apart, so that this file does not find itself.
    let folders: Vec<String> = ["work", "root"].map(|name| format!("/{name}/")).to_vec();
    let mut findings = Vec::new();
    for file in tracked_files() {
        let Ok(text) = fs::read_to_string(root().join(&file)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            for folder in &folders {
                // A path begins here; not in the middle of another path.
                let begins = line.match_indices(folder.as_str()).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    before.is_none_or(|c| " \t\"'`(=:".contains(c))
                });
                if begins {
                    findings.push(finding(
                        &file,
                        number + 1,
                        format!("a path of some machine: {}", line.trim()),
                    ));
                }
            }
            let registry = line.contains(&["resolved\"", ": \"http"].concat());
            if registry {
                findings.push(finding(
                    &file,
                    number + 1,
                    "an address of some registry".to_owned(),
                ));
            }
        }
    }
    none(&findings);
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let text = fs::read_to_string(root().join("docs/defects.md")).unwrap();
    let mut findings = Vec::new();
    let mut defects = 0;
    for (number, line) in text.lines().enumerate() {
        defects += usize::from(line.starts_with(&format!("| {} |", defects + 1)));
        let names = line.split('`').filter_map(|word| word.split_once("::"));
        for (file, name) in names {
            let source = fs::read_to_string(root().join(file)).unwrap_or_default();
            if !source.contains(&format!("#[test]\nfn {name}()")) {
                let what = format!("{file} has no test `{name}`");
                findings.push(finding(Path::new("docs/defects.md"), number + 1, what));
            }
        }
        if line.starts_with(&format!("| {defects} |")) && !line.contains("::") {
            let what = "no test is named".to_owned();
            findings.push(finding(Path::new("docs/defects.md"), number + 1, what));
        }
    }
    assert_eq!(defects, 26);
    none(&findings);
}

#[test]
fn every_flag_is_documented() {
    let help = Command::new(env!("CARGO_BIN_EXE_witgate"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let docs = docs();
    let flags: Vec<String> = help
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .filter(|word| !word.starts_with("--help") && !word.starts_with("--version"))
        .map(|word| {
            word.trim_end_matches(|c: char| !c.is_ascii_alphabetic())
                .to_owned()
        })
        .collect();
    assert!(flags.len() >= 3, "{flags:?}");
    for flag in flags {
        assert!(docs.contains(&flag), "{flag} is in no document");
    }
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let docs = docs();
    for key in [
        "listen",
        "log",
        "body_limit",
        "drain",
        "cors_origins",
        "expose_accounts",
        "mode",
        "keys",
        "name",
        "preset",
        "base_url",
        "dialect",
        "lacks",
        "models",
        "force_stream",
        "proxy",
        "ca_file",
        "accounts",
        "model",
        "to",
        "dir",
        "poll",
        "cache",
        "enabled",
        "on_error",
        "deadline",
        "memory",
        "settings",
    ] {
        assert!(
            docs.contains(&format!("`{key}`")),
            "`{key}` is in no document"
        );
    }
}

/// Where a module stands in the table of ARCHITECTURE.md.
#[derive(Clone, Copy, Debug)]
struct Place {
    layer: u32,
    /// From left to right.
    at: usize,
}

impl Place {
    /// Modules of the upper lines never name each other; on the ground, lines 1 and 0, a module may name what stands to
    /// the right of it.
    fn is_below(self, other: Self) -> bool {
        self.layer < other.layer
            || (self.layer == other.layer && self.layer <= 1 && self.at > other.at)
    }
}

/// Modules and their places, from the table in ARCHITECTURE.md: lines of a number and names.
fn layers() -> BTreeMap<String, Place> {
    let file = root().join("ARCHITECTURE.md");
    let text =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut layers = BTreeMap::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let mut words = line.split_whitespace();
        let Some(number) = words
            .next()
            .filter(|_| fenced)
            .and_then(|word| word.parse().ok())
        else {
            continue;
        };
        for (at, module) in words.enumerate() {
            if root()
                .join("host/src")
                .join(format!("{module}.rs"))
                .exists()
            {
                layers.insert(module.to_owned(), Place { layer: number, at });
            }
        }
    }
    assert!(
        layers.len() >= 12,
        "the layer table of ARCHITECTURE.md has only {layers:?}"
    );
    // The crate's root declares the modules and is named by nobody.
    layers.insert(
        "lib".to_owned(),
        Place {
            layer: u32::MAX,
            at: 0,
        },
    );
    layers
}

/// The top module that a file belongs to: `exchange` for `exchange.rs` and for `exchange/relay.rs`.
fn module_of(file: &Path) -> String {
    let below = file.strip_prefix(root().join("host/src")).unwrap();
    let first = below
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The lines of code, without comments and without the tests at the end of a file.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut joined: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("#[cfg(test)]") {
            break;
        }
        let line = line.split("//").next().unwrap_or_default();
        // A `use crate::{...}` over several lines is one.
        let (first, whole) = match joined.take() {
            Some((first, before)) => (first, before + " " + line.trim()),
            None => (number + 1, line.to_owned()),
        };
        let opens = whole.matches('{').count() > whole.matches('}').count();
        if opens && whole.contains("crate::{") && whole.trim_start().starts_with(['u', 'p']) {
            joined = Some((first, whole));
        } else {
            lines.push((first, whole));
        }
    }
    lines
}

/// The first names behind every `crate::`.
fn crate_names(line: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        // `$crate::` and `pub(crate)` are other things.
        if line[..at].ends_with('$') {
            continue;
        }
        let rest = &line[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let (mut depth, mut word) = (0, String::new());
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => names.push(std::mem::take(&mut word)),
                    _ if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            names.push(word);
        } else {
            names.push(rest.to_owned());
        }
    }
    let first = |name: &String| -> String {
        name.trim()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    names
        .iter()
        .map(first)
        .filter(|name| !name.is_empty())
        .collect()
}

fn names_library(line: &str, library: &str) -> bool {
    line.match_indices(library).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + library.len()..].chars().next();
        let apart =
            |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '"');
        apart(before)
            && apart(after)
            && (line[at + library.len()..].starts_with("::") || line.contains("use "))
    })
}

/// The host's sources without the modules that exist only in tests.
fn host_files() -> Vec<(PathBuf, String)> {
    let files = rust_files(&root().join("host/src"));
    let mut only_tests = Vec::new();
    for (file, text) in &files {
        let folder = match file.file_name().and_then(|name| name.to_str()) {
            Some("lib.rs" | "main.rs") => file.parent().unwrap().to_owned(),
            _ => file.with_extension(""),
        };
        for (at, attribute) in text.match_indices("#[cfg(test)]\n") {
            let item = &text[at + attribute.len()..];
            let item = item.strip_prefix("pub(crate) ").unwrap_or(item);
            let Some(name) = item.strip_prefix("mod ") else {
                continue;
            };
            let name: String = name
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            only_tests.push(folder.join(format!("{name}.rs")));
        }
    }
    files
        .into_iter()
        .filter(|(file, _)| !only_tests.contains(file))
        .collect()
}

fn rust_files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push((path.clone(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// The files of the project: what git knows, or where there is no git, everything but build results.
fn tracked_files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output();
    if let Some(listed) = listed.ok().filter(|listed| listed.status.success()) {
        let names = String::from_utf8(listed.stdout).unwrap();
        return names
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .collect();
    }
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if name != "target" && name != ".git" && name != "node_modules" {
                    folders.push(path);
                }
            } else {
                files.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    files
}

/// README.md and everything in docs/.
fn docs() -> String {
    let mut text = fs::read_to_string(root().join("README.md")).expect("README.md");
    for entry in fs::read_dir(root().join("docs")).expect("docs/").flatten() {
        text.push_str(&fs::read_to_string(entry.path()).unwrap_or_default());
    }
    text
}

fn finding(file: &Path, line: usize, text: String) -> Finding {
    let file = file.strip_prefix(root()).unwrap_or(file).to_owned();
    Finding { file, line, text }
}

#[track_caller]
fn none(findings: &[Finding]) {
    let lines: Vec<String> = findings
        .iter()
        .map(|one| format!("{}:{}: {}", one.file.display(), one.line, one.text))
        .collect();
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}
