//! Decodes and encodes server-sent events, as the HTML standard defines them. Does no I/O.
//!
//! Every event keeps its original bytes, so that it can be forwarded unchanged.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;
use serde::de::IgnoredAny;
use witgate_contract::{event, limits};

use crate::message::Event;

#[cfg(test)]
mod properties;

/// Splits a stream of chunks into frames.
///
/// The frames and [`Decoder::unfinished`], joined, are the stream. Only events that a server has
/// separated by one line break instead of a blank line get that blank line. After a frame that is
/// too long, nothing more is read.
pub(crate) struct Decoder {
    /// The start of an incomplete frame, from earlier chunks.
    held: BytesMut,
    /// The unread part of the last chunk.
    chunk: Bytes,
    line: Line,
    /// Where the current line begins, counted from the start of `held`, and its first byte.
    line_start: usize,
    line_first: u8,
    /// Where the line after the first `data:` line begins, counted likewise.
    after_data: Option<usize>,
    /// Whether the lines of this frame are known to be one event.
    is_one_event: bool,
    begun: bool,
    /// Bytes at the start of the next frame that belong to no line.
    skip: usize,
    /// The largest frame, in bytes.
    limit: usize,
    too_long: bool,
}

/// The position of the decoder in a line.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Start,
    Inside,
    /// After a carriage return that ended a line. A line feed next belongs to it.
    Ended,
    /// After a carriage return that ended a frame. A line feed next is the first byte of the next
    /// frame and is ignored.
    FrameEnded,
}

/// What ends at a place in the chunk.
enum Found {
    Frame(usize),
    /// A `data:` line that is not the first of its frame, as far as its first letter shows.
    SecondData(usize),
    Nothing,
}

/// The original bytes of one event with its comments and blank line, or of comments alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    raw: Bytes,
    skip: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::with_limit(limits::EVENT)
    }
}

impl Decoder {
    fn with_limit(limit: usize) -> Self {
        Self {
            held: BytesMut::new(),
            chunk: Bytes::new(),
            line: Line::default(),
            line_start: 0,
            line_first: 0,
            after_data: None,
            is_one_event: false,
            begun: false,
            skip: 0,
            limit,
            too_long: false,
        }
    }

