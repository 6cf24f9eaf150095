//! Remembers which account made which message, so that a thread continues on that account.
//!
//! Written by hand, because one map with its order is smaller than the configuration of a caching
//! library and costs no build time.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::ids::{AccountId, UpstreamId};

/// How many messages are remembered: some megabytes. The oldest is dropped first, and the client
/// then sends its whole thread again.
const MESSAGES: usize = 10_000;

/// Longer than most pauses in a conversation.
const TTL: Duration = Duration::from_secs(24 * 3600);

#[derive(Default)]
pub(super) struct ThreadAffinity(Mutex<MessageAccounts>);

#[derive(Default)]
struct MessageAccounts {
    by_message: HashMap<String, (UpstreamId, AccountId)>,
    /// Each message once, the oldest first.
    order: VecDeque<(Instant, String)>,
}

impl ThreadAffinity {
    pub(super) fn remember_message(
        &self,
        id: &str,
        upstream: UpstreamId,
        account: AccountId,
        now: Instant,
    ) {
        let mut messages = self.0.lock();
        messages.drop_expired(now);
        let known = messages
            .by_message
            .insert(id.to_owned(), (upstream, account));
        if known.is_none() {
            messages.order.push_back((now, id.to_owned()));
            if messages.order.len() > MESSAGES {
                messages.drop_oldest();
            }
        }
    }

    pub(super) fn account_of_message(
        &self,
        id: &str,
        now: Instant,
    ) -> Option<(UpstreamId, AccountId)> {
        let mut messages = self.0.lock();
        messages.drop_expired(now);
        messages.by_message.get(id).cloned()
    }
}

impl MessageAccounts {
    fn drop_expired(&mut self, now: Instant) {
        let old = |(at, _): &(Instant, String)| now.saturating_duration_since(*at) >= TTL;
        while self.order.front().is_some_and(old) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.by_message.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remember(threads: &ThreadAffinity, id: &str, account: &str, now: Instant) {
        threads.remember_message(id, "up".parse().unwrap(), account.parse().unwrap(), now);
    }

    fn account_of(threads: &ThreadAffinity, id: &str, now: Instant) -> Option<String> {
        Some(threads.account_of_message(id, now)?.1.to_string())
    }

    #[test]
    fn a_message_is_forgotten_after_a_day() {
        let (threads, now) = (ThreadAffinity::default(), Instant::now());
        remember(&threads, "msg_1", "ada", now);
        let later = now + TTL - Duration::from_secs(1);
        remember(&threads, "msg_2", "bob", later);
        assert_eq!(account_of(&threads, "msg_1", later).unwrap(), "ada");
        assert_eq!(account_of(&threads, "msg_1", now + TTL), None);
        assert_eq!(account_of(&threads, "msg_2", now + TTL).unwrap(), "bob");
        assert_eq!(account_of(&threads, "msg_3", now), None);
    }

    #[test]
    fn the_oldest_message_is_forgotten_over_the_limit() {
        let (threads, now) = (ThreadAffinity::default(), Instant::now());
        for n in 0..=MESSAGES {
            remember(&threads, &format!("msg_{n}"), "ada", now);
            // A second call counts as the same message.
            remember(&threads, &format!("msg_{n}"), "bob", now);
        }
        assert_eq!(account_of(&threads, "msg_0", now), None);
        assert_eq!(account_of(&threads, "msg_1", now).unwrap(), "bob");
        assert_eq!(threads.0.lock().by_message.len(), MESSAGES);
        assert_eq!(threads.0.lock().order.len(), MESSAGES);
    }
}
