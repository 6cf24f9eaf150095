//! Counts what a translation cannot express.

use std::collections::BTreeMap;

/// Counts what a translation drops, by name, for one line of the record.
///
/// ```
/// use witgate_plugin::dialect::DroppedFields;
///
/// let mut dropped = DroppedFields::default();
/// dropped.add("top_k");
/// dropped.add("image");
/// dropped.add("image");
/// assert_eq!(dropped.line().as_deref(), Some("left out: image(2), top_k"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DroppedFields(BTreeMap<String, u32>);

impl DroppedFields {
    /// Counts one field or block, by its name or kind. Never add content.
    pub fn add(&mut self, name: impl Into<String>) {
        *self.0.entry(name.into()).or_default() += 1;
    }

    /// Forgets a name, for a dialect that can express it after all.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Adds the counts of another.
    pub fn extend(&mut self, other: Self) {
        for (name, count) in other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// All counts in one line, sorted by name: `left out: metadata, redacted_thinking(2)`. `None`
    /// if nothing was dropped.
    pub fn line(&self) -> Option<String> {
        let each = self.0.iter().map(|(name, count)| match count {
            1 => name.clone(),
            count => format!("{name}({count})"),
        });
        let all = each.collect::<Vec<_>>().join(", ");
        (!all.is_empty()).then(|| format!("left out: {all}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_fields_are_one_line_with_their_counts() {
        let mut dropped = DroppedFields::default();
        assert_eq!(dropped.line(), None);
        dropped.add("redacted_thinking");
        dropped.add("metadata");
        dropped.extend(dropped.clone());
        dropped.add("top_k");
        let line = "left out: metadata(2), redacted_thinking(2), top_k";
        assert_eq!(dropped.line().as_deref(), Some(line));
        dropped.remove("metadata");
        assert_eq!(
            dropped.line().as_deref(),
            Some("left out: redacted_thinking(2), top_k")
        );
    }
}
