//! What was decided about a conversation's thinking after an upstream rejected it.
//!
//! The decision is made once and repeated on every later turn, because thinking that was left out
//! must stay out: what was made meanwhile is bound to a conversation without it. It names the
//! blocks that were there, not their positions, so it holds after the client has rewound or
//! compacted the conversation. Thinking that was made later is kept.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use witgate_plugin::{Error, Operation, Request, Target, Value, json, kv, serde_json};

use crate::{
    drop_blocks::{Block, IDENTITIES, THINKING, UNSIGNED, drop_blocks, up_to},
    hash::hash,
};

/// The feature that a target lacks if it refuses `thinking.block_binding`.
const BINDING: &str = "thinking-binding";

const BETA: &str = "thinking-binding-controls-2026-08-01";

const BETA_HEADER: &str = "anthropic-beta";

/// The client's own choice, whatever it is.
const CHOICE: &str = "$.thinking.block_binding.prefix_mismatch_behavior";

/// Counted from the last use. Long enough for a conversation that continues after a weekend.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long a target's refusal of the field is remembered.
const REFUSED: Duration = Duration::from_secs(24 * 60 * 60);

/// Of how many upstreams decisions are kept, for a conversation.
const MOST_UPSTREAMS: usize = 4;

/// The most blocks that a decision names. Of more, the latest are kept, which the rest precede.
const MOST: usize = 8 * 1024;

/// How an upstream is kept from rejecting the thinking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Means {
    /// The upstream drops what it cannot verify: `prefix_mismatch_behavior: "drop_block"`.
    DropBlock,
    /// The thinking up to the rejection is left out.
    LeaveOut,
}

impl Means {
    /// What is done, for the log and the record.
    pub(crate) fn action(self) -> &'static str {
        match self {
            Self::DropBlock => "thinking that the upstream cannot verify is dropped by it",
            Self::LeaveOut => "thinking up to the rejection is left out",
        }
    }
}

/// The decision about one conversation at one upstream.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decision {
    pub(crate) means: Means,
    /// Hashes of the blocks that were there when the upstream rejected the thinking.
    seen: Vec<u64>,
}

impl Decision {
    /// The decision about this conversation at this target's upstream.
    pub(crate) fn load(request: &Request, target: &Target) -> Result<Option<Self>, Error> {
        let all = stored(request)?;
        let here = target.upstream();
        let found = all.into_iter().find(|(upstream, _)| *upstream == here);
        Ok(found.map(|(_, decision)| decision))
    }

    /// Stores it, or refreshes its lifetime.
    pub(crate) fn store(&self, request: &Request, target: &Target) -> Result<(), Error> {
        let here = target.upstream();
        let others = stored(request)?;
        let others = others.iter().filter(|(upstream, _)| *upstream != here);
        let others = others.map(|(upstream, decision)| (upstream, decision));
        let all: Vec<(&String, &Self)> = [(&here, self)]
            .into_iter()
            .chain(others)
            .take(MOST_UPSTREAMS)
            .collect();
        let bytes = serde_json::to_vec(&all)?;
        // The whole key, so that the guard finds it.
        Ok(kv::set(&request.conversation(), bytes, REMEMBERED)?)
    }

    /// The decision after a rejection, from the one before. A conversation whose thinking is left
    /// out stays so: the upstream would reject some of it whatever it drops itself.
    pub(crate) fn after(
        before: Option<Self>,
        means: Means,
        request: &Request,
    ) -> Result<Self, Error> {
        let mut decision = before.unwrap_or(Self {
            means,
            seen: Vec::new(),
        });
        if means == Means::LeaveOut {
            decision.means = means;
        }
        let known: BTreeSet<u64> = decision.seen.iter().copied().collect();
        let present = identities(request)?
            .into_iter()
            .map(|(_, identity)| identity);
        let new = present.filter(|identity| !known.contains(identity));
        decision.seen.extend(new);
        let excess = decision.seen.len().saturating_sub(MOST);
        decision.seen.drain(..excess);
        Ok(decision)
    }

