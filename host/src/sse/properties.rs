//! What holds for every stream of bytes.

use proptest::{prelude::*, sample::Index};

use super::*;

fn streams() -> impl Strategy<Value = Bytes> {
    let piece = proptest::sample::select(vec![
        &b"data: "[..],
        b"data",
        b"event: ping",
        b":",
        b": a comment",
        b"id: 7",
        b"retry: 5",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"{\"type\":\"message_stop\"}",
        b"[DONE]",
        b"x",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80\xff",
    ]);
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into())
}

/// The frames of a stream, and what is left.
fn frames(chunks: impl IntoIterator<Item = Bytes>) -> (Vec<Frame>, Bytes) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        frames.extend(std::iter::from_fn(|| decoder.next_frame()));
    }
    (frames, decoder.unfinished())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_and_bytes_are_the_same_however_a_stream_is_cut(
        stream in streams(),
        cuts in proptest::collection::vec(any::<Index>(), 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|cut| stream.slice(cut[0]..cut[1]));
        let (cut, unfinished) = frames(chunks);
        let (whole, _) = frames([stream.clone()]);
        let events = |frames: &[Frame]| frames.iter().map(Frame::event).collect::<Vec<_>>();
        prop_assert_eq!(events(&cut), events(&whole));
        prop_assert!(add_up_to(cut, &unfinished, &stream));
    }
}

/// Whether the frames and what is unfinished are the stream. A frame may have one line break more
/// than the stream has, if another line follows it there.
fn add_up_to(frames: Vec<Frame>, unfinished: &[u8], stream: &[u8]) -> bool {
    let mut left = stream;
    for frame in frames {
        let raw = frame.into_raw();
        let repaired = || {
            let after = left.strip_prefix(&raw[..raw.len() - 1])?;
            let line = &after[..memchr2(b'\n', b'\r', after)?];
            (!line.is_empty()).then_some(after)
        };
        let Some(after) = left.strip_prefix(&raw[..]).or_else(repaired) else {
            return false;
        };
        left = after;
    }
    left == unfinished
}
