//! What becomes of an upstream's errors.

mod learned;
mod meaning;
mod said;
mod wait;

pub(crate) use learned::{Learned, OPTIONAL, Room, Used, room};
pub(crate) use meaning::{Meaning, Next, meaning};
pub(crate) use said::Said;
pub(crate) use wait::wait;
