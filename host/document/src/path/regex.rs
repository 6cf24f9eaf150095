//! I-Regexps, RFC 9485, on an automaton that is built while it reads.

use std::panic::{RefUnwindSafe, UnwindSafe};

use regex_automata::{
    Anchored, Input,
    hybrid::{
        LazyStateID,
        dfa::{Cache, DFA},
    },
    nfa::thompson::WhichCaptures,
    util::{pool::Pool, syntax},
};

use super::literal_prefilter;
use crate::{Error, budget::Budget};

/// The maximum memory in bytes of a compiled pattern. Larger ones, such as nested counts, match
/// nothing.
pub(super) const MAX_SIZE: usize = 1 << 20;

/// The maximum length of a pattern in bytes.
pub(super) const MAX_LENGTH: usize = 4_096;

/// The maximum nesting of groups. This module does not recurse over a pattern, but the engine does.
pub(super) const MAX_GROUPS: u32 = 50;

/// The cost of one pattern state in a step to a new state of the automaton, in scanned bytes.
pub(super) const STATE: usize = 8;

/// The cost of compiling, in scanned bytes: of each byte of a pattern, which may be a class of a
/// thousand characters, and of each byte that it compiles to.
pub(super) const PARSED: usize = 16 << 10;
pub(super) const COMPILED: usize = 32;

/// Whether what a group matched can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Groups {
    Numbered,
    Unnumbered,
}

#[derive(Debug)]
pub(crate) struct Regex {
    dfa: DFA,
    caches: Pool<Cache, NewCache>,
    anchored: Anchored,
    /// The literal that every match contains, in lower case, as `literal_prefilter` finds it.
    pub(super) required_literal: Option<String>,
}

type NewCache = Box<dyn Fn() -> Cache + Send + Sync + UnwindSafe + RefUnwindSafe>;

impl Regex {
    /// Compiles a pattern. `None` if it is too large or not an I-Regexp: by RFC 9535 such a pattern
    /// matches nothing.
    pub(crate) fn new(pattern: &str, whole: bool) -> Option<Self> {
        if pattern.len() > MAX_LENGTH {
            return None;
        }
        let translated = translate(pattern, Groups::Unnumbered)?;
        let (expression, anchored) = if whole {
            (format!("(?:{translated})$"), Anchored::Yes)
        } else {
            (translated, Anchored::No)
        };
        let states = DFA::config()
            .cache_capacity(MAX_SIZE)
            // A large pattern gets the least that it needs.
            .skip_cache_capacity_check(true);
        let pattern_states = regex_automata::nfa::thompson::Config::new()
            .nfa_size_limit(Some(MAX_SIZE))
            .which_captures(WhichCaptures::None);
        let dfa = DFA::builder()
            .configure(states)
            .thompson(pattern_states)
            .syntax(syntax::Config::new().nest_limit(MAX_GROUPS))
            .build(&expression)
            .ok()?;
        let of = dfa.clone();
        let new_cache: NewCache = Box::new(move || of.create_cache());
        Some(Self {
            dfa,
            caches: Pool::new(new_cache),
            anchored,
            required_literal: literal_prefilter::of_pattern(pattern),
        })
    }

    /// Compiles a pattern that was read from a document, which may have another one in every node.
    pub(crate) fn found(
        pattern: &str,
        whole: bool,
        budget: &mut Budget,
    ) -> Result<Option<Self>, Error> {
        let spend = |cost: usize, budget: &mut Budget| {
            budget.spend(1, cost).map_err(|_| {
                Error::TooMuch(
                    "the document has too many or too large regular expressions".to_owned(),
                )
            })
        };
        spend(pattern.len().min(MAX_LENGTH) * PARSED, budget)?;
        let regex = Self::new(pattern, whole);
        let size = match &regex {
            Some(regex) => regex.dfa.memory_usage(),
            // It may have failed for its size.
            None => MAX_SIZE,
        };
        spend(size * COMPILED, budget)?;
        Ok(regex)
    }

