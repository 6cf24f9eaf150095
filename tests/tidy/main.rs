//! Checks that neither the compiler nor clippy makes: layers, circles of files, the border around
//! each large library, the wording of documents, and that everything in the tree is used.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod circles; // files that depend on each other
mod prose; // retired words, long lines, dead links
mod source; // Rust sources as the checks see them

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use source::Sources;

/// A place in a file that has to change.
struct Finding {
    file: PathBuf,
    line: usize,
    text: String,
}

/// Modules of the host that decide and never wait, like the crates below `host`. ARCHITECTURE.md
/// names them too. Clippy bans a function in a whole crate, so it cannot check single files.
const PURE: &[&str] = &[
    "accounts/cooldown",
    "exchange/attempt/content",
    "exchange/attempt/foreign_error",
    "exchange/attempt/opening",
    "exchange/attempt/refusal",
    "exchange/collect",
    "exchange/collect/partial",
    "exchange/expand",
    "exchange/members",
    "exchange/retry/policy",
    "kit/diff",
    "sse",
];

/// Large libraries, each with the one module that may name it.
const BORDERS: &[(&str, &str)] = &[
    ("axum", "gateway"),
    ("clap", "cli"),
    ("reqwest", "upstream"),
    ("wasmparser", "pipeline"),
    ("wasmtime", "pipeline"),
    ("wasmtime_wasi_io", "pipeline"),
];

#[test]
fn modules_name_only_what_is_below_them() {
    let layers = layers();
    let sources = Sources::read(&root().join("host/src"));
    let mut findings = Vec::new();
    for (module, source) in &sources.files {
        let Some(top) = module.first() else {
            continue;
        };
        let Some(layer) = layers.get(top) else {
            findings.push(finding(&source.file, 1, format!("`{top}` is in no layer")));
            continue;
        };
        for (line, path) in &source.paths {
            let named = sources.absolute(module, path);
            let named = named.and_then(|path| path.into_iter().next());
            let named = named.filter(|named| named != top);
            let above = named.filter(|named| {
                layers
                    .get(named)
                    .is_some_and(|other| !other.is_below(*layer))
            });
            if let Some(above) = above {
                let text = format!("`{top}` must not name `{above}`");
                findings.push(finding(&source.file, *line, text));
            }
        }
    }
    none(&findings);
}

#[test]
fn large_libraries_are_known_in_one_place_each() {
    let mut findings = Vec::new();
    for (module, source) in &Sources::read(&root().join("host/src")).files {
        for (line, path) in &source.paths {
            for (library, home) in BORDERS {
                let inside = module.first().is_some_and(|top| top == home);
                if path[0] == *library && path.len() > 1 && !inside {
                    let text = format!("only `{home}` may name `{library}`");
                    findings.push(finding(&source.file, *line, text));
                }
            }
        }
    }
    none(&findings);
}

#[test]
fn no_provider_is_named_outside_preset_data() {
    const PRESETS: &str = "host/src/config/preset.rs";
    // Anthropic's own dialect needs no plugin, and `compatible` is not a provider.
    const GENERAL: [&str; 2] = ["anthropic", "compatible"];
    let presets = fs::read_to_string(root().join(PRESETS)).unwrap();
    let names = presets.split("name: \"").skip(1);
    let providers: Vec<&str> = names
        .filter_map(|rest| rest.split('"').next())
        .filter(|name| !GENERAL.contains(name))
        .collect();
    assert!(providers.len() > 5, "{providers:?}");
    let mut findings = Vec::new();
    for source in Sources::read(&root().join("host/src")).files.values() {
        if source.file.ends_with(PRESETS) || source.file.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&source.file).unwrap().to_lowercase();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (at, line) in code.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric());
            if let Some(name) = words.find(|word| providers.contains(word)) {
                findings.push(finding(&source.file, at + 1, format!("names `{name}`")));
            }
        }
    }
    none(&findings);
}

#[test]
fn what_decides_does_not_wait_and_reads_no_clock() {
    let host = Sources::read(&root().join("host/src"));
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut files = Vec::new();
    for pure in PURE {
        let module: Vec<String> = pure.split('/').map(str::to_owned).collect();
        let source = host.files.get(&module);
        files.push(source.unwrap_or_else(|| panic!("`{pure}` does not exist; was it renamed?")));
        let named = architecture.contains(&format!("`{pure}`"));
        assert!(named, "ARCHITECTURE.md does not name `{pure}`");
    }
    let crates: Vec<Sources> = crates()
        .iter()
        .filter(|folder| folder.starts_with("host/"))
        .map(|folder| Sources::read(&root().join(folder).join("src")))
        .collect();
    files.extend(crates.iter().flat_map(|sources| sources.files.values()));
    let mut findings = Vec::new();
    for source in files {
        for (line, path) in &source.paths {
            let path = path.join("::");
            let words = [
                "Instant::now",
                "SystemTime::now",
                "std::fs",
                "std::net",
                "tokio",
            ];
            let waits = ["async", "await"].contains(&path.as_str());
            if waits || words.iter().any(|word| path.contains(word)) {
                findings.push(finding(&source.file, *line, format!("no `{path}` here")));
            }
        }
    }
    none(&findings);
}

