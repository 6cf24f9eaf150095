//! Builds an index in one pass over a text, 64 bytes at a time.
//!
//! Outside of strings only brackets and colons matter, inside only the closing quote.

use memchr::memchr;

use super::{Keys, LONG};
use crate::{
    scan::{MAX_DEPTH, is_escaped, skip_space_back},
    simd::{BLOCK, Block, between, escaped},
};

/// The results so far.
pub(super) struct Indexer<'t> {
    text: &'t [u8],
    /// The starts of long values, ascending.
    pub(super) starts: Vec<u32>,
    /// The end of each; `OPEN` until it is known.
    pub(super) ends: Vec<u32>,
    pub(super) keys: Keys,
    /// How many values there are, without the first of each container.
    pub(super) values: usize,
    /// The open containers, as positions in `starts`.
    open: Vec<usize>,
}

/// The state carried from one block to the next. It is apart from the results so that it stays in
/// registers.
#[derive(Clone, Copy)]
struct BlockState {
    /// Whether the block begins inside of a string.
    in_string: bool,
    /// Whether its first byte is escaped.
    is_escaped: bool,
    /// The start of the most recent string.
    string: usize,
    /// The number of consecutive blocks without a quote.
    quiet_blocks: u32,
}

const OPEN: u32 = 0;

/// After this many blocks of a string without a quote, searching for the next quote is faster.
const QUIET_BLOCKS: u32 = 4;

/// Scans a text. Returns `None` if it is too long, nests too deep, or has a backslash outside of a
/// string, where a walk would read the quotes differently.
pub(super) fn index_text(text: &[u8]) -> Option<Indexer<'_>> {
    u32::try_from(text.len()).ok()?;
    // Conversations have a long value every few hundred bytes.
    let expected = text.len() / 512 + 16;
    let mut indexer = Indexer {
        text,
        starts: Vec::with_capacity(expected),
        ends: Vec::with_capacity(expected),
        keys: Keys::new(),
        values: 0,
        open: Vec::with_capacity(16),
    };
    let mut state = BlockState {
        in_string: false,
        is_escaped: false,
        string: 0,
        quiet_blocks: 0,
    };
    let mut at = 0;
    while let Some(bytes) = text[at..].first_chunk() {
        at = indexer.step(at, Block::new(bytes), &mut state)?;
    }
    indexer.step(at, Block::of(text, at), &mut state)?;
    Some(indexer.closed())
}

impl Indexer<'_> {
    /// Processes one block and returns the start of the next, at most the end of the text.
    #[inline(always)]
    fn step(&mut self, at: usize, block: Block, state: &mut BlockState) -> Option<usize> {
        let next = (at + BLOCK).min(self.text.len());
        // The kinds of bytes vary from block to block in code, and a mispredicted branch costs more
        // than all of this.
        let all_quotes = block.places_of(b'"');
        let slashes = block.places_of(b'\\');
        let quotes = all_quotes & !escaped(slashes, &mut state.is_escaped);
        if quotes != 0 || !state.in_string {
            state.quiet_blocks = 0;
            self.take(at, block, (slashes, quotes), state)?;
            return Some(next);
        }
        state.quiet_blocks = if all_quotes == 0 {
            state.quiet_blocks + 1
        } else {
            0
        };
        if state.quiet_blocks < QUIET_BLOCKS {
            return Some(next);
        }
        state.quiet_blocks = 0;
        let next = next + memchr(b'"', &self.text[next..]).unwrap_or(self.text.len() - next);
        state.is_escaped = is_escaped(self.text, next);
        Some(next)
    }

    /// Processes a block that has a quote or begins outside of a string.
    #[inline(always)]
    fn take(
        &mut self,
        at: usize,
        block: Block,
        (slashes, quotes): (u64, u64),
        state: &mut BlockState,
    ) -> Option<()> {
        let first = if state.in_string { u64::MAX } else { 0 };
        // From each opening quote to the byte before the closing one.
        let strings = between(quotes) ^ first;
        if slashes & !strings != 0 {
            return None;
        }
        if state.in_string && quotes != 0 {
            self.end_string(state.string, at + place(quotes) + 1);
        }
        let opening = quotes & strings;
        let block = block.folded();
        let opens = block.places_of(b'{') & !strings;
        let commas = block.places_of(b',') & !strings;
        self.values += count(opens) + count(commas);
        let mut brackets = opens | block.places_of(b'}') & !strings;
        while brackets != 0 {
            let here = at + place(brackets);
            if opens & brackets & brackets.wrapping_neg() != 0 {
                self.open(here)?;
            } else {
                self.close(here);
            }
            brackets &= brackets - 1;
        }
        // Folding maps to a colon only a colon and a byte that is not text.
        let mut colons = block.places_of(b':') & !strings;
        while colons != 0 {
            let string = opening & (colons ^ (colons - 1));
            let (string, may_have_slash) = if string == 0 {
                (state.string, true)
            } else {
                (at + last(string), slashes != 0)
            };
            self.key(string, at + place(colons), may_have_slash);
            colons &= colons - 1;
        }
        if opening != 0 {
            state.string = at + last(opening);
        }
        state.in_string = strings >> (BLOCK - 1) == 1;
        Some(())
    }

    #[inline(always)]
    fn end_string(&mut self, start: usize, end: usize) {
        if end - start >= LONG {
            self.starts.push(short(start));
            self.ends.push(short(end));
        }
    }

    #[inline]
    fn open(&mut self, at: usize) -> Option<()> {
        if self.open.len() == MAX_DEPTH {
            return None;
        }
        self.open.push(self.starts.len());
        self.starts.push(short(at));
        self.ends.push(OPEN);
        Some(())
    }

    #[inline]
    fn close(&mut self, at: usize) {
        let Some(place) = self.open.pop() else {
            return;
        };
        let end = short(at + 1);
        if end - self.starts[place] < short(LONG) {
            // Everything inside is shorter still, so it is the last.
            self.starts.truncate(place);
            self.ends.truncate(place);
        } else {
            self.ends[place] = end;
        }
    }

    /// Records the string at `string` as a key, if the colon at `colon` follows it.
    #[inline(always)]
    fn key(&mut self, string: usize, colon: usize, may_have_slash: bool) {
        let end = match self.text.get(colon.wrapping_sub(1)) {
            Some(b'"') => colon,
            _ => skip_space_back(self.text, colon),
        };
        // A colon after anything but a string is not JSON and makes no key.
        if end > string + 1 && self.text[end - 1] == b'"' {
            self.keys.add(self.text, string..end, may_have_slash);
        }
    }

    /// Drops the containers that did not end.
    fn closed(mut self) -> Self {
        let mut ended = self.ends.iter();
        self.starts.retain(|_| ended.next() != Some(&OPEN));
        self.ends.retain(|&end| end != OPEN);
        self
    }
}

/// Converts an offset, which fits because the length of the text does.
fn short(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The number of offsets in a set.
fn count(set: u64) -> usize {
    usize::try_from(set.count_ones()).unwrap_or(BLOCK)
}

/// The lowest offset in a set.
fn place(set: u64) -> usize {
    usize::try_from(set.trailing_zeros()).unwrap_or(0)
}

/// The highest offset in a set that is not empty.
fn last(set: u64) -> usize {
    BLOCK - 1 - usize::try_from(set.leading_zeros()).unwrap_or(0)
}
