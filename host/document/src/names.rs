//! Which of many member names occur in a text, in one pass.

use memchr::memmem::Finder;

use crate::{
    Document,
    search::{escape_of, is_key, is_searchable, string_around},
    string,
};

/// How much of the text is searched for all names before the next part: small enough to stay in a core's cache,
/// so that the text comes from memory once however many names there are.
const PART: usize = 64 * 1_024;

/// Member names to look for, prepared once for many texts.
#[derive(Clone, Debug)]
pub struct Names {
    /// Sorted, each once.
    names: Vec<String>,
    /// The quoted names, in the same order.
    finders: Vec<Finder<'static>>,
    /// What every escape that could spell one of them begins with.
    escape: Finder<'static>,
    /// The UTF-16 units of all names, sorted: an escape of any other is not worth a look.
    units: Vec<u16>,
    /// The length of the longest name in bytes.
    longest: usize,
}

/// Which names occur in one text.
#[derive(Clone, Debug)]
pub struct Found {
    /// Sorted names with whether each may occur.
    names: Vec<(String, bool)>,
}

impl Names {
    /// Prepares a search for these names, in any order, repeated or not.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        let mut names: Vec<String> = names
            .into_iter()
            .map(|name| name.as_ref().to_owned())
            .collect();
        names.sort_unstable();
        names.dedup();
        let quoted = |name: &String| Finder::new(&format!("\"{name}\"")).into_owned();
        let ascii = names.iter().all(|name| name.is_ascii());
        let escape = escape_of(if ascii { "" } else { "\u{80}" });
        let mut units: Vec<u16> = names.iter().flat_map(|name| name.encode_utf16()).collect();
        units.sort_unstable();
        units.dedup();
        Self {
            units,
            longest: names.iter().map(String::len).max().unwrap_or(0),
            finders: names.iter().map(quoted).collect(),
            escape: Finder::new(escape),
            names,
        }
    }

    /// Searches the text of a document. Does not parse it, so it cannot fail.
    #[must_use]
    pub fn find_in(&self, document: &Document) -> Found {
        let text = &document.bytes()[..];
        // A name with characters that have short escapes is never ruled out.
        let mut found: Vec<bool> = self.names.iter().map(|name| !is_searchable(name)).collect();
        let mut from = 0;
        while from < text.len() && found.contains(&false) {
            let to = (from + PART).min(text.len());
            for (index, finder) in self.finders.iter().enumerate() {
                if !found[index] {
                    found[index] = occurs(text, from, to, finder);
                }
            }
            self.escaped(text, from, to, &mut found);
            from = to;
        }
        let names = self.names.iter().cloned().zip(found).collect();
        Found { names }
    }

    /// Marks the names that escapes between `from` and `to` spell.
    fn escaped(&self, text: &[u8], from: usize, to: usize, found: &mut [bool]) {
        let needle = self.escape.needle().len();
        let part = &text[from..(to + needle - 1).min(text.len())];
        for hit in self.escape.find_iter(part) {
            let unit = text.get(from + hit + 2..).and_then(string::unit);
            if unit.is_none_or(|unit| self.units.binary_search(&unit).is_err()) {
                continue;
            }
            let Some(token) = string_around(text, from + hit, self.longest) else {
                continue;
            };
            if !is_key(text, token.start, token.end) {
                continue;
            }
            let name = string::inside(&text[token]);
            let known = name.and_then(|name| {
                self.names
                    .binary_search_by(|known| known.as_str().cmp(&name))
                    .ok()
            });
            if let Some(index) = known {
                found[index] = true;
            }
        }
    }
}

/// Whether the quoted name stands as a key with its first byte between `from` and `to`.
fn occurs(text: &[u8], from: usize, to: usize, finder: &Finder<'_>) -> bool {
    let len = finder.needle().len();
    let part = &text[from..(to + len - 1).min(text.len())];
    finder
        .find_iter(part)
        .any(|hit| is_key(text, from + hit, from + hit + len))
}

impl Found {
    /// Whether `name` may occur as a key. `false` means that it certainly does not; a name that was not looked for
    /// may always occur.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match self
            .names
            .binary_search_by(|(known, _)| known.as_str().cmp(name))
        {
            Ok(index) => self.names[index].1,
            Err(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_keys_only() {
        let names = Names::new(["model", "stream", "thread", "absent", "a/b", "model"]);
        let document =
            Document::new(r#"{"model":"stream","x":{"thr\u0065ad" : 1},"y":"\"absent\":"}"#);
        let found = names.find_in(&document);
        assert!(found.has("model") && found.has("thread"));
        assert!(!found.has("stream") && !found.has("absent"));
        assert!(found.has("a/b"), "it could be spelt `a\\/b`");
        assert!(found.has("never asked for"));
    }

    #[test]
    fn a_name_across_parts_is_found() {
        for shift in 0..12 {
            let text = format!("{{\"x\":\"{}\",\"model\":1}}", "y".repeat(PART - shift));
            assert!(
                Names::new(["model"])
                    .find_in(&Document::new(text))
                    .has("model")
            );
            let text = format!(
                "{{\"x\":\"{}\",\"mod\\u0065l\":1}}",
                "y".repeat(PART - 7 - shift)
            );
            assert!(
                Names::new(["model"])
                    .find_in(&Document::new(text))
                    .has("model")
            );
        }
    }
}
