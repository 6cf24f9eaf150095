//! Guards: whether a hook is called, decided from the plugin's manifest without calling the plugin.
//!
//! The cheap conditions are checked first, the JSONPath last.

mod why; // why one holds or not, in words

pub use why::Unmet;

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use witgate_document::{Document, Error, Path};

use crate::{RequestKind, glob, text::cut};

/// When a hook is called: if all conditions of at least one alternative hold.
#[derive(Debug)]
pub struct Guard {
    /// The alternatives, in the order of the manifest. With none of them the hook is never called.
    pub alternatives: Vec<Alternative>,
}

/// Conditions of which all must hold. `None` always holds.
#[derive(Debug, Default)]
pub struct Alternative {
    /// The request's kind is one of these. `None` means `messages` only.
    pub kinds: Option<Vec<String>>,
    /// The target's dialect is one of these.
    pub dialects: Option<Vec<String>>,
    /// The target lacks one of these features.
    pub lacks: Option<Vec<String>>,
    /// The upstream's name is matched by one of these patterns.
    pub upstreams: Option<Vec<String>>,
    /// The mapped model is matched by one of these patterns.
    pub models: Option<Vec<String>>,
    /// The request has each of these headers with one of its values, compared byte by byte.
    pub headers: Option<Vec<(HeaderName, Vec<String>)>>,
    /// This query selects something in the request's body.
    pub path: Option<Path>,
    /// Whether the attempt is the exchange's second or a later one.
    pub retries: Option<bool>,
    /// The plugin's key-value space has an entry under this key.
    pub remembers: Option<KvKey>,
    /// Whether the plugin has asked for the response.
    pub watching: Option<bool>,
    /// The failure's status is one of these.
    pub status: Option<Vec<u16>>,
    /// The event's type is one of these. `None` means every type but `ping`.
    pub events: Option<Vec<String>>,
    /// The type of the delta in a `content_block_delta` is one of these; other events are not
    /// affected.
    pub deltas: Option<Vec<String>>,
}

/// A key under which a plugin remembers something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvKey {
    /// [`Target::key`].
    Target,
    /// The id of the request's conversation.
    Conversation,
}

/// What a guard is checked against.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The request's kind.
    pub kind: RequestKind,
    /// The request's headers; `None` for a response hook, whose guards have no `headers`.
    pub headers: Option<&'a HeaderMap>,
    /// The target of the attempt; `None` for a request hook, which is called before there is one.
    pub target: Option<Target<'a>>,
    /// Whether the plugin's key-value space has an entry under a key. Only called for guards that
    /// ask for it, after their cheaper conditions.
    pub remembers: &'a dyn Fn(KvKey) -> bool,
    /// Whether an earlier hook of the plugin has asked for the response of this attempt. False for
    /// other hooks, whose guards do not have the condition.
    pub watching: bool,
}

/// The target of an attempt, as far as guards go.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The upstream's name.
    pub upstream: &'a str,
    /// A number that changes with the upstream's configuration.
    pub version: u64,
    /// The mapped model.
    pub model: &'a str,
    /// The dialect that the upstream speaks.
    pub dialect: &'a str,
    /// The features that the target lacks.
    pub lacks: &'a BTreeSet<String>,
    /// 1 for the first attempt of the exchange.
    pub attempt: u32,
}

/// The longest part of a model's name that is in a key, in bytes.
const LONGEST_MODEL: usize = 512;

impl Target<'_> {
    /// The key under which a plugin remembers what it learned about this target. Names of
    /// upstreams are short, so it never exceeds [`KV_KEY`](crate::limits::KV_KEY).
    #[must_use]
    pub fn key(&self) -> String {
        let model = cut(self.model, LONGEST_MODEL);
        format!("{}@{:016x}/{model}", self.upstream, self.version)
    }
}

impl Default for Guard {
    /// The guard of a hook without one: it is called for every exchange of kind `messages`.
    fn default() -> Self {
        Self {
            alternatives: vec![Alternative::default()],
        }
    }
}

impl Guard {
    /// Whether the conditions hold that do not depend on the body, the failure or the event.
    #[must_use]
    pub fn may_hold(&self, facts: Facts<'_>) -> bool {
        self.alternatives
            .iter()
            .any(|alternative| alternative.may_hold(facts))
    }

