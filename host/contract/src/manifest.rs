//! The manifest: what a plugin says about itself. It is read strictly, so that a misspelt key is an
//! error and no guard is lost.

use std::collections::BTreeMap;

use serde::Deserialize;
use witgate_document::Path;

use crate::{
    guard::{Alternative, Guard, KvKey},
    header, limits,
};

/// The dialect that needs no plugin: Anthropic's own.
pub const ANTHROPIC: &str = "anthropic";

/// A point of an exchange at which the gateway calls plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Once per exchange, before a route is chosen.
    Request,
    /// Once per attempt, before the request is sent.
    Attempt,
    /// After a failed attempt.
    Failure,
    /// While the response is relayed.
    Response,
}

impl Hook {
    /// Every hook, in the order of an exchange. [`Manifest::guards`] has the same order.
    pub const ALL: [Self; 4] = [Self::Request, Self::Attempt, Self::Failure, Self::Response];

    /// The name in manifests, logs and `witgate plugin list`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Attempt => "attempt",
            Self::Failure => "failure",
            Self::Response => "response",
        }
    }

    /// The hook to which an exported function belongs: `on-event` belongs to [`Hook::Response`].
    #[must_use]
    pub fn of_function(function: &str) -> Self {
        match function {
            "on-request" => Self::Request,
            "on-attempt" => Self::Attempt,
            "on-failure" => Self::Failure,
            _ => Self::Response,
        }
    }
}

/// What happens to an exchange when a plugin fails in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The exchange ends with a 500 that names the plugin. The default, and always so for a
    /// dialect.
    Fail,
    /// The exchange continues without the plugin, and the receipt says so.
    Skip,
}

/// Where a plugin sits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Before the dialect: the plugin sees the shapes of the Messages API.
    #[default]
    Messages,
    /// After the dialect: the plugin sees the upstream's own shapes. Its guards name the dialects
    /// that it understands.
    Wire,
}

/// When a new version of a plugin replaces the one that is running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reload {
    /// From the next request.
    #[default]
    Request,
    /// For new conversations; a conversation that began with the old version keeps it.
    Conversation,
}

