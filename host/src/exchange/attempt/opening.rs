//! The opening of a stream: what comes before the message, and whether the message begins. Pure.

use bytes::Bytes;

use crate::{
    exchange::members::Members,
    sse::{Decoder, Frame},
};

use super::{
    content::{ended_on_its_own, has_content, is_last},
    foreign_error::foreign_error,
};

/// Reads the first frames of a stream.
#[derive(Default)]
pub(super) struct Opening {
    pub(super) decoder: Decoder,
    /// The frames to relay, from the first one that is not a comment or a ping.
    pub(super) frames: Vec<Frame>,
    /// The size of everything before the first content, in bytes.
    pub(super) size: usize,
    /// The data of the first event that is not of a message.
    pub(super) other: Option<Bytes>,
    begun: bool,
    /// Whether there was a stop reason.
    stopped: bool,
    /// Whether the stop reason is something else than the model's own end.
    cut_short: bool,
}

/// What the frames so far say.
pub(super) enum Progress {
    /// The message has not begun. `comment` says that the upstream is at work.
    Waiting { comment: bool },
    /// An error came instead of a message.
    Error(Frame),
    /// The message has begun and has no content yet.
    Begun,
    /// The message has content.
    Content,
    /// The message is complete. `empty` says that the model ended it without content.
    Complete { empty: bool },
}

impl Opening {
    /// Adds the next chunk, and reads the frames that end in it.
    pub(super) fn push(&mut self, chunk: Bytes) -> Progress {
        self.decoder.push(chunk);
        let mut comment = false;
        let mut progress = None;
        while let Some(frame) = self.decoder.next_frame() {
            match progress {
                // All frames of the chunk are read.
                Some(Progress::Content | Progress::Complete { .. }) => self.frames.push(frame),
                _ => match self.take(frame) {
                    Progress::Waiting { comment: more } => comment |= more,
                    Progress::Error(frame) => return Progress::Error(frame),
                    more => progress = Some(more),
                },
            }
        }
        progress.unwrap_or(match self.begun {
            true => Progress::Begun,
            false => Progress::Waiting { comment },
        })
    }

    /// The clean end of the stream. Its last event may lack its blank line.
    pub(super) fn end(&mut self) -> Progress {
        let last = self.decoder.last_frame().filter(is_last);
        let progress = last.map_or(Progress::Begun, |frame| self.take(frame));
        match progress {
            Progress::Begun if self.begun => Progress::Complete {
                empty: self.stopped && !self.cut_short,
            },
            Progress::Begun => Progress::Waiting { comment: false },
            progress => progress,
        }
    }

    fn take(&mut self, frame: Frame) -> Progress {
        let kind = frame.event_type().into_owned();
        self.size += frame.len();
        if !self.begun {
            match &*kind {
                b"" | b"ping" => {
                    let comment = kind.is_empty();
                    return Progress::Waiting { comment };
                }
                b"error" => return Progress::Error(frame),
                kind if is_of_message(kind) => self.begun = true,
                _ => return self.take_other(frame),
            }
        }
        let data = frame.data().unwrap_or_default();
        let data = String::from_utf8_lossy(&data);
        if kind == b"message_delta" {
            let data = Members::read(&data).unwrap_or_default();
            let delta = data.object("delta").unwrap_or_default();
            self.stopped |= delta.text("stop_reason").is_some();
            self.cut_short |= !ended_on_its_own(&delta);
        }
        let content = has_content(&kind, &data);
        self.frames.push(frame);
        match &*kind {
            _ if content => Progress::Content,
            b"message_stop" => Progress::Complete {
                empty: !self.cut_short,
            },
            b"error" => Progress::Complete { empty: false },
            _ => Progress::Begun,
        }
    }

    /// An event that is not of a message: an error in another shape, or something to skip.
    fn take_other(&mut self, frame: Frame) -> Progress {
        let data = frame.data().unwrap_or_default();
        if foreign_error(&data).is_some() {
            return Progress::Error(frame);
        }
        self.other.get_or_insert(data);
        self.frames.push(frame);
        Progress::Waiting { comment: false }
    }
}

