//! The key-value space of a plugin: bounded, with a lifetime per entry, and the entries that were
//! not used for the longest time dropped first. It reads no clock: `now` comes in.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::limits;

/// The key-value space of one plugin name.
#[derive(Clone, Debug, Default)]
pub struct Space {
    entries: HashMap<Arc<str>, Entry>,
    /// Keys by the time of their last use, the longest unused first.
    used: BTreeMap<u64, Arc<str>>,
    uses: u64,
    size: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    value: Vec<u8>,
    expires: Instant,
    used: u64,
}

/// Why the space refuses an operation. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvError {
    /// The key has this many bytes, over [`limits::KV_KEY`].
    KeyTooLong(usize),
    /// The value has this many bytes, over [`limits::KV_VALUE`].
    ValueTooLong(usize),
    /// `increment` on a value that is not a decimal 64-bit number.
    NotANumber,
    /// The sum does not fit into a signed 64-bit number.
    Overflow,
}

impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyTooLong(length) => {
                write!(
                    f,
                    "the key has {length} bytes, the limit is {}",
                    limits::KV_KEY
                )
            }
            Self::ValueTooLong(length) => {
                write!(
                    f,
                    "the value has {length} bytes, the limit is {}",
                    limits::KV_VALUE
                )
            }
            Self::NotANumber => f.write_str(
                "the value is not a number; `increment` works on keys that `increment` has set",
            ),
            Self::Overflow => f.write_str("the sum overflows a 64-bit number"),
        }
    }
}

impl std::error::Error for KvError {}

impl Space {
    /// The value, or `None` if it was never set, has expired or was dropped to make room.
    ///
    /// # Errors
    ///
    /// [`KvError::KeyTooLong`].
    pub fn get(&mut self, key: &str, now: Instant) -> Result<Option<Vec<u8>>, KvError> {
        check_key(key)?;
        self.expire(key, now);
        self.touch(key);
        Ok(self.entries.get(key).map(|entry| entry.value.clone()))
    }

    /// Whether the key has a value, without a use of it.
    #[must_use]
    pub fn contains(&self, key: &str, now: Instant) -> bool {
        self.entries
            .get(key)
            .is_some_and(|entry| entry.expires > now)
    }

    /// Whether there is no value at all, not even an expired one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets a value for `ttl`, at most [`limits::KV_TTL`].
    ///
    /// # Errors
    ///
    /// [`KvError::KeyTooLong`], [`KvError::ValueTooLong`].
    pub fn set(
        &mut self,
        key: &str,
        value: Vec<u8>,
        ttl: Duration,
        now: Instant,
    ) -> Result<(), KvError> {
        check_key(key)?;
        if value.len() > limits::KV_VALUE {
            return Err(KvError::ValueTooLong(value.len()));
        }
        self.put(key, value, now + ttl.min(limits::KV_TTL), now);
        Ok(())
    }

    /// Sets a value for `ttl` if the key has none, and returns the one that it has then: the value
    /// that was there, or this one.
    ///
    /// # Errors
    ///
    /// [`KvError::KeyTooLong`], [`KvError::ValueTooLong`].
    pub fn set_if_absent(
        &mut self,
        key: &str,
        value: Vec<u8>,
        ttl: Duration,
        now: Instant,
    ) -> Result<Vec<u8>, KvError> {
        if let Some(found) = self.get(key, now)? {
            return Ok(found);
        }
        self.set(key, value.clone(), ttl, now)?;
        Ok(value)
    }

    /// Removes a value; a key that is not set is not an error.
    ///
    /// # Errors
    ///
    /// [`KvError::KeyTooLong`].
    pub fn delete(&mut self, key: &str) -> Result<(), KvError> {
        check_key(key)?;
        self.remove(key);
        Ok(())
    }

    /// Adds to a number in one step and returns the sum. A key that is not set counts as 0 and
    /// lives for `ttl`; later increments do not extend it. The value is kept as decimal text.
    ///
    /// # Errors
    ///
    /// [`KvError::KeyTooLong`], [`KvError::NotANumber`], [`KvError::Overflow`].
    pub fn increment(
        &mut self,
        key: &str,
        delta: i64,
        ttl: Duration,
        now: Instant,
    ) -> Result<i64, KvError> {
        check_key(key)?;
        self.expire(key, now);
        let (before, expires) = match self.entries.get(key) {
            None => (0, now + ttl.min(limits::KV_TTL)),
            Some(entry) => (
                number(&entry.value).ok_or(KvError::NotANumber)?,
                entry.expires,
            ),
        };
        let sum = before.checked_add(delta).ok_or(KvError::Overflow)?;
        // Text, so that `get` shows something that a person and any language can read.
        self.put(key, sum.to_string().into_bytes(), expires, now);
        Ok(sum)
    }

    /// What the entries take in bytes, never more than [`limits::KV_SPACE`].
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    fn put(&mut self, key: &str, value: Vec<u8>, expires: Instant, now: Instant) {
        self.remove(key);
        let size = cost(key, &value);
        if self.size + size > limits::KV_SPACE {
            self.make_room(size, now);
        }
        let key: Arc<str> = key.into();
        self.uses += 1;
        self.size += size;
        self.used.insert(self.uses, Arc::clone(&key));
        self.entries.insert(
            key,
            Entry {
                value,
                expires,
                used: self.uses,
            },
        );
    }

