//! The body of an answer as it comes, which has failed when nothing comes for too long.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;

use super::error_map;
use crate::{fault::Fault, idle_timeout::IdleTimeout, ids::UpstreamId};

/// No async block, whose state would be moved for each chunk.
pub(super) struct UpstreamBody {
    /// None when it has ended.
    answer: Option<reqwest::Response>,
    upstream: UpstreamId,
    idle: Duration,
    idle_timer: IdleTimeout,
}

impl UpstreamBody {
    pub(super) fn new(answer: reqwest::Response, upstream: UpstreamId, idle: Duration) -> Self {
        Self {
            answer: Some(answer),
            upstream,
            idle,
            idle_timer: IdleTimeout::default(),
        }
    }
}

impl Stream for UpstreamBody {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(answer) = &mut this.answer else {
            return Poll::Ready(None);
        };
        // What it has read stays with the answer, so that the future need not.
        let next = pin!(answer.chunk()).poll(cx);
        let Poll::Ready(next) = next else {
            ready!(this.idle_timer.poll(this.idle, cx));
            this.answer = None;
            let fault = error_map::silence(&this.upstream, this.idle);
            return Poll::Ready(Some(Err(fault)));
        };
        let next = next.transpose();
        this.idle_timer.reset();
        if !matches!(next, Some(Ok(_))) {
            this.answer = None;
        }
        let next = next
            .map(|chunk| chunk.map_err(|error| error_map::within_answer(&this.upstream, error)));
        Poll::Ready(next)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;

    /// An answer that has nothing when it is asked for the first time.
    fn slow(then: Poll<&'static str>, idle: Duration) -> UpstreamBody {
        let mut asked = false;
        let chunks = stream::poll_fn(move |context| {
            if std::mem::replace(&mut asked, true) {
                return then.map(|text| Some(Ok::<_, std::io::Error>(Bytes::from(text))));
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        let answer = http::Response::new(reqwest::Body::wrap_stream(chunks));
        UpstreamBody::new(answer.into(), "u".parse().unwrap(), idle)
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
