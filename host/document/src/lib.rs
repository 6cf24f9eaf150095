//! A JSON text that is queried by JSONPath (RFC 9535) and edited by JSON Patch (RFC 6902) without parsing the rest.
//!
//! A [`Document`] is made from bytes without looking at them. A query reads only where it leads; what it passes over
//! is checked no closer than finding its end takes. An edit changes the bytes of the places it names and no others:
//! order, spacing, and the spelling of numbers and strings stay as they came. So a text that is not valid JSON in a
//! place that no query reaches is held, edited elsewhere and given back like any other.
//!
//! What goes with a removed member or element: the whitespace and key before it, itself, and the comma behind it with
//! the whitespace up to that comma. The last of several instead takes the comma before it and everything from the end
//! of the value that precedes it. The whitespace before a closing bracket always stays. What is added brings no
//! whitespace. Therefore adding a member and removing it again gives the first text, byte for byte.
//!
//! Of members with the same name, reading and replacing mean the last, removing means all.
//!
//! ```
//! use witgate_document::{Document, Operation, Path};
//!
//! let mut body = Document::new(r#"{"model": "a", "messages": [{"cache_control": {}, "role": "user"}]}"#);
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
//! Nothing here does I/O, recurses over a text, or panics; every query and patch has a budget.

mod error; // what can be wrong
mod budget; // what one query or patch may cost
pub mod string; // JSON string tokens
mod number; // numbers by value
mod scan; // where values end
mod simd; // many bytes at a time
mod index; // what one pass over a text tells of it
mod check; // is a text JSON
mod search; // keys by searching memory
mod literal_filter; // words that a pattern needs
mod pointer; // RFC 6901
mod path; // RFC 9535
mod splice; // edits as spans
mod patch; // RFC 6902
mod remove; // everything a query selects, cut out
mod outline; // a text without its long strings, and back

use std::{
    ops::{ControlFlow, Range},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::{
    budget::Budget,
    index::Index,
    patch::Tree,
    path::{Duplicates, Place, Walk},
    remove::Pointers,
    splice::Cut,
};
pub use crate::{error::Error, outline::Outline, patch::Operation, path::Path};

/// How many nodes one query may select. More is `TooMuch`.
pub const MAX_SELECTED: usize = 100_000;

/// A JSON text, held as it came until it is edited.
///
/// Cloning is cheap: clones share all text, and editing one leaves the others as they are.
#[derive(Clone, Debug)]
pub struct Document {
    state: State,
    /// Of the text; made when something is first asked of it.
    index: Arc<OnceLock<Index>>,
    edited: bool,
}

#[derive(Clone, Debug)]
enum State {
    Text(Bytes),
    /// Pieces, and the text they make once somebody asked for it.
    Pieces(Tree, Arc<OnceLock<Bytes>>),
}

/// A value that a query selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where: a JSON Pointer (RFC 6901).
    pub at: String,
    /// What: its exact text, without whitespace around it.
    pub value: Bytes,
}

impl Document {
    /// Holds a text. Never fails, since nothing is read.
    pub fn new(text: impl Into<Bytes>) -> Self {
        Self {
            state: State::Text(text.into()),
            index: Arc::default(),
            edited: false,
        }
    }

    /// The text. Without edits these are the very bytes the document was made from; after edits one copy is made and
    /// kept, so asking again costs nothing.
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

    /// Whether the text has no bytes at all; such a text is not valid JSON.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an edit was done, even if it happened to leave the same bytes. A `test` is no edit, nor is removing
    /// what a path does not select.
    #[must_use]
    pub fn is_edited(&self) -> bool {
        self.edited
    }

    /// The same document with its long strings left out, to be written anew; see [`Outline`]. `seed` should be random.
    ///
    /// # Errors
    ///
    /// `BadDocument` where what is left is not JSON.
    pub fn outline(&self, longest: usize, seed: u64) -> Result<Outline, Error> {
        let text = self.bytes();
        let index = self.index(&text);
        Outline::of(text.clone(), index, longest, seed)
    }

    /// Takes another text in place of all that stood here: an edit of everything at once. Nothing is read.
    pub fn rewrite(&mut self, text: Bytes) {
        self.state = State::Text(text);
        self.index = Arc::default();
        self.edited = true;
    }

