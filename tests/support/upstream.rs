//! A scripted upstream: it remembers every byte it received, and answers or misbehaves as the test
//! says.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::{LIMIT, client::find};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    /// The path with its query string.
    pub path: String,
    /// Headers in order of arrival, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// When the request had arrived completely.
    pub at: Instant,
}

/// How to answer a request.
pub enum Answer {
    Whole {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// These bytes on the connection, which is then closed.
    Raw(Vec<u8>),
    /// A stream whose pieces the test writes.
    Streamed {
        headers: Vec<(String, String)>,
        pieces: Receiver<Piece>,
        gone: Arc<Gone>,
    },
    /// A connection reset without a byte.
    Reset,
    /// A connection reset after these bytes.
    ResetAfter(Vec<u8>),
    /// An answer that the test chooses later.
    Later(Receiver<Answer>),
    /// No byte, ever.
    Hang(Arc<Gone>),
    /// A body that begins and then repeats the same bytes until the other side closes.
    Endless {
        kind: String,
        begins: Vec<u8>,
        repeats: Vec<u8>,
        gone: Arc<Gone>,
    },
}

pub enum Piece {
    Bytes(Vec<u8>, Sender<()>),
    /// The end that the framing promises.
    End,
    /// The connection closes at once.
    Cut,
}

/// The test's end of a stream that it writes piece by piece.
pub struct StreamWriter {
    pieces: Sender<Piece>,
    gone: Arc<Gone>,
}

/// Whether the other side has closed the connection.
#[derive(Default)]
pub struct Gone {
    gone: Mutex<bool>,
    changed: Condvar,
}

type Script = Box<dyn Fn(&Received) -> Answer + Send + Sync>;

pub struct Upstream {
    addr: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Received>>,
    more: Condvar,
}

impl Upstream {
    /// An upstream that answers every request with the result of this function.
    pub fn with(script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (remembered, script): (_, Arc<Script>) =
            (Arc::clone(&seen), Arc::new(Box::new(script)));
        // Both kinds of threads end with the test process.
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (seen, script) = (Arc::clone(&remembered), Arc::clone(&script));
                thread::spawn(move || serve(socket, &seen, &script));
            }
        });
        Self { addr, seen }
    }

    /// An upstream that answers every message with a short text.
    pub fn ok() -> Self {
        Self::with(|request| {
            if request.path.contains("count_tokens") {
                Answer::json(200, r#"{"input_tokens":42}"#)
            } else if find(&request.body, b"\"stream\":true").is_some() {
                Answer::sse(super::shapes::SSE)
            } else {
                Answer::json(200, super::shapes::MESSAGE)
            }
        })
    }

    /// An upstream that gives these answers in turn, then a short text.
    pub fn script(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::script_for(answers, |_| Answer::json(200, super::shapes::MESSAGE))
    }

    /// An upstream that gives these answers in turn, then the results of this function.
    pub fn script_for(
        answers: impl IntoIterator<Item = Answer>,
        then: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let queue: std::collections::VecDeque<_> = answers.into_iter().collect();
        let queue = Mutex::new(queue);
        Self::with(move |request| {
            let next = queue.lock().unwrap().pop_front();
            next.unwrap_or_else(|| then(request))
        })
    }

    /// An upstream that streams what the test writes.
    pub fn streamed() -> (Self, StreamWriter) {
        let (answer, writer) = Answer::streamed();
        (Self::script([answer]), writer)
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The keys of the requests, in order.
    pub fn asked_as(&self) -> Vec<String> {
        self.received().iter().map(Received::key).collect()
    }

    #[track_caller]
    pub fn was_asked_as(&self, keys: &[&str]) {
        assert_eq!(self.asked_as(), keys);
    }

    /// Everything that has arrived so far.
    pub fn received(&self) -> Vec<Received> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Waits for request number `count` (from 1) and returns it.
    #[track_caller]
    pub fn request(&self, count: usize) -> Received {
        let begun = Instant::now();
        let mut requests = self.seen.requests.lock().unwrap();
        while requests.len() < count {
            let left = LIMIT.saturating_sub(begun.elapsed());
            assert!(
                !left.is_zero(),
                "only {} of {count} requests reached the upstream",
                requests.len()
            );
            requests = self.seen.more.wait_timeout(requests, left).unwrap().0;
        }
        requests[count - 1].clone()
    }

    /// The latest request.
    #[track_caller]
    pub fn last(&self) -> Received {
        self.received()
            .pop()
            .expect("a request reached the upstream")
    }

    #[track_caller]
    pub fn was_not_asked(&self) {
        let asked: Vec<String> = self
            .received()
            .into_iter()
            .map(|request| request.path)
            .collect();
        assert!(asked.is_empty(), "asked for {asked:?}");
    }
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |(other, _): &&(String, String)| other == name;
        self.headers
            .iter()
            .find(named)
            .map(|(_, value)| value.as_str())
    }

    /// The credential from either header; empty without one.
    pub fn key(&self) -> String {
        let bearer = self
            .header("authorization")
            .map(|value| value.trim_start_matches("Bearer "));
        self.header("x-api-key")
            .or(bearer)
            .unwrap_or_default()
            .to_owned()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Expects the body to be what was sent, byte for byte.
    #[track_caller]
    pub fn has_body(&self, sent: impl AsRef<[u8]>) -> &Self {
        let sent = sent.as_ref();
        if self.body != sent {
            let at = self
                .body
                .iter()
                .zip(sent)
                .take_while(|(a, b)| a == b)
                .count();
            let around = |bytes: &[u8]| {
                let part = &bytes[at.saturating_sub(60)..bytes.len().min(at + 60)];
                String::from_utf8_lossy(part).into_owned()
            };
            panic!(
                "got {} bytes, expected {}; the first difference is at {at}:\ngot      {:?}\nexpected {:?}",
                self.body.len(),
                sent.len(),
                around(&self.body),
                around(sent)
            );
        }
        self
    }

    #[track_caller]
    pub fn has_header(&self, name: &str, value: &str) -> &Self {
        assert_eq!(
            self.header(name),
            Some(value),
            "header {name} of {:?}",
            self.headers
        );
        self
    }

    #[track_caller]
    pub fn has_no_header(&self, name: &str) -> &Self {
        assert_eq!(
            self.header(name),
            None,
            "header {name} of {:?}",
            self.headers
        );
        self
    }
}

impl Answer {
    pub fn json(status: u16, body: &str) -> Self {
        Self::whole(status, "application/json", body)
    }

    pub fn sse(events: &str) -> Self {
        Self::whole(200, "text/event-stream; charset=utf-8", events)
    }

    pub fn whole(status: u16, kind: &str, body: impl AsRef<[u8]>) -> Self {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Self::Whole {
            status,
            headers,
            body: body.as_ref().to_vec(),
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Whole { headers, .. } | Self::Streamed { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// An error in Anthropic's envelope.
    pub fn error(status: u16, kind: &str, message: &str) -> Self {
        let body = serde_json::json!({
            "type": "error",
            "error": { "type": kind, "message": message },
        });
        Self::json(status, &body.to_string())
    }

    /// An error whose type does not matter to the test.
    pub fn status(status: u16) -> Self {
        Self::error(status, "api_error", "scripted")
    }

    /// A message, streamed if the request asks for that.
    pub fn hello(request: &Received) -> Self {
        if find(&request.body, b"\"stream\":true").is_some() {
            Self::sse(super::shapes::SSE)
        } else {
            Self::json(200, super::shapes::MESSAGE)
        }
    }

    /// An answer that the test chooses later.
    pub fn later() -> (Self, Sender<Answer>) {
        let (say, said) = mpsc::channel();
        (Self::Later(said), say)
    }

    /// A stream, and the test's end of it.
    pub fn streamed() -> (Self, StreamWriter) {
        let (pieces, receiver) = mpsc::channel();
        let gone = Arc::new(Gone::default());
        let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
        let answer = Self::Streamed {
            headers,
            pieces: receiver,
            gone: Arc::clone(&gone),
        };
        (answer, StreamWriter { pieces, gone })
    }

    /// A body without an end, and a way to see the client disconnect.
    pub fn endless(kind: &str, begins: &str, repeats: &str) -> (Self, Arc<Gone>) {
        let gone = Arc::new(Gone::default());
        let answer = Self::Endless {
            kind: kind.to_owned(),
            begins: begins.into(),
            // One write per repetition would take most of the time.
            repeats: repeats.repeat(1 + 64 * 1024 / repeats.len()).into(),
            gone: Arc::clone(&gone),
        };
        (answer, gone)
    }

    /// No answer, and a way to see the client disconnect.
    pub fn hang() -> (Self, Arc<Gone>) {
        let gone = Arc::new(Gone::default());
        (Self::Hang(Arc::clone(&gone)), gone)
    }
}

impl StreamWriter {
    /// Writes these bytes in one piece, and returns when they are on the connection.
    #[track_caller]
    pub fn write(&self, bytes: impl AsRef<[u8]>) {
        let (written, done) = mpsc::channel();
        self.pieces
            .send(Piece::Bytes(bytes.as_ref().to_vec(), written))
            .expect("a listener");
        done.recv_timeout(LIMIT)
            .expect("the upstream was asked, and could write");
    }

    /// Writes these bytes in one piece. Returns false if the other side has closed the connection.
    pub fn try_write(&self, bytes: impl AsRef<[u8]>) -> bool {
        let (written, done) = mpsc::channel();
        let piece = Piece::Bytes(bytes.as_ref().to_vec(), written);
        self.pieces.send(piece).is_ok() && done.recv_timeout(LIMIT).is_ok()
    }

    pub fn end(&self) {
        self.pieces.send(Piece::End).expect("a listener");
    }

    pub fn cut(&self) {
        self.pieces.send(Piece::Cut).expect("a listener");
    }

    #[track_caller]
    pub fn was_left(&self, limit: Duration) {
        self.gone.wait(limit);
    }
}

impl Gone {
    #[track_caller]
    pub fn wait(&self, limit: Duration) {
        let begun = Instant::now();
        let mut gone = self.gone.lock().unwrap();
        while !*gone {
            let left = limit.saturating_sub(begun.elapsed());
            assert!(
                !left.is_zero(),
                "the upstream's connection was not closed within {limit:?}"
            );
            gone = self.changed.wait_timeout(gone, left).unwrap().0;
        }
    }

    fn now(&self) {
        *self.gone.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

fn serve(mut socket: TcpStream, seen: &Seen, script: &Script) {
    // A failed setting shows in the test that needs it.
    let _ = socket.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut socket, &mut buffer) {
        let head_only = request.method == "HEAD";
        let answer = {
            let mut requests = seen.requests.lock().unwrap();
            requests.push(request.clone());
            drop(requests);
            seen.more.notify_all();
            script(&request)
        };
        if !answer.write(&mut socket, head_only) {
            return;
        }
    }
}

impl Answer {
    /// Writes the answer; false if the connection is over.
    fn write(self, socket: &mut TcpStream, head_only: bool) -> bool {
        match self {
            Self::Whole {
                status,
                headers,
                body,
            } => {
                let mut bytes = head(status, &headers);
                bytes.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
                let mut bytes = bytes.into_bytes();
                if !head_only {
                    bytes.extend(body);
                }
                socket.write_all(&bytes).is_ok()
            }
            Self::Raw(bytes) => {
                // The other side may have disconnected; the test sees what it received.
                let _ = socket.write_all(&bytes);
                false
            }
            Self::Reset => {
                let socket = socket2::SockRef::from(&*socket);
                // A linger time of zero turns the close into a reset.
                socket.set_linger(Some(Duration::ZERO)).unwrap();
                false
            }
            Self::ResetAfter(bytes) => {
                // The other side may have disconnected; the test sees what it received.
                let _ = socket.write_all(&bytes);
                let socket = socket2::SockRef::from(&*socket);
                socket.set_linger(Some(Duration::ZERO)).unwrap();
                false
            }
            // A test that has ended sends no answer.
            Self::Later(said) => said
                .recv()
                .is_ok_and(|answer| answer.write(socket, head_only)),
            Self::Hang(gone) => {
                watch(socket, gone);
                thread::park_timeout(Duration::from_secs(120));
                false
            }
            Self::Endless {
                kind,
                begins,
                repeats,
                gone,
            } => {
                let mut bytes = head(200, &[("content-type".to_owned(), kind)]).into_bytes();
                bytes.extend(b"\r\n");
                bytes.extend(begins);
                let mut written = socket.write_all(&bytes);
                while written.is_ok() {
                    written = socket.write_all(&repeats);
                }
                gone.now();
                false
            }
            Self::Streamed {
                headers,
                pieces,
                gone,
            } => {
                let mut bytes = head(200, &headers);
                bytes.push_str("transfer-encoding: chunked\r\n\r\n");
                if socket.write_all(bytes.as_bytes()).is_err() {
                    return false;
                }
                watch(socket, gone);
                write_pieces(socket, &pieces);
                // The watcher holds a second handle, so dropping this one would leave the
                // connection open.
                let _ = socket.shutdown(std::net::Shutdown::Both);
                false
            }
        }
    }
}

fn write_pieces(socket: &mut TcpStream, pieces: &Receiver<Piece>) {
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes, written) => {
                let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                chunk.extend(bytes);
                chunk.extend(b"\r\n");
                if socket.write_all(&chunk).is_err() {
                    return;
                }
                // The test may have stopped waiting.
                let _ = written.send(());
            }
            Piece::End => {
                let _ = socket.write_all(b"0\r\n\r\n");
                return;
            }
            Piece::Cut => return,
        }
    }
}

/// Notices when the other side closes.
fn watch(socket: &TcpStream, gone: Arc<Gone>) {
    let mut socket = socket.try_clone().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        while matches!(socket.read(&mut buffer), Ok(count) if count > 0) {}
        gone.now();
    });
}

