//! Sends an upstream's stream to the client event by event. From here on nothing can be retried.

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
        attempt::{self, HostEdits, StreamResponse, only_pings, too_long},
        record::{Ending, Record},
    },
    fault::{Blame, Fault, Kind},
    idle_timeout::IdleTimeout,
    ids::UpstreamId,
    message::{Body, BodyStream, Event, Response},
    pipeline::ResponseRun,
    sse::{Decoder, Frame},
};

use super::relay::{PING, Relay, ResponseMode, WriteBuffer, streamed};

/// The most that is gathered for one write, in bytes.
const MAX_GATHERED: usize = 64 * 1024;

/// How often to yield for the next chunk while gathering. A connection passes on one chunk at a
/// time, and after this many turns of other tasks it has passed on the next one if it has arrived.
const YIELDS: u32 = 2;

/// How long an upstream may take to close a stream after its last event. Most close it at once, and
/// then the connection is used again; the client does not wait for the others.
const LINGER: Duration = Duration::from_millis(100);

impl StreamResponse {
    /// Begins the response to the client. The first events pass the hooks before the head is made,
    /// so that hooks can set headers and an early hook failure still has its real status.
    pub(super) async fn deliver(
        self,
        answering: ResponseRun,
        lease: Option<Lease>,
        mut record: Box<Record>,
        mode: ResponseMode,
    ) -> Answer {
        record.first_event();
        record.streams();
        let mut relay = Relay::of(answering, mode.head);
        let first = match relay.show(self.frames.into_iter()).await {
            Ok(first) => first,
            Err(fault) => {
                relay.report(&mut record, mode.host_edits);
                return Answer::fault(fault, record);
            }
        };
        // Also if no hook has seen an event yet.
        relay.answering.head_is_sent();
        let headers = streamed(relay.answering.take_headers());
        record.status = self.status.as_u16();
        let mut streaming = Streaming::of(relay, self.decoder, self.chunks, record, mode);
        streaming.lease = lease;
        streaming.out.raw(first);
        streaming.fail_after_error();
        let body = stream::unfold(streaming, |mut streaming| async move {
            let next = streaming.next().await?;
            Some((next, streaming))
        });
        Answer::streaming(Response {
            status: self.status,
            headers,
            body: Body::Stream(body.boxed()),
        })
    }
}

/// A stream that is being sent to the client.
struct Streaming {
    decoder: Decoder,
    chunks: BodyStream,
    relay: Relay,
    record: Box<Record>,
    host_edits: HostEdits,
    /// The account counts as busy until the response has ended.
    lease: Option<Lease>,
    ping_every: Duration,
    /// How long the upstream may send nothing but pings.
    idle: Duration,
    /// When something was last sent to the client.
    silent_since: Instant,
    /// When the upstream last sent more than pings.
    alive_at: Instant,
    idle_timer: IdleTimeout,
    /// Sent before anything more is read.
    out: WriteBuffer,
    /// Returned after `out`, as the last item.
    fault: Option<Box<Fault>>,
    /// Nothing more is read.
    ended: bool,
}