    /// Pointers (RFC 6901) to the nodes that a path selects, in the order of RFC 9535. A node that the path selects
    /// twice comes twice.
    ///
    /// # Errors
    ///
    /// `BadDocument` where the path leads to what is not JSON, `TooMuch` past the limits.
    pub fn select(&self, path: &Path) -> Result<Vec<String>, Error> {
        self.each(path, |_, _| Ok(()))
    }

    /// The nodes that a path selects with their text, in the order of RFC 9535.
    ///
    /// # Errors
    ///
    /// As for [`select`](Self::select).
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

    /// Whether `name` may be a key anywhere in the text. `false` means that it certainly is none. Does not walk, so it
    /// cannot fail.
    #[must_use]
    pub fn may_have(&self, name: &str) -> bool {
        let text = self.bytes();
        self.index(&text).may_have(&text, name)
    }

    /// Whether a path may select anything, told by the names and words that it cannot do without. `false` means that it
    /// certainly selects nothing. Does not walk, so it cannot fail.
    #[must_use]
    pub fn may_select(&self, path: &Path) -> bool {
        let text = self.bytes();
        let index = self.index(&text);
        if !path.literals().all(|name| index.may_have(&text, name)) {
            return false;
        }
        // Where the path begins at a member of the top, nothing but that has to be searched.
        let below = path.first_name().and_then(|name| index.top(&text, name));
        let Some(below) = below.unwrap_or(Some(0..text.len())) else {
            return false;
        };
        let holds = |literal: &String| index.may_hold(&text, &below, literal);
        path.pattern_literals().iter().all(holds)
    }

    /// Whether a path selects anything. Stops at the first node. Asked again, of this document or a clone of it, it costs
    /// nothing.
    ///
    /// # Errors
    ///
    /// As for [`select`](Self::select), if it happens before the first node is found.
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

    /// Applies a JSON Patch (RFC 6902): all of it, or nothing and an error that names the operation, counted from 0.
    ///
    /// However many operations there are, the text is copied once: at once where they only remove and replace places that
    /// stand apart, else when somebody asks for it. A patch of one replace
    /// reads no more than the way to its place; every other reads all children of the containers on the way.
    ///
    /// # Errors
    ///
    /// `BadPath` for a malformed pointer, `BadValue` for a value that is not one JSON text, `NotApplicable` where a
    /// place does not exist or a `test` does not hold, `BadDocument` where a pointer leads to what is not JSON,
    /// `TooMuch` past the limits.
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

    /// Removes every node that a path selects, all members of a name included, and says how many places that were.
    /// What stands inside a removed node goes with it and is not counted. Selecting nothing is no error and no edit.
    ///
    /// `$..name` is done by searching for the key, without reading the rest of the text.
    ///
    /// # Errors
    ///
    /// `NotApplicable` when the path selects the whole document; else as for [`select`](Self::select).
    pub fn remove_all(&mut self, path: &Path) -> Result<u32, Error> {
        let text = self.bytes();
        let (count, spans) = remove::cuts(&text, self.index(&text), path)?;
        self.cut_out(&text, count, spans)
    }

    /// As [`remove_all`](Self::remove_all), with the pointers that [`select`](Self::select) would have given before.
    /// Where it would have given none, nothing is removed.
    ///
    /// # Errors
    ///
    /// As for [`remove_all`](Self::remove_all).
    pub fn remove_all_noted(&mut self, path: &Path) -> Result<(u32, Vec<String>), Error> {
        let text = self.bytes();
        let ((count, spans), pointers) = remove::noted(&text, self.index(&text), path)?;
        let pointers = pointers.map_or_else(|| self.select(path), Ok)?;
        if pointers.is_empty() {
            return Ok((0, pointers));
        }
        Ok((self.cut_out(&text, count, spans)?, pointers))
    }

    /// The text of a top-level member, the last of that name; `None` when the document is no object or has none.
    ///
    /// What stands elsewhere need not be valid JSON.
    #[must_use]
    pub fn top(&self, name: &str) -> Option<Bytes> {
        let text = self.bytes();
        let span = self.index(&text).find_top(&text, name)?;
        Some(text.slice(span))
    }

    /// [`top`](Self::top) decoded, when it is a string.
    #[must_use]
    pub fn top_str(&self, name: &str) -> Option<String> {
        string::decode(&self.top(name)?)
    }

    /// The text of the value that a pointer (RFC 6901) leads to, if there is one.
    ///
    /// # Errors
    ///
    /// `BadPath` for a malformed pointer, `BadDocument` where it leads to what is not JSON.
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

    /// Puts the text with these cuts in the place of `text`, and its index in the place of the old one.
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
