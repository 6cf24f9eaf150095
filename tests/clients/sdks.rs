//! The official SDKs: every case of the two scripts must run and pass.

use std::{fs, path::Path, process::Command, time::Duration};

use crate::{
    install,
    support::{Gateway, Upstream, gateway::finish_within, shapes},
};

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn the_python_sdk_works() {
    if install::skipped() {
        return;
    }
    let python = install::python("requirements.txt");
    every_case_is_ok(&python, "cases.py", "python", |gateway| gateway);
}

#[test]
fn the_python_sdk_works_against_an_upstream_without_threads() {
    if install::skipped() {
        return;
    }
    let python = install::python("requirements.txt");
    // The echo of another gateway plays a server of unknown capabilities.
    let behind = Gateway::echo().start();
    let table = format!(
        "[[upstream]]\nname = \"behind\"\npreset = \"compatible\"\nbase_url = \"http://{}\"\naccounts = [{{ name = \"ada\", key = \"k\" }}]",
        behind.addr
    );
    every_case_is_ok(&python, "cases.py", "python", |gateway| {
        gateway.tables(&table)
    });
}

#[test]
fn an_older_python_sdk_works() {
    if install::skipped() {
        return;
    }
    let python = install::python("requirements-older.txt");
    every_case_is_ok(&python, "cases.py", "python", |gateway| gateway);
}

#[test]
fn the_typescript_sdk_works() {
    if install::skipped() {
        return;
    }
    // Node looks for packages beside the script.
    let home = install::node();
    fs::copy(install::sources().join("cases.mjs"), home.join("cases.mjs")).unwrap();
    every_case_is_ok(Path::new("node"), "cases.mjs", "typescript", |gateway| {
        gateway
    });
}

#[track_caller]
fn every_case_is_ok(
    interpreter: &Path,
    script: &str,
    language: &str,
    more: impl Fn(crate::support::gateway::Builder) -> crate::support::gateway::Builder,
) {
    let key = "sk-witgate-test";
    let gateway = more(Gateway::echo().auth("strict", &[key])).start();
    let small = more(
        Gateway::echo()
            .auth("strict", &[key])
            .top("body_limit = \"64KiB\""),
    )
    .start();
    let file = match language {
        "typescript" => install::node().join(script),
        _ => install::sources().join(script),
    };
    let mut command = Command::new(interpreter);
    command
        .arg(&file)
        .arg(format!("http://{}", gateway.addr))
        .arg(key)
        .arg(format!("http://{}", small.addr));
    for name in [
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
    ] {
        command.env_remove(name);
    }
    command.env("NO_PROXY", "127.0.0.1");
    let outcome = finish_within(command, LIMIT);
    let expected = case_names(&fs::read_to_string(&file).unwrap(), language);
    assert!(expected.len() >= 15, "{expected:?}");
    let failed: Vec<&str> = outcome
        .out
        .lines()
        .filter(|line| !line.starts_with("ok "))
        .collect();
    let missing: Vec<&String> = expected
        .iter()
        .filter(|name| {
            let is_ok = |line: &str| {
                line.strip_prefix("ok ").is_some_and(|rest| {
                    rest == name.as_str() || rest.starts_with(&format!("{name} ("))
                })
            };
            !outcome.out.lines().any(is_ok)
        })
        .collect();
    assert!(
        failed.is_empty() && missing.is_empty(),
        "failed:\n{}\nmissing: {missing:?}\n{}",
        failed.join("\n"),
        outcome.err
    );
}

/// The names of the cases in the script's text, so that a script that ends early loses none.
pub(crate) fn case_names(script: &str, language: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut decorated = false;
    for line in script.lines() {
        let name = if language == "python" {
            let name = line
                .strip_prefix("def ")
                .filter(|_| decorated)
                .and_then(|rest| rest.split('(').next());
            decorated = line == "@case";
            name
        } else {
            line.strip_prefix("  async ")
                .and_then(|rest| rest.split('(').next())
        };
        names.extend(name.map(|name| format!("{language} {name}")));
    }
    names
}

#[test]
fn curl_as_in_the_readme_works() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream).start();
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]);
    command.arg(format!("http://{}/v1/messages", gateway.addr));
    command.args([
        "--header",
        "content-type: application/json",
        "--data",
        shapes::HELLO,
    ]);
    let outcome = finish_within(command, LIMIT);
    outcome.has_code(0).says(&["hello"]);
    upstream
        .last()
        .has_header("anthropic-version", "2023-06-01")
        .has_body(shapes::HELLO);
}
