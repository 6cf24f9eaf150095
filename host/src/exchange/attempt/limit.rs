//! Faults for responses that are larger than a limit.

use witgate_contract::limits;

use crate::{
    fault::{Fault, Kind},
    ids::UpstreamId,
};

/// An event is larger than [`limits::EVENT`].
pub(crate) fn too_long(upstream: &UpstreamId) -> Fault {
    let what = format!(
        "upstream `{upstream}` sent an invalid response: an event of more than {} MiB",
        limits::EVENT / 1024 / 1024
    );
    Fault::upstream(Kind::InvalidResponse, what)
}

/// The upstream sent more than `limit` bytes. `scope` ends the sentence: `in one response`.
pub(crate) fn too_much(upstream: &UpstreamId, limit: usize, scope: &str) -> Fault {
    let limit = match limit >> 20 {
        0 => format!("{} KiB", limit >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    };
    let what = format!("upstream `{upstream}` sent an invalid response: more than {limit} {scope}");
    Fault::upstream(Kind::InvalidResponse, what)
}
