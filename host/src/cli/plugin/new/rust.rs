//! A plugin project in Rust.

use super::{
    Hook, Project, sdk,
    template::{WIDTH, camel, fill, import, section},
};

const MANIFEST: &str = include_str!("../../../../templates/rust/Cargo.toml.tmpl");
const README: &str = include_str!("../../../../templates/rust/README.md.tmpl");
const TOOLCHAIN: &str = include_str!("../../../../templates/rust/rust-toolchain.toml");
const IGNORE: &str = include_str!("../../../../templates/rust/gitignore");
const RULE: &str = include_str!("../../../../templates/rust/lib.rs.tmpl");
const DIALECT: &str = include_str!("../../../../templates/rust/dialect.rs.tmpl");

/// What every rule names.
const USED: [&str; 5] = ["Error", "Guard", "Manifest", "Plugin", "export"];

/// Names that cargo accepts for no package.
const KEYWORDS: &[&str] = &[
    "abstract", "alloc", "as", "async", "await", "become", "box", "break", "const", "continue",
    "core", "crate", "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen",
    "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv",
    "pub", "ref", "return", "self", "static", "std", "struct", "super", "test", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

impl Hook {
    fn trait_name(self) -> &'static str {
        match self {
            Self::Request => "RequestHook",
            Self::Attempt => "AttemptHook",
            Self::Failure => "FailureHook",
            Self::Response => "ResponseHook",
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::Request => include_str!("../../../../templates/rust/request.rs.tmpl"),
            Self::Attempt => include_str!("../../../../templates/rust/attempt.rs.tmpl"),
            Self::Failure => include_str!("../../../../templates/rust/failure.rs.tmpl"),
            Self::Response => include_str!("../../../../templates/rust/response.rs.tmpl"),
        }
    }
}

/// Where a project's SDK comes from.
pub(super) enum Source {
    /// The sources that this gateway was built with, in the project.
    Vendored,
    /// A checkout of the gateway, or its repository.
    Other(String),
}

/// The files of a project. Fails if cargo would not accept the name.
pub(super) fn files(
    project: &Project,
    source: &Source,
) -> Result<Vec<(String, String)>, &'static str> {
    check(&project.name)?;
    let library = match project.dialect.is_some() {
        true => DIALECT.to_owned(),
        false => rule(project),
    };
    let values = values(project, source);
    let text = |template: &str| fill(template, &values);
    let mut files = vec![
        ("Cargo.toml".to_owned(), text(MANIFEST)),
        ("README.md".to_owned(), text(README)),
        ("rust-toolchain.toml".to_owned(), TOOLCHAIN.to_owned()),
        (".gitignore".to_owned(), IGNORE.to_owned()),
        ("src/lib.rs".to_owned(), text(&library)),
    ];
    if matches!(source, Source::Vendored) {
        let locked = sdk::lock(&project.name, &["serde", "witgate-plugin"]);
        files.push(("Cargo.lock".to_owned(), locked));
        files.extend(sdk::files());
    }
    Ok(files)
}

fn file(name: &str) -> String {
    format!("{}.wasm", name.replace('-', "_"))
}

fn check(name: &str) -> Result<(), &'static str> {
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err("the name of a crate must begin with a letter");
    }
    if KEYWORDS.contains(&name) {
        return Err("it is a word of Rust");
    }
    match sdk::is_built_with(name) {
        true => Err("a crate of this name is among those that the SDK is built with"),
        false => Ok(()),
    }
}

/// The values of the placeholders in every template.
fn values(project: &Project, source: &Source) -> Vec<(&'static str, String)> {
    let version = env!("CARGO_PKG_VERSION");
    let sdk = match source {
        Source::Vendored => format!("{{ path = \"{}/plugins/sdk\" }}", sdk::FOLDER),
        Source::Other(url) if url.contains("://") => {
            format!("{{ git = {url:?}, tag = \"v{version}\" }}")
        }
        Source::Other(checkout) => format!("{{ path = \"{checkout}/plugins/sdk\" }}"),
    };
    let (first, rest) = project.summary.split_at(1);
    vec![
        ("name", project.name.clone()),
        ("Rule", camel(&project.name)),
        ("summary", project.summary.clone()),
        ("Summary", first.to_ascii_uppercase() + rest),
        ("version", version.to_owned()),
        ("rust", sdk::rust_version().to_owned()),
        ("file", file(&project.name)),
        ("sdk", sdk),
        ("dialect", project.dialect.clone().unwrap_or_default()),
    ]
}

