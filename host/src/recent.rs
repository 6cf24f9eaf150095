//! A map bounded by number and by idle time: what was not used for longest is forgotten first.
//!
//! It reads no clock; callers pass the time in `now`. Written by hand, because a map with its order
//! is smaller than the configuration of a caching library and costs no build time.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::{Duration, Instant},
};

/// Values by key, and their order of use.
pub(crate) struct Recent<K, V> {
    /// The most entries.
    most: usize,
    by_key: HashMap<K, Entry<V>>,
    /// The longest ago first.
    by_use: BTreeMap<Use, K>,
    uses: u64,
}

/// The time of a use and its number, which distinguishes uses of the same time.
type Use = (Instant, u64);

struct Entry<V> {
    last: Use,
    value: V,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            by_key: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
        }
    }

    /// Looks a value up, which does not count as a use.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.by_key.get(key).map(|entry| &entry.value)
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.by_key.get_mut(key).map(|entry| &mut entry.value)
    }

    /// Uses a key: returns its value, or a new one that `new` makes.
    pub(crate) fn use_or_insert(
        &mut self,
        key: K,
        now: Instant,
        new: impl FnOnce() -> V,
    ) -> &mut V {
        self.uses += 1;
        let last = (now, self.uses);
        if let Some(known) = self.by_key.get(&key) {
            self.by_use.remove(&known.last);
        } else if self.by_key.len() == self.most {
            self.forget_first();
        }
        self.by_use.insert(last, key.clone());
        let new = || Entry { last, value: new() };
        let entry = self.by_key.entry(key).or_insert_with(new);
        entry.last = last;
        &mut entry.value
    }

    /// Uses a key, whose value is this one from now on.
    pub(crate) fn insert(&mut self, key: K, value: V, now: Instant) {
        if let Some(known) = self.by_key.remove(&key) {
            self.by_use.remove(&known.last);
        }
        self.use_or_insert(key, now, || value);
    }

    /// Forgets what was last used at least `idle` ago.
    pub(crate) fn forget_idle(&mut self, idle: Duration, now: Instant) {
        let is_idle = |(last, _): &Use| now.saturating_duration_since(*last) >= idle;
        while self.by_use.keys().next().is_some_and(is_idle) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.by_use.pop_first() {
            self.by_key.remove(&key);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.by_key.clear();
        self.by_use.clear();
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.by_key.values().map(|entry| &entry.value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.by_key.values_mut().map(|entry| &mut entry.value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_entry_that_was_not_used_for_longest_is_forgotten_over_the_limit() {
        let (mut map, now) = (Recent::new(100), Instant::now());
        for key in 0..100 {
            map.insert(key, key, now);
        }
        map.insert(0, 7, now);
        map.insert(100, 100, now);
        assert_eq!(map.get(&0), Some(&7));
        assert_eq!(map.get(&1), None);
        assert_eq!((map.values().count(), map.by_use.len()), (100, 100));
    }

    #[test]
    fn an_entry_is_forgotten_when_it_was_idle() {
        let (mut map, now) = (Recent::new(100), Instant::now());
        for hour in 0..100 {
            map.forget_idle(2 * HOUR, now + hour * HOUR);
            map.insert(1, hour, now + hour * HOUR);
        }
        map.insert(2, 0, now + 100 * HOUR);
        map.forget_idle(2 * HOUR, now + 101 * HOUR);
        assert_eq!((map.get(&1), map.get(&2)), (None, Some(&0)));
        map.forget_idle(2 * HOUR, now + 102 * HOUR);
        assert!(map.is_empty() && map.by_use.is_empty());
    }

    #[test]
    fn a_new_value_is_made_only_for_a_new_key() {
        let (mut map, now) = (Recent::new(1), Instant::now());
        map.insert(1, 1, now);
        assert_eq!(*map.use_or_insert(1, now, || panic!("it is known")), 1);
        map.clear();
        assert!(map.is_empty());
    }
}
