//! The upstream of a kit: a server on this machine that answers what it is given and keeps what it
//! was sent.

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};

use super::{Answer, Sent};
use crate::{
    message::{self, RequestKind},
    upstream::echo_response,
};

/// What an upstream of another dialect answers without a script: the echo upstream speaks
/// Anthropic's only.
const UNSCRIPTED: &str = r#"{"error":{"message":"the upstream has nothing to answer"}}"#;

pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

struct Script {
    /// Whether the echo upstream answers without a script.
    echoes: bool,
    answers: VecDeque<Answer>,
    sent: Vec<Sent>,
}

type Pieces = StreamBody<stream::BoxStream<'static, io::Result<Frame<Bytes>>>>;

impl Scripted {
    /// Starts the server in the current runtime, which ends it.
    pub(super) async fn start(echoes: bool) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let script = Arc::new(Mutex::new(Script {
            echoes,
            answers: VecDeque::new(),
            sent: Vec::new(),
        }));
        tokio::spawn(accept(listener, Arc::clone(&script)));
        Ok(Self { address, script })
    }

    /// Sets what the next requests are answered with, in order.
    pub(super) fn script(&self, answers: &[Answer]) {
        let mut script = self.script.lock();
        script.answers = answers.iter().cloned().collect();
        script.sent.clear();
    }

    pub(super) fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.script.lock().sent)
    }
}

async fn accept(listener: TcpListener, script: Arc<Mutex<Script>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&script)));
    }
}

async fn serve(stream: TcpStream, script: Arc<Mutex<Script>>) {
    // Pieces arrive as they are written.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| respond(request, Arc::clone(&script)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A connection that is cut on purpose ends with an error.
    let _ = connection.await;
}

async fn respond(
    request: Request<Incoming>,
    script: Arc<Mutex<Script>>,
) -> Result<Response<Pieces>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let sent = Sent {
        method: head.method,
        path: path.to_owned(),
        headers: head.headers,
        body,
    };
    let (answer, echoes) = {
        let mut script = script.lock();
        script.sent.push(sent.clone());
        (script.answers.pop_front(), script.echoes)
    };
    Ok(match answer {
        Some(answer) => scripted(answer),
        None if echoes => echo(&sent),
        None => scripted(Answer::of(UNSCRIPTED).with_status(StatusCode::SERVICE_UNAVAILABLE)),
    })
}

fn scripted(answer: Answer) -> Response<Pieces> {
    let broken = answer.cut.then(|| Err(io::Error::other("cut on purpose")));
    let pieces = answer.pieces.into_iter().filter(|piece| !piece.is_empty());
    let pieces = pieces.map(|piece| Ok(Frame::data(piece))).chain(broken);
    // The server writes what it has when it has to wait. Without that it would write nothing before
    // a connection breaks.
    let pieces = stream::iter(pieces).then(|piece| async {
        tokio::task::yield_now().await;
        piece
    });
    let pieces = match answer.stalls {
        true => body(pieces.chain(stream::pending())),
        false => body(pieces),
    };
    let mut response = Response::new(pieces);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

fn echo(sent: &Sent) -> Response<Pieces> {
    let kind = match sent.path.split('?').next() {
        Some("/v1/messages/count_tokens") => RequestKind::CountTokens,
        _ => RequestKind::Messages,
    };
    let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&sent.body);
    let streams = parsed.is_ok_and(|body| body["stream"] == true);
    let answered = echo_response(kind, streams, &sent.body);
    let pieces = match answered.body {
        message::Body::Whole(whole) => body(stream::iter([Ok(Frame::data(whole))])),
        message::Body::Stream(pieces) => body(pieces.map(|piece| {
            let piece = piece.map_err(|fault| io::Error::other(fault.chain()));
            piece.map(Frame::data)
        })),
    };
    let mut response = Response::new(pieces);
    *response.status_mut() = answered.status;
    *response.headers_mut() = answered.headers;
    response
}

fn body(pieces: impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static) -> Pieces {
    StreamBody::new(pieces.boxed())
}
