//! A client that waits for a stream to begin: at first for the head of its answer, after a while hearing pings.

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

/// An exchange of which nothing has gone to the client: whatever it comes to has its real status.
pub(crate) struct Held(Running<Finished>);

/// An exchange whose client was told 200. Attempts go on; what comes of them shows in the stream and nowhere else.
struct Pinging {
    exchange: Running<Answer>,
    every: Duration,
    /// In bytes.
    pinged: usize,
}

/// What the stream of a committed exchange goes on with.
enum KeepaliveStream {
    Pinging(Pinging),
    Streaming(BodyStream),
    /// The last bytes are out; the record is written when they are gone.
    Said(#[expect(dead_code, reason = "held until it is dropped")] Option<Box<Record>>),
}

impl Held {
    pub(crate) fn new(exchange: impl Future<Output = Finished> + Send + 'static) -> Self {
        Self(exchange.boxed())
    }

    /// The answer, if it begins soon enough; else 200 and pings until it does.
    pub(crate) async fn answer(mut self, limits: &config::Retry) -> Answer {
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
        let rest = stream::unfold(KeepaliveStream::Pinging(pinging), KeepaliveStream::next);
        let body = stream::iter([Ok(PING)]).chain(rest);
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
                    Ok(answer) => match begun(answer, pinging.pinged) {
                        FirstOutput::Stream(chunks) => chunks,
                        FirstOutput::Last(last, record) => return Some((last, Self::Said(record))),
                    },
                    Err(_) => {
                        pinging.pinged += PING.len();
                        return Some((Ok(PING), Self::Pinging(pinging)));
                    }
                }
            }
            Self::Streaming(chunks) => chunks,
            Self::Said(_) => return None,
        };
        let next = chunks.next().await?;
        Some((next, Self::Streaming(chunks)))
    }
}

/// How the answer goes on after the pings.
enum FirstOutput {
    Stream(BodyStream),
    /// With this and nothing more.
    Last(Result<Bytes, Fault>, Option<Box<Record>>),
}

fn begun(answer: Answer, pinged: usize) -> FirstOutput {
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

/// An error answer as the event that says the same.
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
