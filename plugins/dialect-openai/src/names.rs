//! Replaces tool names and call ids that an upstream or the client would reject.
//!
//! The same name always gets the same replacement, so the beginning of a conversation never
//! changes.

use std::collections::BTreeMap;

/// OpenAI's limit for a tool's name.
const LONGEST_NAME: usize = 64;

/// OpenAI's limit for a call's id.
const LONGEST_ID: usize = 40;

/// A shorter id is likely to be reused in the next turn: `call_0`.
const SHORTEST_UNIQUE_ID: usize = 12;

/// Maps the upstream's tool names back to the client's.
#[derive(Debug, Default)]
pub(crate) struct Names {
    originals: BTreeMap<String, String>,
}

impl Names {
    /// Returns the name under which the tool is sent to the upstream.
    pub(crate) fn send(&mut self, name: String) -> String {
        if (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_plain) {
            return name;
        }
        let hash = hash(&[&name]);
        let plain: String = name
            .chars()
            .map(|c| if is_plain(c) { c } else { '_' })
            .collect();
        let kept = &plain[..plain.len().min(LONGEST_NAME - 9)];
        let short = format!("{kept}_{:08x}", hash >> 32);
        self.originals.insert(short.clone(), name);
        short
    }

    /// Returns the client's name of a tool.
    pub(crate) fn original<'a>(&'a self, name: &'a str) -> &'a str {
        self.originals.get(name).map_or(name, String::as_str)
    }
}

/// Returns the call id that is sent to the upstream.
pub(crate) fn id_to_upstream(id: String) -> String {
    if (1..=LONGEST_ID).contains(&id.len()) {
        return id;
    }
    format!("call_{:016x}", hash(&[&id]))
}

/// Returns the call id that is sent to the client.
///
/// This is the upstream's id if it is valid and long enough to be unique. Otherwise it is derived
/// from that id. `answer` identifies the response and `position` the call within it.
pub(crate) fn id_to_client(id: &str, answer: &[&str], position: usize) -> String {
    if id.len() >= SHORTEST_UNIQUE_ID && id.chars().all(is_plain) {
        return id.to_owned();
    }
    let position = position.to_string();
    let parts: Vec<&str> = answer.iter().copied().chain([&*position, id]).collect();
    format!("call_{:016x}", hash(&parts))
}

/// Whether both sides accept a character in names and ids.
pub(crate) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// FNV-1a, whose values are the same in every build.
pub(crate) fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_name_is_kept_and_any_other_is_restored() {
        let mut names = Names::default();
        for name in ["Read", "mcp__a__b-c", &"x".repeat(64)] {
            assert_eq!(names.send(name.to_owned()), name);
        }
        let long = "mcp__server__".to_owned() + &"x".repeat(80);
        for name in ["files.read", "größe", "", &long, &(long.clone() + "y")] {
            let sent = names.send(name.to_owned());
            assert!(
                (1..=64).contains(&sent.len()) && sent.chars().all(is_plain),
                "{sent}"
            );
            assert_eq!(sent, Names::default().send(name.to_owned()));
            assert_eq!(names.original(&sent), name);
        }
        assert_eq!(names.original("Read"), "Read");
        assert_eq!(names.originals.len(), 5);
    }

    #[test]
    fn a_long_id_is_always_shortened_in_the_same_way() {
        assert_eq!(id_to_upstream("toolu_01".to_owned()), "toolu_01");
        let long = "x".repeat(41);
        let short = id_to_upstream(long.clone());
        assert!(short.len() <= 40, "{short}");
        assert_eq!(short, id_to_upstream(long));
        assert!(!id_to_upstream(String::new()).is_empty());
    }

    #[test]
    fn a_missing_short_or_malformed_id_is_made_unique_and_never_changes() {
        assert_eq!(
            id_to_client("call_abcdefgh12", &["a"], 0),
            "call_abcdefgh12"
        );
        for id in ["", "call_0", "functions.Read:0", "0"] {
            let made = id_to_client(id, &["answer-1"], 0);
            assert!(made.len() <= 40 && made.chars().all(is_plain), "{made}");
            assert_eq!(made, id_to_client(id, &["answer-1"], 0));
            assert_ne!(made, id_to_client(id, &["answer-2"], 0));
            assert_ne!(made, id_to_client(id, &["answer-1"], 1));
        }
    }
}
