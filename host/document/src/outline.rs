//! Replaces long strings of a text by placeholders and restores them. A plugin that rewrites a
//! whole document leaves long texts in the host.

use std::{fmt::Write as _, ops::Range};

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use crate::{Error, check, index::Index, scan};

/// A limit above the length of any body. A placeholder may be used many times, and texts would
/// multiply.
const LARGEST: usize = 256 << 20;

/// A JSON text with a placeholder for each of its long strings.
///
/// A placeholder is a run of letters, digits, `~` and `:` that does not occur in the source, such
/// as `~8f3a9c0d12e45b67:17~`. It may appear anywhere in a string of the new text, alone or among
/// other characters, many times or not at all. [`fill`](Self::fill) replaces it with the characters
/// of the original string, as they are spelt in the source. Inside a string that is itself a JSON
/// text, the placeholder says how many more times to escape it: `~8f3a9c0d12e45b67:17:1~`.
#[derive(Clone, Debug)]
pub struct Outline {
    source: Bytes,
    /// The prefix of every placeholder: `~8f3a9c0d12e45b67:`.
    prefix: String,
    /// The contents of the omitted strings.
    texts: Vec<Range<usize>>,
    text: String,
}

impl Outline {
    /// Replaces every string that is not a key and is spelt with more than `longest` bytes. `seed`
    /// makes the placeholders unpredictable, so it should be random.
    ///
    /// # Errors
    ///
    /// `BadDocument` if the rest of the text is not JSON.
    pub(crate) fn of(
        source: Bytes,
        index: &Index,
        longest: usize,
        seed: u64,
    ) -> Result<Self, Error> {
        let prefix = prefix(&source, seed);
        let mut text = BytesMut::new();
        let mut texts = Vec::new();
        // The offset up to which the source was copied.
        let mut copied_to = 0;
        let strings = match index.strings_past(&source, longest) {
            Some(strings) => strings,
            None => strings_past(&source, longest)?,
        };
        for string in strings {
            let inside = string.start + 1..string.end - 1;
            if source.get(scan::skip_space(&source, string.end)) == Some(&b':') {
                continue;
            }
            text.extend_from_slice(&source[copied_to..inside.start]);
            copied_to = inside.end;
            text.extend_from_slice(format!("{prefix}{}~", texts.len()).as_bytes());
            texts.push(inside);
        }
        text.extend_from_slice(&source[copied_to..]);
        check::one_value(&text, 0)?;
        let text = String::from_utf8(text.into())
            .map_err(|bad| Error::document(bad.utf8_error().valid_up_to(), "not UTF-8"))?;
        Ok(Self {
            source,
            prefix,
            texts,
            text,
        })
    }

    /// Returns an empty outline without placeholders.
    #[must_use]
    pub fn none() -> Self {
        Self {
            source: Bytes::new(),
            prefix: String::new(),
            texts: Vec::new(),
            text: String::new(),
        }
    }

    /// The text with placeholders.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The prefix of every placeholder. It does not occur in the source.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the new text with its placeholders replaced by the original strings.
    ///
    /// # Errors
    ///
    /// `BadValue` if the new text is not JSON or has an unknown placeholder, `TooMuch` if it would
    /// grow past 256 MiB.
    pub fn fill(&self, new: &str) -> Result<Bytes, Error> {
        check::one_value(new.as_bytes(), 0).map_err(|error| match error {
            Error::BadDocument { at, what } => Error::BadValue(format!(
                "the new body is not valid JSON at byte {at}: {what}"
            )),
            other => other,
        })?;
        if self.texts.is_empty() {
            return Ok(Bytes::copy_from_slice(new.as_bytes()));
        }
        let mut places = Vec::new();
        let mut length = new.len();
        for at in memmem::find_iter(new.as_bytes(), &self.prefix) {
            let start = at + self.prefix.len();
            let (place, end) = self.place(&new[start..])?;
            // Known before anything is written: each escape doubles what it escapes.
            length = length.saturating_add(self.length(place));
            if length > LARGEST {
                return Err(Error::TooMuch(format!(
                    "the new body is longer than {} MiB",
                    LARGEST >> 20
                )));
            }
            places.push((at, place, start + end));
        }
        let mut filled = BytesMut::with_capacity(length);
        let mut copied_to = 0;
        for (at, place, end) in places {
            filled.extend_from_slice(&new.as_bytes()[copied_to..at]);
            self.put(place, &mut filled);
            copied_to = end;
        }
        filled.extend_from_slice(&new.as_bytes()[copied_to..]);
        Ok(filled.freeze())
    }

