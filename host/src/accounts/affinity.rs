//! Remembers which account made what: the messages of threads, the last response of a conversation,
//! an uploaded file. What continues them needs the same account, or is better off with it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{
    ids::{AccountId, UpstreamId},
    recent::Recent,
};

/// How many entries of a kind are remembered: some megabytes.
const ENTRIES: usize = 10_000;

/// Longer than most pauses in a conversation.
const TTL: Duration = Duration::from_secs(24 * 3600);

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
pub(super) struct Affinity(Mutex<Recent<String, (UpstreamId, AccountId)>>);

impl Default for Affinity {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(ENTRIES)))
    }
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
        let mut accounts = self.0.lock();
        accounts.forget_idle(TTL, now);
        accounts.insert(key.to_owned(), (upstream.clone(), account.clone()), now);
    }

    pub(super) fn account_of(&self, key: &str, now: Instant) -> Option<(UpstreamId, AccountId)> {
        let mut accounts = self.0.lock();
        accounts.forget_idle(TTL, now);
        accounts.get(key).cloned()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
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
        assert_eq!(account_of(&affinity, "c", end + HOUR / 2 + TTL), None);
        assert!(affinity.is_empty());
    }
}