/// The source of a rule with the parts of its hooks.
fn rule(project: &Project) -> String {
    let parts = |name: &str| -> Vec<&str> {
        let hooks = project.hooks.iter();
        hooks.map(|hook| section(hook.template(), name)).collect()
    };
    let used = parts("use").into_iter().flat_map(str::lines);
    let failure = project.hooks.contains(&Hook::Failure);
    let response = project.hooks.contains(&Hook::Response);
    let json = response.then_some("json");
    let names: Vec<&str> = used.chain(USED).chain(json).collect();
    let hooks: Vec<&str> = project.hooks.iter().map(|hook| hook.trait_name()).collect();
    let testing = match failure {
        true => "{Exchange, Failed}",
        false => "Exchange",
    };
    let values = [
        ("use", import("witgate_plugin", &names)),
        ("setting", parts("setting").concat()),
        ("default", parts("default").concat()),
        ("manifest", manifest(&project.summary, &parts("guard"))),
        ("hook", parts("hook").concat()),
        ("hooks", hooks.join(", ")),
        ("testing", testing.to_owned()),
        ("test", parts("test").join("\n")),
    ];
    fill(RULE, &values)
}

/// The manifest with its guards, as rustfmt formats it.
fn manifest(summary: &str, guards: &[&str]) -> String {
    let new = format!("        Manifest::new({summary:?})");
    if let [guard] = guards
        && new.len() + guard.trim().len() <= WIDTH
    {
        return format!("{new}{}\n", guard.trim());
    }
    format!("{new}\n{}", guards.concat())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn library(hooks: &[Hook], dialect: Option<&str>) -> String {
        let project = Project {
            name: "my-rule".to_owned(),
            hooks: hooks.to_vec(),
            dialect: dialect.map(str::to_owned),
            summary: "caps max_tokens".to_owned(),
        };
        let files = files(&project, &Source::Vendored).unwrap();
        let library = files.into_iter().find(|(path, _)| path == "src/lib.rs");
        library.unwrap().1
    }

    #[test]
    fn the_readme_of_the_sdk_shows_the_rule_of_a_new_project() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/sdk/README.md");
        let readme = fs::read_to_string(file).unwrap();
        let library = library(&[Hook::Attempt], None);
        let (rule, test) = library.split_once("\n#[cfg(test)]\n").unwrap();
        assert!(readme.contains(&format!("```rust\n{rule}```")), "{rule}");
        assert!(
            readme.contains(&format!("```rust\n#[cfg(test)]\n{test}```")),
            "{test}"
        );
    }

    #[test]
    fn a_rule_has_the_parts_of_its_hooks_and_no_others() {
        let library = library(&[Hook::Request, Hook::Failure], None);
        for part in [
            "impl RequestHook for MyRule",
            "impl FailureHook for MyRule",
            "export!(MyRule: RequestHook, FailureHook);",
            "testing::{Exchange, Failed}",
            "    remove: String,",
            "    busy: String,",
        ] {
            assert!(library.contains(part), "no `{part}` in {library}");
        }
        assert!(
            !library.contains("AttemptHook") && !library.contains("{{"),
            "{library}"
        );
    }

    #[test]
    fn a_dialect_has_its_name() {
        let library = library(&[], Some("mine"));
        assert!(
            library.contains(".dialect(\"mine\")") && !library.contains("{{"),
            "{library}"
        );
    }

    #[test]
    fn names_that_cargo_rejects_are_not_names_of_projects() {
        assert!(check("my-rule").is_ok() && check("r2").is_ok());
        for name in ["2fa", "-a", "match", "serde_json", "serde"] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
