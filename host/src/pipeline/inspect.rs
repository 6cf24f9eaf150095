//! Looks at a file before it is compiled: what it is, which version of the contract it was built
//! for, and what it imports. Compiling takes seconds, and most files that cannot be loaded are
//! recognised here. Does no I/O.

use wasmparser::{BinaryReaderError, Parser, Payload};

use super::host_functions::is_granted;

/// The version of the contract, as in `plugins/sdk/wit/`. A plugin built for another patch version
/// works if all its imports exist.
const OFFERED: (u64, u64, u64) = (0, 2, 0);
pub(super) const PACKAGE: &str = "witgate:plugin/";

/// What a component imports and exports, by name.
#[derive(Default)]
struct Names<'a> {
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
}

/// Checks whether a file may be loaded. The error completes the sentence "plugin X ...".
pub(super) fn inspect(bytes: &[u8]) -> Result<(), String> {
    check_header(bytes)?;
    let names = Names::of(bytes).map_err(|error| {
        let what = format!("is not a valid component: {error}");
        what.replace('\n', " ")
    })?;
    check_names(&names)
}

/// Checks what kind of file this is, so that common mistakes get their own message.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    let why = match bytes {
        [] => "is an empty file",
        _ if bytes.starts_with(COMPONENT) => return Ok(()),
        _ if bytes.len() < COMPONENT.len() && COMPONENT.starts_with(bytes) => "is truncated",
        _ if bytes.starts_with(b"\0asm\x01\0\0\0") => {
            "is a core module, not a component: build it with `--target wasm32-wasip2` in Rust, \
             or make a component of it with `wasm-tools component new`"
        }
        _ if bytes.starts_with(b"\0asm") => "has an unknown WebAssembly version",
        _ if bytes.starts_with(b"\x7fELF") => {
            "is machine code (a `.cwasm` or a native library), expected a WebAssembly component"
        }
        _ => "is not a WebAssembly component",
    };
    Err(why.to_owned())
}

impl<'a> Names<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, BinaryReaderError> {
        let mut names = Self::default();
        // How many modules and components the current section is inside of.
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        names.imports.push(import?.name.name);
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        names.exports.push(export?.name.name);
                    }
                }
                _ => {}
            }
        }
        Ok(names)
    }
}

/// Checks a component's version and imports.
fn check_names(names: &Names<'_>) -> Result<(), String> {
    let Names { imports, exports } = names;
    for name in imports.iter().chain(exports) {
        check_version(name)?;
    }
    if let Some(import) = imports.iter().find(|name| !is_granted(name)) {
        return Err(format!(
            "imports `{import}`, which plugins cannot use: {}",
            remedy(import)
        ));
    }
    let is_manifest = |name: &&str| name.starts_with("witgate:plugin/manifest@");
    if exports.iter().any(is_manifest) {
        return Ok(());
    }
    let exported = match exports.as_slice() {
        [] => "nothing".to_owned(),
        names => format!("`{}`", names.join("`, `")),
    };
    Err(format!(
        "exports no hook of `witgate:plugin`: it was built for another world and exports {exported}"
    ))
}

/// What the author of a component with this import can do.
fn remedy(import: &str) -> &'static str {
    let is_wasi = import.starts_with("wasi:");
    match is_wasi && !import.contains("@0.2.") {
        true => {
            "this gateway has WASI 0.2: build it with `--target wasm32-wasip2` in Rust, or with a \
             version of componentize-js, componentize-py or wasm-tools that makes components for \
             WASI 0.2"
        }
        false if is_wasi => {
            "leave out the library that needs it, or replace it in the component, as `wac plug` does"
        }
        false => {
            "build it for a world that includes nothing but those that `witgate wit` prints, as in \
             docs/plugins/languages.md"
        }
    }
}

fn check_version(name: &str) -> Result<(), String> {
    let Some((_, wanted)) = name
        .strip_prefix(PACKAGE)
        .and_then(|name| name.split_once('@'))
    else {
        return Ok(());
    };
    let (major, minor, patch) = OFFERED;
    let mut numbers = wanted.splitn(3, '.').map(str::parse::<u64>);
    // A pre-release matches nothing but itself, and its patch number does not parse.
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(0)), Some(Ok(wanted)), Some(Ok(_))) if (major, minor) == (0, wanted) => Ok(()),
        _ => Err(format!(
            "was built for `witgate:plugin` `{wanted}`, but this gateway offers `{major}.{minor}.{patch}`: \
             rebuild it with the SDK of `{major}.{minor}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_wrong_file_gets_its_own_message() {
        let table: [(&[u8], &str); 7] = [
            (b"", "empty"),
            (b"\0asm", "truncated"),
            (b"\0asm\x0d\0\x01", "truncated"),
            (b"\0asm\x01\0\0\0...", "--target wasm32-wasip2"),
            (b"\x7fELF\x02\x01", ".cwasm"),
            (b"\0asm\x09\0\0\0", "unknown"),
            (b"<html>", "not a WebAssembly component"),
        ];
        for (bytes, wanted) in table {
            let why = check_header(bytes).unwrap_err();
            assert!(why.contains(wanted), "{bytes:?}: {why}");
        }
        assert_eq!(check_header(b"\0asm\x0d\0\x01\0..."), Ok(()));
    }

    #[test]
    fn only_versions_with_the_same_minor_number_are_accepted() {
        for good in [
            "witgate:plugin/manifest@0.2.0",
            "witgate:plugin/kv@0.2.9",
            "wasi:io/poll@0.2.6",
        ] {
            assert_eq!(check_version(good), Ok(()));
        }
        for bad in ["0.1.0", "1.0.0", "0.2.0-rc.1", "0.2", "x"] {
            let why = check_version(&format!("witgate:plugin/manifest@{bad}")).unwrap_err();
            assert!(
                why.contains(&format!("was built for `witgate:plugin` `{bad}`")),
                "{why}"
            );
        }
    }

    #[test]
    fn an_import_that_is_not_granted_is_named_with_a_way_out() {
        let names = |import| Names {
            imports: vec!["witgate:plugin/kv@0.2.0", "wasi:io/poll@0.2.6", import],
            exports: vec!["witgate:plugin/manifest@0.2.0"],
        };
        for (import, way_out) in [
            ("wasi:cli/environment@0.3.0", "--target wasm32-wasip2"),
            ("wasi:keyvalue/store@0.2.0-draft", "leave out the library"),
            ("log", "witgate wit"),
        ] {
            let why = check_names(&names(import)).unwrap_err();
            assert!(why.contains(&format!("`{import}`")), "{why}");
            assert!(why.contains(way_out), "{why}");
        }
        assert_eq!(check_names(&names("wasi:cli/stdout@0.2.6")), Ok(()));
    }
}
