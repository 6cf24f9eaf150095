//! Time limits of client connections.
//!
//! [`Watched`] closes a connection without a request. [`RequestBody`] ends a request whose body
//! stalls. [`Socket`] and [`Streams`] end a response that the client does not read. The plugin
//! instances and the upstream connection of a stalled exchange are then free.

use std::{
    cell::Cell,
    error::Error,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::{
    body::Incoming,
    rt::{Executor, Read, ReadBufCursor, Write},
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::debug;

use crate::{
    config::Connections,
    fault::{Fault, Kind},
    idle_timeout::IdleTimeout,
};

/// The bytes of a request body that count as progress. A client that sends a byte from time to time
/// makes none.
const BODY_STEP: usize = 16 * 1024;

/// The requests of one connection.
pub(super) struct Requests {
    accepted: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    /// When the last request ended; `None` before the first.
    ended: Option<Instant>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            accepted: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// Counts a request whose head has arrived.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.state.lock().running += 1;
        Running(Arc::clone(self))
    }

    /// Returns since when the connection waits for a request; `None` while one is running.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        (state.running == 0).then(|| state.ended.unwrap_or(self.accepted))
    }

    /// Returns how long the connection may stay open if nothing happens.
    fn open_until(&self, now: Instant, limits: &Connections) -> Instant {
        match *self.state.lock() {
            State {
                running: 0,
                ended: None,
            } => self.accepted + limits.request_head,
            State {
                running: 0,
                ended: Some(ended),
            } => ended + limits.idle,
            // Checked again then, because the end of a request wakes no task.
            State { .. } => now + limits.idle,
        }
    }
}

/// A running request, until this is dropped at the end of its response.
pub(super) struct Running(Arc<Requests>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.running -= 1;
        state.ended = Some(Instant::now());
    }
}

/// A connection that is closed after too long without a request.
pub(super) struct Watched<C> {
    connection: Pin<Box<C>>,
    requests: Arc<Requests>,
    limits: Connections,
    timeout: IdleTimeout,
    /// When the requests are checked next.
    until: Instant,
}

impl<C> Watched<C> {
    pub(super) fn new(connection: C, requests: Arc<Requests>, limits: Connections) -> Self {
        Self {
            connection: Box::pin(connection),
            until: requests.accepted + limits.request_head.min(limits.idle),
            requests,
            limits,
            timeout: IdleTimeout::default(),
        }
    }
}

impl<C, E> Future for Watched<C>
where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Poll::Ready(ended) = this.connection.as_mut().poll(cx) {
            // Not a warning: the records of its exchanges have what matters.
            if let Err(error) = ended {
                debug!(%error, "a connection ended");
            }
            return Poll::Ready(());
        }
        loop {
            ready!(this.timeout.poll_until(this.until, cx));
            let now = Instant::now();
            let open_until = this.requests.open_until(now, &this.limits);
            if open_until <= now {
                debug!("closed a connection without a request");
                return Poll::Ready(());
            }
            // Not later, since a request may begin and end before that.
            this.until = open_until.min(now + this.limits.idle);
        }
    }
}

/// The socket of a connection. It fails if the client reads nothing for too long.
pub(super) struct Socket<S> {
    socket: S,
    limit: Duration,
    stalled: IdleTimeout,
}

impl<S> Socket<S> {
    pub(super) fn new(socket: S, limits: &Connections) -> Self {
        Self {
            socket,
            limit: limits.write,
            stalled: IdleTimeout::default(),
        }
    }

    fn written(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled.reset();
            return written;
        }
        ready!(self.stalled.poll(self.limit, cx));
        let what = format!("the client read nothing for {:?}", self.limit);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)))
    }
}

impl<S: Read + Unpin> Read for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: Write + Unpin> Write for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.written(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, pieces);
        self.written(written, cx)
    }
}

/// A request body. It fails if the client sends too little for too long.
pub(super) struct RequestBody<B = Incoming> {
    body: B,
    limit: Duration,
    stalled: IdleTimeout,
    /// The bytes that have arrived since the wait began.
    arrived: usize,
}

impl<B> RequestBody<B> {
    pub(super) fn new(body: B, limits: &Connections) -> Self {
        Self {
            body,
            limit: limits.request_body,
            stalled: IdleTimeout::default(),
            arrived: 0,
        }
    }
}

