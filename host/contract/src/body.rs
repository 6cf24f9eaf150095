//! Queries and rewrites of a request's body. Patches and removals are the document engine's alone.

use bytes::Bytes;
use witgate_document::{Document, Match, Operation, Outline, Part, Path};

use crate::{EditError, limits, text::clip};

/// A value in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it is: a JSON Pointer (RFC 6901).
    pub at: String,
    /// Its JSON text, byte for byte.
    pub value: String,
}

/// Reads a JSONPath query (RFC 9535).
///
/// # Errors
///
/// [`EditError::TooMuch`] over [`limits::QUERY`], [`EditError::BadQuery`] if it is malformed.
pub fn query(text: &str) -> Result<Path, EditError> {
    if text.len() > limits::QUERY {
        return Err(EditError::TooMuch(format!(
            "the query has {} bytes, the limit is {}",
            text.len(),
            limits::QUERY
        )));
    }
    Ok(Path::parse(text)?)
}

/// The pointers of all values that a query selects, in the order of RFC 9535.
///
/// # Errors
///
/// Those of [`query`], and those of the document engine.
pub fn select(body: &Document, text: &str) -> Result<Vec<String>, EditError> {
    Ok(body.select(&query(text)?)?)
}

/// As [`select`], with the JSON texts of the values.
///
/// # Errors
///
/// Those of [`select`]; [`EditError::TooMuch`] over [`limits::READ`] in all;
/// [`EditError::BadDocument`] for a value that is not UTF-8.
pub fn read(body: &Document, text: &str) -> Result<Vec<Node>, EditError> {
    let nodes = body.read(&query(text)?)?;
    let size: usize = nodes.iter().map(|node| node.value.len()).sum();
    if size > limits::READ {
        return Err(EditError::TooMuch(format!(
            "the query selects {size} bytes, the limit is {}",
            limits::READ
        )));
    }
    let node = |node: witgate_document::Node| match std::str::from_utf8(&node.value) {
        Ok(value) => Ok(Node {
            value: value.to_owned(),
            at: node.at,
        }),
        Err(_) => Err(EditError::BadDocument(format!(
            "the value at `{}` is not UTF-8",
            clip(&node.at)
        ))),
    };
    nodes.into_iter().map(node).collect()
}

/// What a regular expression matches in the strings that a query selects.
///
/// # Errors
///
/// Those of [`select`]; [`EditError::BadQuery`] if `regex` is not an I-Regexp;
/// [`EditError::TooMuch`] over [`limits::READ`] in all, pointers included.
pub fn find_matches(body: &Document, text: &str, regex: &str) -> Result<Vec<Match>, EditError> {
    let found = body.find_matches(&query(text)?, regex)?;
    let part = |part: &Part| part.at.len() + part.text.len();
    let groups = |found: &Match| found.groups.iter().flatten().map(part).sum::<usize>();
    let size: usize = found.iter().map(|one| part(&one.part) + groups(one)).sum();
    if size > limits::READ {
        return Err(EditError::TooMuch(format!(
            "the matches have {size} bytes, the limit is {}",
            limits::READ
        )));
    }
    Ok(found)
}

/// Replaces what a regular expression matches in the strings that a query selects. Returns the
/// edits that were made, as a patch.
///
/// # Errors
///
/// Those of [`find_matches`]; [`EditError::BadValue`] for a malformed replacement.
pub fn replace_matches(
    body: &mut Document,
    text: &str,
    regex: &str,
    replacement: &str,
) -> Result<Vec<Operation>, EditError> {
    Ok(body.replace_matches(&query(text)?, regex, replacement)?)
}

/// Replaces parts of strings. Returns the edits that were made, as a patch.
///
/// # Errors
///
/// Those of the document engine.
pub fn replace_parts(
    body: &mut Document,
    mut parts: Vec<Part>,
) -> Result<Vec<Operation>, EditError> {
    body.replace_parts(&parts)?;
    // From the last to the first, so that each offset is that of the text before all of them.
    parts.sort_by_key(|part| (part.start, part.end));
    let edit = |part: Part| Operation::ReplacePart {
        at: part.at,
        start: part.start,
        end: part.end,
        text: part.text,
    };
    Ok(parts.into_iter().rev().map(edit).collect())
}

