//! Requests that are made in this process: they take the same path as those of a connection,
//! without its time limits.

use std::sync::Arc;

use axum::{body::Body, extract::State};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;

use super::{Gateway, Shared, handle};
use crate::shutdown;

/// A gateway without a socket.
pub(crate) struct InProcess(Arc<Gateway>);

/// A response that was read to its end.
pub(crate) struct WholeResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the body ended as it should. Otherwise the client's connection is closed in the
    /// middle of it.
    pub(crate) complete: bool,
}

impl InProcess {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        // Without a sender, no exchange is ever cut.
        let (_, ending) = shutdown::channel();
        let local = shared.snapshot.load().config.listen;
        Self(Arc::new(Gateway {
            shared,
            bodies: Arc::default(),
            local,
            here: local.to_string(),
            ending,
        }))
    }

    /// Answers a request whose client leaves after this many bytes of the body.
    pub(crate) async fn begin_answer(&self, request: Request<Bytes>, after: usize) {
        let gateway = State(Arc::clone(&self.0));
        let mut body = handle(gateway, request.map(Body::from)).await.into_body();
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read >= after {
                break;
            }
        }
    }

    /// Answers a request, and reads the response to its end.
    pub(crate) async fn answer(&self, request: Request<Bytes>) -> WholeResponse {
        let gateway = State(Arc::clone(&self.0));
        let response = handle(gateway, request.map(Body::from)).await;
        let (head, mut body) = response.into_parts();
        let mut read = BytesMut::new();
        let mut complete = true;
        while let Some(frame) = body.frame().await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => read.extend_from_slice(&data),
                // Trailers.
                Ok(Err(_)) => {}
                Err(_) => {
                    complete = false;
                    break;
                }
            }
        }
        WholeResponse {
            status: head.status,
            headers: head.headers,
            body: read.freeze(),
            complete,
        }
    }
}
