//! How long an upstream says to wait, in any of the headers that say so. Pure.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

/// How long the answer's headers say to wait, measured from `now`. None where they say nothing that can be read.
pub(crate) fn told(headers: &HeaderMap, _now: SystemTime) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
