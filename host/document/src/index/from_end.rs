//! Finds the last elements of an array backwards, so that a query for the end of a long
//! conversation does not scan all of it.

use std::ops::Range;

use memchr::memrchr;

use super::{Index, LONG};
use crate::scan::{is_escaped, skip_space_back, value_end};

impl Index {
    /// Returns at most `most` of the last elements of the array at `start`. `None` if one of them
    /// cannot be found or a separator is not a comma.
    pub(crate) fn last_elements(
        &self,
        text: &[u8],
        start: usize,
        most: usize,
    ) -> Option<Vec<Range<usize>>> {
        let end = self.end_of(start)?;
        if text[start] != b'[' || text[end - 1] != b']' {
            return None;
        }
        let mut elements = Vec::with_capacity(most);
        let mut at = skip_space_back(text, end - 1);
        while elements.len() < most {
            let first = short_start(text, start + 1, at).or_else(|| self.start_of(start, at))?;
            elements.push(first..at);
            let before = skip_space_back(text, first);
            match text[before - 1] {
                b',' => at = skip_space_back(text, before - 1),
                // Brackets in between are balanced, so this one is the array's own.
                b'[' => break,
                _ => return None,
            }
        }
        elements.reverse();
        Some(elements)
    }

    /// Returns the start of the long value that ends at `end` in the array at `array`.
    fn start_of(&self, array: usize, end: usize) -> Option<usize> {
        /// An element rarely contains more long values. If it does, walking forward is as fast.
        const INSIDE: usize = 256;

        let short = u32::try_from(end).ok()?;
        let before = self.starts.partition_point(|&start| start < short);
        let last = self.starts[..before].iter().zip(&self.ends[..before]);
        let (&start, _) = last.rev().take(INSIDE).find(|(_, end)| **end == short)?;
        usize::try_from(start).ok().filter(|&start| start > array)
    }
}

/// Returns the start of the short value that ends at `end`, if it is at or after `first`.
fn short_start(text: &[u8], first: usize, end: usize) -> Option<usize> {
    let start = value_start(text, first.max(end.saturating_sub(LONG)), end)?;
    // Read backwards, almost anything looks like a value.
    (value_end(text, start, 0) == Ok(end)).then_some(start)
}

/// Returns the only possible start of a value that ends at `end`. An indexed text has no backslash
/// outside of strings, so quotes mean the same in this direction.
fn value_start(text: &[u8], floor: usize, end: usize) -> Option<usize> {
    let mut open = 0_usize;
    let mut at = end;
    while at > floor {
        match text[at - 1] {
            b'"' => at = string_start(text, floor, at - 1)?,
            b'}' | b']' => {
                open += 1;
                at -= 1;
                continue;
            }
            b'{' | b'[' if open > 0 => {
                open -= 1;
                at -= 1;
            }
            _ if open > 0 => {
                at -= 1;
                continue;
            }
            _ => return Some(word_start(text, floor, at)),
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

/// Returns the opening quote of the string whose closing quote is at `close`.
fn string_start(text: &[u8], floor: usize, close: usize) -> Option<usize> {
    let mut to = close;
    loop {
        to = floor + memrchr(b'"', text.get(floor..to)?)?;
        if !is_escaped(text, to) {
            return Some(to);
        }
    }
}

/// Returns the start of the number or keyword that ends at `end`.
fn word_start(text: &[u8], floor: usize, end: usize) -> usize {
    let of_word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    end - text[floor..end].iter().rev().take_while(of_word).count()
}
