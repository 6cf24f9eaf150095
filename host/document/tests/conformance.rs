//! The public compliance suites of JSONPath and JSON Patch, looked for in the folder that `WITGATE_CONFORMANCE` names
//! or else in `../../../shared/reference/conformance` seen from this crate. Without them the tests say so and pass,
//! except in CI, where they fail.

use std::{env, fs, path::PathBuf};

use serde_json::{Value, value::RawValue};
use witgate_document::{Document, Error, Operation, Path};

fn suite(file: &str) -> Option<String> {
    let folder = match env::var_os("WITGATE_CONFORMANCE") {
        Some(folder) => PathBuf::from(folder),
        None => {
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/conformance")
        }
    };
    let path = folder.join(file);
    match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            assert!(env::var_os("CI").is_none(), "{}: {error}", path.display());
            eprintln!("skipped: {}: {error}", path.display());
            None
        }
    }
}

fn raw<'t>(case: &'t RawCase, name: &str) -> Option<&'t str> {
    case.get(name).map(|value| value.get())
}

type RawCase<'t> = std::collections::BTreeMap<String, &'t RawValue>;

#[test]
fn every_jsonpath_case_holds() {
    let Some(text) = suite("jsonpath-cts.json") else {
        return;
    };
    let suite: RawCase = serde_json::from_str(&text).expect("a suite");
    let cases: Vec<RawCase> = serde_json::from_str(suite["tests"].get()).expect("cases");
    let mut faults = Vec::new();
    for case in &cases {
        let name = raw(case, "name").expect("a name");
        if let Err(fault) = jsonpath_case(case) {
            faults.push(format!("{name}: {fault}"));
        }
    }
    eprintln!("{} cases", cases.len());
    assert!(
        faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        cases.len(),
        faults.join("\n")
    );
}

fn jsonpath_case(case: &RawCase) -> Result<(), String> {
    let selector: String =
        serde_json::from_str(raw(case, "selector").expect("a selector")).expect("a string");
    let path = Path::parse(&selector);
    if raw(case, "invalid_selector") == Some("true") {
        return match path {
            Err(_) => Ok(()),
            Ok(_) => Err(format!("{selector} was taken")),
        };
    }
    let path = path.map_err(|error| error.to_string())?;
    let document = Document::new(raw(case, "document").expect("a document").to_owned());
    let nodes = document.read(&path).map_err(|error| error.to_string())?;
    let pointers = document.select(&path).map_err(|error| error.to_string())?;
    let places: Vec<&String> = nodes.iter().map(|node| &node.at).collect();
    if places != pointers.iter().collect::<Vec<_>>() {
        return Err("read and select differ".to_owned());
    }
    if document.matches(&path) != Ok(!nodes.is_empty()) {
        return Err("read and matches differ".to_owned());
    }
    let values: Vec<Value> = nodes
        .iter()
        .map(|node| serde_json::from_slice(&node.value).expect("json"))
        .collect();
    let allowed = |one: &str, several: &str| -> Vec<Value> {
        match (raw(case, one), raw(case, several)) {
            (Some(result), _) => vec![serde_json::from_str(result).expect("json")],
            (None, Some(results)) => serde_json::from_str(results).expect("json"),
            (None, None) => panic!("no result"),
        }
    };
    // Members have no order by the RFC, so a case may allow several; ours is that of the text.
    if !allowed("result", "results").contains(&Value::Array(values.clone())) {
        return Err(format!("{selector} gave {values:?}"));
    }
    let paths_of = |paths: &Value| -> Vec<String> {
        let paths = paths.as_array().expect("paths").iter();
        let pointer = |path: &Value| {
            let path = Path::parse(path.as_str().expect("a path")).expect("a normalized path");
            document.select(&path).expect("valid").remove(0)
        };
        paths.map(pointer).collect()
    };
    if !allowed("result_paths", "results_paths")
        .iter()
        .any(|paths| paths_of(paths) == pointers)
    {
        return Err(format!("{selector} led to {pointers:?}"));
    }
    Ok(())
}

#[test]
fn every_json_patch_case_holds() {
    for file in ["json-patch-tests.json", "json-patch-spec-tests.json"] {
        let Some(text) = suite(file) else { continue };
        let cases: Vec<RawCase> = serde_json::from_str(&text).expect("a suite");
        let mut faults = Vec::new();
        let mut count = 0;
        for (index, case) in cases.iter().enumerate() {
            let Some(patch) = raw(case, "patch") else {
                continue;
            };
            count += 1;
            if let Err(fault) = patch_case(case, patch) {
                let comment = raw(case, "comment").unwrap_or_default();
                faults.push(format!("{file} {index} {comment}: {fault}"));
            }
        }
        eprintln!("{count} cases");
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

fn patch_case(case: &RawCase, patch: &str) -> Result<(), String> {
    let before = raw(case, "doc").expect("a document").to_owned();
    let mut document = Document::new(before.clone());
    let done: Result<(), Error> =
        Operation::parse_list(patch.as_bytes()).and_then(|edits| document.patch(&edits));
    let after = document.bytes();
    match (raw(case, "expected"), raw(case, "error"), done) {
        (Some(expected), _, Ok(())) => {
            let after: Value = serde_json::from_slice(&after).map_err(|error| error.to_string())?;
            let expected: Value = serde_json::from_str(expected).expect("json");
            if after == expected {
                Ok(())
            } else {
                Err(format!("gave {after}"))
            }
        }
        (Some(_), _, Err(error)) => Err(error.to_string()),
        (None, Some(error), Ok(())) => Err(format!("was done, against: {error}")),
        (None, Some(_), Err(_)) if after != before.as_bytes() => Err("was half done".to_owned()),
        (None, Some(_), Err(_)) | (None, None, Ok(())) => Ok(()),
        (None, None, Err(error)) => Err(error.to_string()),
    }
}
