//! Edits as spans of a text with something else in their place, done in one copy.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// A part of a text that goes, and what comes instead.
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

/// The text with all of these done, which are ascending and apart.
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

/// How long a text of `length` bytes becomes.
pub(crate) fn length(length: usize, cuts: &[Cut]) -> usize {
    let added: usize = cuts.iter().map(|cut| cut.replacement.len()).sum();
    let removed: usize = cuts.iter().map(|cut| cut.span.len()).sum();
    length + added - removed
}
