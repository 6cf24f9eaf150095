//! Applies patches of separate operations as cuts of the text.
//!
//! Most patches remove or replace values that do not overlap. They need no tree: each place is
//! found in the original text, and all cuts are made in one copy. Operations whose order could
//! matter, and all errors, are left to the tree.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use super::{
    Operation,
    name::is_named,
    tree::{checked, fits_limit},
};
use crate::{
    budget::Budget,
    index::Index,
    pointer,
    remove::{self, Chosen},
    scan::{Children, is_container},
    splice::{self, Cut},
};

/// Returns the cuts equivalent to these operations in order, or `None` if only the tree can tell.
pub(super) fn cuts(text: &[u8], index: &Index, edits: &[Operation]) -> Option<Vec<Cut>> {
    let mut resolver = Resolver::new(text, index);
    let root = index.root_span(text).ok()?;
    let mut removals = Removals::default();
    let mut cuts = Vec::new();
    for edit in edits {
        match edit {
            Operation::Remove { at } => {
                let tokens = pointer::parse(at).ok()?;
                let (last, above) = tokens.split_last()?;
                resolver.remove(root.start, above, last, &mut removals)?;
            }
            Operation::Replace { at, value } => {
                let tokens = pointer::parse(at).ok()?;
                let replacement = checked(value, tokens.len()).ok()?;
                let (last, above) = tokens.split_last()?;
                let span = resolver.child(root.start, above, last)?;
                cuts.push(Cut { span, replacement });
            }
            _ => return None,
        }
    }
    cuts.extend(removals.spans(text, index)?.into_iter().map(Cut::removal));
    cuts.sort_unstable_by_key(|cut| cut.span.start);
    let mut pairs = cuts.windows(2);
    let apart = pairs.all(|pair| pair[0].span.end <= pair[1].span.start);
    let fits = fits_limit(splice::length(text.len(), &cuts), text.len()).is_ok();
    (apart && fits).then_some(cuts)
}

/// Returns the spans of the values that these pointers lead to, or `None` if only a walk to each
/// can tell. Pointers in the same containers are best given one after the other.
pub(crate) fn spans<'p>(
    text: &[u8],
    index: &Index,
    pointers: impl Iterator<Item = &'p str>,
) -> Option<Vec<Range<usize>>> {
    let mut resolver = Resolver::new(text, index);
    let root = index.root_span(text).ok()?;
    let mut span = |at: &str| {
        let tokens = pointer::parse(at).ok()?;
        let (last, above) = tokens.split_last()?;
        resolver.child(root.start, above, last)
    };
    pointers.map(&mut span).collect()
}

/// The places to remove.
#[derive(Default)]
struct Removals {
    /// The starts of the keys of members.
    members: Vec<usize>,
    elements: Chosen,
}

impl Removals {
    /// Returns the spans to cut, or `None` if one place contains another or is removed twice.
    fn spans(mut self, text: &[u8], index: &Index) -> Option<Vec<Range<usize>>> {
        self.members.sort_unstable();
        let chosen: usize = self.elements.values().map(|(_, starts)| starts.len()).sum();
        let (members, mut spans) = remove::found(text, index, &self.members)?;
        let (elements, more) = remove::around(text, index, self.elements).ok()?;
        spans.extend(more);
        (members == self.members.len() && elements == chosen).then_some(spans)
    }
}

/// Resolves pointers, and keeps the containers opened for the previous one.
struct Resolver<'t> {
    text: &'t [u8],
    index: &'t Index,
    budget: Budget,
    open: Vec<OpenContainer>,
    /// Arrays with removed elements, and the lowest removed index. Indexes from there on have
    /// shifted.
    shortened: HashMap<usize, usize>,
}

struct OpenContainer {
    start: usize,
    object: bool,
    children: Vec<OpenChild>,
}

struct OpenChild {
    key: Range<usize>,
    span: Range<usize>,
}

impl<'t> Resolver<'t> {
    fn new(text: &'t [u8], index: &'t Index) -> Self {
        Self {
            text,
            index,
            budget: Budget::new(),
            open: Vec::new(),
            shortened: HashMap::new(),
        }
    }

    /// Returns the span of the child that `last` names in the container at `above`.
    fn child(&mut self, root: usize, above: &[String], last: &str) -> Option<Range<usize>> {
        let place = self.container(root, above)?;
        let child = self.position(place, last)?;
        Some(self.open[place].children[child].span.clone())
    }

    fn remove(
        &mut self,
        root: usize,
        above: &[String],
        last: &str,
        removals: &mut Removals,
    ) -> Option<()> {
        let place = self.container(root, above)?;
        let child = self.position(place, last)?;
        let OpenContainer {
            start,
            object,
            children,
        } = &self.open[place];
        if *object {
            for OpenChild { key, .. } in &children[..=child] {
                if is_named(&self.text[key.clone()], last, &mut self.budget).ok()? {
                    removals.members.push(key.start);
                }
            }
            return Some(());
        }
        let (_, starts) = removals
            .elements
            .entry(*start)
            .or_insert_with(|| (above.len() + 1, BTreeSet::new()));
        self.shortened.insert(*start, child);
        starts.insert(children[child].span.start).then_some(())
    }

    /// Opens the container that the tokens lead to, and returns its position among the open ones.
    fn container(&mut self, root: usize, tokens: &[String]) -> Option<usize> {
        self.open_at(0, root, 0)?;
        for (place, token) in tokens.iter().enumerate() {
            let child = self.position(place, token)?;
            let start = self.open[place].children[child].span.start;
            self.open_at(place + 1, start, place + 1)?;
        }
        Some(tokens.len())
    }

    /// Lists the children of the container at `start`, unless they are listed already.
    fn open_at(&mut self, place: usize, start: usize, depth: usize) -> Option<()> {
        if self.open.get(place).is_some_and(|open| open.start == start) {
            return Some(());
        }
        if !is_container(self.text, start) {
            return None;
        }
        self.open.truncate(place);
        let mut children = Children::of(self.text, start).ok()?;
        let mut opened = OpenContainer {
            start,
            object: children.is_object(),
            children: Vec::new(),
        };
        while let Some(child) = children.next().ok()? {
            let end = self
                .index
                .value_end(self.text, child.start, depth + 1)
                .ok()?;
            self.budget.spend(1, end - child.lead).ok()?;
            opened.children.push(OpenChild {
                key: child.key.unwrap_or_default(),
                span: child.start..end,
            });
            children.passed(end);
        }
        self.open.push(opened);
        Some(())
    }

    /// Returns the child of the open container that a token names. Of equal keys the last counts.
    fn position(&mut self, place: usize, token: &str) -> Option<usize> {
        let OpenContainer {
            start,
            object,
            children,
        } = &self.open[place];
        if *object {
            self.budget.spend_comparisons(children.len(), token).ok()?;
            for (at, child) in children.iter().enumerate().rev() {
                if is_named(&self.text[child.key.clone()], token, &mut self.budget).ok()? {
                    return Some(at);
                }
            }
            return None;
        }
        let same = self.shortened.get(start).copied().unwrap_or(usize::MAX);
        pointer::index(token).filter(|&index| index < children.len() && index < same)
    }
}
