//! Queries a JSON text by JSONPath (RFC 9535) and edits it by JSON Patch (RFC 6902) without parsing
//! it into a tree.
//!
//! A [`Document`] is made from bytes without reading them. A query reads only where it leads. What
//! it passes over is checked only as far as needed to find its end. An edit changes the bytes of
//! the places it names and no others: member order, whitespace, and the spelling of numbers and
//! strings stay as they were received. A text that is invalid JSON where no query reaches can
//! therefore be edited elsewhere and returned.
//!
//! A removed member or element takes with it the whitespace and key before it and the comma after
//! it, including the whitespace up to that comma. The last of several takes the comma before it
//! instead, and everything from the end of the preceding value. The whitespace before a closing
//! bracket always stays. An added value brings no whitespace. Adding a member and removing it again
//! therefore restores the original text, byte for byte.
//!
//! If members have the same name, reads and replacements apply to the last, removals to all.
//!
//! ```
//! use witgate_document::{Document, Operation, Path};
//!
//! let mut body = Document::new(
//!     r#"{"model": "a", "messages": [{"cache_control": {}, "role": "user"}]}"#,
//! );
//! assert_eq!(body.top_str("model").as_deref(), Some("a"));
//!
//! let marks = Path::parse("$..cache_control")?;
//! assert_eq!(body.select(&marks)?, ["/messages/0/cache_control"]);
//! assert_eq!(body.remove_all(&marks)?, 1);
//!
//! body.patch(&[Operation::Replace { at: "/model".into(), value: r#""b""#.into() }])?;
//! assert_eq!(body.bytes(), r#"{"model": "b", "messages": [{ "role": "user"}]}"#);
//! # Ok::<(), witgate_document::Error>(())
//! ```
//!
//! Nothing here does I/O, recurses over a text, or panics. Every query and patch has a budget.

#![deny(missing_docs)]

mod error; // the errors, by who must act
mod budget; // limits on the cost of a query or patch
pub mod string; // JSON string tokens
mod number; // numbers by value
mod scan; // where values end
mod simd; // 64 bytes at a time
mod index; // long values, keys and top-level members
mod check; // strict validation of values
mod search; // finds keys without walking
mod literal_filter; // literals that a pattern requires
mod pointer; // RFC 6901
mod path; // RFC 9535
mod splice; // edits as replaced spans
mod spelling; // parts of string tokens
mod patch; // RFC 6902
mod remove; // removes everything a query selects
mod parts; // parts of strings, by pattern or by place
mod outline; // a text with placeholders for long strings

use std::{
    ops::{ControlFlow, Range},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::{
    budget::Budget,
    index::Index,
    parts::LastFinder,
    patch::Tree,
    path::{Duplicates, Place, Walk},
    remove::Pointers,
    splice::Cut,
};
pub use crate::{
    error::Error,
    outline::Outline,
    parts::{Match, Part},
    patch::Operation,
    path::Path,
};

/// The maximum number of nodes that one query may select. More is [`Error::TooMuch`].
pub const MAX_SELECTED: usize = 100_000;

/// A JSON text that keeps its bytes until it is edited.
///
/// Cloning is cheap: clones share all text, and editing one does not affect the others.
#[derive(Clone, Debug)]
pub struct Document {
    state: State,
    /// The index of the text, built by the first query.
    index: Arc<OnceLock<Index>>,
    edited: bool,
    last_finder: LastFinder,
}

#[derive(Clone, Debug)]
enum State {
    Text(Bytes),
    /// An edited text as pieces, and the joined text once it was requested.
    Pieces(Tree, Arc<OnceLock<Bytes>>),
}

/// A value that a query selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The JSON Pointer (RFC 6901) of the value.
    pub at: String,
    /// The exact text of the value, without surrounding whitespace.
    pub value: Bytes,
}

impl Document {
    /// Holds a text. Never fails, since it reads nothing.
    pub fn new(text: impl Into<Bytes>) -> Self {
        Self {
            state: State::Text(text.into()),
            index: Arc::default(),
            edited: false,
            last_finder: LastFinder::default(),
        }
    }

