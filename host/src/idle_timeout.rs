//! A timeout for inactivity that costs almost nothing while there is activity.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    task::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

/// A timeout that expires after some time without an event.
///
/// The timer keeps the time of an earlier wait, and is set again only when it expires. Setting it
/// for each event would cost as much as reading the event.
#[derive(Default)]
pub(crate) struct IdleTimeout {
    /// Created at the first wait.
    timer: Option<Pin<Box<Sleep>>>,
    /// When the current wait ends.
    until: Option<Instant>,
    /// The task that the timer wakes. Registering it at each poll would double the cost.
    wakes: Option<Waker>,
}

impl IdleTimeout {
    /// Records an event: the next poll starts a new wait.
    pub(crate) fn reset(&mut self) {
        self.until = None;
    }

    /// Ready after `limit` without an event since the first poll after [`Self::reset`].
    pub(crate) fn poll(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let until = *self.until.get_or_insert_with(|| Instant::now() + limit);
        self.poll_until(until, cx)
    }

    /// Ready at this time, which may differ between polls.
    pub(crate) fn poll_until(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        let is_earlier = until < timer.deadline();
        let same = |waker: &Waker| waker.will_wake(cx.waker());
        let is_registered = !is_earlier && self.wakes.as_ref().is_some_and(same);
        // A caller that cannot be woken is not registered.
        if (is_registered || same(Waker::noop())) && !timer.is_elapsed() {
            return Poll::Pending;
        }
        self.wakes = Some(cx.waker().clone());
        if is_earlier {
            timer.as_mut().reset(until);
        }
        // Unconstrained, because a task that has used up its budget would not be registered.
        while pin!(unconstrained(timer.as_mut())).poll(cx).is_ready() {
            if timer.deadline() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;
    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);

    async fn expires(idle: &mut IdleTimeout, limit: Duration) {
        let expired = timeout(LONG / 2, poll_fn(|cx| idle.poll(limit, cx))).await;
        assert!(expired.is_ok(), "it did not expire");
    }

    #[tokio::test]
    async fn it_expires_when_nothing_happens() {
        let mut idle = IdleTimeout::default();
        expires(&mut idle, SHORT).await;
        // It stays expired.
        expires(&mut idle, LONG).await;
    }

    #[tokio::test]
    async fn an_earlier_wait_does_not_count_against_the_next() {
        let mut idle = IdleTimeout::default();
        expires(&mut idle, SHORT).await;
        idle.reset();
        let next = poll_fn(|cx| Poll::Ready(idle.poll(LONG, cx))).await;
        assert!(next.is_pending());
        idle.reset();
        expires(&mut idle, SHORT).await;
    }

    #[tokio::test]
    async fn an_earlier_time_takes_effect() {
        let mut idle = IdleTimeout::default();
        let (soon, late) = (Instant::now() + SHORT, Instant::now() + LONG);
        let first = poll_fn(|cx| Poll::Ready(idle.poll_until(late, cx))).await;
        assert!(first.is_pending());
        let expired = timeout(LONG / 2, poll_fn(|cx| idle.poll_until(soon, cx))).await;
        assert!(expired.is_ok(), "it did not expire");
    }

    #[tokio::test]
    async fn the_task_that_polls_last_is_woken_even_if_its_budget_is_used_up() {
        let mut idle = IdleTimeout::default();
        let limit = Duration::from_millis(500);
        // Polled by a task that cannot be woken, and by one that has ended.
        assert!(poll_fn(|cx| idle.poll(limit, cx)).now_or_never().is_none());
        let mut idle = tokio::spawn(async move {
            assert!(
                poll_fn(|cx| Poll::Ready(idle.poll(limit, cx)))
                    .await
                    .is_pending()
            );
            idle
        })
        .await
        .unwrap();
        let waits = poll_fn(|cx| {
            while let Poll::Ready(budget) = tokio::task::coop::poll_proceed(cx) {
                budget.made_progress();
            }
            idle.poll(limit, cx)
        });
        assert!(timeout(LONG / 2, waits).await.is_ok(), "it was not woken");
    }
}
