//! HTTP/2 on both sides: a client with prior knowledge, and an upstream that negotiates it with
//! TLS.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime,
};
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
    seen: Seen,
    dir: TempDir,
}

/// How a connection of HTTP/2 fails a request before its response begins.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// GOAWAY says that the request is not processed, and the connection closes.
    GoAwayBefore,
    /// GOAWAY says that the request may be processed, and the connection closes.
    GoAwayAfter,
    /// The stream is refused, and the connection stays.
    Refused,
}

type Tls = tokio_rustls::server::TlsStream<TcpStream>;
type Seen = Arc<Mutex<Vec<(Received, http::Version)>>>;

/// Serves one connection frame by frame (RFC 9113), because a library would not leave a request
/// unprocessed.
async fn frames(mut tls: Tls, fate: Fate, body: &str, count: &AtomicUsize) -> io::Result<()> {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    const PREFACE: usize = 24;
    tls.read_exact(&mut [0; PREFACE]).await?;
    tls.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        tls.read_exact(&mut head).await?;
        let [high, mid, low, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, high, mid, low]) as usize];
        tls.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes(stream);
        let answer = match kind {
            SETTINGS | PING if flags & 1 == 0 => frame(
                kind,
                1,
                0,
                match kind {
                    PING => &payload,
                    _ => &[],
                },
            ),
            // The end of a request.
            HEADERS | DATA if flags & 1 == 1 => match count.fetch_add(1, Ordering::SeqCst) {
                1 => match fate {
                    Fate::Refused => frame(RESET, 0, stream, &[0, 0, 0, 7]),
                    Fate::GoAwayBefore => frame(GOAWAY, 0, 0, &[0; 8]),
                    Fate::GoAwayAfter => {
                        let last = [&stream.to_be_bytes()[..], &[0; 4]].concat();
                        frame(GOAWAY, 0, 0, &last)
                    }
                },
                _ => {
                    // `:status: 200`, and `content-type` by its number in the static table.
                    let fields = [&[0x88, 0x0f, 0x10, 16], &b"application/json"[..]].concat();
                    let head = frame(HEADERS, 4, stream, &fields);
                    [head, frame(DATA, 1, stream, body.as_bytes())].concat()
                }
            },
            _ => continue,
        };
        tls.write_all(&answer).await?;
        if answer[3] == GOAWAY {
            return tls.shutdown().await;
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

type Script = dyn Fn(&Received) -> Answer + Send + Sync;

impl TlsUpstream {
    /// Starts the upstream. `alpn` is what it offers: `h2`, `http/1.1`.
    pub fn with(
        alpn: &[&str],
        script: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let script: Arc<Script> = Arc::new(script);
        Self::start(alpn, move |tls, seen| {
            let script = Arc::clone(&script);
            async move {
                let service = hyper::service::service_fn(move |request| {
                    answer(request, Arc::clone(&seen), Arc::clone(&script))
                });
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                // The client may disconnect; the test sees what it received.
                let _ = builder.serve_connection(TokioIo::new(tls), service).await;
            }
        })
    }

    /// Starts an upstream that answers over HTTP/2 with this JSON, except the second request that
    /// it receives. It counts the requests in `count`.
    pub fn fails_the_second(fate: Fate, body: &'static str, count: Arc<AtomicUsize>) -> Self {
        Self::start(&["h2"], move |tls, _| {
            let count = Arc::clone(&count);
            async move {
                // The connection may be closed at any time.
                let _ = frames(tls, fate, body, &count).await;
            }
        })
    }

    fn start<F: Future<Output = ()> + Send + 'static>(
        alpn: &[&str],
        serve: impl Fn(Tls, Seen) -> F + Send + 'static,
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
        let remembered = Arc::clone(&seen);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        // The thread ends with the test process.
        thread::spawn(move || {
            one_thread().block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((socket, _)) = listener.accept().await {
                    let acceptor = acceptor.clone();
                    let Ok(tls) = acceptor.accept(socket).await else {
                        continue;
                    };
                    tokio::spawn(serve(tls, Arc::clone(&remembered)));
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
    seen: Seen,
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
