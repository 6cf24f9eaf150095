//! `/metrics`: the metrics of the gateway.

use std::{collections::BTreeSet, time::Instant};

use axum::response::Response;
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE},
};

use super::{Shared, respond};
use crate::{
    exchange::Snapshot,
    fault::Fault,
    ids::{AccountId, ExchangeId, UpstreamId},
    telemetry::{MetricsFormat, Moment},
};

/// Responds with the metrics as text for Prometheus, in the format that it accepts.
pub(super) fn metrics(
    id: &ExchangeId,
    shared: &Shared,
    snapshot: &Snapshot,
    headers: &HeaderMap,
) -> Response {
    let accepted = headers.get_all(ACCEPT).iter();
    let format = MetricsFormat::accepted(accepted.filter_map(|value| value.to_str().ok()));
    let moment = Moment {
        generation: snapshot.catalog.generation,
        slots: shared.runtime.slots_in_use(),
        on_cooldown: on_cooldown(snapshot, Instant::now()),
        plugin_versions: snapshot
            .catalog
            .versions_in_use(snapshot.config.plugins.keep_versions),
    };
    match shared.metrics.write(&moment, format) {
        Ok(text) => {
            let mut response = respond::json(id, text);
            let headers = response.headers_mut();
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static(format.content_type()),
            );
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => {
            let fault = Fault::gateway("cannot write the metrics").from(error);
            respond::fault(id, &fault)
        }
    }
}

/// Counts the accounts on cooldown.
///
/// All accounts are listed, so that a cooldown shows as a rise from 0. Only the upstream is named
/// if accounts must not be.
fn on_cooldown(snapshot: &Snapshot, now: Instant) -> Vec<(UpstreamId, Option<AccountId>, usize)> {
    // An account may be on cooldown for several models.
    let on_cooldown: BTreeSet<(UpstreamId, AccountId)> = snapshot
        .accounts
        .cooldowns(now)
        .into_iter()
        .map(|cooldown| (cooldown.upstream, cooldown.account))
        .collect();
    let named = snapshot.config.expose_accounts;
    let all = snapshot.config.upstreams.iter().flat_map(|upstream| {
        let accounts = upstream.accounts.iter();
        accounts.map(|account| (upstream.name.clone(), account.name.clone()))
    });
    let counted = all.map(|of| {
        let count = usize::from(on_cooldown.contains(&of));
        let (upstream, account) = of;
        (upstream, named.then_some(account), count)
    });
    counted.collect()
}
