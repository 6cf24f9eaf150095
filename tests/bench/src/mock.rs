//! A mock upstream that costs next to nothing: it reads a request to its end and answers with
//! prepared bytes.
//!
//! The first part of the path chooses the response: `/json`, `/sse-100` (events in one burst),
//! `/slow-50-20` (fifty events, one every 20 ms), `/timed-50-20` (the same, each with the time it
//! was sent). The end of the path chooses the protocol.

use std::{
    io,
    sync::{Arc, LazyLock},
    time::Duration,
};

use tokio::{net::TcpSocket, time::Instant};

use crate::http::Wire;

/// Listens on a free port and answers for as long as the process lives.
pub(crate) async fn start() -> io::Result<u16> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    // As many as may connect at once: a rejected client would try again only a second later.
    let listener = socket.listen(8_192)?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        loop {
            if let Ok((stream, _)) = listener.accept().await
                && let Ok(wire) = Wire::new(stream)
            {
                // A client that disconnects does not matter.
                tokio::spawn(async move { drop(serve(wire).await) });
            }
        }
    });
    Ok(port)
}

/// The text before the time at which a timed event was sent, in microseconds of the clock that
/// `now` reads.
const STAMP: &[u8] = b"sent at ";
const STAMP_DIGITS: usize = 12;

pub(crate) fn now() -> u64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    // Overflows in a hundred thousand years.
    u64::try_from(BEGUN.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// When the event in these bytes was sent, if it says so.
pub(crate) fn stamp(bytes: &[u8]) -> Option<u64> {
    let digits = stamp_at(bytes)?;
    std::str::from_utf8(&bytes[digits]).ok()?.parse().ok()
}

fn stamp_at(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let at = bytes.windows(STAMP.len()).position(|part| part == STAMP)? + STAMP.len();
    (at + STAMP_DIGITS <= bytes.len()).then_some(at..at + STAMP_DIGITS)
}

async fn serve(mut wire: Wire) -> io::Result<()> {
    let mut made: Option<(String, Arc<Answer>)> = None;
    while let Some(head) = wire.head().await? {
        wire.body(&head, |_| {}).await?;
        let path = head.first.split(' ').nth(1).unwrap_or_default().to_owned();
        let answer = match &made {
            Some((of, answer)) if *of == path => Arc::clone(answer),
            _ => Arc::new(Answer::of(&path)),
        };
        answer.send(&mut wire).await?;
        made = Some((path, answer));
    }
    Ok(())
}

enum Answer {
    Whole(Vec<u8>),
    Slow {
        head: Vec<u8>,
        events: Vec<Vec<u8>>,
        every: Duration,
    },
}

impl Answer {
    fn of(path: &str) -> Self {
        let protocol = Protocol::of(path);
        let kind = path
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or_default();
        let mut parts = kind.split('-');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("sse"), Some(count), _) => {
                let mut whole = head("text/event-stream", None);
                // A chunk for each event, as servers send them, all at once.
                for event in protocol.events(count.parse().unwrap_or(1)) {
                    whole.extend(chunk(event.as_bytes()));
                }
                whole.extend(b"0\r\n\r\n");
                Self::Whole(whole)
            }
            (Some(kind @ ("slow" | "timed")), Some(count), Some(every)) => {
                let mut events = protocol.events(count.parse().unwrap_or(1));
                if kind == "timed" {
                    let stamp = format!("sent at {:0STAMP_DIGITS$}", 0);
                    for event in &mut events {
                        *event = event.replace("some words", &stamp);
                    }
                }
                let mut events: Vec<_> = events.iter().map(|e| chunk(e.as_bytes())).collect();
                events.push(b"0\r\n\r\n".to_vec());
                Self::Slow {
                    head: head("text/event-stream", None),
                    events,
                    every: Duration::from_millis(every.parse().unwrap_or(20)),
                }
            }
            _ => {
                let body = MESSAGE.as_bytes();
                let mut whole = head("application/json", Some(body.len()));
                whole.extend(body);
                Self::Whole(whole)
            }
        }
    }

    async fn send(&self, wire: &mut Wire) -> io::Result<()> {
        match self {
            Self::Whole(bytes) => wire.send(bytes).await,
            Self::Slow {
                head,
                events,
                every,
            } => {
                wire.send(head).await?;
                let begun = Instant::now();
                for (event, nth) in events.iter().zip(0..) {
                    tokio::time::sleep_until(begun + *every * nth).await;
                    let Some(digits) = stamp_at(event) else {
                        wire.send(event).await?;
                        continue;
                    };
                    let mut stamped = event.clone();
                    let time = format!("{:0STAMP_DIGITS$}", now());
                    stamped[digits].copy_from_slice(time.as_bytes());
                    wire.send(&stamped).await?;
                }
                Ok(())
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Protocol {
    Anthropic,
    Gemini,
    OpenAi,
}

impl Protocol {
    fn of(path: &str) -> Self {
        if path.contains(":streamGenerateContent") {
            Self::Gemini
        } else if path.contains("/chat/completions") {
            Self::OpenAi
        } else {
            Self::Anthropic
        }
    }

    /// A message of this many events in all; a translated one has a few more or less at its ends.
    fn events(self, count: usize) -> Vec<String> {
        let texts = count.saturating_sub(6).max(1);
        match self {
            Self::Anthropic => {
                let mut events = vec![
                    r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1000,"output_tokens":1}}}

"#.to_owned(),
                    r#"event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

"#.to_owned(),
                ];
                events.extend((0..texts).map(|n| format!(r#"event: content_block_delta
data: {{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":" some words {n}"}}}}

"#)));
                events.push(r#"event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":1000}}

event: message_stop
data: {"type":"message_stop"}

"#.to_owned());
                events
            }
            Self::Gemini => {
                let mut events: Vec<_> = (0..texts).map(|n| format!(r#"data: {{"candidates":[{{"content":{{"parts":[{{"text":" some words {n}"}}],"role":"model"}},"index":0}}],"usageMetadata":{{"promptTokenCount":1000,"candidatesTokenCount":{n},"totalTokenCount":2000}},"modelVersion":"m","responseId":"abc"}}

"#)).collect();
                events.push(r#"data: {"candidates":[{"content":{"parts":[{"text":"."}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":1000,"candidatesTokenCount":1000,"totalTokenCount":2000},"modelVersion":"m","responseId":"abc"}

"#.to_owned());
                events
            }
            Self::OpenAi => {
                let mut events: Vec<_> = (0..texts).map(|n| format!(r#"data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":" some words {n}"}},"logprobs":null,"finish_reason":null}}]}}

"#)).collect();
                events.push(r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":1000,"total_tokens":2000}}

data: [DONE]

"#.to_owned());
                events
            }
        }
    }
}

const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"Some words."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1000,"output_tokens":3}}"#;

fn head(kind: &str, length: Option<usize>) -> Vec<u8> {
    let framing = match length {
        Some(length) => format!("content-length: {length}"),
        None => "transfer-encoding: chunked".to_owned(),
    };
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nrequest-id: req_bench\r\n{framing}\r\n\r\n")
        .into_bytes()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}
