//! What a body must have to be counted, and what is said where it has not.

use witgate_plugin::{EditError, Request};

/// Names the first member that is wrong, if one is. Only what the estimate rests on is looked at, for this is no
/// validator of the API.
pub(crate) fn first_wrong(request: &Request) -> Result<Option<String>, EditError> {
    let shapes = Shapes::of(request)?;
    if let Some(wrong) = shapes.first_wrong() {
        return Ok(Some(wrong));
    }
    for member in ["role", "content"] {
        let without = request.select(&format!("$.messages[?!@.{member}]"))?;
        if let Some(at) = without.first() {
            let place = at.trim_start_matches('/').replace('/', ".");
            return Ok(Some(format!("{place}.{member}: Field required")));
        }
    }
    Ok(None)
}

/// The pointers of the body's own members, by what they are.
#[derive(Debug, Default)]
struct Shapes {
    all: Vec<String>,
    texts: Vec<String>,
    lists: Vec<String>,
    empty_lists: Vec<String>,
}

impl Shapes {
    /// A type is told by what a query can do with a value: only a text is searched, only a list has a first element.
    fn of(request: &Request) -> Result<Self, EditError> {
        let empty = request.read("$[?length(@) == 0]")?;
        Ok(Self {
            all: request.select("$[*]")?,
            texts: request.select(r#"$[?search(@, "")]"#)?,
            lists: request.select("$[?@[0]]")?,
            empty_lists: empty
                .into_iter()
                .filter(|node| node.value.starts_with('['))
                .map(|node| node.pointer)
                .collect(),
        })
    }

    fn first_wrong(&self) -> Option<String> {
        let has = |pointers: &[String], name: &str| pointers.iter().any(|at| at[1..] == *name);
        let is_text = |name| has(&self.texts, name);
        let is_list = |name| has(&self.lists, name) || has(&self.empty_lists, name);
        let there = |name| has(&self.all, name);

        let wrong = if !there("model") {
            "model: Field required"
        } else if !is_text("model") {
            "model: Input should be a valid string"
        } else if !there("messages") {
            "messages: Field required"
        } else if !is_list("messages") {
            "messages: Input should be a valid list"
        } else if has(&self.empty_lists, "messages") {
            "messages: at least one message is required"
        } else if there("system") && !is_text("system") && !is_list("system") {
            "system: Input should be a valid string or list"
        } else if there("tools") && !is_list("tools") {
            "tools: Input should be a valid list"
        } else {
            return None;
        };
        Some(wrong.to_owned())
    }
}
