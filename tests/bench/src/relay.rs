//! A relay that looks at nothing, built from the gateway's libraries: the gateway cannot save what
//! they cost.
//!
//! It runs as a process of its own, `witgate-bench relay PORT`, and does only what the gateway has
//! to do. It reads the whole request body before it forwards it, and streams the response.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{
        HeaderMap, Request, StatusCode,
        header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    },
    response::{IntoResponse, Response},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use reqwest::Client;
use tokio::net::{TcpListener, TcpSocket};

/// The same buffer size as the gateway's connections.
const BUFFER: usize = 64 * 1024;
const HEADERS: Duration = Duration::from_secs(300);
const BACKLOG: u32 = 1024;

struct Relay {
    client: Client,
    upstream: u16,
}

/// Relays from a free port, printed to standard error, to this upstream until it is killed.
pub(crate) fn run(upstream: u16) -> io::Result<()> {
    // An error means that a provider is installed already, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .tls_certs_only([])
        .build()
        .map_err(io::Error::other)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(([127, 0, 0, 1], 0).into())?;
            let listener = socket.listen(BACKLOG)?;
            eprintln!("listening on {}", listener.local_addr()?);
            serve(listener, Relay { client, upstream }).await
        })
}

async fn serve(listener: TcpListener, relay: Relay) -> io::Result<()> {
    let router = Router::new().fallback(answer).with_state(Arc::new(relay));
    let service = TowerToHyperService::new(router);
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .max_buf_size(BUFFER)
        .header_read_timeout(HEADERS);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = http
            .serve_connection(TokioIo::new(stream), service.clone())
            .into_owned();
        // How a connection ends is the client's affair.
        tokio::spawn(async move { drop(connection.await) });
    }
}

async fn answer(State(relay): State<Arc<Relay>>, request: Request<Body>) -> Response {
    match relay.pass(request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

impl Relay {
    async fn pass(&self, request: Request<Body>) -> io::Result<Response> {
        let (mut parts, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.map_err(io::Error::other)?;
        end_to_end(&mut parts.headers);
        let url = format!("http://127.0.0.1:{}{}", self.upstream, parts.uri);
        let answer = self
            .client
            .request(parts.method, url)
            .headers(parts.headers)
            .body(body)
            .send()
            .await;
        let mut answer = answer.map_err(io::Error::other)?;
        let status = answer.status();
        let mut headers = std::mem::take(answer.headers_mut());
        end_to_end(&mut headers);
        let mut response = Response::new(Body::from_stream(answer.bytes_stream()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Removes hop-by-hop headers.
fn end_to_end(headers: &mut HeaderMap) {
    for name in [CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING] {
        headers.remove(name);
    }
}
