//! The plugin folder: which file is which plugin, and at which place in the call order.

use std::{
    collections::BTreeMap,
    fs::{self, File as OpenFile, FileType, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use witgate_contract::limits::COMPONENT as FILE_LIMIT;

use super::Evidence;

use crate::ids::PluginId;

/// A file that is a plugin by its name.
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) order: Option<u8>,
    pub(super) bytes: Result<Vec<u8>, Unusable>,
}

/// Why the content of a file cannot be used.
#[derive(Debug, Clone)]
pub(super) struct Unusable {
    pub(super) evidence: Evidence,
    /// Completes the sentence "plugin X ...".
    pub(super) why: String,
}

/// The contents of the folder: plugins by name, and rejected files with the reason.
#[derive(Default)]
pub(super) struct Folder {
    pub(super) files: BTreeMap<PluginId, File>,
    pub(super) refused: Vec<(PathBuf, String)>,
}

/// Reads the folder, top level only. Fails if the folder cannot be listed, which says nothing about
/// the files in it.
pub(super) fn read(dir: &Path) -> io::Result<Folder> {
    let mut folder = Folder::default();
    for name in names(dir)? {
        let path = dir.join(&name);
        // Links are followed. A broken one is rejected when it is read.
        if fs::metadata(&path).is_ok_and(|file| file.is_dir()) {
            continue;
        }
        match parse(&name) {
            Err(why) => folder.refused.push((path, why)),
            Ok((order, id)) => match folder.files.get(&id) {
                Some(first) => {
                    let first = first.path.file_name().unwrap_or_default().display();
                    let why = format!(
                        "another file for plugin `{id}`: `{first}` is already used; remove one of them"
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
    Ok(folder)
}

/// A path in one line: a file name can have line feeds.
pub(super) fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    match text.contains(char::is_control) {
        true => text.escape_debug().to_string(),
        false => text,
    }
}

/// Whether the folder can be listed.
pub(super) fn is_listable(dir: &Path) -> bool {
    names(dir).is_ok()
}

/// Whether the content of a plugin file can be read.
pub(super) fn is_readable(file: &Path) -> bool {
    contents(file).is_ok()
}

/// The names that end in `.wasm` and do not begin with a dot, sorted.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // Editors and ConfigMap volumes begin the names of their own files with a dot.
        if name.ends_with(".wasm") && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The name of the plugin in a file, from the file's name.
pub(super) fn plugin_name(file: &Path) -> Result<PluginId, String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if !name.ends_with(".wasm") {
        return Err("the name of a plugin's file must end in `.wasm`".to_owned());
    }
    parse(&name).map(|(_, id)| id)
}

/// Reads a file name: `55-my_rule.wasm` is the plugin `my-rule` with order 55.
fn parse(file: &str) -> Result<(Option<u8>, PluginId), String> {
    if file.contains(char::is_control) {
        return Err("the file name has a control character: rename the file".to_owned());
    }
    let stem = file.strip_suffix(".wasm").unwrap_or(file);
    let digits = stem.bytes().take_while(u8::is_ascii_digit).count();
    let (order, name) = match stem[digits..].strip_prefix(['-', '_']) {
        Some(name) if digits > 0 => match stem[..digits].parse::<u8>() {
            Ok(order) if order < 100 && digits <= 2 => (Some(order), name),
            _ => {
                return Err(format!(
                    "the order at the start of the file name must be 00 to 99, got `{}`",
                    &stem[..digits]
                ));
            }
        },
        _ => (None, stem),
    };
    let id = name
        .replace('_', "-")
        .parse::<PluginId>()
        .map_err(|error| error.to_string())?;
    Ok((order, id))
}

/// Reads a regular file, or the one that a link leads to. Other types are not opened, and at most
/// one byte past the limit is read, whatever size the metadata gives.
fn contents(path: &Path) -> Result<Vec<u8>, Unusable> {
    let unreadable = |error: io::Error| Unusable {
        evidence: Evidence::Unreadable,
        why: format!("cannot be read: {error}"),
    };
    let by_metadata = |why| Unusable {
        evidence: Evidence::Metadata,
        why,
    };
    let is_regular = |file: FileType| match file.is_file() {
        true => Ok(()),
        false => Err(by_metadata(format!(
            "is {}, but a plugin must be a regular file or a link to one; replace or remove it",
            kind(file)
        ))),
    };
    // Opening a device may have side effects.
    is_regular(fs::metadata(path).map_err(unreadable)?.file_type())?;
    let file = open(path).map_err(unreadable)?;
    // The file may have been replaced in between.
    let metadata = file.metadata().map_err(unreadable)?;
    is_regular(metadata.file_type())?;
    let size = metadata.len();
    if size > FILE_LIMIT {
        return Err(by_metadata(format!(
            "has {size} bytes, the limit is {FILE_LIMIT}"
        )));
    }
    let bytes = at_most(FILE_LIMIT, file).map_err(unreadable)?;
    bytes.ok_or_else(|| {
        by_metadata(format!(
            "has more than {FILE_LIMIT} bytes, which is the limit"
        ))
    })
}

/// Reads to the end; `None` if that is past the limit. Some file systems give files a size of 0,
/// and a file may grow while it is read, so the size in the metadata is not trusted.
fn at_most(limit: u64, reader: impl io::Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = reader.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((read as u64 <= limit).then_some(bytes))
}

/// Opens a file to read, without waiting for a writer if it turns out to be a FIFO.
fn open(path: &Path) -> io::Result<OpenFile> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NONBLOCK);
    }
    options.open(path)
}

