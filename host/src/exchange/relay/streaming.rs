//! An upstream's stream that goes to the client event by event. There is no way back from here.

use std::{
    future::poll_fn,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::{
    accounts::Lease,
    exchange::{
        Answer,
        arrival::{self, Begun, Whole},
        attempt::Own,
        collect::Collector,
        failed::Bad,
        finish::Head,
        record::{Ending, Record},
    },
    fault::{Blame, Fault, Kind},
    idle_timeout::IdleTimeout,
    ids::UpstreamId,
    message::{Body, BodyStream, Response},
    pipeline::Answering,
    sse::{Decoder, Frame},
    telemetry::Usage,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, header::CONTENT_TYPE};
use witgate_contract::limits;

use super::{PING, Passage, Pieces, Wanted, note, streamed};

/// No more than this is gathered before it goes out, in bytes.
const ENOUGH: usize = 64 * 1024;

/// A connection hands on one chunk at a time. After so many turns of the others it has handed on the next, if that is here.
const TURNS: u32 = 2;

/// How long an upstream may take to close a stream after its last event.
const LINGER: Duration = Duration::from_secs(5);

impl Begun {
    /// Begins to answer the client. The first events pass the hooks before the head is made, so that hooks can set
    /// headers, and a hook that fails now still has its real status.
    pub(crate) async fn deliver(
        self,
        answering: Answering,
        lease: Option<Lease>,
        mut record: Box<Record>,
        wanted: Wanted,
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
        let mut passage = Passage {
            answering,
            usage: Usage::default(),
            ending: None,
        };
        if wanted.head == Head::Sent {
            passage.answering.head_is_sent();
        }
        let first = match passage.show(frames.into_iter()).await {
            Ok(first) => first,
            Err(fault) => {
                record.usage = passage.usage;
                note(&mut passage.answering, &mut record, wanted.own);
                return Answer::fault(fault, record);
            }
        };
        // Also where no hook was shown an event.
        passage.answering.head_is_sent();
        let headers = streamed(passage.answering.take_headers());
        record.status = status.as_u16();
        let over = passage.ending == Some(Ending::Error);
        let own = wanted.own;
        let mut out = Pieces::default();
        out.raw(first);
        let streaming = Streaming {
            decoder,
            chunks,
            passage,
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

    /// Reads all of it, for a client that wants JSON. Still to be tried again: nothing has gone to
    /// the client.
    pub(crate) async fn collected(self, upstream: &UpstreamId) -> Result<Whole, Bad> {
        let Self {
            status,
            mut headers,
            frames,
            mut decoder,
            mut chunks,
        } = self;
        let mut collector = Collector::default();
        let mut arrived = frames;
        let mut received: usize = arrived.iter().map(Frame::len).sum();
        // What comes behind the end is of no use, and it need not come.
        loop {
            let mut over = false;
            for frame in &arrived {
                match &*arrival::kind(frame) {
                    b"error" => return Err(arrival::error_event(frame, headers)),
                    b"message_stop" => over = true,
                    _ => {}
                }
                if let Some(event) = frame.event() {
                    collector.take(&event);
                }
            }
            if decoder.is_too_long() {
                return Err(Bad::Nothing(arrival::too_long(upstream)));
            }
            let next = if over { None } else { chunks.next().await };
            let Some(chunk) = next else { break };
            let chunk = chunk.map_err(Bad::Nothing)?;
            received += chunk.len();
            if received > limits::RESPONSE {
                let fault = arrival::too_much(upstream, limits::RESPONSE, "one response");
                return Err(Bad::Nothing(fault));
            }
            decoder.push(chunk);
            arrived = std::iter::from_fn(|| decoder.next_frame()).collect();
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = collector.finish().map_err(Bad::Nothing)?;
        let mut usage = Usage::default();
        usage.of_message(&body);
        Ok(Whole {
            status,
            headers,
            body,
            usage,
        })
    }
}

/// A stream that has begun to go to the client.
struct Streaming {
    decoder: Decoder,
    chunks: BodyStream,
    passage: Passage,
    record: Box<Record>,
    own: Own,
    /// The account is busy until the answer has ended.
    _lease: Option<Lease>,
    ping_every: Duration,
    /// When the client got something for the last time.
    silent_since: Instant,
    silence: IdleTimeout,
    /// What goes out before anything more is read.
    out: Pieces,
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
            if let Some(ending) = self.passage.ending {
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
            let complete = self.passage.ending == Some(Ending::Complete);
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
        let mut nobody = Context::from_waker(Waker::noop());
        self.chunks.poll_next_unpin(&mut nobody)
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
        let Self {
            decoder, passage, ..
        } = self;
        decoder.push(chunk);
        let frames = std::iter::from_fn(|| decoder.next_frame());
        match passage.show(frames).await {
            Ok(out) => self.out.raw(out),
            Err(fault) => return self.cut(fault, Ending::Error),
        }
        self.over |= self.passage.ending == Some(Ending::Error);
        if self.decoder.is_too_long() {
            let fault = arrival::too_long(&self.passage.answering.head().target.upstream);
            self.cut(fault, Ending::Truncated);
        }
    }

    /// The upstream has said its last. What came behind the last blank line goes along only if nothing is missing:
    /// half an event before our error would spoil it.
    async fn end(&mut self, fault: Option<Fault>) {
        self.over = true;
        let complete = self.passage.ending == Some(Ending::Complete);
        let mut out = Pieces::default();
        if complete {
            out.raw(self.decoder.rest());
        }
        match Box::pin(self.passage.answering.on_end(complete)).await {
            Ok(events) => out.events(&events),
            Err(fault) => return self.cut(fault, Ending::Error),
        }
        self.out.raw(out.joined());
        if !complete {
            let fault = fault.unwrap_or_else(|| {
                let upstream = &self.passage.answering.head().target.upstream;
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
        self.passage.ending = Some(ending);
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
        self.record.usage = self.passage.usage;
        note(&mut self.passage.answering, &mut self.record, self.own);
    }
}
