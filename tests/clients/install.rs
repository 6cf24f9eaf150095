//! Installs the clients once, below the target folder, in the versions that this folder's files
//! name.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use crate::support::{component::root, gateway::finish_within};

/// Registries are sometimes slow.
const LIMIT: Duration = Duration::from_secs(600);

/// Whether the user chose to skip these tests. It prints so, and the caller returns early.
pub(crate) fn skipped() -> bool {
    let skip = env::var("WITGATE_SKIP_CLIENTS").is_ok_and(|value| value == "1");
    if skip {
        eprintln!("skipped: WITGATE_SKIP_CLIENTS=1");
    }
    skip
}

/// The interpreter of a virtual environment with the packages of a requirements file.
#[track_caller]
pub(crate) fn python(requirements: &str) -> PathBuf {
    let file = sources().join(requirements);
    let name = file.file_stem().unwrap().to_string_lossy().into_owned();
    python_at(&file, &name).join("bin/python")
}

/// The folder of a virtual environment for a requirements file anywhere.
#[track_caller]
pub(crate) fn python_at(file: &Path, name: &str) -> PathBuf {
    installed_for(file, name, |home| {
        run(Command::new("python3").args(["-m", "venv"]).arg(home));
        let mut pip = Command::new(home.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ]);
        run(pip.arg(file));
    })
}

/// The folder that contains `node_modules`.
#[track_caller]
pub(crate) fn node() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let install = || node_at(&sources().join("package.json"), "package");
    FOLDER.get_or_init(install).clone()
}

/// The folder that contains the `node_modules` of a `package.json` anywhere.
#[track_caller]
pub(crate) fn node_at(file: &Path, name: &str) -> PathBuf {
    installed_for(file, name, |home| {
        fs::create_dir_all(home).unwrap();
        fs::copy(file, home.join("package.json")).unwrap();
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--no-package-lock",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]);
        run(npm.current_dir(home));
    })
}

/// The CLI's own binary: the package is a wrapper around one per platform.
#[track_caller]
pub(crate) fn claude() -> PathBuf {
    let scope = node().join("node_modules/@anthropic-ai");
    let mut found = fs::read_dir(&scope)
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join("claude"));
    found.find(|file| file.is_file()).unwrap_or_else(|| {
        panic!(
            "no binary of Claude Code for this platform in {}",
            scope.display()
        )
    })
}

/// The source folder of these tests.
pub(crate) fn sources() -> PathBuf {
    root().join("tests/clients")
}

/// A folder that is installed once for the content of this file, and again when the content
/// changes.
fn installed_for(file: &Path, name: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clients-{name}"));
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // A failed installation was reported, and the next one may try again.
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let stamp = home.join("installed-for");
    let wanted = fs::read_to_string(file).unwrap();
    if fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
        // Removes a partial installation.
        let _ = fs::remove_dir_all(&home);
        install(&home);
        fs::write(stamp, wanted).unwrap();
    }
    home
}

#[track_caller]
fn run(command: &mut Command) {
    let shown = format!("{command:?}");
    let mut owned = Command::new(command.get_program());
    owned.args(command.get_args()).stdin(Stdio::null());
    if let Some(dir) = command.get_current_dir() {
        owned.current_dir(dir);
    }
    let outcome = finish_within(owned, LIMIT);
    assert!(
        outcome.code == Some(0),
        "cannot install a client: {shown}\n{}{}\nWITGATE_SKIP_CLIENTS=1 skips the clients",
        outcome.out,
        outcome.err
    );
}
