//! Faults for responses that exceed a limit.

use std::time::Duration;

use witgate_contract::limits;

use crate::{
    fault::{Fault, Kind},
    ids::UpstreamId,
};

/// An event is larger than [`limits::EVENT`].
pub(in crate::exchange) fn too_long(upstream: &UpstreamId) -> Fault {
    let what = format!(
        "upstream `{upstream}` sent an invalid response: an event of more than {} MiB",
        limits::EVENT / 1024 / 1024
    );
    Fault::upstream(Kind::InvalidResponse, what)
}

/// The upstream sent only pings for this long.
pub(in crate::exchange) fn only_pings(upstream: &UpstreamId, idle: Duration) -> Fault {
    let idle = idle.as_secs_f64();
    let what =
        format!("upstream `{upstream}` sent only pings for {idle} s in the middle of its response");
    Fault::upstream(Kind::TimedOut, what)
}

/// The upstream sent more than `limit` bytes. `scope` ends the sentence: `in one response`.
pub(in crate::exchange) fn too_much(upstream: &UpstreamId, limit: usize, scope: &str) -> Fault {
    let limit = match limit >> 20 {
        0 => format!("{} KiB", limit >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    };
    let what = format!("upstream `{upstream}` sent an invalid response: more than {limit} {scope}");
    Fault::upstream(Kind::InvalidResponse, what)
}
