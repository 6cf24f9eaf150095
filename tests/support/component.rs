//! Plugins as component files, built from `tests/guests` and `plugins/examples` with `cargo build
//! --target wasm32-wasip2`. They are built once per test binary, into their own target folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The component file of a crate in `tests/guests` or `plugins/examples`.
#[track_caller]
pub fn component(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let mut packages = guests();
        packages.extend(packages_in("plugins/examples"));
        build(
            &root(),
            &packages.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    });
    let file = folder.join(format!("{}.wasm", name.replace('-', "_")));
    assert!(
        file.exists(),
        "{} does not exist; is it a crate in tests/guests or plugins/examples?",
        file.display()
    );
    file
}

/// The names of the packages in `tests/guests`.
pub fn guests() -> Vec<String> {
    packages_in("tests/guests")
}

/// The names of the packages in a folder.
fn packages_in(folder: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join(folder)).expect(folder).flatten() {
        if let Ok(manifest) = fs::read_to_string(entry.path().join("Cargo.toml")) {
            names.push(package_name(&manifest));
        }
    }
    names.sort();
    names
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn package_name(manifest: &str) -> String {
    let line = manifest
        .lines()
        .find(|line| line.starts_with("name"))
        .expect("a package name");
    line.split('"').nth(1).unwrap().to_owned()
}

/// Builds packages as a plugin's author would, and returns the folder of the components.
#[track_caller]
fn build(workspace: &Path, packages: &[&str]) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("components");
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(workspace)
        .args([
            "build",
            "--profile",
            "plugin",
            "--target",
            "wasm32-wasip2",
            "--target-dir",
        ])
        .arg(&target);
    for package in packages {
        command.args(["-p", package]);
    }
    // Cargo's settings for the native build that runs these tests do not apply to a component.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let native = [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_TARGET_DIR",
        ];
        if native.contains(&text.as_ref()) || text.starts_with("CARGO_PROFILE_") {
            command.env_remove(&name);
        }
    }
    let output = command.output().expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "building components failed:\n{said}"
    );
    target.join("wasm32-wasip2/plugin")
}
