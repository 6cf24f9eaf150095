//! `witgate check`: everything that would keep the gateway from starting, or would make it act otherwise than meant.

use super::{ConfigArgs, Failure, load_plugins, print, refused, warn};
use crate::reload;

pub(super) fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let (config, warnings) = args.load()?;
    for warning in warnings {
        warn(warning);
    }
    let loaded = load_plugins(&config)?;
    if let Some(catalog) = &loaded.catalog {
        for remark in reload::remarks(&config, catalog) {
            warn(format!("{}: {remark}", args.file().display()));
        }
    }
    if let Some(failure) = refused(&loaded) {
        return Err(failure);
    }
    let plugins = loaded.catalog.map_or(0, |catalog| catalog.list().len());
    let (upstreams, routes) = (config.upstreams.len(), config.routes.len());
    print(&format!(
        "good: upstreams {upstreams}, routes {routes}, plugins {plugins}\n"
    ))
}
