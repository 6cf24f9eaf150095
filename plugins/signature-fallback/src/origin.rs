//! Who signed what, as far as it was seen.
//!
//! Kept under a hash, for signatures are long and no more than this is asked of them; by session where the client tells it, so
//! that no client can spoil another's memory.

use std::{collections::BTreeSet, time::Duration};

use witgate_plugin::{Delta, Error, Event, Request, Response, StreamEvent, kv};

use crate::drop_blocks::{Block, REDACTED, SIGNATURES};

/// Longer than a working day's conversation rests, short enough that the memory is bounded by use.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Remembers who signed the block to which this `signature_delta` belongs.
pub(crate) fn learn(response: &Response, event: &Event) -> Result<(), Error> {
    // What is not shaped like a signature is the client's business.
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

/// The blocks that are known to be signed by another upstream than this one.
///
/// What stands in a `redacted_thinking` block has no signature of its own. It goes with the signed blocks of its message: away if
/// one is foreign and none is this upstream's.
pub(crate) fn foreign(request: &Request, upstream: &str) -> Result<BTreeSet<Block>, Error> {
    let session = request.session();
    let mut foreign = BTreeSet::new();
    let mut own = BTreeSet::new();
    for node in request.read(SIGNATURES)? {
        // A text that Rust cannot hold was never learned.
        let (Ok(signature), Some(block)) = (node.parse::<String>(), Block::at(&node.pointer))
        else {
            continue;
        };
        match kv::get(&key(session.as_deref(), &signature))? {
            Some(by) if by == upstream.as_bytes() => {
                own.insert(block.message);
            }
            Some(_) => {
                foreign.insert(block);
            }
            None => {}
        }
    }
    if !foreign.is_empty() {
        let elsewhere: BTreeSet<usize> = foreign.iter().map(|block| block.message).collect();
        let mut redacted = Block::select(request, REDACTED)?;
        redacted
            .retain(|block| elsewhere.contains(&block.message) && !own.contains(&block.message));
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

/// FNV-1a. Nobody gains by a collision: it would cost a thinking block of one's own session.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
