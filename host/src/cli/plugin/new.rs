//! `witgate plugin new`: writes a plugin project that builds, with a rule, a test and a case.

mod cases; // the first case of a project
mod rust; // projects in Rust
mod sdk; // the SDK that a project carries
mod lock; // its dependencies, in the gateway's versions
mod template; // texts with placeholders

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use crate::{
    cli::{Code, Failure, print, wit},
    ids::PluginId,
};

#[derive(Args)]
pub(in crate::cli) struct NewArgs {
    /// The plugin's name: lower-case letters, digits and hyphens
    name: PluginId,
    /// The language
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// A hook of the plugin; can be given more than once [default: attempt]
    #[arg(
        long = "hook",
        value_enum,
        value_name = "HOOK",
        conflicts_with = "dialect"
    )]
    hooks: Vec<Hook>,
    /// Write a plugin that translates for upstreams with another protocol; its dialect has the
    /// plugin's name, without `dialect-`
    #[arg(long)]
    dialect: bool,
    /// The folder of the project [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Where the SDK comes from: `vendor` puts its sources into the project, a folder is a checkout
    /// of the gateway, and a URL its git repository, at the tag of this version
    #[arg(long, value_name = "SOURCE", default_value = "vendor")]
    sdk: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Language {
    Rust,
}

/// A hook, in the order in which an exchange meets them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Hook {
    /// Once per exchange, before a target is chosen
    Request,
    /// Once per attempt
    Attempt,
    /// After a failed attempt
    Failure,
    /// For each event of the response
    Response,
}

impl Hook {
    /// What the template's rule does in this hook.
    fn summary(self) -> &'static str {
        match self {
            Self::Request => "removes top_k",
            Self::Attempt => "caps max_tokens",
            Self::Failure => "calls a busy upstream overloaded",
            Self::Response => "names the model in a header",
        }
    }
}

/// What a project is about.
struct Project {
    name: String,
    /// Sorted; at least one, unless it is a dialect.
    hooks: Vec<Hook>,
    dialect: Option<String>,
    summary: String,
}

pub(super) fn new(args: &NewArgs) -> Result<(), Failure> {
    let folder = args.path.as_deref();
    let folder = folder.unwrap_or_else(|| Path::new(args.name.as_str()));
    check_is_free(folder)?;
    let project = Project::of(args);
    let Language::Rust = args.lang;
    let source = match args.sdk.as_str() {
        "vendor" => rust::Source::Vendored,
        other => rust::Source::Other(other.to_owned()),
    };
    let mut files = rust::files(&project, &source).map_err(|why| {
        let what = format!(
            "`{}` cannot be the name of a project in Rust: {why}",
            args.name
        );
        Failure::new(Code::Other, what).hint("choose another name; the file can be renamed")
    })?;
    files.extend(cases::files(&project));
    let contract = wit::FILES.iter();
    files.extend(contract.map(|(name, text)| (format!("wit/{name}"), (*text).to_owned())));
    for (path, text) in &files {
        write(&folder.join(path), text)?;
    }
    print(&next_steps(folder, &project))
}

impl Project {
    fn of(args: &NewArgs) -> Self {
        let name = args.name.as_str();
        let dialect = name.strip_prefix("dialect-").unwrap_or(name);
        let dialect = args.dialect.then(|| dialect.to_owned());
        let mut hooks = args.hooks.clone();
        hooks.sort_unstable();
        hooks.dedup();
        if hooks.is_empty() && dialect.is_none() {
            hooks.push(Hook::Attempt);
        }
        let summary = match &dialect {
            Some(dialect) => format!("translates for upstreams of dialect {dialect}"),
            None => hooks
                .iter()
                .map(|hook| hook.summary())
                .collect::<Vec<_>>()
                .join(", "),
        };
        Self {
            name: name.to_owned(),
            hooks,
            dialect,
            summary,
        }
    }
}

/// Fails if there is anything at this path but an empty folder.
fn check_is_free(folder: &Path) -> Result<(), Failure> {
    let taken = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    if !taken {
        return Ok(());
    }
    let what = format!("`{}` exists and is not an empty folder", folder.display());
    Err(Failure::new(Code::Other, what).hint("choose another one with `--path`"))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(path);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(path, text));
    written.map_err(|error| {
        Failure::new(
            Code::Other,
            format!("cannot write `{}`: {error}", path.display()),
        )
    })
}

fn next_steps(folder: &Path, project: &Project) -> String {
    format!(
        "created `{}`: {}\n\n  \
         cd {}\n  \
         cargo test\n  \
         cargo build --release --target wasm32-wasip2\n  \
         witgate plugin test\n",
        folder.display(),
        project.summary,
        folder.display(),
    )
}
