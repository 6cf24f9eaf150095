//! The upstream: it reads a request and writes an answer that was made beforehand.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use crate::{
    EVENTS,
    shapes::{self, DIALECTS, Dialect},
};

/// Both answers of a dialect, as they go over the connection.
struct Answers {
    dialect: Dialect,
    short: Vec<u8>,
    long: Vec<u8>,
}

/// Begins to serve, until the process ends.
pub(crate) fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let answers = Arc::new(DIALECTS.map(|dialect| Answers {
        dialect,
        short: framed(&shapes::stream(dialect, 10)),
        long: framed(&shapes::stream(dialect, EVENTS)),
    }));
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            thread::spawn(move || serve(socket, &*answers));
        }
    });
    Ok(addr)
}

/// Each event in a chunk of its own, as servers write them.
fn framed(events: &[String]) -> Vec<u8> {
    let mut bytes =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for event in events {
        bytes.extend(format!("{:x}\r\n{event}\r\n", event.len()).bytes());
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

fn serve(mut socket: TcpStream, answers: &[Answers]) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some((head, body)) = read_request(&mut socket, &mut buffer)? {
        let asked = answers
            .iter()
            .find(|answers| head.contains(&format!(" /{}/", answers.dialect.name())));
        // A long answer is asked for by a word in the only message.
        let long = body.len() < 10_000 && body.windows(10).any(|part| part == b"say it all");
        match asked {
            Some(answers) if long => socket.write_all(&answers.long)?,
            Some(answers) => socket.write_all(&answers.short)?,
            None => socket.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")?,
        }
    }
    Ok(())
}

/// Head and body; none when the other side is done.
fn read_request(
    socket: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<(String, Vec<u8>)>> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
            break at + 4;
        }
        if !more(socket, buffer)? {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    buffer.drain(..end);
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    while buffer.len() < length {
        if !more(socket, buffer)? {
            return Ok(None);
        }
    }
    Ok(Some((head, buffer.drain(..length).collect())))
}

fn more(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 64 * 1024];
    let count = socket.read(&mut piece)?;
    buffer.extend(&piece[..count]);
    Ok(count > 0)
}
