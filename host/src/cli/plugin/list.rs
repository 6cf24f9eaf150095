//! `witgate plugin list`: lists the plugins in the order in which they are called.

use std::fmt::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{ConfigArgs, Failure, load_plugins, print, rejected, warn},
    pipeline::PluginInfo,
};

#[derive(Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Ask the running gateway at this URL, which lists each version of a plugin and how many
    /// conversations it serves; the key is the first one in the configuration file
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Prints the list even if a file is rejected, because the other plugins load.
pub(super) fn list(args: &ListArgs) -> Result<(), Failure> {
    let (config, warnings) = args.config.load()?;
    for warning in warnings {
        warn(warning);
    }
    let loaded = load_plugins(&config)?;
    let plugins = loaded
        .catalog
        .as_ref()
        .map(|catalog| catalog.list())
        .unwrap_or_default();
    print(&if args.json {
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
            "reload": plugin.reload,
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
    const HEAD: [&str; 7] = [
        "ORDER", "NAME", "VERSION", "STAGE", "HOOKS", "HASH", "SOURCE",
    ];
    let rows: Vec<_> = plugins.iter().map(row).collect();
    let mut lines = lines(HEAD, &rows).into_iter();
    let mut text = lines.next().unwrap_or_default();
    for (plugin, line) in plugins.iter().zip(lines) {
        text.push_str(&line);
        for (name, value) in [("", &plugin.summary), ("guards ", &plugin.guards)] {
            if !value.is_empty() {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "       {name}{value}");
            }
        }
    }
    text
}

fn row(plugin: &PluginInfo) -> [String; 7] {
    let off = if plugin.enabled { "" } else { ", disabled" };
    [
        plugin.order.to_string(),
        plugin.name.to_string(),
        plugin.version.clone(),
        plugin.stage.to_owned(),
        plugin.hooks.join(","),
        short(&plugin.hash),
        format!("{}{off}", plugin.source),
    ]
}

/// The beginning of a hash, which is enough to distinguish two builds. The JSON has all of it.
pub(super) fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// Formats a head and rows as the lines of a table whose first column has numbers.
pub(super) fn lines<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max();
        longest.unwrap_or(0).max(head[column].len())
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let head = head.map(str::to_owned);
    let all = std::iter::once(&head).chain(rows);
    all.map(|row| line(row, &widths)).collect()
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut cells = cells.iter().zip(widths);
    let (number, width) = cells.next().unzip();
    let (number, width) = (
        number.map_or("", String::as_str),
        width.copied().unwrap_or_default(),
    );
    let mut text = format!("{number:>width$}");
    for (cell, width) in cells {
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
            reload: None,
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