    /// Whether a text matches. It costs each byte that is read, and each step for which the
    /// automaton has no state yet. There may be such a step for every byte, and it takes as long as
    /// the pattern is large, repetitions written out.
    pub(crate) fn is_match(&self, text: &str, budget: &mut Budget) -> Result<bool, Error> {
        budget.spend(1, text.len())?;
        let mut cache = self.caches.get();
        let input = Input::new(text).anchored(self.anchored);
        self.spend_state(budget)?;
        let start = self.dfa.start_state_forward(&mut cache, &input);
        let mut state = start.map_err(|_| exhausted())?;
        for &byte in text.as_bytes() {
            // Only a state that is neither a match nor dead is not tagged.
            if state.is_tagged() {
                return Ok(state.is_match());
            }
            let next = self.dfa.next_state_untagged(&cache, state, byte);
            state = if next.is_unknown() {
                self.spend_state(budget)?;
                self.step(&mut cache, state, Some(byte))?
            } else {
                next
            };
        }
        if state.is_tagged() {
            return Ok(state.is_match());
        }
        self.spend_state(budget)?;
        // A match is found one step after its last byte.
        Ok(self.step(&mut cache, state, None)?.is_match())
    }

    /// Takes a step, to the end of the text if there is no byte, and makes the state if necessary.
    fn step(
        &self,
        cache: &mut Cache,
        state: LazyStateID,
        byte: Option<u8>,
    ) -> Result<LazyStateID, Error> {
        let next = match byte {
            Some(byte) => self.dfa.next_state(cache, state, byte),
            None => self.dfa.next_eoi_state(cache, state),
        };
        next.map_err(|_| exhausted())
    }

    fn spend_state(&self, budget: &mut Budget) -> Result<(), Error> {
        let cost = self.dfa.get_nfa().states().len() * STATE;
        budget.spend(0, cost).map_err(|_| exhausted())
    }
}

pub(super) fn exhausted() -> Error {
    Error::TooMuch(format!(
        "matching a regular expression costs more than {} bytes scanned; \
         smaller repetition counts make it cheaper",
        Budget::BYTES
    ))
}

/// Translates a pattern to the engine's syntax, which is larger than I-Regexp. What I-Regexp lacks
/// is rejected.
///
/// `^` and `$` stay the anchors they are in every engine that RFC 9485 maps to.
pub(super) fn translate(pattern: &str, groups: Groups) -> Option<String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    // Whether a quantifier may follow.
    let mut atom = false;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '.' => {
                out.push_str("[^\\n\\r]");
                atom = true;
            }
            '[' => {
                rest = class(rest, &mut out)?;
                atom = true;
            }
            '\\' => {
                rest = escape(rest, &mut out)?;
                atom = true;
            }
            '(' => {
                // Special groups such as `(?i)` are not I-Regexp.
                if rest.starts_with('?') {
                    return None;
                }
                out.push_str(match groups {
                    Groups::Numbered => "(",
                    Groups::Unnumbered => "(?:",
                });
                atom = false;
            }
            ')' => {
                out.push(')');
                atom = true;
            }
            '|' => {
                out.push('|');
                atom = false;
            }
            '*' | '+' | '?' => {
                if !atom {
                    return None;
                }
                out.push(c);
                // No second quantifier: `a*?` and `a**` are not I-Regexp.
                atom = false;
            }
            '{' => {
                let close = rest.find('}')?;
                if !atom || !is_quantity(&rest[..close]) {
                    return None;
                }
                out.push('{');
                out.push_str(&rest[..=close]);
                rest = &rest[close + 1..];
                atom = false;
            }
            ']' | '}' => return None,
            '^' | '$' => {
                out.push(c);
                atom = false;
            }
            c => {
                literal(c, &mut out);
                atom = true;
            }
        }
    }
    Some(out)
}

fn is_quantity(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.split_once(',') {
        None => digits(text),
        Some((least, most)) => digits(least) && (most.is_empty() || digits(most)),
    }
}

/// Writes a literal character.
fn literal(c: char, out: &mut String) {
    // `\<` and `\>` are word boundaries in the engine.
    if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
        out.push('\\');
    }
    out.push(c);
}

