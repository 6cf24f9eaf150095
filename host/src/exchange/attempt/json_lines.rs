//! Newline-delimited JSON, by which some protocols send a stream: each line becomes an event
//! without a name, as if the upstream had sent `data:` before it. Pure, apart from the stream it is
//! used on.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use memchr::memchr;

use crate::message::BodyStream;

/// Whether a body of this content type is lines of JSON.
pub(super) fn is_json_lines(content_type: &str) -> bool {
    matches!(
        content_type,
        "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonl"
            | "application/jsonlines"
            | "application/json-lines"
            | "application/x-json-stream"
    )
}

/// Writes each line as an event. The last line need not end.
pub(super) fn as_events(chunks: BodyStream) -> BodyStream {
    let lines = (chunks, Lines::default());
    let events = stream::unfold(Some(lines), |state| async move {
        let (mut chunks, mut lines) = state?;
        match chunks.next().await {
            Some(Ok(chunk)) => Some((Ok(lines.events(&chunk)), Some((chunks, lines)))),
            Some(Err(fault)) => Some((Err(fault), Some((chunks, lines)))),
            None => lines.end().map(|end| (Ok(end), None)),
        }
    });
    events.boxed()
}

/// The position in a line, which may go on in the next chunk.
#[derive(Default)]
struct Lines {
    inside: bool,
}

impl Lines {
    /// The lines of a chunk as events, as far as they go.
    fn events(&mut self, chunk: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(chunk.len() + 64);
        let mut left = chunk;
        while !left.is_empty() {
            let end = memchr(b'\n', left);
            self.write(&left[..end.unwrap_or(left.len())], &mut out);
            let Some(end) = end else { break };
            if std::mem::take(&mut self.inside) {
                out.extend_from_slice(b"\n\n");
            }
            left = &left[end + 1..];
        }
        out.freeze()
    }

    /// What ends the last line, if it did not end.
    fn end(&mut self) -> Option<Bytes> {
        std::mem::take(&mut self.inside).then(|| Bytes::from_static(b"\n\n"))
    }

    /// Writes a part of a line. An empty line is no event.
    fn write(&mut self, part: &[u8], out: &mut BytesMut) {
        let part = match self.inside {
            true => part,
            false => part.trim_ascii_start(),
        };
        if part.is_empty() {
            return;
        }
        if !self.inside {
            self.inside = true;
            out.extend_from_slice(b"data: ");
        }
        // In JSON a carriage return is white space. In an event it would end the line.
        part.split(|byte| *byte == b'\r')
            .for_each(|piece| out.extend_from_slice(piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[u8] = b"{\"a\":1}\r\n\n  {\"b\": \"\\n\"}\n[DONE]";
    const EVENTS: &str = "data: {\"a\":1}\n\ndata: {\"b\": \"\\n\"}\n\ndata: [DONE]\n\n";

    #[test]
    fn each_line_is_an_event_however_the_lines_are_cut() {
        for first in 0..=LINES.len() {
            for second in first..=LINES.len() {
                let mut lines = Lines::default();
                let mut events = Vec::new();
                for chunk in [&LINES[..first], &LINES[first..second], &LINES[second..]] {
                    events.extend(lines.events(chunk));
                }
                events.extend(lines.end().unwrap_or_default());
                assert_eq!(String::from_utf8_lossy(&events), EVENTS, "{first} {second}");
            }
        }
    }

    #[test]
    fn lines_that_have_ended_need_no_end() {
        let mut lines = Lines::default();
        assert_eq!(lines.events(b"{}\n"), "data: {}\n\n");
        assert_eq!(lines.end(), None);
    }
}
