//! A client that asks once and reads to the end.

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

/// Posts a message and reads its answer; anything but a whole stream is an error.
pub(crate) fn post(addr: SocketAddr, body: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut socket = TcpStream::connect(addr)?;
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\nx-api-key: any\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes())?;
    socket.write_all(body)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    if text.starts_with("HTTP/1.1 200") && text.contains("message_stop") {
        return Ok(());
    }
    Err(format!(
        "not a whole answer: {}",
        text.chars().take(2000).collect::<String>()
    )
    .into())
}
