//! Applies edits as replaced spans of a text, in one copy.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// A span of a text and its replacement.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) span: Range<usize>,
    pub(crate) replacement: Bytes,
}

impl Cut {
    pub(crate) fn removal(span: Range<usize>) -> Self {
        Self {
            span,
            replacement: Bytes::new(),
        }
    }
}

/// Returns the text with all cuts applied. The cuts are ascending and do not overlap.
pub(crate) fn splice(text: &[u8], cuts: &[Cut]) -> Bytes {
    let mut out = BytesMut::with_capacity(length(text.len(), cuts));
    let mut from = 0;
    for cut in cuts {
        out.extend_from_slice(&text[from..cut.span.start]);
        out.extend_from_slice(&cut.replacement);
        from = cut.span.end;
    }
    out.extend_from_slice(&text[from..]);
    out.freeze()
}

/// Returns the length that a text of `length` bytes has after the cuts.
pub(crate) fn length(length: usize, cuts: &[Cut]) -> usize {
    let added: usize = cuts.iter().map(|cut| cut.replacement.len()).sum();
    let removed: usize = cuts.iter().map(|cut| cut.span.len()).sum();
    length + added - removed
}
