//! Which account made which message, so that a thread is continued where it is known.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::ids::{AccountId, UpstreamId};

#[derive(Default)]
pub(super) struct Threads(Mutex<HashMap<String, (UpstreamId, AccountId)>>);

impl Threads {
    pub(super) fn made(&self, id: &str, upstream: UpstreamId, account: AccountId, _now: Instant) {
        let mut makers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        makers.insert(id.to_owned(), (upstream, account));
    }

    pub(super) fn maker(&self, id: &str, _now: Instant) -> Option<(UpstreamId, AccountId)> {
        let makers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        makers.get(id).cloned()
    }
}
