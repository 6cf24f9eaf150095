//! The body of an answer as it comes, which has failed when nothing comes for too long.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep};

use super::failure;
use crate::{fault::Fault, ids::UpstreamId};

/// No async block, whose state would be moved for each chunk.
pub(super) struct Coming {
    /// None when it has ended.
    answer: Option<reqwest::Response>,
    upstream: UpstreamId,
    idle: Duration,
    silence: Silence,
}

/// The wait for a chunk. The timer stays as it was set for an earlier one and is set anew only when it rings, since setting
/// and clearing it costs as much as to read an event.
struct Silence {
    timer: Pin<Box<Sleep>>,
    /// Until when the present chunk is waited for.
    until: Option<Instant>,
    /// Whom the timer wakes. To tell it again, or of one who only looks, costs as much as all else about a chunk that is not
    /// there.
    wakes: Option<Waker>,
}

impl Coming {
    pub(super) fn new(answer: reqwest::Response, upstream: UpstreamId, idle: Duration) -> Self {
        Self {
            answer: Some(answer),
            upstream,
            idle,
            silence: Silence::new(idle),
        }
    }
}

impl Stream for Coming {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(answer) = &mut this.answer else {
            return Poll::Ready(None);
        };
        // What it has read stays with the answer, so that the future need not.
        let next = pin!(answer.chunk()).poll(cx);
        let Poll::Ready(next) = next else {
            ready!(this.silence.poll(this.idle, cx));
            this.answer = None;
            let fault = failure::silence(&this.upstream, this.idle);
            return Poll::Ready(Some(Err(fault)));
        };
        let next = next.transpose();
        this.silence.until = None;
        if !matches!(next, Some(Ok(_))) {
            this.answer = None;
        }
        let next =
            next.map(|chunk| chunk.map_err(|error| failure::within_answer(&this.upstream, error)));
        Poll::Ready(next)
    }
}

impl Silence {
    fn new(idle: Duration) -> Self {
        Self {
            timer: Box::pin(sleep(idle)),
            until: None,
            wakes: None,
        }
    }

    /// Ready when nothing has come for as long as is waited.
    fn poll(&mut self, idle: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let until = *self.until.get_or_insert_with(|| Instant::now() + idle);
        let waits = |told: &Waker| told.will_wake(cx.waker());
        let is_told = waits(Waker::noop()) || self.wakes.as_ref().is_some_and(waits);
        if is_told && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        self.wakes = Some(cx.waker().clone());
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.timer.deadline() >= until {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;

    /// An answer that has nothing when it is asked for the first time.
    fn slow(then: Poll<&'static str>, idle: Duration) -> Coming {
        let mut asked = false;
        let chunks = stream::poll_fn(move |context| {
            if std::mem::replace(&mut asked, true) {
                return then.map(|text| Some(Ok::<_, std::io::Error>(Bytes::from(text))));
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        let answer = http::Response::new(reqwest::Body::wrap_stream(chunks));
        Coming::new(answer.into(), "u".parse().unwrap(), idle)
    }

    #[tokio::test]
    async fn what_an_earlier_chunk_was_waited_for_does_not_count_against_the_next() {
        let mut coming = slow(Poll::Ready("late"), Duration::from_secs(60));
        let mut long_ago = Box::pin(sleep(Duration::ZERO));
        long_ago.as_mut().await;
        coming.silence.timer = long_ago;
        assert_eq!(coming.next().await.unwrap().unwrap(), "late");
    }

    #[tokio::test]
    async fn silence_is_a_fault_and_the_end() {
        let mut coming = slow(Poll::Pending, Duration::from_millis(1));
        // Whoever asks last is woken, whoever asked before.
        assert!(coming.next().now_or_never().is_none());
        assert!(coming.next().await.unwrap().is_err());
        assert!(coming.next().await.is_none());
    }
}
