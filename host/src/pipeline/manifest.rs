//! What a plugin says about itself, read strictly: a misspelt key is an error, so that no guard is lost.

use std::collections::BTreeMap;

use http::HeaderName;
use serde::Deserialize;
use witgate_document::Path;

use super::guard::{Alternative, Guard};
use crate::{config::OnError, message::ANTHROPIC};

/// The four hooks, as manifests, logs and `witgate plugins list` name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Request,
    Attempt,
    Failure,
    Response,
}

impl Hook {
    pub(super) const ALL: [Self; 4] = [Self::Request, Self::Attempt, Self::Failure, Self::Response];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Attempt => "attempt",
            Self::Failure => "failure",
            Self::Response => "response",
        }
    }

    /// The hook that has this function.
    pub(super) fn of(function: &str) -> Self {
        match function {
            "on-request" => Self::Request,
            "on-attempt" => Self::Attempt,
            "on-failure" => Self::Failure,
            _ => Self::Response,
        }
    }
}

/// A manifest, checked.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) summary: String,
    pub(super) version: String,
    pub(super) on_error: Option<OnError>,
    pub(super) dialect: Option<String>,
    /// As the plugin wrote them, compact.
    pub(super) guards_text: String,
    /// In the order of [`Hook::ALL`]; none where the plugin does not have the hook.
    pub(super) guards: [Option<Guard>; 4],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    summary: String,
    #[serde(default)]
    version: String,
    on_error: Option<WrittenOnError>,
    dialect: Option<String>,
    #[serde(default)]
    guards: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenOnError {
    Fail,
    Skip,
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
    headers: Option<BTreeMap<String, Vec<String>>>,
    path: Option<String>,
    retries: Option<bool>,
    status: Option<Vec<u16>>,
    events: Option<Vec<String>>,
    deltas: Option<Vec<String>>,
}

impl Manifest {
    /// Reads what `describe` handed back. `hooks` are those that the component exports. The error says what is wrong, for
    /// the plugin's author.
    pub(super) fn parse(text: &str, hooks: &[Hook]) -> Result<Self, String> {
        // A list would pass as the members in their order.
        if !text.trim_start().starts_with('{') {
            return Err("its manifest: it is no JSON object".to_owned());
        }
        let written: Written =
            serde_json::from_str(text).map_err(|error| format!("its manifest: {error}"))?;
        let (guards_text, lists) = match written.guards {
            serde_json::Value::Null => ("{}".to_owned(), WrittenGuards::default()),
            guards => {
                let text = guards.to_string();
                let lists = serde_json::from_value(guards)
                    .map_err(|error| format!("its manifest: `guards`: {error}"))?;
                (text, lists)
            }
        };
        let guards = [lists.request, lists.attempt, lists.failure, lists.response];
        let mut checked = [None, None, None, None];
        for ((hook, list), place) in Hook::ALL.into_iter().zip(guards).zip(&mut checked) {
            *place = match (hooks.contains(&hook), list) {
                (true, None) => Some(Guard::default()),
                (true, Some(list)) => Some(guard(hook, list)?),
                (false, None) => None,
                (false, Some(_)) => {
                    let hook = hook.as_str();
                    return Err(format!(
                        "its manifest has guards for `{hook}`, but it does not export `{hook}-hook`"
                    ));
                }
            };
        }
        let on_error = written.on_error.map(|word| match word {
            WrittenOnError::Fail => OnError::Fail,
            WrittenOnError::Skip => OnError::Skip,
        });
        if written
            .dialect
            .as_deref()
            .is_some_and(|dialect| dialect.is_empty() || dialect == ANTHROPIC)
        {
            return Err(
                "its manifest: `dialect` must name a protocol other than `anthropic`".to_owned(),
            );
        }
        if written.dialect.is_some() {
            check_dialect(&checked)?;
        }
        Ok(Self {
            summary: one_line(&written.summary),
            version: one_line(&written.version),
            on_error,
            dialect: written.dialect,
            guards_text,
            guards: checked,
        })
    }
}

/// Half a translation helps nobody: neither one of the two ways, nor some of the events.
fn check_dialect(guards: &[Option<Guard>; 4]) -> Result<(), String> {
    for hook in [Hook::Attempt, Hook::Response] {
        if guards[hook as usize].is_none() {
            let hook = hook.as_str();
            return Err(format!(
                "its manifest: `dialect` takes an attempt and a response hook, but it does not export `{hook}-hook`"
            ));
        }
    }
    let response = guards[Hook::Response as usize].iter();
    let mut alternatives = response.flat_map(|guard| &guard.alternatives);
    if alternatives.any(|one| one.events.is_some() || one.deltas.is_some()) {
        let what = "its manifest: `guards.response`: a dialect is shown every event, so it can have neither `events` nor \
                    `deltas`";
        return Err(what.to_owned());
    }
    Ok(())
}

