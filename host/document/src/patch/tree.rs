//! A text that is taken apart only where it is edited.
//!
//! A container on the way to an edit becomes a list of its children, each a slice of the text it
//! came from. Joining the list again gives the same bytes. Whitespace before an item belongs to the
//! item, and whitespace before the closing bracket belongs to the bracket. The file is long because
//! the operations read best beside the pieces they work on.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use bytes::{Bytes, BytesMut};

use super::{Operation, name::is_named, value_fault};
use crate::{
    Error,
    budget::Budget,
    check,
    index::Index,
    path::equal,
    pointer,
    scan::{Children, MAX_DEPTH, root, too_deep, value_end},
    spelling, string,
};

/// The maximum length in bytes to which edits may grow a document. A value copied into itself
/// doubles each time.
const MAX_LENGTH: usize = 128 << 20;
/// The number of items that an edit may shift for the cost of one node. Reading an item costs far
/// more than shifting it.
const SHIFTED_PER_NODE: usize = 16;
/// The number of pieces an item is written as: the text before the value, the value, the text
/// before the comma, and the comma.
const PIECES_PER_NODE: usize = 4;

/// A document that is being edited. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    lead: Bytes,
    root: Value,
    tail: Bytes,
    /// An upper bound of the length of the whole text.
    length: usize,
    source: Source,
}

/// The text a tree was made from. Pieces share its memory, so their addresses give their offsets.
#[derive(Clone, Debug)]
struct Source {
    text: Bytes,
    index: Arc<OnceLock<Index>>,
}

#[derive(Clone, Debug)]
enum Value {
    Text(Bytes),
    Open(Arc<Container>),
}

#[derive(Clone, Debug)]
struct Container {
    object: bool,
    /// A deque, since a patch often empties one list into another from the front.
    items: VecDeque<Item>,
    /// Whitespace and the closing bracket.
    close: Bytes,
}

#[derive(Clone, Debug)]
struct Item {
    /// Whitespace and, in an object, the key and the colon with whitespace around it.
    before: Bytes,
    value: Value,
    /// Whitespace before the comma. Written only if a comma follows.
    after: Bytes,
}

impl Tree {
    /// `index` is the index of `text`.
    pub(crate) fn new(text: &Bytes, index: &Arc<OnceLock<Index>>) -> Result<Self, Error> {
        let span = index.get_or_init(|| Index::of(text)).root_span(text)?;
        Ok(Self {
            lead: text.slice(..span.start),
            tail: text.slice(span.end..),
            root: Value::Text(text.slice(span)),
            length: text.len(),
            source: Source {
                text: text.clone(),
                index: Arc::clone(index),
            },
        })
    }

