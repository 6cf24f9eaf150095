//! Measures what events cost that no plugin sees. Asserts nothing and prints the timings:
//! `cargo test --release -p witgate --lib cost -- --ignored --nocapture --test-threads 1`.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::{collect::collect, expand::expand};
use crate::{
    message::Event,
    sse::{self, Decoder, Frame},
};

const DELTAS: usize = 1_000;

/// The events of a streamed message: a head, many small deltas, an end.
fn events() -> Vec<Event> {
    let event = |name: &str, members: &str| Event {
        name: name.to_owned(),
        data: format!(r#"{{"type":"{name}"{members}}}"#),
    };
    let delta =
        r#","index":0,"delta":{"type":"text_delta","text":"some words of the \"answer\" "}"#;
    let mut events = vec![
        event(
            "message_start",
            r#","message":{"id":"m","content":[],"usage":{"input_tokens":9}}"#,
        ),
        event(
            "content_block_start",
            r#","index":0,"content_block":{"type":"text","text":""}"#,
        ),
    ];
    events.extend((0..DELTAS).map(|_| event("content_block_delta", delta)));
    events.push(event("content_block_stop", r#","index":0"#));
    events.push(event(
        "message_delta",
        r#","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}"#,
    ));
    events.push(event("message_stop", ""));
    events
}

fn written(events: &[Event]) -> Bytes {
    let mut out = BytesMut::new();
    for event in events {
        sse::encode(event, &mut out);
    }
    out.freeze()
}

fn frames(chunks: impl Iterator<Item = Bytes>) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        frames.extend(std::iter::from_fn(|| decoder.next_frame()));
    }
    frames
}

/// Prints the best of many runs: the others include the machine's other work.
fn time<T>(what: &str, mut act: impl FnMut() -> T) {
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let begun = Instant::now();
        black_box(act());
        best = best.min(begun.elapsed());
    }
    let each = best.as_secs_f64() * 1e9 / DELTAS as f64;
    eprintln!("  {what:<40} {each:>8.1} ns per event");
}

#[test]
#[ignore = "prints timings, asserts nothing"]
fn of_events() {
    let events = events();
    let stream = written(&events);
    let cut = frames(std::iter::once(stream.clone()));
    eprintln!("{} events, {} bytes", events.len(), stream.len());
    time("encode", || written(&events));
    time("decode, all in one chunk", || {
        frames(std::iter::once(stream.clone()))
    });
    time("decode, each event its own chunk", || {
        frames(cut.iter().map(|frame| frame.clone().into_raw()))
    });
    time("decode, cut at 1,400 bytes", || {
        let starts = (0..stream.len()).step_by(1_400);
        frames(starts.map(|at| stream.slice(at..stream.len().min(at + 1_400))))
    });
    time("event type", || {
        let error_types = cut.iter().map(|frame| frame.event_type().len());
        error_types.sum::<usize>()
    });
    time("event for plugins", || {
        cut.iter().filter_map(Frame::event).count()
    });
    time("collect", || {
        collect(&events).map(|message| message.len()).ok()
    });
    let message = collect(&events).unwrap();
    let begun = Instant::now();
    black_box(expand(&message));
    let took = begun.elapsed();
    eprintln!("  expand, {} bytes: {took:?}", message.len());
}
