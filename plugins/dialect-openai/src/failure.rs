//! Handles the errors of an upstream: parses, classifies and acts on them.

mod capabilities;
mod classify;
mod lessons;
mod refusal;
mod room;
mod upstream_error;
mod wait;

pub(crate) mod apply;

pub(crate) use apply::Correction;
pub(crate) use capabilities::Capabilities;
pub(crate) use classify::classify;
pub(crate) use lessons::{EFFORTS, OPTIONAL, Used};
pub(crate) use upstream_error::UpstreamError;

use classify::{Classified, Next};
use room::{TooLong, too_long};
use wait::wait;

/// An upstream's error: as it was reported and as it is classified.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) reported: UpstreamError,
    pub(crate) classified: Classified,
}
