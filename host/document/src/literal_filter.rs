//! Checks whether a literal occurs in a text in any letter case. It rules out texts that a pattern
//! cannot match.

use memchr::memmem;

use crate::{
    search::escape_of,
    simd::{BLOCK, Block},
    string,
};

/// Whether `literal`, which is in lower case, may occur in a string of the text. `false` is
/// certain.
pub(crate) fn may_hold(text: &[u8], literal: &str) -> bool {
    occurs_in_any_case(text, literal.as_bytes()) || is_escaped_in(text, literal)
}

/// Whether a part of `literal` may be spelt with an escape.
fn is_escaped_in(text: &[u8], literal: &str) -> bool {
    let mut escapes = memmem::find_iter(text, escape_of(literal));
    escapes.any(|at| {
        let unit = text.get(at + 2..).and_then(string::unit);
        let letter = unit.and_then(|unit| char::from_u32(u32::from(unit)));
        letter.is_some_and(|letter| literal.contains(letter.to_ascii_lowercase()))
    })
}

/// Compares three bytes of the literal with a block of places at once.
fn occurs_in_any_case(text: &[u8], literal: &[u8]) -> bool {
    /// Maps upper case, and some other bytes, to lower case. Equal folded bytes are candidates.
    const FOLD: u8 = 0x20;

    let last = literal.len() - 1;
    let offsets = [0, last / 2 + 1, last].map(|offset| offset.min(last));
    let bytes = offsets.map(|offset| literal[offset] | FOLD);
    let is_at = |at: usize| {
        let found = text.get(at..at + literal.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(literal))
    };
    // The exclusive end of the offsets where it could begin.
    let end = text.len().saturating_sub(last);
    let mut at = 0;
    while at < end {
        let near = |which: usize| {
            let block = Block::of(text, (at + offsets[which]).min(text.len()));
            block.folded().equal(bytes[which])
        };
        if near(0).and(near(1)).and(near(2)).any() && (at..at + BLOCK).any(is_at) {
            return true;
        }
        at += BLOCK;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_found_at_any_place_and_in_any_spelling() {
        let holds = |text: &str| may_hold(text.as_bytes(), "warmup");
        for shift in 0..200 {
            let before = "w".repeat(shift);
            assert!(holds(&format!("{before}WARMup")), "{shift}");
            assert!(holds(&format!("{before}warmUp{before}")), "{shift}");
            assert!(holds(&format!("{before}\\u0057armup")), "{shift}");
            assert!(!holds(&format!("{before}warmu")), "{shift}");
            assert!(!holds(&format!("{before}warm up{before}")), "{shift}");
            assert!(!holds(&"warmu".repeat(shift)), "{shift}");
        }
        assert!(holds("war\\u006dUP"));
        assert!(!holds("x\\u00e9 warm"));
        assert!(!holds(""));
    }
}
