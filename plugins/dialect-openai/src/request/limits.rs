//! The limits of a response: its tokens and its stop sequences.

use serde_json::Number;

use super::{Wanted, dropped::Dropped};
use crate::failure::Capabilities;

pub(super) fn max_tokens(
    asked: Option<Number>,
    wanted: &Wanted<'_>,
    dropped: &mut Dropped,
) -> Option<Number> {
    let asked = asked?;
    let Some(number) = asked.as_u64() else {
        return Some(asked);
    };
    let most = [wanted.options.max_output, wanted.room];
    let most = most.into_iter().flatten().min().unwrap_or(u64::MAX);
    let least = wanted.capabilities.least_output().unwrap_or_default();
    let sent = number.max(least).min(most);
    if sent == number {
        return Some(asked);
    }
    dropped.limited(number, sent);
    Some(sent.into())
}

/// The stop sequences, as many as the upstream accepts.
pub(super) fn stops(
    mut asked: Vec<String>,
    capabilities: &Capabilities,
    dropped: &mut Dropped,
) -> Vec<String> {
    let most = capabilities.max_stops().unwrap_or(asked.len());
    for _ in most..asked.len() {
        dropped.left_out("stop_sequences");
    }
    asked.truncate(most);
    asked
}
