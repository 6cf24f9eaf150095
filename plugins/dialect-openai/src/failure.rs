//! What becomes of an upstream's errors.

mod learned;
mod meaning;
mod said;
mod wait;

pub(crate) mod react;

pub(crate) use learned::{Learned, OPTIONAL, Used};
pub(crate) use meaning::meaning;
pub(crate) use said::Said;

use learned::{Room, room};
use meaning::{Meaning, Next};
use wait::wait;

/// An error, as it was said and as it is understood.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) said: Said,
    pub(crate) meaning: Meaning,
}