fn guard(hook: Hook, list: Vec<WrittenAlternative>) -> Result<Guard, String> {
    let alternatives = list.into_iter().enumerate();
    let alternatives = alternatives.map(|(place, written)| {
        alternative(hook, written)
            .map_err(|why| format!("its manifest: `guards.{}[{place}]`: {why}", hook.as_str()))
    });
    Ok(Guard {
        alternatives: alternatives.collect::<Result<_, _>>()?,
    })
}

fn alternative(hook: Hook, written: WrittenAlternative) -> Result<Alternative, String> {
    use Hook::{Attempt, Failure, Request, Response};
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
            "headers",
            written.headers.is_some(),
            &[Request, Attempt, Failure],
        ),
        ("path", written.path.is_some(), &[Request, Attempt, Failure]),
        // A response hook has its slot before the number of the last attempt is known.
        ("retries", written.retries.is_some(), &[Attempt, Failure]),
        ("status", written.status.is_some(), &[Failure]),
        ("events", written.events.is_some(), &[Response]),
        ("deltas", written.deltas.is_some(), &[Response]),
    ];
    for (key, there, hooks) in keys {
        if there && !hooks.contains(&hook) {
            return Err(format!("`{key}` is not known for this hook"));
        }
    }
    let path = written
        .path
        .map(|text| Path::parse(&text).map_err(|error| format!("`path`: {error}")));
    let headers = written.headers.map(|headers| {
        let named = headers.into_iter().map(|(name, values)| {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("`headers`: `{name}` is no header name"))?;
            Ok((name, values))
        });
        named.collect::<Result<Vec<_>, String>>()
    });
    Ok(Alternative {
        kinds: written.kinds,
        dialects: written.dialects,
        lacks: written.lacks,
        headers: headers.transpose()?,
        path: path.transpose()?,
        retries: written.retries,
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
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_manifest_means_messages_and_fail() {
        let manifest = Manifest::parse("{}", &[Hook::Attempt]).unwrap();
        assert_eq!(manifest.on_error, None);
        assert_eq!(manifest.guards_text, "{}");
        let [request, attempt, failure, response] = &manifest.guards;
        assert!(request.is_none() && failure.is_none() && response.is_none());
        assert_eq!(attempt.as_ref().unwrap().alternatives.len(), 1);
    }

    #[test]
    fn all_keys_are_read() {
        let text = r#"{"summary": "does\nthis", "version": "1.2", "on_error": "skip", "dialect": "gemini",
            "guards": {"attempt": [{"lacks": ["x"], "path": "$.a"}], "response": [{"kinds": ["messages"]}]}}"#;
        let manifest = Manifest::parse(text, &[Hook::Attempt, Hook::Response]).unwrap();
        assert_eq!(manifest.summary, "does this");
        assert_eq!(manifest.on_error, Some(OnError::Skip));
        assert_eq!(manifest.dialect.as_deref(), Some("gemini"));
        assert!(
            manifest.guards_text.contains(r#""lacks":["x"]"#),
            "{}",
            manifest.guards_text
        );
    }

    #[test]
    fn what_is_misspelt_is_named() {
        let table = [
            ("", "no JSON object"),
            (r#"["", "", null, null, {}]"#, "no JSON object"),
            ("{", "EOF"),
            (r#"{"sumary": ""}"#, "`sumary`"),
            (r#"{"on_error": "ignore"}"#, "`ignore`"),
            (r#"{"dialect": "anthropic"}"#, "`dialect`"),
            (r#"{"guards": {"atempt": []}}"#, "`atempt`"),
            (r#"{"guards": {"attempt": [{"lack": []}]}}"#, "`lack`"),
            (
                r#"{"guards": {"attempt": [{}, {"status": [400]}]}}"#,
                "`guards.attempt[1]`: `status`",
            ),
            (
                r#"{"guards": {"attempt": [{"headers": {"no name": []}}]}}"#,
                "`no name` is no header name",
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
            let error = Manifest::parse(text, &[Hook::Attempt]).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        let half = [
            (
                r#"{"dialect": "x"}"#,
                &[Hook::Attempt][..],
                "`response-hook`",
            ),
            (r#"{"dialect": "x"}"#, &[Hook::Response], "`attempt-hook`"),
            (
                r#"{"dialect": "x", "guards": {"response": [{"deltas": ["a"]}]}}"#,
                &[Hook::Attempt, Hook::Response],
                "shown every event",
            ),
        ];
        for (text, hooks, wanted) in half {
            let error = Manifest::parse(text, hooks).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        let text = r#"{"guards": {"request": [{"retries": true}]}}"#;
        let error = Manifest::parse(text, &[Hook::Request]).unwrap_err();
        assert!(error.contains("`retries`"), "{error}");
    }
}