    /// Whether some alternative has a query, for which the body is read.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.alternatives.iter().any(|one| one.path.is_some())
    }

    /// As [`Self::may_hold`], and the names in the query occur in the body. Never false where
    /// [`Self::holds`] is true.
    #[must_use]
    pub fn likely(&self, facts: Facts<'_>, body: &Document) -> bool {
        self.alternatives.iter().any(|alternative| {
            alternative.may_hold(facts)
                && alternative
                    .path
                    .as_ref()
                    .is_none_or(|path| body.may_select(path))
        })
    }

    /// Whether a request or attempt hook is called.
    ///
    /// # Errors
    ///
    /// The body is not JSON where a query had to read it, or exceeds what can be searched.
    pub fn holds(&self, facts: Facts<'_>, body: &Document) -> Result<bool, Error> {
        Ok(self.holding(facts, body)?.is_some())
    }

    /// As [`Self::holds`]: the index of the first alternative that holds.
    ///
    /// # Errors
    ///
    /// Those of [`Self::holds`].
    pub fn holding(&self, facts: Facts<'_>, body: &Document) -> Result<Option<usize>, Error> {
        for (index, alternative) in self.alternatives.iter().enumerate() {
            if !alternative.may_hold(facts) {
                continue;
            }
            let Some(path) = &alternative.path else {
                return Ok(Some(index));
            };
            if body.may_select(path) && body.matches(path)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Whether a failure hook is called. If a query cannot read the body, the condition holds: the
    /// body was sent all the same, so the hook itself has to check it.
    #[must_use]
    pub fn holds_for_failure(&self, facts: Facts<'_>, status: u16, body: &Document) -> bool {
        self.holding_for_failure(facts, status, body).is_some()
    }

    /// As [`Self::holds_for_failure`]: the index of the first alternative that holds.
    #[must_use]
    pub fn holding_for_failure(
        &self,
        facts: Facts<'_>,
        status: u16,
        body: &Document,
    ) -> Option<usize> {
        self.alternatives.iter().position(|alternative| {
            let listed = alternative
                .status
                .as_ref()
                .is_none_or(|list| list.contains(&status));
            let selects = |path| body.may_select(path) && body.matches(path).unwrap_or(true);
            listed && alternative.may_hold(facts) && alternative.path.as_ref().is_none_or(selects)
        })
    }

    /// Whether a response hook is called with this event. `event` is its type
    /// ([`crate::event::event_type`]), `delta` the type of its delta if it has one.
    #[must_use]
    pub fn holds_for_event(&self, facts: Facts<'_>, event: &str, delta: Option<&str>) -> bool {
        self.alternatives
            .iter()
            .any(|alternative| alternative.wants(event, delta) && alternative.may_hold(facts))
    }

    /// Whether some alternative has a condition on the type of a delta.
    #[must_use]
    pub fn asks_for_deltas(&self) -> bool {
        self.alternatives
            .iter()
            .any(|alternative| alternative.deltas.is_some())
    }
}

impl Alternative {
    fn may_hold(&self, facts: Facts<'_>) -> bool {
        let kind = match &self.kinds {
            None => facts.kind == RequestKind::Messages,
            Some(kinds) => kinds.iter().any(|kind| kind == facts.kind.as_str()),
        };
        kind && facts.target.is_none_or(|target| self.fits(target))
            && facts
                .headers
                .is_none_or(|headers| self.has_headers(headers))
            && self
                .watching
                .is_none_or(|watching| watching == facts.watching)
            && self.remembers.is_none_or(facts.remembers)
    }

    fn has_headers(&self, headers: &HeaderMap) -> bool {
        let has = |(name, values): &(HeaderName, Vec<String>)| {
            let mut sent = headers.get_all(name).iter();
            sent.any(|sent| values.iter().any(|value| sent == value))
        };
        self.headers
            .as_ref()
            .is_none_or(|wanted| wanted.iter().all(has))
    }

    fn fits(&self, target: Target<'_>) -> bool {
        let speaks = |list: &Vec<String>| list.iter().any(|dialect| dialect == target.dialect);
        let lacks = |list: &Vec<String>| list.iter().any(|word| target.lacks.contains(word));
        let matches = |patterns: &Option<Vec<String>>, name: &str| {
            patterns
                .as_ref()
                .is_none_or(|all| all.iter().any(|pattern| glob::matches(pattern, name)))
        };
        self.dialects.as_ref().is_none_or(speaks)
            && self.lacks.as_ref().is_none_or(lacks)
            && matches(&self.upstreams, target.upstream)
            && matches(&self.models, target.model)
            && self
                .retries
                .is_none_or(|retries| retries == (target.attempt > 1))
    }

    fn wants(&self, event: &str, delta: Option<&str>) -> bool {
        let listed = match &self.events {
            // Pings are noise to every plugin that does not name them.
            None => event != "ping",
            Some(events) => events.iter().any(|listed| listed == event),
        };
        let delta = match (&self.deltas, delta) {
            (Some(deltas), Some(delta)) if event == "content_block_delta" => {
                deltas.iter().any(|wanted| wanted == delta)
            }
            _ => true,
        };
        listed && delta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn one(alternative: Alternative) -> Guard {
        Guard {
            alternatives: vec![alternative],
        }
    }

    fn features(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn target<'a>(dialect: &'a str, lacks: &'a BTreeSet<String>) -> Target<'a> {
        Target {
            upstream: "up",
            version: 0x2a,
            model: "m",
            dialect,
            lacks,
            attempt: 1,
        }
    }

    #[test]
    fn a_key_names_upstream_version_and_model() {
        let none = BTreeSet::new();
        let target = target("a", &none);
        assert_eq!(target.key(), "up@000000000000002a/m");
        let model = "\u{e9}".repeat(2_000);
        let long = Target {
            upstream: &"u".repeat(128),
            model: &model,
            ..target
        };
        assert!(long.key().len() <= 700 && long.key().len() <= crate::limits::KV_KEY);
    }

    #[test]
    fn a_guard_can_ask_whether_the_plugin_remembers_the_target_or_the_conversation() {
        let guard = |key| {
            one(Alternative {
                remembers: Some(key),
                ..Default::default()
            })
        };
        for known in [KvKey::Target, KvKey::Conversation] {
            let facts = Facts {
                kind: RequestKind::Messages,
                headers: None,
                target: None,
                remembers: &|key| key == known,
                watching: false,
            };
            for key in [KvKey::Target, KvKey::Conversation] {
                assert_eq!(
                    guard(key).may_hold(facts),
                    key == known,
                    "{key:?} {known:?}"
                );
            }
        }
    }

    #[test]
    fn what_a_plugin_remembers_is_looked_up_last_and_only_for_guards_that_ask() {
        let lacks = BTreeSet::from(["a".to_owned()]);
        let looked_up = std::cell::Cell::new(0);
        let facts = Facts {
            kind: RequestKind::Messages,
            headers: None,
            target: Some(target("anthropic", &lacks)),
            remembers: &|_| {
                looked_up.set(looked_up.get() + 1);
                true
            },
            watching: false,
        };
        let learned = |lacks: &str| Alternative {
            lacks: Some(vec![lacks.to_owned()]),
            remembers: Some(KvKey::Target),
            ..Default::default()
        };
        assert!(Guard::default().may_hold(facts));
        assert!(!one(learned("b")).may_hold(facts));
        assert_eq!(looked_up.get(), 0);
        assert!(one(learned("a")).may_hold(facts));
        assert_eq!(looked_up.get(), 1);
    }

    #[test]
    fn a_guard_without_kinds_is_for_messages_only() {
        let guard = Guard::default();
        assert!(guard.may_hold(Facts {
            kind: RequestKind::Messages,
            headers: None,
            target: None,
            remembers: &|_| false,
            watching: false,
        }));
        assert!(!guard.may_hold(Facts {
            kind: RequestKind::CountTokens,
            headers: None,
            target: None,
            remembers: &|_| false,
            watching: false,
        }));
    }

    #[test]
    fn within_an_alternative_everything_must_hold_and_one_alternative_is_enough() {
        let both = Alternative {
            dialects: words(&["a"]),
            lacks: words(&["x", "y"]),
            ..Default::default()
        };
        let table = [
            ("a", &["y"][..], true),
            ("a", &["z"][..], false),
            ("a", &[][..], false),
            ("b", &["x"][..], false),
        ];
        let guard = one(both);
        for (dialect, lacks, holds) in table {
            let lacks = features(lacks);
            let target = target(dialect, &lacks);
            let facts = Facts {
                kind: RequestKind::Messages,
                headers: None,
                target: Some(target),
                remembers: &|_| false,
                watching: false,
            };
            assert_eq!(guard.may_hold(facts), holds, "{dialect} {lacks:?}");
        }

        let either = Guard {
            alternatives: vec![
                Alternative {
                    dialects: words(&["a"]),
                    ..Default::default()
                },
                Alternative {
                    kinds: words(&["count_tokens"]),
                    ..Default::default()
                },
            ],
        };
        let none = BTreeSet::new();
        let other = target("b", &none);
        assert!(either.may_hold(Facts {
            kind: RequestKind::CountTokens,
            headers: None,
            target: Some(other),
            remembers: &|_| false,
            watching: false,
        }));
        assert!(!either.may_hold(Facts {
            kind: RequestKind::Messages,
            headers: None,
            target: Some(other),
            remembers: &|_| false,
            watching: false,
        }));
    }

    #[test]
    fn a_guard_names_upstreams_and_mapped_models_by_patterns() {
        let guard = |upstreams: &[&str], models: &[&str]| {
            one(Alternative {
                upstreams: words(upstreams).filter(|list| !list.is_empty()),
                models: words(models).filter(|list| !list.is_empty()),
                ..Default::default()
            })
        };
        let none = BTreeSet::new();
        let target = Target {
            model: "claude-opus-5-5",
            ..target("anthropic", &none)
        };
        let facts = Facts {
            kind: RequestKind::Messages,
            headers: None,
            target: Some(target),
            remembers: &|_| false,
            watching: false,
        };
        for (upstreams, models, holds) in [
            (&["up"][..], &[][..], true),
            (&["other", "u*"], &[], true),
            (&["other"], &[], false),
            (&[], &["claude-*"], true),
            (&[], &["*haiku*", "*-5-5"], true),
            (&[], &["claude"], false),
            (&["up"], &["gpt-*"], false),
        ] {
            let guard = guard(upstreams, models);
            assert_eq!(guard.may_hold(facts), holds, "{upstreams:?} {models:?}");
        }
    }

    #[test]
    fn a_response_guard_can_ask_whether_the_plugin_watches() {
        let none = BTreeSet::new();
        for watches in [true, false] {
            let facts = Facts {
                kind: RequestKind::Messages,
                headers: None,
                target: Some(target("a", &none)),
                remembers: &|_| false,
                watching: watches,
            };
            for wanted in [true, false] {
                let guard = one(Alternative {
                    watching: Some(wanted),
                    ..Default::default()
                });
                let holds = guard.holds_for_event(facts, "message_start", None);
                assert_eq!(holds, watches == wanted);
            }
        }
    }

    #[test]
    fn a_guard_for_retries_holds_from_the_second_attempt_on() {
        let guard = |retries| {
            one(Alternative {
                retries: Some(retries),
                ..Default::default()
            })
        };
        let none = BTreeSet::new();
        for (attempt, holds) in [(1, false), (2, true), (3, true)] {
            let target = Target {
                attempt,
                ..target("a", &none)
            };
            let facts = Facts {
                kind: RequestKind::Messages,
                headers: None,
                target: Some(target),
                remembers: &|_| false,
                watching: false,
            };
            assert_eq!(guard(true).may_hold(facts), holds, "{attempt}");
            assert_eq!(guard(false).may_hold(facts), !holds, "{attempt}");
        }
    }

    #[test]
    fn a_header_guard_asks_for_one_of_the_values_of_each_header() {
        let guard = one(Alternative {
            headers: Some(vec![
                (
                    HeaderName::from_static("x-class"),
                    vec!["a".to_owned(), "b".to_owned()],
                ),
                (HeaderName::from_static("x-app"), vec!["cli".to_owned()]),
            ]),
            ..Default::default()
        });
        let table = [
            (&[("x-class", "b"), ("x-app", "cli")][..], true),
            (
                &[("x-class", "z"), ("x-class", "a"), ("x-app", "cli")],
                true,
            ),
            (&[("x-class", "A"), ("x-app", "cli")], false),
            (&[("x-class", "a")], false),
            (&[], false),
        ];
        for (said, holds) in table {
            let mut headers = HeaderMap::new();
            for (name, value) in said {
                headers.append(*name, value.parse().unwrap());
            }
            let facts = Facts {
                kind: RequestKind::Messages,
                headers: Some(&headers),
                target: None,
                remembers: &|_| false,
                watching: false,
            };
            assert_eq!(guard.may_hold(facts), holds, "{said:?}");
        }
    }

    #[test]
    fn a_failure_guard_asks_for_the_status() {
        let none = BTreeSet::new();
        let target = target("a", &none);
        let facts = Facts {
            kind: RequestKind::Messages,
            headers: None,
            target: Some(target),
            remembers: &|_| false,
            watching: false,
        };
        let guard = one(Alternative {
            status: Some(vec![400, 422]),
            ..Default::default()
        });
        let holds = |guard: &Guard, status, body: &'static str| {
            let body = Document::new(body.as_bytes());
            guard.holds_for_failure(facts, status, &body)
        };
        assert!(holds(&guard, 400, "{}"));
        assert!(!holds(&guard, 429, "{}"));
        assert!(holds(&Guard::default(), 0, "{}"), "no response at all");

        let asks_for_a = one(Alternative {
            path: Some(Path::parse("$.a").unwrap()),
            ..Default::default()
        });
        assert!(holds(&asks_for_a, 400, r#"{"a": 1}"#));
        assert!(!holds(&asks_for_a, 400, "{}"));
        assert!(
            holds(&asks_for_a, 400, r#"{"a":"#),
            "the body cannot be read"
        );
    }

    #[test]
    fn an_event_guard_asks_for_name_and_delta() {
        let none = BTreeSet::new();
        let target = target("a", &none);
        let facts = Facts {
            kind: RequestKind::Messages,
            headers: None,
            target: Some(target),
            remembers: &|_| false,
            watching: false,
        };
        let wants = |guard: &Guard, name, delta| guard.holds_for_event(facts, name, delta);

        let all = Guard::default();
        assert!(wants(&all, "message_start", None));
        assert!(
            !wants(&all, "ping", None),
            "pings are shown only where they are named"
        );
        assert!(wants(
            &one(Alternative {
                events: words(&["ping"]),
                ..Default::default()
            }),
            "ping",
            None
        ));

        let thinking = one(Alternative {
            deltas: words(&["thinking_delta"]),
            ..Default::default()
        });
        assert!(wants(
            &thinking,
            "content_block_delta",
            Some("thinking_delta")
        ));
        assert!(!wants(&thinking, "content_block_delta", Some("text_delta")));
        assert!(
            wants(&thinking, "content_block_stop", None),
            "other events are not affected"
        );

        let stops = one(Alternative {
            events: words(&["message_stop"]),
            ..Default::default()
        });
        assert!(wants(&stops, "message_stop", None));
        assert!(!wants(&stops, "message_start", None));
    }

    #[test]
    fn a_path_is_tried_only_where_its_names_occur() {
        let path = Path::parse("$..cache_control").unwrap();
        let guard = one(Alternative {
            path: Some(path),
            ..Default::default()
        });
        let facts = Facts {
            kind: RequestKind::Messages,
            headers: None,
            target: None,
            remembers: &|_| false,
            watching: false,
        };
        let holds = |text: &'static str| {
            let body = Document::new(text.as_bytes());
            guard.holds(facts, &body).map_err(|_| "broken")
        };
        assert_eq!(holds(r#"{"messages": []}"#), Ok(false));
        assert_eq!(
            holds(r#"{"messages": "#),
            Ok(false),
            "what no query reaches need not be JSON"
        );
        assert_eq!(holds(r#"{"a": [{"cache_control": 1}]}"#), Ok(true));
        assert_eq!(
            holds(r#"{"a": "cache_control"}"#),
            Ok(false),
            "the word is there, the member is not"
        );
    }
}
