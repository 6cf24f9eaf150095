//! What one query or patch may cost.

use crate::Error;

/// How much one query or patch may cost, so that no guest holds up a thread.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    nodes: usize,
    bytes: usize,
}

impl Budget {
    /// Array elements and members that one query or patch may look at.
    pub(crate) const NODES: usize = 1_000_000;

    /// Bytes that one query or patch may pass over, again and again included: about a fifth of a second.
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
                "more than {} nodes to look at",
                Self::NODES
            ))),
            (_, None) => Err(Error::TooMuch(format!(
                "more than {} bytes to pass over",
                Self::BYTES
            ))),
        }
    }

    /// The nodes and bytes that were spent.
    #[cfg(test)]
    pub(crate) fn spent(&self) -> (usize, usize) {
        (Self::NODES - self.nodes, Self::BYTES - self.bytes)
    }
}
