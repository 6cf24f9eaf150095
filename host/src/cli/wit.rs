//! `witgate wit`: prints the contract of this gateway as one WIT text.

use super::{Failure, print};

/// The files of the package: shared types first, worlds last.
pub(super) const FILES: &[(&str, &str)] = &[
    (
        "exchange.wit",
        include_str!("../../../plugins/sdk/wit/0.2.0/exchange.wit"),
    ),
    (
        "manifest.wit",
        include_str!("../../../plugins/sdk/wit/0.2.0/manifest.wit"),
    ),
    (
        "request-hook.wit",
        include_str!("../../../plugins/sdk/wit/0.2.0/request-hook.wit"),
    ),
    (
        "attempt-hook.wit",
        include_str!("../../../plugins/sdk/wit/0.2.0/attempt-hook.wit"),
    ),
    (
        "failure-hook.wit",
        include_str!("../../../plugins/sdk/wit/0.2.0/failure-hook.wit"),
    ),
    (
        "response-hook.wit",
        include_str!("../../../plugins/sdk/wit/0.2.0/response-hook.wit"),
    ),
    (
        "settings.wit",
        include_str!("../../../plugins/sdk/wit/0.2.0/settings.wit"),
    ),
    (
        "kv.wit",
        include_str!("../../../plugins/sdk/wit/0.2.0/kv.wit"),
    ),
    (
        "log.wit",
        include_str!("../../../plugins/sdk/wit/0.2.0/log.wit"),
    ),
    (
        "worlds.wit",
        include_str!("../../../plugins/sdk/wit/0.2.0/worlds.wit"),
    ),
];

pub(super) fn run() -> Result<(), Failure> {
    print(&contract())
}

/// Joins the files into one valid WIT text, which names the package once.
fn contract() -> String {
    let package = FILES[0].1.lines().next().unwrap_or_default();
    let body = |(_, text): &(&str, &str)| text.replacen(package, "", 1).trim().to_owned();
    let bodies: Vec<String> = FILES.iter().map(body).collect();
    format!("{package}\n\n{}\n", bodies.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn the_contract_is_the_whole_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/sdk/wit/0.2.0");
        let names = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap());
        let there: BTreeSet<String> = names.filter(|name| name.ends_with(".wit")).collect();
        let printed: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(there, printed);
    }

    #[test]
    fn the_contract_names_its_package_once() {
        let text = contract();
        assert!(text.starts_with("package witgate:plugin@"));
        assert_eq!(text.matches("package witgate:").count(), 1);
    }
}
