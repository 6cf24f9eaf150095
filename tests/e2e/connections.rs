//! Clients that send nothing, stop halfway or do not read: each connection is closed after its
//! timeout, and none blocks others.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::{
    Answer, Gateway, LIMIT, Streaming, Upstream,
    client::closes,
    gateway::Builder,
    shapes::{EVENTS, HELLO, HELLO_STREAM},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An empty SETTINGS frame.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

const POST: &str = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-api-key: k\r\n";

trait Limits {
    fn connections(self, lines: &str) -> Self;
}

impl Limits for Builder {
    fn connections(self, lines: &str) -> Self {
        self.tables(&format!("[connections]\n{lines}"))
    }
}

#[track_caller]
fn sent(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.write_all(bytes.as_ref()).unwrap();
    socket
}

#[test]
fn a_connection_without_a_request_is_closed() {
    let gateway = Gateway::echo()
        .connections("request_head = \"300ms\"")
        .start();
    let idle_http2 = [PREFACE, SETTINGS].concat();
    let shapes: [(&str, &[u8]); 7] = [
        ("nothing", b""),
        ("half a request line", b"GET /heal"),
        ("half a head", b"GET /healthz HTTP/1.1\r\nhost: local"),
        ("half of the preface of HTTP/2", &PREFACE[..10]),
        ("the preface", PREFACE),
        ("the preface and settings", &idle_http2),
        ("half a frame", &[PREFACE, b"\0\0"].concat()),
    ];
    for (name, bytes) in shapes {
        let mut socket = sent(gateway.addr, bytes);
        assert!(closes(&mut socket, LIMIT), "{name}");
    }
    gateway.get("/healthz").has_status(200);
}

#[test]
fn a_head_that_trickles_is_closed() {
    let gateway = Gateway::echo()
        .connections("request_head = \"300ms\"")
        .start();
    let mut socket = sent(gateway.addr, "GET /healthz HTTP/1.1\r\nx: ");
    crate::assert_eventually!(socket.write_all(b"x").is_err(), "the connection is closed");
}

#[test]
fn a_connection_that_idles_is_closed_and_one_with_an_exchange_is_not() {
    let (upstream, writer) = Upstream::streamed();
    let gateway = Gateway::to(&upstream)
        .connections("request_head = \"20s\"\nidle = \"300ms\"")
        // Keeps the gateway's own pings out, however long the test takes.
        .retry("ping_every = \"1h\"")
        .start();
    let pending = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO_STREAM)
        .sent();
    upstream.request(1);
    writer.write(EVENTS[0]);
    let mut stream = pending.answer();
    stream.next_event();

    // Runs twice, so that the exchange lasts far longer than the limit.
    for _ in 0..2 {
        let mut idle = sent(
            gateway.addr,
            "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
        );
        assert!(closes(&mut idle, LIMIT));
        one_thread().block_on(async {
            let (mut sender, connection) = http2(gateway.addr).await;
            let ended = tokio::spawn(connection);
            let request = http::Request::get(format!("http://{}/healthz", gateway.addr));
            let request = request.body(empty()).unwrap();
            assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
            // The sender is still open, so it is the gateway that ends the response.
            let ended = tokio::time::timeout(LIMIT, ended).await;
            assert!(ended.is_ok(), "an idle connection of HTTP/2 was not closed");
        });
    }
    for event in &EVENTS[1..] {
        writer.write(event);
        assert_eq!(stream.next_event().as_deref(), Some(*event));
    }
    writer.end();
    assert!(stream.rest().whole);
}

#[test]
fn a_client_of_http2_that_answers_no_ping_is_disconnected() {
    let gateway = Gateway::echo()
        .connections("http2_ping = \"100ms\"")
        .start();
    let mut socket = sent(gateway.addr, [PREFACE, SETTINGS].concat());
    assert!(closes(&mut socket, Duration::from_secs(20)));
}

