//! `witgate plugins list`: lists the plugins in the order in which they are called.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{ConfigArgs, Failure, load_plugins, print, rejected, warn};
use crate::pipeline::PluginInfo;

const COLUMNS: usize = 7;

/// Prints the list even if a file is rejected, because the other plugins load.
pub(super) fn list(args: &ConfigArgs, as_json: bool) -> Result<(), Failure> {
    let (config, warnings) = args.load()?;
    for warning in warnings {
        warn(warning);
    }
    let loaded = load_plugins(&config)?;
    let plugins = loaded
        .catalog
        .as_ref()
        .map(|catalog| catalog.list())
        .unwrap_or_default();
    print(&if as_json {
        in_json(&plugins)
    } else {
        in_columns(&plugins)
    })?;
    rejected(&loaded).map_or(Ok(()), Err)
}

fn in_json(plugins: &[PluginInfo]) -> String {
    let plugin = |plugin: &PluginInfo| {
        // The guards are JSON. If they are not, they are shown as text.
        let guards = serde_json::from_str(&plugin.guards);
        json!({
            "order": plugin.order,
            "name": plugin.name.as_str(),
            "version": plugin.version,
            "summary": plugin.summary,
            "stage": plugin.stage,
            "hooks": plugin.hooks,
            "guards": guards.unwrap_or_else(|_| Value::String(plugin.guards.clone())),
            "source": plugin.source,
            "hash": plugin.hash,
            "enabled": plugin.enabled,
        })
    };
    format!("{:#}\n", Value::Array(plugins.iter().map(plugin).collect()))
}

/// Formats one row per plugin. What does not fit into a column follows below the row.
fn in_columns(plugins: &[PluginInfo]) -> String {
    const HEAD: [&str; COLUMNS] = [
        "ORDER", "NAME", "VERSION", "STAGE", "HOOKS", "HASH", "SOURCE",
    ];
    let rows: Vec<[String; COLUMNS]> = plugins.iter().map(row).collect();
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max();
        longest.unwrap_or(0).max(HEAD[column].len())
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = line(&HEAD.map(str::to_owned), &widths);
    for (plugin, row) in plugins.iter().zip(&rows) {
        text.push_str(&line(row, &widths));
        for (name, value) in [("", &plugin.summary), ("guards ", &plugin.guards)] {
            if !value.is_empty() {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "       {name}{value}");
            }
        }
    }
    text
}

fn row(plugin: &PluginInfo) -> [String; COLUMNS] {
    let off = if plugin.enabled { "" } else { ", disabled" };
    [
        plugin.order.to_string(),
        plugin.name.to_string(),
        plugin.version.clone(),
        plugin.stage.to_owned(),
        plugin.hooks.join(","),
        // Enough to distinguish two builds. The JSON has the whole hash.
        plugin.hash.chars().take(12).collect(),
        format!("{}{off}", plugin.source),
    ]
}

fn line(cells: &[String; COLUMNS], widths: &[usize; COLUMNS]) -> String {
    let [order, others @ ..] = cells;
    let mut text = format!("{order:>width$}", width = widths[0]);
    for (cell, width) in others.iter().zip(&widths[1..]) {
        // Writing to a string cannot fail.
        let _ = write!(text, "  {cell:<width$}");
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge_roles() -> PluginInfo {
        PluginInfo {
            order: 60,
            name: "merge-roles".parse().unwrap(),
            version: "0.1.0".into(),
            summary: "joins neighbours".into(),
            stage: "messages",
            hooks: vec!["attempt"],
            guards: r#"{"attempt":[{"lacks":["same-role-turns"]}]}"#.into(),
            source: "built in".into(),
            hash: "0123456789abcdef".into(),
            enabled: false,
        }
    }

    #[test]
    fn the_table_has_a_head_a_row_and_further_lines() {
        let wanted = "\
ORDER  NAME         VERSION  STAGE     HOOKS    HASH          SOURCE
   60  merge-roles  0.1.0    messages  attempt  0123456789ab  built in, disabled
       joins neighbours
       guards {\"attempt\":[{\"lacks\":[\"same-role-turns\"]}]}
";
        assert_eq!(in_columns(&[merge_roles()]), wanted);
    }

    #[test]
    fn the_json_has_guards_as_json_and_the_whole_hash() {
        let list: Value = serde_json::from_str(&in_json(&[merge_roles()])).unwrap();
        assert_eq!(
            list[0]["guards"]["attempt"][0]["lacks"][0],
            "same-role-turns"
        );
        assert_eq!(list[0]["hash"], "0123456789abcdef");
        assert_eq!(list[0]["enabled"], false);
    }
}
