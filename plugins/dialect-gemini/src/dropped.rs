//! What a translation dropped or changed, as one line of the exchange's record.

use std::collections::BTreeMap;

use witgate_plugin::dialect::DroppedFields;

/// Counts of words. The words are the dialect's own, never a client's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<String, u32>);

impl Counts {
    pub(crate) fn add(&mut self, word: impl Into<String>) {
        *self.0.entry(word.into()).or_default() += 1;
    }

    /// All words with their counts: `format(2), not`. `None` if nothing was counted.
    pub(crate) fn words(&self) -> Option<String> {
        let each = self.0.iter().map(|(word, times)| match times {
            1 => word.clone(),
            times => format!("{word}({times})"),
        });
        let all = each.collect::<Vec<_>>().join(", ");
        (!all.is_empty()).then_some(all)
    }
}

/// Everything that was dropped or changed in one request.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    /// Fields and blocks that were left out.
    pub(crate) left_out: DroppedFields,
    /// What was changed.
    pub(crate) changed: Counts,
    /// Keywords of tool schemas that Gemini does not enforce.
    pub(crate) keywords: Counts,
}

impl Dropped {
    /// The line, always the same for the same request. `None` if nothing was dropped or changed.
    pub(crate) fn line(&self) -> Option<String> {
        let changed = self
            .changed
            .words()
            .map(|words| format!("changed: {words}"));
        let keywords = self
            .keywords
            .words()
            .map(|words| format!("schema keywords: {words}"));
        let parts: Vec<String> = [self.left_out.line(), changed, keywords]
            .into_iter()
            .flatten()
            .collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_reported_in_one_line() {
        let mut dropped = Dropped::default();
        assert_eq!(dropped.line(), None);
        dropped.left_out.add("metadata");
        dropped.keywords.add("format");
        dropped.keywords.add("format");
        dropped.changed.add("max_tokens lowered to 65536");
        let line =
            "left out: metadata; changed: max_tokens lowered to 65536; schema keywords: format(2)";
        assert_eq!(dropped.line().as_deref(), Some(line));
    }
}