#[test]
fn a_request_body_that_stalls_or_trickles_is_a_408() {
    let upstream = Upstream::ok();
    let gateway = Gateway::to(&upstream)
        .connections("request_body = \"300ms\"")
        .start();
    let heads = [
        ("never sent", format!("{POST}content-length: 99\r\n\r\n")),
        (
            "stalled",
            format!("{POST}content-length: 99\r\n\r\n{{\"model\""),
        ),
        (
            "chunked, never sent",
            format!("{POST}transfer-encoding: chunked\r\n\r\n"),
        ),
        (
            "chunked, stalled",
            format!("{POST}transfer-encoding: chunked\r\n\r\n5\r\n{{\"m"),
        ),
        (
            "passed through",
            format!(
                "{}content-length: 99\r\n\r\nx",
                POST.replace("messages", "files")
            ),
        ),
    ];
    for (name, head) in &heads {
        let socket = sent(gateway.addr, head);
        let seen = Streaming::read_head(socket, false).rest();
        eprintln!("{name}: {}", seen.text());
        seen.is_error(408, "timeout_error").has("request body");
    }

    let mut socket = sent(gateway.addr, format!("{POST}content-length: 99999\r\n\r\n"));
    let mut writes = socket.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        while writes.write_all(b" ").is_ok() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    let seen = Streaming::read_head(socket.try_clone().unwrap(), false).rest();
    seen.is_error(408, "timeout_error");
    assert!(closes(&mut socket, LIMIT));
    trickle.join().unwrap();
    gateway.message(HELLO).has_status(200);
}

#[test]
fn a_stalled_body_of_http2_is_a_408() {
    let gateway = Gateway::echo()
        .connections("request_body = \"300ms\"")
        .start();
    one_thread().block_on(async {
        let (mut sender, connection) = http2(gateway.addr).await;
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://{}/v1/messages", gateway.addr));
        let stalls = StreamBody::new(futures_util::stream::pending());
        let request = request.body(BodyExt::boxed_unsync(stalls)).unwrap();
        let seen = tokio::time::timeout(LIMIT, sender.send_request(request)).await;
        assert_eq!(seen.expect("an answer in time").unwrap().status(), 408);
    });
}

#[test]
fn a_client_that_does_not_read_gives_back_its_slot_and_its_upstream() {
    let (answer, gone) = Answer::endless("text/event-stream", &EVENTS[..2].concat(), EVENTS[2]);
    let upstream = Upstream::script([answer]);
    let gateway = Gateway::to(&upstream)
        .connections("write = \"300ms\"")
        .plugin("50-events.wasm", crate::support::component("events"))
        .start();
    let from = gateway.mark();
    let mut unread = gateway
        .request("POST", "/v1/messages")
        .header("x-api-key", "k")
        .body(HELLO_STREAM)
        .sent()
        .socket;
    gone.wait(LIMIT);
    let record = gateway.record(from);
    assert!(record.contains("ending=client_gone"), "{record}");
    for free in ["plugin_slots_in_use", "open_streams"] {
        let line = format!("\nwitgate_{free} 0\n");
        crate::assert_eventually!(
            gateway.get("/metrics").text().contains(&line),
            "{free} is 0"
        );
    }
    // Reads what was written before the close, and then the end.
    let mut read = Vec::new();
    let _ = unread.read_to_end(&mut read);
    assert!(!read.is_empty());
}

#[test]
fn a_client_that_reads_one_stream_of_http2_and_not_another_keeps_the_one() {
    let (streamed, writer) = Answer::streamed();
    let (answer, gone) = Answer::endless("text/event-stream", &EVENTS[..2].concat(), EVENTS[2]);
    let upstream = Upstream::script([streamed, answer]);
    let gateway = Gateway::to(&upstream)
        .connections("write = \"300ms\"")
        .start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (mut sender, connection) = runtime.block_on(http2(gateway.addr));
    runtime.spawn(connection);
    let ask = || {
        let body = Full::new(Bytes::from(HELLO_STREAM)).map_err(|never| match never {});
        http::Request::post(format!("http://{}/v1/messages", gateway.addr))
            .header("x-api-key", "k")
            .body(body.boxed_unsync())
            .unwrap()
    };
    let read = runtime.spawn(sender.send_request(ask()));
    upstream.request(1);
    writer.write(EVENTS[0]);
    let read = runtime.block_on(read).unwrap().unwrap();
    let unread = runtime.block_on(sender.send_request(ask())).unwrap();
    gone.wait(LIMIT);
    for event in &EVENTS[1..] {
        writer.write(event);
    }
    writer.end();
    let text = runtime.block_on(read.into_body().collect()).unwrap();
    assert_eq!(text.to_bytes(), EVENTS.concat());
    drop(unread);
}