    /// Expired entries are dropped first, then those that were not used for the longest time.
    fn make_room(&mut self, size: usize, now: Instant) {
        let expired = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.expires <= now);
        let expired: Vec<_> = expired.map(|(key, _)| Arc::clone(key)).collect();
        for key in expired {
            self.remove(&key);
        }
        while self.size + size > limits::KV_SPACE {
            let Some(key) = self.used.first_key_value().map(|(_, key)| Arc::clone(key)) else {
                return;
            };
            self.remove(&key);
        }
    }

    fn expire(&mut self, key: &str, now: Instant) {
        if self
            .entries
            .get(key)
            .is_some_and(|entry| entry.expires <= now)
        {
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
    key.len() + value.len() + limits::KV_ENTRY
}

fn check_key(key: &str) -> Result<(), KvError> {
    if key.len() > limits::KV_KEY {
        return Err(KvError::KeyTooLong(key.len()));
    }
    Ok(())
}

fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn space() -> (Space, Instant) {
        (Space::default(), Instant::now())
    }

    #[test]
    fn a_value_is_kept_until_its_lifetime_ends() {
        let (mut space, now) = space();
        space
            .set("k", b"v".to_vec(), Duration::from_millis(100), now)
            .unwrap();

        assert_eq!(
            space.get("k", now + Duration::from_millis(99)),
            Ok(Some(b"v".to_vec()))
        );
        assert_eq!(space.get("k", now + Duration::from_millis(100)), Ok(None));
        assert_eq!(space.size(), 0, "what has expired takes no room");
    }

    #[test]
    fn only_an_absent_value_is_set() {
        let (mut space, now) = space();
        let mut set = |value: &str, after: u64| {
            let now = now + Duration::from_secs(after);
            let found = space.set_if_absent("k", value.into(), Duration::from_secs(2), now);
            String::from_utf8(found.unwrap()).unwrap()
        };
        assert_eq!(set("first", 0), "first");
        assert_eq!(set("second", 1), "first");
        assert_eq!(set("third", 2), "third", "the first has expired");
        let big = vec![0; limits::KV_VALUE + 1];
        assert!(space.set_if_absent("big", big, LONG, now).is_err());
        assert_eq!(space.get("big", now), Ok(None));
    }

    #[test]
    fn an_increment_counts_from_zero_and_does_not_extend_the_lifetime() {
        let (mut space, now) = space();
        assert_eq!(space.increment("n", 2, Duration::from_secs(1), now), Ok(2));
        let later = now + Duration::from_millis(900);
        assert_eq!(space.increment("n", -5, LONG, later), Ok(-3));
        assert_eq!(space.get("n", later), Ok(Some(b"-3".to_vec())));
        assert_eq!(
            space.increment("n", 1, LONG, now + Duration::from_secs(1)),
            Ok(1)
        );
    }

    #[test]
    fn an_increment_that_cannot_be_done_changes_nothing() {
        let (mut space, now) = space();
        space.set("text", b"abc".to_vec(), LONG, now).unwrap();
        assert_eq!(
            space.increment("text", 1, LONG, now),
            Err(KvError::NotANumber)
        );
        assert_eq!(space.get("text", now), Ok(Some(b"abc".to_vec())));

        space.increment("n", i64::MAX, LONG, now).unwrap();
        assert_eq!(space.increment("n", 1, LONG, now), Err(KvError::Overflow));
    }

    #[test]
    fn keys_and_values_over_the_limit_are_refused_by_their_length() {
        let (mut space, now) = space();
        let long = "k".repeat(limits::KV_KEY + 1);
        assert_eq!(
            space.get(&long, now),
            Err(KvError::KeyTooLong(limits::KV_KEY + 1))
        );
        assert_eq!(
            space.delete(&long),
            Err(KvError::KeyTooLong(limits::KV_KEY + 1))
        );
        let big = vec![0; limits::KV_VALUE + 1];
        assert_eq!(
            space.set("k", big, LONG, now),
            Err(KvError::ValueTooLong(limits::KV_VALUE + 1))
        );
    }

    #[test]
    fn a_full_space_drops_the_least_recently_used_entries() {
        let (mut space, now) = space();
        let value = vec![0; limits::KV_VALUE];
        for n in 0..15 {
            space.set(&n.to_string(), value.clone(), LONG, now).unwrap();
        }
        space.get("0", now).unwrap();

        space.set("one more", value, LONG, now).unwrap();

        assert!(space.get("0", now).unwrap().is_some(), "it was used lately");
        assert!(space.get("1", now).unwrap().is_none(), "it was not");
        assert!(space.size() <= limits::KV_SPACE);
    }

    #[test]
    fn expired_entries_are_dropped_before_live_ones() {
        let (mut space, now) = space();
        let value = vec![0; limits::KV_VALUE];
        space
            .set("old but alive", b"1".to_vec(), LONG, now)
            .unwrap();
        for n in 0..15 {
            space
                .set(&n.to_string(), value.clone(), Duration::from_secs(1), now)
                .unwrap();
        }
        space
            .set("new", value, LONG, now + Duration::from_secs(2))
            .unwrap();
        assert!(
            space
                .get("old but alive", now + Duration::from_secs(2))
                .unwrap()
                .is_some()
        );
    }
}
