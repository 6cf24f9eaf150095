//! Checks that a body has what the estimate needs.

use witgate_plugin::{EditError, Request};

/// Returns an error text that names the first invalid member, if there is one. Only members that
/// the estimate needs are checked; the rest of the body may still be invalid.
pub(crate) fn first_wrong(request: &Request) -> Result<Option<String>, EditError> {
    let shapes = Shapes::of(request)?;
    if let Some(wrong) = shapes.first_wrong() {
        return Ok(Some(wrong));
    }
    for member in ["role", "content"] {
        let without = request.select(&format!("$.messages[?!@.{member}]"))?;
        if let Some(at) = without.first() {
            let path = at.trim_start_matches('/').replace('/', ".");
            return Ok(Some(format!("{path}.{member}: Field required")));
        }
    }
    Ok(None)
}

/// The pointers of the body's top-level members, by type.
#[derive(Debug, Default)]
struct Shapes {
    all: Vec<String>,
    texts: Vec<String>,
    lists: Vec<String>,
    empty_lists: Vec<String>,
}

impl Shapes {
    /// Finds the types with queries: only a string can be searched, and only a list has a first
    /// element.
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
        let exists = |name| has(&self.all, name);

        let wrong = if !exists("model") {
            "model: Field required"
        } else if !is_text("model") {
            "model: Input should be a valid string"
        } else if !exists("messages") {
            "messages: Field required"
        } else if !is_list("messages") {
            "messages: Input should be a valid list"
        } else if has(&self.empty_lists, "messages") {
            "messages: at least one message is required"
        } else if exists("system") && !is_text("system") && !is_list("system") {
            "system: Input should be a valid string or list"
        } else if exists("tools") && !is_list("tools") {
            "tools: Input should be a valid list"
        } else {
            return None;
        };
        Some(wrong.to_owned())
    }
}
