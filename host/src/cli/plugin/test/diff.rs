//! Differences between two texts, line by line, for people.

use similar::TextDiff;

/// Lines before and after a difference.
const CONTEXT: usize = 2;

/// The lines in which two texts differ, with a few around them: `-` was expected, `+` came.
pub(super) fn diff(expected: &str, got: &str) -> String {
    let (expected, got): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), got.lines().collect());
    let compared = TextDiff::from_slices(&expected, &got);
    let mut text = String::new();
    let mut shown = 0;
    for group in compared.grouped_ops(CONTEXT) {
        let begin = group.first().map_or(0, |op| op.old_range().start);
        if begin > shown {
            text.push_str("  ...\n");
        }
        for change in group.iter().flat_map(|op| compared.iter_changes(op)) {
            // Its tag shows as ` `, `-` or `+`.
            text.push_str(&format!("{} {}\n", change.tag(), change.value().trim_end()));
        }
        shown = group.last().map_or(shown, |op| op.old_range().end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_near_a_difference_are_shown() {
        let expected = "1\n2\n3\n4\nold\n6\n7\n8\n9\n";
        let got = "1\n2\n3\n4\nnew\nmore\n6\n7\n8\n9\n";
        assert_eq!(
            diff(expected, got),
            "  ...\n  3\n  4\n- old\n+ new\n+ more\n  6\n  7\n"
        );
    }

    #[test]
    fn lines_in_both_texts_are_kept_and_equal_texts_show_nothing() {
        assert_eq!(diff("a\nb\nc\n", "b\nc\nd\n"), "- a\n  b\n  c\n+ d\n");
        assert_eq!(diff("a\nb\n", "a\nb\n"), "");
        assert_eq!(diff("", "a\n"), "+ a\n");
        assert_eq!(diff("a\n", ""), "- a\n");
    }
}
