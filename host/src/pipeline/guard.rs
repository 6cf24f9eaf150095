//! Does this plugin care? Answered from the plugin's manifest, without calling it, the cheap parts first.

use http::{HeaderMap, HeaderName};
use witgate_document::{Document, Error, Path};

use crate::message::{RequestKind, Target};

/// When a hook is called: if in one alternative everything holds.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) alternatives: Vec<Alternative>,
}

/// Parts that are not there hold.
#[derive(Debug, Default)]
pub(super) struct Alternative {
    /// Without it: messages only.
    pub(super) kinds: Option<Vec<String>>,
    pub(super) dialects: Option<Vec<String>>,
    pub(super) lacks: Option<Vec<String>>,
    /// Each of them has one of its values.
    pub(super) headers: Option<Vec<(HeaderName, Vec<String>)>>,
    pub(super) path: Option<Path>,
    /// Whether the attempt is not the first one.
    pub(super) retries: Option<bool>,
    pub(super) status: Option<Vec<u16>>,
    pub(super) events: Option<Vec<String>>,
    pub(super) deltas: Option<Vec<String>>,
}

/// What a guard is asked about.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) kind: RequestKind,
    /// The client's. None where the answer is under way, where no guard asks for them.
    pub(super) headers: Option<&'a HeaderMap>,
    /// None in the request hook.
    pub(super) target: Option<&'a Target>,
}

impl Default for Guard {
    /// A hook without a guard is called for every exchange of kind `messages`.
    fn default() -> Self {
        Self {
            alternatives: vec![Alternative::default()],
        }
    }
}

impl Guard {
    /// Whether the parts hold that are known before the body is looked at and the answer has come.
    pub(super) fn may_hold(&self, facts: Facts<'_>) -> bool {
        self.alternatives
            .iter()
            .any(|alternative| alternative.may_hold(facts))
    }

    /// As [`Self::may_hold`], and the names that the path speaks of occur in the body.
    pub(super) fn likely(&self, facts: Facts<'_>, body: &Document) -> bool {
        self.alternatives.iter().any(|alternative| {
            alternative.may_hold(facts)
                && alternative
                    .path
                    .as_ref()
                    .is_none_or(|path| body.may_select(path))
        })
    }

