//! Whether a request was sent on a reused connection that the upstream had closed.
//!
//! An upstream may close an idle connection while a request is on its way. That says nothing about
//! the account or the upstream, so such a request is sent once more on a new connection.

use std::{
    cell::Cell,
    error::Error,
    io,
    task::{Context, Poll},
};

use futures_util::{FutureExt, future::BoxFuture};
use tower_layer::Layer;
use tower_service::Service;

tokio::task_local! {
    /// Whether the current request has established a connection.
    static CONNECTED: Cell<bool>;
}

/// Sends a request, and returns whether it was sent on a connection that existed before.
pub(super) async fn noting_reuse<T>(sending: impl Future<Output = T>) -> (T, bool) {
    let noting = async {
        let sent = sending.await;
        (sent, !CONNECTED.with(Cell::get))
    };
    CONNECTED.scope(Cell::new(false), noting).await
}

/// Notes each new connection for [`noting_reuse`].
///
/// The library connects within the future of the request. If an idle connection becomes available
/// meanwhile, it goes on connecting in a task of its own, where nothing is noted.
#[derive(Clone)]
pub(super) struct NoteConnections;

impl<S> Layer<S> for NoteConnections {
    type Service = Noting<S>;

    fn layer(&self, connector: S) -> Noting<S> {
        Noting(connector)
    }
}

#[derive(Clone)]
pub(super) struct Noting<S>(S);

impl<S, R> Service<R> for Noting<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.0.call(request);
        let noted = connecting.inspect(|_| {
            // Without a request the connection is made for the pool.
            let _ = CONNECTED.try_with(|connected| connected.set(true));
        });
        noted.boxed()
    }
}

/// Whether a request that failed with this error may be sent again on a new connection: nothing of
/// a response had arrived, and the connection was stale or the upstream has not processed it.
pub(super) fn may_be_sent_again(error: &reqwest::Error, reused: bool) -> bool {
    if error.is_connect() || error.is_timeout() || error.is_builder() {
        return false;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if is_unprocessed(error) || (reused && is_lost_connection(error)) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether HTTP/2 says that the request was not processed (RFC 9113, section 8.7).
fn is_unprocessed(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<h2::Error>().is_some_and(|error| {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        let goes_away = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        error.is_remote() && (refused || goes_away)
    })
}

fn is_lost_connection(error: &(dyn Error + 'static)) -> bool {
    let hyper = error.downcast_ref::<hyper::Error>();
    let io = error.downcast_ref::<io::Error>();
    hyper.is_some_and(|error| {
        error.is_incomplete_message() || error.is_closed() || error.is_canceled()
    }) || io.is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::NotConnected
                | io::ErrorKind::UnexpectedEof
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of a request that a server resets for this reason.
    async fn reset(reason: h2::Reason) -> h2::Error {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let serving = tokio::spawn(async move {
            let mut connection = h2::server::handshake(server).await.unwrap();
            while let Some(request) = connection.accept().await {
                request.unwrap().1.send_reset(reason);
            }
        });
        let (mut requests, connection) = h2::client::handshake(client).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::get("http://a.test/").body(()).unwrap();
        let (response, _) = requests.send_request(request, true).unwrap();
        let error = response.await.unwrap_err();
        connection.abort();
        serving.abort();
        error
    }

    #[tokio::test]
    async fn a_refused_stream_is_not_processed_and_any_other_reset_may_be() {
        assert!(is_unprocessed(&reset(h2::Reason::REFUSED_STREAM).await));
        for reason in [h2::Reason::CANCEL, h2::Reason::INTERNAL_ERROR] {
            assert!(!is_unprocessed(&reset(reason).await), "{reason}");
        }
    }

    #[test]
    fn lost_connections_are_recognised() {
        let io = |kind| is_lost_connection(&io::Error::from(kind));
        assert!(io(io::ErrorKind::ConnectionReset) && io(io::ErrorKind::BrokenPipe));
        assert!(!io(io::ErrorKind::InvalidData) && !io(io::ErrorKind::TimedOut));
    }
}
