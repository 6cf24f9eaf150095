//! What a process with little address space (`ulimit -v`) does differently.

use std::{env, ffi::OsString, os::unix::process::CommandExt, process::Command};

use rlimit::Resource;
use tracing::warn;

/// The address space with which plugins run although glibc reserves 64 MiB of it for each thread.
const ENOUGH: u64 = 1 << 30;

/// The environment variable in which glibc looks for the largest number of heaps.
const HEAPS: &str = "MALLOC_ARENA_MAX";

/// Starts the program again in the same process, with two heaps for all of its threads, if there is
/// little address space: otherwise glibc reserves 64 MiB of it for the heap of each thread.
///
/// Returns if there is enough, if the number of heaps is set, or if the program cannot be started.
/// To be called first, while there is nothing that would be lost.
#[expect(
    clippy::disallowed_methods,
    reason = "the arguments are handed on, not read"
)]
pub(super) fn share_heaps() {
    if limit().is_none() || !cfg!(target_env = "gnu") || heaps().is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else {
        return;
    };
    let mut args = env::args_os();
    let mut again = Command::new(program);
    again.arg0(args.next().unwrap_or_default());
    // Returns only if it fails. Then the program goes on, and `warn_if_limited` says what to do.
    let _error = again.args(args).env(HEAPS, "2").exec();
}

/// Warns before plugins are compiled, because the process ends without a reason where the system
/// has no address space for an allocation.
pub(super) fn warn_if_limited() {
    if let Some(limit) = limit() {
        let mib = limit >> 20;
        let heaps = heaps().unwrap_or_else(|| "not set".into());
        warn!(
            "address space is limited to {mib} MiB (`ulimit -v`): if an allocation fails, raise the limit to 1 GiB ({HEAPS} is {})",
            heaps.display()
        );
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "no setting of the gateway's, but one of the C library's"
)]
fn heaps() -> Option<OsString> {
    env::var_os(HEAPS)
}

/// The limit of this process, if it is less than enough.
fn limit() -> Option<u64> {
    let (limit, _) = rlimit::getrlimit(Resource::AS).ok()?;
    (limit < ENOUGH).then_some(limit)
}