    /// Edits the request, and returns by which means.
    pub(crate) fn apply(&self, request: &mut Request, target: &Target) -> Result<Means, Error> {
        if self.means == Means::DropBlock && takes_binding(request, target)? {
            bind(request)?;
            return Ok(Means::DropBlock);
        }
        let mut blocks = self.rejected(request)?;
        // For a conversation that is checked as a chain, all before the last one as well.
        if *target.dialect() == *"anthropic" {
            blocks = up_to(Block::select(request, THINKING)?, blocks.last());
        }
        blocks.extend(Block::select(request, UNSIGNED)?);
        drop_blocks(request, &blocks)?;
        Ok(Means::LeaveOut)
    }

    fn rejected(&self, request: &Request) -> Result<BTreeSet<Block>, Error> {
        let seen: BTreeSet<u64> = self.seen.iter().copied().collect();
        let blocks = identities(request)?.into_iter();
        let rejected = blocks.filter(|(_, identity)| seen.contains(identity));
        Ok(rejected.map(|(block, _)| block).collect())
    }
}

/// The decisions about a conversation, by upstream, the one used last first.
fn stored(request: &Request) -> Result<Vec<(String, Decision)>, Error> {
    let stored = kv::get(&request.conversation())?;
    let read = stored.and_then(|stored| serde_json::from_slice(&stored).ok());
    Ok(read.unwrap_or_default())
}

/// Whether the client decides itself what happens to blocks that fail the check of their prefix.
pub(crate) fn client_decides(request: &Request) -> Result<bool, Error> {
    Ok(request.matches(CHOICE)?)
}

/// Whether the upstream can be asked to drop blocks itself: by the dialect, by what the target is
/// known to lack, and by the kind of thinking, since only these two take the field.
pub(crate) fn takes_binding(request: &Request, target: &Target) -> Result<bool, Error> {
    Ok(*target.dialect() == *"anthropic"
        && !target.lacks(BINDING)
        && request.matches(r#"$.thinking[?@ == "adaptive" || @ == "enabled"]"#)?
        // Anything but the empty value is a decision about a conversation whose name is this key.
        && kv::get(&refusal_key(target))?.is_none_or(|value| !value.is_empty()))
}

/// Remembers that the target refuses the field or its beta.
pub(crate) fn remember_refusal(target: &Target) -> Result<(), Error> {
    Ok(kv::set(&refusal_key(target), [], REFUSED)?)
}

fn bind(request: &mut Request) -> Result<(), Error> {
    let binding = request.first::<Value>("$.thinking.block_binding")?;
    let edit = match binding {
        Some(Value::Object(_)) => Operation::add(
            "/thinking/block_binding/prefix_mismatch_behavior",
            json!("drop_block"),
        ),
        _ => Operation::add(
            "/thinking/block_binding",
            json!({"prefix_mismatch_behavior": "drop_block"}),
        ),
    };
    request.patch([edit])?;
    let betas = request.header(BETA_HEADER);
    let is_there = |list: &String| list.split(',').any(|beta| beta.trim() == BETA);
    if !betas.iter().any(is_there) {
        let all = betas.iter().map(String::as_str).chain([BETA]);
        request.set_header(BETA_HEADER, [all.collect::<Vec<_>>().join(",")])?;
    }
    Ok(())
}

/// The thinking blocks with the hash of their signature or data. An unsigned block has none.
fn identities(request: &Request) -> Result<Vec<(Block, u64)>, Error> {
    let mut found = Vec::new();
    for node in request.read(IDENTITIES)? {
        // A string with a lone surrogate is no signature.
        let (Ok(text), Some(block)) = (node.parse::<String>(), Block::at(&node.pointer)) else {
            continue;
        };
        if !text.is_empty() {
            found.push((block, hash(&text)));
        }
    }
    Ok(found)
}

fn refusal_key(target: &Target) -> String {
    let model = hash(&target.mapped_model());
    format!("refuses/{}/{model:016x}", target.upstream())
}
