//! Translates tool names in both directions: Gemini accepts fewer names than Anthropic.
//!
//! A replacement depends only on the name itself. History and declarations therefore agree in every
//! turn, even if other tools are added or removed.

use std::{borrow::Cow, collections::HashMap};

/// Older models reject longer names.
const LONGEST: usize = 64;

/// Maps Gemini's function names to the client's tool names.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names(HashMap<String, String>);

impl Names {
    /// Records a tool's name and returns the one for Gemini. `None` if it was declared before.
    pub(crate) fn declare(&mut self, name: &str) -> Option<String> {
        let wire = on_the_wire(name).into_owned();
        let old = self.0.insert(wire.clone(), name.to_owned());
        old.is_none().then_some(wire)
    }

    /// The client's name of a function that the model calls. Models sometimes prefix it with the
    /// name of an imagined library.
    pub(crate) fn of_client<'a>(&'a self, called: &'a str) -> &'a str {
        let bare = || {
            called
                .strip_prefix("default_api")
                .and_then(|name| name.strip_prefix([':', '.']))
        };
        let known = self.0.get(called).or_else(|| self.0.get(bare()?));
        known.map_or(called, String::as_str)
    }
}

/// The name for Gemini: letters, digits and `_.:-`, beginning with a letter or `_`.
///
/// A changed name ends with a hash of the client's, so that two names cannot become equal.
pub(crate) fn on_the_wire(name: &str) -> Cow<'_, str> {
    let may_begin = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    if name.starts_with(may_begin) && name.chars().all(is_plain) && name.len() <= LONGEST {
        return Cow::Borrowed(name);
    }
    let mut wire: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    if !wire.starts_with(may_begin) {
        wire.insert(0, '_');
    }
    wire.truncate(LONGEST - 9);
    Cow::Owned(format!("{wire}_{:08x}", hash(name)))
}

/// FNV-1a.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_gemini_accepts_is_kept() {
        for name in ["Bash", "mcp__github__create-issue", "_x", "a.b:c-d"] {
            assert_eq!(on_the_wire(name), name);
        }
    }

    #[test]
    fn other_names_are_always_replaced_in_the_same_way_and_restored() {
        let long = "x".repeat(65);
        let mut names = Names::default();
        for name in ["3d render", "3d/render", "-x", "größe", "", &long] {
            let wire = names.declare(name).unwrap();
            assert_eq!(wire, on_the_wire(name));
            assert!(
                wire.len() <= LONGEST && on_the_wire(&wire) == wire,
                "{wire}"
            );
            assert_eq!(names.of_client(&wire), name);
        }
        assert_eq!(names.declare("3d render"), None, "declared twice");
    }

    #[test]
    fn an_imagined_library_before_a_known_name_is_removed() {
        let mut names = Names::default();
        names.declare("Bash");
        assert_eq!(names.of_client("default_api:Bash"), "Bash");
        assert_eq!(names.of_client("default_api.Bash"), "Bash");
        assert_eq!(names.of_client("default_api:Other"), "default_api:Other");
    }
}
