//! Remembers which upstream signed a thinking block.
//!
//! The key is a hash, because signatures are long and only compared. It includes the session if the
//! client names one, so that no client can change what is remembered for another.

use std::{collections::BTreeSet, time::Duration};

use witgate_plugin::{Delta, Error, Event, Request, Response, StreamEvent, kv};

use crate::{
    drop_blocks::{Block, REDACTED, SIGNATURES},
    hash::hash,
};

/// Counted from the last use. Longer than a conversation pauses within a working day, short enough
/// to bound the memory.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Remembers which upstream signed the block to which this `signature_delta` belongs.
pub(crate) fn learn(response: &Response, event: &Event) -> Result<(), Error> {
    // Any other event says nothing about a signature.
    let StreamEvent::ContentBlockDelta {
        delta: Delta::Signature { signature },
        ..
    } = event.typed()
    else {
        return Ok(());
    };
    if signature.is_empty() {
        return Ok(());
    }
    let key = key(response.session().as_deref(), &signature);
    Ok(kv::set(&key, response.upstream(), REMEMBERED)?)
}

/// The blocks that an upstream other than this one is known to have signed.
///
/// A `redacted_thinking` block has no signature of its own. It is treated like the signed blocks of
/// its message: dropped if one is foreign and none is this upstream's.
pub(crate) fn foreign(request: &Request, upstream: &str) -> Result<BTreeSet<Block>, Error> {
    let session = request.session();
    let mut foreign = BTreeSet::new();
    let mut own = BTreeSet::new();
    for node in request.read(SIGNATURES)? {
        // A string with a lone surrogate was never remembered.
        let (Ok(signature), Some(block)) = (node.parse::<String>(), Block::at(&node.pointer))
        else {
            continue;
        };
        let key = key(session.as_deref(), &signature);
        let Some(by) = kv::get(&key)? else {
            continue;
        };
        // A block that came back after it was forgotten would leave a gap in what is sent.
        kv::set(&key, &by, REMEMBERED)?;
        if by == upstream.as_bytes() {
            own.insert(block.message);
        } else {
            foreign.insert(block);
        }
    }
    if !foreign.is_empty() {
        let messages: BTreeSet<usize> = foreign.iter().map(|block| block.message).collect();
        let mut redacted = Block::select(request, REDACTED)?;
        redacted.retain(|block| messages.contains(&block.message) && !own.contains(&block.message));
        foreign.extend(redacted);
    }
    Ok(foreign)
}

fn key(session: Option<&str>, signature: &str) -> String {
    let session = session.map_or(0, hash);
    format!(
        "{session:016x}/{:016x}/{}",
        hash(signature),
        signature.len()
    )
}
