//! What the gateway tells about itself.

use std::{collections::BTreeSet, time::Instant};

use axum::response::Response;
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};

use super::{Shared, respond};
use crate::{
    exchange::Snapshot,
    fault::Fault,
    ids::{AccountId, ExchangeId, UpstreamId},
    telemetry::{Moment, OPEN_METRICS},
};

/// The counts, as text for Prometheus.
pub(super) fn metrics(id: &ExchangeId, shared: &Shared, snapshot: &Snapshot) -> Response {
    let moment = Moment {
        generation: snapshot.catalog.generation,
        slots: shared.runtime.slots_in_use(),
        resting: resting(snapshot, Instant::now()),
    };
    match shared.metrics.write(&moment) {
        Ok(text) => {
            let mut response = respond::json(id, text);
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => {
            let fault = Fault::gateway("the metrics cannot be written").from(error);
            respond::fault(id, &fault)
        }
    }
}

/// Every account that could rest, so that one that does shows as a rise from 0; by upstream alone where accounts are not to
/// be named.
fn resting(snapshot: &Snapshot, now: Instant) -> Vec<(UpstreamId, Option<AccountId>, usize)> {
    // An account may rest for several models.
    let resting: BTreeSet<(UpstreamId, AccountId)> = snapshot
        .accounts
        .cooldowns(now)
        .into_iter()
        .map(|rest| (rest.upstream, rest.account))
        .collect();
    let named = snapshot.config.expose_accounts;
    let all = snapshot.config.upstreams.iter().flat_map(|upstream| {
        let accounts = upstream.accounts.iter();
        accounts.map(|account| (upstream.name.clone(), account.name.clone()))
    });
    let counted = all.map(|of| {
        let rests = usize::from(resting.contains(&of));
        let (upstream, account) = of;
        (upstream, named.then_some(account), rests)
    });
    counted.collect()
}
