//! How a string token spells its characters, and the replacement of a part of it.
//!
//! Every character is spelt by bytes of its own, so a part can be replaced without touching the
//! spelling of the rest.

use std::ops::Range;

use bytes::Bytes;
use memchr::memchr;

use crate::{
    Error,
    splice::{self, Cut},
    string,
};

/// Returns a string token with one part of it replaced.
pub(crate) fn with_part(token: &[u8], part: Range<usize>, new: &str) -> Result<Bytes, Error> {
    if token.first() != Some(&b'"') {
        return Err(no_string());
    }
    check_utf8(token, 0)?;
    let cut = Spelling::of(token, 0).cut(part, new)?;
    Ok(splice::splice(token, &[cut]))
}

pub(crate) fn no_string() -> Error {
    Error::NotApplicable("it is not a string".to_owned())
}

/// Checks that a token, which begins at this offset, is UTF-8.
pub(crate) fn check_utf8(token: &[u8], offset: usize) -> Result<(), Error> {
    match str::from_utf8(token) {
        Ok(_) => Ok(()),
        Err(error) => {
            let at = offset + error.valid_up_to();
            Err(Error::document(at, "a string that is not UTF-8"))
        }
    }
}

/// Maps offsets in what a string token spells to offsets in the text, in ascending order.
pub(crate) struct Spelling<'t> {
    /// What is between the quotes.
    inside: &'t [u8],
    /// Where that is in the text.
    offset: usize,
    spelt: usize,
    decoded: usize,
    /// Where the next escape is, at `spelt` or later.
    escape: usize,
}

impl<'t> Spelling<'t> {
    pub(crate) fn of(token: &'t [u8], start: usize) -> Self {
        let inside = &token[1..token.len() - 1];
        Self {
            inside,
            offset: start + 1,
            spelt: 0,
            decoded: 0,
            escape: next_escape(inside, 0),
        }
    }

    /// Returns the cut that replaces a part, which must not begin before the end of the last one.
    pub(crate) fn cut(&mut self, part: Range<usize>, new: &str) -> Result<Cut, Error> {
        if part.start > part.end || part.start < self.decoded {
            return Err(Error::NotApplicable(format!(
                "bytes {} to {} are no part of it, or overlap the part before",
                part.start, part.end
            )));
        }
        let span = self.at(part.start)?..self.at(part.end)?;
        let mut replacement = String::with_capacity(new.len());
        string::escape(new, &mut replacement);
        Ok(Cut {
            span,
            replacement: replacement.into(),
        })
    }

    /// Returns the offset in the text of a character that begins at `wanted`, or of the end.
    fn at(&mut self, wanted: usize) -> Result<usize, Error> {
        while self.decoded < wanted {
            let plain = (self.escape - self.spelt).min(wanted - self.decoded);
            if plain > 0 {
                self.spelt += plain;
                self.decoded += plain;
                continue;
            }
            if self.spelt == self.inside.len() {
                return Err(Error::NotApplicable(format!(
                    "it has {} bytes, got the offset {wanted}",
                    self.decoded
                )));
            }
            let lengths = string::escape_lengths(&self.inside[self.spelt..]);
            let (spelt, decoded) = lengths.ok_or_else(|| {
                Error::document(self.offset + self.spelt, "a string that cannot be decoded")
            })?;
            self.spelt += spelt;
            self.decoded += decoded;
            self.escape = next_escape(self.inside, self.spelt);
        }
        let continues = |byte: &u8| (0x80..0xc0).contains(byte);
        if self.decoded > wanted || self.inside.get(self.spelt).is_some_and(continues) {
            return Err(Error::NotApplicable(format!(
                "the offset {wanted} is inside of a character"
            )));
        }
        Ok(self.offset + self.spelt)
    }
}

fn next_escape(inside: &[u8], from: usize) -> usize {
    memchr(b'\\', &inside[from..]).map_or(inside.len(), |at| from + at)
}