    /// Adds the next chunk. All frames of the chunk before must have been read.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty());
        self.chunk = chunk;
    }

    /// Returns the next complete frame.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if self.too_long {
                self.chunk.clear();
                return None;
            }
            let found = self.find();
            let (Found::Frame(end) | Found::SecondData(end)) = found else {
                self.hold(self.chunk.len());
                return None;
            };
            if self.held.len() + end > self.limit {
                self.hold(end);
                return None;
            }
            if let Found::Frame(_) = found {
                let raw = self.take(end);
                return Some(self.frame(raw));
            }
            self.hold(end);
            if let Some(raw) = self.split() {
                return Some(self.frame(raw));
            }
        }
    }

    /// Keeps this much of the chunk for the frame that is incomplete.
    fn hold(&mut self, end: usize) {
        self.too_long |= self.held.len() + end > self.limit;
        if self.too_long {
            self.held = BytesMut::new();
            self.chunk.clear();
        } else {
            let tail = self.chunk.split_to(end);
            self.held.extend_from_slice(&tail);
        }
    }

    /// Takes the bytes of the frame that ends here in the chunk.
    fn take(&mut self, end: usize) -> Bytes {
        (self.line_first, self.after_data, self.is_one_event) = (0, None, false);
        let tail = self.chunk.split_to(end);
        if self.held.is_empty() {
            return tail;
        }
        self.held.extend_from_slice(&tail);
        self.held.split().freeze()
    }

    /// Takes the event before the `data:` line at the end of `held`, if that line begins a new one.
    /// Some servers separate events by one line break. By the standard these are lines of one text,
    /// but a text after a whole JSON object is not JSON, so nothing is lost.
    fn split(&mut self) -> Option<Bytes> {
        let end = self.after_data.filter(|_| !self.is_one_event)?;
        self.is_one_event = true;
        let next = self.held[self.line_start..].strip_prefix(b"data:")?;
        let first = Frame {
            raw: Bytes::copy_from_slice(&self.held[..end]),
            skip: 0,
        };
        if next.trim_ascii().is_empty() || !is_whole(&first.data()?) {
            return None;
        }
        (self.after_data, self.is_one_event) = (None, false);
        self.line_start -= end;
        drop(self.held.split_to(end));
        Some(with_blank_line(&first.raw))
    }

    fn frame(&mut self, raw: Bytes) -> Frame {
        let mut skip = std::mem::take(&mut self.skip);
        if !self.begun {
            self.begun = true;
            if raw.starts_with(BYTE_ORDER_MARK) {
                skip = BYTE_ORDER_MARK.len();
            }
        }
        Frame { raw, skip }
    }

    /// Returns the last frame of a stream that ended without a blank line. Its data must be whole:
    /// an event that was cut is not one.
    pub(crate) fn last_frame(&mut self) -> Option<Frame> {
        let rest = self.unfinished();
        let whole = Frame {
            raw: with_blank_line(&rest),
            skip: self.skip,
        };
        if !whole.data().is_some_and(|data| is_whole(&data)) {
            self.held.extend_from_slice(&rest);
            return None;
        }
        Some(self.frame(whole.raw))
    }

    /// Whether a frame was larger than the limit. There are no frames after it.
    pub(crate) fn is_too_long(&self) -> bool {
        self.too_long
    }

    /// Takes the bytes after the last complete frame.
    pub(crate) fn unfinished(&mut self) -> Bytes {
        self.held.extend_from_slice(&self.chunk);
        self.chunk.clear();
        self.held.split().freeze()
    }

    /// Finds the next end of a frame in the chunk.
    fn find(&mut self) -> Found {
        let mut at = 0;
        while let Some(&byte) = self.chunk.get(at) {
            match (self.line, byte) {
                (Line::FrameEnded, b'\n') => {
                    self.skip = 1;
                    self.line = Line::Start;
                    at += 1;
                }
                (Line::Ended, b'\n') => {
                    self.line = Line::Start;
                    at += 1;
                }
                (Line::Inside, _) => match memchr2(b'\n', b'\r', &self.chunk[at..]) {
                    Some(end) => {
                        let cr = self.chunk[at + end] == b'\r';
                        self.line = if cr { Line::Ended } else { Line::Start };
                        at += end + 1;
                        if self.line_first == b'd' && self.after_data.is_some() {
                            return Found::SecondData(at);
                        }
                    }
                    None => return Found::Nothing,
                },
                (_, b'\n') => {
                    self.line = Line::Start;
                    return Found::Frame(at + 1);
                }
                // A line feed that has arrived is included. A later one must not delay the frame.
                (_, b'\r') => {
                    let both = self.chunk.get(at + 1) == Some(&b'\n');
                    self.line = if both { Line::Start } else { Line::FrameEnded };
                    return Found::Frame(at + 1 + usize::from(both));
                }
                _ => self.begin_line(at, byte),
            }
        }
        Found::Nothing
    }

    fn begin_line(&mut self, at: usize, first: u8) {
        self.line = Line::Inside;
        self.line_start = self.held.len() + at;
        if self.line_first == b'd' && self.after_data.is_none() {
            self.after_data = Some(self.line_start);
        }
        self.line_first = first;
    }
}

/// Whether the data of an event is a whole JSON object, or the `[DONE]` that ends some streams.
fn is_whole(data: &[u8]) -> bool {
    let data = data.trim_ascii();
    let is_object = || data.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(data).is_ok();
    data == b"[DONE]" || is_object()
}

