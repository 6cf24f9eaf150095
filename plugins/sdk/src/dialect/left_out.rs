//! What a translation could not express.

use std::collections::BTreeMap;

/// Counts what is left out, by name, for one line of the record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut(BTreeMap<String, u32>);

impl LeftOut {
    /// Counts one more of these: the name of a field or of a kind of block, never content.
    pub fn add(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// Counts what another has counted.
    pub fn extend(&mut self, other: Self) {
        for (what, count) in other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// All of it in a line, the same for the same: `left out: metadata, redacted_thinking(2)`. `None` where nothing is.
    pub fn line(&self) -> Option<String> {
        let each = self.0.iter().map(|(what, count)| match count {
            1 => what.clone(),
            count => format!("{what}({count})"),
        });
        let all = each.collect::<Vec<_>>().join(", ");
        (!all.is_empty()).then(|| format!("left out: {all}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_stands_in_one_line_with_its_number() {
        let mut left_out = LeftOut::default();
        assert_eq!(left_out.line(), None);
        left_out.add("redacted_thinking");
        left_out.add("metadata");
        left_out.extend(left_out.clone());
        left_out.add("top_k");
        let line = "left out: metadata(2), redacted_thinking(2), top_k";
        assert_eq!(left_out.line().as_deref(), Some(line));
    }
}
