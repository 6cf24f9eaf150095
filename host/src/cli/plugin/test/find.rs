//! Finds the plugin and the cases that belong to a folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    cli::{Code, Failure},
    ids::PluginId,
    pipeline::{builtin_names, plugin_name},
};

/// The plugin that is tested.
pub(super) struct Subject {
    pub(super) name: PluginId,
    /// `None` for a built-in plugin.
    pub(super) file: Option<PathBuf>,
}

/// The folder of the cases of a project, or the folder itself.
pub(super) fn cases(folder: &Path) -> PathBuf {
    let cases = folder.join("cases");
    match cases.is_dir() {
        true => cases,
        false => folder.to_owned(),
    }
}

/// The plugin that is named, or the one that the project in this folder has built.
pub(super) fn subject(folder: &Path, named: Option<&str>) -> Result<Subject, Failure> {
    if let Some(named) = named {
        return match builtin(named) {
            Some(name) => Ok(Subject { name, file: None }),
            None => of_file(Path::new(named)),
        };
    }
    // The folder of the cases belongs to the project that it is in.
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    for folder in [Some(folder), full.parent()].into_iter().flatten() {
        if let Some(file) = built(folder)? {
            return of_file(&file);
        }
    }
    let name = full.file_name().and_then(|name| builtin(name.to_str()?));
    if let Some(name) = name {
        return Ok(Subject { name, file: None });
    }
    let what = format!("`{}` is not a project with a component", folder.display());
    Err(Failure::new(Code::Arguments, what).hint("name the component with `--plugin`"))
}

fn builtin(name: &str) -> Option<PluginId> {
    builtin_names().find(|builtin| builtin.as_str() == name)
}

fn of_file(file: &Path) -> Result<Subject, Failure> {
    let wrong = |why: String| {
        let hint = "build it first, or name the component with `--plugin`; a built-in plugin is \
                    named without `.wasm`";
        Failure::new(Code::Arguments, format!("`{}`: {why}", file.display())).hint(hint)
    };
    fs::File::open(file).map_err(|error| wrong(error.to_string()))?;
    let name = plugin_name(file).map_err(|error| wrong(error.to_string()))?;
    Ok(Subject {
        name,
        file: Some(file.to_owned()),
    })
}

/// The component of a project: where cargo puts it, or the only one in the folder.
fn built(folder: &Path) -> Result<Option<PathBuf>, Failure> {
    if let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) {
        let name = package(&manifest).map(|name| name.replace('-', "_"));
        let file = |name| format!("target/wasm32-wasip2/release/{name}.wasm");
        return Ok(name.map(|name| folder.join(file(name))));
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let mut components = files.filter(|file| file.extension().is_some_and(|is| is == "wasm"));
    match (components.next(), components.next()) {
        (Some(_), Some(_)) => {
            let what = format!("`{}` has several components", folder.display());
            Err(Failure::new(Code::Arguments, what).hint("name one with `--plugin`"))
        }
        (one, _) => Ok(one),
    }
}

/// The name of the package in a manifest.
fn package(manifest: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Manifest {
        package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    let manifest: Manifest = toml::from_str(manifest).ok()?;
    Some(manifest.package.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_package_is_read() {
        let text = "[package]\nname = \"my-rule\"\nversion = \"1.0.0\"\n[lib]\nname = \"x\"\n";
        assert_eq!(package(text).as_deref(), Some("my-rule"));
        assert_eq!(package("[workspace]\n"), None);
    }
}
