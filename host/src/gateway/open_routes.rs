//! Which passthrough routes are open. No plugin sees what is sent there, so a body could carry a
//! prompt past a rule that every prompt has to pass. Does no I/O.

use http::Method;

use crate::{
    config::Passthrough,
    fault::{Fault, Kind},
    ids::PluginId,
};

/// A request for a passthrough route, and what decides about it.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    /// A request without a body carries no prompt.
    pub(super) has_body: bool,
    pub(super) config: &'a Passthrough,
    /// A plugin that reads or edits requests, if the operator has added one.
    pub(super) rule: Option<&'a PluginId>,
}

/// Fails if the route is closed to this request. The fault names the way to open it.
pub(super) fn check(asked: &Asked<'_>) -> Result<(), Fault> {
    let Asked {
        method,
        path,
        has_body,
        config,
        rule,
    } = asked;
    let why = match (config.names(path), rule) {
        _ if !has_body => return Ok(()),
        (Some(true), _) | (None, None) => return Ok(()),
        (Some(false), _) => "`routes` in [passthrough] does not name it".to_owned(),
        (None, Some(plugin)) => {
            format!("plugins do not see what is sent there, and plugin `{plugin}` handles requests")
        }
    };
    let resource = resource(path);
    let what = format!(
        "`{method} {path}` is closed on this gateway: {why}; to forward it past all plugins, add \
         \"{resource}\" to `routes` in [passthrough] of its configuration"
    );
    Err(Fault::client(Kind::Forbidden, what))
}

/// The part of a path that names a kind of resource: `/v1/files` of `/v1/files/file_1`.
fn resource(path: &str) -> &str {
    const MESSAGES: &str = "/v1/messages/";
    let known = match path.starts_with(MESSAGES) {
        true => MESSAGES.len(),
        false => "/v1/".len(),
    };
    let rest = path.get(known..).unwrap_or_default();
    let name = rest.find('/').unwrap_or(rest.len());
    path.get(..known + name).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use crate::config::OpenRoute;

    use super::*;

    #[test]
    fn a_body_is_forwarded_if_its_route_is_named_or_no_rule_misses_it() {
        let rule: PluginId = "redact".parse().unwrap();
        let files = || Some(vec![OpenRoute::Below("/v1/files".to_owned())]);
        let table = [
            // No list: open, until a plugin is added.
            (None, None, "/v1/complete", true, None),
            (
                None,
                Some(&rule),
                "/v1/complete",
                true,
                Some("plugin `redact`"),
            ),
            (None, Some(&rule), "/v1/complete", false, None),
            // A list is what counts, whatever the plugins.
            (files(), Some(&rule), "/v1/files", true, None),
            (files(), Some(&rule), "/v1/files/file_1", true, None),
            (
                files(),
                None,
                "/v1/complete",
                true,
                Some("does not name it"),
            ),
            (files(), None, "/v1/complete", false, None),
            (
                Some(Vec::new()),
                None,
                "/v1/files",
                true,
                Some("does not name it"),
            ),
            (
                Some(vec![OpenRoute::All]),
                Some(&rule),
                "/v1/complete",
                true,
                None,
            ),
        ];
        for (routes, rule, path, has_body, expected) in table {
            let config = Passthrough { routes };
            let checked = check(&Asked {
                method: &Method::POST,
                path,
                has_body,
                config: &config,
                rule,
            });
            let case = format!("{config:?}, {rule:?}, {path}, {has_body}");
            match (checked, expected) {
                (Ok(()), None) => {}
                (Err(fault), Some(why)) => {
                    assert_eq!(fault.kind, Kind::Forbidden, "{case}");
                    assert!(fault.to_string().contains(why), "{case}: {fault}");
                }
                (checked, _) => panic!("{case}: {checked:?}"),
            }
        }
    }

    #[test]
    fn the_way_out_names_the_resource_and_not_one_object() {
        for (path, expected) in [
            ("/v1/files", "/v1/files"),
            ("/v1/files/file_1/content", "/v1/files"),
            ("/v1/messages/batches", "/v1/messages/batches"),
            ("/v1/messages/batches/b_1/cancel", "/v1/messages/batches"),
        ] {
            assert_eq!(resource(path), expected);
        }
    }
}
