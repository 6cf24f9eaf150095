//! HTTP/2 on both sides: a client with prior knowledge, and an upstream that negotiates it with
//! TLS.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, sync::Arc, sync::Mutex, thread};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, net::TcpStream, runtime};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer, version},
};

use super::{Answer, LIMIT, Received, Reply, TempDir};

/// Sends one request over HTTP/2 without TLS, with prior knowledge.
#[track_caller]
pub fn post(
    addr: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Reply {
    let body = Full::new(Bytes::copy_from_slice(body.as_ref()));
    let mut request = http::Request::post(format!("http://{addr}{path}"))
        .header("content-type", "application/json")
        .header("x-api-key", "sk-witgate");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).unwrap();
    one_thread().block_on(async move {
        let socket = TcpStream::connect(addr).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
                .await
                .unwrap();
        tokio::spawn(connection);
        let reply = tokio::time::timeout(LIMIT, async {
            let reply = sender
                .send_request(request)
                .await
                .expect("an answer over HTTP/2");
            let (head, body) = reply.into_parts();
            let body = body.collect().await;
            (head, body)
        });
        let (head, body) = reply.await.expect("an answer over HTTP/2 in time");
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let whole = body.is_ok();
        let body = body
            .map(|body| body.to_bytes().to_vec())
            .unwrap_or_default();
        Reply {
            status: head.status.as_u16(),
            headers,
            body,
            whole,
        }
    })
}

/// An upstream with TLS and a certificate of its own.
pub struct TlsUpstream {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<(Received, http::Version)>>>,
    dir: TempDir,
}

type Script = dyn Fn(&Received) -> Answer + Send + Sync;

impl TlsUpstream {
    /// Starts the upstream. `alpn` is what it offers: `h2`, `http/1.1`.
    pub fn with(
        alpn: &[&str],
        script: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certified = rcgen::generate_simple_self_signed(names).unwrap();
        let dir = TempDir::new("tls");
        dir.write("ca.pem", certified.cert.pem());
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (remembered, script): (_, Arc<Script>) = (Arc::clone(&seen), Arc::new(script));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        // The thread ends with the test process.
        thread::spawn(move || {
            one_thread().block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((socket, _)) = listener.accept().await {
                    let acceptor = acceptor.clone();
                    let (seen, script) = (Arc::clone(&remembered), Arc::clone(&script));
                    tokio::spawn(async move {
                        let Ok(tls) = acceptor.accept(socket).await else {
                            return;
                        };
                        let service = hyper::service::service_fn(move |request| {
                            answer(request, Arc::clone(&seen), Arc::clone(&script))
                        });
                        let builder =
                            hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                        // The client may disconnect; the test sees what it received.
                        let _ = builder.serve_connection(TokioIo::new(tls), service).await;
                    });
                }
            });
        });
        Self { addr, seen, dir }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.addr.port())
    }

    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The requests that arrived, each with its version of HTTP.
    pub fn received(&self) -> Vec<(Received, http::Version)> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(
    request: http::Request<hyper::body::Incoming>,
    seen: Arc<Mutex<Vec<(Received, http::Version)>>>,
    script: Arc<Script>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes().to_vec())
        .unwrap_or_default();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let received = Received {
        method: head.method.to_string(),
        path: path.to_owned(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect(),
        body,
        at: std::time::Instant::now(),
    };
    seen.lock().unwrap().push((received.clone(), head.version));
    let Answer::Whole {
        status,
        headers,
        body,
    } = script(&received)
    else {
        panic!("only whole answers are scripted behind TLS")
    };
    let mut reply = http::Response::builder().status(status);
    for (name, value) in headers {
        reply = reply.header(name, value);
    }
    Ok(reply.body(Full::new(Bytes::from(body))).unwrap())
}

fn one_thread() -> runtime::Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
