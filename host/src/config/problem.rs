//! Problems of a configuration: what is wrong, in which file, line and key.

use std::fmt;

/// One problem or warning: the file, the line, the key, and what it got against what it expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// As the user named it.
    pub(crate) file: String,
    /// Counted from 1. 0 means the file as a whole.
    pub(crate) line: usize,
    /// The path of the key, such as `upstream[0].base_url`. Empty if the problem has no key.
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

/// All problems of a configuration, sorted by line. Never empty.
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

/// Returns ``, did you mean `x`?``, or an empty string if no known word is similar.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, known) {
        Some(near) => format!(", did you mean `{near}`?"),
        None => String::new(),
    }
}

/// Returns the known word that is most similar: at most a third of it may differ.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |known: &&str| distance(word, known) <= (known.len() / 3).max(1);
    known
        .into_iter()
        .filter(near)
        .min_by_key(|known| distance(word, known))
}

/// Counts the edits between two words. Case does not count, and `-` equals `_`.
fn distance(left: &str, right: &str) -> usize {
    let fold = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    strsim::levenshtein(&fold(left), &fold(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_the_similar_one_and_an_unrelated_word_finds_none() {
        let known = ["base_url", "accounts", "name"];
        assert_eq!(nearest("base-url", known), Some("base_url"));
        assert_eq!(nearest("acounts", known), Some("accounts"));
        assert_eq!(nearest("url", known), None);
        assert_eq!(nearest("colour", known), None);
    }

    #[test]
    fn a_problem_without_a_line_or_key_omits_it() {
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
