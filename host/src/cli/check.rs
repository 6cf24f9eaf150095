//! `witgate check`: reports everything that would keep the gateway from starting, and warnings.

use super::{ConfigArgs, Failure, load_plugins, print, rejected, warn};
use crate::reload;

pub(super) fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let (config, warnings) = args.load()?;
    for warning in warnings {
        warn(warning);
    }
    let loaded = load_plugins(&config)?;
    if let Some(catalog) = &loaded.catalog {
        for warning in reload::warnings(&config, catalog) {
            warn(format!("{}: {warning}", args.file().display()));
        }
    }
    if let Some(failure) = rejected(&loaded) {
        return Err(failure);
    }
    let plugins = loaded.catalog.map_or(0, |catalog| catalog.list().len());
    let (upstreams, routes) = (config.upstreams.len(), config.routes.len());
    print(&format!(
        "ok: upstreams {upstreams}, routes {routes}, plugins {plugins}\n"
    ))
}