/// Whether an event of this type is part of a message.
fn is_of_message(kind: &[u8]) -> bool {
    kind.starts_with(b"message_") || kind.starts_with(b"content_block_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str =
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[]}}\n\n";
    const BLOCK: &str = "event: content_block_start\ndata: {\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
    const TEXT: &str = "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n";
    const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    fn stopped(reason: &str) -> String {
        format!("event: message_delta\ndata: {{\"delta\":{{\"stop_reason\":\"{reason}\"}}}}\n\n")
    }

    fn word(progress: &Progress) -> &'static str {
        match progress {
            Progress::Waiting { comment: true } => "comment",
            Progress::Waiting { comment: false } => "waiting",
            Progress::Error(_) => "error",
            Progress::Begun => "begun",
            Progress::Content => "content",
            Progress::Complete { empty: true } => "empty",
            Progress::Complete { empty: false } => "complete",
        }
    }

    #[test]
    fn a_stream_begins_with_an_event_of_a_message() {
        let end_turn = stopped("end_turn");
        let max_tokens = stopped("max_tokens");
        let table = [
            (": at work\n\n".to_owned(), "comment"),
            ("event: ping\ndata: {}\n\n".to_owned(), "waiting"),
            ("event: ping\n\n: at work\n\n".to_owned(), "comment"),
            ("data: [DONE]\n\n".to_owned(), "waiting"),
            ("event: backend_event\ndata: {}\n\n".to_owned(), "waiting"),
            ("data: {\"choices\":[]}\n\n".to_owned(), "waiting"),
            (
                "data: {\"error\":{\"message\":\"x\"}}\n\n".to_owned(),
                "error",
            ),
            (
                "event: message\ndata: {\"error\":\"x\"}\n\n".to_owned(),
                "error",
            ),
            ("event: error\ndata: x\n\n".to_owned(), "error"),
            ("data: {\"type\":\"error\"}\n\n".to_owned(), "error"),
            (START.to_owned(), "begun"),
            ("data: {\"type\":\"message_start\"}\n\n".to_owned(), "begun"),
            (format!("{START}{BLOCK}"), "begun"),
            (format!("{START}{BLOCK}{TEXT}"), "content"),
            (format!("{START}{BLOCK}{TEXT}{end_turn}{STOP}"), "content"),
            (format!("{START}{BLOCK}{end_turn}"), "begun"),
            (format!("{START}{BLOCK}{end_turn}{STOP}"), "empty"),
            (format!("{START}{STOP}"), "empty"),
            (format!("{START}{max_tokens}{STOP}"), "complete"),
            (format!("{START}event: error\ndata: x\n\n"), "complete"),
        ];
        for (stream, expected) in table {
            let mut opening = Opening::default();
            let progress = opening.push(stream.clone().into());
            assert_eq!(word(&progress), expected, "{stream}");
        }
    }

    #[test]
    fn a_clean_end_completes_a_message_that_has_a_stop_reason() {
        let end_turn = stopped("end_turn");
        let table = [
            (String::new(), "waiting"),
            ("data: {\"error\":\"x\"}".to_owned(), "error"),
            (START.to_owned(), "complete"),
            (START.trim_end().to_owned(), "waiting"),
            (format!("{START}{end_turn}"), "empty"),
            (format!("{START}{}", end_turn.trim_end()), "empty"),
            (format!("{START}{}", stopped("refusal")), "complete"),
        ];
        for (stream, expected) in table {
            let mut opening = Opening::default();
            opening.push(stream.clone().into());
            assert_eq!(word(&opening.end()), expected, "{stream}");
        }
    }

    #[test]
    fn pings_and_comments_are_dropped_and_other_events_are_kept_before_the_message() {
        let other = "event: backend_event\ndata: {}\n\n";
        let stream = format!(": x\n\nevent: ping\n\n{other}{START}");
        let mut opening = Opening::default();
        opening.push(stream.into());
        let kept: Vec<_> = opening.frames.into_iter().map(Frame::into_raw).collect();
        assert_eq!(kept, [other, START]);
    }
}
