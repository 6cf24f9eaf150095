//! Building blocks of the end-to-end tests: the built gateway, a scripted upstream, plain HTTP
//! clients, and plugins as files. Everything listens on port 0, and nothing sleeps: each wait has a
//! name and a limit.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of this module"
)]
#![allow(
    unreachable_pub,
    reason = "public for the test binaries that include this module"
)]

#[path = "../../host/src/cli/plugin/test/case.rs"]
pub mod case;
pub mod cases;
pub mod client;
pub mod component;
pub mod gateway;
pub mod h2;
pub mod json;
pub mod shapes;
pub mod strict;
pub mod tempdir;
pub mod upstream;

use std::{
    any::Any,
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

pub use client::{Reply, Request, Streaming};
pub use component::component;
pub use gateway::{Gateway, Outcome};
pub use tempdir::TempDir;
pub use upstream::{Answer, Received, Upstream};

/// Long enough for a busy machine, short enough to find a wait that never ends.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Fails unless the condition holds within the limit; it is checked every few milliseconds. For
/// conditions without an event to wait for.
#[macro_export]
macro_rules! assert_eventually {
    ($condition:expr, $($what:tt)+) => {{
        let begun = std::time::Instant::now();
        while !$condition {
            assert!(begun.elapsed() < $crate::support::LIMIT, "never: {}", format_args!($($what)+));
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
    }};
}

/// Checks every item of a list and reports all failures, not only the first.
#[track_caller]
pub fn each<N: Display, T>(items: impl IntoIterator<Item = (N, T)>, check: impl Fn(T)) {
    let mut failed = Vec::new();
    for (name, item) in items {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(item))) {
            failed.push(format!("{name}: {}", message(&*panic)));
        }
    }
    assert!(
        failed.is_empty(),
        "{} failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words")
}