/// Names the type of a file that is not a regular one.
fn kind(file: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if file.is_fifo() {
            return "a FIFO";
        }
        if file.is_char_device() || file.is_block_device() {
            return "a device";
        }
        if file.is_socket() {
            return "a socket";
        }
    }
    match file.is_dir() {
        true => "a folder",
        false => "a special file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_forge_a_line() {
        let name = "a\n2026-11-27T00:00:00Z  INFO witgate: forged.wasm";
        assert!(parse(name).unwrap_err().contains("control character"));
        assert_eq!(shown(Path::new("/p/a\nb.wasm")), "/p/a\\nb.wasm");
        assert_eq!(shown(Path::new("/p/\u{e9}'.wasm")), "/p/\u{e9}'.wasm");
    }

    #[test]
    fn a_file_name_has_an_order_and_a_name() {
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
    fn a_bad_file_name_is_rejected_with_the_reason() {
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
    fn the_folder_is_read_flat_and_the_second_file_of_a_name_is_rejected() {
        let dir = std::env::temp_dir().join(format!("witgate-files-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(dir.join("55-folder.wasm")).unwrap();
        for file in [
            "20-rule.wasm",
            "30_rule.wasm",
            ".hidden.wasm",
            "README.md",
            "other.wasm",
        ] {
            fs::write(dir.join(file), file).unwrap();
        }

        let folder = read(&dir).unwrap();

        let names: Vec<_> = folder.files.keys().map(PluginId::as_str).collect();
        assert_eq!(names, ["other", "rule"]);
        assert_eq!(folder.files[&"rule".parse().unwrap()].order, Some(20));
        let (path, why) = &folder.refused[0];
        assert!(
            path.ends_with("30_rule.wasm") && why.contains("`20-rule.wasm` is already used"),
            "{why}"
        );
        assert_eq!(folder.refused.len(), 1);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_listed_is_an_error_and_not_an_empty_one() {
        let missing = read(Path::new("/nonexistent/witgate")).err().unwrap();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let file = std::env::current_exe().unwrap();
        let listed_file = read(&file).err().unwrap();
        assert_eq!(listed_file.kind(), io::ErrorKind::NotADirectory);
        assert!(!is_listable(&file) && is_readable(&file));
    }

    #[test]
    fn reading_ends_one_byte_past_the_limit() {
        let endless = || io::repeat(b'x');
        assert_eq!(at_most(10, endless()).unwrap(), None);
        assert_eq!(at_most(10, endless().take(11)).unwrap(), None);
        let all = at_most(10, endless().take(10)).unwrap().unwrap();
        assert_eq!(all, b"xxxxxxxxxx");
        let mut left = endless().take(100);
        assert_eq!(at_most(10, &mut left).unwrap(), None);
        assert_eq!(left.limit(), 100 - 11);
    }

    #[cfg(unix)]
    #[test]
    fn only_regular_files_and_links_to_them_are_opened() {
        use std::os::unix::{fs::symlink, net::UnixListener};
        let dir = std::env::temp_dir().join(format!("witgate-files-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&dir).unwrap();
        let at = |name: &str| dir.join(name);
        fs::write(at("file"), "content").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("/dev/zero", at("zero")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();

        assert_eq!(contents(&at("file")).unwrap(), b"content");
        assert_eq!(contents(&at("link")).unwrap(), b"content");
        for (name, evidence, wanted) in [
            ("dangling", Evidence::Unreadable, "cannot be read"),
            ("zero", Evidence::Metadata, "is a device, but"),
            ("socket", Evidence::Metadata, "is a socket, but"),
        ] {
            let unusable = contents(&at(name)).unwrap_err();
            assert_eq!(unusable.evidence, evidence, "{name}");
            assert!(unusable.why.contains(wanted), "{name}: {}", unusable.why);
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
