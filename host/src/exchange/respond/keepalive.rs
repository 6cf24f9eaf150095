//! Keeps a streaming client waiting for its response: first without a head, after a while with
//! pings.

use std::{pin::Pin, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, StatusCode};

use crate::{
    config,
    exchange::{Answer, record::Record},
    fault::Fault,
    message::{Body, BodyStream, Event, Response},
    sse,
};

use super::{
    Finished,
    relay::{ClientHead, PING, streamed},
};

type Running<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An exchange of which nothing has been sent to the client, so its response can have any status.
pub(in crate::exchange) struct Held(Running<Finished>);

/// An exchange whose client has got status 200. Attempts go on, and their result can only be shown
/// in the stream.
struct Pinging {
    exchange: Running<Answer>,
    every: Duration,
    /// The size of the pings sent so far, in bytes.
    pinged: usize,
}

/// The state of a stream that began with a ping.
enum KeepaliveStream {
    Pinging(Pinging),
    Streaming(BodyStream),
    /// The last bytes have been returned. The record is written once they have been sent.
    Ended(#[expect(dead_code, reason = "held until it is dropped")] Option<Box<Record>>),
}

impl Held {
    pub(in crate::exchange) fn new(
        exchange: impl Future<Output = Finished> + Send + 'static,
    ) -> Self {
        Self(exchange.boxed())
    }

    /// The response, if it begins within `ping_after`; else status 200 and pings until it does.
    pub(in crate::exchange) async fn answer(mut self, limits: &config::Retry) -> Answer {
        match tokio::time::timeout(limits.ping_after, &mut self.0).await {
            Ok(finished) => finished.answer(ClientHead::Unsent).await,
            Err(_) => self.commit(limits.ping_every),
        }
    }

    fn commit(self, every: Duration) -> Answer {
        let exchange = self
            .0
            .then(|finished| finished.answer(ClientHead::Sent))
            .boxed();
        let pinging = Pinging {
            exchange,
            every,
            pinged: PING.len(),
        };
        let chunks = stream::unfold(KeepaliveStream::Pinging(pinging), KeepaliveStream::next);
        let body = stream::iter([Ok(PING)]).chain(chunks);
        Answer::streaming(Response {
            status: StatusCode::OK,
            headers: streamed(HeaderMap::new()),
            body: Body::Stream(body.boxed()),
        })
    }
}

impl KeepaliveStream {
    async fn next(self) -> Option<(Result<Bytes, Fault>, Self)> {
        let mut chunks = match self {
            Self::Pinging(mut pinging) => {
                match tokio::time::timeout(pinging.every, &mut pinging.exchange).await {
                    Ok(answer) => match first_output(answer, pinging.pinged) {
                        FirstOutput::Stream(chunks) => chunks,
                        FirstOutput::Last(last, record) => {
                            return Some((last, Self::Ended(record)));
                        }
                    },
                    Err(_) => {
                        pinging.pinged += PING.len();
                        return Some((Ok(PING), Self::Pinging(pinging)));
                    }
                }
            }
            Self::Streaming(chunks) => chunks,
            Self::Ended(_) => return None,
        };
        let next = chunks.next().await?;
        Some((next, Self::Streaming(chunks)))
    }
}

/// What follows the pings.
enum FirstOutput {
    Stream(BodyStream),
    /// This and nothing more.
    Last(Result<Bytes, Fault>, Option<Box<Record>>),
}

fn first_output(answer: Answer, pinged: usize) -> FirstOutput {
    let (last, mut record) = match (answer.outcome, answer.record) {
        (Ok(response), record) => match response.body {
            Body::Stream(chunks) => return FirstOutput::Stream(chunks),
            Body::Whole(bytes) if response.status.is_success() => (Ok(bytes), record),
            Body::Whole(bytes) => (Ok(error_event(&bytes)), record),
        },
        (Err(fault), record) => (Err(fault), record),
    };
    if let Some(record) = &mut record {
        record.status = StatusCode::OK.as_u16();
        record.bytes_out = pinged + last.as_ref().map_or(0, Bytes::len);
    }
    FirstOutput::Last(last, record)
}

/// An error response as an `error` event.
fn error_event(body: &Bytes) -> Bytes {
    let text = String::from_utf8_lossy(body);
    // A carriage return would end the line.
    let data = if text.contains(['\r', '\n']) {
        text.replace(['\r', '\n'], " ")
    } else {
        text.into_owned()
    };
    let event = Event {
        name: "error".to_owned(),
        data,
    };
    let mut out = BytesMut::new();
    sse::encode(&event, &mut out);
    out.freeze()
}
