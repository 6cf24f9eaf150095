//! Finds adjacent messages of one role, and what their contents are.
//!
//! Contents may be long, so only locations and lengths are queried; only short texts are read.

use std::collections::{BTreeMap, BTreeSet};

use witgate_plugin::{EditError, Node, Request};

use crate::merge::{self, Content, Turn};

pub(crate) const ROLES: &str = "$.messages[*].role";

/// In characters. A longer text is never read: the gateway moves it into a block.
const SHORT: usize = 1 << 18;
/// The most blocks that are moved one by one, which takes some milliseconds. A few blocks may be
/// long, such as images, so it is better not to read them.
const FEW: usize = 1_000;
/// The most slices in one query. Each costs a pass over the messages.
const SLICES: usize = 100;

/// The indices of adjacent messages of the same role, run by run. System messages do not count as
/// turns: they stay where they are, and nothing is joined across them.
pub(crate) fn same_role_runs(roles: &[Node]) -> Vec<Vec<usize>> {
    let mut runs: Vec<(String, Vec<usize>)> = Vec::new();
    for node in roles {
        let (Some(index), Ok(role)) = (message_index(&node.pointer), node.parse::<String>()) else {
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

/// The messages of these runs with locations and lengths of blocks, however long these are. `None`
/// if there are more than [`FEW`] blocks, or more or longer messages than a query can read.
pub(crate) fn few(
    request: &Request,
    runs: &[Vec<usize>],
) -> Result<Option<Vec<Vec<Turn<Content>>>>, EditError> {
    let members = members(runs);
    let Some(blocks) = blocks(request, &members)? else {
        return Ok(None);
    };
    let contents = match contents(request, &members, blocks) {
        Err(EditError::TooMuch(_)) => return Ok(None),
        contents => contents?,
    };
    Ok(Some(in_runs(runs, contents, &with_others(request)?)))
}

/// The messages of these runs with each content as its JSON text, a string or an array.
pub(crate) fn many(
    request: &Request,
    runs: &[Vec<usize>],
) -> Result<Vec<Vec<Turn<String>>>, EditError> {
    let texts = texts(request, &members(runs))?;
    Ok(in_runs(runs, texts, &with_others(request)?))
}

fn members(runs: &[Vec<usize>]) -> String {
    format!("$.messages[{}]", slices(runs))
}

/// The messages with members besides role and content.
fn with_others(request: &Request) -> Result<BTreeSet<usize>, EditError> {
    // Only those messages are selected, because all members of many messages are too many nodes.
    let pointers = request.select("$.messages[?count(@.*) > 2]")?;
    Ok(pointers.iter().filter_map(|at| message_index(at)).collect())
}

/// The number of blocks of each message; `None` if they are more than [`FEW`] together.
fn blocks(request: &Request, members: &str) -> Result<Option<BTreeMap<usize, usize>>, EditError> {
    // A slice selects only from arrays. One message with more than `FEW` blocks is enough to
    // decide.
    let pointers = match request.select(&format!("{members}.content[0:{}]", FEW + 1)) {
        Ok(pointers) if pointers.len() <= FEW => pointers,
        Ok(_) | Err(EditError::TooMuch(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut counts = BTreeMap::new();
    for index in pointers.iter().filter_map(|pointer| message_index(pointer)) {
        *counts.entry(index).or_insert(0) += 1;
    }
    Ok(Some(counts))
}

/// The contents, by the index of the message.
fn contents(
    request: &Request,
    members: &str,
    blocks: BTreeMap<usize, usize>,
) -> Result<BTreeMap<usize, Content>, EditError> {
    let blocks = blocks.into_iter();
    let mut contents: BTreeMap<usize, Content> = blocks
        .map(|(index, count)| (index, Content::Blocks(count)))
        .collect();
    // Only a string can be searched, and only a value with a length is compared.
    for node in request.read(&format!(
        r#"{members}[?search(@, "") && length(@) <= {SHORT}]"#
    ))? {
        if let Some(index) = content_index(&node.pointer) {
            contents.insert(index, Content::Text(node.value));
        }
    }
    for index in long_texts(request, members)? {
        contents.insert(index, Content::LongText);
    }
    for node in request.read(&format!("{members}[?length(@) == 0]"))? {
        if let Some(index) = content_index(&node.pointer).filter(|_| node.value.starts_with('[')) {
            contents.insert(index, Content::Blocks(0));
        }
    }
    Ok(contents)
}

/// The contents that are a text or a list, by the index of the message. A long text is a list of
/// one block, as in a plan that moves it: the same message is joined to the same on every turn,
/// however many have followed.
fn texts(request: &Request, members: &str) -> Result<BTreeMap<usize, String>, EditError> {
    let nodes = request.read(&format!("{members}.content"))?.into_iter();
    let known = nodes.filter(|node| node.value.starts_with(['"', '[']));
    let mut texts: BTreeMap<usize, String> = known
        .filter_map(|node| Some((content_index(&node.pointer)?, node.value)))
        .collect();
    for index in long_texts(request, members)? {
        if let Some(text) = texts.get_mut(&index) {
            *text = merge::list_of(text);
        }
    }
    Ok(texts)
}

/// The messages whose content is a text that is moved and not joined.
fn long_texts(request: &Request, members: &str) -> Result<Vec<usize>, EditError> {
    let pointers = request.select(&format!(
        r#"{members}[?search(@, "") && length(@) > {SHORT}]"#
    ))?;
    Ok(pointers.iter().filter_map(|at| content_index(at)).collect())
}

/// The messages of each run. `others` have members besides role and content, whose meaning for a
/// joined message is unknown.
fn in_runs<C>(
    runs: &[Vec<usize>],
    mut contents: BTreeMap<usize, C>,
    others: &BTreeSet<usize>,
) -> Vec<Vec<Turn<C>>> {
    let mut turn = |&index: &usize| Turn {
        index,
        content: contents.remove(&index).filter(|_| !others.contains(&index)),
    };
    runs.iter()
        .map(|run| run.iter().map(&mut turn).collect())
        .collect()
}

/// The selectors of these messages, one for each series of adjacent ones. With too many runs the
/// last selector also covers the messages between them.
fn slices(runs: &[Vec<usize>]) -> String {
    let mut slices: Vec<(usize, usize)> = Vec::new();
    for &index in runs.iter().flatten() {
        let full = slices.len() == SLICES;
        match slices.last_mut() {
            Some((_, end)) if full || *end == index => *end = index + 1,
            _ => slices.push((index, index + 1)),
        }
    }
    let slices: Vec<String> = slices
        .iter()
        .map(|(start, end)| format!("{start}:{end}"))
        .collect();
    slices.join(",")
}

/// 3 for `/messages/3/content`.
fn content_index(pointer: &str) -> Option<usize> {
    pointer.strip_suffix("/content").and_then(message_index)
}

/// 3 for `/messages/3/role`.
fn message_index(pointer: &str) -> Option<usize> {
    let below = pointer.strip_prefix("/messages/")?;
    below.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_adjacent_messages_of_one_role() {
        let roles = |roles: &[(usize, &str)]| -> Vec<Node> {
            let node = |(index, role): &(usize, &str)| Node {
                pointer: format!("/messages/{index}/role"),
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

    #[test]
    fn messages_are_queried_in_few_slices() {
        assert_eq!(slices(&[vec![0, 1], vec![2, 3], vec![7, 8, 9]]), "0:4,7:10");
        let runs: Vec<Vec<usize>> = (0..5_000).map(|run| vec![3 * run, 3 * run + 1]).collect();
        let slices = slices(&runs);
        assert_eq!(slices.split(',').count(), SLICES);
        assert!(slices.ends_with(",297:14999"), "{slices}");
    }
}
