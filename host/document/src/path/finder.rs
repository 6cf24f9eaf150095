//! Finds where an I-Regexp (RFC 9485) matches in a text.
//!
//! Of several matches the one that begins first counts. Of those the branch of an alternation that
//! is written first counts, and a quantifier takes as much as it can. The end of a match is found
//! by an automaton that reads on from the match before, its start by one that reads back from the
//! end. Both are built while they read, as in `regex`.

use std::ops::Range;

use regex_automata::{
    Anchored, Input, MatchKind,
    hybrid::{
        LazyStateID,
        dfa::{Cache, DFA},
    },
    nfa::thompson::{
        self, WhichCaptures,
        pikevm::{self, PikeVM},
    },
    util::syntax,
};

use super::{
    literal_prefilter,
    regex::{
        COMPILED, Groups, MAX_GROUPS, MAX_LENGTH, MAX_SIZE, PARSED, STATE, exhausted, translate,
    },
};
use crate::{Error, budget::Budget, literal_filter};

/// A pattern that is looked for in many texts.
#[derive(Debug)]
pub(crate) struct Finder {
    forward: Automaton,
    backward: Automaton,
    /// Finds the groups of a match. `None` if they are not asked for, or the pattern has no groups.
    groups: Option<(PikeVM, pikevm::Cache)>,
    /// The literal that every match contains, in lower case.
    required_literal: Option<String>,
    pattern: String,
    asked_for_groups: bool,
}

/// A match.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// In the text, in bytes. Never empty.
    pub(crate) span: Range<usize>,
    /// For each group of the pattern, what it matched last. Empty if groups are not asked for.
    pub(crate) groups: Vec<Option<Range<usize>>>,
}

#[derive(Debug)]
struct Automaton {
    dfa: DFA,
    cache: Cache,
}

impl Finder {
    /// Compiles a pattern, for `groups` as well if they are asked for. The budget pays for it.
    pub(crate) fn new(pattern: &str, groups: bool, budget: &mut Budget) -> Result<Self, Error> {
        if pattern.len() > MAX_LENGTH {
            return Err(Error::TooMuch(format!(
                "the regular expression has {} bytes, the limit is {MAX_LENGTH}",
                pattern.len()
            )));
        }
        budget.spend(1, pattern.len() * PARSED)?;
        let plain = translate(pattern, Groups::Unnumbered).ok_or_else(|| malformed(pattern))?;
        let forward = Automaton::of(&plain, false).ok_or_else(|| malformed(pattern))?;
        let backward = Automaton::of(&plain, true).ok_or_else(|| malformed(pattern))?;
        let size = forward.dfa.memory_usage() + backward.dfa.memory_usage();
        budget.spend(1, size * COMPILED)?;
        let group_finder = match groups && pattern.contains('(') {
            true => Some(find_groups(pattern).ok_or_else(|| malformed(pattern))?),
            false => None,
        };
        Ok(Self {
            forward,
            backward,
            groups: group_finder,
            required_literal: literal_prefilter::of_pattern(pattern),
            pattern: pattern.to_owned(),
            asked_for_groups: groups,
        })
    }

    /// Whether it is for this pattern.
    pub(crate) fn is_for(&self, pattern: &str, groups: bool) -> bool {
        self.pattern == pattern && self.asked_for_groups == groups
    }

    /// The number of groups, if they were asked for.
    pub(crate) fn group_count(&self) -> usize {
        let vm = self.groups.as_ref();
        vm.map_or(0, |(vm, _)| vm.get_nfa().group_info().all_group_len() - 1)
    }

    /// Whether a string token may contain a match. `false` is certain, and much faster to find out
    /// than to look for one.
    pub(crate) fn may_match(&self, token: &[u8]) -> bool {
        let literal = self.required_literal.as_ref();
        literal.is_none_or(|literal| literal_filter::may_hold(token, literal))
    }

    /// Passes the matches in `text` to `take`, from the first to the last. They do not overlap, and
    /// empty ones do not count.
    pub(crate) fn each(
        &mut self,
        text: &str,
        budget: &mut Budget,
        take: &mut dyn FnMut(Found, &mut Budget) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut from = 0;
        while let Some(end) = self.forward.next_end(text, from, budget)? {
            let start = self.backward.start_of(text, from..end, budget)?;
            if start == end {
                let Some(next) = text[end..].chars().next() else {
                    return Ok(());
                };
                from = end + next.len_utf8();
                continue;
            }
            let groups = self.groups_in(text, start..end, budget)?;
            let span = start..end;
            take(Found { span, groups }, budget)?;
            from = end;
        }
        Ok(())
    }

