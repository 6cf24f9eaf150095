//! I-Regexps, RFC 9485, on an engine with linear time.

use super::literal_prefilter;
use regex_automata::{Input, meta, util::syntax};

/// The maximum memory in bytes of a compiled pattern. Larger ones, such as nested counts, match
/// nothing.
const MAX_SIZE: usize = 1 << 20;

/// The compiled size in bytes that adds 1 to a pattern's cost per byte of text.
const WEIGHT: usize = 16 << 10;

/// The maximum length of a pattern in bytes.
const MAX_LENGTH: usize = 4_096;

/// The maximum nesting of groups. This module does not recurse over a pattern, but the engine does.
const MAX_GROUPS: u32 = 50;

#[derive(Clone, Debug)]
pub(crate) struct Regex {
    inner: meta::Regex,
    /// The cost of each byte of text, in scanned bytes. Large patterns are slow.
    pub(super) weight: usize,
    /// The literal that every match contains, in lower case, as `literal_prefilter` finds it.
    pub(super) required_literal: Option<String>,
}

impl Regex {
    /// Compiles a pattern. `None` if it is too large or not an I-Regexp: by RFC 9535 such a pattern
    /// matches nothing.
    pub(crate) fn new(pattern: &str, whole: bool) -> Option<Self> {
        if pattern.len() > MAX_LENGTH {
            return None;
        }
        let translated = translate(pattern)?;
        let anchored = if whole {
            format!("^(?:{translated})$")
        } else {
            translated
        };
        let config = meta::Config::new()
            .nfa_size_limit(Some(MAX_SIZE))
            .onepass_size_limit(Some(MAX_SIZE))
            .hybrid_cache_capacity(MAX_SIZE);
        let syntax = syntax::Config::new().nest_limit(MAX_GROUPS);
        let inner = meta::Builder::new()
            .configure(config)
            .syntax(syntax)
            .build(&anchored)
            .ok()?;
        let weight = 1 + inner.memory_usage() / WEIGHT;
        Some(Self {
            inner,
            weight,
            required_literal: literal_prefilter::of_pattern(pattern),
        })
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.inner.is_match(Input::new(text))
    }
}

/// Translates a pattern to the engine's syntax, which is larger than I-Regexp. What I-Regexp lacks
/// is rejected.
///
/// `^` and `$` stay the anchors they are in every engine that RFC 9485 maps to.
fn translate(pattern: &str) -> Option<String> {
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
                out.push_str("(?:");
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
            assert!(regex.is_match(text), "{pattern} {text}");
        }
        assert!(!Regex::new("a.", true).expect("valid").is_match("a\n"));
        assert!(!Regex::new("a|b", true).expect("valid").is_match("ab"));
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
