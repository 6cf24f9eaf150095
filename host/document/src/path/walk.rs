//! Walks a text along a query. It reads only what the query leads to, and of that only where
//! children end.
//!
//! Nodes come in the order of RFC 9535 without lists between the segments. Each node that a segment
//! selects is followed to the end before the next, which gives the same order. So a caller can stop
//! at the first. The file is long because segments, selectors and children call one another in
//! turn.

use std::{
    cell::{Cell, OnceCell},
    collections::HashSet,
    ops::ControlFlow,
    ops::Range,
    sync::Arc,
};

use super::{Path, Segment, Selector, regex::Regex};
use crate::{
    Error,
    budget::Budget,
    index::Index,
    pointer,
    scan::{Children, is_container, root, value_end},
    search::{self, Occurrences},
    string,
};

/// Which of several members with the same name are nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duplicates {
    /// The last, as for most readers.
    Last,
    /// Every one. Removing one of them must not reveal another.
    All,
}

/// A value in the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) start: usize,
    /// An upper bound of its end.
    pub(crate) limit: usize,
    /// The number of containers around it.
    pub(crate) depth: usize,
}

/// A step from a container to a child.
#[derive(Clone, Debug)]
enum Step {
    Index(usize),
    /// The span of the key token.
    Key(Range<usize>),
    /// A slot of the path's words.
    Name(usize),
}

struct ChildNode {
    step: Step,
    span: Range<usize>,
}

pub(crate) type Flow = ControlFlow<()>;
pub(crate) type Sink<'s, 't> = &'s mut dyn FnMut(&mut Walk<'t>, Place) -> Result<Flow, Error>;

pub(crate) struct Walk<'t> {
    pub(super) text: &'t [u8],
    index: &'t Index,
    pub(crate) budget: Budget,
    pub(super) duplicates: Duplicates,
    /// Whether pointers or parents are needed. Otherwise elements need no indexes.
    numbered: bool,
    /// Whether a member was found that a later one shadows. `None` if that is not tracked.
    shadows: Option<bool>,
    /// The last pattern read from the document, since it rarely changes from node to node.
    pub(super) pattern: Option<(String, bool, Option<Regex>)>,
    path: &'t Path,
    /// Where each of the path's words may occur, searched for on first use.
    occurrences: Vec<OnceCell<Arc<Occurrences>>>,
    /// The number of times a node was visited where a search might have ruled it out.
    looks: Cell<usize>,
    /// The steps from the root to the current node, with the offset of the container of each.
    steps: Vec<(usize, Step)>,
}

impl<'t> Walk<'t> {
    pub(crate) fn new(
        text: &'t [u8],
        index: &'t Index,
        path: &'t Path,
        duplicates: Duplicates,
    ) -> Self {
        Self {
            text,
            index,
            budget: Budget::new(),
            duplicates,
            numbered: true,
            shadows: None,
            pattern: None,
            path,
            occurrences: path.words().iter().map(|_| OnceCell::new()).collect(),
            looks: Cell::new(0),
            steps: Vec::new(),
        }
    }

    /// Passes every node that the path selects to `sink` until it breaks.
    pub(crate) fn run(&mut self, sink: Sink<'_, 't>) -> Result<(), Error> {
        let root = self.root();
        self.follow(root, &self.path.query().segments, sink)
            .map(|_| ())
    }

    /// Drops the element indexes, so that the last elements of an array are found without counting
    /// the others. For callers that only ask whether there are nodes.
    pub(crate) fn unnumbered(self) -> Self {
        Self {
            numbered: false,
            ..self
        }
    }

    /// Tracks whether a reader would see all the members that are nodes.
    pub(crate) fn tracking_shadows(self) -> Self {
        Self {
            shadows: Some(false),
            ..self
        }
    }

    /// Whether a reader would miss a member that was found.
    pub(crate) fn found_shadows(&self) -> bool {
        self.shadows == Some(true)
    }