/// Translates what follows a backslash: a category or a single escaped character.
fn escape<'p>(rest: &'p str, out: &mut String) -> Option<&'p str> {
    let c = rest.chars().next()?;
    match c {
        'p' | 'P' => {
            let (name, rest) = rest[1..].strip_prefix('{')?.split_once('}')?;
            if !is_category(name) {
                return None;
            }
            out.push('\\');
            out.push(c);
            out.push_str(&format!("{{{name}}}"));
            Some(rest)
        }
        'n' | 'r' | 't' => {
            out.push('\\');
            out.push(c);
            Some(&rest[1..])
        }
        '('..='+' | '-' | '.' | '?' | '['..='^' | '{'..='}' => {
            literal(c, out);
            Some(&rest[1..])
        }
        _ => None,
    }
}

/// Whether RFC 9485 defines the general category.
fn is_category(name: &str) -> bool {
    let Some(first) = name.chars().next() else {
        return false;
    };
    let minor = match first {
        'L' => "lmotu",
        'M' => "cen",
        'N' => "dlo",
        'P' => "cdefios",
        'Z' => "lps",
        'S' => "ckmo",
        'C' => "cfno",
        _ => return false,
    };
    let rest = &name[1..];
    rest.is_empty() || (rest.len() == 1 && minor.contains(rest))
}

/// Translates a character class after its `[`.
fn class<'p>(rest: &'p str, out: &mut String) -> Option<&'p str> {
    out.push('[');
    let mut rest = rest;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut empty = true;
    // Whether the last item is a single character, which can start a range.
    let mut low = None;
    loop {
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        match c {
            ']' if empty => return None,
            ']' => {
                out.push(']');
                return Some(rest);
            }
            '-' if empty || rest.starts_with(']') => {
                out.push_str("\\-");
                low = None;
            }
            '-' => {
                low.take()?;
                out.push('-');
                let c = rest.chars().next()?;
                rest = &rest[c.len_utf8()..];
                match c {
                    '\\' if !rest.starts_with(['p', 'P']) => rest = escape(rest, out)?,
                    '\\' | '[' | ']' | '-' => return None,
                    c => literal(c, out),
                }
            }
            '[' => return None,
            '\\' => {
                low = (!rest.starts_with(['p', 'P'])).then_some(());
                rest = escape(rest, out)?;
            }
            c => {
                literal(c, out);
                low = Some(());
            }
        }
        empty = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(regex: &Regex, text: &str) -> Result<bool, Error> {
        regex.is_match(text, &mut Budget::new())
    }

    #[test]
    fn i_regexps_match() {
        for (pattern, text) in [
            ("a.*", "ab"),
            ("[a-c]{2,3}", "abc"),
            ("[-a]+", "-a-"),
            ("[a-]+", "a-"),
            ("[^0-9]", "x"),
            ("(a|b)c?", "b"),
            ("\\p{Lu}\\P{L}", "A1"),
            ("[\\p{Ll}\\n]+", "a\n"),
            ("a\\.b", "a.b"),
            ("#x~&&<>\"", "#x~&&<>\""),
            ("[a&&b]+", "a&b"),
            ("", ""),
        ] {
            let regex = Regex::new(pattern, true).expect(pattern);
            assert_eq!(is_match(&regex, text), Ok(true), "{pattern} {text}");
        }
        for (pattern, text) in [("a.", "a\n"), ("a|b", "ab"), ("b", "ab"), ("^b", "ab")] {
            let regex = Regex::new(pattern, true).expect(pattern);
            assert_eq!(is_match(&regex, text), Ok(false), "{pattern} {text}");
        }
    }

    #[test]
    fn extensions_of_other_engines_are_rejected() {
        for pattern in [
            "\\d",
            "\\w",
            "\\b",
            "(?i)a",
            "(?:a)",
            "a*?",
            "a**",
            "*",
            "a{",
            "a{x}",
            "a{,2}",
            "[",
            "[]",
            "[^]",
            "a]",
            "}",
            "\\",
            "\\p{Greek}",
            "\\u0041",
            "(",
            ")",
            "[[:alpha:]]",
            "[a-\\p{L}]",
            "[z-a]",
            "a{9999999}",
        ] {
            assert!(Regex::new(pattern, true).is_none(), "{pattern}");
        }
        assert!(Regex::new("((((a{1,99}){1,99}){1,99}){1,99}){1,99}", true).is_none());
    }
}