    /// Parses a placeholder after its prefix, `17~` or `17:1~`, and returns its length.
    fn place(&self, rest: &str) -> Result<(Place, usize), Error> {
        let read = || {
            let (body, _) = rest.split_once('~')?;
            let (text, escapes) = body.split_once(':').unwrap_or((body, "0"));
            let place = Place {
                text: text.parse().ok().filter(|&text| text < self.texts.len())?,
                escapes: escapes.parse().ok().filter(|escapes| *escapes <= DEEPEST)?,
            };
            Some((place, body.len() + 1))
        };
        read().ok_or_else(|| {
            let end = rest.char_indices().nth(20).map_or(rest.len(), |(at, _)| at);
            Error::BadValue(format!(
                "the new body has an unknown placeholder: `{}{}`",
                self.prefix,
                &rest[..end]
            ))
        })
    }

    /// The length of what `put` writes.
    fn length(&self, place: Place) -> usize {
        let text = &self.source[self.texts[place.text].clone()];
        if place.escapes == 0 {
            return text.len();
        }
        let escaped = memchr::memchr2_iter(b'"', b'\\', text).count();
        text.len() + escaped * place.slashes()
    }

    fn put(&self, place: Place, filled: &mut BytesMut) {
        let text = &self.source[self.texts[place.text].clone()];
        if place.escapes == 0 {
            filled.extend_from_slice(text);
            return;
        }
        let slashes = vec![b'\\'; place.slashes()];
        let mut rest = text;
        while let Some(stop) = memchr::memchr2(b'"', b'\\', rest) {
            filled.extend_from_slice(&rest[..stop]);
            filled.extend_from_slice(&slashes);
            filled.extend_from_slice(&rest[stop..=stop]);
            rest = &rest[stop + 1..];
        }
        filled.extend_from_slice(rest);
    }
}

/// Returns the strings, including keys, that are spelt with more than `longest` bytes between their
/// quotes.
fn strings_past(source: &[u8], longest: usize) -> Result<Vec<Range<usize>>, Error> {
    let mut strings = Vec::new();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'"', &source[at..]) {
        let open = at + found;
        at = scan::string_end(source, open)?;
        if at - open - 2 > longest {
            strings.push(open..at);
        }
    }
    Ok(strings)
}

/// The maximum number of additional escapes. Real bodies nest JSON in strings less deeply.
const DEEPEST: u32 = 8;

#[derive(Clone, Copy)]
struct Place {
    /// The index of the text.
    text: usize,
    /// The number of additional escapes.
    escapes: u32,
}

impl Place {
    /// How many backslashes are added before each `"` and `\`. Escaped once, `"` takes one and `\`
    /// two. Escaped n times, they take 2^n - 1 and 2^n.
    fn slashes(self) -> usize {
        (1 << self.escapes) - 1
    }
}

/// Returns a prefix that does not occur in the source.
fn prefix(source: &[u8], seed: u64) -> String {
    let mut seed = seed;
    loop {
        let mut prefix = String::with_capacity(18);
        // Writing to a string cannot fail.
        let _ = write!(prefix, "~{seed:016x}:");
        if memmem::find(source, prefix.as_bytes()).is_none() {
            return prefix;
        }
        seed = seed.wrapping_add(1);
    }
}
