//! Truncated streams: where a stream is cut, and what a client may be shown then.

use super::message::{Block, Message};

/// Streams of cases up to this length are cut after every byte.
pub(super) const EVERY_BYTE: usize = 4 * 1024;

/// The lengths at which a stream is cut: after every event, and at every byte, or of a stream
/// longer than `most` at every few bytes.
pub(super) fn places(stream: &[u8], most: usize) -> Vec<usize> {
    let step = stream.len().div_ceil(most).max(1);
    let mut places: Vec<usize> = (0..stream.len()).step_by(step).collect();
    let ends = (2..stream.len()).filter(|end| stream[..*end].ends_with(b"\n\n"));
    places.extend(ends);
    places.sort_unstable();
    places.dedup();
    places
}

/// Why a client must not be shown this message for a response that was cut. `whole` is the message
/// that it gets otherwise, and `upstream` what the upstream had sent until then, if that is a
/// message of the same API.
pub(super) fn flaw(cut: &Message, whole: &Message, upstream: Option<&Message>) -> Option<String> {
    if let Some(problem) = cut.problems.first() {
        return Some(format!("the stream is malformed: {problem}"));
    }
    let received_all = upstream.is_some_and(|upstream| upstream.complete);
    let is_all = cut.blocks == whole.blocks && cut.stop_reason == whole.stop_reason;
    if cut.complete && !is_all && !received_all {
        return Some("a truncated message is shown as a complete one".to_owned());
    }
    for (at, block) in cut.blocks.iter().enumerate() {
        let received = upstream.and_then(|upstream| upstream.blocks.get(at));
        if !is_part(block, whole.blocks.get(at), received) {
            return Some(format!(
                "block {at} has content that the upstream did not send and the whole message does \
                 not have: {:?}",
                super::message::shorten(&block.text)
            ));
        }
    }
    None
}

/// Whether a block is the beginning of the block in the whole message. Text that a plugin held back
/// may follow as the upstream sent it.
fn is_part(cut: &Block, whole: Option<&Block>, received: Option<&Block>) -> bool {
    let whole = whole.map_or("", |whole| whole.text.as_str());
    let common = cut.text.bytes().zip(whole.bytes());
    let mut common = common.take_while(|(one, other)| one == other).count();
    while !cut.text.is_char_boundary(common) {
        common -= 1;
    }
    let rest = &cut.text[common..];
    rest.is_empty() || received.is_some_and(|received| received.text.ends_with(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(texts: &[&str], complete: bool) -> Message {
        let block = |text: &&str| Block {
            kind: "text".to_owned(),
            text: (*text).to_owned(),
            ..Block::default()
        };
        Message {
            blocks: texts.iter().map(block).collect(),
            stop_reason: complete.then(|| "end_turn".to_owned()),
            complete,
            ..Message::default()
        }
    }

    #[test]
    fn a_short_stream_is_cut_at_every_byte_and_a_long_one_after_every_event() {
        assert_eq!(places(b"a\n\nb\n\n", EVERY_BYTE), [0, 1, 2, 3, 4, 5]);
        let long = b"data: 0123456789012345678901234567890\n\n".repeat(1_000);
        let places = places(&long, EVERY_BYTE);
        assert!(places.len() < 6_000, "{}", places.len());
        assert!((1..1_000).all(|n| places.contains(&(n * long.len() / 1_000))));
    }

    #[test]
    fn a_part_is_no_flaw_and_neither_is_text_that_was_held_back() {
        let whole = message(&["ask SECRET now"], true);
        for (cut, received) in [
            ("", ""),
            ("ask", "ask"),
            ("ask SEC", "ask [[sec"),
            ("ask [[se", "ask [[se"),
            ("ask [[sec", "ask [[sec"),
        ] {
            let upstream = message(&[received], false);
            let flaw = flaw(&message(&[cut], false), &whole, Some(&upstream));
            assert_eq!(flaw, None, "{cut}");
        }
        // All of it, although the connection broke after the last event.
        assert_eq!(
            flaw(&whole, &whole, Some(&message(&["ask [[1]] now"], true))),
            None
        );
    }

    #[test]
    fn what_was_invented_or_looks_complete_is_a_flaw() {
        let (whole, upstream) = (message(&["hello there"], true), message(&["hel"], false));
        let found = |cut: &Message| flaw(cut, &whole, Some(&upstream)).unwrap_or_default();
        assert!(found(&message(&["hel"], true)).contains("shown as a complete one"));
        assert!(found(&message(&["hel [cut]"], false)).contains("did not send"));
        assert!(found(&message(&["hel", "more"], false)).contains("block 1"));
        let mut malformed = message(&["hel"], false);
        malformed.problems.push("x".to_owned());
        assert!(found(&malformed).contains("malformed: x"));
    }
}
