//! Removes thinking blocks from a conversation and keeps it valid.

use std::collections::{BTreeMap, BTreeSet};

use witgate_plugin::{EditError, Error, Operation, Request, json};

pub(crate) const THINKING: &str =
    r#"$.messages[*].content[?@.type == "thinking" || @.type == "redacted_thinking"]"#;

/// What identifies each block: its signature, or the data of a redacted one.
pub(crate) const IDENTITIES: &str = r#"$.messages[*].content[?@.type == "thinking" || @.type == "redacted_thinking"]['signature','data']"#;

pub(crate) const UNSIGNED: &str =
    r#"$.messages[*].content[?@.type == "thinking" && (!@.signature || @.signature == "")]"#;

pub(crate) const REDACTED: &str = r#"$.messages[*].content[?@.type == "redacted_thinking"]"#;

pub(crate) const SIGNATURES: &str = r#"$.messages[*].content[?@.type == "thinking"].signature"#;

/// All blocks of the messages that contain thinking.
const BESIDE_THINKING: &str =
    r#"$.messages[?@.content[?@.type == "thinking" || @.type == "redacted_thinking"]].content[*]"#;

const CLEARING: &str = r#"$.context_management.edits[?@.type == "clear_thinking_20251015"]"#;

/// The position of a block: the index of the message, and the index of the block in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Block {
    pub(crate) message: usize,
    pub(crate) index: usize,
}

impl Block {
    /// The position from the pointer of a block or of something in it.
    pub(crate) fn at(pointer: &str) -> Option<Self> {
        let mut names = pointer.split('/').skip(1);
        let (Some("messages"), Some(message), Some("content"), Some(index)) =
            (names.next(), names.next(), names.next(), names.next())
        else {
            return None;
        };
        Some(Self {
            message: message.parse().ok()?,
            index: index.parse().ok()?,
        })
    }

    pub(crate) fn select(request: &Request, query: &str) -> Result<BTreeSet<Self>, EditError> {
        let pointers = request.select(query)?;
        Ok(pointers.iter().filter_map(|at| Self::at(at)).collect())
    }
}

/// The blocks up to and including `last`.
///
/// An upstream that checks thinking as a chain rejects what follows a gap, so what is left must be
/// an unbroken run, and a run can only be cut from its ends.
pub(crate) fn up_to(mut blocks: BTreeSet<Block>, last: Option<&Block>) -> BTreeSet<Block> {
    blocks.retain(|block| last.is_some_and(|last| block <= last));
    blocks
}

/// Removes these blocks.
///
/// A message with no blocks left is removed, because the API rejects empty ones. It accepts the two
/// adjacent messages of one role that may result. For targets that do not, merge-roles joins them.
pub(crate) fn drop_blocks(request: &mut Request, blocks: &BTreeSet<Block>) -> Result<(), Error> {
    if blocks.is_empty() {
        return Ok(());
    }
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    for block in Block::select(request, BESIDE_THINKING)? {
        *sizes.entry(block.message).or_default() += 1;
    }
    let mut edits = removals(blocks, &sizes);
    if removes_required_thinking(request, blocks)? {
        edits.extend(without_required_thinking(request)?);
    }
    Ok(request.patch(edits)?)
}

/// The edits that make the API require no thinking.
///
/// With the client's `block_binding` the thinking becomes `adaptive`, which requires none and takes
/// the field. Otherwise it is removed, since the model may not know `adaptive`.
fn without_required_thinking(request: &Request) -> Result<Vec<Operation>, Error> {
    if request.matches("$.thinking.block_binding")? {
        let mut edits = vec![Operation::replace("/thinking/type", json!("adaptive"))];
        if request.matches("$.thinking.budget_tokens")? {
            edits.push(Operation::remove("/thinking/budget_tokens"));
        }
        return Ok(edits);
    }
    // The API rejects edits that clear thinking if thinking is off.
    let clearing = request.select(CLEARING)?;
    let clearing = clearing.into_iter().rev().map(Operation::Remove);
    Ok([Operation::remove("/thinking")]
        .into_iter()
        .chain(clearing)
        .collect())
}

/// The removals from the last block to the first, so that the positions of the others stay valid.
fn removals(blocks: &BTreeSet<Block>, sizes: &BTreeMap<usize, usize>) -> Vec<Operation> {
    let mut messages: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for block in blocks {
        let indices = messages.entry(block.message).or_default();
        indices.push(block.index);
    }
    let mut edits = Vec::with_capacity(blocks.len());
    for (message, indices) in messages.iter().rev() {
        if sizes.get(message) == Some(&indices.len()) {
            edits.push(Operation::remove(format!("/messages/{message}")));
            continue;
        }
        let removal = |index| Operation::remove(format!("/messages/{message}/content/{index}"));
        edits.extend(indices.iter().rev().map(removal));
    }
    edits
}

/// Whether thinking is missing where the API requires it once these blocks are removed.
///
/// With a thinking budget (`enabled`, not `adaptive`) the last assistant message has to begin with
/// thinking if it calls tools: "Expected `thinking` or `redacted_thinking`, but found `tool_use`".
/// The API's own error suggests to disable thinking for the request.
fn removes_required_thinking(request: &Request, blocks: &BTreeSet<Block>) -> Result<bool, Error> {
    if !request.matches(r#"$.thinking[?@ == "enabled"]"#)? {
        return Ok(false);
    }
    let assistants = request.select(r#"$.messages[?@.role == "assistant"]"#)?;
    let last = assistants.last().and_then(|at| at.rsplit('/').next());
    let Some(last) = last.and_then(|index| index.parse::<usize>().ok()) else {
        return Ok(false);
    };
    let types = request.read(&format!("$.messages[{last}].content[*].type"))?;
    let is_thinking = |kind: &str| matches!(kind, r#""thinking""# | r#""redacted_thinking""#);
    let began_with_thinking = types.first().is_some_and(|node| is_thinking(&node.value));
    let mut remaining = types
        .iter()
        .filter(|node| Block::at(&node.pointer).is_none_or(|block| !blocks.contains(&block)))
        .map(|node| node.value.as_str());
    let calls_tools = remaining.clone().any(|kind| kind == r#""tool_use""#);
    let begins_with_thinking = remaining.next().is_some_and(is_thinking);
    Ok(began_with_thinking && !begins_with_thinking && calls_tools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_from_a_pointer() {
        let block = |message, index| Some(Block { message, index });
        assert_eq!(Block::at("/messages/12/content/3"), block(12, 3));
        assert_eq!(Block::at("/messages/0/content/1/signature"), block(0, 1));
        assert_eq!(Block::at("/messages/0"), None);
        assert_eq!(Block::at("/messages/0/other/1"), None);
    }

    #[test]
    fn each_removal_leaves_the_later_positions_valid() {
        let block = |message, index| Block { message, index };
        let blocks = BTreeSet::from([block(1, 0), block(1, 2), block(3, 0), block(5, 0)]);
        let sizes = BTreeMap::from([(1, 4), (3, 1), (5, 2)]);
        let edits = removals(&blocks, &sizes);
        let expected = [
            "/messages/5/content/0",
            "/messages/3",
            "/messages/1/content/2",
            "/messages/1/content/0",
        ];
        assert_eq!(edits, expected.map(Operation::remove));
    }
}