/// Adds the line breaks that end an event.
fn with_blank_line(lines: &[u8]) -> Bytes {
    let end: &[u8] = match lines.last() {
        Some(b'\n') => b"\n",
        Some(b'\r') => b"\r",
        _ => b"\n\n",
    };
    [lines, end].concat().into()
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Frame {
    /// An event in the gateway's own format.
    pub(crate) fn of(event: &Event) -> Self {
        let mut raw = BytesMut::new();
        encode(event, &mut raw);
        Self {
            raw: raw.freeze(),
            skip: 0,
        }
    }

    /// Returns the type of the event. Empty for comments, which are not events.
    pub(crate) fn event_type(&self) -> Cow<'_, [u8]> {
        match self.name() {
            b"" => self.data().map_or_else(Cow::default, |data| {
                event::event_type(b"", &data).into_owned().into()
            }),
            name => name.into(),
        }
    }

    /// The number of original bytes.
    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// Returns the original bytes.
    pub(crate) fn into_raw(self) -> Bytes {
        self.raw
    }

    /// Returns the value of the last `event:` field. Empty if there is none.
    pub(crate) fn name(&self) -> &[u8] {
        if let Some(name) = self.name_before_data() {
            return name;
        }
        self.fields()
            .filter(|(field, _)| *field == b"event")
            .last()
            .map_or(b"", |(_, value)| value)
    }

    /// Returns the name quickly if the frame is a line `event:` and a line `data:`, as nearly all
    /// are.
    fn name_before_data(&self) -> Option<&[u8]> {
        let lines = self.raw[self.skip..].strip_prefix(b"event: ")?;
        let name = &lines[..memchr2(b'\n', b'\r', lines)?];
        let data = lines[name.len()..].strip_prefix(b"\ndata:")?;
        let is_last = memchr2(b'\n', b'\r', data)? + b"\n\n".len() == data.len();
        (is_last && data.ends_with(b"\n\n")).then_some(name)
    }

    /// Returns the `data:` lines joined by line feeds. `None` without such a line: it is not an
    /// event.
    pub(crate) fn data(&self) -> Option<Bytes> {
        let mut lines = self
            .fields()
            .filter(|(field, _)| *field == b"data")
            .map(|(_, value)| value);
        let first = lines.next()?;
        let Some(second) = lines.next() else {
            return Some(self.raw.slice_ref(first));
        };
        let mut data = BytesMut::from(first);
        for line in std::iter::once(second).chain(lines) {
            data.extend_from_slice(b"\n");
            data.extend_from_slice(line);
        }
        Some(data.freeze())
    }

    /// Returns the event as plugins see it. `None` for comments alone.
    pub(crate) fn event(&self) -> Option<Event> {
        // Checking valid UTF-8 takes a fraction of the time of the lossy conversion.
        let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => String::from_utf8_lossy(bytes).into_owned(),
        };
        Some(Event {
            data: text(&self.data()?),
            name: text(self.name()),
        })
    }

    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut left = &self.raw[self.skip..];
        let lines = std::iter::from_fn(move || {
            let end = memchr2(b'\n', b'\r', left)?;
            let line = &left[..end];
            let wide = left[end] == b'\r' && left.get(end + 1) == Some(&b'\n');
            left = &left[end + 1 + usize::from(wide)..];
            Some(line)
        });
        lines
            .filter(|line| !line.is_empty() && line[0] != b':')
            .map(|line| {
                let colon = memchr::memchr(b':', line).unwrap_or(line.len());
                let value = line.get(colon + 1..).unwrap_or_default();
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            })
    }
}

