//! Tool names both ways: Gemini takes fewer than Anthropic.
//!
//! A name becomes another by itself alone, so that history and declarations agree in every turn, whatever other tools come
//! and go.

use std::{borrow::Cow, collections::HashMap};

/// Older models refuse longer names.
const LONGEST: usize = 64;

/// What the model's calls are called to the client.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names(HashMap<String, String>);

impl Names {
    /// Learns a tool's name and returns the one that Gemini hears. A name that is declared twice is none the second time.
    pub(crate) fn declare(&mut self, name: &str) -> Option<String> {
        let wire = on_the_wire(name).into_owned();
        let old = self.0.insert(wire.clone(), name.to_owned());
        old.is_none().then_some(wire)
    }

    /// The client's name for a function that the model calls. Models now and then put the name of the library before it in
    /// which they imagine the functions.
    pub(crate) fn of_client<'a>(&'a self, called: &'a str) -> &'a str {
        let bare = || {
            called
                .strip_prefix("default_api")
                .and_then(|rest| rest.strip_prefix([':', '.']))
        };
        let known = self.0.get(called).or_else(|| self.0.get(bare()?));
        known.map_or(called, String::as_str)
    }
}

/// The name that Gemini hears: letters, digits and `_.:-`, a letter or `_` first. A changed one ends with a hash of the
/// client's, for two may become alike.
pub(crate) fn on_the_wire(name: &str) -> Cow<'_, str> {
    let may_begin = |c: char| c.is_ascii_alphabetic() || c == '_';
    let may_stand = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    if name.starts_with(may_begin) && name.chars().all(may_stand) && name.len() <= LONGEST {
        return Cow::Borrowed(name);
    }
    let mut wire: String = name
        .chars()
        .map(|c| if may_stand(c) { c } else { '_' })
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
    fn a_name_that_gemini_takes_stays() {
        for name in ["Bash", "mcp__github__create-issue", "_x", "a.b:c-d"] {
            assert_eq!(on_the_wire(name), name);
        }
    }

    #[test]
    fn other_names_are_changed_the_same_way_each_time_and_back() {
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
    fn an_imagined_library_before_a_known_name_is_taken_off() {
        let mut names = Names::default();
        names.declare("Bash");
        assert_eq!(names.of_client("default_api:Bash"), "Bash");
        assert_eq!(names.of_client("default_api.Bash"), "Bash");
        assert_eq!(names.of_client("default_api:Other"), "default_api:Other");
    }
}
