//! The memory of all request bodies together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;

use crate::fault::{Fault, Kind};

/// The bytes of all request bodies in memory.
#[derive(Default)]
pub(super) struct BodyMemory {
    used: AtomicUsize,
}

impl BodyMemory {
    /// Begins a reservation for one body.
    pub(super) fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation {
            memory: Arc::clone(self),
            bytes: 0,
        }
    }
}

/// The memory of one body. It is given back when this is dropped.
pub(super) struct Reservation {
    memory: Arc<BodyMemory>,
    bytes: usize,
}

impl Reservation {
    /// Grows to this size if all bodies together stay within the limit.
    pub(super) fn grow_to(&mut self, bytes: usize, limit: usize) -> Result<(), Fault> {
        let more = bytes.saturating_sub(self.bytes);
        let grown = |used: usize| used.checked_add(more).filter(|used| *used <= limit);
        let used = &self.memory.used;
        // Nothing but the sum depends on it.
        if used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .is_err()
        {
            let what = format!(
                "too many request bodies at the same time: with this one they would exceed \
                 `max_body_memory` of this gateway, which is {limit} bytes"
            );
            return Err(Fault::client(Kind::Overloaded, what));
        }
        self.bytes += more;
        Ok(())
    }

    /// Holds the reservation until the last clone or part of the body is dropped.
    pub(super) fn hold(self, body: Bytes) -> Bytes {
        Bytes::from_owner(Held {
            body,
            _reservation: self,
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Held {
    body: Bytes,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_accepted_up_to_the_limit_and_give_their_memory_back() {
        let memory = Arc::new(BodyMemory::default());
        let (mut first, mut second) = (memory.reserve(), memory.reserve());
        first.grow_to(6, 10).unwrap();
        second.grow_to(4, 10).unwrap();
        // A body that is smaller than its reservation does not grow.
        second.grow_to(2, 10).unwrap();
        assert_eq!(second.grow_to(5, 10).unwrap_err().kind, Kind::Overloaded);
        drop(first);
        second.grow_to(10, 10).unwrap();
        drop(second);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_body_holds_its_memory_until_its_last_part_is_dropped() {
        let memory = Arc::new(BodyMemory::default());
        let mut reservation = memory.reserve();
        reservation.grow_to(5, 5).unwrap();
        let body = reservation.hold("12345".into());
        let part = body.slice(1..2);
        drop(body);
        assert_eq!(memory.used.load(Ordering::Relaxed), 5);
        drop(part);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }
}
