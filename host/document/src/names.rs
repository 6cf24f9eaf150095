//! Which of many member names, and of other pieces of text, occur in a text, in one pass.

use memchr::memmem::Finder;

use crate::{
    Document, Path,
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
    /// Pieces of text in lower case, sorted, each once.
    fragments: Vec<String>,
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
    /// The same for pieces of text.
    fragments: Vec<(String, bool)>,
}

impl Names {
    /// Prepares a search for these names, in any order, repeated or not.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(|name| name.as_ref().to_owned());
        Self::prepare(names.collect(), Vec::new())
    }

    /// Prepares a search that tells which of these paths may select anything: for [`Found::allows`].
    pub fn of_paths<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        let (mut names, mut fragments) = (Vec::new(), Vec::new());
        for path in paths {
            names.extend(path.literals().map(str::to_owned));
            fragments.extend_from_slice(path.fragments());
        }
        Self::prepare(names, fragments)
    }

    fn prepare(mut names: Vec<String>, mut fragments: Vec<String>) -> Self {
        names.sort_unstable();
        names.dedup();
        fragments.sort_unstable();
        fragments.dedup();
        let quoted = |name: &String| Finder::new(&format!("\"{name}\"")).into_owned();
        let ascii = names.iter().all(|name| name.is_ascii());
        let escape = escape_of(if ascii { "" } else { "\u{80}" });
        let mut units: Vec<u16> = names.iter().flat_map(|name| name.encode_utf16()).collect();
        for fragment in &fragments {
            units.extend(fragment.encode_utf16());
            units.extend(fragment.to_ascii_uppercase().encode_utf16());
        }
        units.sort_unstable();
        units.dedup();
        Self {
            units,
            longest: names.iter().map(String::len).max().unwrap_or(0),
            finders: names.iter().map(quoted).collect(),
            escape: Finder::new(escape),
            names,
            fragments,
        }
    }

    /// Searches the text of a document. Does not parse it, so it cannot fail.
    #[must_use]
    pub fn find_in(&self, document: &Document) -> Found {
        let text = &document.bytes()[..];
        // A name with characters that have short escapes is never ruled out.
        let mut found: Vec<bool> = self.names.iter().map(|name| !is_searchable(name)).collect();
        let mut pieces = vec![false; self.fragments.len()];
        let mut from = 0;
        while from < text.len() && (found.contains(&false) || pieces.contains(&false)) {
            let to = (from + PART).min(text.len());
            for (index, finder) in self.finders.iter().enumerate() {
                if !found[index] {
                    found[index] = occurs(text, from, to, finder);
                }
            }
            for (fragment, found) in self.fragments.iter().zip(&mut pieces) {
                *found = *found || occurs_in_any_case(text, from, to, fragment.as_bytes());
            }
            self.escaped(text, from, to, &mut found, &mut pieces);
            from = to;
        }
        let names = self.names.iter().cloned().zip(found).collect();
        let fragments = self.fragments.iter().cloned().zip(pieces).collect();
        Found { names, fragments }
    }

    /// Marks the names that escapes between `from` and `to` spell, and the pieces of text that they could be a part of.
    fn escaped(
        &self,
        text: &[u8],
        from: usize,
        to: usize,
        found: &mut [bool],
        pieces: &mut [bool],
    ) {
        let needle = self.escape.needle().len();
        let part = &text[from..(to + needle - 1).min(text.len())];
        for hit in self.escape.find_iter(part) {
            let unit = text.get(from + hit + 2..).and_then(string::unit);
            let Some(unit) = unit.filter(|unit| self.units.binary_search(unit).is_ok()) else {
                continue;
            };
            for (fragment, found) in self.fragments.iter().zip(&mut *pieces) {
                *found |= char::from_u32(u32::from(unit))
                    .is_some_and(|letter| fragment.contains(letter.to_ascii_lowercase()));
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

/// Whether a piece of text begins between `from` and `to`, letters being equal in both cases.
///
/// Looks at three of its bytes in a block of places at once, in a form that compilers turn into vector instructions.
fn occurs_in_any_case(text: &[u8], from: usize, to: usize, fragment: &[u8]) -> bool {
    const BLOCK: usize = 64;
    /// Upper case, and some other bytes, to lower case: equal folded bytes are worth a closer look.
    const FOLD: u8 = 0x20;

    let last = fragment.len() - 1;
    let offsets = [0, last / 2 + 1, last].map(|offset| offset.min(last));
    let bytes = offsets.map(|offset| fragment[offset] | FOLD);
    let is_at = |at: usize| {
        text.get(at..at + fragment.len())
            .is_some_and(|piece| piece.eq_ignore_ascii_case(fragment))
    };
    // Where it could begin without going over the end.
    let to = to.min(text.len().saturating_sub(last));
    let mut at = from;
    while at + BLOCK <= to {
        let [a, b, c] = offsets.map(|offset| &text[at + offset..][..BLOCK]);
        let mut near = 0;
        for place in 0..BLOCK {
            near |= u8::from(a[place] | FOLD == bytes[0])
                & u8::from(b[place] | FOLD == bytes[1])
                & u8::from(c[place] | FOLD == bytes[2]);
        }
        if near != 0 && (at..at + BLOCK).any(is_at) {
            return true;
        }
        at += BLOCK;
    }
    (at..to).any(is_at)
}

impl Found {
    /// Whether a path may select anything. `false` means that it certainly does not; of a path that the search was not
    /// prepared for nothing is certain.
    #[must_use]
    pub fn allows(&self, path: &Path) -> bool {
        let may_be = |fragment: &String| {
            let known = self
                .fragments
                .binary_search_by(|(known, _)| known.cmp(fragment));
            known.map_or(true, |index| self.fragments[index].1)
        };
        path.literals().all(|name| self.has(name)) && path.fragments().iter().all(may_be)
    }

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
    fn a_path_is_ruled_out_by_a_word_that_is_nowhere() {
        let path = Path::parse(r#"$.a[?match(@, " *[Ww][Aa][Rr][Mm][Uu][Pp]")]"#).expect("a path");
        let names = Names::of_paths([&path]);
        let allows = |text: String| names.find_in(&Document::new(text)).allows(&path);
        assert!(!allows(r#"{"a":["warm up"]}"#.into()));
        assert!(!allows(r#"{"a":["x\u00e9 warm"]}"#.into()));
        assert!(!allows(r#"{"b":["warmup"]}"#.into()));
        assert!(!allows(r#"{"a":["warmu"#.into()));
        assert!(allows(r#"{"a":["Warmup"]}"#.into()));
        assert!(allows(r#"{"a":["\u0057armup"]}"#.into()));
        assert!(allows(r#"{"a":["war\u006dUP"]}"#.into()));
        for shift in 0..70 {
            let text = format!("{{\"x\":\"{}WARMup\",\"a\":[]}}", "w".repeat(PART - shift));
            assert!(allows(text), "{shift}");
            let text = format!("{{\"a\":\"{}\"}}", "warmu".repeat(shift));
            assert!(!allows(text), "{shift}");
        }
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
