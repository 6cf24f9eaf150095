//! Remembers which account made what: the messages of threads, the last response of a conversation,
//! an uploaded file. What continues them needs the same account, or is better off with it.
//!
//! Written by hand, because one map with its order is smaller than the configuration of a caching
//! library and costs no build time.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::ids::{AccountId, UpstreamId};

/// How many entries of a kind are remembered: some megabytes. The one whose last refresh is the
/// oldest is dropped first.
const ENTRIES: usize = 10_000;

/// Longer than most pauses in a conversation.
const TTL: Duration = Duration::from_secs(24 * 3600);

/// An entry that is younger is not refreshed, so that its place in the order is not changed with
/// each use.
const FRESH: Duration = Duration::from_secs(3600);

/// What is remembered about accounts. It is shared by all snapshots.
#[derive(Default)]
pub(super) struct Affinities {
    /// By the id of a message in a thread. If one is forgotten, the client sends its whole thread
    /// again.
    pub(super) messages: Affinity,
    /// By upstream and conversation. If one is forgotten, an account is picked as for a new one.
    pub(super) conversations: Affinity,
    /// By the id of a file.
    pub(super) files: Affinity,
}

/// The accounts of one kind of entries.
#[derive(Default)]
pub(super) struct Affinity(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    by_key: HashMap<String, Entry>,
    /// Each refresh of an entry, the oldest first. Only the last one of an entry counts.
    refreshes: VecDeque<(Instant, String)>,
}

struct Entry {
    upstream: UpstreamId,
    account: AccountId,
    refreshed: Instant,
}

impl Affinity {
    /// Remembers the account, from now on for [`TTL`].
    pub(super) fn remember(
        &self,
        key: &str,
        upstream: &UpstreamId,
        account: &AccountId,
        now: Instant,
    ) {
        let mut entries = self.0.lock();
        entries.drop_expired(now);
        if let Some(known) = entries.by_key.get_mut(key)
            && now.saturating_duration_since(known.refreshed) < FRESH
        {
            known.upstream = upstream.clone();
            known.account = account.clone();
            return;
        }
        let entry = Entry {
            upstream: upstream.clone(),
            account: account.clone(),
            refreshed: now,
        };
        entries.by_key.insert(key.to_owned(), entry);
        entries.refreshes.push_back((now, key.to_owned()));
        while entries.by_key.len() > ENTRIES {
            entries.drop_oldest();
        }
    }

    pub(super) fn account_of(&self, key: &str, now: Instant) -> Option<(UpstreamId, AccountId)> {
        let mut entries = self.0.lock();
        entries.drop_expired(now);
        let entry = entries.by_key.get(key)?;
        Some((entry.upstream.clone(), entry.account.clone()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().by_key.is_empty()
    }
}

impl Entries {
    fn drop_expired(&mut self, now: Instant) {
        let old = |(at, _): &(Instant, String)| now.saturating_duration_since(*at) >= TTL;
        while self.refreshes.front().is_some_and(old) {
            self.drop_oldest();
        }
    }

    /// Drops the oldest refresh, and its entry unless there is a later one.
    fn drop_oldest(&mut self) {
        let Some((at, key)) = self.refreshes.pop_front() else {
            return;
        };
        if self
            .by_key
            .get(&key)
            .is_some_and(|entry| entry.refreshed == at)
        {
            self.by_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn remember(affinity: &Affinity, key: &str, account: &str, now: Instant) {
        let (upstream, account) = ("up".parse().unwrap(), account.parse().unwrap());
        affinity.remember(key, &upstream, &account, now);
    }

    fn account_of(affinity: &Affinity, key: &str, now: Instant) -> Option<String> {
        Some(affinity.account_of(key, now)?.1.to_string())
    }

    #[test]
    fn an_entry_is_forgotten_after_a_day() {
        let (affinity, now) = (Affinity::default(), Instant::now());
        assert!(affinity.is_empty());
        remember(&affinity, "msg_1", "ada", now);
        let later = now + TTL - Duration::from_secs(1);
        remember(&affinity, "msg_2", "bob", later);
        assert_eq!(account_of(&affinity, "msg_1", later).unwrap(), "ada");
        assert_eq!(account_of(&affinity, "msg_1", now + TTL), None);
        assert_eq!(account_of(&affinity, "msg_2", now + TTL).unwrap(), "bob");
        assert_eq!(account_of(&affinity, "msg_3", now), None);
    }

    #[test]
    fn an_entry_that_is_used_is_kept() {
        let (affinity, now) = (Affinity::default(), Instant::now());
        for hour in 0..100 {
            remember(&affinity, "c", "ada", now + hour * HOUR);
            remember(&affinity, "c", "bob", now + hour * HOUR + HOUR / 2);
        }
        let end = now + 99 * HOUR;
        assert_eq!(account_of(&affinity, "c", end).unwrap(), "bob");
        assert!(affinity.0.lock().refreshes.len() <= 24);
        assert_eq!(account_of(&affinity, "c", end + TTL), None);
        assert!(affinity.is_empty());
    }

    #[test]
    fn the_oldest_entry_is_forgotten_over_the_limit() {
        let (affinity, now) = (Affinity::default(), Instant::now());
        for n in 0..=ENTRIES {
            remember(&affinity, &format!("msg_{n}"), "ada", now);
            // A second call counts as the same message.
            remember(&affinity, &format!("msg_{n}"), "bob", now);
        }
        assert_eq!(account_of(&affinity, "msg_0", now), None);
        assert_eq!(account_of(&affinity, "msg_1", now).unwrap(), "bob");
        assert_eq!(affinity.0.lock().by_key.len(), ENTRIES);
        assert_eq!(affinity.0.lock().refreshes.len(), ENTRIES);
    }
}
