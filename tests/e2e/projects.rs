//! `witgate plugin new`: a project builds, passes its tests and cases, and works in a gateway.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    assert_eventually,
    support::{
        Gateway, Outcome, TempDir, Upstream,
        gateway::{code_cache, finish_within, witgate},
    },
};

/// A build on a busy machine without anything compiled before.
const BUILD: Duration = Duration::from_secs(900);

const BAD_USE: i32 = 2;

fn run(folder: &Path, words: &[&str]) -> Outcome {
    let mut command = witgate(folder);
    command.args(words).env("XDG_CACHE_HOME", code_cache());
    finish_within(command, BUILD)
}

/// Runs cargo as the author of a plugin does, but for the time that optimisation takes.
#[track_caller]
fn cargo(project: &Path, words: &[&str]) {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(project).args(words);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_") && text != "CARGO_HOME" || text == "RUSTFLAGS" {
            command.env_remove(&name);
        }
    }
    command
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    finish_within(command, BUILD).has_code(0);
}

/// A project at the same place in each run, with the files that did not change untouched: cargo
/// does not compile the SDK again then.
#[track_caller]
fn project(name: &str, words: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("projects")
        .join(name);
    let fresh = TempDir::new("project");
    let mut all = vec!["plugin", "new", name];
    all.extend(words);
    run(fresh.path(), &all).has_code(0).says(&["cargo test"]);
    sync(&fresh.path().join(name), &folder);
    folder
}

/// Copies what differs, and removes what is not there any more.
fn sync(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(to).unwrap().flatten() {
        if entry.file_name() != "target" && !from.join(entry.file_name()).exists() {
            let path = entry.path();
            let removed = if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
            removed.unwrap();
        }
    }
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            sync(&from, &to);
        } else if fs::read(&to).ok() != fs::read(&from).ok() {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// Builds the component and runs the cases of the project.
#[track_caller]
fn builds_and_passes(project: &Path) {
    cargo(project, &["test"]);
    cargo(
        project,
        &["build", "--release", "--target", "wasm32-wasip2"],
    );
    let tested = run(project, &["plugin", "test"]);
    tested.has_code(0);
    assert!(tested.out.contains("(cut at "), "{}", tested.out);
}

#[test]
fn a_new_rule_builds_passes_its_cases_and_rewrites_a_live_request() {
    let hooks = ["request", "attempt", "failure", "response"];
    let words: Vec<&str> = hooks.iter().flat_map(|hook| ["--hook", hook]).collect();
    let project = project("my-rule", &words);
    builds_and_passes(&project);
    run(&project, &["plugin", "test", "--hostile"]).has_code(0);

    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).cache(&code_cache()).start();
    let component = project.join("target/wasm32-wasip2/release/my_rule.wasm");
    fs::copy(component, gateway.plugins().join("my_rule.wasm")).unwrap();
    let body = r#"{"model":"m","max_tokens":128000,"messages":[{"role":"user","content":"hi"}]}"#;
    assert_eventually!(
        gateway.message(body).header("x-witgate-edits").is_some(),
        "the plugin is loaded"
    );
    assert_eq!(upstream.last().json()["max_tokens"], 8192);
}

#[test]
fn a_new_dialect_builds_and_passes_its_cases() {
    let project = project("dialect-mine", &["--dialect"]);
    builds_and_passes(&project);
    run(&project, &["plugin", "test", "--hostile"]).has_code(0);
}

#[test]
fn a_project_has_its_gateways_sdk_and_contract_and_needs_no_edit() {
    let folder = TempDir::new("new");
    run(
        folder.path(),
        &["plugin", "new", "a-rule", "--path", "deep/down"],
    )
    .has_code(0);
    let project = folder.path().join("deep/down");
    let read = |file: &str| fs::read_to_string(project.join(file)).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(read("README.md").contains(&format!("witgate {version}")));
    assert!(read("README.md").lines().count() <= 12);
    assert!(read("Cargo.toml").contains("path = \"vendor/witgate/plugins/sdk\""));
    assert!(read("Cargo.lock").contains("\nname = \"witgate-plugin\"\n"));
    assert!(read("wit/worlds.wit").contains("world attempt-plugin"));
    for file in ["src/lib.rs", "README.md", "Cargo.toml"] {
        assert!(!read(file).contains("{{"), "{file}: {}", read(file));
    }

    let words = [
        "plugin",
        "new",
        "b-rule",
        "--sdk",
        "https://example.com/witgate",
    ];
    run(folder.path(), &words).has_code(0);
    let manifest = fs::read_to_string(folder.path().join("b-rule/Cargo.toml")).unwrap();
    let git = format!("{{ git = \"https://example.com/witgate\", tag = \"v{version}\" }}");
    assert!(manifest.contains(&git), "{manifest}");
    assert!(!folder.path().join("b-rule/vendor").exists());
}

#[test]
fn a_project_is_not_written_where_something_is_or_under_a_name_that_cannot_be_built() {
    let folder = TempDir::new("new");
    folder.write("taken/file", "");
    for (words, code, said) in [
        (&["taken"][..], 1, "not an empty folder"),
        (&["My_Rule"], BAD_USE, "lower-case letters"),
        (&["2fa"], 1, "must begin with a letter"),
        (&["match"], 1, "a word of Rust"),
        (&["serde"], 1, "among those that the SDK is built with"),
        (
            &["a", "--hook", "attempt", "--dialect"],
            BAD_USE,
            "--dialect",
        ),
    ] {
        let words = [&["plugin", "new"], words].concat();
        run(folder.path(), &words).has_code(code).says(&[said]);
    }
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing was written"
    );
}