/// A valid manifest.
#[derive(Debug)]
pub struct Manifest {
    /// One sentence for lists, in one line, at most [`limits::MANIFEST_LINE`] characters.
    pub summary: String,
    /// The plugin's own version, free text, cut like the summary.
    pub version: String,
    /// What happens when the plugin fails, unless the configuration says otherwise.
    pub on_error: Option<OnError>,
    /// The dialect that the plugin implements.
    pub dialect: Option<String>,
    /// Where the plugin sits.
    pub stage: Stage,
    /// When a new version replaces the plugin.
    pub reload: Reload,
    /// The guards as the plugin wrote them, as compact JSON.
    pub guards_text: String,
    /// The guards in the order of [`Hook::ALL`]; `None` for a hook that the plugin does not export.
    pub guards: [Option<Guard>; 4],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    summary: String,
    #[serde(default)]
    version: String,
    on_error: Option<OnError>,
    dialect: Option<String>,
    #[serde(default)]
    stage: Stage,
    #[serde(default)]
    reload: Reload,
    #[serde(default)]
    guards: serde_json::Value,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenGuards {
    request: Option<Vec<WrittenAlternative>>,
    attempt: Option<Vec<WrittenAlternative>>,
    failure: Option<Vec<WrittenAlternative>>,
    response: Option<Vec<WrittenAlternative>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAlternative {
    kinds: Option<Vec<String>>,
    dialects: Option<Vec<String>>,
    lacks: Option<Vec<String>>,
    upstreams: Option<Vec<String>>,
    models: Option<Vec<String>>,
    headers: Option<BTreeMap<String, Vec<String>>>,
    path: Option<String>,
    retries: Option<bool>,
    remembers: Option<KvKey>,
    watching: Option<bool>,
    status: Option<Vec<u16>>,
    events: Option<Vec<String>>,
    deltas: Option<Vec<String>>,
}

impl Manifest {
    /// Reads the JSON text that `describe` returned. `exported` are the hooks of the component.
    ///
    /// # Errors
    ///
    /// What is wrong with the manifest, for the plugin's author.
    pub fn parse(text: &str, exported: &[Hook]) -> Result<Self, String> {
        // serde would read an array as the members in their order.
        if !text.trim_start().starts_with('{') {
            return Err("it must be a JSON object".to_owned());
        }
        let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let (guards_text, lists) = match written.guards {
            serde_json::Value::Null => ("{}".to_owned(), WrittenGuards::default()),
            guards => {
                let text = guards.to_string();
                let lists =
                    serde_json::from_value(guards).map_err(|error| format!("`guards`: {error}"))?;
                (text, lists)
            }
        };
        let lists = [lists.request, lists.attempt, lists.failure, lists.response];
        let mut guards = [None, None, None, None];
        for ((hook, list), guard) in Hook::ALL.into_iter().zip(lists).zip(&mut guards) {
            *guard = match (exported.contains(&hook), list) {
                (true, None) => Some(Guard::default()),
                (true, Some(list)) => Some(parse_guard(hook, list)?),
                (false, None) => None,
                (false, Some(_)) => {
                    let hook = hook.as_str();
                    return Err(format!(
                        "`guards.{hook}` is set, but the plugin does not export `{hook}-hook`: \
                         export the hook or remove the guards"
                    ));
                }
            };
        }
        let manifest = Self {
            summary: one_line(&written.summary),
            version: one_line(&written.version),
            on_error: written.on_error,
            dialect: written.dialect,
            stage: written.stage,
            reload: written.reload,
            guards_text,
            guards,
        };
        manifest.check_dialect()?;
        manifest.check_wire()?;
        Ok(manifest)
    }

    /// The guard of a hook; `None` if the plugin does not export it.
    #[must_use]
    pub fn guard(&self, hook: Hook) -> Option<&Guard> {
        self.guards[hook as usize].as_ref()
    }

    /// A dialect translates both ways and every event, else the upstream cannot be used.
    fn check_dialect(&self) -> Result<(), String> {
        let Some(dialect) = &self.dialect else {
            return Ok(());
        };
        if dialect.is_empty() || dialect == ANTHROPIC {
            return Err(format!(
                "`dialect` must name a protocol other than `{ANTHROPIC}`, got `{dialect}`"
            ));
        }
        if self.stage == Stage::Wire {
            return Err(
                "`dialect` cannot be combined with `stage`: `wire`, which is called after the dialect"
                    .to_owned(),
            );
        }
        for hook in [Hook::Attempt, Hook::Response] {
            if self.guard(hook).is_none() {
                let hook = hook.as_str();
                return Err(format!(
                    "`dialect` requires an attempt and a response hook, but the plugin does not export \
                     `{hook}-hook`"
                ));
            }
        }
        let response = self.guard(Hook::Response).into_iter();
        let mut alternatives = response.flat_map(|guard| &guard.alternatives);
        let narrows = |one: &Alternative| {
            one.events.is_some() || one.deltas.is_some() || one.watching.is_some()
        };
        if alternatives.any(narrows) {
            return Err(
                "`guards.response`: a dialect is shown every event, so `events`, `deltas` and \
                 `watching` cannot be set"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// On the wire every shape is some dialect's own, so each alternative says whose it
    /// understands.
    fn check_wire(&self) -> Result<(), String> {
        if self.stage != Stage::Wire {
            return Ok(());
        }
        if self.guard(Hook::Request).is_some() {
            return Err(
                "`stage`: `wire` cannot be combined with a request hook, which is called before an \
                 upstream is chosen: move it to another plugin"
                    .to_owned(),
            );
        }
        for (hook, guard) in Hook::ALL.into_iter().zip(&self.guards) {
            let Some(guard) = guard else { continue };
            let names =
                |one: &Alternative| one.dialects.as_ref().is_some_and(|list| !list.is_empty());
            if let Some(place) = guard.alternatives.iter().position(|one| !names(one)) {
                let hook = hook.as_str();
                return Err(format!(
                    "`guards.{hook}[{place}]`: with `stage`: `wire` every guard must list the `dialects` \
                     that the plugin understands, such as `\"dialects\": [\"openai\"]`"
                ));
            }
        }
        Ok(())
    }
}

fn parse_guard(hook: Hook, list: Vec<WrittenAlternative>) -> Result<Guard, String> {
    let alternatives = list.into_iter().enumerate();
    let alternatives = alternatives.map(|(place, written)| {
        alternative(hook, written)
            .map_err(|why| format!("`guards.{}[{place}]`: {why}", hook.as_str()))
    });
    Ok(Guard {
        alternatives: alternatives.collect::<Result<_, _>>()?,
    })
}

fn alternative(hook: Hook, written: WrittenAlternative) -> Result<Alternative, String> {
    use Hook::{Attempt, Failure, Request, Response};
    // A request hook has no target. Failure and response hooks are where plugins learn.
    let remembering: &[Hook] = match written.remembers {
        Some(KvKey::Conversation) => &[Request, Attempt],
        _ => &[Attempt],
    };
    let keys = [
        (
            "dialects",
            written.dialects.is_some(),
            &[Attempt, Failure, Response][..],
        ),
        (
            "lacks",
            written.lacks.is_some(),
            &[Attempt, Failure, Response],
        ),
        (
            "upstreams",
            written.upstreams.is_some(),
            &[Attempt, Failure, Response],
        ),
        (
            "models",
            written.models.is_some(),
            &[Attempt, Failure, Response],
        ),
        (
            "headers",
            written.headers.is_some(),
            &[Request, Attempt, Failure],
        ),
        ("path", written.path.is_some(), &[Request, Attempt, Failure]),
        // A response hook has its instance before the number of the last attempt is known.
        ("retries", written.retries.is_some(), &[Attempt, Failure]),
        ("remembers", written.remembers.is_some(), remembering),
        ("watching", written.watching.is_some(), &[Response]),
        ("status", written.status.is_some(), &[Failure]),
        ("events", written.events.is_some(), &[Response]),
        ("deltas", written.deltas.is_some(), &[Response]),
    ];
    for (key, is_set, hooks) in keys {
        if is_set && !hooks.contains(&hook) {
            let hook = hook.as_str();
            let known: Vec<_> = hooks.iter().map(|hook| hook.as_str()).collect();
            return Err(format!(
                "`{key}` cannot be set for the {hook} hook, only for: {}",
                known.join(", ")
            ));
        }
    }
    let path = written
        .path
        .map(|text| Path::parse(&text).map_err(|error| format!("`path`: {error}")));
    let headers = written.headers.map(|headers| {
        let named = headers.into_iter().map(|(name, values)| {
            let name = header::name(&name).map_err(|error| format!("`headers`: {error}"))?;
            Ok((name, values))
        });
        named.collect::<Result<Vec<_>, String>>()
    });
    Ok(Alternative {
        kinds: written.kinds,
        dialects: written.dialects,
        lacks: written.lacks,
        upstreams: written.upstreams,
        models: written.models,
        headers: headers.transpose()?,
        path: path.transpose()?,
        retries: written.retries,
        remembers: written.remembers,
        watching: written.watching,
        status: written.status,
        events: written.events,
        deltas: written.deltas,
    })
}

/// For lists and log lines.
fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(limits::MANIFEST_LINE)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_manifest_has_the_defaults() {
        let manifest = Manifest::parse("{}", &[Hook::Attempt]).unwrap();
        assert_eq!(manifest.on_error, None);
        assert_eq!(manifest.stage, Stage::Messages);
        assert_eq!(manifest.reload, Reload::Request);
        assert_eq!(manifest.guards_text, "{}");
        let [request, attempt, failure, response] = &manifest.guards;
        assert!(request.is_none() && failure.is_none() && response.is_none());
        assert_eq!(attempt.as_ref().unwrap().alternatives.len(), 1);
    }

    #[test]
    fn all_keys_are_read() {
        let text = r#"{"summary": "does\nthis", "version": "1.2", "on_error": "skip", "dialect": "gemini",
            "stage": "messages", "reload": "conversation",
            "guards": {"attempt": [{"lacks": ["x"], "path": "$.a"}], "response": [{"kinds": ["messages"]}]}}"#;
        let manifest = Manifest::parse(text, &[Hook::Attempt, Hook::Response]).unwrap();
        assert_eq!(manifest.summary, "does this");
        assert_eq!(manifest.on_error, Some(OnError::Skip));
        assert_eq!(manifest.dialect.as_deref(), Some("gemini"));
        assert_eq!(manifest.reload, Reload::Conversation);
        assert!(
            manifest.guards_text.contains(r#""lacks":["x"]"#),
            "{}",
            manifest.guards_text
        );
    }

    #[track_caller]
    fn refused(text: &str, hooks: &[Hook], wanted: &str) {
        let error = Manifest::parse(text, hooks).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    }

    #[test]
    fn what_is_misspelt_is_named() {
        let table = [
            ("", "must be a JSON object"),
            (r#"["", "", null, null, {}]"#, "must be a JSON object"),
            ("{", "EOF"),
            (r#"{"sumary": ""}"#, "`sumary`"),
            (r#"{"on_error": "ignore"}"#, "`ignore`"),
            (r#"{"dialect": "anthropic"}"#, "`dialect`"),
            (r#"{"stage": "late"}"#, "`late`"),
            (r#"{"reload": "never"}"#, "`never`"),
            (r#"{"guards": {"atempt": []}}"#, "`atempt`"),
            (r#"{"guards": {"attempt": [{"lack": []}]}}"#, "`lack`"),
            (
                r#"{"guards": {"attempt": [{}, {"status": [400]}]}}"#,
                "`guards.attempt[1]`: `status` cannot be set for the attempt hook, only for: failure",
            ),
            (
                r#"{"guards": {"attempt": [{"headers": {"no name": []}}]}}"#,
                "`no name` is not a valid header name",
            ),
            (
                r#"{"guards": {"attempt": [{"path": "messages"}]}}"#,
                "`guards.attempt[0]`: `path`",
            ),
            (
                r#"{"guards": {"response": []}}"#,
                "does not export `response-hook`",
            ),
        ];
        for (text, wanted) in table {
            refused(text, &[Hook::Attempt], wanted);
        }
        refused(
            r#"{"guards": {"request": [{"retries": true}]}}"#,
            &[Hook::Request],
            "`retries`",
        );
    }

    #[test]
    fn what_a_plugin_remembers_is_a_condition_where_its_key_is_known() {
        for (hook, key, accepted) in [
            (Hook::Request, "target", false),
            (Hook::Request, "conversation", true),
            (Hook::Attempt, "target", true),
            (Hook::Attempt, "conversation", true),
            (Hook::Attempt, "session", false),
            (Hook::Failure, "conversation", false),
            (Hook::Response, "target", false),
        ] {
            let name = hook.as_str();
            let text = format!(r#"{{"guards": {{"{name}": [{{"remembers": "{key}"}}]}}}}"#);
            let read = Manifest::parse(&text, &[hook]);
            assert_eq!(read.is_ok(), accepted, "{text}");
        }
    }

    #[test]
    fn a_dialect_translates_both_ways_and_every_event() {
        let both = &[Hook::Attempt, Hook::Response][..];
        for (text, hooks, wanted) in [
            (
                r#"{"dialect": "x"}"#,
                &[Hook::Attempt][..],
                "`response-hook`",
            ),
            (r#"{"dialect": "x"}"#, &[Hook::Response], "`attempt-hook`"),
            (
                r#"{"dialect": "x", "guards": {"response": [{"deltas": ["a"]}]}}"#,
                both,
                "shown every event",
            ),
            (
                r#"{"dialect": "x", "stage": "wire"}"#,
                both,
                "cannot be combined with `stage`",
            ),
        ] {
            refused(text, hooks, wanted);
        }
    }

    #[test]
    fn every_guard_of_a_wire_plugin_names_dialects() {
        let named = r#"{"stage": "wire", "guards": {"attempt": [{"dialects": ["openai"]}],
            "failure": [{"dialects": ["openai"], "status": [400]}]}}"#;
        let manifest = Manifest::parse(named, &[Hook::Attempt, Hook::Failure]).unwrap();
        assert_eq!(manifest.stage, Stage::Wire);
        for (text, hooks, wanted) in [
            (
                r#"{"stage": "wire"}"#,
                &[Hook::Attempt][..],
                "`guards.attempt[0]`",
            ),
            (
                r#"{"stage": "wire", "guards": {"attempt": [{"dialects": ["a"]}, {"path": "$.a"}]}}"#,
                &[Hook::Attempt],
                "`guards.attempt[1]`",
            ),
            (
                r#"{"stage": "wire", "guards": {"attempt": [{"dialects": []}]}}"#,
                &[Hook::Attempt],
                "`dialects`",
            ),
            (
                r#"{"stage": "wire", "guards": {"attempt": [{"dialects": ["a"]}]}}"#,
                &[Hook::Attempt, Hook::Response],
                "`guards.response[0]`",
            ),
            (r#"{"stage": "wire"}"#, &[Hook::Request], "request hook"),
        ] {
            refused(text, hooks, wanted);
        }
    }
}
