//! Differences between two texts, line by line, for people.

/// Lines before and after a difference.
const CONTEXT: usize = 2;

/// Longer differences are shown without looking for lines that both have.
const MOST: usize = 2_000;

/// A line of one text or of both.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Line<'a> {
    Both(&'a str),
    Expected(&'a str),
    Got(&'a str),
}

/// The lines in which two texts differ, with a few around them: `-` was expected, `+` came.
pub(super) fn diff(expected: &str, got: &str) -> String {
    let (expected, got): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), got.lines().collect());
    let lines = compare(&expected, &got);
    let differs = |at: usize| !matches!(lines[at], Line::Both(_));
    let mut text = String::new();
    let mut skipped = false;
    for (at, line) in lines.iter().enumerate() {
        let from = at.saturating_sub(CONTEXT);
        let to = (at + CONTEXT).min(lines.len() - 1);
        if !(from..=to).any(differs) {
            skipped = true;
            continue;
        }
        if std::mem::take(&mut skipped) {
            text.push_str("  ...\n");
        }
        let (mark, line) = match line {
            Line::Both(line) => (' ', line),
            Line::Expected(line) => ('-', line),
            Line::Got(line) => ('+', line),
        };
        text.push_str(&format!("{mark} {}\n", line.trim_end()));
    }
    text
}

fn compare<'a>(expected: &[&'a str], got: &[&'a str]) -> Vec<Line<'a>> {
    let same = |(a, b): &(&&str, &&str)| a == b;
    let start = expected.iter().zip(got).take_while(same).count();
    let ends = expected[start..]
        .iter()
        .rev()
        .zip(got[start..].iter().rev());
    let end = ends.take_while(same).count();
    let (middle, other) = (
        &expected[start..expected.len() - end],
        &got[start..got.len() - end],
    );
    let mut lines: Vec<Line> = expected[..start]
        .iter()
        .map(|line| Line::Both(line))
        .collect();
    if middle.len().max(other.len()) > MOST {
        lines.extend(middle.iter().map(|line| Line::Expected(line)));
        lines.extend(other.iter().map(|line| Line::Got(line)));
    } else {
        lines.extend(longest_common(middle, other));
    }
    let after = expected[expected.len() - end..].iter();
    lines.extend(after.map(|line| Line::Both(line)));
    lines
}

/// Keeps as many lines as both have in the same order.
fn longest_common<'a>(expected: &[&'a str], got: &[&'a str]) -> Vec<Line<'a>> {
    let (rows, columns) = (expected.len(), got.len());
    // How many lines the rests from here on have in common.
    let mut common = vec![vec![0_u32; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            common[row][column] = match expected[row] == got[column] {
                true => common[row + 1][column + 1] + 1,
                false => common[row + 1][column].max(common[row][column + 1]),
            };
        }
    }
    let (mut row, mut column, mut lines) = (0, 0, Vec::new());
    while row < rows || column < columns {
        if row < rows && column < columns && expected[row] == got[column] {
            lines.push(Line::Both(expected[row]));
            (row, column) = (row + 1, column + 1);
        } else if column == columns
            || row < rows && common[row + 1][column] >= common[row][column + 1]
        {
            lines.push(Line::Expected(expected[row]));
            row += 1;
        } else {
            lines.push(Line::Got(got[column]));
            column += 1;
        }
    }
    lines
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

    #[test]
    fn long_differences_are_shown_whole() {
        let long = |word: &str| format!("{word}\n").repeat(MOST + 1);
        let text = diff(&long("a"), &long("b"));
        assert_eq!(text.lines().count(), 2 * (MOST + 1));
    }
}
