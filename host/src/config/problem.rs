//! What is wrong with a configuration, and where: worded for the one who has the file open.

use std::fmt;

/// One problem: the file, the line, the key, what came and what was wanted. Also a warning, where nothing is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// As the user named it.
    pub(crate) file: String,
    /// From 1; 0 where it concerns the file as a whole.
    pub(crate) line: usize,
    /// `upstream[0].base_url`; empty where it concerns no key.
    pub(crate) key: String,
    pub(crate) what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// All problems of a configuration, in the order of its lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// `, did you mean `x`?`, or nothing where no known word is near.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, known) {
        Some(near) => format!(", did you mean `{near}`?"),
        None => String::new(),
    }
}

/// The known word that was probably meant: at most a third of it is different.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |known: &&str| distance(word, known) <= (known.len() / 3).max(1);
    known
        .into_iter()
        .filter(near)
        .min_by_key(|known| distance(word, known))
}

/// Edits between two words, without regard to case and to `-` for `_`.
fn distance(left: &str, right: &str) -> usize {
    let fold = |word: &str| -> Vec<char> {
        word.chars()
            .map(|c| {
                if c == '-' {
                    '_'
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect()
    };
    let (left, right) = (fold(left), fold(right));
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_its_neighbour_and_a_strange_one_none() {
        let known = ["base_url", "accounts", "name"];
        assert_eq!(nearest("base-url", known), Some("base_url"));
        assert_eq!(nearest("acounts", known), Some("accounts"));
        assert_eq!(nearest("url", known), None);
        assert_eq!(nearest("colour", known), None);
    }

    #[test]
    fn a_problem_leaves_out_what_it_does_not_know() {
        let problem = |line, key: &str| Problem {
            file: "witgate.toml".into(),
            line,
            key: key.into(),
            what: "no such file".into(),
        };
        assert_eq!(problem(0, "").to_string(), "witgate.toml: no such file");
        assert_eq!(
            problem(3, "listen").to_string(),
            "witgate.toml:3: listen: no such file"
        );
    }
}
