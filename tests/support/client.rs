//! A client that speaks plain HTTP/1.1 over a socket: it sends exactly what the test wrote and
//! keeps exactly what it received.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::LIMIT;

/// A request, sent exactly as built.
#[derive(Clone)]
pub struct Request {
    pub addr: SocketAddr,
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    host: Option<String>,
    chunked: bool,
}

/// A complete response.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body ended as its framing promised.
    pub whole: bool,
}

/// A response that is read piece by piece.
pub struct Streaming {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    socket: TcpStream,
    framing: Framing,
    /// Bytes read from the socket, with their framing.
    raw: Vec<u8>,
    /// Body bytes that the test has not taken yet.
    body: Vec<u8>,
    /// The length of each chunk, as the server wrote it.
    pub chunks: Vec<usize>,
    ended: Option<bool>,
}

enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
    Empty,
}

impl Request {
    pub fn new(addr: SocketAddr, method: &str, path: &str) -> Self {
        Self {
            addr,
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            host: None,
            chunked: false,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Sends the body in chunks, without a content length.
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Sends the request and waits for the complete response.
    #[track_caller]
    pub fn send(self) -> Reply {
        self.open().rest()
    }

    /// Sends the request and waits for the head of the response.
    #[track_caller]
    pub fn open(self) -> Streaming {
        self.sent().answer()
    }

    /// Sends the request and waits for nothing.
    #[track_caller]
    pub fn sent(self) -> Pending {
        let mut socket = TcpStream::connect(self.addr).expect("the gateway accepts a connection");
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let mut bytes = self.head().into_bytes();
        if self.chunked {
            for piece in self.body.chunks(1000) {
                bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
                bytes.extend(piece);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend(&self.body);
        }
        // The gateway may respond and close before it has read everything; the test sees that in
        // the response.
        let _ = socket.write_all(&bytes);
        Pending {
            socket,
            head_only: self.method == "HEAD",
        }
    }

    pub fn head(&self) -> String {
        let host = self.host.clone().unwrap_or_else(|| self.addr.to_string());
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.chunked {
            head.push_str("transfer-encoding: chunked\r\n");
        } else if !self.body.is_empty() || self.method == "POST" {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        head
    }
}

/// A request that was sent and not answered yet.
pub struct Pending {
    pub socket: TcpStream,
    head_only: bool,
}

impl Pending {
    #[track_caller]
    pub fn answer(self) -> Streaming {
        Streaming::read_head(self.socket, self.head_only)
    }
}

impl Streaming {
    #[track_caller]
    pub fn read_head(mut socket: TcpStream, head_only: bool) -> Self {
        let mut raw = Vec::new();
        let end = loop {
            if let Some(end) = find(&raw, b"\r\n\r\n") {
                break end;
            }
            let got = read_some(&mut socket, &mut raw, "the head of an answer");
            assert!(
                got,
                "closed before an answer, after {:?}",
                String::from_utf8_lossy(&raw)
            );
        };
        let head = String::from_utf8(raw[..end].to_vec()).expect("an ASCII head");
        let body = raw.split_off(end + 4);
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let named = |name: &str| {
            headers
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, value)| value.clone())
        };
        let framing = if head_only || status == 204 || status == 304 {
            Framing::Empty
        } else if named("transfer-encoding").is_some_and(|value| value == "chunked") {
            Framing::Chunked
        } else if let Some(length) = named("content-length") {
            Framing::Length(length.parse().unwrap())
        } else {
            Framing::UntilClose
        };
        let mut reply = Self {
            status,
            headers,
            socket,
            framing,
            raw: body,
            body: Vec::new(),
            chunks: Vec::new(),
            ended: None,
        };
        reply.unframe();
        reply
    }

    /// The next event of a stream, including its blank line; `None` at the end.
    #[track_caller]
    pub fn next_event(&mut self) -> Option<String> {
        loop {
            let end = [b"\n\n".as_slice(), b"\r\n\r\n"]
                .into_iter()
                .filter_map(|blank| find(&self.body, blank).map(|at| at + blank.len()))
                .min();
            if let Some(end) = end {
                let rest = self.body.split_off(end);
                let event = std::mem::replace(&mut self.body, rest);
                return Some(String::from_utf8(event).expect("events in UTF-8"));
            }
            if !self.more() {
                return None;
            }
        }
    }

    /// The events up to and including the one that contains this text.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let Some(event) = self.next_event() else {
                panic!("the stream ended without `{text}`: {seen}");
            };
            seen.push_str(&event);
            if event.contains(text) {
                return seen;
            }
        }
    }

    /// Everything that is left.
    #[track_caller]
    pub fn rest(mut self) -> Reply {
        while self.more() {}
        Reply {
            status: self.status,
            headers: self.headers,
            body: self.body,
            whole: self.ended.unwrap_or(false),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header_of(&self.headers, name)
    }

    /// Reads once more; false at the end of the body.
    #[track_caller]
    fn more(&mut self) -> bool {
        self.unframe();
        if self.ended.is_some() {
            return false;
        }
        if !read_some(&mut self.socket, &mut self.raw, "more of an answer") {
            self.unframe();
            let whole = matches!(self.framing, Framing::UntilClose);
            self.ended.get_or_insert(whole);
        }
        self.unframe();
        true
    }

    fn unframe(&mut self) {
        match &mut self.framing {
            Framing::Empty => self.ended = Some(true),
            Framing::UntilClose => self.body.append(&mut self.raw),
            Framing::Length(left) => {
                let taken = self.raw.len().min(*left);
                self.body.extend(self.raw.drain(..taken));
                *left -= taken;
                if *left == 0 {
                    self.ended = Some(true);
                }
            }
            Framing::Chunked => {
                while self.ended.is_none() {
                    let Some(line) = find(&self.raw, b"\r\n") else {
                        return;
                    };
                    let size = std::str::from_utf8(&self.raw[..line]).unwrap();
                    let size = usize::from_str_radix(size, 16).unwrap();
                    let whole = line + 2 + size + 2;
                    if self.raw.len() < whole {
                        return;
                    }
                    self.body.extend(&self.raw[line + 2..line + 2 + size]);
                    self.raw.drain(..whole);
                    if size == 0 {
                        self.ended = Some(true);
                    } else {
                        self.chunks.push(size);
                    }
                }
            }
        }
    }
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in a {}: {}", self.status, self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header_of(&self.headers, name)
    }

    #[track_caller]
    pub fn has_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    #[track_caller]
    pub fn has_body(&self, body: impl AsRef<[u8]>) -> &Self {
        let body = body.as_ref();
        assert!(
            self.body == body,
            "got      {}\nexpected {}",
            self.text(),
            String::from_utf8_lossy(body)
        );
        assert!(self.whole, "the body was cut short");
        self
    }

    #[track_caller]
    pub fn has(&self, text: &str) -> &Self {
        assert!(
            self.text().contains(text),
            "no `{text}` in a {}: {}",
            self.status,
            self.text()
        );
        self
    }

    #[track_caller]
    pub fn has_not(&self, text: &str) -> &Self {
        assert!(!self.text().contains(text), "`{text}` in {}", self.text());
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

    /// Expects an error in Anthropic's envelope.
    #[track_caller]
    pub fn is_error(&self, status: u16, kind: &str) -> &Self {
        self.has_status(status);
        let body = self.json();
        assert_eq!(body["type"], "error", "{body}");
        assert_eq!(body["error"]["type"], kind, "{body}");
        assert!(body["error"]["message"].is_string(), "{body}");
        let kind = self.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/json"), "{kind}: {body}");
        assert!(
            self.header("request-id").is_some(),
            "no request-id in {:?}",
            self.headers
        );
        self
    }
}

fn header_of<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let named = |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
    headers.iter().find(named).map(|(_, value)| value.as_str())
}

/// Where `part` begins in `bytes`.
pub fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Reads once; false if the other side has closed.
#[track_caller]
fn read_some(socket: &mut TcpStream, into: &mut Vec<u8>, what: &str) -> bool {
    let mut buffer = [0; 64 * 1024];
    match socket.read(&mut buffer) {
        Ok(0) => false,
        Ok(count) => {
            into.extend(&buffer[..count]);
            true
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!(
                "{what} did not arrive within {LIMIT:?}; so far: {}",
                String::from_utf8_lossy(into)
            )
        }
        Err(_) => false,
    }
}

/// Whether the other side closes the connection within the limit.
pub fn closes(socket: &mut TcpStream, limit: Duration) -> bool {
    socket.set_read_timeout(Some(limit)).unwrap();
    let mut buffer = [0; 4096];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    }
}