impl Streaming {
    fn of(
        relay: Relay,
        decoder: Decoder,
        chunks: BodyStream,
        record: Box<Record>,
        mode: ResponseMode,
    ) -> Self {
        Self {
            decoder,
            chunks,
            ended: relay.ending == Some(Ending::Error),
            relay,
            record,
            host_edits: mode.host_edits,
            lease: None,
            ping_every: mode.ping_every,
            idle: mode.idle,
            silent_since: Instant::now(),
            alive_at: Instant::now(),
            idle_timer: IdleTimeout::default(),
            out: WriteBuffer::default(),
            fault: None,
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        let next = self.piece().await;
        self.silent_since = Instant::now();
        if let Some(Ok(bytes)) = &next {
            self.record.bytes_out += bytes.len();
        }
        next
    }

    /// Each piece ends with a complete event, so a ping between two pieces is never inside an
    /// event.
    async fn piece(&mut self) -> Option<Result<Bytes, Fault>> {
        loop {
            if let Some(ending) = self.relay.ending {
                // The client has the whole response, even if it disconnects before the upstream
                // does.
                self.record.end(ending);
            }
            if !self.out.is_empty() {
                return Some(Ok(std::mem::take(&mut self.out).joined()));
            }
            if let Some(fault) = self.fault.take() {
                return Some(Err(*fault));
            }
            if self.ended {
                return None;
            }
            let complete = self.is_complete();
            let limit = if complete { LINGER } else { self.ping_every };
            match self.next_within(limit).await {
                Some(next) => {
                    self.handle(next).await;
                    self.gather().await;
                }
                // The response is complete, and the client waits for its end.
                None if complete => self.end(None).await,
                None => return Some(Ok(PING)),
            }
        }
    }

    /// The next chunk; `None` if nothing has been sent to the client for this long.
    async fn next_within(&mut self, limit: Duration) -> Option<Option<Result<Bytes, Fault>>> {
        let until = (self.silent_since + limit).into();
        poll_fn(|cx| match self.chunks.poll_next_unpin(cx) {
            Poll::Ready(next) => Poll::Ready(Some(next)),
            Poll::Pending => self.idle_timer.poll_until(until, cx).map(|()| None),
        })
        .await
    }

    /// Adds the chunks that have arrived already: a write costs more than everything else about an
    /// event.
    async fn gather(&mut self) {
        let mut yields = 0;
        let mut gathered = 0;
        while !self.ended && gathered < MAX_GATHERED {
            match self.next_now() {
                Poll::Ready(next) => {
                    yields = 0;
                    if let Some(Ok(chunk)) = &next {
                        gathered += chunk.len().max(1);
                    }
                    self.handle(next).await;
                }
                Poll::Pending if yields == YIELDS => return,
                Poll::Pending => {
                    yields += 1;
                    yield_once().await;
                }
            }
        }
    }

    /// The next chunk if it is here already. Polled without a waker, so no wake-up is registered.
    fn next_now(&mut self) -> Poll<Option<Result<Bytes, Fault>>> {
        let mut context = Context::from_waker(Waker::noop());
        self.chunks.poll_next_unpin(&mut context)
    }

    async fn handle(&mut self, next: Option<Result<Bytes, Fault>>) {
        match next {
            Some(Ok(chunk)) => self.take(chunk).await,
            Some(Err(fault)) => self.end(Some(fault)).await,
            None => self.end(None).await,
        }
    }

    /// The frames that end in this chunk are sent together.
    async fn take(&mut self, chunk: Bytes) {
        // A translated stream says by an empty chunk that its upstream is at work.
        self.relay.alive = chunk.is_empty();
        let Self { decoder, relay, .. } = self;
        decoder.push(chunk);
        let mut has_frames = false;
        let frames = std::iter::from_fn(|| decoder.next_frame()).inspect(|_| has_frames = true);
        match relay.show(frames).await {
            Ok(out) => self.out.raw(out),
            Err(fault) => return self.fail(fault, Ending::Error),
        }
        self.ended |= self.relay.ending == Some(Ending::Error);
        if self.fail_after_error() {
            return;
        }
        let upstream = &self.relay.answering.head().target.upstream;
        if self.decoder.is_too_long() {
            let fault = too_long(upstream);
            return self.fail(fault, Ending::Truncated);
        }
        let now = Instant::now();
        if self.relay.alive {
            self.alive_at = now;
        } else if has_frames && !self.is_complete() && now - self.alive_at >= self.idle {
            let fault = only_pings(upstream, self.idle);
            self.fail(fault, Ending::Truncated);
        }
    }

    /// Ends the stream if an error in another shape came.
    fn fail_after_error(&mut self) -> bool {
        let error = self.relay.error.take();
        error.is_some_and(|error| {
            self.fail(error, Ending::Error);
            true
        })
    }

    fn is_complete(&self) -> bool {
        self.relay.ending == Some(Ending::Complete)
    }

    /// The upstream's stream has ended. Bytes after the last blank line are sent only if the
    /// response is complete: half an event would garble the error event after it.
    async fn end(&mut self, fault: Option<Fault>) {
        self.ended = true;
        if fault.is_none()
            && !self.is_complete()
            && let Err(fault) = self.end_cleanly().await
        {
            return self.fail(fault, Ending::Error);
        }
        if self.relay.ending == Some(Ending::Error) {
            return;
        }
        let complete = self.is_complete();
        let mut out = WriteBuffer::default();
        if complete {
            out.raw(self.decoder.unfinished());
        }
        if let Err(fault) = self.relay.end(complete, &mut out).await {
            return self.fail(fault, Ending::Error);
        }
        self.out.raw(out.joined());
        if !complete {
            let fault = fault.unwrap_or_else(|| cut(&self.relay.answering.head().target.upstream));
            let ending = match fault.blame {
                Blame::Plugin(_) => Ending::Error,
                _ => Ending::Truncated,
            };
            self.fail(fault, ending);
        }
    }

    /// The body ended as its framing promises. The last event may lack its blank line, and after a
    /// stop reason the message is complete without `message_stop`, which is added.
    async fn end_cleanly(&mut self) -> Result<(), Fault> {
        let last = self.decoder.last_frame().filter(attempt::is_last);
        if let Some(last) = last {
            let out = self.relay.show(std::iter::once(last)).await?;
            self.out.raw(out);
        }
        if self.relay.stopped && self.relay.ending.is_none() {
            // What is left is a part of the last event.
            self.decoder.unfinished();
            let stop = Frame::of(&Event {
                name: "message_stop".to_owned(),
                data: r#"{"type":"message_stop"}"#.to_owned(),
            });
            let out = self.relay.show(std::iter::once(stop)).await?;
            self.out.raw(out);
        }
        Ok(())
    }

    /// Ends the stream with an error after what has been queued.
    fn fail(&mut self, fault: Fault, ending: Ending) {
        self.ended = true;
        self.record.note = Some(fault.chain());
        self.relay.ending = Some(ending);
        self.fault = Some(Box::new(fault));
    }
}

/// The fault for a stream that ends without a stop reason.
fn cut(upstream: &UpstreamId) -> Fault {
    let what = format!(
        "upstream `{upstream}` sent an invalid response: the stream ended before `message_stop`"
    );
    Fault::upstream(Kind::InvalidResponse, what)
}

/// Yields once, so that other tasks can run.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.relay.report(&mut self.record, self.host_edits);
    }
}
