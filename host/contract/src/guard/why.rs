//! Why a guard holds or not: for traces and for authors who try a guard. What did not hold is found
//! at once and put into words later, because most traces are never read.

use http::HeaderName;
use witgate_document::Path;

use super::{Alternative, Facts, Guard, KvKey};
use crate::{RequestKind, glob};

/// One condition of an alternative.
#[derive(Clone, Copy)]
enum Condition<'a> {
    /// Without a list, `messages` only.
    Kinds(Option<&'a [String]>),
    Dialects(&'a [String]),
    Upstreams(&'a [String]),
    Models(&'a [String]),
    Lacks(&'a [String]),
    Headers(&'a [(HeaderName, Vec<String>)]),
    Path(&'a Path),
    Retries(bool),
    Remembers(KvKey),
    Status(&'a [u16]),
    Watching(bool),
}

/// For each alternative, the first condition that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmet([u8; Unmet::MOST]);

impl Unmet {
    /// The most alternatives that are looked at.
    const MOST: usize = 8;
}

impl Guard {
    /// Why the hook is called: what holds of the alternative at `index`. `status` is that of the
    /// failure, if this is the guard of a failure hook.
    #[must_use]
    pub fn why(&self, index: usize, facts: Facts<'_>, status: Option<u16>) -> String {
        let Some(alternative) = self.alternatives.get(index) else {
            return String::new();
        };
        let words = alternative.conditions().into_iter().flatten();
        let words: Vec<String> = words
            .map(|condition| condition.words(facts, status, true))
            .collect();
        self.numbered(index, &words.join("; "))
    }

    /// What does not hold of a guard that does not. If all other conditions of an alternative hold,
    /// that is the query in the body.
    #[must_use]
    pub fn unmet(&self, facts: Facts<'_>, status: Option<u16>) -> Unmet {
        let mut unmet = Unmet([QUERY; Unmet::MOST]);
        for (first, alternative) in unmet.0.iter_mut().zip(&self.alternatives) {
            let conditions = alternative.conditions();
            let fails = |one: &Option<Condition<'_>>| {
                one.is_some_and(|one| one.holds(facts, status) == Some(false))
            };
            let at = conditions.iter().position(fails);
            *first = at.and_then(|at| u8::try_from(at).ok()).unwrap_or(QUERY);
        }
        unmet
    }

    /// Why the hook is not called, for each alternative. `facts` are those of [`Self::unmet`], but
    /// only kind and target are looked at.
    #[must_use]
    pub fn why_not(&self, unmet: Unmet, facts: Facts<'_>, status: Option<u16>) -> Vec<String> {
        if self.alternatives.is_empty() {
            return vec!["the guard has no alternatives, so it never holds".to_owned()];
        }
        let each = self.alternatives.iter().zip(unmet.0).enumerate();
        let words = |(index, (alternative, first)): (usize, (&Alternative, u8))| {
            let condition = *alternative.conditions().get(usize::from(first))?;
            Some(self.numbered(index, &condition?.words(facts, status, false)))
        };
        each.filter_map(words).collect()
    }

    /// As [`Self::why`], for a response hook: what each alternative that may hold asks for.
    #[must_use]
    pub fn why_begun(&self, facts: Facts<'_>) -> Vec<String> {
        let each = self.alternatives.iter().enumerate();
        let may_hold = each.filter(|(_, alternative)| alternative.may_hold(facts));
        let words = |(index, alternative): (usize, &Alternative)| {
            let why = self.why(index, facts, None);
            format!("{why}; shown are {}", alternative.shown_events())
        };
        may_hold.map(words).collect()
    }

    fn numbered(&self, index: usize, words: &str) -> String {
        match self.alternatives.len() {
            0 | 1 => words.to_owned(),
            _ => format!("alternative {}: {words}", index + 1),
        }
    }
}

impl Alternative {
    /// The events that a response hook is called with.
    fn shown_events(&self) -> String {
        let events = match &self.events {
            None => "all events but `ping`".to_owned(),
            Some(events) => format!("the events {}", any_of(events)),
        };
        match &self.deltas {
            None => events,
            Some(deltas) => format!("{events}, of deltas only {}", any_of(deltas)),
        }
    }

    /// The conditions that do not depend on an event, in the order in which they are checked.
    fn conditions(&self) -> [Option<Condition<'_>>; 11] {
        // All fields are named, so that a new condition is not forgotten here.
        let Self {
            kinds,
            dialects,
            upstreams,
            models,
            lacks,
            headers,
            path,
            retries,
            remembers,
            status,
            watching,
            events: _,
            deltas: _,
        } = self;
        [
            Some(Condition::Kinds(kinds.as_deref())),
            dialects.as_deref().map(Condition::Dialects),
            upstreams.as_deref().map(Condition::Upstreams),
            models.as_deref().map(Condition::Models),
            lacks.as_deref().map(Condition::Lacks),
            retries.map(Condition::Retries),
            headers.as_deref().map(Condition::Headers),
            status.as_deref().map(Condition::Status),
            watching.map(Condition::Watching),
            remembers.map(Condition::Remembers),
            path.as_ref().map(Condition::Path),
        ]
    }
}

/// The place of the query among the conditions.
const QUERY: u8 = 10;

impl Condition<'_> {
    /// Whether it holds. `None` for a query, and for what does not count in this hook.
    fn holds(self, facts: Facts<'_>, status: Option<u16>) -> Option<bool> {
        let target = facts.target;
        match self {
            Self::Kinds(None) => Some(facts.kind == RequestKind::Messages),
            Self::Kinds(Some(kinds)) => Some(kinds.iter().any(|kind| kind == facts.kind.as_str())),
            Self::Dialects(list) => target.map(|target| list.iter().any(|d| d == target.dialect)),
            Self::Upstreams(list) => target.map(|target| any_matches(list, target.upstream)),
            Self::Models(list) => target.map(|target| any_matches(list, target.model)),
            Self::Watching(wanted) => Some(wanted == facts.watching),
            Self::Lacks(list) => {
                target.map(|target| list.iter().any(|word| target.lacks.contains(word)))
            }
            Self::Retries(wanted) => target.map(|target| wanted == (target.attempt > 1)),
            Self::Headers(wanted) => facts.headers.map(|headers| {
                wanted.iter().all(|(name, values)| {
                    let mut sent = headers.get_all(name).iter();
                    sent.any(|sent| values.iter().any(|value| sent == value))
                })
            }),
            Self::Remembers(key) => Some((facts.remembers)(key)),
            Self::Status(list) => status.map(|status| list.contains(&status)),
            Self::Path(_) => None,
        }
    }

    fn words(self, facts: Facts<'_>, status: Option<u16>, holds: bool) -> String {
        let expected = |list: String| match holds {
            true => String::new(),
            false => format!(", expected {list}"),
        };
        match self {
            Self::Kinds(kinds) => {
                let list = kinds.map_or_else(|| "`messages`".to_owned(), any_of);
                format!("the kind is `{}`{}", facts.kind.as_str(), expected(list))
            }
            Self::Dialects(list) => {
                let dialect = facts.target.map_or("", |target| target.dialect);
                format!("the dialect is `{dialect}`{}", expected(any_of(list)))
            }
            Self::Upstreams(list) => {
                let upstream = facts.target.map_or("", |target| target.upstream);
                format!("the upstream is `{upstream}`{}", expected(any_of(list)))
            }
            Self::Models(list) => {
                let model = facts.target.map_or("", |target| target.model);
                format!("the model is `{model}`{}", expected(any_of(list)))
            }
            Self::Watching(wanted) => match wanted == holds {
                true => "the plugin watches the response".to_owned(),
                false => "the plugin does not watch the response".to_owned(),
            },
            Self::Lacks(list) if holds => format!("the target lacks {}", any_of(list)),
            Self::Lacks(list) => match list {
                [one] => format!("the target does not lack `{one}`"),
                _ => format!("the target lacks neither {}", joined(list, " nor ")),
            },
            Self::Retries(_) => match facts.target.is_some_and(|target| target.attempt > 1) {
                true => "the attempt is a retry".to_owned(),
                false => "the attempt is not a retry".to_owned(),
            },
            Self::Headers(wanted) => {
                let is = if holds { "is" } else { "is not" };
                let each = wanted.iter();
                let each = each.map(|(name, values)| format!("`{name}` {is} {}", any_of(values)));
                let between = if holds { " and " } else { ", or " };
                format!("the header {}", each.collect::<Vec<_>>().join(between))
            }
            Self::Path(path) => match holds {
                true => format!("the body has `{path}`"),
                false => format!("the body has no `{path}`"),
            },
            Self::Remembers(key) => {
                let what = match key {
                    KvKey::Target => "target",
                    KvKey::Conversation => "conversation",
                };
                match holds {
                    true => format!("the plugin remembers the {what}"),
                    false => format!("the plugin remembers nothing about the {what}"),
                }
            }
            Self::Status(list) => {
                let list: Vec<String> = list.iter().map(u16::to_string).collect();
                let status = status.unwrap_or_default();
                format!("the status is {status}{}", expected(list.join(" or ")))
            }
        }
    }
}

fn any_matches(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| glob::matches(pattern, name))
}

fn any_of(list: &[String]) -> String {
    match list {
        [] => "nothing".to_owned(),
        list => joined(list, " or "),
    }
}

fn joined(list: &[String], between: &str) -> String {
    let quoted: Vec<String> = list.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(between)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::{HeaderMap, HeaderValue};

    use super::super::Target;
    use super::*;

    fn words(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|word| (*word).to_owned()).collect())
    }

    fn of(alternatives: Vec<Alternative>) -> Guard {
        Guard { alternatives }
    }

    /// Every condition once, each in an alternative of its own.
    fn each_condition() -> Vec<(Alternative, &'static str, &'static str)> {
        let one = Alternative::default;
        vec![
            (
                Alternative {
                    kinds: words(&["count_tokens"]),
                    ..one()
                },
                "the kind is `count_tokens`",
                "the kind is `messages`, expected `count_tokens`",
            ),
            (
                Alternative {
                    lacks: words(&["x"]),
                    dialects: words(&[]),
                    ..one()
                },
                "",
                "the dialect is `c`, expected nothing",
            ),
            (
                Alternative {
                    dialects: words(&["a", "b"]),
                    ..one()
                },
                "the dialect is `a`",
                "the dialect is `c`, expected `a` or `b`",
            ),
            (
                Alternative {
                    lacks: words(&["x"]),
                    ..one()
                },
                "the target lacks `x`",
                "the target does not lack `x`",
            ),
            (
                Alternative {
                    lacks: words(&["x", "y"]),
                    ..one()
                },
                "the target lacks `x` or `y`",
                "the target lacks neither `x` nor `y`",
            ),
            (
                Alternative {
                    upstreams: words(&["u*"]),
                    models: words(&["n"]),
                    ..one()
                },
                "",
                "the model is `m`, expected `n`",
            ),
            (
                Alternative {
                    upstreams: words(&["x-*"]),
                    ..one()
                },
                "",
                "the upstream is `up`, expected `x-*`",
            ),
            (
                Alternative {
                    watching: Some(true),
                    ..one()
                },
                "the plugin watches the response",
                "the plugin does not watch the response",
            ),
            (
                Alternative {
                    retries: Some(true),
                    ..one()
                },
                "the attempt is a retry",
                "the attempt is not a retry",
            ),
            (
                Alternative {
                    headers: Some(vec![(
                        HeaderName::from_static("x-app"),
                        vec!["cli".to_owned()],
                    )]),
                    ..one()
                },
                "the header `x-app` is `cli`",
                "the header `x-app` is not `cli`",
            ),
            (
                Alternative {
                    remembers: Some(KvKey::Conversation),
                    ..one()
                },
                "the plugin remembers the conversation",
                "the plugin remembers nothing about the conversation",
            ),
            (
                Alternative {
                    status: Some(vec![400, 413]),
                    ..one()
                },
                "the status is 400",
                "the status is 500, expected 400 or 413",
            ),
            (
                Alternative {
                    path: Some("$.tools".parse().unwrap()),
                    ..one()
                },
                "the body has `$.tools`",
                "the body has no `$.tools`",
            ),
        ]
    }

    #[test]
    fn each_condition_says_in_words_whether_it_holds() {
        let lacks = BTreeSet::from(["x".to_owned()]);
        let mut headers = HeaderMap::new();
        headers.insert("x-app", HeaderValue::from_static("cli"));
        let target = |dialect, lacks, attempt| Target {
            upstream: "up",
            version: 0,
            model: "m",
            dialect,
            lacks,
            attempt,
        };
        let (none, no_headers) = (BTreeSet::new(), HeaderMap::new());
        let holding = |kind| Facts {
            kind,
            headers: Some(&headers),
            target: Some(target("a", &lacks, 2)),
            remembers: &|_| true,
            watching: true,
        };
        let failing = Facts {
            kind: RequestKind::Messages,
            headers: Some(&no_headers),
            target: Some(target("c", &none, 1)),
            remembers: &|_| false,
            watching: false,
        };
        for (alternative, holds, fails) in each_condition() {
            let kind = match alternative.kinds {
                Some(_) => RequestKind::CountTokens,
                None => RequestKind::Messages,
            };
            let queries = alternative.path.is_some();
            let is_failure = alternative.status.is_some();
            let guard = of(vec![alternative]);
            assert_eq!(
                guard.why_not(guard.unmet(failing, Some(500)), failing, Some(500)),
                [fails]
            );
            if holds.is_empty() {
                continue;
            }
            let why = guard.why(0, holding(kind), Some(400));
            assert_eq!(why.trim_start_matches("the kind is `messages`; "), holds);
            // Words and decision agree.
            assert!(guard.may_hold(holding(kind)), "{holds}");
            let decided = guard.may_hold(failing);
            assert_eq!(decided, queries || is_failure, "{fails}");
        }
    }

    #[test]
    fn several_alternatives_are_numbered_and_a_response_hook_names_its_events() {
        let lacks = BTreeSet::new();
        let facts = Facts {
            kind: RequestKind::Messages,
            headers: None,
            target: Some(Target {
                upstream: "up",
                version: 0,
                model: "m",
                dialect: "a",
                lacks: &lacks,
                attempt: 1,
            }),
            remembers: &|_| false,
            watching: false,
        };
        let response = of(vec![Alternative {
            events: words(&["content_block_delta"]),
            deltas: words(&["text_delta"]),
            ..Default::default()
        }]);
        assert_eq!(
            response.why_begun(facts),
            [
                "the kind is `messages`; shown are the events `content_block_delta`, of deltas \
                 only `text_delta`"
            ]
        );
        let guard = of(vec![
            Alternative {
                retries: Some(true),
                ..Default::default()
            },
            Alternative {
                lacks: words(&["x"]),
                ..Default::default()
            },
        ]);
        let why_not = guard.why_not(guard.unmet(facts, None), facts, None);
        assert_eq!(
            why_not,
            [
                "alternative 1: the attempt is not a retry",
                "alternative 2: the target does not lack `x`"
            ]
        );
        assert_eq!(
            of(Vec::new()).why_not(guard.unmet(facts, None), facts, None),
            ["the guard has no alternatives, so it never holds"]
        );
    }
}
