//! Which messages stand side by side in one role, and what their content is made of.
//!
//! Contents may be long, so the gateway is asked for places and lengths; only short texts are read.

use std::collections::{BTreeMap, BTreeSet};

use witgate_plugin::{EditError, Node, Request};

use crate::merge::{Content, Turn};

pub(crate) const ROLES: &str = "$.messages[*].role";

/// In characters. A longer text is never read; it is moved where it lies, as a block.
const SHORT: usize = 1 << 18;

/// The indices of the messages that have a neighbour of the same role, run by run. System messages are no turns: they
/// stay where they are and part those around them.
pub(crate) fn same_role_runs(roles: &[Node]) -> Vec<Vec<usize>> {
    let mut runs: Vec<(String, Vec<usize>)> = Vec::new();
    for node in roles {
        let (Some(index), Ok(role)) = (message_index(&node.at), node.parse::<String>()) else {
            continue;
        };
        match runs.last_mut() {
            Some((last, run)) if *last == role && run.last() == Some(&(index.wrapping_sub(1))) => {
                run.push(index);
            }
            _ => runs.push((role, vec![index])),
        }
    }
    runs.into_iter()
        .filter(|(role, run)| run.len() > 1 && ["user", "assistant"].contains(&role.as_str()))
        .map(|(_, run)| run)
        .collect()
}

/// Looks at the messages of these runs.
pub(crate) fn turns(request: &Request, runs: &[Vec<usize>]) -> Result<Vec<Vec<Turn>>, EditError> {
    let members = format!("$.messages[{}]", union(runs));
    let mut found = Found::default();
    for pointer in request.select(&format!("{members}[*]"))? {
        found.member(&pointer);
    }
    // What is not a text has nothing to be searched; what has no length is not compared.
    for node in request.read(&format!(
        r#"{members}[?search(@, "") && length(@) <= {SHORT}]"#
    ))? {
        found.content(&node.at, Content::Text(node.value));
    }
    for pointer in request.select(&format!(
        r#"{members}[?search(@, "") && length(@) > {SHORT}]"#
    ))? {
        found.content(&pointer, Content::LongText);
    }
    // A slice selects of arrays only.
    for pointer in request.select(&format!("{members}.content[0:]"))? {
        found.block(&pointer);
    }
    for node in request.read(&format!("{members}[?length(@) == 0]"))? {
        if node.value.starts_with('[') {
            found.content(&node.at, Content::Blocks(0));
        }
    }
    let turn = |&index: &usize| Turn {
        index,
        content: found.take(index),
    };
    Ok(runs
        .iter()
        .map(|run| run.iter().map(turn).collect())
        .collect())
}

fn union(runs: &[Vec<usize>]) -> String {
    let indices: Vec<String> = runs.iter().flatten().map(usize::to_string).collect();
    indices.join(",")
}

/// What the queries found, by the index of the message.
#[derive(Debug, Default)]
struct Found {
    contents: BTreeMap<usize, Content>,
    /// Messages with other members than role and content. What they mean for the joined message nobody can say.
    others: BTreeSet<usize>,
}

impl Found {
    fn member(&mut self, pointer: &str) {
        let Some(index) = message_index(pointer) else {
            return;
        };
        if !pointer.ends_with("/role") && !pointer.ends_with("/content") {
            self.others.insert(index);
        }
    }

    fn content(&mut self, pointer: &str, content: Content) {
        if let (Some(index), true) = (message_index(pointer), pointer.ends_with("/content")) {
            self.contents.insert(index, content);
        }
    }

    fn block(&mut self, pointer: &str) {
        let Some(index) = message_index(pointer) else {
            return;
        };
        match self.contents.get_mut(&index) {
            Some(Content::Blocks(count)) => *count += 1,
            _ => {
                self.contents.insert(index, Content::Blocks(1));
            }
        }
    }

    fn take(&self, index: usize) -> Content {
        if self.others.contains(&index) {
            return Content::Untouchable;
        }
        self.contents
            .get(&index)
            .cloned()
            .unwrap_or(Content::Untouchable)
    }
}

/// 3 for `/messages/3/role`.
fn message_index(pointer: &str) -> Option<usize> {
    let rest = pointer.strip_prefix("/messages/")?;
    rest.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_neighbours_of_one_role() {
        let roles = |roles: &[(usize, &str)]| -> Vec<Node> {
            let node = |(index, role): &(usize, &str)| Node {
                at: format!("/messages/{index}/role"),
                value: format!("\"{role}\""),
            };
            roles.iter().map(node).collect()
        };
        let user = |indices: &[usize]| indices.iter().map(|&i| (i, "user")).collect::<Vec<_>>();

        assert_eq!(same_role_runs(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(same_role_runs(&roles(&user(&[0, 1, 2]))), [[0, 1, 2]]);
        // Message 1 has no role.
        assert!(same_role_runs(&roles(&user(&[0, 2]))).is_empty());
        let mixed = [
            (0, "user"),
            (1, "system"),
            (2, "system"),
            (3, "user"),
            (4, "assistant"),
            (5, "assistant"),
            (6, "user"),
            (7, "user"),
        ];
        assert_eq!(same_role_runs(&roles(&mixed)), [[4, 5], [6, 7]]);
    }
}