impl<B> http_body::Body for RequestBody<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            ready!(this.stalled.poll(this.limit, cx));
            let limit = this.limit.as_secs_f64();
            let what = format!("the client stopped sending the request body for {limit} s");
            return Poll::Ready(Some(Err(Fault::client(Kind::TimedOut, what).into())));
        };
        if let Some(Ok(frame)) = &frame {
            this.arrived += frame.data_ref().map_or(0, Bytes::len);
            if this.arrived >= BODY_STEP {
                this.arrived = 0;
                this.stalled.reset();
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns the fault for a request body that did not arrive completely.
pub(super) fn body_fault(error: axum::Error) -> Fault {
    match error.into_inner().downcast::<Fault>() {
        Ok(fault) => *fault,
        Err(error) => Fault::client(Kind::BadRequest, "the request body was truncated").from(error),
    }
}

/// The side that a response waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitsFor {
    /// The gateway has nothing to send.
    Gateway,
    /// The client has not made room for what was sent last.
    Client,
}

thread_local! {
    /// Passes a response body's state to the HTTP/2 stream that polls it, since hyper has no other
    /// way. `None` until the body is polled.
    static WAITS_FOR: Cell<Option<WaitsFor>> = const { Cell::new(None) };
}

/// A response body. Its request runs until it is dropped.
pub(super) struct ResponseBody {
    body: Body,
    _running: Running,
}

impl ResponseBody {
    pub(super) fn new(body: Body, running: Running) -> Self {
        Self {
            body,
            _running: running,
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        WAITS_FOR.set(Some(match frame {
            Poll::Pending => WaitsFor::Gateway,
            Poll::Ready(_) => WaitsFor::Client,
        }));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs each stream of an HTTP/2 connection as a task.
#[derive(Clone)]
pub(super) struct Streams {
    limit: Duration,
}

impl Streams {
    pub(super) fn new(limits: &Connections) -> Self {
        Self {
            limit: limits.write,
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(Stream {
            stream: Box::pin(stream),
            limit: self.limit,
            waits_for: WaitsFor::Gateway,
            stalled: IdleTimeout::default(),
        });
    }
}

/// An HTTP/2 stream that is reset if its client reads nothing of the response for too long. The
/// socket does not show it, because other streams of the connection continue.
struct Stream<F> {
    stream: Pin<Box<F>>,
    limit: Duration,
    waits_for: WaitsFor,
    stalled: IdleTimeout,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        WAITS_FOR.set(None);
        if this.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if let Some(waits_for) = WAITS_FOR.get() {
            this.waits_for = waits_for;
            this.stalled.reset();
        }
        if this.waits_for == WaitsFor::Gateway {
            return Poll::Pending;
        }
        ready!(this.stalled.poll(this.limit, cx));
        debug!(
            "reset a stream whose client read nothing for {:?}",
            this.limit
        );
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::poll_fn, pin::pin};

    use futures_util::{FutureExt, StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};
    use tokio::{
        sync::mpsc,
        time::{sleep, timeout},
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);

    fn limits(each: Duration) -> Connections {
        Connections {
            request_head: each,
            request_body: each,
            idle: each,
            write: each,
            http2_ping: each,
        }
    }

    async fn soon<T>(future: impl Future<Output = T>) -> T {
        timeout(LONG / 2, future).await.expect("in time")
    }

    /// Waits until an earlier wait of `SHORT` is over.
    async fn short_is_over() {
        sleep(2 * SHORT).await;
    }

    /// A body that consists of the bytes sent to it.
    fn body(
        limit: Duration,
    ) -> (
        mpsc::UnboundedSender<Vec<u8>>,
        RequestBody<impl http_body::Body<Data = Bytes, Error = Infallible> + Unpin>,
    ) {
        let (sender, mut receiver) = mpsc::unbounded_channel::<Vec<u8>>();
        let frames = stream::poll_fn(move |cx| {
            let received = receiver.poll_recv(cx);
            received.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes.into()))))
        });
        (
            sender,
            RequestBody::new(StreamBody::new(frames), &limits(limit)),
        )
    }

    /// Receives this much of a body after a wait over the limit, and then waits again.
    async fn after(received: &[usize]) -> Option<Fault> {
        let (sender, mut body) = body(SHORT);
        // Starts the wait, which may already be over.
        let _ = poll_fn(|cx| Poll::Ready(body.frame().poll_unpin(cx))).await;
        short_is_over().await;
        body.limit = LONG;
        for size in received {
            sender.send(vec![b'x'; *size]).unwrap();
            assert!(soon(body.frame()).await.unwrap().is_ok());
        }
        let next = body.frame().now_or_never();
        next.map(|frame| body_fault(axum::Error::new(frame.unwrap().unwrap_err())))
    }

    #[tokio::test]
    async fn a_body_continues_if_enough_of_it_has_arrived() {
        assert!(after(&[BODY_STEP]).await.is_none());
        assert!(after(&[1, BODY_STEP - 1]).await.is_none());
        assert!(after(&[3 * BODY_STEP]).await.is_none());
    }

    #[tokio::test]
    async fn a_body_that_stalls_or_trickles_is_the_clients_fault() {
        for received in [&[][..], &[1], &[1, 1, 1], &[BODY_STEP - 1]] {
            let fault = after(received).await.expect("a failure");
            assert_eq!(fault.kind, Kind::TimedOut, "{received:?}");
        }
        let (_sender, mut body) = body(SHORT);
        let error = soon(body.frame()).await.unwrap().unwrap_err();
        assert_eq!(
            body_fault(axum::Error::new(error)).to_string(),
            "the client stopped sending the request body for 0.001 s"
        );
    }

    #[test]
    fn a_truncated_body_is_not_a_timeout() {
        let fault = body_fault(axum::Error::new(io::Error::other("reset")));
        assert_eq!(fault.kind, Kind::BadRequest);
        assert_eq!(fault.chain(), "the request body was truncated: reset");
    }

    #[test]
    fn a_connection_closes_when_its_first_request_is_late_or_its_last_is_long_ago() {
        let limits = Connections {
            request_head: SHORT,
            ..limits(LONG)
        };
        let requests = Arc::new(Requests::new());
        let accepted = requests.accepted;
        let later = accepted + 2 * LONG;
        assert_eq!(requests.open_until(later, &limits), accepted + SHORT);
        let (first, second) = (requests.begin(), requests.begin());
        drop(first);
        assert_eq!(requests.open_until(later, &limits), later + LONG);
        drop(second);
        let ended = requests.state.lock().ended.unwrap();
        assert_eq!(requests.open_until(later, &limits), ended + LONG);
    }

    #[tokio::test]
    async fn a_connection_without_a_request_is_closed() {
        let open = || std::future::pending::<io::Result<()>>();
        soon(Watched::new(
            open(),
            Arc::new(Requests::new()),
            limits(SHORT),
        ))
        .await;

        let requests = Arc::new(Requests::new());
        let running = requests.begin();
        let mut watched = pin!(Watched::new(open(), requests, limits(SHORT)));
        // Many times the limit.
        let ended = timeout(20 * SHORT, watched.as_mut()).await;
        assert!(ended.is_err(), "closed in the middle of a request");
        drop(running);
        soon(watched).await;

        // Even if the first request may take longer.
        let (requests, mut limits) = (Arc::new(Requests::new()), limits(SHORT));
        limits.request_head = LONG;
        drop(requests.begin());
        soon(Watched::new(open(), requests, limits)).await;
    }

    /// A socket that accepts bytes or stalls.
    struct Takes(bool);

    impl Write for Takes {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            match self.0 {
                true => Poll::Ready(Ok(bytes.len())),
                false => Poll::Pending,
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn write(socket: &mut Socket<Takes>) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *socket).poll_write(cx, b"x")).await
    }

    #[tokio::test]
    async fn a_socket_fails_if_nothing_is_read_within_the_limit() {
        let mut socket = Socket::new(Takes(false), &limits(SHORT));
        let error = soon(write(&mut socket)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        // A write that succeeds starts a new wait.
        socket.socket.0 = true;
        assert_eq!(soon(write(&mut socket)).await.unwrap(), 1);
        socket.socket.0 = false;
        socket.limit = LONG;
        assert!(write(&mut socket).now_or_never().is_none());
    }

    fn streams<F: Future<Output = ()>>(stream: F) -> Stream<F> {
        Stream {
            stream: Box::pin(stream),
            limit: SHORT,
            waits_for: WaitsFor::Gateway,
            stalled: IdleTimeout::default(),
        }
    }

    /// Polls this many chunks of a response as hyper does, and then another future.
    async fn takes(chunks: usize, body: Body, then: impl Future<Output = ()>) {
        let mut body = pin!(ResponseBody::new(body, Arc::new(Requests::new()).begin()));
        for _ in 0..chunks {
            body.frame().await.unwrap().unwrap();
        }
        then.await;
    }

    #[tokio::test]
    async fn a_stream_ends_if_its_client_reads_nothing_but_not_if_nothing_was_sent() {
        let chunk = || Ok::<_, Infallible>(Bytes::from_static(b"x"));
        let one =
            || Body::from_stream(stream::once(async move { chunk() }).chain(stream::pending()));
        let stuck = std::future::pending;
        soon(streams(takes(1, one(), stuck()))).await;

        let ended = timeout(20 * SHORT, streams(takes(2, one(), stuck()))).await;
        assert!(
            ended.is_err(),
            "ended while the gateway had nothing to send"
        );
        let ended = timeout(20 * SHORT, streams(takes(0, one(), stuck()))).await;
        assert!(ended.is_err(), "ended before its response began");
    }
}