    /// Joins the whole text.
    pub(crate) fn bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.length);
        out.extend_from_slice(&self.lead);
        self.root.write(&mut out);
        out.extend_from_slice(&self.tail);
        out.freeze()
    }

    /// Applies one operation and returns whether it changed anything. After an error the tree must
    /// not be used.
    pub(crate) fn apply(&mut self, edit: &Operation, budget: &mut Budget) -> Result<bool, Error> {
        match edit {
            Operation::Add { at, value } => {
                let tokens = pointer::parse(at)?;
                let value = checked(value, tokens.len())?;
                self.add(&tokens, Value::Text(value), budget)?;
            }
            Operation::Replace { at, value } => {
                let tokens = pointer::parse(at)?;
                let value = checked(value, tokens.len())?;
                self.grow(value.len())?;
                *self.find(&tokens, budget)? = Value::Text(value);
            }
            Operation::ReplacePart {
                at,
                start,
                end,
                text,
            } => {
                let tokens = pointer::parse(at)?;
                let value = self.find(&tokens, budget)?.closed(budget)?;
                budget.spend(1, value.len())?;
                let value = spelling::with_part(&value, *start..*end, text)?;
                self.grow(value.len())?;
                *self.find(&tokens, budget)? = Value::Text(value);
            }
            Operation::Remove { at } => {
                let tokens = pointer::parse(at)?;
                self.remove(&tokens, budget)?;
            }
            Operation::Move { from, to } => {
                let (from, to) = (pointer::parse(from)?, pointer::parse(to)?);
                if from == to {
                    self.find(&from, budget)?;
                    return Ok(false);
                }
                if to.starts_with(&from) {
                    return Err(Error::NotApplicable(
                        "cannot move a value into itself".to_owned(),
                    ));
                }
                let value = self.find(&from, budget)?.closed(budget)?;
                fits(&value, from.len(), to.len())?;
                self.remove(&from, budget)?;
                self.add(&to, Value::Text(value), budget)?;
            }
            Operation::Copy { from, to } => {
                let (from, to) = (pointer::parse(from)?, pointer::parse(to)?);
                let value = self.find(&from, budget)?.closed(budget)?;
                fits(&value, from.len(), to.len())?;
                self.add(&to, Value::Text(value), budget)?;
            }
            Operation::Test { at, value } => {
                let tokens = pointer::parse(at)?;
                let wanted = checked(value, 0)?;
                let found = self.find(&tokens, budget)?.closed(budget)?;
                if found != wanted && !equal((&found, 0), (&wanted, 0), budget)? {
                    return Err(Error::NotApplicable("the value differs".to_owned()));
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn grow(&mut self, by: usize) -> Result<(), Error> {
        let before = self.length;
        self.length += by;
        fits_limit(self.length, before)
    }

    /// Returns the value that the tokens lead to and opens the containers on the way.
    fn find(&mut self, tokens: &[String], budget: &mut Budget) -> Result<&mut Value, Error> {
        let mut value = &mut self.root;
        for (depth, token) in tokens.iter().enumerate() {
            let container = value.open_at(&tokens[..depth], &self.source, budget)?;
            let Some(index) = container.position(token, budget)? else {
                return Err(missing(&tokens[..=depth]));
            };
            value = &mut container.items[index].value;
        }
        Ok(value)
    }

    fn parent(&mut self, tokens: &[String], budget: &mut Budget) -> Result<&mut Container, Error> {
        let source = self.source.clone();
        self.find(tokens, budget)?.open_at(tokens, &source, budget)
    }

    fn add(&mut self, tokens: &[String], value: Value, budget: &mut Budget) -> Result<(), Error> {
        let Some((last, above)) = tokens.split_last() else {
            self.grow(value.len())?;
            self.root = value;
            return Ok(());
        };
        if tokens.len() > MAX_DEPTH {
            return Err(too_deep(0));
        }
        let key = string::encode(last);
        // The value, its key, a colon and a comma.
        self.grow(value.len() + key.len() + 2)?;
        let container = self.parent(above, budget)?;
        if !container.object {
            let len = container.items.len();
            let index = if last == "-" {
                Some(len)
            } else {
                pointer::index(last)
            };
            let Some(index) = index.filter(|&index| index <= len) else {
                return Err(missing(tokens));
            };
            budget.spend(1 + index.min(len - index) / SHIFTED_PER_NODE, 0)?;
            container
                .items
                .insert(index, Item::new(Bytes::new(), value));
            return Ok(());
        }
        match container.position(last, budget)? {
            Some(index) => container.items[index].value = value,
            None => container
                .items
                .push_back(Item::new(Bytes::from(key + ":"), value)),
        }
        Ok(())
    }

    fn remove(&mut self, tokens: &[String], budget: &mut Budget) -> Result<(), Error> {
        let Some((last, above)) = tokens.split_last() else {
            return Err(Error::NotApplicable(
                "cannot remove the whole document".to_owned(),
            ));
        };
        let container = self.parent(above, budget)?;
        let Some(index) = container.position(last, budget)? else {
            return Err(missing(tokens));
        };
        let len = container.items.len();
        budget.spend(1 + index.min(len - index) / SHIFTED_PER_NODE, 0)?;
        container.items.remove(index);
        if container.object {
            // Before the last member of that name there may be others.
            container.remove_before(index, last, budget)?;
        }
        // Whitespace before a comma goes with that comma, or it would reappear with the next item.
        if let Some(last) = container.items.back_mut() {
            last.after = Bytes::new();
        }
        Ok(())
    }
}

/// Checks whether a document may grow to this length. One that was received longer may stay so but
/// not grow.
pub(crate) fn fits_limit(length: usize, before: usize) -> Result<(), Error> {
    if length > before && length > MAX_LENGTH {
        return Err(Error::TooMuch(format!(
            "the document would grow past {MAX_LENGTH} bytes"
        )));
    }
    Ok(())
}

/// Validates a value passed in and strips the whitespace around it.
pub(super) fn checked(value: &Bytes, depth: usize) -> Result<Bytes, Error> {
    let span = check::one_value(value, depth);
    let span =
        span.map_err(|error| Error::BadValue(format!("the value: {}", value_fault(error))))?;
    Ok(value.slice(span))
}

/// Checks the depth of a value that moves to a deeper place.
fn fits(value: &[u8], from: usize, to: usize) -> Result<(), Error> {
    if to > from {
        value_end(value, 0, to)?;
    }
    Ok(())
}

pub(super) fn missing(tokens: &[String]) -> Error {
    Error::NotApplicable(format!("no value at `{}`", written(tokens)))
}

fn written(tokens: &[String]) -> String {
    let mut text = String::new();
    tokens
        .iter()
        .for_each(|token| pointer::push(&mut text, token));
    text
}

impl Value {
    /// An upper bound of its length.
    fn len(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Open(_) => self.closed_len().1,
        }
    }

    /// The number of pieces of its text, and their total length.
    fn closed_len(&self) -> (usize, usize) {
        let (mut count, mut len) = (0, 0);
        self.pieces(&mut |piece| {
            count += 1;
            len += piece.len();
        });
        (count, len)
    }

    /// Joins the text of the value and charges the copy to the budget.
    fn closed(&self, budget: &mut Budget) -> Result<Bytes, Error> {
        match self {
            Value::Text(text) => Ok(text.clone()),
            Value::Open(_) => {
                let (count, len) = self.closed_len();
                budget.spend(count / PIECES_PER_NODE, len)?;
                let mut out = BytesMut::with_capacity(len);
                self.write(&mut out);
                Ok(out.freeze())
            }
        }
    }

    fn write(&self, out: &mut BytesMut) {
        self.pieces(&mut |piece| out.extend_from_slice(piece));
    }

    /// Visits all pieces of text in order. It uses a list instead of recursion, so that depth costs
    /// no stack.
    fn pieces(&self, each: &mut dyn FnMut(&[u8])) {
        enum Next<'v> {
            Value(&'v Value),
            Items(&'v Container, usize),
        }
        let mut next = vec![Next::Value(self)];
        while let Some(now) = next.pop() {
            match now {
                Next::Value(Value::Text(text)) => each(text),
                Next::Value(Value::Open(container)) => {
                    each(if container.object { b"{" } else { b"[" });
                    next.push(Next::Items(container, 0));
                }
                Next::Items(container, index) => {
                    if let Some(before) = index
                        .checked_sub(1)
                        .filter(|_| index < container.items.len())
                    {
                        each(&container.items[before].after);
                        each(b",");
                    }
                    match container.items.get(index) {
                        Some(item) => {
                            each(&item.before);
                            next.push(Next::Items(container, index + 1));
                            next.push(Next::Value(&item.value));
                        }
                        None => each(&container.close),
                    }
                }
            }
        }
    }

    /// Returns the container that the tokens lead to, opened if necessary.
    fn open_at(
        &mut self,
        tokens: &[String],
        source: &Source,
        budget: &mut Budget,
    ) -> Result<&mut Container, Error> {
        if let Value::Text(text) = self {
            if !matches!(text.first(), Some(b'{' | b'[')) {
                return Err(Error::NotApplicable(format!(
                    "`{}` is not an array or object",
                    written(tokens)
                )));
            }
            let container = Container::read(text, source, tokens.len(), budget)?;
            *self = Value::Open(Arc::new(container));
        }
        match self {
            Value::Open(container) => Ok(Arc::make_mut(container)),
            // Opened above.
            Value::Text(_) => Err(missing(tokens)),
        }
    }
}

impl Source {
    /// Returns the offset of a piece of this text, or `None` for other text.
    fn offset(&self, piece: &Bytes) -> Option<usize> {
        let offset = piece
            .as_ptr()
            .addr()
            .wrapping_sub(self.text.as_ptr().addr());
        (offset < self.text.len()).then_some(offset)
    }
}

impl Container {
    fn read(
        text: &Bytes,
        source: &Source,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<Self, Error> {
        let offset = source.offset(text);
        Self::read_at(text, offset.map(|offset| (source, offset)), depth, budget).map_err(|error| {
            match error {
                Error::BadDocument { at, what } => Error::BadDocument {
                    at: at + offset.unwrap_or(0),
                    what,
                },
                other => other,
            }
        })
    }

    /// `source` is the original text and the offset of `text` in it.
    fn read_at(
        text: &Bytes,
        source: Option<(&Source, usize)>,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<Self, Error> {
        let known = source.and_then(|(source, offset)| Some((source.index.get()?, offset)));
        let end_of = |start: usize| {
            let end =
                known.and_then(|(index, offset)| Some(index.end_of(offset + start)? - offset));
            match end {
                Some(end) => Ok(end),
                None => value_end(text, start, depth + 1),
            }
        };
        let mut children = Children::of(text, 0)?;
        let mut items: VecDeque<Item> = VecDeque::new();
        while let Some(child) = children.next()? {
            if let Some(last) = items.back_mut() {
                // The text up to the comma before this child.
                let end = text.len() - last.after.len();
                last.after = text.slice(end..child.lead - 1);
            }
            let end = end_of(child.start)?;
            budget.spend(1, end - child.lead)?;
            items.push_back(Item {
                before: text.slice(child.lead..child.start),
                value: Value::Text(text.slice(child.start..end)),
                // Everything that follows, until the next child shows where the comma is.
                after: text.slice(end..),
            });
            children.passed(end);
        }
        let close = match items.back_mut() {
            Some(last) => std::mem::take(&mut last.after),
            None => text.slice(1..),
        };
        Ok(Self {
            object: children.is_object(),
            items,
            close,
        })
    }

    /// Returns the index of the child that a reference token names. Of equal keys the last counts.
    fn position(&self, token: &str, budget: &mut Budget) -> Result<Option<usize>, Error> {
        if !self.object {
            return Ok(pointer::index(token).filter(|&index| index < self.items.len()));
        }
        budget.spend_comparisons(self.items.len(), token)?;
        for (index, item) in self.items.iter().enumerate().rev() {
            if is_named(item.key(), token, budget)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Removes the members before `end` that a name means.
    fn remove_before(&mut self, end: usize, name: &str, budget: &mut Budget) -> Result<(), Error> {
        budget.spend_comparisons(end, name)?;
        let mut named = Vec::new();
        for (index, item) in self.items.range(..end).enumerate() {
            if is_named(item.key(), name, budget)? {
                named.push(index);
            }
        }
        if named.is_empty() {
            return Ok(());
        }
        budget.spend(1 + self.items.len() / SHIFTED_PER_NODE, 0)?;
        let mut index = 0;
        let mut named = named.into_iter().peekable();
        self.items.retain(|_| {
            let remove = named.next_if_eq(&index).is_some();
            index += 1;
            !remove
        });
        Ok(())
    }
}

impl Item {
    fn new(before: Bytes, value: Value) -> Self {
        Self {
            before,
            value,
            after: Bytes::new(),
        }
    }

    /// From the first quote of the key on.
    fn key(&self) -> &[u8] {
        &self.before[root(&self.before)..]
    }
}

impl Drop for Container {
    /// Drops nested containers from a list. The default would recurse as deep as they nest.
    fn drop(&mut self) {
        let mut rest = std::mem::take(&mut self.items);
        while let Some(item) = rest.pop_back() {
            if let Value::Open(container) = item.value
                && let Some(mut container) = Arc::into_inner(container)
            {
                rest.append(&mut container.items);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the cost of one operation, in nodes and bytes, once the containers on its way are
    /// open.
    fn cost(text: &str, opened_by: &str, edit: &Operation) -> (usize, usize) {
        let mut tree = Tree::new(&text.to_owned().into(), &Arc::default()).expect("one value");
        let at = opened_by.to_owned();
        let value = "0".into();
        tree.apply(&Operation::Test { at, value }, &mut Budget::new())
            .expect("the value there is 0");
        let mut budget = Budget::new();
        tree.apply(edit, &mut budget).expect("applies");
        budget.spent()
    }

    fn zeros(count: usize) -> String {
        format!("[{}]", vec!["0"; count].join(","))
    }

    #[test]
    fn an_edit_of_an_array_costs_what_it_shifts() {
        let list = zeros(1_601);
        let nodes = |edit: &Operation| cost(&list, "/0", edit).0;
        let remove = |index: usize| {
            nodes(&Operation::Remove {
                at: format!("/{index}"),
            })
        };
        let add = |index: usize| {
            nodes(&Operation::Add {
                at: format!("/{index}"),
                value: "1".into(),
            })
        };
        let to_the_end = |index: usize| {
            nodes(&Operation::Move {
                from: format!("/{index}"),
                to: "/-".into(),
            })
        };
        // The shorter side is shifted.
        for (index, shifted) in [(0, 0), (160, 160), (800, 800), (1_440, 160), (1_600, 0)] {
            assert_eq!(remove(index), 1 + shifted / SHIFTED_PER_NODE, "{index}");
            assert_eq!(to_the_end(index), 2 + shifted / SHIFTED_PER_NODE, "{index}");
        }
        for (index, shifted) in [(0, 0), (160, 160), (800, 800), (1_441, 160), (1_601, 0)] {
            assert_eq!(add(index), 1 + shifted / SHIFTED_PER_NODE, "{index}");
        }
    }

    #[test]
    fn removing_a_member_costs_comparing_all() {
        let members: Vec<String> = (0..1_600).map(|n| format!(r#""{n}":0"#)).collect();
        let object = format!("{{{}}}", members.join(","));
        let edit = Operation::Remove { at: "/7".into() };
        // To find it, to remove it, and to look for others of that name before it.
        let nodes = (1 + 1_600 / 8) + 1 + 1;
        assert_eq!(cost(&object, "/0", &edit).0, nodes);
    }

    #[test]
    fn an_opened_container_costs_its_text_when_it_is_moved_copied_or_tested() {
        let list = zeros(1_600);
        let text = format!(r#"{{"a":{list},"b":0}}"#);
        let (from, to) = ("/a".to_owned(), "/b".to_owned());
        let test = Operation::Test {
            at: from.clone(),
            value: list.clone().into(),
        };
        let edits = [
            Operation::Move {
                from: from.clone(),
                to: to.clone(),
            },
            Operation::Copy { from, to },
            test,
        ];
        for edit in &edits {
            let (nodes, bytes) = cost(&text, "/a/0", edit);
            assert!(bytes >= list.len(), "{edit:?}: {bytes}");
            assert!(nodes >= 1_600 / PIECES_PER_NODE, "{edit:?}: {nodes}");
        }
    }
}