    fn groups_in(
        &mut self,
        text: &str,
        span: Range<usize>,
        budget: &mut Budget,
    ) -> Result<Vec<Option<Range<usize>>>, Error> {
        let Some((vm, cache)) = &mut self.groups else {
            return Ok(Vec::new());
        };
        let states = vm.get_nfa().states().len();
        let steps = (span.len() + 1).saturating_mul(states);
        budget
            .spend(1, steps.saturating_mul(STATE))
            .map_err(|_| exhausted())?;
        let mut captures = vm.create_captures();
        let input = Input::new(text).range(span).anchored(Anchored::Yes);
        vm.captures(cache, input, &mut captures);
        let groups = (1..captures.group_len()).map(|group| captures.get_group(group));
        Ok(groups
            .map(|group| group.map(|found| found.range()))
            .collect())
    }
}

impl Automaton {
    /// Builds the automaton that reads forward, or the one that reads backward.
    fn of(expression: &str, backward: bool) -> Option<Self> {
        let kind = match backward {
            true => MatchKind::All,
            false => MatchKind::LeftmostFirst,
        };
        let states = DFA::config()
            .match_kind(kind)
            .cache_capacity(MAX_SIZE)
            // A large pattern gets the least that it needs.
            .skip_cache_capacity_check(true);
        let pattern_states = thompson::Config::new()
            .nfa_size_limit(Some(MAX_SIZE))
            .reverse(backward)
            .which_captures(WhichCaptures::None);
        let dfa = DFA::builder()
            .configure(states)
            .thompson(pattern_states)
            .syntax(syntax::Config::new().nest_limit(MAX_GROUPS))
            .build(expression)
            .ok()?;
        let cache = dfa.create_cache();
        Some(Self { dfa, cache })
    }

    /// Returns the end of the first match from `from` on.
    fn next_end(
        &mut self,
        text: &str,
        from: usize,
        budget: &mut Budget,
    ) -> Result<Option<usize>, Error> {
        let input = Input::new(text).range(from..);
        self.spend_states(1, budget)?;
        let start = self.dfa.start_state_forward(&mut self.cache, &input);
        let mut state = start.map_err(|_| exhausted())?;
        let mut end = None;
        let bytes = text.as_bytes();
        for (at, &byte) in bytes.iter().enumerate().skip(from) {
            state = self.step(state, byte, budget)?;
            // A match is found one step after its last byte.
            if state.is_match() {
                end = Some(at);
            } else if state.is_dead() {
                budget.spend(0, at - from)?;
                return Ok(end);
            }
        }
        budget.spend(0, bytes.len() - from)?;
        self.spend_states(1, budget)?;
        let last = self.dfa.next_eoi_state(&mut self.cache, state);
        let is_match = last.map_err(|_| exhausted())?.is_match();
        Ok(is_match.then_some(bytes.len()).or(end))
    }

    /// Returns the first start of a match that ends where `within` does.
    fn start_of(
        &mut self,
        text: &str,
        within: Range<usize>,
        budget: &mut Budget,
    ) -> Result<usize, Error> {
        let input = Input::new(text)
            .range(within.clone())
            .anchored(Anchored::Yes);
        self.spend_states(1, budget)?;
        let start = self.dfa.start_state_reverse(&mut self.cache, &input);
        let mut state = start.map_err(|_| exhausted())?;
        let mut found = within.end;
        let bytes = text.as_bytes();
        for at in within.clone().rev() {
            state = self.step(state, bytes[at], budget)?;
            if state.is_match() {
                found = at + 1;
            } else if state.is_dead() {
                budget.spend(0, within.end - at)?;
                return Ok(found);
            }
        }
        budget.spend(0, within.len())?;
        self.spend_states(1, budget)?;
        let last = match within.start.checked_sub(1) {
            // What is before may matter for an anchor.
            Some(before) => self.dfa.next_state(&mut self.cache, state, bytes[before]),
            None => self.dfa.next_eoi_state(&mut self.cache, state),
        };
        let is_match = last.map_err(|_| exhausted())?.is_match();
        Ok(if is_match { within.start } else { found })
    }

    /// Takes a step, and makes the next state if necessary.
    fn step(
        &mut self,
        state: LazyStateID,
        byte: u8,
        budget: &mut Budget,
    ) -> Result<LazyStateID, Error> {
        if !state.is_tagged() {
            let next = self.dfa.next_state_untagged(&self.cache, state, byte);
            if !next.is_unknown() {
                return Ok(next);
            }
            self.spend_states(1, budget)?;
        }
        let before = self.cache.memory_usage();
        let next = self.dfa.next_state(&mut self.cache, state, byte);
        let next = next.map_err(|_| exhausted())?;
        // Whether a step from a match is made or known cannot be seen, so all steps from a new one
        // are paid for at once.
        if next.is_match() && self.cache.memory_usage() != before {
            self.spend_states(self.dfa.byte_classes().alphabet_len(), budget)?;
        }
        Ok(next)
    }

    /// Spends what it costs to make so many states.
    fn spend_states(&self, count: usize, budget: &mut Budget) -> Result<(), Error> {
        let cost = self.dfa.get_nfa().states().len() * STATE;
        budget
            .spend(0, cost.saturating_mul(count))
            .map_err(|_| exhausted())
    }
}

