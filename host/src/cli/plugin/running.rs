//! `witgate plugin list --url`: lists the plugins of a running gateway, with the versions that
//! serve conversations.

use serde::Deserialize;
use serde_json::Value;

use super::list::{lines, short};
use crate::{
    cli::{Code, ConfigArgs, Failure, print, tokio_runtime},
    upstream::get_from_gateway,
};

/// What `/plugins` lists.
#[derive(Deserialize)]
struct List {
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
struct Plugin {
    order: u8,
    name: String,
    enabled: bool,
    reload: Option<String>,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    generation: u64,
    version: String,
    hash: String,
    current: bool,
    conversations: Option<usize>,
}

pub(super) fn list(args: &ConfigArgs, url: &str, as_json: bool) -> Result<(), Failure> {
    let (config, _) = args.load()?;
    let key = config.auth.keys.first();
    let asked = tokio_runtime()?.block_on(get_from_gateway(url, "/plugins", key));
    let text = asked.map_err(|fault| {
        Failure::new(Code::Other, fault.chain())
            .hint("`--url` is the address of a running gateway, such as `http://127.0.0.1:8045`")
    })?;
    let invalid = |error| {
        let what = format!("`{url}` sent no list of plugins, is it a gateway? {error}");
        Failure::new(Code::Other, what)
    };
    print(&if as_json {
        let list: Value = serde_json::from_slice(&text).map_err(invalid)?;
        format!("{list:#}\n")
    } else {
        in_columns(&serde_json::from_slice(&text).map_err(invalid)?)
    })
}

/// Formats one row per version.
fn in_columns(list: &List) -> String {
    const HEAD: [&str; 7] = [
        "ORDER",
        "NAME",
        "RELOAD",
        "GENERATION",
        "VERSION",
        "HASH",
        "CONVERSATIONS",
    ];
    let rows: Vec<_> = list.plugins.iter().flat_map(rows).collect();
    lines(HEAD, &rows).concat()
}

fn rows(plugin: &Plugin) -> Vec<[String; 7]> {
    let row = |[generation, version, hash, conversations]: [String; 4]| {
        [
            plugin.order.to_string(),
            plugin.name.clone(),
            plugin.reload.clone().unwrap_or_default(),
            generation,
            version,
            hash,
            conversations,
        ]
    };
    if !plugin.enabled {
        let disabled = "disabled".to_owned();
        return vec![row([String::new(), String::new(), String::new(), disabled])];
    }
    let versions = plugin.versions.iter().map(|version| {
        row([
            version.generation.to_string(),
            version.version.clone(),
            short(&version.hash),
            conversations(version),
        ])
    });
    versions.collect()
}

fn conversations(version: &Version) -> String {
    match (version.conversations, version.current) {
        (None, _) => "all".to_owned(),
        (Some(count), true) => format!("{count} and new ones"),
        (Some(count), false) => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_version() {
        let list = r#"{"generation": 3, "plugins": [
            {"order": 50, "name": "p", "stage": "messages", "source": "p.wasm", "enabled": true,
             "reload": "conversation", "versions": [
                {"generation": 1, "version": "0.1.0", "hash": "0123456789abcdef", "current": false, "conversations": 12},
                {"generation": 3, "version": "0.2.0", "hash": "fedcba9876543210", "current": true, "conversations": 4}]},
            {"order": 60, "name": "q", "stage": "messages", "source": "built in", "enabled": true,
             "reload": "request", "versions": [
                {"generation": 1, "version": "0.1.0", "hash": "0123456789abcdef", "current": true, "conversations": null}]},
            {"order": 70, "name": "r", "stage": "messages", "source": "built in", "enabled": false,
             "reload": null, "versions": []}]}"#;
        let wanted = "\
ORDER  NAME  RELOAD        GENERATION  VERSION  HASH          CONVERSATIONS
   50  p     conversation  1           0.1.0    0123456789ab  12
   50  p     conversation  3           0.2.0    fedcba987654  4 and new ones
   60  q     request       1           0.1.0    0123456789ab  all
   70  r                                                      disabled
";
        assert_eq!(in_columns(&serde_json::from_str(list).unwrap()), wanted);
    }
}
