//! The index of a text: where its long values end, which keys it may have, and its top-level
//! members.
//!
//! It is built in one pass that goes from quote to quote, so it costs little more than a copy. With
//! it, queries and edits skip the parts they do not ask for. If the pass cannot be certain about a
//! text, the index stays empty. Values are then walked and keys searched for.

mod keys; // the set of names that may be keys
mod indexer; // the pass over a text that builds its index
mod offset_shift; // the index of an edited text
mod from_end; // the last elements of an array

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

/// Shorter values are scanned as fast as they are looked up, and the indexer does not see a string
/// that lies within one block.
const LONG: usize = BLOCK + 1;

/// The maximum number of entries in each cache. More different queries are rarely repeated.
const MAX_CACHED: usize = 64;

/// What is known about a text. Built once per text and shared by its clones.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The start of each long string, array and object, ascending, and the offset after its end.
    starts: Vec<u32>,
    ends: Vec<u32>,
    /// The position in `starts` that was looked up last.
    last_lookup: AtomicUsize,
    /// `None` if the keys are unknown.
    keys: Option<Keys>,
    /// About how many values the text has: all commas and brackets that are not in a string.
    values: usize,
    /// The top-level members, including duplicates. `None` if the text is not an object, cannot be
    /// walked, or is unusual.
    members: Option<Vec<Member>>,
    /// Words that were searched for.
    searched: Mutex<Vec<SearchedWord>>,
    /// Literals that were searched for, the start of the value searched, and whether they may be in
    /// it.
    literals: Mutex<Vec<(Box<str>, usize, bool)>>,
    /// The texts of paths that were matched, and whether they select anything.
    matched: Mutex<Vec<(Box<str>, bool)>>,
}

/// A member of the top-level object.
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
            values: indexed.values,
            ..Self::default()
        };
        index.members = index.read_top(text);
        index
    }

    /// The same as [`scan::value_end`], without walking long values.
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

    /// Returns the span of the top-level value, which only whitespace may follow.
    pub(crate) fn root_span(&self, text: &[u8]) -> Result<Range<usize>, Error> {
        let start = scan::root(text);
        scan::require_end(text, start..self.value_end(text, start, 0)?)
    }

    /// Returns the offset after the long value at `start`.
    pub(crate) fn end_of(&self, start: usize) -> Option<usize> {
        let start = u32::try_from(start).ok()?;
        let place = self.place_of(start)?;
        self.last_lookup.store(place, Relaxed);
        usize::try_from(self.ends[place]).ok()
    }

    /// Returns the position in `starts` of the value at `start`. The search begins at the previous
    /// lookup, since the next value is usually close after it.
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

    /// Returns the strings, including keys, with more than `longest` bytes between their quotes.
    /// `None` if the index does not know.
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

    /// About how many values the text has, and never fewer. `None` if the index does not know.
    pub(crate) fn values(&self) -> Option<usize> {
        self.keys.as_ref().map(|_| self.values + 1)
    }

    /// Whether `name` may be a key anywhere in the text. `false` is certain.
    pub(crate) fn may_have(&self, text: &[u8], name: &str) -> bool {
        let keys = self.keys.as_ref();
        keys.is_none_or(|keys| keys.may_have(text, name))
    }

    /// Returns the value of the last top-level member of that name. The outer `None` means that
    /// only a walk can find it.
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

    /// Returns the value of the last top-level member of that name. If the index does not know the
    /// members, the key is searched for.
    pub(crate) fn find_top(&self, text: &[u8], name: &str) -> Option<Range<usize>> {
        match self.top(text, name) {
            Some(known) => known,
            None => search::top(text, name),
        }
    }

    /// Returns where a word occurs in the text, as a `key` or as any string. The result is cached.
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

    /// Whether a literal, in lower case, may occur in a string of the value at `span`. The result
    /// is cached.
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

    /// Whether a path selects anything, as `find` determines. The result is cached by the path's
    /// text.
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
        /// Clients do not send more. If one does, walking answers it.
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
