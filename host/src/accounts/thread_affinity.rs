//! Which account made which message, so that a thread is continued where it is known.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::ids::{AccountId, UpstreamId};

/// Some megabytes. The oldest goes first; its thread is sent anew then.
const MESSAGES: usize = 10_000;

/// Longer than a person leaves a conversation and means to go on with it where it was.
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
        let mut makers = self.lock();
        makers.forget_the_old(now);
        let known = makers.by_message.insert(id.to_owned(), (upstream, account));
        if known.is_none() {
            makers.order.push_back((now, id.to_owned()));
            if makers.order.len() > MESSAGES {
                makers.forget_the_oldest();
            }
        }
    }

    pub(super) fn account_of_message(
        &self,
        id: &str,
        now: Instant,
    ) -> Option<(UpstreamId, AccountId)> {
        let mut makers = self.lock();
        makers.forget_the_old(now);
        makers.by_message.get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, MessageAccounts> {
        // Nothing in here calls out, so nothing is left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MessageAccounts {
    fn forget_the_old(&mut self, now: Instant) {
        let old = |(at, _): &(Instant, String)| now.saturating_duration_since(*at) >= TTL;
        while self.order.front().is_some_and(old) {
            self.forget_the_oldest();
        }
    }

    fn forget_the_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.by_message.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(threads: &ThreadAffinity, id: &str, account: &str, now: Instant) {
        threads.remember_message(id, "up".parse().unwrap(), account.parse().unwrap(), now);
    }

    fn maker(threads: &ThreadAffinity, id: &str, now: Instant) -> Option<String> {
        Some(threads.account_of_message(id, now)?.1.to_string())
    }

    #[test]
    fn a_message_is_forgotten_after_a_day() {
        let (threads, now) = (ThreadAffinity::default(), Instant::now());
        made(&threads, "msg_1", "ada", now);
        let later = now + TTL - Duration::from_secs(1);
        made(&threads, "msg_2", "bob", later);
        assert_eq!(maker(&threads, "msg_1", later).unwrap(), "ada");
        assert_eq!(maker(&threads, "msg_1", now + TTL), None);
        assert_eq!(maker(&threads, "msg_2", now + TTL).unwrap(), "bob");
        assert_eq!(maker(&threads, "msg_3", now), None);
    }

    #[test]
    fn past_the_limit_the_oldest_is_forgotten() {
        let (threads, now) = (ThreadAffinity::default(), Instant::now());
        for n in 0..=MESSAGES {
            made(&threads, &format!("msg_{n}"), "ada", now);
            // Told twice it still counts once.
            made(&threads, &format!("msg_{n}"), "bob", now);
        }
        assert_eq!(maker(&threads, "msg_0", now), None);
        assert_eq!(maker(&threads, "msg_1", now).unwrap(), "bob");
        assert_eq!(threads.lock().by_message.len(), MESSAGES);
        assert_eq!(threads.lock().order.len(), MESSAGES);
    }
}