pub fn head(status: u16, headers: &[(String, String)]) -> String {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head
}

fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let end = loop {
        match find(buffer, b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => fill(socket, buffer)?,
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end);
    let mut lines = head.trim_end().split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut received = Received {
        method,
        path,
        headers,
        body: Vec::new(),
        at: Instant::now(),
    };
    if received.header("transfer-encoding").is_some() {
        loop {
            let line = loop {
                match find(buffer, b"\r\n") {
                    Some(line) => break line,
                    None => fill(socket, buffer)?,
                }
            };
            let size = std::str::from_utf8(&buffer[..line]).ok()?;
            let size = usize::from_str_radix(size, 16).ok()?;
            while buffer.len() < line + 2 + size + 2 {
                fill(socket, buffer)?;
            }
            received.body.extend(&buffer[line + 2..line + 2 + size]);
            buffer.drain(..line + 2 + size + 2);
            if size == 0 {
                received.at = Instant::now();
                return Some(received);
            }
        }
    }
    let length = received
        .header("content-length")
        .map_or(Some(0), |length| length.parse().ok())?;
    while buffer.len() < length {
        fill(socket, buffer)?;
    }
    received.body = buffer.drain(..length).collect();
    received.at = Instant::now();
    Some(received)
}

fn fill(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut more = [0; 64 * 1024];
    match socket.read(&mut more) {
        Ok(count) if count > 0 => {
            buffer.extend(&more[..count]);
            Some(())
        }
        _ => None,
    }
}
