//! The state of the files on disk, by their metadata. Nothing is read.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The metadata of a file. Equal stamps mean the same file with the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Device, inode and time of change. They reveal a renamed file, a swapped link and a `chmod`.
    #[cfg(unix)]
    identity: (u64, u64, i64, i64),
}

/// The configuration files and the plugin files at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The configuration file and the files it refers to, if they exist.
    pub(super) config: BTreeMap<PathBuf, Stamp>,
    pub(super) plugins: Listing,
}

/// The plugin files of a folder, if it can be listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing {
    files: BTreeMap<PathBuf, Stamp>,
    /// Why the folder could not be listed. Such a folder differs from an empty one.
    error: Option<io::ErrorKind>,
}

impl Scan {
    /// Looks once. A missing file is left out.
    pub(super) fn take<'a>(
        config_files: impl IntoIterator<Item = &'a Path>,
        plugins: &Path,
    ) -> Self {
        let config = config_files.into_iter().map(Path::to_owned);
        Self {
            config: stamped(config),
            plugins: Listing::of(plugins),
        }
    }

    /// Whether a file of `earlier` is missing, in which case it may be about to return.
    pub(super) fn misses_any_of(&self, earlier: &Scan) -> bool {
        let gone = |now: &BTreeMap<PathBuf, Stamp>, then: &BTreeMap<PathBuf, Stamp>| {
            then.keys().any(|path| !now.contains_key(path))
        };
        gone(&self.config, &earlier.config) || gone(&self.plugins.files, &earlier.plugins.files)
    }
}

impl Listing {
    fn of(folder: &Path) -> Self {
        let listed = fs::read_dir(folder).and_then(|entries| {
            let paths = entries.map(|entry| Ok(entry?.path()));
            paths.collect::<io::Result<Vec<_>>>()
        });
        match listed {
            Ok(paths) => Self {
                files: stamped(paths.into_iter().filter(|path| is_component(path))),
                error: None,
            },
            Err(error) => Self {
                files: BTreeMap::new(),
                error: Some(error.kind()),
            },
        }
    }

    pub(super) fn stamp_of(&self, file: &Path) -> Option<&Stamp> {
        self.files.get(file)
    }
}

fn is_component(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "wasm")
}

fn stamped(paths: impl Iterator<Item = PathBuf>) -> BTreeMap<PathBuf, Stamp> {
    // `metadata` follows links, so a link with another target has another stamp.
    paths
        .filter_map(|path| Some((fs::metadata(&path).ok()?, path)))
        .map(|(m, p)| (p, stamp(&m)))
        .collect()
}

fn stamp(metadata: &Metadata) -> Stamp {
    #[cfg(unix)]
    use std::os::unix::fs::MetadataExt;
    Stamp {
        length: metadata.len(),
        modified: metadata.modified().ok(),
        #[cfg(unix)]
        identity: (
            metadata.dev(),
            metadata.ino(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::folder::Folder, *};

    #[track_caller]
    fn is_seen(folder: &Folder, act: impl FnOnce(&Path)) {
        let before = Scan::take([], folder.path());
        act(folder.path());
        assert_ne!(Scan::take([], folder.path()), before);
    }

    #[test]
    fn every_way_to_change_a_component_is_seen() {
        let folder = Folder::new();
        is_seen(&folder, |at| fs::write(at.join("a.wasm"), "1").unwrap());
        is_seen(&folder, |at| fs::write(at.join("a.wasm"), "12").unwrap());
        is_seen(&folder, |at| {
            // The same length, and possibly the same time stamp.
            fs::write(at.join("new"), "34").unwrap();
            fs::rename(at.join("new"), at.join("a.wasm")).unwrap();
        });
        is_seen(&folder, |at| {
            fs::rename(at.join("a.wasm"), at.join("b.wasm")).unwrap()
        });
        is_seen(&folder, |at| fs::remove_file(at.join("b.wasm")).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn a_swapped_link_is_seen_although_neither_file_changed() {
        use std::os::unix::fs::symlink;
        let folder = Folder::new();
        for name in ["one", "two"] {
            fs::write(folder.path().join(name), "same length").unwrap();
        }
        symlink("one", folder.path().join("a.wasm")).unwrap();
        is_seen(&folder, |at| {
            symlink("two", at.join("link")).unwrap();
            fs::rename(at.join("link"), at.join("a.wasm")).unwrap();
        });
    }

    #[test]
    fn other_files_are_ignored() {
        let folder = Folder::new();
        let before = Scan::take([], folder.path());
        fs::write(folder.path().join("notes.txt"), "x").unwrap();
        fs::write(folder.path().join("half.wasm.part"), "x").unwrap();
        assert_eq!(Scan::take([], folder.path()), before);
    }

    #[test]
    fn a_missing_folder_and_a_file_of_its_name_differ_from_an_empty_folder() {
        let folder = Folder::new();
        let plugins = folder.path().join("plugins");
        let missing = Scan::take([], &plugins);
        fs::write(&plugins, "").unwrap();
        let replaced = Scan::take([], &plugins);
        fs::remove_file(&plugins).unwrap();
        fs::create_dir(&plugins).unwrap();
        let empty = Scan::take([], &plugins);
        assert!(missing != replaced && missing != empty && replaced != empty);
        assert_eq!(empty, Scan::default());
    }

    #[test]
    fn a_removed_file_is_missed_and_a_new_one_is_not() {
        let folder = Folder::new();
        let file = folder.path().join("witgate.toml");
        fs::write(&file, "").unwrap();
        let with = Scan::take([file.as_path()], folder.path());
        fs::remove_file(&file).unwrap();
        let without = Scan::take([file.as_path()], folder.path());
        assert!(without.misses_any_of(&with));
        assert!(!with.misses_any_of(&without));
    }
}