/// Writes an event in the gateway's own format.
pub(crate) fn encode(event: &Event, out: &mut BytesMut) {
    if !event.name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.name.as_bytes());
        out.extend_from_slice(b"\n");
    }
    for line in event.data.split('\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\n\nevent: a\nid: 7\ndata: {\"x\":1}\n\ndata:one\r\ndata: two\r\n\r\n\
                          retry: 5\rodd\revent:b\rdata\r\r\ndata: last\n\nleft";

    fn cut(chunks: impl IntoIterator<Item = Bytes>) -> (Vec<Frame>, Bytes) {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            while let Some(frame) = decoder.next_frame() {
                frames.push(frame);
            }
        }
        (frames, decoder.unfinished())
    }

    fn event(name: &str, data: &str) -> Event {
        Event {
            name: name.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn events_are_the_same_however_the_chunks_are_cut() {
        let whole = Bytes::from_static(STREAM.as_bytes());
        let wanted = [
            None,
            Some(event("a", "{\"x\":1}")),
            Some(event("", "one\ntwo")),
            Some(event("b", "")),
            Some(event("", "last")),
        ];
        for at in 0..=whole.len() {
            let (frames, rest) = cut([whole.slice(..at), whole.slice(at..)]);
            let events: Vec<_> = frames.iter().map(Frame::event).collect();
            assert_eq!(events, wanted, "cut at {at}");
            let mut joined: Vec<u8> = frames.into_iter().flat_map(Frame::into_raw).collect();
            joined.extend_from_slice(&rest);
            assert_eq!(joined, whole, "cut at {at}");
        }
        let (frames, _) = cut((0..whole.len()).map(|at| whole.slice(at..=at)));
        assert_eq!(frames.iter().map(Frame::event).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_frame_that_ends_in_a_carriage_return_is_not_held_back() {
        let (frames, rest) = cut([Bytes::from_static(b"data: x\r\r")]);
        assert_eq!(frames.len(), 1);
        assert!(rest.is_empty());
    }

    #[test]
    fn a_frame_over_the_limit_is_not_held_however_the_chunks_are_cut() {
        let limit = "data: 123\n\n".len();
        for (text, is_too_long) in [
            ("data: 123\n\ndata: 4\n\n", false),
            ("data: 1234\n\ndata: 5\n\n", true),
            ("data: 12345", false),
            ("data: 123456", true),
        ] {
            let whole = Bytes::from_static(text.as_bytes());
            for at in 0..=whole.len() {
                let mut decoder = Decoder::with_limit(limit);
                let mut frames = 0;
                for chunk in [whole.slice(..at), whole.slice(at..)] {
                    decoder.push(chunk);
                    while decoder.next_frame().is_some() {
                        frames += 1;
                    }
                    assert!(decoder.held.len() <= limit);
                }
                assert_eq!(decoder.is_too_long(), is_too_long, "{text:?} cut at {at}");
                assert!(!is_too_long || frames == 0, "{text:?} cut at {at}");
            }
        }
    }

    #[test]
    fn whole_objects_separated_by_one_line_break_are_events_of_their_own() {
        let table = [
            (
                "data: {\"a\":1}\ndata: {\"b\":2}\n\n",
                vec!["data: {\"a\":1}\n\n", "data: {\"b\":2}\n\n"],
            ),
            (
                "data: {}\r\nevent: x\r\ndata: {}\r\n\r\n",
                vec!["data: {}\r\n\n", "event: x\r\ndata: {}\r\n\r\n"],
            ),
            (
                "data: {}\rdata: [DONE]\r\r",
                vec!["data: {}\r\r", "data: [DONE]\r\r"],
            ),
            (
                "event: x\ndata:{}\nid: 1\ndata:{}\ndata: {}\n\n",
                vec![
                    "event: x\ndata:{}\n\n",
                    "id: 1\ndata:{}\n\n",
                    "data: {}\n\n",
                ],
            ),
            // These are one event.
            ("data: {}\ndata:\n\n", vec!["data: {}\ndata:\n\n"]),
            ("data: {}\nevent: x\n\n", vec!["data: {}\nevent: x\n\n"]),
            ("data: {}\ndrop: {}\n\n", vec!["data: {}\ndrop: {}\n\n"]),
            (
                "data: {\ndata: }\ndata: x\n\n",
                vec!["data: {\ndata: }\ndata: x\n\n"],
            ),
            ("data: one\ndata: {}\n\n", vec!["data: one\ndata: {}\n\n"]),
            (
                "data: {}\n\ndata: {}\n\n",
                vec!["data: {}\n\n", "data: {}\n\n"],
            ),
        ];
        for (stream, expected) in table {
            let whole = Bytes::from_static(stream.as_bytes());
            for at in 0..=whole.len() {
                let (frames, rest) = cut([whole.slice(..at), whole.slice(at..)]);
                let frames: Vec<_> = frames.into_iter().map(Frame::into_raw).collect();
                // A line feed that comes after the frame was read belongs to the next one.
                let late = stream[..at].ends_with("\r") && stream[at..] == *"\n";
                if !late {
                    assert_eq!(frames, expected, "{stream:?} cut at {at}");
                    assert!(rest.is_empty(), "{stream:?} cut at {at}");
                }
            }
        }
    }

    #[test]
    fn the_last_event_may_lack_its_blank_line_but_not_its_end() {
        for (stream, last) in [
            ("data: {}\n\ndata: {\"a\":1}\n", Some("data: {\"a\":1}\n\n")),
            (
                "event: x\ndata: {\"a\":1}",
                Some("event: x\ndata: {\"a\":1}\n\n"),
            ),
            ("data: {}\r", Some("data: {}\r\r")),
            ("data: [DONE]", Some("data: [DONE]\n\n")),
            ("data: {\"a\":1", None),
            ("data: x\n", None),
            (": comment\n", None),
            ("event: x\n", None),
            ("", None),
        ] {
            let mut decoder = Decoder::default();
            decoder.push(Bytes::from_static(stream.as_bytes()));
            while decoder.next_frame().is_some() {}
            let frame = decoder.last_frame().map(Frame::into_raw);
            assert_eq!(frame.as_deref(), last.map(str::as_bytes), "{stream:?}");
            let rest = decoder.unfinished();
            assert_eq!(
                rest.is_empty(),
                last.is_some() || stream.is_empty(),
                "{stream:?}"
            );
        }
    }

    #[test]
    fn the_last_name_counts_wherever_it_is() {
        for (text, name) in [
            ("event: a\ndata: 1\n\n", "a"),
            ("event: a\ndata: 1\nevent: b\n\n", "b"),
            ("event: a\ndata: 1\revent: b\n\n", "b"),
            ("event: a\revent: b\ndata: 1\n\n", "b"),
            ("event: a\ndata: 1\n\r\n", "a"),
            ("event:a\ndata:1\n\n", "a"),
            ("event:  a\ndata: 1\n\n", " a"),
            ("data: 1\n\n", ""),
        ] {
            let (frames, _) = cut([Bytes::from_static(text.as_bytes())]);
            assert_eq!(frames[0].name(), name.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn an_encoded_event_decodes_to_the_same() {
        let written = event("message_start", "{\n}");
        let mut out = BytesMut::new();
        encode(&written, &mut out);
        let (frames, rest) = cut([out.freeze()]);
        assert_eq!(frames[0].event(), Some(written));
        assert!(rest.is_empty());
    }
}
