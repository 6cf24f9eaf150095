//! Reads the configuration of each plugin.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use witgate_contract::limits;

use super::{
    OnError, PluginConfig, Upstream,
    preset::PRESETS,
    problem::did_you_mean,
    table::{Source, Table},
    value::{size, some_time},
};
use crate::ids::PluginId;

/// The keys of the table, which docs/configuration.md explains.
pub(super) const PLUGIN: &[&str] = &[
    "enabled", "required", "on_error", "deadline", "memory", "settings",
];

/// The setting in which plugins have settings for one upstream each.
const PER_UPSTREAM: &str = "upstreams";

/// The page size of a WebAssembly memory, in bytes.
const PAGE: usize = 64 * 1024;

pub(super) fn read(
    source: &Source<'_>,
    top: &Table<'_>,
    upstreams: &[Upstream],
) -> BTreeMap<PluginId, PluginConfig> {
    let mut plugins = BTreeMap::new();
    top.named_tables("plugin", PLUGIN, |name, table| {
        let config = plugin(&table);
        check_names(&table, &config, upstreams);
        match name.get_ref().parse::<PluginId>() {
            Ok(id) => {
                plugins.insert(id, config);
            }
            Err(error) => {
                let spelt = name.get_ref().to_ascii_lowercase().replace('_', "-");
                let near = did_you_mean(name.get_ref(), [spelt.as_str()]);
                source.problem(
                    name.span().start,
                    format!("plugin.{name}"),
                    format!("{error}{near}"),
                );
            }
        }
    });
    add_listed(&mut plugins, upstreams);
    plugins
}

/// Finds settings for an upstream that does not exist. By convention `settings.upstreams` has the
/// settings for one upstream each.
fn check_names(table: &Table<'_>, config: &PluginConfig, upstreams: &[Upstream]) {
    let keyed = config.settings.get(PER_UPSTREAM).and_then(Value::as_object);
    let keyed = keyed.into_iter().flat_map(Map::keys).map(String::as_str);
    let listed = PRESETS.iter().filter_map(|preset| preset.listed_in);
    let listed = listed.filter_map(|(_, setting)| config.settings.get(setting)?.as_array());
    let listed = listed.flatten().filter_map(Value::as_str);
    for name in keyed.chain(listed) {
        let mut names = upstreams.iter().map(|upstream| upstream.name.as_str());
        if !names.any(|known| known == name) {
            let names = upstreams.iter().map(|upstream| upstream.name.as_str());
            let near = did_you_mean(name, names);
            table.problem("settings", format!("no upstream is named `{name}`{near}"));
        }
    }
}

/// Adds upstreams to the plugin setting that lists those of their preset.
fn add_listed(plugins: &mut BTreeMap<PluginId, PluginConfig>, upstreams: &[Upstream]) {
    for upstream in upstreams {
        let Some((plugin, setting)) = upstream.listed_in else {
            continue;
        };
        let Ok(plugin) = plugin.parse::<PluginId>() else {
            continue;
        };
        let settings = &mut plugins.entry(plugin).or_default().settings;
        let list = settings
            .entry(setting)
            .or_insert_with(|| Value::Array(Vec::new()));
        let name = Value::from(upstream.name.as_str());
        // The plugin rejects a value of another type.
        if let Value::Array(list) = list
            && !list.contains(&name)
        {
            list.push(name);
        }
    }
}

fn plugin(table: &Table<'_>) -> PluginConfig {
    let on_error = table.parsed("on_error", "`fail` or `skip`", |text| match text {
        "fail" => Some(OnError::Fail),
        "skip" => Some(OnError::Skip),
        _ => None,
    });
    let pages = |text: &str| size(text).filter(|size| (PAGE..=limits::MEMORY).contains(size));
    let enabled = table.boolean("enabled").unwrap_or(true);
    let required = table.boolean("required").unwrap_or(false);
    if required && !enabled {
        table.problem("required", "cannot be combined with `enabled = false`");
    }
    if required && on_error == Some(OnError::Skip) {
        let what =
            "cannot be combined with `on_error = \"skip\"`, which continues without the plugin";
        table.problem("required", what);
    }
    PluginConfig {
        enabled,
        required,
        on_error,
        deadline: table.parsed("deadline", "a duration such as `500ms`", some_time),
        memory: table.parsed("memory", "a size from `64KiB` to `1GiB`", pages),
        settings: table.json("settings").unwrap_or_default(),
    }
}