    /// Returns a word of the path, with the lifetime of the path.
    pub(super) fn word(&self, slot: usize) -> &'t str {
        &self.path.words()[slot].text
    }

    pub(crate) fn root(&self) -> Place {
        Place {
            start: root(self.text),
            limit: self.text.len(),
            depth: 0,
        }
    }

    /// Returns the span of a node, found by scanning it.
    pub(crate) fn span(&mut self, place: Place) -> Result<Range<usize>, Error> {
        if place.depth == 0 {
            return self.index.root_span(self.text);
        }
        let end = self.end(place.start, place.depth)?;
        self.budget.spend(1, end - place.start)?;
        Ok(place.start..end)
    }

    /// Returns the end of the value that starts at `start` and is nested in `depth` containers.
    fn end(&self, start: usize, depth: usize) -> Result<usize, Error> {
        self.index.value_end(self.text, start, depth)
    }

    /// Returns the pointer to the current node.
    pub(crate) fn pointer(&self) -> String {
        /// A length that covers most names.
        const NAME: usize = 12;

        let mut text = String::with_capacity(NAME * self.steps.len());
        for (_, step) in &self.steps {
            match step {
                Step::Index(index) => {
                    pointer::push_index(&mut text, *index);
                }
                Step::Key(key) => {
                    let name = string::inside(&self.text[key.clone()]);
                    pointer::push(&mut text, name.as_deref().unwrap_or_default());
                }
                Step::Name(slot) => pointer::push(&mut text, &self.path.words()[*slot].text),
            }
        }
        text
    }

    /// Returns the start of the container of the current node. `None` at the root.
    pub(crate) fn parent(&self) -> Option<usize> {
        self.steps.last().map(|(container, _)| *container)
    }

    pub(super) fn follow(
        &mut self,
        place: Place,
        segments: &'t [Segment],
        sink: Sink<'_, 't>,
    ) -> Result<Flow, Error> {
        let Some((segment, rest)) = segments.split_first() else {
            return sink(self, place);
        };
        if !is_container(self.text, place.start) {
            // An invalid value is an error even if nothing can be selected in it.
            if place.depth == 0 {
                value_end(self.text, place.start, 0)?;
            }
            return Ok(Flow::Continue(()));
        }
        // At the root the words may be anywhere in the text, and the index knows which may be keys.
        let may_hold = if place.depth == 0 {
            self.may_have(&segment.needs)
        } else {
            self.may_hold(&segment.needs, place.start..place.limit)
        };
        if !may_hold {
            return Ok(Flow::Continue(()));
        }
        if segment.deep {
            return self.descend(place, segment, rest, sink);
        }
        match (segment.selectors.as_slice(), self.duplicates) {
            ([Selector::Name(slot)], Duplicates::Last) => match self.member(place, *slot)? {
                Some(found) => self.step(place, Step::Name(*slot), found, rest, sink),
                None => Ok(Flow::Continue(())),
            },
            ([Selector::Index(index @ 0..)], _) => {
                let index = usize::try_from(*index).unwrap_or(usize::MAX);
                match self.element(place, index)? {
                    Some(found) => self.step(place, Step::Index(index), found, rest, sink),
                    None => Ok(Flow::Continue(())),
                }
            }
            _ => {
                let child_nodes = self.child_nodes(place, segment)?;
                self.choose(place, &child_nodes, segment, rest, sink)
            }
        }
    }

    /// Applies a `..` segment to a node and all its descendants, parents before children.
    fn descend(
        &mut self,
        place: Place,
        segment: &'t Segment,
        rest: &'t [Segment],
        sink: Sink<'_, 't>,
    ) -> Result<Flow, Error> {
        let base = self.steps.len();
        let mut place = place;
        // The remaining children of each level, so that depth costs heap instead of stack.
        let mut open: Vec<(Place, std::vec::IntoIter<ChildNode>)> = Vec::new();
        loop {
            let child_nodes = self.child_nodes(place, segment)?;
            if self
                .choose(place, &child_nodes, segment, rest, sink)?
                .is_break()
            {
                self.steps.truncate(base);
                return Ok(Flow::Break(()));
            }
            open.push((place, child_nodes.into_iter()));
            // Moves to the next container that may hold something, and up when a level is done.
            loop {
                let Some((above, child_nodes)) = open.last_mut() else {
                    return Ok(Flow::Continue(()));
                };
                let above = *above;
                let Some(child_node) = child_nodes.next() else {
                    open.pop();
                    self.steps.truncate(base + open.len().saturating_sub(1));
                    continue;
                };
                if is_container(self.text, child_node.span.start)
                    && self.may_hold(&segment.needs, child_node.span.clone())
                {
                    self.steps.push((above.start, child_node.step));
                    place = Place {
                        start: child_node.span.start,
                        limit: child_node.span.end,
                        depth: above.depth + 1,
                    };
                    break;
                }
            }
        }
    }

    /// Applies the selectors of a segment to the children of a node.
    fn choose(
        &mut self,
        place: Place,
        child_nodes: &[ChildNode],
        segment: &'t Segment,
        rest: &'t [Segment],
        sink: Sink<'_, 't>,
    ) -> Result<Flow, Error> {
        let array = self.text[place.start] == b'[';
        for selector in &segment.selectors {
            // Comparing a key costs far less than reading a node, but there may be many selectors.
            self.budget.spend(child_nodes.len() / 16, 0)?;
            let chosen: &mut dyn Iterator<Item = &ChildNode> = match selector {
                Selector::All | Selector::Filter(_) => &mut child_nodes.iter(),
                Selector::Name(slot) => {
                    let name = self.path.words()[*slot].text.as_str();
                    let text = self.text;
                    let named = move |child_node: &&ChildNode| match &child_node.step {
                        Step::Key(key) => string::spells(&text[key.clone()], name),
                        Step::Index(_) | Step::Name(_) => false,
                    };
                    &mut child_nodes.iter().filter(named)
                }
                Selector::Index(index) if array => {
                    let len = i64::try_from(child_nodes.len()).unwrap_or(i64::MAX);
                    let index = if *index < 0 { index + len } else { *index };
                    &mut usize::try_from(index)
                        .ok()
                        .and_then(|index| child_nodes.get(index))
                        .into_iter()
                }
                Selector::Slice { start, end, step } if array => {
                    &mut slice(child_nodes.len(), *start, *end, *step)
                        .filter_map(|index| child_nodes.get(index))
                }
                Selector::Index(_) | Selector::Slice { .. } => &mut std::iter::empty(),
            };
            for child_node in chosen {
                let child = Place {
                    start: child_node.span.start,
                    limit: child_node.span.end,
                    depth: place.depth + 1,
                };
                if let Selector::Filter(logic) = selector
                    && !self.is_wanted(logic, child)?
                {
                    continue;
                }
                if self
                    .step(place, child_node.step.clone(), child, rest, sink)?
                    .is_break()
                {
                    return Ok(Flow::Break(()));
                }
            }
        }
        Ok(Flow::Continue(()))
    }

    fn step(
        &mut self,
        from: Place,
        step: Step,
        to: Place,
        rest: &'t [Segment],
        sink: Sink<'_, 't>,
    ) -> Result<Flow, Error> {
        self.budget.spend(1, 0)?;
        self.steps.push((from.start, step));
        let flow = self.follow(to, rest, sink)?;
        self.steps.pop();
        Ok(flow)
    }

    /// Returns the children of a container. Later ones are left out if they cannot lead anywhere
    /// and their count does not matter.
    fn child_nodes(&mut self, place: Place, segment: &Segment) -> Result<Vec<ChildNode>, Error> {
        let mut children = Children::of(self.text, place.start)?;
        let object = children.is_object();
        if !self.numbered
            && let Some(most) = segment.tail()
            && let Some(last) = self.index.last_elements(self.text, place.start, most)
        {
            self.budget.spend(last.len(), 0)?;
            let step = Step::Index(0);
            let child_node = |span| ChildNode {
                step: step.clone(),
                span,
            };
            return Ok(last.into_iter().map(child_node).collect());
        }
        // In an object a later member may shadow an earlier one. An index from the end counts every
        // element.
        let uncounted = |selector: &Selector| {
            matches!(
                selector,
                Selector::All | Selector::Filter(_) | Selector::Name(_)
            )
        };
        let may_stop =
            !object && !segment.needs.is_empty() && segment.selectors.iter().all(uncounted);
        let mut child_nodes = Vec::new();
        while let Some(child) = children.next()? {
            if may_stop && !self.may_hold(&segment.needs, child.start..place.limit) {
                break;
            }
            let end = self.end(child.start, place.depth + 1)?;
            self.budget.spend(1, end - child.lead)?;
            let step = match child.key {
                Some(key) => Step::Key(key),
                None => Step::Index(child_nodes.len()),
            };
            child_nodes.push(ChildNode {
                step,
                span: child.start..end,
            });
            children.passed(end);
        }
        let drops = self.duplicates == Duplicates::Last;
        if object
            && (drops || self.shadows == Some(false))
            && let Some(mut last) = self.not_shadowed(&child_nodes)?
        {
            match drops {
                true => child_nodes.retain(|_| last.pop().unwrap_or(true)),
                false => self.shadows = Some(true),
            }
        }
        Ok(child_nodes)
    }

    /// Returns which of the members, from the last to the first, are the last of their name. `None`
    /// if all are.
    fn not_shadowed(&self, child_nodes: &[ChildNode]) -> Result<Option<Vec<bool>>, Error> {
        /// Up to this many members, comparing all pairs is faster than hashing.
        const FEW: usize = 8;

        let text = self.text;
        let token = |child_node: &ChildNode| match &child_node.step {
            Step::Key(key) => &text[key.clone()],
            Step::Index(_) | Step::Name(_) => &[],
        };
        let plain = |child_node: &ChildNode| {
            token(child_node)
                .iter()
                .all(|&b| b != b'\\' && b.is_ascii())
        };
        if child_nodes.len() <= FEW && child_nodes.iter().all(plain) {
            let shadowed = |(index, child_node): (usize, &ChildNode)| {
                child_nodes[index + 1..]
                    .iter()
                    .any(|later| token(later) == token(child_node))
            };
            if !child_nodes.iter().enumerate().any(shadowed) {
                return Ok(None);
            }
        }
        let mut seen = HashSet::with_capacity(child_nodes.len());
        let mut keep = Vec::with_capacity(child_nodes.len());
        for child_node in child_nodes.iter().rev() {
            let name = string::inside(token(child_node));
            let fault = || {
                Error::document(
                    child_node.span.start,
                    "malformed escape in the key of this member",
                )
            };
            keep.push(seen.insert(name.ok_or_else(fault)?));
        }
        Ok(keep.contains(&false).then_some(keep))
    }

    /// Returns the number of children that are nodes.
    pub(super) fn count_children(&mut self, place: Place) -> Result<usize, Error> {
        let everything = Segment {
            deep: false,
            selectors: vec![Selector::All],
            needs: Vec::new(),
        };
        Ok(self.child_nodes(place, &everything)?.len())
    }

    /// Returns the last member of a name. It stops as soon as no later one is possible.
    fn member(&mut self, place: Place, slot: usize) -> Result<Option<Place>, Error> {
        let at = |start| Place {
            start,
            limit: place.limit,
            depth: place.depth + 1,
        };
        let name = self.path.words()[slot].text.as_str();
        if place.depth == 0 && self.text[place.start] == b'{' {
            let known = self.index.top(self.text, name);
            let known = known.map(|value| value.map(|value| value.start));
            let searched = || search::top_start(self.text, place.start, self.occurrences(slot));
            if let Some(known) = known.or_else(searched) {
                return Ok(known.map(at));
            }
        }
        let mut children = Children::of(self.text, place.start)?;
        if !children.is_object() {
            return Ok(None);
        }
        let mut found = None;
        // The offset from which the text is unread, or read only to find that it is invalid.
        let mut unread = place.start;
        let is_last = |walk: &Self, from| !walk.occurrences(slot).may_be_in(from..place.limit);
        loop {
            if self.pays() && is_last(self, unread) {
                return Ok(found);
            }
            let passed = children.next().and_then(|child| {
                let Some(child) = child else { return Ok(false) };
                unread = child.start;
                let named = |key: Range<usize>| string::spells(&self.text[key], name);
                if child.key.is_some_and(named) {
                    found = Some(at(child.start));
                }
                let end = self.end(child.start, place.depth + 1)?;
                self.budget.spend(1, end - child.lead)?;
                children.passed(end);
                unread = end;
                Ok(true)
            });
            match passed {
                Ok(true) => {}
                Ok(false) => return Ok(found),
                Err(error) => {
                    return if is_last(self, unread) {
                        Ok(found)
                    } else {
                        Err(error)
                    };
                }
            }
        }
    }

    fn element(&mut self, place: Place, index: usize) -> Result<Option<Place>, Error> {
        let mut children = Children::of(self.text, place.start)?;
        if children.is_object() {
            return Ok(None);
        }
        let mut count = 0;
        while let Some(child) = children.next()? {
            let end = self.end(child.start, place.depth + 1)?;
            self.budget.spend(1, end - child.lead)?;
            if count == index {
                return Ok(Some(Place {
                    start: child.start,
                    limit: end,
                    depth: place.depth + 1,
                }));
            }
            count += 1;
            children.passed(end);
        }
        Ok(None)
    }

    /// Whether all of these words that are keys may occur in the text.
    fn may_have(&self, needs: &[usize]) -> bool {
        let mut words = needs.iter().map(|&slot| &self.path.words()[slot]);
        words.all(|word| !word.key || self.index.may_have(self.text, &word.text))
    }

    /// Whether all of these words may occur in a part of the text. `true` if visiting is cheaper
    /// than a search.
    fn may_hold(&self, needs: &[usize], range: Range<usize>) -> bool {
        // The last first: words deeper in a path are rarer, and one absent word decides.
        needs.iter().rev().all(|&slot| {
            let word = &self.path.words()[slot];
            if self.occurrences[slot].get().is_none() {
                if word.key && !self.index.may_have(self.text, &word.text) {
                    return false;
                }
                if !self.pays() {
                    return true;
                }
            }
            self.occurrences(slot).may_be_in(range.clone())
        })
    }

    /// Whether to search the text for a word instead of visiting a node. A search costs as much as
    /// a number of nodes, more in a longer text. Once that many were visited, a search is worth it.
    fn pays(&self) -> bool {
        /// The bytes that a search covers in the time of one node.
        const PER_NODE: usize = 4_096;

        let looks = self.looks.get() + 1;
        self.looks.set(looks);
        looks > self.text.len() / PER_NODE
    }

    fn occurrences(&self, slot: usize) -> &Occurrences {
        self.occurrences[slot].get_or_init(|| {
            let word = &self.path.words()[slot];
            self.index.occurrences(self.text, &word.text, word.key)
        })
    }
}

/// Returns the indexes of a slice by RFC 9535, section 2.3.4.2.
fn slice(
    len: usize,
    start: Option<i64>,
    end: Option<i64>,
    step: i64,
) -> Box<dyn Iterator<Item = usize>> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let normal = |at: i64| if at < 0 { at + len } else { at };
    let index = |at: i64| usize::try_from(at).ok();
    // A step beyond the length takes one element, like the length itself.
    let stride = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
    if step > 0 {
        let lower = normal(start.unwrap_or(0)).clamp(0, len);
        let upper = normal(end.unwrap_or(len)).clamp(0, len);
        Box::new((lower..upper).step_by(stride).filter_map(index))
    } else if step < 0 {
        let upper = normal(start.unwrap_or(len - 1)).clamp(-1, len - 1);
        let lower = normal(end.unwrap_or(-len - 1)).clamp(-1, len - 1);
        Box::new((lower + 1..=upper).rev().step_by(stride).filter_map(index))
    } else {
        Box::new(std::iter::empty())
    }
}
