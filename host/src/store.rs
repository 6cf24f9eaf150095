//! What outlives an exchange: the plugins' key-value spaces, in memory.

/// All spaces of the process.
#[derive(Default)]
pub(crate) struct Store {}