#[test]
fn every_guest_is_used_by_a_test() {
    let mut tests = String::new();
    for file in source::rust_files(&root().join("tests")) {
        if !file.starts_with(root().join("tests/guests")) {
            tests.push_str(&fs::read_to_string(file).unwrap());
        }
    }
    let mut findings = Vec::new();
    for entry in fs::read_dir(root().join("tests/guests")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() && !tests.contains(&format!("\"{name}\"")) {
            findings.push(finding(&entry.path(), 0, "no test names it".to_owned()));
        }
    }
    none(&findings);
}

#[test]
fn every_test_that_a_document_names_exists() {
    for file in ["docs/security.md", "docs/reliability.md"] {
        let file = Path::new(file);
        let text = fs::read_to_string(root().join(file)).unwrap();
        assert!(text.contains(".rs::"), "{} names no test", file.display());
        none(&missing_tests(file, &text));
    }
    let file = Path::new("docs/defects.md");
    let text = fs::read_to_string(root().join(file)).unwrap();
    let (mut findings, mut rows) = (missing_tests(file, &text), 0);
    for (number, line) in text.lines().enumerate() {
        let row = line
            .strip_prefix("| ")
            .and_then(|line| line.split_once(" |"));
        if row.is_some_and(|(row, _)| row.parse::<u32>().is_ok()) {
            rows += 1;
            if named_tests(line).count() == 0 {
                findings.push(finding(file, number + 1, "no test is named".to_owned()));
            }
        }
    }
    assert!(rows > 0, "{} has no table of defects", file.display());
    none(&findings);
}

/// The tests that a line names, each as file and function.
fn named_tests(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = line.split('`').filter_map(|word| word.split_once("::"));
    quoted.filter(|(tests, _)| tests.ends_with(".rs"))
}

fn missing_tests(file: &Path, text: &str) -> Vec<Finding> {
    let mut missing = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (tests, name) in named_tests(line) {
            let source = fs::read_to_string(root().join(tests)).unwrap_or_default();
            // Tests in the file that they test are indented.
            let source = source.replace("\n    ", "\n");
            if !source.contains(&format!("#[test]\nfn {name}()")) {
                missing.push(finding(
                    file,
                    number + 1,
                    format!("{tests} has no `{name}`"),
                ));
            }
        }
    }
    missing
}

#[test]
fn every_flag_is_documented() {
    let help = Command::new(env!("CARGO_BIN_EXE_witgate"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let mut docs = fs::read_to_string(root().join("README.md")).unwrap();
    for entry in fs::read_dir(root().join("docs")).unwrap().flatten() {
        docs.push_str(&fs::read_to_string(entry.path()).unwrap_or_default());
    }
    let words = help.split(|c: char| c.is_whitespace() || c == ',');
    let flags = words.filter(|word| word.starts_with("--") && word.len() > 2);
    let flags = flags.map(|flag| flag.trim_end_matches(|c: char| !c.is_ascii_alphabetic()));
    let ours: Vec<_> = flags
        .filter(|flag| !["--help", "--version"].contains(flag))
        .collect();
    assert!(!ours.is_empty(), "{help}");
    let missing: Vec<_> = ours
        .into_iter()
        .filter(|flag| !docs.contains(flag))
        .collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
}

/// The place of a module in the table of ARCHITECTURE.md.
#[derive(Clone, Copy, Debug)]
struct Place {
    layer: u32,
    /// The position from left to right.
    at: usize,
}

impl Place {
    /// Modules of one line never name each other. On lines 1 and 0 a module may name those to its
    /// right.
    fn is_below(self, other: Self) -> bool {
        self.layer < other.layer
            || (self.layer == other.layer && self.layer <= 1 && self.at > other.at)
    }
}

/// The table in ARCHITECTURE.md: the places of modules by name.
fn layers() -> BTreeMap<String, Place> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut layers = BTreeMap::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let mut words = line.split_whitespace().filter(|_| fenced);
        let Some(layer) = words.next().and_then(|word| word.parse().ok()) else {
            continue;
        };
        for (at, module) in words.enumerate() {
            let file = root().join(format!("host/src/{module}.rs"));
            assert!(
                file.exists(),
                "ARCHITECTURE.md has a layer for `{module}`, which is not a file"
            );
            layers.insert(module.to_owned(), Place { layer, at });
        }
    }
    layers
}

/// The folders of the crates that are shipped or that plugins are built with.
fn crates() -> Vec<String> {
    let mut crates = vec!["host".to_owned()];
    for below in ["host", "plugins"] {
        for entry in fs::read_dir(root().join(below)).unwrap().flatten() {
            if entry.path().join("Cargo.toml").exists() {
                crates.push(format!("{below}/{}", entry.file_name().to_string_lossy()));
            }
        }
    }
    crates.sort();
    crates
}

fn finding(file: &Path, line: usize, text: String) -> Finding {
    let file = file.strip_prefix(root()).unwrap_or(file).to_owned();
    Finding { file, line, text }
}

#[track_caller]
fn none(findings: &[Finding]) {
    let line = |one: &Finding| format!("{}:{}: {}", one.file.display(), one.line, one.text);
    let lines: Vec<String> = findings.iter().map(line).collect();
    assert!(
        lines.is_empty(),
        "{} findings:\n{}",
        lines.len(),
        lines.join("\n")
    );
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}
