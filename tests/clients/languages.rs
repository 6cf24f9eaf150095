//! Plugins in other languages: the examples of docs/plugins/languages.md, built as their authors
//! would, load as they come and do the same as the one in Rust.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    install,
    support::{
        Gateway, TempDir, Upstream, component,
        component::root,
        gateway::{Builder, code_cache, finish_within, witgate},
    },
};

const BUILD: Duration = Duration::from_secs(300);
const BODY: &str = r#"{ "model": "m", "max_tokens": 1000, "messages": [] }"#;
const CAPPED: &str = r#"{ "model": "m", "max_tokens": 100, "messages": [] }"#;
const SETTINGS: &str = "settings = { most = 100 }";

struct Language {
    name: &'static str,
    build: fn() -> PathBuf,
}

const LANGUAGES: &[Language] = &[
    Language {
        name: "JavaScript",
        build: javascript,
    },
    Language {
        name: "Python",
        build: python,
    },
];

#[test]
fn an_example_in_each_language_does_what_the_one_in_rust_does() {
    if install::skipped() {
        return;
    }
    does_the_same("Rust", &component("cap-tokens"));
    for language in LANGUAGES {
        does_the_same(language.name, &(language.build)());
    }
}

#[track_caller]
fn does_the_same(language: &str, component: &Path) {
    compile(component);
    let upstream = Upstream::ok();
    let gateway = with(&upstream, component, SETTINGS).start();
    let seen = gateway.message(BODY);
    seen.has_status(200);
    let receipt = seen.header("x-witgate-edits");
    assert_eq!(receipt, Some("cap-tokens=1"), "{language}");
    upstream.last().has_body(CAPPED);
    // Below the limit, and without the member.
    for body in [CAPPED, r#"{"model":"m","messages":[]}"#] {
        gateway.message(body).has_status(200);
        upstream.last().has_body(body);
    }
    // An error of `describe` rejects the settings with its text.
    let outcome = with(&upstream, component, "settings = { most = 0 }").fails();
    outcome
        .has_code(4)
        .says(&["rejected its settings", "`most`"]);
}

/// Puts the code of an example into the cache, which takes longer than any gateway takes to start.
#[track_caller]
fn compile(component: &Path) {
    let dir = TempDir::new("compile");
    fs::create_dir(dir.path().join("plugins")).unwrap();
    fs::copy(component, dir.path().join("plugins/cap_tokens.wasm")).unwrap();
    dir.write(
        "witgate.toml",
        format!("[plugins]\ncache = {:?}", code_cache()),
    );
    let mut check = witgate(dir.path());
    check.args(["check", "--config", "witgate.toml"]);
    let outcome = finish_within(check, BUILD);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.out, outcome.err);
}

/// A gateway with the example, in the memory that every plugin has.
fn with(upstream: &Upstream, component: &Path, lines: &str) -> Builder {
    Gateway::to(upstream)
        .plugin("50-cap_tokens.wasm", component)
        .tables(&format!("[plugin.cap-tokens]\n{lines}"))
}

/// Builds the example with the commands of its README.
#[track_caller]
fn javascript() -> PathBuf {
    let sources = root().join("plugins/examples/js");
    let home = install::node_at(&sources.join("package.json"), "javascript");
    built(&sources, &home, "cap-tokens.js", |home| {
        let mut npm = Command::new("npm");
        npm.args(["run", "--silent", "build"]).current_dir(home);
        npm
    })
}

#[track_caller]
fn python() -> PathBuf {
    let sources = root().join("plugins/examples/python");
    let home = install::python_at(&sources.join("requirements.txt"), "python");
    built(&sources, &home, "cap_tokens.py", |home| {
        let mut build = Command::new(home.join("bin/componentize-py"));
        build
            .args(["--wit-path", "wit", "--world", "cap-tokens", "componentize"])
            .args(["cap_tokens", "--output", "cap_tokens.wasm"])
            .current_dir(home);
        build
    })
}

