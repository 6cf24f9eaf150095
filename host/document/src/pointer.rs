//! JSON Pointers, RFC 6901.

use std::ops::Range;

use memchr::{memchr, memchr2};

use crate::{
    Error,
    budget::Budget,
    index::Index,
    scan::{Children, is_container, root},
    search::Occurrences,
    string,
};

/// Returns the unescaped reference tokens of a pointer.
pub(crate) fn parse(pointer: &str) -> Result<Vec<String>, Error> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = pointer.strip_prefix('/') else {
        return Err(Error::BadPath(format!(
            "pointer `{pointer}` does not begin with `/`"
        )));
    };
    let token = |token: &str| {
        if memchr(b'~', token.as_bytes()).is_none() {
            return Ok(token.to_owned());
        }
        let mut name = String::with_capacity(token.len());
        let mut chars = token.chars();
        while let Some(c) = chars.next() {
            name.push(match c {
                '~' => match chars.next() {
                    Some('0') => '~',
                    Some('1') => '/',
                    _ => {
                        return Err(Error::BadPath(format!(
                            "pointer `{pointer}` has a `~` that is not `~0` or `~1`"
                        )));
                    }
                },
                c => c,
            });
        }
        Ok(name)
    };
    let mut tokens = Vec::with_capacity(8);
    for part in rest.split('/') {
        tokens.push(token(part)?);
    }
    Ok(tokens)
}

/// Appends a slash and a reference token.
pub(crate) fn push(pointer: &mut String, name: &str) {
    pointer.push('/');
    if memchr2(b'~', b'/', name.as_bytes()).is_none() {
        pointer.push_str(name);
        return;
    }
    for c in name.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

/// Appends the reference token of an array element.
pub(crate) fn push_index(pointer: &mut String, index: usize) {
    pointer.push('/');
    // The digits from last to first. The count covers any number of bytes.
    let mut digits = [0; 20];
    let mut count = 0;
    let mut rest = index;
    while count == 0 || rest > 0 {
        digits[count] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        count += 1;
    }
    pointer.extend(digits[..count].iter().rev().copied().map(char::from));
}

/// Reads a reference token as an array index: digits without a leading zero.
pub(crate) fn index(token: &str) -> Option<usize> {
    let plain =
        token.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if plain { token.parse().ok() } else { None }
}

/// Returns the span of the value that the tokens lead to, if there is one. Of equal keys the last
/// counts.
pub(crate) fn locate(
    text: &[u8],
    index: &Index,
    tokens: &[String],
) -> Result<Option<Range<usize>>, Error> {
    locate_within(text, index, tokens, &mut Budget::new())
}

/// The same as [`locate`], for one of many pointers that share a budget.
pub(crate) fn locate_within(
    text: &[u8],
    index: &Index,
    tokens: &[String],
    budget: &mut Budget,
) -> Result<Option<Range<usize>>, Error> {
    let mut start = root(text);
    let mut rest = tokens;
    // The first step from an object is a search that skips everything before it.
    if let Some((first, after)) = tokens.split_first()
        && text.get(start) == Some(&b'{')
        && let Some(span) = index.find_top(text, first)
    {
        start = span.start;
        rest = after;
    }
    for (done, token) in rest.iter().enumerate() {
        let depth = tokens.len() - rest.len() + done + 1;
        match step((text, index), start, depth, token, budget)? {
            Some(next) => start = next,
            None => return Ok(None),
        }
    }
    let end = index.value_end(text, start, tokens.len())?;
    Ok(Some(start..end))
}

/// Goes from the container at `at` to the start of a child's value. The children are nested in
/// `depth` containers.
fn step(
    (text, known): (&[u8], &Index),
    at: usize,
    depth: usize,
    token: &str,
    budget: &mut Budget,
) -> Result<Option<usize>, Error> {
    if !is_container(text, at) {
        return Ok(None);
    }
    let mut children = Children::of(text, at)?;
    let object = children.is_object();
    let wanted = index(token).filter(|_| !object);
    let mut found = None;
    let mut count = 0;
    loop {
        let position = children.position();
        let child = children.next().and_then(|child| {
            if let Some(child) = child.as_ref().filter(|_| wanted != Some(count)) {
                let end = known.value_end(text, child.start, depth)?;
                budget.spend(1, end - child.lead)?;
                children.passed(end);
            }
            Ok(child)
        });
        match child {
            Ok(Some(child)) if wanted == Some(count) => return Ok(Some(child.start)),
            Ok(Some(child)) => {
                let named = |key: Range<usize>| string::spells(&text[key], token);
                if child.key.is_some_and(named) {
                    found = Some(child.start);
                }
            }
            Ok(None) => return Ok(found),
            Err(error) => {
                // Invalid text after the last member of that name was not asked for.
                let rest = position..text.len();
                let over = object && !Occurrences::of(text, rest.clone(), token).may_be_in(rest);
                return if over { Ok(found) } else { Err(error) };
            }
        }
        count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_unescaped_and_escaped_again() {
        let tokens = parse("/a~1b/~0~01//0").expect("valid");
        assert_eq!(tokens, ["a/b", "~~1", "", "0"]);
        let mut pointer = String::new();
        tokens.iter().for_each(|token| push(&mut pointer, token));
        assert_eq!(pointer, "/a~1b/~0~01//0");
        assert_eq!(parse(""), Ok(vec![]));
        for bad in ["a", "/~", "/~2", "#/a"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_index_is_written_in_digits() {
        for number in [0, 9, 10, 1_203, usize::MAX] {
            let mut pointer = String::new();
            push_index(&mut pointer, number);
            assert_eq!(pointer, format!("/{number}"));
            assert_eq!(index(&pointer[1..]), Some(number));
        }
    }

    #[test]
    fn an_index_has_no_leading_zero_and_no_sign() {
        assert_eq!(index("0"), Some(0));
        assert_eq!(index("10"), Some(10));
        for bad in [
            "",
            "00",
            "01",
            "-",
            "-1",
            "+1",
            "1e0",
            "99999999999999999999999",
        ] {
            assert_eq!(index(bad), None, "{bad}");
        }
    }

    #[test]
    fn pointers_lead_through_objects_and_arrays() {
        let text = br#"{"a":[{"b":1},{"b":2,"b":3}],"0":{"0":4}}"#;
        let at = |pointer: &str| {
            let span = locate(text, &Index::of(text), &parse(pointer).expect("valid"))
                .expect("valid json");
            span.map(|span| String::from_utf8_lossy(&text[span]).into_owned())
        };
        assert_eq!(at("/a/0/b").as_deref(), Some("1"));
        assert_eq!(at("/a/1/b").as_deref(), Some("3"));
        assert_eq!(at("/0/0").as_deref(), Some("4"));
        for missing in ["/a/2", "/a/-", "/a/b", "/b", "/a/0/b/c"] {
            assert_eq!(at(missing), None, "{missing}");
        }
    }
}
