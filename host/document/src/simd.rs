//! Processes 64 bytes of text at a time, as bit sets of offsets.

use wide::u8x16;

/// The number of bytes in a block: one per bit of a set.
pub(crate) const BLOCK: usize = 64;

/// A block of text in four vectors.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    a: u8x16,
    b: u8x16,
    c: u8x16,
    d: u8x16,
}

// Each of these is a few instructions in the loops over whole texts, hence the inlining.
impl Block {
    /// Returns the block that begins at `from`, padded with spaces after the end of the text.
    #[inline(always)]
    pub(crate) fn of(text: &[u8], from: usize) -> Self {
        let rest = &text[from..];
        match rest.first_chunk() {
            Some(bytes) => Self::new(bytes),
            None => Self::short(rest),
        }
    }

    #[cold]
    fn short(rest: &[u8]) -> Self {
        let mut bytes = [b' '; BLOCK];
        bytes[..rest.len()].copy_from_slice(rest);
        Self::new(&bytes)
    }

    #[inline(always)]
    pub(crate) fn new(bytes: &[u8; BLOCK]) -> Self {
        let (quarters, _) = bytes.as_chunks();
        Self {
            a: u8x16::new(quarters[0]),
            b: u8x16::new(quarters[1]),
            c: u8x16::new(quarters[2]),
            d: u8x16::new(quarters[3]),
        }
    }

    /// Returns the offsets of `byte`.
    #[inline(always)]
    pub(crate) fn places_of(self, byte: u8) -> u64 {
        let wanted = u8x16::splat(byte);
        let places = |quarter: u8x16| u64::from(quarter.simd_eq(wanted).to_bitmask());
        places(self.a) | places(self.b) << 16 | places(self.c) << 32 | places(self.d) << 48
    }

    /// Sets bit 0x20 in every byte, which maps `[` to `{`, `]` to `}`, and upper case letters to
    /// lower case.
    #[inline(always)]
    pub(crate) fn folded(self) -> Self {
        let bit = u8x16::splat(0x20);
        Self {
            a: self.a | bit,
            b: self.b | bit,
            c: self.c | bit,
            d: self.d | bit,
        }
    }

    /// Returns all ones for every byte that equals `byte`, zeros for the others.
    #[inline(always)]
    pub(crate) fn equal(self, byte: u8) -> Self {
        let wanted = u8x16::splat(byte);
        Self {
            a: self.a.simd_eq(wanted),
            b: self.b.simd_eq(wanted),
            c: self.c.simd_eq(wanted),
            d: self.d.simd_eq(wanted),
        }
    }

    #[inline(always)]
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            a: self.a & other.a,
            b: self.b & other.b,
            c: self.c & other.c,
            d: self.d & other.d,
        }
    }

    /// Whether the high bit of any byte is set.
    #[inline(always)]
    pub(crate) fn any(self) -> bool {
        (self.a | self.b | self.c | self.d).to_bitmask() != 0
    }
}

/// Returns the bytes of a block that follow an odd number of backslashes. `first` says whether the
/// previous block escapes the first byte, and is set to the same for the next block.
#[inline(always)]
pub(crate) fn escaped(slashes: u64, first: &mut bool) -> u64 {
    const EVEN: u64 = 0x5555_5555_5555_5555;

    let carried = u64::from(*first);
    let slashes = slashes & !carried;
    let after = slashes << 1 | carried;
    // Adding a run to its first bit carries to the bit after the run. That bit has the other parity
    // if the run is odd.
    let odd_starts = slashes & !EVEN & !after;
    let (ends_of_odd, over) = odd_starts.overflowing_add(slashes);
    *first = over;
    (EVEN ^ ends_of_odd << 1) & after
}

/// Returns every offset with an odd number of `marks` at or before it.
#[inline(always)]
pub(crate) fn between(marks: u64) -> u64 {
    let mut set = marks;
    for shift in [1, 2, 4, 8, 16, 32] {
        set ^= set << shift;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_byte() {
        let text: Vec<u8> = (0..=255).collect();
        for byte in 0..=255_u8 {
            for from in [0, 1, 64, 191, 192, 250] {
                let wanted = (0..BLOCK)
                    .filter(|at| text.get(from + at).copied().unwrap_or(b' ') == byte)
                    .fold(0, |set, at| set | 1 << at);
                assert_eq!(
                    Block::of(&text, from).places_of(byte),
                    wanted,
                    "{byte} from {from}"
                );
            }
        }
        assert_eq!(Block::of(b"[{]}", 0).folded().places_of(b'{'), 0b0011);
        assert_eq!(Block::of(b"[{]}", 0).folded().places_of(b'}'), 0b1100);
    }

    #[test]
    fn a_byte_is_escaped_after_an_odd_number_of_backslashes() {
        // Runs of every length at every offset, across the border of two blocks.
        for start in 0..70 {
            for length in 0..70_usize {
                let mut text = vec![b'x'; 2 * BLOCK];
                let end = (start + length).min(text.len());
                text[start..end].fill(b'\\');
                let mut first = false;
                for block in [0, BLOCK] {
                    let set = escaped(Block::of(&text, block).places_of(b'\\'), &mut first);
                    for at in (block..block + BLOCK).filter(|&at| text[at] != b'\\') {
                        let wanted = at == end && length % 2 == 1;
                        assert_eq!(
                            set >> (at - block) & 1 == 1,
                            wanted,
                            "{start} {length} {at}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_string_reaches_from_its_first_quote_to_before_its_last() {
        assert_eq!(between(0b1000_0100), 0b0111_1100);
        assert_eq!(between(1), u64::MAX);
    }
}
