//! The set of names that may be keys of a text. It can report false positives but no false
//! negatives.

use std::ops::Range;

use crate::{search::is_searchable, string};

/// The keys of a text, as a Bloom filter. In a typical text it reports about one name in several
/// hundred by mistake.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    set: Box<[u64; WORDS]>,
    /// The tokens of keys with a backslash, which may spell any name. `None` if there are too many
    /// to compare.
    escaped: Option<Vec<Range<usize>>>,
}

/// 4,096 bits. The hundred different keys of a typical request leave most of them unset.
const WORDS: usize = 64;

/// A text with more of them is treated as if it may have any key.
const MAX_ESCAPED: usize = 256;

impl Keys {
    pub(super) fn new() -> Self {
        Self {
            set: Box::new([0; WORDS]),
            escaped: Some(Vec::new()),
        }
    }

    /// Adds the key whose token, quotes included, is `token`.
    #[inline(always)]
    pub(super) fn add(&mut self, text: &[u8], token: Range<usize>, may_have_slash: bool) {
        let inside = token.start + 1..token.end - 1;
        let (word, bits) = place(fingerprint(text, inside.clone()));
        self.set[word] |= bits;
        if may_have_slash && text[inside].contains(&b'\\') {
            self.add_escaped(token);
        }
    }

    #[cold]
    fn add_escaped(&mut self, token: Range<usize>) {
        match &mut self.escaped {
            Some(escaped) if escaped.len() < MAX_ESCAPED => escaped.push(token),
            escaped => *escaped = None,
        }
    }

    /// Adds all keys of another text, which begins at `at` in this one.
    pub(super) fn add_all(&mut self, other: &Self, at: usize) {
        for (mine, theirs) in self.set.iter_mut().zip(other.set.iter()) {
            *mine |= theirs;
        }
        match &other.escaped {
            Some(escaped) => escaped
                .iter()
                .for_each(|token| self.add_escaped(token.start + at..token.end + at)),
            None => self.escaped = None,
        }
    }

    /// Moves the keys with backslashes. Those for which `to` returns `None` are gone.
    pub(super) fn moved(&self, to: impl Fn(&Range<usize>) -> Option<Range<usize>>) -> Self {
        let escaped = self.escaped.as_ref();
        Self {
            set: self.set.clone(),
            escaped: escaped.map(|escaped| escaped.iter().filter_map(to).collect()),
        }
    }

    pub(super) fn may_have(&self, text: &[u8], name: &str) -> bool {
        let (word, bits) = place(fingerprint(name.as_bytes(), 0..name.len()));
        let spelt = |token: &Range<usize>| string::spells(&text[token.clone()], name);
        self.set[word] & bits == bits
            || !is_searchable(name)
            || self
                .escaped
                .as_ref()
                .is_none_or(|escaped| escaped.iter().any(spelt))
    }

    /// The tokens of keys with a backslash, in the order of the text.
    pub(super) fn escaped(&self) -> Option<&[Range<usize>]> {
        self.escaped.as_deref()
    }
}

/// A hash of the length, the first and the last eight bytes of a name. It differs for most
/// different names.
#[inline]
fn fingerprint(text: &[u8], name: Range<usize>) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

    let length = name.len();
    let eight = |from: usize| match text[from..].first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => short(&text[from..]),
    };
    let ends = if length < 8 {
        // Cuts off what follows the name. An empty name leaves no bytes.
        eight(name.start).unbounded_shl(64 - 8 * u32::try_from(length).unwrap_or(0))
    } else {
        eight(name.start) ^ eight(name.end - 8).rotate_left(23)
    };
    (ends ^ (length as u64)).wrapping_mul(ODD)
}

/// The last bytes of a text, as many as there are.
fn short(rest: &[u8]) -> u64 {
    rest.iter()
        .rev()
        .fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The word of the set and two bits in it.
#[inline]
fn place(fingerprint: u64) -> (usize, u64) {
    // The upper bits of a product depend on all bits of its factors.
    let word = usize::try_from(fingerprint >> 58).unwrap_or(0);
    (
        word,
        1 << (fingerprint >> 52 & 63) | 1 << (fingerprint >> 46 & 63),
    )
}