    /// The text. Without edits these are the bytes the document was made from. After edits the
    /// pieces are joined once, and later calls cost nothing.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        match &self.state {
            State::Text(text) => text.clone(),
            State::Pieces(tree, text) => text.get_or_init(|| tree.bytes()).clone(),
        }
    }

    /// The length of the text in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether the text is empty. An empty text is not valid JSON.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an edit was applied, even one that left the same bytes. Neither a `test` nor a
    /// removal that selects nothing is an edit.
    #[must_use]
    pub fn is_edited(&self) -> bool {
        self.edited
    }

    /// The document with placeholders for its long strings, to be rewritten as a whole; see
    /// [`Outline`]. `seed` should be random.
    ///
    /// # Errors
    ///
    /// `BadDocument` if the rest of the text is not JSON.
    pub fn outline(&self, longest: usize, seed: u64) -> Result<Outline, Error> {
        let text = self.bytes();
        let index = self.index(&text);
        Outline::of(text.clone(), index, longest, seed)
    }

    /// Replaces the whole text. Reads nothing of the new text and counts as an edit.
    pub fn rewrite(&mut self, text: Bytes) {
        self.state = State::Text(text);
        self.index = Arc::default();
        self.edited = true;
    }

    /// Returns pointers (RFC 6901) to the nodes that a path selects, in the order of RFC 9535. A
    /// node that the path selects twice is listed twice.
    ///
    /// # Errors
    ///
    /// `BadDocument` if the path leads to something that is not JSON, `TooMuch` past the limits.
    pub fn select(&self, path: &Path) -> Result<Vec<String>, Error> {
        self.each(path, |_, _| Ok(()))
    }

    /// Returns the nodes that a path selects with their text, in the order of RFC 9535.
    ///
    /// # Errors
    ///
    /// The same as for [`select`](Self::select).
    pub fn read(&self, path: &Path) -> Result<Vec<Node>, Error> {
        let text = self.bytes();
        let mut values = Vec::new();
        let pointers = self.each(path, |walk, place| {
            values.push(text.slice(walk.span(place)?));
            Ok(())
        })?;
        let nodes = pointers.into_iter().zip(values);
        Ok(nodes.map(|(at, value)| Node { at, value }).collect())
    }

    /// Passes the text of each node that a path selects to `take`, in the order of RFC 9535. It
    /// makes no pointers, which would cost more than finding the nodes.
    ///
    /// # Errors
    ///
    /// The same as for [`select`](Self::select). Nodes before the error have been passed.
    pub fn visit(&self, path: &Path, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
        let text = self.bytes();
        Walk::new(&text, self.index(&text), path, Duplicates::Last).run(&mut |walk, place| {
            take(&text[walk.span(place)?]);
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Whether `name` may be a key anywhere in the text. `false` is certain, `true` is not. It does
    /// not walk the text, so it cannot fail.
    #[must_use]
    pub fn may_have(&self, name: &str) -> bool {
        let text = self.bytes();
        self.index(&text).may_have(&text, name)
    }

    /// About how many values the text has, and never fewer: what a query may have to visit. It does
    /// not walk the text, so it cannot fail. `None` if the text is too unusual to tell.
    #[must_use]
    pub fn values(&self) -> Option<usize> {
        let text = self.bytes();
        self.index(&text).values()
    }

    /// Whether a path may select anything, judged by the names and literals it requires. `false` is
    /// certain, `true` is not. It does not walk the text, so it cannot fail.
    #[must_use]
    pub fn may_select(&self, path: &Path) -> bool {
        let text = self.bytes();
        let index = self.index(&text);
        if !path.literals().all(|name| index.may_have(&text, name)) {
            return false;
        }
        // A path that begins at a top-level member needs a search of that member only.
        let below = path.first_name().and_then(|name| index.top(&text, name));
        let Some(below) = below.unwrap_or(Some(0..text.len())) else {
            return false;
        };
        let holds = |literal: &String| index.may_hold(&text, &below, literal);
        path.pattern_literals().iter().all(holds)
    }

    /// Whether a path selects anything. It stops at the first node. The result is cached for this
    /// document and its clones.
    ///
    /// # Errors
    ///
    /// The same as for [`select`](Self::select), if they occur before the first node is found.
    pub fn matches(&self, path: &Path) -> Result<bool, Error> {
        let text = self.bytes();
        let index = self.index(&text);
        index.matches(path.text(), || {
            let mut any = false;
            let walk = Walk::new(&text, index, path, Duplicates::Last);
            walk.unnumbered().run(&mut |_, _| {
                any = true;
                Ok(ControlFlow::Break(()))
            })?;
            Ok(any)
        })
    }

    /// Applies a JSON Patch (RFC 6902) as a whole. On an error nothing changes, and the error names
    /// the operation, counted from 0.
    ///
    /// The text is copied once for any number of operations. If all of them remove or replace
    /// separate places, the copy is made at once, otherwise when the text is next needed. A patch
    /// of a single replace reads only the way to its place. Every other patch reads all children of
    /// the containers on the way.
    ///
    /// # Errors
    ///
    /// `BadPath` for a malformed pointer, `BadValue` for a value that is not one JSON text,
    /// `NotApplicable` if a place does not exist or a `test` fails, `BadDocument` if a pointer
    /// leads to something that is not JSON, `TooMuch` past the limits.
    pub fn patch(&mut self, edits: &[Operation]) -> Result<(), Error> {
        if edits.is_empty() {
            return Ok(());
        }
        if let State::Text(text) = &self.state {
            let text = text.clone();
            if let Some(cuts) = patch::cuts(&text, self.index(&text), edits)? {
                self.cut(&text, &cuts);
                return Ok(());
            }
        }
        let mut tree = match &self.state {
            State::Text(text) => Tree::new(text, &self.index)?,
            State::Pieces(tree, _) => tree.clone(),
        };
        let mut budget = Budget::new();
        let mut changed = false;
        for (index, edit) in edits.iter().enumerate() {
            match tree.apply(edit, &mut budget) {
                Ok(change) => changed |= change,
                Err(error) => {
                    return Err(error.within(&format!("operation {index}, {}", edit.name())));
                }
            }
        }
        if changed {
            self.state = State::Pieces(tree, Arc::default());
            self.index = Arc::default();
            self.edited = true;
        }
        Ok(())
    }

    /// Removes every node that a path selects, including all members of the same name, and returns
    /// the number of places removed. A node inside a removed node goes with it and is not counted.
    /// Selecting nothing is neither an error nor an edit.
    ///
    /// `$..name` is found by searching for the key, without reading the rest of the text.
    ///
    /// # Errors
    ///
    /// `NotApplicable` if the path selects the whole document. Otherwise the same as for
    /// [`select`](Self::select).
    pub fn remove_all(&mut self, path: &Path) -> Result<u32, Error> {
        let text = self.bytes();
        let (count, spans) = remove::cuts(&text, self.index(&text), path)?;
        self.cut_out(&text, count, spans)
    }

    /// The same as [`remove_all`](Self::remove_all), and returns the pointers that
    /// [`select`](Self::select) would have returned before. If there are none, nothing is removed.
    ///
    /// # Errors
    ///
    /// The same as for [`remove_all`](Self::remove_all).
    pub fn remove_all_noted(&mut self, path: &Path) -> Result<(u32, Vec<String>), Error> {
        let text = self.bytes();
        let ((count, spans), pointers) = remove::noted(&text, self.index(&text), path)?;
        let pointers = pointers.map_or_else(|| self.select(path), Ok)?;
        if pointers.is_empty() {
            return Ok((0, pointers));
        }
        Ok((self.cut_out(&text, count, spans)?, pointers))
    }

    /// Finds a regular expression (I-Regexp, RFC 9485) in what the strings spell that a path
    /// selects. Other values are passed over. The matches of a string do not overlap, and empty
    /// ones do not count. Of several matches at one place, the one that a backtracking engine would
    /// find first counts.
    ///
    /// # Errors
    ///
    /// `BadPath` if `regex` is not an I-Regexp, `TooMuch` for more than [`MAX_SELECTED`] matches
    /// and groups. Otherwise the same as for [`select`](Self::select).
    pub fn find_matches(&self, path: &Path, regex: &str) -> Result<Vec<Match>, Error> {
        let text = self.bytes();
        parts::matches((&text, self.index(&text), &self.last_finder), path, regex)
    }

    /// Replaces what [`find_matches`](Self::find_matches) finds, in all members of the same name.
    /// In `replacement`, `$1` to `$9` are the groups of the match, `$0` the match, and `$$` is a
    /// dollar sign. All other bytes stay, the escapes in the rest of the string included. Returns
    /// the operations that were done, which [`patch`](Self::patch) could repeat in this order.
    ///
    /// # Errors
    ///
    /// `BadValue` if `replacement` has any other `$`, or a group that the expression does not
    /// have. Otherwise the same as for [`find_matches`](Self::find_matches).
    pub fn replace_matches(
        &mut self,
        path: &Path,
        regex: &str,
        replacement: &str,
    ) -> Result<Vec<Operation>, Error> {
        let text = self.bytes();
        let document = (&text[..], self.index(&text), &self.last_finder);
        let (cuts, edits) = parts::replaced(document, path, (regex, replacement))?;
        if !cuts.is_empty() {
            self.cut(&text, &cuts);
        }
        Ok(edits)
    }

    /// Replaces parts of strings, as a whole or not at all. Their offsets are those before the
    /// edit, so the order does not matter.
    ///
    /// # Errors
    ///
    /// `NotApplicable` if a place is not a string, an offset is outside of it or inside of a
    /// character, or parts overlap. Otherwise the same as for [`patch`](Self::patch).
    pub fn replace_parts(&mut self, parts: &[Part]) -> Result<(), Error> {
        let text = self.bytes();
        let cuts = parts::cuts(&text, self.index(&text), parts)?;
        if !cuts.is_empty() {
            self.cut(&text, &cuts);
        }
        Ok(())
    }

    /// Returns the text of a top-level member, the last of that name. `None` if the document is not
    /// an object or has no such member.
    ///
    /// The rest of the text need not be valid JSON.
    #[must_use]
    pub fn top(&self, name: &str) -> Option<Bytes> {
        let text = self.bytes();
        let span = self.index(&text).find_top(&text, name)?;
        Some(text.slice(span))
    }

    /// Returns [`top`](Self::top) decoded, if it is a string.
    #[must_use]
    pub fn top_str(&self, name: &str) -> Option<String> {
        string::decode(&self.top(name)?)
    }

    /// Returns the text of the value that a pointer (RFC 6901) leads to, if there is one.
    ///
    /// # Errors
    ///
    /// `BadPath` for a malformed pointer, `BadDocument` if it leads to something that is not JSON.
    pub fn get(&self, pointer: &str) -> Result<Option<Bytes>, Error> {
        let tokens = pointer::parse(pointer)?;
        let text = self.bytes();
        let span = pointer::locate(&text, self.index(&text), &tokens)?;
        Ok(span.map(|span| text.slice(span)))
    }

    fn index(&self, text: &[u8]) -> &Index {
        self.index.get_or_init(|| Index::of(text))
    }

    fn cut_out(
        &mut self,
        text: &[u8],
        count: usize,
        spans: Vec<Range<usize>>,
    ) -> Result<u32, Error> {
        let count = u32::try_from(count).map_err(|_| remove::too_many())?;
        if count > 0 {
            let cuts: Vec<Cut> = spans.into_iter().map(Cut::removal).collect();
            self.cut(text, &cuts);
        }
        Ok(count)
    }

    /// Applies the cuts to `text` and carries the index over to the new text.
    fn cut(&mut self, text: &[u8], cuts: &[Cut]) {
        let new = splice::splice(text, cuts);
        let index = self.index.get().and_then(|index| index.after(cuts, &new));
        self.index = Arc::new(index.map_or_else(OnceLock::new, OnceLock::from));
        self.state = State::Text(new);
        self.edited = true;
    }

    fn each(
        &self,
        path: &Path,
        mut take: impl FnMut(&mut Walk<'_>, Place) -> Result<(), Error>,
    ) -> Result<Vec<String>, Error> {
        let text = self.bytes();
        let mut pointers = Pointers::default();
        Walk::new(&text, self.index(&text), path, Duplicates::Last).run(&mut |walk, place| {
            pointers.take(walk)?;
            take(walk, place)?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(pointers.all)
    }
}