#[test]
fn more_clients_than_the_soft_limit_of_open_files_are_served() {
    let gateway = Gateway::echo().log("debug").soft_files(128).start();
    gateway.line(&["open files", "limit="]);
    let silent: Vec<TcpStream> = (0..300).map(|_| sent(gateway.addr, b"")).collect();
    gateway.get("/healthz").has_status(200);
    drop(silent);
}

/// A limit of open files that leaves 24 connections for clients.
const FEW_FILES: u32 = 128;

#[test]
fn connections_that_say_nothing_make_room_for_those_that_do() {
    let gateway = Gateway::echo().files(FEW_FILES).start();
    let silent: Vec<TcpStream> = (0..200).map(|_| sent(gateway.addr, b"GET ")).collect();
    gateway.message(HELLO).has_status(200);
    gateway.get("/healthz").has_status(200);
    gateway.line(&["WARN", "all client connections are in use"]);
    let mut oldest = silent.into_iter();
    assert!(closes(&mut oldest.next().unwrap(), LIMIT));
}

#[test]
fn operators_get_in_when_clients_have_taken_all_connections() {
    let (held, hold) = (Upstream::with(|_| Answer::hang().0), HELLO);
    let gateway = Gateway::to(&held).files(FEW_FILES).start();
    let busy: Vec<_> = (0..24)
        .map(|_| {
            let request = gateway.request("POST", "/v1/messages");
            request.header("x-api-key", "k").body(hold).sent()
        })
        .collect();
    held.request(24);
    for path in ["/healthz", "/metrics"] {
        gateway.get(path).has_status(200);
    }
    let seen = gateway.message(HELLO);
    seen.is_error(529, "overloaded_error")
        .has_header("connection", "close");
    // A connection that ends makes room for everyone.
    drop(busy);
    crate::assert_eventually!(gateway.get("/").status == 200, "a client gets in again");
}

#[test]
fn bodies_over_the_memory_of_all_are_a_529_before_they_are_read() {
    let upstream = Upstream::with(|_| Answer::hang().0);
    let gateway = Gateway::to(&upstream)
        .top("body_limit = \"64KiB\"\nmax_body_memory = \"128KiB\"")
        .start();
    let head = |length: usize| format!("{POST}content-length: {length}\r\n\r\n");
    let answer = |socket| Streaming::read_head(socket, false).rest();
    let held = [
        sent(gateway.addr, head(65_536)),
        sent(gateway.addr, head(65_535)),
    ];
    let small = |length: usize| sent(gateway.addr, head(length) + &"x".repeat(length));
    // One byte is left once both heads have been read. A body that fits is read: it is not JSON.
    crate::assert_eventually!(
        answer(small(2)).status == 529,
        "the bodies that are announced count"
    );
    answer(small(1)).is_error(400, "invalid_request_error");
    // Not a byte of this body is sent.
    answer(sent(gateway.addr, head(2)))
        .is_error(529, "overloaded_error")
        .has("`max_body_memory`");
    // A body counts until its exchange needs it no longer.
    drop(held);
    crate::assert_eventually!(answer(small(2)).status == 400, "the memory is given back");
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

fn empty() -> Body {
    http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

async fn http2(
    addr: SocketAddr,
) -> (
    hyper::client::conn::http2::SendRequest<Body>,
    impl Future<Output = hyper::Result<()>> + Send + 'static,
) {
    let socket = tokio::net::TcpStream::connect(addr).await.unwrap();
    hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
        .await
        .unwrap()
}

fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
