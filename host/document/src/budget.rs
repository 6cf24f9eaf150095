//! Limits on the cost of one query or patch.

use crate::Error;

/// What is left of the cost that one query or patch may have, so that no plugin blocks a thread.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    nodes: usize,
    bytes: usize,
}

impl Budget {
    /// The maximum number of array elements and members that one query or patch may visit.
    pub(crate) const NODES: usize = 1_000_000;

    /// The maximum number of bytes that one query or patch may scan, counting repeated scans: about
    /// a fifth of a second.
    pub(crate) const BYTES: usize = 256 << 20;

    pub(crate) fn new() -> Self {
        Self {
            nodes: Self::NODES,
            bytes: Self::BYTES,
        }
    }

    pub(crate) fn spend(&mut self, nodes: usize, bytes: usize) -> Result<(), Error> {
        match (self.nodes.checked_sub(nodes), self.bytes.checked_sub(bytes)) {
            (Some(nodes), Some(bytes)) => {
                *self = Self { nodes, bytes };
                Ok(())
            }
            (None, _) => Err(Error::TooMuch(format!(
                "visits more than {} nodes",
                Self::NODES
            ))),
            (_, None) => Err(Error::TooMuch(format!(
                "scans more than {} bytes",
                Self::BYTES
            ))),
        }
    }

    /// Spends what it costs to compare a name with this many keys, which may agree up to the last
    /// byte. A comparison costs far less than reading a node.
    pub(crate) fn spend_comparisons(&mut self, keys: usize, name: &str) -> Result<(), Error> {
        /// The keys that are compared, and the bytes, in the time of one.
        const PER_NODE: usize = 8;
        const PER_BYTE: usize = 4;

        let bytes = keys.saturating_mul(name.len()) / PER_BYTE;
        self.spend(1 + keys / PER_NODE, bytes)
    }

    /// The nodes and bytes spent so far.
    #[cfg(test)]
    pub(crate) fn spent(&self) -> (usize, usize) {
        (Self::NODES - self.nodes, Self::BYTES - self.bytes)
    }
}