    /// Whether a request or attempt hook is to be called. The error is the body's: it is not JSON where a path had to
    /// read, or more than can be searched.
    pub(super) fn holds(&self, facts: Facts<'_>, body: &Document) -> Result<bool, Error> {
        for alternative in &self.alternatives {
            if !alternative.may_hold(facts) {
                continue;
            }
            let Some(path) = &alternative.path else {
                return Ok(true);
            };
            if body.may_select(path) && body.matches(path)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a failure hook is to be called. A body that a path cannot read was sent nevertheless, so there the hook has
    /// to look for itself.
    pub(super) fn holds_for_failure(&self, facts: Facts<'_>, status: u16, body: &Document) -> bool {
        self.alternatives.iter().any(|alternative| {
            let listed = alternative
                .status
                .as_ref()
                .is_none_or(|list| list.contains(&status));
            let selects = |path| body.may_select(path) && body.matches(path).unwrap_or(true);
            listed && alternative.may_hold(facts) && alternative.path.as_ref().is_none_or(selects)
        })
    }

    /// Whether a response hook is to be shown this event.
    pub(super) fn holds_for_event(
        &self,
        facts: Facts<'_>,
        name: &str,
        delta: Option<&str>,
    ) -> bool {
        self.alternatives
            .iter()
            .any(|alternative| alternative.wants(name, delta) && alternative.may_hold(facts))
    }

    /// Whether it matters which type a delta has.
    pub(super) fn asks_for_deltas(&self) -> bool {
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
            && facts.headers.is_none_or(|headers| self.is_said(headers))
    }

    fn is_said(&self, headers: &HeaderMap) -> bool {
        let has = |(name, values): &(HeaderName, Vec<String>)| {
            let mut said = headers.get_all(name).iter();
            said.any(|said| values.iter().any(|value| said == value))
        };
        self.headers
            .as_ref()
            .is_none_or(|wanted| wanted.iter().all(has))
    }

    fn fits(&self, target: &Target) -> bool {
        let speaks = |list: &Vec<String>| list.iter().any(|dialect| **dialect == *target.dialect);
        let lacks = |list: &Vec<String>| list.iter().any(|word| target.lacks.contains(word));
        self.dialects.as_ref().is_none_or(speaks)
            && self.lacks.as_ref().is_none_or(lacks)
            && self
                .retries
                .is_none_or(|retries| retries == (target.attempt > 1))
    }

    fn wants(&self, name: &str, delta: Option<&str>) -> bool {
        let event = match &self.events {
            // Pings are noise to all but those who ask for them.
            None => name != "ping",
            Some(events) => events.iter().any(|event| event == name),
        };
        let delta = match (&self.deltas, delta) {
            (Some(deltas), Some(delta)) if name == "content_block_delta" => {
                deltas.iter().any(|wanted| wanted == delta)
            }
            _ => true,
        };
        event && delta
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use super::*;

    fn words(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn one(alternative: Alternative) -> Guard {
        Guard {
            alternatives: vec![alternative],
        }
    }

    fn target(dialect: &str, lacks: &[&str]) -> Target {
        Target {
            upstream: "up".parse().unwrap(),
            index: 0,
            dialect: dialect.into(),
            account: None,
            model: "m".into(),
            asked_model: "m".into(),
            attempt: 1,
            lacks: Arc::new(
                lacks
                    .iter()
                    .map(|word| (*word).to_owned())
                    .collect::<BTreeSet<_>>(),
            ),
        }
    }

    #[test]
    fn a_guard_without_kinds_is_for_messages_only() {
        let guard = Guard::default();
        assert!(guard.may_hold(Facts {
            kind: RequestKind::Messages,
            headers: None,
            target: None,
        }));
        assert!(!guard.may_hold(Facts {
            kind: RequestKind::CountTokens,
            headers: None,
            target: None,
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
            let target = target(dialect, lacks);
            let facts = Facts {
                kind: RequestKind::Messages,
                headers: None,
                target: Some(&target),
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
        let other = target("b", &[]);
        assert!(either.may_hold(Facts {
            kind: RequestKind::CountTokens,
            headers: None,
            target: Some(&other),
        }));
        assert!(!either.may_hold(Facts {
            kind: RequestKind::Messages,
            headers: None,
            target: Some(&other),
        }));
    }

    #[test]
    fn a_guard_for_retries_holds_from_the_second_attempt_on() {
        let guard = |retries| {
            one(Alternative {
                retries: Some(retries),
                ..Default::default()
            })
        };
        for (attempt, holds) in [(1, false), (2, true), (3, true)] {
            let target = Target {
                attempt,
                ..target("a", &[])
            };
            let facts = Facts {
                kind: RequestKind::Messages,
                headers: None,
                target: Some(&target),
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
            };
            assert_eq!(guard.may_hold(facts), holds, "{said:?}");
        }
    }

    #[test]
    fn a_failure_guard_asks_for_the_status() {
        let target = target("a", &[]);
        let facts = Facts {
            kind: RequestKind::Messages,
            headers: None,
            target: Some(&target),
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
        assert!(holds(&Guard::default(), 0, "{}"), "no answer at all");

        let asks_for_a = one(Alternative {
            path: Some(Path::parse("$.a").unwrap()),
            ..Default::default()
        });
        assert!(holds(&asks_for_a, 400, r#"{"a": 1}"#));
        assert!(!holds(&asks_for_a, 400, "{}"));
        assert!(holds(&asks_for_a, 400, r#"{"a":"#), "nobody can say");
    }

    #[test]
    fn an_event_guard_asks_for_name_and_delta() {
        let target = target("a", &[]);
        let facts = Facts {
            kind: RequestKind::Messages,
            headers: None,
            target: Some(&target),
        };
        let wants = |guard: &Guard, name, delta| guard.holds_for_event(facts, name, delta);

        let all = Guard::default();
        assert!(wants(&all, "message_start", None));
        assert!(
            !wants(&all, "ping", None),
            "pings go only to those who name them"
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
