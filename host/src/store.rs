//! What outlives an exchange: the plugins' key-value spaces, in memory.
//!
//! Each plugin name has a space of its own. What a space does is `witgate_contract::kv`; nothing here
//! reads a clock: `now` comes in.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use witgate_contract::kv::{self, KvError};

use crate::ids::PluginId;

/// All spaces of the process.
#[derive(Default)]
pub(crate) struct Store {
    spaces: Mutex<HashMap<PluginId, Arc<Space>>>,
}

impl Store {
    /// The space of the plugins of this name; it is there from the first time it is asked for.
    pub(crate) fn space(&self, plugin: &PluginId) -> Arc<Space> {
        Arc::clone(lock(&self.spaces).entry(plugin.clone()).or_default())
    }
}

/// The key-value space of one plugin name, shared by its instances.
#[derive(Default)]
pub(crate) struct Space(Mutex<kv::Space>);

impl Space {
    pub(crate) fn get(&self, key: &str, now: Instant) -> Result<Option<Vec<u8>>, KvError> {
        lock(&self.0).get(key, now)
    }

    pub(crate) fn set(
        &self,
        key: &str,
        value: Vec<u8>,
        ttl: Duration,
        now: Instant,
    ) -> Result<(), KvError> {
        lock(&self.0).set(key, value, ttl, now)
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), KvError> {
        lock(&self.0).delete(key)
    }

    /// Adds in one step. A key that is not set counts as 0 and lives for `ttl`.
    pub(crate) fn increment(
        &self,
        key: &str,
        delta: i64,
        ttl: Duration,
        now: Instant,
    ) -> Result<i64, KvError> {
        lock(&self.0).increment(key, delta, ttl, now)
    }
}

/// A panic while the lock is held leaves at worst a value that was not written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn plugins_do_not_see_each_others_keys() {
        let store = Store::default();
        let now = Instant::now();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        store.space(&a).set("k", b"1".to_vec(), LONG, now).unwrap();
        assert_eq!(store.space(&b).get("k", now), Ok(None));
        assert_eq!(store.space(&a).get("k", now), Ok(Some(b"1".to_vec())));
    }
}
