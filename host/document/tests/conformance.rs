//! Runs the public compliance suites of JSONPath and JSON Patch. `conformance/README.md` says where
//! the cases are from.

use serde_json::{Value, value::RawValue};
use witgate_document::{Document, Error, Operation, Path};

type RawCase<'t> = std::collections::BTreeMap<String, &'t RawValue>;

/// The cases of a suite, one per line.
#[track_caller]
fn cases(suite: &str, count: usize) -> Vec<RawCase<'_>> {
    let cases: Vec<RawCase> = suite
        .lines()
        .map(|line| serde_json::from_str(line).expect("a case"))
        .collect();
    assert_eq!(cases.len(), count, "cases in the suite");
    cases
}

fn raw<'t>(case: &'t RawCase, name: &str) -> Option<&'t str> {
    case.get(name).map(|value| value.get())
}

/// Fails with all faults, each under the name the suite gives its case.
#[track_caller]
fn all_hold(cases: &[RawCase], called: &str, check: impl Fn(&RawCase) -> Result<(), String>) {
    let fault = |(index, case): (usize, &RawCase)| {
        let name = raw(case, called).unwrap_or_default();
        let line = index + 1;
        check(case)
            .err()
            .map(|fault| format!("line {line}, {name}: {fault}"))
    };
    let faults: Vec<String> = cases.iter().enumerate().filter_map(fault).collect();
    let count = format!("{} of {}", faults.len(), cases.len());
    assert!(faults.is_empty(), "{count}:\n{}", faults.join("\n"));
}

#[test]
fn every_jsonpath_case_holds() {
    let cases = cases(include_str!("conformance/jsonpath.jsonl"), 703);
    all_hold(&cases, "name", jsonpath_case);
}

#[test]
fn every_json_patch_case_holds() {
    let cases = cases(include_str!("conformance/json-patch.jsonl"), 112);
    all_hold(&cases, "comment", patch_case);
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
    let mut visited = Vec::new();
    let visit = document.visit(&path, |text| visited.push(text.to_owned()));
    visit.map_err(|error| error.to_string())?;
    if !visited.iter().eq(nodes.iter().map(|node| &*node.value)) {
        return Err("read and visit differ".to_owned());
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
    // By the RFC members are unordered, so a case may allow several results. Ours is the order of
    // the text.
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

fn patch_case(case: &RawCase) -> Result<(), String> {
    let patch = raw(case, "patch").expect("a patch");
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
