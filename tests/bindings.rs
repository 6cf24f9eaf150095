//! The SDK's bindings are generated from the WIT and checked in, so that a build of the gateway or
//! of a plugin does not have to build the generator first.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// `UPDATE_BINDINGS=1` rewrites them.
#[test]
fn the_bindings_of_the_sdk_are_what_the_wit_generates() {
    let bindings = root().join("plugins/sdk/src/wasm");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bindings");
    if env::var_os("UPDATE_BINDINGS").is_some() {
        generate(&bindings);
    }
    // What an earlier version of the WIT generated is not generated now.
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).unwrap();
    generate(&out);
    let (expected, found) = (files(&out), files(&bindings));
    assert!(
        !expected.is_empty() && expected == found,
        "plugins/sdk/src/wasm differs from what plugins/sdk/wit generates; UPDATE_BINDINGS=1 \
         rewrites it"
    );
}

/// Runs the generator, built in a target folder of its own.
#[track_caller]
fn generate(out: &Path) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bindgen");
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["run", "--quiet", "--locked"])
        .args(["--manifest-path", "tests/bindgen/Cargo.toml"])
        .arg("--target-dir")
        .arg(target)
        .env_remove("CARGO_TARGET_DIR")
        .arg("--")
        .args([&root().join("plugins/sdk/wit/0.2.0"), out])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| (entry.file_name().into(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}
