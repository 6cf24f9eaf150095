//! A minimal HTTP/1.1 for a load generator and a mock: one buffer per connection, and only what is
//! needed is parsed.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A connection with a buffer of bytes that were read ahead.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How much of the buffer is consumed.
    used: usize,
}

/// The head of a message.
pub(crate) struct Head {
    /// `POST /path HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub(crate) first: String,
    length: Option<usize>,
    chunked: bool,
    /// Whether it has the receipt of a plugin's edits.
    pub(crate) edited: bool,
}

/// The length of a body and the number of its events.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: usize,
    /// Blank lines, which end events.
    pub(crate) events: usize,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(128 << 10),
            used: 0,
        })
    }

    pub(crate) async fn connect(port: u16) -> io::Result<Self> {
        Self::new(TcpStream::connect(("127.0.0.1", port)).await?)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads a head; `None` if the other side closed between two messages.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer[self.used..], b"\r\n\r\n") {
                let text = &self.buffer[self.used..self.used + end];
                let head = Head::of(&String::from_utf8_lossy(text));
                self.used += end + 4;
                return Ok(Some(head));
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads the body to its end; calls `seen` with each part as it arrives.
    pub(crate) async fn body(
        &mut self,
        head: &Head,
        mut seen: impl FnMut(&[u8]),
    ) -> io::Result<Body> {
        let mut body = Body::default();
        let mut take = |bytes: &[u8]| {
            body.bytes += bytes.len();
            body.events += bytes.windows(2).filter(|two| two == b"\n\n").count();
            seen(bytes);
        };
        if head.chunked {
            loop {
                let length = self.chunk_length().await?;
                self.exactly(length, &mut take).await?;
                self.line().await?;
                if length == 0 {
                    break;
                }
            }
        } else {
            self.exactly(head.length.unwrap_or_default(), &mut take)
                .await?;
        }
        Ok(body)
    }

    async fn chunk_length(&mut self) -> io::Result<usize> {
        let line = self.line().await?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        usize::from_str_radix(digits, 16).map_err(|_| broken("a chunk has no length"))
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer[self.used..], b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[self.used..self.used + end]);
                let line = line.into_owned();
                self.used += end + 2;
                return Ok(line);
            }
            if self.fill().await? == 0 {
                return Err(broken("the body was cut short"));
            }
        }
    }

    async fn exactly(&mut self, length: usize, take: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.used == self.buffer.len() && self.fill().await? == 0 {
                return Err(broken("the body was cut short"));
            }
            let part = left.min(self.buffer.len() - self.used);
            take(&self.buffer[self.used..self.used + part]);
            self.used += part;
            left -= part;
        }
        Ok(())
    }

    async fn fill(&mut self) -> io::Result<usize> {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        self.stream.read_buf(&mut self.buffer).await
    }
}

impl Head {
    fn of(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let mut head = Self {
            first,
            length: None,
            chunked: false,
            edited: false,
        };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                head.length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("x-witgate-edits") {
                head.edited = true;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.chunked = value.trim().eq_ignore_ascii_case("chunked");
            }
        }
        head
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|part| part == what)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
