//! What one pass over a text tells of it: where its long values end, which keys it may have, what stands at its top.
//!
//! The pass goes from quote to quote without looking at what stands between, so it costs little more than a copy. What
//! it finds spares every query and edit the walk over what they do not ask for. A text of which the pass cannot be sure
//! has no index to speak of; then values are walked over and keys searched for.

mod keys; // which names may be keys
mod indexer; // over the text, block by block
mod offset_shift; // after an edit
mod from_end; // from the end of a list

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

pub(crate) use keys::Keys;

use crate::{
    Error, literal_filter,
    scan::{self, Children},
    search::{self, Occurrences},
    simd::BLOCK,
    string,
};

/// Shorter values are passed over as fast as they are looked up; and a string that lies in one block goes unnoticed.
const LONG: usize = BLOCK + 1;

/// More words than this are asked for by nobody who asks again.
const MAX_CACHED: usize = 64;

/// What a text has besides its bytes. Made once for a text, shared by all who have it.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Where long strings, arrays and objects begin, ascending; and behind which byte each ends.
    starts: Vec<u32>,
    ends: Vec<u32>,
    /// The place among them that was asked for last.
    last_lookup: AtomicUsize,
    /// None where nothing is known of keys.
    keys: Option<Keys>,
    /// Of the object at the top, duplicates included; none where it is no object that can be walked through, or is odd.
    members: Option<Vec<Member>>,
    /// Words that were searched for.
    searched: Mutex<Vec<SearchedWord>>,
    /// Pieces of text that were searched for, the value that starts here, and whether they may be in it.
    literals: Mutex<Vec<(Box<str>, usize, bool)>>,
    /// Paths that were asked for, and whether they select anything.
    matched: Mutex<Vec<(Box<str>, bool)>>,
}

/// A member of the object at the top.
#[derive(Clone, Debug)]
struct Member {
    key: Range<usize>,
    value: Range<usize>,
}

#[derive(Debug)]
struct SearchedWord {
    word: Box<str>,
    key: bool,
    occurrences: Arc<Occurrences>,
}

impl Index {
    pub(crate) fn of(text: &[u8]) -> Self {
        let Some(indexed) = indexer::index_text(text) else {
            return Self::default();
        };
        let mut index = Self {
            starts: indexed.starts,
            ends: indexed.ends,
            keys: Some(indexed.keys),
            ..Self::default()
        };
        index.members = index.read_top(text);
        index
    }

    /// As [`scan::value_end`], without walking where the value is long.
    pub(crate) fn value_end(
        &self,
        text: &[u8],
        start: usize,
        depth: usize,
    ) -> Result<usize, Error> {
        match self.end_of(start) {
            Some(end) => Ok(end),
            None => scan::value_end(text, start, depth),
        }
    }

    /// The span of the top-level value, which must have nothing but whitespace behind it.
    pub(crate) fn root_span(&self, text: &[u8]) -> Result<Range<usize>, Error> {
        let start = scan::root(text);
        scan::require_end(text, start..self.value_end(text, start, 0)?)
    }

    /// Behind which byte the long value at `start` ends.
    pub(crate) fn end_of(&self, start: usize) -> Option<usize> {
        let start = u32::try_from(start).ok()?;
        let place = self.place_of(start)?;
        self.last_lookup.store(place, Relaxed);
        usize::try_from(self.ends[place]).ok()
    }

    /// Where the value at `start` stands among the long ones. What is asked for next is mostly not far behind what was
    /// asked for last.
    fn place_of(&self, start: u32) -> Option<usize> {
        let mut from = self.last_lookup.load(Relaxed);
        let mut to = self.starts.len();
        if self.starts.get(from).is_some_and(|&last| last <= start) {
            let mut reach = 1;
            while let Some(&next) = self.starts.get(from + reach) {
                if next > start {
                    to = from + reach;
                    break;
                }
                from += reach;
                reach *= 2;
            }
        } else {
            to = from.min(to);
            from = 0;
        }
        let found = self.starts[from..to].binary_search(&start);
        found.ok().map(|found| from + found)
    }

    /// The strings, keys included, with more than `longest` bytes between their quotes; `None` where that is not known.
    pub(crate) fn strings_past(&self, text: &[u8], longest: usize) -> Option<Vec<Range<usize>>> {
        self.keys.as_ref()?;
        // Two quotes, and one byte more than `longest`.
        if longest + 3 < LONG {
            return None;
        }
        let mut strings = Vec::new();
        for (&start, &end) in self.starts.iter().zip(&self.ends) {
            let span = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
            if text[span.start] == b'"' && span.len() - 2 > longest {
                strings.push(span);
            }
        }
        Some(strings)
    }

