//! Plugins as files: what `cargo build --target wasm32-wasip2` makes of `tests/guests` and of a default plugin with another
//! rule. Built once per test binary, into a target folder of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock},
};

use super::TempDir;

/// The component file of a crate under `tests/guests` or `plugins`.
#[track_caller]
pub fn component(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let packages = guests();
        build(&root(), &packages.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let file = folder.join(format!("{}.wasm", name.replace('-', "_")));
    assert!(file.exists(), "{} is not there; is it a crate under tests/guests?", file.display());
    file
}

/// The default plugin of this name with `from` replaced by `to` in its sources: a user's own build of it.
#[track_caller]
pub fn rebuilt(plugin: &str, file: &str, from: &str, to: &str) -> Vec<u8> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // A failed build of another test does no harm to this one.
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = TempDir::new("rebuilt");
    let here = dir.path().join(plugin);
    copy_folder(&root().join("plugins").join(plugin), &here);
    let source = here.join("src").join(file);
    let text = fs::read_to_string(&source).unwrap();
    assert!(text.contains(from), "no `{from}` in {}", source.display());
    fs::write(&source, text.replace(from, to)).unwrap();
    let manifest = here.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    // On its own it inherits nothing from the workspace.
    fs::write(&manifest, standalone(&text)).unwrap();
    // The versions that the workspace has settled on, so nothing need be fetched.
    fs::copy(root().join("Cargo.lock"), here.join("Cargo.lock")).unwrap();
    let folder = build(&here, &[]);
    fs::read(folder.join(format!("{}.wasm", plugin.replace('-', "_")))).unwrap()
}

/// The names of the packages under `tests/guests`.
pub fn guests() -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("tests/guests")).expect("the folder of guests").flatten() {
        if let Ok(manifest) = fs::read_to_string(entry.path().join("Cargo.toml")) {
            names.push(package_name(&manifest));
        }
    }
    names.sort();
    names
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn package_name(manifest: &str) -> String {
    let line = manifest.lines().find(|line| line.starts_with("name")).expect("a package name");
    line.split('"').nth(1).unwrap().to_owned()
}

/// Builds packages as a plugin's author would and returns the folder of the components.
#[track_caller]
fn build(workspace: &Path, packages: &[&str]) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("components");
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(workspace)
        .args(["build", "--profile", "plugin", "--target", "wasm32-wasip2", "--target-dir"])
        .arg(&target);
    for package in packages {
        command.args(["-p", package]);
    }
    // Settings for the native build that runs these tests are none for a component.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let native = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR"];
        if native.contains(&text.as_ref()) || text.starts_with("CARGO_PROFILE_") {
            command.env_remove(&name);
        }
    }
    let output = command.output().expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "building components failed:\n{said}");
    target.join("wasm32-wasip2/plugin")
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The manifest of a default plugin as that of a crate outside of the workspace.
fn standalone(manifest: &str) -> String {
    let mut text = String::new();
    let mut lints = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            lints = line == "[lints]";
        }
        let line = match line.trim() {
            _ if lints => continue,
            "version.workspace = true" => "version = \"0.1.0\"".to_owned(),
            "edition.workspace = true" => "edition = \"2024\"".to_owned(),
            other if other.contains(".workspace = true") && !other.starts_with("witgate-plugin") => continue,
            other if other.starts_with("witgate-plugin") => {
                format!("witgate-plugin = {{ path = {:?} }}", root().join("plugins/sdk"))
            }
            _ => line.to_owned(),
        };
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str("\n[workspace]\n\n[profile.plugin]\ninherits = \"release\"\nopt-level = \"s\"\npanic = \"abort\"\nstrip = true\n");
    text
}
