//! The plugins' key-value data, in memory for the life of the process.
//!
//! Each plugin name has its own space, implemented by `witgate_contract::kv`. Callers pass the time
//! in `now`. No caching library replaces it: `increment` must keep the time at which a counter
//! expires, which an insertion into a cache prolongs.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use witgate_contract::kv::{self, KvError};

use crate::ids::PluginId;

/// The spaces of all plugins.
#[derive(Default)]
pub(crate) struct Store {
    spaces: Mutex<HashMap<PluginId, Arc<Space>>>,
}

impl Store {
    /// Returns the space for a plugin name, and creates it at the first call.
    pub(crate) fn space(&self, plugin: &PluginId) -> Arc<Space> {
        Arc::clone(self.spaces.lock().entry(plugin.clone()).or_default())
    }

    /// Removes all data. Loaded plugins keep their spaces.
    pub(crate) fn clear(&self) {
        for space in self.spaces.lock().values() {
            *space.0.lock() = kv::Space::default();
        }
    }
}

/// The key-value space of one plugin name, shared by its instances.
#[derive(Default)]
pub(crate) struct Space(Mutex<kv::Space>);

impl Space {
    pub(crate) fn get(&self, key: &str, now: Instant) -> Result<Option<Vec<u8>>, KvError> {
        self.0.lock().get(key, now)
    }

    /// Whether there is a value for the key that `key` returns, which is only called if there is
    /// any value, because finding the key may take long.
    pub(crate) fn contains(&self, key: impl FnOnce() -> String, now: Instant) -> bool {
        if self.0.lock().is_empty() {
            return false;
        }
        let key = key();
        self.0.lock().contains(&key, now)
    }

    pub(crate) fn set(
        &self,
        key: &str,
        value: Vec<u8>,
        ttl: Duration,
        now: Instant,
    ) -> Result<(), KvError> {
        self.0.lock().set(key, value, ttl, now)
    }

    /// Sets a value if the key has none, in one step, and returns the one that it has then.
    pub(crate) fn set_if_absent(
        &self,
        key: &str,
        value: Vec<u8>,
        ttl: Duration,
        now: Instant,
    ) -> Result<Vec<u8>, KvError> {
        self.0.lock().set_if_absent(key, value, ttl, now)
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), KvError> {
        self.0.lock().delete(key)
    }

    /// Adds to a number in one step. A missing key counts as 0 and expires after `ttl`.
    pub(crate) fn increment(
        &self,
        key: &str,
        delta: i64,
        ttl: Duration,
        now: Instant,
    ) -> Result<i64, KvError> {
        self.0.lock().increment(key, delta, ttl, now)
    }
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

    #[test]
    fn the_key_of_an_entry_is_only_made_if_there_is_any_entry() {
        let space = Space::default();
        let now = Instant::now();
        assert!(!space.contains(|| panic!("there is no entry"), now));
        space.set("k", b"1".to_vec(), LONG, now).unwrap();
        assert!(space.contains(|| "k".to_owned(), now));
        assert!(!space.contains(|| "other".to_owned(), now));
        assert!(!space.contains(|| "k".to_owned(), now + LONG));
    }
}
