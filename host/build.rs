//! Builds the default plugins for wasm32-wasip2 and embeds them as `$OUT_DIR/builtin.rs`, and
//! embeds the sources of the SDK as `$OUT_DIR/sdk.rs`.
//!
//! The plugins are built in a separate target directory below `OUT_DIR`, because the cargo that
//! runs this locks its own. The compiler settings of the host do not apply to them.

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The default plugins with their positions in the order of calls.
const PLUGINS: &[(u8, &str)] = &[
    (10, "answer-warmup"),
    (20, "background-model"),
    (30, "message-threads"),
    (40, "strip-cache-control"),
    (45, "replace-images"),
    (50, "signature-fallback"),
    (60, "merge-roles"),
    (65, "drop-unsupported"),
    (70, "estimate-tokens"),
    (80, "context-overflow"),
    (90, "dialect-gemini"),
    (91, "dialect-openai"),
];

/// What a plugin project gets of the SDK and of the crates that it needs.
const SDK: &[&str] = &[
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "host/contract/Cargo.toml",
    "host/contract/src",
    "host/document/Cargo.toml",
    "host/document/README.md",
    "host/document/src",
    "plugins/sdk/Cargo.toml",
    "plugins/sdk/README.md",
    "plugins/sdk/src",
    "plugins/sdk/wit",
];

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "plugin";

/// Variables that cargo or clippy set for the host's code and that must not apply to the plugins.
const NOT_FOR_PLUGINS: &[&str] = &[
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "LLVM_PROFILE_FILE",
    "RUSTC_WORKSPACE_WRAPPER",
];

fn main() {
    if let Err(what) = run() {
        for line in what.lines() {
            println!("cargo::error={line}");
        }
    }
}

fn run() -> Result<(), String> {
    let host = variable("CARGO_MANIFEST_DIR")?;
    let root = host.parent().ok_or_else(|| {
        format!(
            "`{}` has no parent folder, expected one with the workspace",
            host.display()
        )
    })?;
    let out = variable("OUT_DIR")?;

    check_target_is_installed()?;
    build_plugins(root, &out)?;

    let built = out.join("plugins").join(TARGET).join(PROFILE);
    write(&out.join("builtin.rs"), &plugins(&built)?)?;
    write(&out.join("sdk.rs"), &sdk(root)?)?;
    rerun_when_changed(root, &built)
}

/// Fails early if the target is missing. Otherwise the build fails later with a missing crate
/// `std`.
fn check_target_is_installed() -> Result<(), String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let printed = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("`{}`: {error}", rustc.display()))?;
    let libraries = String::from_utf8_lossy(&printed.stdout);
    if printed.status.success() && Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    Err(format!(
        "the default plugins need the target `{TARGET}`, which is not installed\n\
         hint: rustup target add {TARGET}"
    ))
}

fn build_plugins(root: &Path, out: &Path) -> Result<(), String> {
    let target_dir = out.join("plugins");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        // The cargo above has just updated the lock file if necessary.
        .args([
            "build",
            "--locked",
            "--target",
            TARGET,
            "--profile",
            PROFILE,
        ])
        .arg("--target-dir")
        .arg(&target_dir)
        // Set, not removed: the user's configuration may set others.
        .env("CARGO_TARGET_DIR", &target_dir)
        .env("CARGO_BUILD_BUILD_DIR", &target_dir)
        .env("RUSTC_WRAPPER", "")
        .env("RUSTFLAGS", "");
    for name in NOT_FOR_PLUGINS {
        command.env_remove(name);
    }
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PROFILE_") {
            command.env_remove(name);
        }
    }
    for (_, name) in PLUGINS {
        command.args(["-p", name]);
    }
    let built = command
        .output()
        .map_err(|error| format!("cannot run cargo for the default plugins: {error}"))?;
    if built.status.success() {
        return Ok(());
    }
    Err(format!(
        "the default plugins do not build\n{}",
        String::from_utf8_lossy(&built.stderr)
    ))
}

/// Returns the source of the constant with order, name and component of each plugin.
fn plugins(built: &Path) -> Result<String, String> {
    let mut text = String::from(
        "/// The built-in plugins: order, name and component.\n\
         pub(crate) const BUILTIN: &[(u8, &str, &[u8])] = &[\n",
    );
    for (order, name) in PLUGINS {
        let component = component(built, name, "wasm");
        if !component.is_file() {
            return Err(format!("`{}` was not built", component.display()));
        }
        let _ = writeln!(
            text,
            "    ({order}, {name:?}, include_bytes!({component:?})),"
        );
    }
    text.push_str("];\n");
    Ok(text)
}

/// Returns the source of the constant with path and text of each file in `SDK`.
fn sdk(root: &Path) -> Result<String, String> {
    let mut files = Vec::new();
    for path in SDK {
        collect(root, Path::new(path), &mut files)?;
    }
    files.sort();
    let mut text = String::from("const SDK: &[(&str, &str)] = &[\n");
    for file in files {
        // With `/` on every platform: projects are written with it.
        let path = file.to_string_lossy().replace('\\', "/");
        let _ = writeln!(
            text,
            "    ({path:?}, include_str!({:?})),",
            root.join(&file)
        );
    }
    text.push_str("];\n");
    Ok(text)
}

/// Adds a file, or all files below a folder.
fn collect(root: &Path, path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let full = root.join(path);
    if !full.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(&full).map_err(|error| format!("`{}`: {error}", full.display()))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("`{}`: {error}", full.display()))?;
        collect(root, &path.join(entry.file_name()), files)?;
    }
    Ok(())
}

/// Tells cargo everything that the embedded bytes depend on, including the sources of the SDK.
fn rerun_when_changed(root: &Path, built: &Path) -> Result<(), String> {
    let mut inputs = vec![
        root.join("Cargo.toml"),
        root.join("Cargo.lock"),
        root.join("rust-toolchain.toml"),
    ];
    inputs.extend(SDK.iter().map(|path| root.join(path)));
    for (_, name) in PLUGINS {
        inputs.push(root.join("plugins").join(name).join("Cargo.toml"));
        inputs.extend(dependencies(&read(&component(built, name, "d"))?));
    }
    inputs.sort();
    inputs.dedup();
    println!("cargo::rerun-if-changed=build.rs");
    for input in inputs {
        println!("cargo::rerun-if-changed={}", input.display());
    }
    Ok(())
}

/// Returns the paths after the colon in a dependency file of rustc, in which spaces are escaped.
fn dependencies(text: &str) -> Vec<PathBuf> {
    const SPACE: &str = "\0";
    let line = text.lines().next().unwrap_or_default();
    let Some((_, paths)) = line.split_once(": ") else {
        return Vec::new();
    };
    paths
        .replace("\\ ", SPACE)
        .split_whitespace()
        .map(|path| PathBuf::from(path.replace(SPACE, " ")))
        .collect()
}

fn component(built: &Path, name: &str, kind: &str) -> PathBuf {
    built.join(format!("{}.{kind}", name.replace('-', "_")))
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| format!("`{name}` is not set; cargo runs this file"))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("`{}`: {error}", path.display()))
}

/// Writes a file unless it has this content already, so that the host is not compiled again.
fn write(path: &Path, text: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(path, text).map_err(|error| format!("`{}`: {error}", path.display()))
}
