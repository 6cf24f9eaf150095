//! What becomes of an upstream's errors.

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

/// An error, as it was said and as it is understood.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) reported: UpstreamError,
    pub(crate) classified: Classified,
}
