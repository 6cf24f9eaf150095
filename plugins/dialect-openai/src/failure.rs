//! Handles the errors of an upstream: parses, classifies and acts on them.

mod capabilities;
mod classify;
mod upstream_error;
mod wait;

pub(crate) mod apply;

pub(crate) use capabilities::{Capabilities, OPTIONAL, Used};
pub(crate) use classify::classify;
pub(crate) use upstream_error::UpstreamError;

use capabilities::{Room, room};
use classify::{Classified, Next};
use wait::wait;

/// An upstream's error: as it was reported and as it is classified.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) reported: UpstreamError,
    pub(crate) classified: Classified,
}
