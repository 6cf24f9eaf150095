//! The plugin folder: which file is which plugin, at which place.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::ids::PluginId;

/// No plugin is that large; a language run-time has some 20 MiB.
const FILE_LIMIT: u64 = 64 << 20;

/// A file that is a plugin by its name.
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) order: Option<u8>,
    pub(super) bytes: Result<Vec<u8>, String>,
}

/// What lies in the folder: plugins by name, and files that are none with the reason.
#[derive(Default)]
pub(super) struct Folder {
    pub(super) files: BTreeMap<PluginId, File>,
    pub(super) refused: Vec<(PathBuf, String)>,
}

/// Reads the folder, top level only. A folder that is not there is an empty one.
pub(super) fn read(dir: &Path) -> Folder {
    let mut folder = Folder::default();
    let names = match names(dir) {
        Ok(names) => names,
        Err(error) => {
            let why = format!("the plugin folder cannot be read: {error}");
            folder.refused.push((dir.to_owned(), why));
            return folder;
        }
    };
    for name in names {
        let path = dir.join(&name);
        // A link is what it leads to; one that leads nowhere is refused when it is read.
        if fs::metadata(&path).is_ok_and(|file| file.is_dir()) {
            continue;
        }
        match parse(&name) {
            Err(why) => folder.refused.push((path, why)),
            Ok((order, id)) => match folder.files.get(&id) {
                Some(first) => {
                    let first = first.path.file_name().unwrap_or_default().display();
                    let why = format!(
                        "a second file for plugin `{id}`; `{first}` is in force, remove one of them"
                    );
                    folder.refused.push((path, why));
                }
                None => {
                    let bytes = contents(&path);
                    folder.files.insert(id, File { path, order, bytes });
                }
            },
        }
    }
    folder
}

/// The names that end in `.wasm` and do not begin with a dot, sorted.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // Editors and ConfigMap volumes keep their own files behind a dot.
        if name.ends_with(".wasm") && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// `55-my_rule.wasm` is the plugin `my-rule` at 55.
fn parse(file: &str) -> Result<(Option<u8>, PluginId), String> {
    let stem = file.strip_suffix(".wasm").unwrap_or(file);
    let digits = stem.bytes().take_while(u8::is_ascii_digit).count();
    let (order, name) = match stem[digits..].strip_prefix(['-', '_']) {
        Some(name) if digits > 0 => match stem[..digits].parse::<u8>() {
            Ok(order) if order < 100 && digits <= 2 => (Some(order), name),
            _ => return Err(format!("`{}` is no place in the order, 00 to 99 are", &stem[..digits])),
        },
        _ => (None, stem),
    };
    let id = name.replace('_', "-").parse::<PluginId>().map_err(|error| error.to_string())?;
    Ok((order, id))
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_LIMIT {
        return Err(format!("has {size} bytes, at most {FILE_LIMIT} are allowed"));
    }
    fs::read(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_a_place_and_a_name() {
        let table = [
            ("55-my_rule.wasm", Some(55), "my-rule"),
            ("5-a.wasm", Some(5), "a"),
            ("05_a.wasm", Some(5), "a"),
            ("00-a.wasm", Some(0), "a"),
            ("my_rule.wasm", None, "my-rule"),
            ("2fa.wasm", None, "2fa"),
            ("7.wasm", None, "7"),
        ];
        for (file, order, name) in table {
            let (found_order, found) = parse(file).unwrap();
            assert_eq!((found_order, found.as_str()), (order, name), "{file}");
        }
    }

    #[test]
    fn a_bad_file_name_is_refused_by_what_is_wrong_with_it() {
        let table = [
            ("100-a.wasm", "`100`"),
            ("300-a.wasm", "`300`"),
            ("55-.wasm", "plugin name"),
            ("My_Rule.wasm", "`My-Rule`"),
            ("a b.wasm", "`a b`"),
            ("55-a.v2.wasm", "`a.v2`"),
        ];
        for (file, wanted) in table {
            let why = parse(file).unwrap_err();
            assert!(why.contains(wanted), "{file}: {why}");
        }
    }

    #[test]
    fn the_folder_is_read_flat_and_the_second_file_of_a_name_is_refused() {
        let dir = std::env::temp_dir().join(format!("witgate-files-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(dir.join("55-folder.wasm")).unwrap();
        for file in ["20-rule.wasm", "30_rule.wasm", ".hidden.wasm", "README.md", "other.wasm"] {
            fs::write(dir.join(file), file).unwrap();
        }

        let folder = read(&dir);

        let names: Vec<_> = folder.files.keys().map(PluginId::as_str).collect();
        assert_eq!(names, ["other", "rule"]);
        assert_eq!(folder.files[&"rule".parse().unwrap()].order, Some(20));
        let (path, why) = &folder.refused[0];
        assert!(path.ends_with("30_rule.wasm") && why.contains("`20-rule.wasm` is in force"), "{why}");
        assert_eq!(folder.refused.len(), 1);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_is_empty() {
        let folder = read(Path::new("/nonexistent/witgate"));
        assert!(folder.files.is_empty() && folder.refused.is_empty());
    }
}
