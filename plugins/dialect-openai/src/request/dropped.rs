//! What a translation dropped or changed, as one line of the record. Never contains client content.

use std::collections::BTreeMap;

use witgate_plugin::dialect::DroppedFields;

/// Counts what was dropped or changed in one request.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    pub(crate) left_out: DroppedFields,
    changed: BTreeMap<&'static str, u32>,
    limited: Option<(u64, u64)>,
}

impl Dropped {
    pub(crate) fn left_out(&mut self, what: impl Into<String>) {
        self.left_out.add(what);
    }

    /// Counts one change.
    pub(crate) fn changed(&mut self, what: &'static str) {
        *self.changed.entry(what).or_default() += 1;
    }

    /// Notes that another `max_tokens` was sent.
    pub(crate) fn limited(&mut self, asked: u64, sent: u64) {
        self.limited = Some((asked, sent));
    }

    /// The line, always in the same order. `None` if nothing was dropped or changed.
    pub(crate) fn line(&self) -> Option<String> {
        let limited = self
            .limited
            .map(|(asked, sent)| format!("max_tokens {asked} as {sent}"));
        let changed = self.changed.iter().map(|(what, count)| match count {
            1 => (*what).to_owned(),
            count => format!("{what}({count})"),
        });
        let changed: Vec<String> = limited.into_iter().chain(changed).collect();
        let changed = (!changed.is_empty()).then(|| format!("changed: {}", changed.join(", ")));
        let parts: Vec<String> = self.left_out.line().into_iter().chain(changed).collect();
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
        dropped.changed("tool_result without its call");
        dropped.changed("tool_result without its call");
        dropped.limited(128_000, 8_192);
        let changed = "changed: max_tokens 128000 as 8192, tool_result without its call(2)";
        assert_eq!(dropped.line().as_deref(), Some(changed));
        dropped.left_out("metadata");
        let line = format!("left out: metadata; {changed}");
        assert_eq!(dropped.line(), Some(line));
    }
}