/// The body with a placeholder for each string value that takes more than `longest` bytes. `seed`
/// makes the placeholders hard to guess.
///
/// # Errors
///
/// Those of the document engine; [`EditError::TooMuch`] for a text over [`limits::READ`].
pub fn outline(body: &Document, longest: u32, seed: u64) -> Result<Outline, EditError> {
    let longest = usize::try_from(longest).unwrap_or(usize::MAX);
    let outline = body.outline(longest, seed)?;
    let size = outline.text().len();
    if size > limits::READ {
        return Err(EditError::TooMuch(format!(
            "the outline has {size} bytes, the limit is {}",
            limits::READ
        )));
    }
    Ok(outline)
}

/// Replaces the body by a text with placeholders of the last outline, if there was one. Returns
/// what the body is now.
///
/// # Errors
///
/// [`EditError::BadValue`] if the text is not JSON, or has a placeholder that the outline does not.
pub fn rewrite(
    body: &mut Document,
    outline: Option<&Outline>,
    text: &str,
) -> Result<Bytes, EditError> {
    let filled = match outline {
        Some(outline) => outline.fill(text)?,
        None => Outline::none().fill(text)?,
    };
    body.rewrite(filled.clone());
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_bounded_and_well_formed() {
        let long = |length: usize| format!("$['{}']", "a".repeat(length - 5));
        query(&long(limits::QUERY)).unwrap();
        assert!(matches!(
            query(&long(limits::QUERY + 1)),
            Err(EditError::TooMuch(_))
        ));
        assert!(matches!(query("messages"), Err(EditError::BadQuery(_))));
    }

    #[test]
    fn a_read_is_bounded_by_the_sum_of_its_values() {
        let text = |length: usize| format!(r#"["{}","x"]"#, "a".repeat(length - 5));
        let at_limit = Document::new(text(limits::READ));
        assert_eq!(read(&at_limit, "$[*]").unwrap().len(), 2);
        let over = Document::new(text(limits::READ + 1));
        assert!(matches!(read(&over, "$[*]"), Err(EditError::TooMuch(_))));
        assert_eq!(select(&over, "$[*]").unwrap(), ["/0", "/1"]);
        assert!(matches!(
            outline(&over, u32::MAX, 1),
            Err(EditError::TooMuch(_))
        ));
    }

    #[test]
    fn matches_are_bounded_by_the_sum_of_their_texts() {
        let text = |length: usize| format!(r#"["{}"]"#, "a".repeat(length));
        // With the pointer `/0`.
        let at_limit = Document::new(text(limits::READ - 2));
        assert_eq!(find_matches(&at_limit, "$[*]", "a+").unwrap().len(), 1);
        let over = Document::new(text(limits::READ - 1));
        let found = find_matches(&over, "$[*]", "a+");
        assert!(matches!(found, Err(EditError::TooMuch(_))), "{found:?}");
        // Nothing has to be returned to replace them.
        let mut replaced = over.clone();
        replace_matches(&mut replaced, "$[*]", "a+", "b").unwrap();
        assert_eq!(replaced.bytes(), r#"["b"]"#);
    }

    #[test]
    fn the_edits_of_parts_are_a_patch_that_applies_in_order() {
        let text = r#"["abc","def"]"#;
        let part = |at: &str, start, end| Part {
            at: at.to_owned(),
            start,
            end,
            text: "--".to_owned(),
        };
        let mut body = Document::new(text);
        let parts = vec![part("/0", 0, 1), part("/1", 1, 2), part("/0", 2, 3)];
        let edits = replace_parts(&mut body, parts).unwrap();
        assert_eq!(body.bytes(), r#"["--b--","d--f"]"#);
        let mut patched = Document::new(text);
        patched.patch(&edits).unwrap();
        assert_eq!(patched.bytes(), body.bytes());
    }

    #[test]
    fn a_rewrite_fills_the_placeholders_of_its_outline() {
        let mut body = Document::new(r#"{"a":"long text"}"#);
        let shown = outline(&body, 4, 1).unwrap();
        let new = shown.text().replace("\"a\"", "\"b\"");
        assert!(matches!(
            rewrite(&mut body, Some(&shown), "{"),
            Err(EditError::BadValue(_))
        ));
        rewrite(&mut body, Some(&shown), &new).unwrap();
        assert_eq!(body.bytes(), r#"{"b":"long text"}"#);
    }
}
