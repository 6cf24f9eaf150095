//! An upstream's stream that goes to the client event by event. There is no way back from here.

use std::{
    future::poll_fn,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::{
    accounts::Lease,
    exchange::{
        Answer,
        attempt::{HostEdits, StreamResponse, too_long},
        record::{Ending, Record},
    },
    fault::{Blame, Fault, Kind},
    idle_timeout::IdleTimeout,
    message::{Body, BodyStream, Response},
    pipeline::ResponseRun,
    sse::Decoder,
    telemetry::Usage,
};

use super::relay::{ClientHead, PING, Relay, ResponseMode, WriteBuffer, note, streamed};

/// No more than this is gathered before it goes out, in bytes.
const ENOUGH: usize = 64 * 1024;

/// A connection hands on one chunk at a time. After so many turns of the others it has handed on the next, if that is here.
const TURNS: u32 = 2;

/// How long an upstream may take to close a stream after its last event.
const LINGER: Duration = Duration::from_secs(5);

impl StreamResponse {
    /// Begins to answer the client. The first events pass the hooks before the head is made, so that hooks can set
    /// headers, and a hook that fails now still has its real status.
    pub(crate) async fn deliver(
        self,
        answering: ResponseRun,
        lease: Option<Lease>,
        mut record: Box<Record>,
        wanted: ResponseMode,
    ) -> Answer {
        let Self {
            frames,
            decoder,
            chunks,
            status,
            ..
        } = self;
        record.first_event();
        record.streams();
        let mut relay = Relay {
            answering,
            usage: Usage::default(),
            ending: None,
        };
        if wanted.head == ClientHead::Sent {
            relay.answering.head_is_sent();
        }
        let first = match relay.show(frames.into_iter()).await {
            Ok(first) => first,
            Err(fault) => {
                record.usage = relay.usage;
                note(&mut relay.answering, &mut record, wanted.own);
                return Answer::fault(fault, record);
            }
        };
        // Also where no hook was shown an event.
        relay.answering.head_is_sent();
        let headers = streamed(relay.answering.take_headers());
        record.status = status.as_u16();
        let over = relay.ending == Some(Ending::Error);
        let own = wanted.own;
        let mut out = WriteBuffer::default();
        out.raw(first);
        let streaming = Streaming {
            decoder,
            chunks,
            relay,
            record,
            own,
            _lease: lease,
            ping_every: wanted.ping_every,
            silent_since: Instant::now(),
            silence: IdleTimeout::default(),
            out,
            cut: None,
            over,
        };
        let body = stream::unfold(streaming, |mut streaming| async move {
            let next = streaming.next().await?;
            Some((next, streaming))
        });
        Answer::streaming(Response {
            status,
            headers,
            body: Body::Stream(body.boxed()),
        })
    }
}

/// A stream that has begun to go to the client.
struct Streaming {
    decoder: Decoder,
    chunks: BodyStream,
    relay: Relay,
    record: Box<Record>,
    own: HostEdits,
    /// The account is busy until the answer has ended.
    _lease: Option<Lease>,
    ping_every: Duration,
    /// When the client got something for the last time.
    silent_since: Instant,
    silence: IdleTimeout,
    /// What goes out before anything more is read.
    out: WriteBuffer,
    /// What comes after that, and is the last.
    cut: Option<Box<Fault>>,
    /// Nothing more is read.
    over: bool,
}

impl Streaming {
    async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        let next = self.piece().await;
        self.silent_since = Instant::now();
        if let Some(Ok(bytes)) = &next {
            self.record.bytes_out += bytes.len();
        }
        next
    }

    /// What goes out ends with an event, so a ping between two pieces is never inside of one.
    async fn piece(&mut self) -> Option<Result<Bytes, Fault>> {
        loop {
            if let Some(ending) = self.relay.ending {
                // The client has all of it, even if it goes before the upstream does.
                self.record.end(ending);
            }
            if !self.out.is_empty() {
                return Some(Ok(std::mem::take(&mut self.out).joined()));
            }
            if let Some(fault) = self.cut.take() {
                return Some(Err(*fault));
            }
            if self.over {
                return None;
            }
            let complete = self.relay.ending == Some(Ending::Complete);
            let patience = if complete { LINGER } else { self.ping_every };
            match self.next_within(patience).await {
                Some(next) => {
                    self.taken(next).await;
                    self.gather().await;
                }
                // Nothing is missing, and the client waits for the end.
                None if complete => self.end(None).await,
                None => return Some(Ok(PING)),
            }
        }
    }

    /// The next chunk; None where the client has had nothing for so long.
    async fn next_within(&mut self, patience: Duration) -> Option<Option<Result<Bytes, Fault>>> {
        let until = (self.silent_since + patience).into();
        poll_fn(|cx| match self.chunks.poll_next_unpin(cx) {
            Poll::Ready(next) => Poll::Ready(Some(next)),
            Poll::Pending => self.silence.poll_until(until, cx).map(|()| None),
        })
        .await
    }

    /// What has arrived already leaves with what came first: a write for each event costs more than all else about it.
    async fn gather(&mut self) {
        let mut waited = 0;
        let mut gathered = 0;
        while !self.over && gathered < ENOUGH {
            match self.next_now() {
                Poll::Ready(next) => {
                    waited = 0;
                    if let Some(Ok(chunk)) = &next {
                        gathered += chunk.len();
                    }
                    self.taken(next).await;
                }
                Poll::Pending if waited == TURNS => return,
                Poll::Pending => {
                    waited += 1;
                    let_others_run().await;
                }
            }
        }
    }

    /// Asked by nobody who could be woken, so nothing is set up to wake him.
    fn next_now(&mut self) -> Poll<Option<Result<Bytes, Fault>>> {
        let mut none_left = Context::from_waker(Waker::noop());
        self.chunks.poll_next_unpin(&mut none_left)
    }

    async fn taken(&mut self, next: Option<Result<Bytes, Fault>>) {
        match next {
            Some(Ok(chunk)) => self.take(chunk).await,
            Some(Err(fault)) => self.end(Some(fault)).await,
            None => self.end(None).await,
        }
    }

    /// The frames that end in this chunk leave together.
    async fn take(&mut self, chunk: Bytes) {
        let Self { decoder, relay, .. } = self;
        decoder.push(chunk);
        let frames = std::iter::from_fn(|| decoder.next_frame());
        match relay.show(frames).await {
            Ok(out) => self.out.raw(out),
            Err(fault) => return self.cut(fault, Ending::Error),
        }
        self.over |= self.relay.ending == Some(Ending::Error);
        if self.decoder.is_too_long() {
            let fault = too_long(&self.relay.answering.head().target.upstream);
            self.cut(fault, Ending::Truncated);
        }
    }

    /// The upstream has said its last. What came behind the last blank line goes along only if nothing is missing:
    /// half an event before our error would spoil it.
    async fn end(&mut self, fault: Option<Fault>) {
        self.over = true;
        let complete = self.relay.ending == Some(Ending::Complete);
        let mut out = WriteBuffer::default();
        if complete {
            out.raw(self.decoder.rest());
        }
        match Box::pin(self.relay.answering.on_end(complete)).await {
            Ok(events) => out.events(&events),
            Err(fault) => return self.cut(fault, Ending::Error),
        }
        self.out.raw(out.joined());
        if !complete {
            let fault = fault.unwrap_or_else(|| {
                let upstream = &self.relay.answering.head().target.upstream;
                let what =
                    format!("the stream of upstream `{upstream}` ended before `message_stop`");
                Fault::upstream(Kind::InvalidResponse, what)
            });
            let ending = match fault.blame {
                Blame::Plugin(_) => Ending::Error,
                _ => Ending::Truncated,
            };
            self.cut(fault, ending);
        }
    }

    fn cut(&mut self, fault: Fault, ending: Ending) {
        self.over = true;
        self.record.note = Some(fault.chain());
        self.relay.ending = Some(ending);
        self.cut = Some(Box::new(fault));
    }
}

/// Gives up the rest of this turn, and takes the next.
async fn let_others_run() {
    let mut ran = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut ran, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.record.usage = self.relay.usage;
        note(&mut self.relay.answering, &mut self.record, self.own);
    }
}
