//! `witgate check`: reports everything that would keep the gateway from starting, and warnings.

use super::{Code, ConfigArgs, Failure, load_plugins, print, rejected, warn};
use crate::{
    config::{AuthMode, Config},
    reload,
    upstream::Upstreams,
};

pub(super) fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let (config, warnings) = args.load()?;
    for warning in warnings {
        warn(warning);
    }
    if let Some(warning) = auth_warning(&config) {
        warn(format!("{}: {warning}", args.file().display()));
    }
    // What only the HTTP client finds wrong: a URL, a proxy, a certificate.
    Upstreams::new(&config.upstreams, &config.retry, None)
        .map_err(|fault| Failure::new(Code::Config, fault.chain()))?;
    let loaded = load_plugins(&config)?;
    if let Some(catalog) = &loaded.catalog {
        for warning in reload::warnings(&config, catalog, &[]) {
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

/// A warning that `serve` logs by itself once it knows its address.
fn auth_warning(config: &Config) -> Option<String> {
    let listen = config.listen;
    let loopback = listen.ip().is_loopback();
    if config.auth.mode.requires_key(loopback) && config.auth.keys.is_empty() {
        let what = "a key is required and none is configured: every request is rejected; set \
                    `keys` in [auth]";
        return Some(what.to_owned());
    }
    (config.auth.mode == AuthMode::Off && !loopback).then(|| {
        format!("anyone who can reach `{listen}` can use the gateway: `auth.mode` is `off`")
    })
}
