//! Replaces tool names that an upstream would reject.
//!
//! The same name always gets the same replacement, so the beginning of a conversation never
//! changes.

use std::collections::BTreeMap;

/// OpenAI's limit for a tool's name.
const LONGEST_NAME: usize = 64;

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
}
