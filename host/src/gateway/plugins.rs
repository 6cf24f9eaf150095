//! `/plugins`: the running plugins, with the versions that serve conversations, and what plugins
//! did in the latest exchanges.

use axum::response::Response;
use serde_json::{Value, json};

use crate::{
    exchange::Snapshot,
    fault::{Fault, Kind},
    ids::ExchangeId,
    pipeline::{PluginInfo, Runtime, VersionInfo},
};

use super::respond;

/// Lists the plugins in call order. `witgate plugin list --url` reads this.
pub(super) fn list(id: &ExchangeId, snapshot: &Snapshot) -> Response {
    let keep = snapshot.config.plugins.keep_versions;
    let plugins = snapshot.catalog.list_versions(keep);
    let plugins: Vec<Value> = plugins.iter().map(plugin).collect();
    let list = json!({ "generation": snapshot.catalog.generation, "plugins": plugins });
    respond::json(id, list.to_string())
}

/// What plugins did in an exchange. `witgate plugin explain` reads this.
pub(super) fn trace(id: &ExchangeId, runtime: &Runtime, exchange: &str) -> Response {
    let found = runtime.find_trace(exchange);
    let Some(text) = found.and_then(|trace| serde_json::to_string(&trace).ok()) else {
        let what = format!(
            "no trace of exchange `{exchange}`: the gateway keeps those of the latest exchanges, as \
             many as `traces` in [plugins] says, until it ends"
        );
        return respond::fault(id, &Fault::client(Kind::NotFound, what));
    };
    respond::json(id, text)
}

fn plugin((info, versions): &(PluginInfo, Vec<VersionInfo>)) -> Value {
    json!({
        "order": info.order,
        "name": info.name.as_str(),
        "stage": info.stage,
        "source": info.source,
        "enabled": info.enabled,
        "reload": info.reload,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
    })
}

fn version(info: &VersionInfo) -> Value {
    json!({
        "generation": info.generation,
        "version": info.version,
        "hash": info.hash,
        "current": info.is_current,
        "conversations": info.conversations,
    })
}
