//! Derives the index of an edited text from the index before the edit, without a second pass.

use std::ops::Range;

use super::{Index, indexer};
use crate::splice::Cut;

/// Maps offsets before the edit to offsets after it.
struct OffsetShift<'c> {
    cuts: &'c [Cut],
    /// The displacement after each number of cuts.
    moved: Vec<isize>,
}

impl Index {
    /// Returns the index of `new`, the text with these cuts applied. It lacks long values inside
    /// the new parts and may keep keys that are gone. `None` if the index has to be built from the
    /// text.
    pub(crate) fn after(&self, cuts: &[Cut], new: &[u8]) -> Option<Self> {
        let shift = OffsetShift::of(cuts)?;
        let mut keys = self.keys.as_ref()?.moved(|token| shift.span(token));
        // Those that are gone still count.
        let mut values = self.values;
        for (cut, moved) in cuts.iter().zip(&shift.moved) {
            if !cut.replacement.is_empty() {
                let at = cut.span.start.checked_add_signed(*moved)?;
                let added = indexer::index_text(&cut.replacement)?;
                keys.add_all(&added.keys, at);
                values += added.values + 1;
            }
        }
        let mut index = Self {
            starts: Vec::with_capacity(self.starts.len()),
            ends: Vec::with_capacity(self.ends.len()),
            keys: Some(keys),
            values,
            ..Self::default()
        };
        for (&start, &end) in self.starts.iter().zip(&self.ends) {
            let span = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
            if let Some(span) = shift.span(&span) {
                index.starts.push(u32::try_from(span.start).ok()?);
                index.ends.push(u32::try_from(span.end).ok()?);
            }
        }
        index.members = index.read_top(new);
        Some(index)
    }
}

impl<'c> OffsetShift<'c> {
    fn of(cuts: &'c [Cut]) -> Option<Self> {
        let mut moved = vec![0];
        let mut by = 0_isize;
        for cut in cuts {
            let (added, removed) = (cut.replacement.len(), cut.span.len());
            by = by
                .checked_add_unsigned(added)?
                .checked_sub_unsigned(removed)?;
            moved.push(by);
        }
        Some(Self { cuts, moved })
    }

    /// Returns the new span of a value. `None` if it was cut, alone or with its container.
    fn span(&self, span: &Range<usize>) -> Option<Range<usize>> {
        let before = self.before(span.start);
        if self
            .cuts
            .get(before)
            .is_some_and(|cut| cut.span.start <= span.start)
        {
            return None;
        }
        let start = span.start.checked_add_signed(self.moved[before])?;
        // A cut inside of the value also ends before the value does.
        let end = span
            .end
            .checked_add_signed(self.moved[self.before(span.end)])?;
        Some(start..end)
    }

    /// Returns the number of cuts that end at or before `at`.
    fn before(&self, at: usize) -> usize {
        self.cuts.partition_point(|cut| cut.span.end <= at)
    }
}
