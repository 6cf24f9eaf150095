//! The SDK that a project carries: the sources that this gateway was built with.
//!
//! So a project builds with exactly the version of its gateway, and needs no checkout of it.

use super::lock;

include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// The workspace of the gateway, which the crates inherit versions from.
const WORKSPACE: &str = include_str!("../../../../../Cargo.toml");
const LOCK: &str = include_str!("../../../../../Cargo.lock");

/// The folder of the SDK in a project.
pub(super) const FOLDER: &str = "vendor/witgate";

/// Sections of a manifest that only tests and lints of the crate itself need.
const OWN: [&str; 3] = ["[dev-dependencies]", "[[bench]]", "[lints]"];

/// The files of the SDK with their paths in a project.
pub(super) fn files() -> Vec<(String, String)> {
    let mut files = vec![(format!("{FOLDER}/Cargo.toml"), workspace())];
    for (path, text) in SDK {
        let text = match path.ends_with("Cargo.toml") {
            true => sections(text)
                .filter(|section| !OWN.iter().any(|own| section.starts_with(own)))
                .collect(),
            false => (*text).to_owned(),
        };
        files.push((format!("{FOLDER}/{path}"), text));
    }
    files
}

/// The lock file of a plugin that needs the SDK and these crates.
pub(super) fn lock(name: &str, dependencies: &[&str]) -> String {
    let unused: Vec<_> = SDK.iter().filter_map(tests_need).collect();
    lock::lock(name, dependencies, LOCK, &unused)
}

/// The name of a crate and what only its tests need, from its manifest.
fn tests_need(
    (path, text): &(&'static str, &'static str),
) -> Option<(&'static str, Vec<&'static str>)> {
    if !path.ends_with("/Cargo.toml") {
        return None;
    }
    let section = |header| sections(text).find(|section| section.starts_with(header));
    let needed = section("[dependencies]").unwrap_or_default();
    let is_needed = |name: &&str| needed.contains(&format!("\n{name}"));
    let names = section(OWN[0])?
        .lines()
        .filter_map(|line| line.split_once(" = "));
    let names = names.map(|(name, _)| name.trim_end_matches(".workspace"));
    let package = text.split("name = \"").nth(1)?.split('"').next()?;
    Some((package, names.filter(|name| !is_needed(name)).collect()))
}

/// Whether the SDK is built with a package of this name.
pub(super) fn is_built_with(name: &str) -> bool {
    lock::has(LOCK, name)
}

/// The oldest version of Rust that builds the SDK.
pub(super) fn rust_version() -> &'static str {
    let after = WORKSPACE.split("rust-version = \"").nth(1);
    after
        .and_then(|text| text.split('"').next())
        .unwrap_or_default()
}

/// The manifest of the workspace that the crates of the SDK are in.
fn workspace() -> String {
    const KEPT: [&str; 2] = ["[workspace.package]", "[workspace.dependencies]"];
    let kept = sections(WORKSPACE)
        .filter(|section| KEPT.iter().any(|kept| section.starts_with(kept)))
        .collect::<String>();
    format!(
        "# The SDK of witgate {}, as this version of the gateway was built with it.\n\
         [workspace]\nresolver = \"3\"\n\
         members = [\"host/contract\", \"host/document\", \"plugins/sdk\"]\n\n{kept}",
        env!("CARGO_PKG_VERSION")
    )
}

/// The sections of a TOML file, each from its header to the next.
fn sections(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find("\n[").map_or(rest.len(), |at| at + 1);
        let (section, after) = rest.split_at(end);
        rest = after;
        Some(section)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> String {
        let path = format!("{FOLDER}/{path}");
        let found = files().into_iter().find(|(name, _)| *name == path);
        found.unwrap_or_else(|| panic!("no `{path}`")).1
    }

    #[test]
    fn the_sdk_is_whole_and_without_its_tests() {
        assert!(file("plugins/sdk/src/lib.rs").contains("pub mod testing"));
        assert!(file("host/contract/src/lib.rs").contains("pub mod guard"));
        assert!(file("LICENSE-MIT").contains("Permission is hereby granted"));
        let document = file("host/document/Cargo.toml");
        assert!(
            document.contains("regex-automata") && !document.contains("divan"),
            "{document}"
        );
        assert!(
            !document.contains("[[bench]]") && !document.contains("[lints]"),
            "{document}"
        );
        assert!(file("Cargo.toml").contains("\nwit-bindgen = "));
        assert!(!file("Cargo.toml").contains("[profile"));
        let size: usize = files().iter().map(|(_, text)| text.len()).sum();
        assert!(size < 2_000_000, "{size}");
    }

    #[test]
    fn the_lock_file_has_what_plugins_are_built_with() {
        let text = lock("my-rule", &["serde", "witgate-plugin"]);
        for name in [
            "my-rule",
            "witgate-plugin",
            "wit-bindgen",
            "serde_derive",
            "wide",
        ] {
            assert!(lock::has(&text, name), "no `{name}` in {text}");
        }
        assert!(rust_version().starts_with("1."));
        for name in ["divan", "proptest", "axum", "wasmtime"] {
            assert!(!lock::has(&text, name), "`{name}` in {text}");
        }
    }
}
