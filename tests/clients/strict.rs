//! Requests to a provider, and the responses used by tests, checked against the provider's own
//! published types instead of our reading of its documents.

use std::{path::PathBuf, process::Command, time::Duration};

use crate::{
    install,
    support::{TempDir, cases, gateway::finish_within},
};

const LIMIT: Duration = Duration::from_secs(120);

/// The output of a validator: a line for each thing that it checked.
fn report(script: &str, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new(install::python("requirements-strict.txt"));
    command
        .arg(install::sources().join("strict").join(script))
        .args(arguments);
    let outcome = finish_within(command, LIMIT);
    outcome.has_code(0);
    outcome.out.lines().map(str::to_owned).collect()
}

#[track_caller]
fn all_are_ok(lines: &[String]) {
    let failed: Vec<_> = lines
        .iter()
        .filter(|line| !line.starts_with("ok "))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_planted_wrong_field_is_noticed_wherever_it_is() {
    if install::skipped() {
        return;
    }
    let lines = report("planted.py", &[]);
    all_are_ok(&lines);
    for place in ["top", "part", "tool", "schema", "call", "answer top"] {
        for dialect in ["gemini", "openai"] {
            let named = format!("ok {dialect} {place} (");
            assert!(
                lines.iter().any(|line| line.starts_with(&named)),
                "nothing was planted: {named}"
            );
        }
    }
}

#[test]
fn what_dialect_gemini_sends_is_what_google_genai_takes() {
    every_case_is_the_providers_own("gemini");
}

#[test]
fn what_dialect_openai_sends_is_what_openai_takes() {
    every_case_is_the_providers_own("openai");
}

#[track_caller]
fn every_case_is_the_providers_own(dialect: &str) {
    if install::skipped() {
        return;
    }
    // The files include everything that a case takes from the defaults of its dialect.
    let expanded = TempDir::new("cases");
    let cases = cases::all();
    let cases = cases
        .into_iter()
        .filter(|case| cases::dialect(case) == dialect);
    let folders: Vec<PathBuf> = cases
        .map(|case| {
            let folder = expanded.path().join(case.name());
            cases::expand(&case, &folder);
            folder
        })
        .collect();
    assert!(folders.len() >= 40, "only {} cases", folders.len());
    let lines = report("cases.py", &[expanded.path().to_str().unwrap(), dialect]);
    all_are_ok(&lines);
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap();
        for (file, what) in [("sent.json", "sent"), ("upstream.sse", "upstream")] {
            // A response in another server's format is not checked, and the output must say so.
            let foreign = what == "upstream" && folder.join("foreign.txt").exists();
            let line = format!("ok {name} {}", if foreign { "foreign" } else { what });
            assert!(
                !folder.join(file).exists() || lines.contains(&line),
                "{name}/{file} was not checked"
            );
        }
    }
}
