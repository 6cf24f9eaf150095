//! What outlives an exchange: the plugins' key-value spaces, in memory.
//!
//! Each plugin name has a space of its own, bounded, that forgets what was not used for the longest time first. Nothing
//! here reads a clock: `now` comes in.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::ids::PluginId;

/// What one plugin may keep, keys included.
const SPACE_LIMIT: usize = 16 << 20;
const KEY_LIMIT: usize = 1 << 10;
const VALUE_LIMIT: usize = 1 << 20;
/// What an entry costs besides its key and value, so that a million empty values count as well.
const ENTRY_COST: usize = 128;
/// Longer than any gateway runs, and short enough that adding it to a clock cannot overflow.
const LONGEST_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

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

/// The key-value space of one plugin name.
#[derive(Default)]
pub(crate) struct Space(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    entries: HashMap<Arc<str>, Entry>,
    /// Keys by the time of their last use, the longest unused first.
    used: BTreeMap<u64, Arc<str>>,
    uses: u64,
    size: usize,
}

struct Entry {
    value: Vec<u8>,
    expires: Instant,
    used: u64,
}

/// Why a space does not do what it was asked to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KvError {
    #[error("the key has {0} bytes, at most {KEY_LIMIT} are allowed")]
    KeyTooLong(usize),
    #[error("the value has {0} bytes, at most {VALUE_LIMIT} are allowed")]
    ValueTooLong(usize),
    #[error("the value is no number: `increment` works on keys that `increment` made")]
    NoNumber,
    #[error("the sum overflows a 64-bit number")]
    Overflow,
}

impl Space {
    pub(crate) fn get(&self, key: &str, now: Instant) -> Result<Option<Vec<u8>>, KvError> {
        check_key(key)?;
        let mut entries = lock(&self.0);
        entries.expire(key, now);
        entries.touch(key);
        Ok(entries.entries.get(key).map(|entry| entry.value.clone()))
    }

    pub(crate) fn set(
        &self,
        key: &str,
        value: Vec<u8>,
        ttl: Duration,
        now: Instant,
    ) -> Result<(), KvError> {
        check_key(key)?;
        if value.len() > VALUE_LIMIT {
            return Err(KvError::ValueTooLong(value.len()));
        }
        lock(&self.0).put(key, value, now + ttl.min(LONGEST_TTL), now);
        Ok(())
    }

    pub(crate) fn delete(&self, key: &str) -> Result<(), KvError> {
        check_key(key)?;
        lock(&self.0).remove(key);
        Ok(())
    }

    /// Adds in one step. A key that is not there counts as 0 and lives for `ttl`; later increments do not prolong it.
    pub(crate) fn increment(
        &self,
        key: &str,
        delta: i64,
        ttl: Duration,
        now: Instant,
    ) -> Result<i64, KvError> {
        check_key(key)?;
        let mut entries = lock(&self.0);
        entries.expire(key, now);
        let (before, expires) = match entries.entries.get(key) {
            None => (0, now + ttl.min(LONGEST_TTL)),
            Some(entry) => (number(&entry.value).ok_or(KvError::NoNumber)?, entry.expires),
        };
        let sum = before.checked_add(delta).ok_or(KvError::Overflow)?;
        // As decimal text, so that `get` shows something that a person and any language can read.
        entries.put(key, sum.to_string().into_bytes(), expires, now);
        Ok(sum)
    }
}

impl Entries {
    fn put(&mut self, key: &str, value: Vec<u8>, expires: Instant, now: Instant) {
        self.remove(key);
        let size = cost(key, &value);
        if self.size + size > SPACE_LIMIT {
            self.make_room(size, now);
        }
        let key: Arc<str> = key.into();
        self.uses += 1;
        self.size += size;
        self.used.insert(self.uses, Arc::clone(&key));
        self.entries.insert(key, Entry { value, expires, used: self.uses });
    }

    /// What has expired goes first, then what was not used for the longest time.
    fn make_room(&mut self, size: usize, now: Instant) {
        let expired = self.entries.iter().filter(|(_, entry)| entry.expires <= now);
        let expired: Vec<_> = expired.map(|(key, _)| Arc::clone(key)).collect();
        for key in expired {
            self.remove(&key);
        }
        while self.size + size > SPACE_LIMIT {
            let Some(key) = self.used.first_key_value().map(|(_, key)| Arc::clone(key)) else {
                return;
            };
            self.remove(&key);
        }
    }

