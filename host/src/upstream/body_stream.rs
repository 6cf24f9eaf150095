//! The body of a response as it arrives. It fails if nothing arrives for too long.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;

use super::{error_map, gunzip::Gunzip};
use crate::{fault::Fault, idle_timeout::IdleTimeout, ids::UpstreamId};

/// A hand-written stream: the state of an async block would be moved for each chunk.
pub(super) struct UpstreamBody {
    /// `None` once it has ended.
    response: Option<reqwest::Response>,
    upstream: UpstreamId,
    idle: Duration,
    idle_timer: IdleTimeout,
    gunzip: Gunzip,
}

impl UpstreamBody {
    pub(super) fn new(
        response: reqwest::Response,
        upstream: UpstreamId,
        idle: Duration,
        gunzip: Gunzip,
    ) -> Self {
        Self {
            response: Some(response),
            upstream,
            idle,
            idle_timer: IdleTimeout::default(),
            gunzip,
        }
    }

    /// Decodes what arrived. `None` if that is nothing yet.
    fn decoded(
        &mut self,
        next: Option<reqwest::Result<Bytes>>,
    ) -> Option<Option<Result<Bytes, Fault>>> {
        let decoded = match next {
            Some(Err(error)) => {
                return Some(Some(Err(error_map::within_response(&self.upstream, error))));
            }
            Some(Ok(chunk)) => self.gunzip.push(chunk),
            None => match self.gunzip.finish() {
                Ok(left) if left.is_empty() => return Some(None),
                left => left,
            },
        };
        match decoded {
            Ok(chunk) if chunk.is_empty() => None,
            Ok(chunk) => Some(Some(Ok(chunk))),
            Err(error) => {
                self.response = None;
                let fault = error_map::invalid_gzip(&self.upstream, error);
                Some(Some(Err(fault)))
            }
        }
    }
}

impl Stream for UpstreamBody {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(response) = &mut this.response else {
                return Poll::Ready(None);
            };
            // What it has read is kept in the response, so the future need not be kept.
            let next = pin!(response.chunk()).poll(cx);
            let Poll::Ready(next) = next else {
                ready!(this.idle_timer.poll(this.idle, cx));
                this.response = None;
                let fault = error_map::idle(&this.upstream, this.idle);
                return Poll::Ready(Some(Err(fault)));
            };
            let next = next.transpose();
            this.idle_timer.reset();
            if !matches!(next, Some(Ok(_))) {
                this.response = None;
            }
            if let Some(next) = this.decoded(next) {
                return Poll::Ready(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;

    /// A response body that is pending at the first poll.
    fn slow(then: Poll<&'static str>, idle: Duration) -> UpstreamBody {
        let mut polled = false;
        let chunks = stream::poll_fn(move |context| {
            if std::mem::replace(&mut polled, true) {
                return then.map(|text| Some(Ok::<_, std::io::Error>(Bytes::from(text))));
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        let response = http::Response::new(reqwest::Body::wrap_stream(chunks));
        UpstreamBody::new(response.into(), "u".parse().unwrap(), idle, Gunzip::Plain)
    }

    #[tokio::test]
    async fn silence_is_a_fault_and_the_end() {
        let mut body = slow(Poll::Pending, Duration::from_millis(1));
        // The task that polled last is woken, not one before it.
        assert!(body.next().now_or_never().is_none());
        assert!(body.next().await.unwrap().is_err());
        assert!(body.next().await.is_none());
    }
}
