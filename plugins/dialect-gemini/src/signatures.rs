//! Remembers which signatures an upstream made and which it rejected, for a day.
//!
//! A conversation that began with another provider has signatures that Gemini rejects, and Gemini
//! does not say which. After the first rejection all of them count as rejected, except those that
//! were seen to come from the upstream itself. So a conversation has one rejected request at most,
//! and keeps the signatures that are Gemini's own.

use std::time::Duration;

use witgate_plugin::{
    Error, Node, Request,
    dialect::{Block, ClientRequest},
    kv::{self, KvError},
};

const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

const SIGNATURES: &str = r#"$.messages[*].content[?@.type == "thinking"].signature"#;

/// Remembers that this upstream made a signature.
pub(crate) fn made(upstream: &str, signature: &str) -> Result<(), KvError> {
    kv::set(&key("made", upstream, signature), "", REMEMBERED)
}

/// Remembers that this upstream rejected the signatures of a request.
pub(crate) fn rejected(upstream: &str, request: &Request) -> Result<(), Error> {
    for signature in request.read(SIGNATURES)?.iter().filter_map(text) {
        if kv::get(&key("made", upstream, &signature))?.is_none() {
            kv::set(&key("rejected", upstream, &signature), "", REMEMBERED)?;
        }
    }
    let session = request.session().unwrap_or_default();
    Ok(kv::set(
        &key("rejects", upstream, &session),
        "",
        REMEMBERED,
    )?)
}

/// Removes the signatures that this upstream rejected before.
pub(crate) fn remove_rejected(
    upstream: &str,
    request: &Request,
    asked: &mut ClientRequest,
) -> Result<(), Error> {
    let session = request.session().unwrap_or_default();
    if kv::get(&key("rejects", upstream, &session))?.is_none() {
        return Ok(());
    }
    for node in request.read(SIGNATURES)? {
        let (Some(signature), Some((message, block))) = (text(&node), position(&node.pointer))
        else {
            continue;
        };
        if kv::get(&key("rejected", upstream, &signature))?.is_none() {
            continue;
        }
        let message = asked.messages.get_mut(message);
        if let Some(Block::Thinking { signature, .. }) =
            message.and_then(|message| message.content.get_mut(block))
        {
            signature.clear();
            asked.dropped.add("thinking.signature");
        }
    }
    Ok(())
}

/// A signature as text. One with a lone surrogate is not base64, and never sent.
fn text(node: &Node) -> Option<String> {
    node.parse().ok().filter(|text: &String| !text.is_empty())
}

/// The index of the message, and of the block in it: `/messages/1/content/0/signature`.
fn position(pointer: &str) -> Option<(usize, usize)> {
    let mut names = pointer.strip_prefix("/messages/")?.split('/');
    let message = names.next()?.parse().ok()?;
    let block = names.nth(1)?.parse().ok()?;
    Some((message, block))
}

fn key(what: &str, upstream: &str, signature: &str) -> String {
    format!(
        "{what}/{upstream}/{:016x}/{}",
        hash(signature),
        signature.len()
    )
}

/// FNV-1a. A collision would at most drop a signature, for which Gemini has a placeholder.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
