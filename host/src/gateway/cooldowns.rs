//! `/cooldowns`: which accounts are on cooldown, and an end to that by hand.

use std::time::{Instant, SystemTime};

use axum::response::Response;
use serde_json::json;
use tracing::info;

use crate::{exchange::Snapshot, ids::ExchangeId};

use super::{models::decoded, respond};

/// Lists the accounts on cooldown.
pub(super) fn list(id: &ExchangeId, snapshot: &Snapshot) -> Response {
    let now = Instant::now();
    let cooldowns = snapshot.accounts.cooldowns(now).into_iter();
    let cooldowns = cooldowns.map(|cooldown| {
        let left = cooldown.until.saturating_duration_since(now);
        let until = SystemTime::now() + left;
        json!({
            "upstream": cooldown.upstream.as_str(),
            "account": cooldown.account.as_str(),
            "model": cooldown.model.as_deref(),
            "seconds": left.as_secs(),
            "until": humantime::format_rfc3339_seconds(until).to_string(),
        })
    });
    let list = json!({ "cooldowns": cooldowns.collect::<Vec<_>>() });
    respond::json(id, list.to_string())
}

/// Ends the cooldowns of the `upstream` and the `account` in the query, or all.
pub(super) fn end(id: &ExchangeId, snapshot: &Snapshot, query: &str) -> Response {
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| *key == name)
            .map(|(_, value)| decoded(value))
    };
    let (upstream, account) = (value("upstream"), value("account"));
    let now = Instant::now();
    let accounts = &snapshot.accounts;
    let ended = accounts.end_cooldowns(upstream.as_deref(), account.as_deref(), now);
    info!(upstream, account, ended, "cooldowns ended by request");
    respond::json(id, json!({ "ended": ended }).to_string())
}
