//! The last elements of an array, found backwards: who asks for the end of a long conversation does not go through all of it.

use std::ops::Range;

use memchr::memrchr;

use super::{Index, LONG};
use crate::scan::{is_escaped, skip_space_back, value_end};

impl Index {
    /// The last elements of the array at `start`, at most so many; `None` where one of them cannot be found or what stands
    /// between them is no comma.
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
                // Brackets are even in between, so it is the array's own.
                b'[' => break,
                _ => return None,
            }
        }
        elements.reverse();
        Some(elements)
    }

    /// Where the long value begins that ends at `end`, in the array at `array`.
    fn start_of(&self, array: usize, end: usize) -> Option<usize> {
        /// One element does not often have as many long values in it; if so, going forward is as quick.
        const INSIDE: usize = 256;

        let short = u32::try_from(end).ok()?;
        let before = self.starts.partition_point(|&start| start < short);
        let last = self.starts[..before].iter().zip(&self.ends[..before]);
        let (&start, _) = last.rev().take(INSIDE).find(|(_, end)| **end == short)?;
        usize::try_from(start).ok().filter(|&start| start > array)
    }
}

/// Where the short value begins that ends at `end`, at `first` or behind it.
fn short_start(text: &[u8], first: usize, end: usize) -> Option<usize> {
    let start = value_start(text, first.max(end.saturating_sub(LONG)), end)?;
    // Backwards, most things look like a value.
    (value_end(text, start, 0) == Ok(end)).then_some(start)
}

/// Where a value that ends at `end` can only begin. A text with an index has no backslash outside of strings, so quotes mean
/// the same in this direction.
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

/// The opening quote of the string whose closing one stands at `close`.
fn string_start(text: &[u8], floor: usize, close: usize) -> Option<usize> {
    let mut to = close;
    loop {
        to = floor + memrchr(b'"', text.get(floor..to)?)?;
        if !is_escaped(text, to) {
            return Some(to);
        }
    }
}

/// Where the number, or `true` and the like, begins that ends at `end`.
fn word_start(text: &[u8], floor: usize, end: usize) -> usize {
    let of_word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    end - text[floor..end].iter().rev().take_while(of_word).count()
}
