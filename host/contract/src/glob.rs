//! Patterns for names of models and upstreams: `*` matches any text, and everything else itself.

/// Whether a pattern matches a whole name.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return name.ends_with(part);
        }
        // The earliest place leaves the most for what follows.
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_text_and_everything_else_itself() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "qwen3"),
            ("qwen3", "qwen3"),
            ("qwen*", "qwen3-coder"),
            ("*-thinking", "qwen3-thinking"),
            ("vendor/*-thinking*", "vendor/m-thinking-2507"),
            ("*a*a", "aa"),
            ("a**b", "ab"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("qwen", "qwen3"),
            ("qwen*", "Qwen3"),
            ("*-thinking", "qwen3-thinking-2507"),
            ("a*a", "a"),
            ("[ab]", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
