//! Queries and rewrites of a request's body. Patches and removals are the document engine's alone.

use bytes::Bytes;
use witgate_document::{Document, Outline, Path};

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