    fn expire(&mut self, key: &str, now: Instant) {
        if self.entries.get(key).is_some_and(|entry| entry.expires <= now) {
            self.remove(key);
        }
    }

    fn touch(&mut self, key: &str) {
        if let Some(entry) = self.entries.get_mut(key) {
            self.uses += 1;
            if let Some(key) = self.used.remove(&entry.used) {
                self.used.insert(self.uses, key);
            }
            entry.used = self.uses;
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.used.remove(&entry.used);
            self.size -= cost(key, &entry.value);
        }
    }
}

fn cost(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + ENTRY_COST
}

fn check_key(key: &str) -> Result<(), KvError> {
    if key.len() > KEY_LIMIT {
        return Err(KvError::KeyTooLong(key.len()));
    }
    Ok(())
}

fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A panic while the lock is held leaves at worst a value that was not written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn space() -> (Space, Instant) {
        (Space::default(), Instant::now())
    }

    #[test]
    fn a_value_is_there_until_its_time_is_up() {
        let (space, now) = space();
        space.set("k", b"v".to_vec(), Duration::from_millis(100), now).unwrap();

        assert_eq!(space.get("k", now + Duration::from_millis(99)), Ok(Some(b"v".to_vec())));
        assert_eq!(space.get("k", now + Duration::from_millis(100)), Ok(None));
        assert_eq!(lock(&space.0).size, 0, "what has expired takes no room");
    }

    #[test]
    fn an_increment_counts_from_zero_and_does_not_prolong_the_life() {
        let (space, now) = space();
        assert_eq!(space.increment("n", 2, Duration::from_secs(1), now), Ok(2));
        let later = now + Duration::from_millis(900);
        assert_eq!(space.increment("n", -5, LONG, later), Ok(-3));
        assert_eq!(space.get("n", later), Ok(Some(b"-3".to_vec())));
        assert_eq!(space.increment("n", 1, LONG, now + Duration::from_secs(1)), Ok(1));
    }

    #[test]
    fn an_increment_that_cannot_be_done_changes_nothing() {
        let (space, now) = space();
        space.set("text", b"abc".to_vec(), LONG, now).unwrap();
        assert_eq!(space.increment("text", 1, LONG, now), Err(KvError::NoNumber));
        assert_eq!(space.get("text", now), Ok(Some(b"abc".to_vec())));

        space.increment("n", i64::MAX, LONG, now).unwrap();
        assert_eq!(space.increment("n", 1, LONG, now), Err(KvError::Overflow));
    }

    #[test]
    fn keys_and_values_over_the_limit_are_refused_by_their_length() {
        let (space, now) = space();
        let long = "k".repeat(KEY_LIMIT + 1);
        assert_eq!(space.get(&long, now), Err(KvError::KeyTooLong(KEY_LIMIT + 1)));
        assert_eq!(space.delete(&long), Err(KvError::KeyTooLong(KEY_LIMIT + 1)));
        let big = vec![0; VALUE_LIMIT + 1];
        assert_eq!(space.set("k", big, LONG, now), Err(KvError::ValueTooLong(VALUE_LIMIT + 1)));
    }

    #[test]
    fn a_full_space_forgets_what_was_not_used_for_the_longest_time() {
        let (space, now) = space();
        let value = vec![0; VALUE_LIMIT];
        for n in 0..15 {
            space.set(&n.to_string(), value.clone(), LONG, now).unwrap();
        }
        space.get("0", now).unwrap();

        space.set("one more", value, LONG, now).unwrap();

        assert!(space.get("0", now).unwrap().is_some(), "it was used lately");
        assert!(space.get("1", now).unwrap().is_none(), "it was not");
        assert!(lock(&space.0).size <= SPACE_LIMIT);
    }

    #[test]
    fn what_has_expired_goes_before_what_still_lives() {
        let (space, now) = space();
        let value = vec![0; VALUE_LIMIT];
        space.set("old but alive", b"1".to_vec(), LONG, now).unwrap();
        for n in 0..15 {
            space.set(&n.to_string(), value.clone(), Duration::from_secs(1), now).unwrap();
        }
        space.set("new", value, LONG, now + Duration::from_secs(2)).unwrap();
        assert!(space.get("old but alive", now + Duration::from_secs(2)).unwrap().is_some());
    }

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
