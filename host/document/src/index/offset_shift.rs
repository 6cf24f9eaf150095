//! The index of a text that was edited, made from that of the text it was, so that an edit costs no second pass.

use std::ops::Range;

use super::{Index, indexer};
use crate::splice::Cut;

/// Where the bytes went that stayed.
struct OffsetShift<'c> {
    cuts: &'c [Cut],
    /// By how much what stands behind so many of the cuts has moved.
    moved: Vec<isize>,
}

impl Index {
    /// Of `new`, the text with these cuts made. What is long in the new parts is not in it, and keys that are gone may be.
    /// `None` where it has to be made from the text.
    pub(crate) fn after(&self, cuts: &[Cut], new: &[u8]) -> Option<Self> {
        let shift = OffsetShift::of(cuts)?;
        let mut keys = self.keys.as_ref()?.moved(|token| shift.span(token));
        for (cut, moved) in cuts.iter().zip(&shift.moved) {
            if !cut.replacement.is_empty() {
                let at = cut.span.start.checked_add_signed(*moved)?;
                keys.add_all(&indexer::index_text(&cut.replacement)?.keys, at);
            }
        }
        let mut index = Self {
            starts: Vec::with_capacity(self.starts.len()),
            ends: Vec::with_capacity(self.ends.len()),
            keys: Some(keys),
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

    /// Where a value is that was at `span`: `None` if it was cut, itself or with what it stands in.
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
        // What was cut inside of it has its end behind it, too.
        let end = span
            .end
            .checked_add_signed(self.moved[self.before(span.end)])?;
        Some(start..end)
    }

    /// How many cuts end at or before `at`.
    fn before(&self, at: usize) -> usize {
        self.cuts.partition_point(|cut| cut.span.end <= at)
    }
}