fn find_groups(pattern: &str) -> Option<(PikeVM, pikevm::Cache)> {
    let expression = translate(pattern, Groups::Numbered)?;
    let states = thompson::Config::new()
        .nfa_size_limit(Some(MAX_SIZE))
        .which_captures(WhichCaptures::All);
    let vm = PikeVM::builder()
        .thompson(states)
        .syntax(syntax::Config::new().nest_limit(MAX_GROUPS))
        .build(&expression)
        .ok()?;
    let cache = vm.create_cache();
    Some((vm, cache))
}

fn malformed(pattern: &str) -> Error {
    Error::BadPath(format!(
        "`{pattern}` is not a regular expression of RFC 9485 that compiles to at most {MAX_SIZE} \
         bytes; that RFC has no `\\d`, `\\w`, `\\b`, `(?i)` and no lazy quantifiers: write `[0-9]` \
         for `\\d`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn found(pattern: &str, text: &str) -> Vec<(String, Vec<Option<String>>)> {
        let mut budget = Budget::new();
        let mut finder = Finder::new(pattern, true, &mut budget).expect(pattern);
        let mut all = Vec::new();
        let mut take = |found: Found, _: &mut Budget| {
            let part = |span: Range<usize>| text[span].to_owned();
            let groups = found.groups.into_iter().map(|group| group.map(part));
            all.push((part(found.span), groups.collect()));
            Ok(())
        };
        finder.each(text, &mut budget, &mut take).expect(text);
        all
    }

    #[track_caller]
    fn matches(pattern: &str, text: &str) -> Vec<String> {
        found(pattern, text)
            .into_iter()
            .map(|(text, _)| text)
            .collect()
    }

    #[test]
    fn the_first_and_longest_by_the_pattern_is_found() {
        for (pattern, text, wanted) in [
            ("ab", "ab abab", &["ab", "ab", "ab"][..]),
            ("a+", "baaab a", &["aaa", "a"]),
            ("a|ab", "ab", &["a"]),
            ("ab|a", "ab a", &["ab", "a"]),
            ("a{2}", "aaaaa", &["aa", "aa"]),
            ("[0-9]+", "", &[]),
            ("x", "abc", &[]),
            ("é+", "aééb é", &["éé", "é"]),
            (".", "é\n\u{1f600}", &["é", "\u{1f600}"]),
            ("^a", "aa", &["a"]),
            ("a$", "aa", &["a"]),
            ("^ab$", "ab", &["ab"]),
            ("b$|a", "ab", &["a", "b"]),
            ("a.*z|a", "aaaz a", &["aaaz", "a"]),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn an_empty_match_does_not_count() {
        assert_eq!(matches("a*", "baac"), ["aa"]);
        assert_eq!(matches("", "ab"), [""; 0]);
        assert_eq!(matches("^", "ab"), [""; 0]);
        assert_eq!(matches("x*", "é\u{1f600}x"), ["x"]);
    }

    #[test]
    fn groups_are_numbered_by_where_they_open() {
        let part = |text: &str| Some(text.to_owned());
        assert_eq!(
            found("((a)|(b))(c?)", "ab"),
            [
                ("a".to_owned(), vec![part("a"), part("a"), None, part("")]),
                ("b".to_owned(), vec![part("b"), None, part("b"), part("")]),
            ]
        );
        // Of a repeated group the last repetition counts.
        assert_eq!(
            found("(ab|c)+$", "abc"),
            [("abc".to_owned(), vec![part("c")])]
        );
    }

    #[test]
    fn what_is_no_i_regexp_is_rejected() {
        let new = |pattern: &str| Finder::new(pattern, false, &mut Budget::new());
        for pattern in ["\\d", "(?i)a", "a*?", "(", "a{9999999}"] {
            assert!(matches!(new(pattern), Err(Error::BadPath(_))), "{pattern}");
        }
        let long = "a".repeat(MAX_LENGTH + 1);
        assert!(matches!(new(&long), Err(Error::TooMuch(_))));
    }

    #[test]
    fn reading_the_same_text_again_and_again_is_too_much() {
        let mut budget = Budget::new();
        let mut finder = Finder::new("a[^z]*z|a", false, &mut budget).expect("a pattern");
        let text = "a".repeat(1 << 18);
        let outcome = finder.each(&text, &mut budget, &mut |_, _| Ok(()));
        assert!(matches!(outcome, Err(Error::TooMuch(_))), "{outcome:?}");
    }

    #[test]
    fn a_long_match_costs_little_more_than_its_bytes() {
        let mut budget = Budget::new();
        let mut finder = Finder::new("[^ ]+", false, &mut budget).expect("a pattern");
        let before = budget.spent().1;
        let text = "x".repeat(1 << 20);
        finder
            .each(&text, &mut budget, &mut |_, _| Ok(()))
            .expect("little");
        let spent = budget.spent().1 - before;
        assert!(spent < 3 * text.len(), "{spent}");
    }
}