/// Copies an example beside its tools, and builds it unless that was done for the same sources.
#[track_caller]
fn built(
    sources: &Path,
    home: &Path,
    main: &str,
    command: impl FnOnce(&Path) -> Command,
) -> PathBuf {
    fs::create_dir_all(home.join("wit")).unwrap();
    let contract = {
        let dir = TempDir::new("contract");
        let mut wit = witgate(dir.path());
        wit.arg("wit");
        finish_within(wit, BUILD).out
    };
    let source = fs::read_to_string(sources.join(main)).unwrap();
    let world = fs::read_to_string(sources.join("wit/world.wit")).unwrap();
    let component = home.join("cap_tokens.wasm");
    let stamp = home.join("built-for");
    let inputs = [source.as_str(), &world, &contract].concat();
    if component.exists() && fs::read_to_string(&stamp).is_ok_and(|built| built == inputs) {
        return component;
    }
    fs::write(home.join(main), &source).unwrap();
    fs::write(home.join("wit/world.wit"), &world).unwrap();
    fs::write(home.join("wit/plugin.wit"), &contract).unwrap();
    let outcome = finish_within(command(home), BUILD);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.out, outcome.err);
    fs::write(stamp, inputs).unwrap();
    component
}

/// Prints the table of docs/plugins/languages.md:
///
/// ```sh
/// ./tests/run --test clients -- --ignored --nocapture what_a_language_costs
/// ```
#[test]
#[ignore = "it measures, and prints"]
fn what_a_language_costs() {
    let rust = Language {
        name: "Rust",
        build: || component("cap-tokens"),
    };
    eprintln!("| language | size | compiling | from the cache | memory | each exchange |");
    eprintln!("| --- | --- | --- | --- | --- | --- |");
    for language in [rust].iter().chain(LANGUAGES) {
        let component = (language.build)();
        let size = fs::metadata(&component).unwrap().len() / 1024;
        let cache = TempDir::new("cold");
        let (cold, warm) = (load(&component, &cache), load(&component, &cache));
        compile(&component);
        let memory = memory(&component);
        let cost = added(&component);
        eprintln!(
            "| {} | {size} KiB | {:.1} s | {:.2} s | {memory} MiB | {:.2} ms |",
            language.name,
            cold.as_secs_f64(),
            warm.as_secs_f64(),
            cost.as_secs_f64() * 1e3
        );
    }
}

/// How long it takes until a running gateway has loaded the component, without the time for which
/// it waits until the file settles.
fn load(component: &Path, cache: &TempDir) -> Duration {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .cache(cache.path())
        .tables(&format!("[plugin.cap-tokens]\n{SETTINGS}"))
        .start();
    let beside = gateway.dir.path().join("cap_tokens.wasm");
    fs::copy(component, &beside).unwrap();
    let from = gateway.mark();
    fs::rename(beside, gateway.plugins().join("cap_tokens.wasm")).unwrap();
    gateway.line_from(from, &["compiling plugins"]);
    let begun = Instant::now();
    gateway.line_from(from, &["plugins loaded", "added=cap-tokens"]);
    begun.elapsed()
}

/// The least memory in MiB with which the example works.
fn memory(component: &Path) -> u32 {
    let upstream = Upstream::ok();
    let works = |memory: &u32| {
        let lines = format!("{SETTINGS}\nmemory = \"{memory}MiB\"");
        let checked = with(&upstream, component, &lines).run(&["check"]);
        checked.code == Some(0) && {
            let gateway = with(&upstream, component, &lines).start();
            gateway.message(BODY).status == 200
        }
    };
    let sizes = [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64];
    sizes.into_iter().find(works).expect("it works in 64 MiB")
}

/// What the example adds to the time of an exchange: the median of exchanges with it, less that of
/// exchanges without it, one after the other.
fn added(component: &Path) -> Duration {
    let upstream = Upstream::ok();
    let with = with(&upstream, component, SETTINGS).start();
    let without = Gateway::to(&upstream).start();
    let [mut slower, mut faster] = [Vec::new(), Vec::new()];
    for _ in 0..1000 {
        for (gateway, times) in [(&with, &mut slower), (&without, &mut faster)] {
            let begun = Instant::now();
            gateway.message(BODY).has_status(200);
            times.push(begun.elapsed());
        }
    }
    median(slower).saturating_sub(median(faster))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