    /// Whether `name` may be a key anywhere in the text; `false` means that it certainly is none.
    pub(crate) fn may_have(&self, text: &[u8], name: &str) -> bool {
        let keys = self.keys.as_ref();
        keys.is_none_or(|keys| keys.may_have(text, name))
    }

    /// The value of the last member of that name of the object at the top; the outer `None` where a walk has to tell.
    pub(crate) fn top(&self, text: &[u8], name: &str) -> Option<Option<Range<usize>>> {
        let members = self.members.as_ref()?;
        let named = |member: &&Member| string::spells(&text[member.key.clone()], name);
        Some(
            members
                .iter()
                .rfind(named)
                .map(|member| member.value.clone()),
        )
    }

    /// The span of the value of the last top-level member of that name, if there is one. Where the
    /// index does not know the members, the key is searched for.
    pub(crate) fn find_top(&self, text: &[u8], name: &str) -> Option<Range<usize>> {
        match self.top(text, name) {
            Some(known) => known,
            None => search::top(text, name),
        }
    }

    /// Where a word stands in the text, as a `key` or as any string. Searched for once.
    pub(crate) fn occurrences(&self, text: &[u8], word: &str, key: bool) -> Arc<Occurrences> {
        let mut searched = self.searched.lock().unwrap_or_else(PoisonError::into_inner);
        let known = searched
            .iter()
            .find(|known| known.key == key && *known.word == *word);
        if let Some(known) = known {
            return Arc::clone(&known.occurrences);
        }
        let occurrences = Arc::new(self.search(text, word, key));
        if searched.len() < MAX_CACHED {
            searched.push(SearchedWord {
                word: word.into(),
                key,
                occurrences: Arc::clone(&occurrences),
            });
        }
        occurrences
    }

    /// Whether a piece of text, in lower case, may be in a string of the value at `span`. Searched for once.
    pub(crate) fn may_hold(&self, text: &[u8], span: &Range<usize>, literal: &str) -> bool {
        let mut literals = self.literals.lock().unwrap_or_else(PoisonError::into_inner);
        let known = literals
            .iter()
            .find(|(known, start, _)| *start == span.start && **known == *literal);
        if let Some((.., holds)) = known {
            return *holds;
        }
        let holds = literal_filter::may_hold(&text[span.clone()], literal);
        if literals.len() < MAX_CACHED {
            literals.push((literal.into(), span.start, holds));
        }
        holds
    }

    /// Whether a path selects anything, which `find` finds out. Asked once.
    pub(crate) fn matches(
        &self,
        path: &str,
        find: impl FnOnce() -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let known = |matched: &Vec<(Box<str>, bool)>| {
            let known = matched.iter().find(|(known, _)| **known == *path);
            known.map(|(_, matches)| *matches)
        };
        let matched = || self.matched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(matches) = known(&matched()) {
            return Ok(matches);
        }
        let matches = find()?;
        let mut matched = matched();
        if matched.len() < MAX_CACHED {
            matched.push((path.into(), matches));
        }
        Ok(matches)
    }

    fn search(&self, text: &[u8], word: &str, key: bool) -> Occurrences {
        match &self.keys {
            Some(keys) if key && !keys.may_have(text, word) => Occurrences::nowhere(text),
            Some(keys) if key => match keys.escaped() {
                Some(escaped) => Occurrences::of_key_among(text, word, escaped),
                None => Occurrences::of(text, 0..text.len(), word),
            },
            _ if key => Occurrences::of(text, 0..text.len(), word),
            _ => Occurrences::of_string(text, word),
        }
    }

    fn read_top(&self, text: &[u8]) -> Option<Vec<Member>> {
        /// Nobody sends more; who does is answered by walking.
        const MOST: usize = 256;

        let open = scan::root(text);
        if text.get(open) != Some(&b'{') {
            return None;
        }
        let mut children = Children::of(text, open).ok()?;
        let mut members = Vec::new();
        while let Some(child) = children.next().ok()? {
            let end = self.value_end(text, child.start, 1).ok()?;
            if members.len() == MOST {
                return None;
            }
            members.push(Member {
                key: child.key?,
                value: child.start..end,
            });
            children.passed(end);
        }
        Some(members)
    }
}

#[cfg(test)]
mod tests;
