//! The crate against another implementation of RFC 9535, and `select` against `matches`, on the
//! same generated texts and queries in each run.
//!
//! `SEED` and `CASES` generate others, or more of them:
//! `SEED=7 CASES=1000000 cargo test --release -p witgate-document --test differential`.

#[allow(dead_code, reason = "edits are compared in properties.rs")]
mod naive;
#[allow(dead_code, reason = "texts are spelt in other ways in properties.rs")]
mod support;

use std::env;

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use serde_json::Value;
use serde_json_path::JsonPath;
use witgate_document::{Document, Path};

const SEED: u64 = 9_535;
const CASES: u64 = 4_000;

#[test]
fn queries_select_what_another_implementation_selects() {
    let (seed, cases) = (setting("SEED", SEED), setting("CASES", CASES));
    println!("to repeat this run: SEED={seed} CASES={cases}");
    let mut runner = runner(seed);
    let texts = prop_oneof![support::text(), naive::lists()];
    let queries = prop_oneof![
        naive::query().prop_map(|query| query.to_string()),
        naive::list_query().prop_map(|query| query.to_string()),
    ];
    let mut compared = 0;
    for case in 0..cases {
        let text = texts.new_tree(&mut runner).expect("a text").current();
        let query = queries.new_tree(&mut runner).expect("a query").current();
        compared += u64::from(agree(&text, &query, case));
    }
    // The other implementation has no `search` as built here.
    assert!(compared * 2 > cases, "only {compared} of {cases} compared");
}

/// Compares one query with the other implementation, if that can parse it, and with itself.
fn agree(text: &str, query: &str, case: u64) -> bool {
    let document = Document::new(text.to_owned());
    let path = Path::parse(query).expect("a path");
    let mut ours = document.select(&path).expect("valid");
    assert_eq!(
        document.matches(&path),
        Ok(!ours.is_empty()),
        "case {case}: `matches` and `select` of {query} on {text}"
    );
    assert!(document.may_select(&path) || ours.is_empty(), "case {case}");
    let Some(other) = JsonPath::parse(query).ok() else {
        return false;
    };
    if is_disputed(text, query) {
        return false;
    }
    let value: Value = serde_json::from_str(text).expect("json");
    let nodes = other.query_located(&value);
    let mut theirs: Vec<String> = nodes.locations().map(|at| at.to_json_pointer()).collect();
    // Plain values do not keep the order of members.
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs, "case {case}: {query} on {text}");
    true
}

/// Whether the other implementation is known to differ from the RFC: it takes `1.0` for another
/// number than `1`, and finds no element from the end of an array in a singular query.
fn is_disputed(text: &str, query: &str) -> bool {
    let floats = query.contains("== 1") && ["1.0", "10e-1"].iter().any(|one| text.contains(one));
    floats || query.contains("@[-")
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(ProptestConfig::default(), rng)
}

fn setting(name: &str, default: u64) -> u64 {
    let given = env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}
