//! Taking thinking blocks out of a conversation so that what is left is still one.

use std::collections::{BTreeMap, BTreeSet};

use witgate_plugin::{EditError, Error, Operation, Request};

pub(crate) const THINKING: &str =
    r#"$.messages[*].content[?@.type == "thinking" || @.type == "redacted_thinking"]"#;

pub(crate) const UNSIGNED: &str =
    r#"$.messages[*].content[?@.type == "thinking" && (!@.signature || @.signature == "")]"#;

pub(crate) const REDACTED: &str = r#"$.messages[*].content[?@.type == "redacted_thinking"]"#;

pub(crate) const SIGNATURES: &str = r#"$.messages[*].content[?@.type == "thinking"].signature"#;

/// All blocks of the messages in which there is thinking.
const BESIDE_THINKING: &str =
    r#"$.messages[?@.content[?@.type == "thinking" || @.type == "redacted_thinking"]].content[*]"#;

const CLEARING: &str = r#"$.context_management.edits[?@.type == "clear_thinking_20251015"]"#;

/// The place of a block: of the message in the conversation, and of the block in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Block {
    pub(crate) message: usize,
    pub(crate) index: usize,
}

impl Block {
    /// From the pointer of a block or of something in it.
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

/// Takes these blocks out.
///
/// A message of which nothing is left goes as a whole, for the API takes no empty ones; it does take the two messages of one
/// role that may then stand side by side, and where a target does not, merge-roles joins them.
pub(crate) fn drop_blocks(request: &mut Request, blocks: &BTreeSet<Block>) -> Result<(), Error> {
    if blocks.is_empty() {
        return Ok(());
    }
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    for block in Block::select(request, BESIDE_THINKING)? {
        *sizes.entry(block.message).or_default() += 1;
    }
    let mut edits = removals(blocks, &sizes);
    if leaves_no_thinking_where_it_must_be(request, blocks)? {
        edits.push(Operation::remove("/thinking"));
        // Clearing thinking is refused where there is none.
        let clearing = request.select(CLEARING)?;
        edits.extend(clearing.into_iter().rev().map(Operation::Remove));
    }
    Ok(request.patch(edits)?)
}

/// From the last block to the first, so that the places of the others still hold.
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

/// With a budget for thinking (`enabled`, not `adaptive`) the API wants the last assistant message to begin with thinking if
/// it calls tools: "Expected `thinking` or `redacted_thinking`, but found `tool_use`". To do without thinking for this one
/// request is the way out that the API's own error names.
fn leaves_no_thinking_where_it_must_be(
    request: &Request,
    blocks: &BTreeSet<Block>,
) -> Result<bool, Error> {
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
    let mut left = types
        .iter()
        .filter(|node| Block::at(&node.pointer).is_none_or(|block| !blocks.contains(&block)))
        .map(|node| node.value.as_str());
    let calls_tools = left.clone().any(|kind| kind == r#""tool_use""#);
    let begins_with_thinking = left.next().is_some_and(is_thinking);
    Ok(began_with_thinking && !begins_with_thinking && calls_tools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_told_by_its_pointer() {
        let block = |message, index| Some(Block { message, index });
        assert_eq!(Block::at("/messages/12/content/3"), block(12, 3));
        assert_eq!(Block::at("/messages/0/content/1/signature"), block(0, 1));
        assert_eq!(Block::at("/messages/0"), None);
        assert_eq!(Block::at("/messages/0/other/1"), None);
    }

    #[test]
    fn what_is_removed_first_moves_nothing_that_is_removed_later() {
        let block = |message, index| Block { message, index };
        let blocks = BTreeSet::from([block(1, 0), block(1, 2), block(3, 0), block(5, 0)]);
        let sizes = BTreeMap::from([(1, 4), (3, 1), (5, 2)]);
        let edits = removals(&blocks, &sizes);
        let wanted = [
            "/messages/5/content/0",
            "/messages/3",
            "/messages/1/content/2",
            "/messages/1/content/0",
        ];
        assert_eq!(edits, wanted.map(Operation::remove));
    }
}
