//! Compares an exchange with the one that it continues: kept, or broken where and by whom.

use std::{fmt, sync::Arc};

use super::digest::{Digests, Part};
use crate::ids::{AccountId, PluginId};

/// What is kept of an exchange.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Before any plugin.
    pub(crate) received: Arc<Digests>,
    /// After all plugins that see the Messages API. The same as `received` if none edited it.
    pub(crate) sent: Arc<Digests>,
    pub(crate) requested_model: Arc<str>,
    /// Upstream and model.
    pub(crate) target: String,
    pub(crate) account: Option<AccountId>,
    /// The account's organization, if it is known: its accounts share the prompt cache.
    pub(crate) organization: Option<Arc<str>>,
    pub(crate) editors: Vec<Editor>,
}

/// A plugin that edited the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Editor {
    pub(crate) plugin: PluginId,
    /// Changes with the component and with its settings.
    pub(crate) version: String,
    pub(crate) edits: Vec<Edit>,
}

/// One edit of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) at: String,
    pub(crate) digest: u64,
}

/// An exchange compared with the one before. `None` means kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// By the rules of the prefix check.
    pub(crate) check: Option<Break>,
    /// As the prompt cache sees it.
    pub(crate) cache: Option<Break>,
}

/// The first difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Break {
    /// The pointer of the part that changed, in the body that was sent.
    pub(crate) at: String,
    pub(crate) by: Culprit,
}

/// Who caused a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Culprit {
    /// What was received differs already.
    Client,
    /// A plugin edited what it did not edit before, or otherwise, or no longer.
    Plugin { plugin: PluginId, edit: String },
    /// The same, and the plugin or its settings were replaced or removed meanwhile.
    Reload {
        plugin: PluginId,
        edit: String,
        old: String,
        new: String,
    },
    /// Another upstream or model.
    Route,
    /// Another account of the same upstream, which does not share a prompt cache. Some models also
    /// bind thinking to it.
    Account { old: AccountId, new: AccountId },
    /// The gateway's own edits.
    Gateway,
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Plugin { plugin, .. } => write!(f, "plugin:{plugin}"),
            Self::Reload { plugin, .. } => write!(f, "reload:{plugin}"),
            Self::Route => f.write_str("route"),
            Self::Account { .. } => f.write_str("account"),
            Self::Gateway => f.write_str("gateway"),
        }
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at={}; by={}", self.at, self.by)
    }
}

impl Comparison {
    /// The upstream has reported that thinking was bound to the account that made it.
    pub(crate) fn thinking_was_bound(&mut self) {
        let by_account = |broken: &&Break| matches!(broken.by, Culprit::Account { .. });
        if self.check.is_none() {
            self.check = self.cache.as_ref().filter(by_account).cloned();
        }
    }

    /// The comparisons with their names.
    pub(crate) fn both(&self) -> [(&'static str, Option<&Break>); 2] {
        [
            ("prefix", self.check.as_ref()),
            ("cache", self.cache.as_ref()),
        ]
    }
}

/// Compares an exchange with the one before.
pub(crate) fn compare(before: &Entry, now: &Entry) -> Comparison {
    let broken = |difference: fn(&Digests, &Digests) -> Option<String>| {
        let at = difference(&before.sent, &now.sent)?;
        // A fork, a rewind or a compaction also moves what plugins edit.
        let by = match difference(&before.received, &now.received) {
            Some(_) => Culprit::Client,
            None => culprit(before, now, &at),
        };
        Some(Break { at, by })
    };
    let model = || other_model(before, now);
    Comparison {
        check: broken(check_difference).or_else(model),
        cache: broken(cache_difference)
            .or_else(model)
            .or_else(|| other_account(before, now)),
    }
}

fn other_model(before: &Entry, now: &Entry) -> Option<Break> {
    let by = match before.requested_model == now.requested_model {
        true => Culprit::Route,
        false => Culprit::Client,
    };
    let at = "/model".to_owned();
    (before.target != now.target).then_some(Break { at, by })
}

fn other_account(before: &Entry, now: &Entry) -> Option<Break> {
    if before.organization.is_some() && before.organization == now.organization {
        return None;
    }
    let (old, new) = (before.account.clone()?, now.account.clone()?);
    let at = "/account".to_owned();
    (old != new).then_some(Break {
        at,
        by: Culprit::Account { old, new },
    })
}

/// The first part that differs by the rules of the prefix check: tools are a set, and thinking may
/// be left out from the start or the end.
fn check_difference(before: &Digests, now: &Digests) -> Option<String> {
    let set = |tools: &[Part]| {
        let mut checks: Vec<u64> = tools.iter().map(|tool| tool.check).collect();
        checks.sort_unstable();
        checks
    };
    if set(&before.tools) != set(&now.tools) {
        return Some("/tools".to_owned());
    }
    let same = |a: &Part, b: &Part| a.check == b.check;
    let part = in_system(before, now, same);
    let message = first_difference(&before.messages, &now.messages, same);
    let thinking = thinking_difference(&before.messages, &now.messages);
    part.or_else(|| message.into_iter().chain(thinking).min().map(message_at))
}

/// The first part that differs for the prompt cache.
fn cache_difference(before: &Digests, now: &Digests) -> Option<String> {
    let same = |a: &Part, b: &Part| a.cache == b.cache;
    let tools = before.tools.len() == now.tools.len()
        && first_difference(&before.tools, &now.tools, same).is_none();
    if !tools {
        return Some("/tools".to_owned());
    }
    in_system(before, now, same)
        .or_else(|| first_difference(&before.messages, &now.messages, same).map(message_at))
}

fn in_system(before: &Digests, now: &Digests, same: fn(&Part, &Part) -> bool) -> Option<String> {
    let (before, now) = (&before.system, &now.system);
    let common = before.len().min(now.len());
    let longer = (before.len() != now.len()).then_some(common);
    let at = first_difference(before, now, same).or(longer)?;
    Some(format!("/system/{at}"))
}

fn message_at(at: usize) -> String {
    format!("/messages/{at}")
}

/// The first of the parts in common that differs. More or fewer at the end are no difference.
fn first_difference(
    before: &[Part],
    now: &[Part],
    same: fn(&Part, &Part) -> bool,
) -> Option<usize> {
    let mut pairs = before.iter().zip(now);
    pairs.position(|(a, b)| !same(a, b))
}

/// The first message whose thinking breaks the chain: left out of the middle, back again, or
/// another.
fn thinking_difference(before: &[Part], now: &[Part]) -> Option<usize> {
    let mut kept = false;
    let mut gap = None;
    for (at, (before, now)) in before.iter().zip(now).enumerate() {
        match (before.thinking, now.thinking) {
            (0, 0) => {}
            (before, now) if before == now => {
                if gap.is_some() {
                    return gap;
                }
                kept = true;
            }
            // From the start; what follows a gap decides whether it is one.
            (_, 0) if kept => gap = gap.or(Some(at)),
            (_, 0) => {}
            _ => return Some(at),
        }
    }
    None
}

/// Who made the difference at a pointer, if the client did not.
fn culprit(before: &Entry, now: &Entry, at: &str) -> Culprit {
    // Plugins may edit for one target what they do not edit for another.
    if let Some(other) = other_model(before, now) {
        return other.by;
    }
    let changed = changed_edits(&before.editors, &now.editors);
    let there = changed.iter().find(|(_, edit)| are_related(&edit.at, at));
    if let Some((plugin, edit)) = there.or(changed.first()) {
        return by_plugin(before, now, plugin, &edit.at);
    }
    Culprit::Gateway
}

fn by_plugin(before: &Entry, now: &Entry, plugin: &PluginId, edit: &str) -> Culprit {
    let version = |of: &Entry| {
        let editor = of.editors.iter().find(|editor| editor.plugin == *plugin);
        editor.map(|editor| editor.version.clone())
    };
    let (plugin, edit) = (plugin.clone(), edit.to_owned());
    match (version(before), version(now)) {
        (Some(old), Some(new)) if old != new => Culprit::Reload {
            plugin,
            edit,
            old,
            new,
        },
        _ => Culprit::Plugin { plugin, edit },
    }
}

/// The edits of one side only.
fn changed_edits<'a>(before: &'a [Editor], now: &'a [Editor]) -> Vec<(&'a PluginId, &'a Edit)> {
    let all = |editors: &'a [Editor]| {
        let each = editors.iter();
        each.flat_map(|editor| editor.edits.iter().map(|edit| (&editor.plugin, edit)))
            .collect::<Vec<_>>()
    };
    let (before, now) = (all(before), all(now));
    let new = now.iter().filter(|edit| !before.contains(edit));
    let gone = before.iter().filter(|edit| !now.contains(edit));
    // Cache marks count for neither comparison.
    let counts = |(_, edit): &&(&PluginId, &Edit)| !edit.at.ends_with("/cache_control");
    new.chain(gone).filter(counts).copied().collect()
}

/// Whether one pointer is the other, or inside it.
fn are_related(a: &str, b: &str) -> bool {
    let inside = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    inside(a, b) || inside(b, a)
}

#[cfg(test)]
mod tests {
    use witgate_document::Document;

    use super::*;

    const BODY: &str = r#"{"model":"m","system":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"tools":[{"name":"x","n":1},{"name":"y"}],"messages":[{"role":"user","content":"one"},{"role":"assistant","content":[{"type":"thinking","signature":"s1"},{"type":"text","text":"two"}]},{"role":"user","content":"three"}]}"#;

    fn digests(body: &str) -> Arc<Digests> {
        Arc::new(Digests::of(&Document::new(body.to_owned()), &[]).unwrap())
    }

    fn entry(received: &str, sent: &str) -> Entry {
        Entry {
            received: digests(received),
            sent: digests(sent),
            requested_model: "m".into(),
            target: "up m".to_owned(),
            account: None,
            organization: None,
            editors: Vec::new(),
        }
    }

    fn editor(plugin: &str, version: &str, edits: &[(&str, u64)]) -> Editor {
        let edits = edits.iter().map(|(at, digest)| Edit {
            at: (*at).to_owned(),
            digest: *digest,
        });
        Editor {
            plugin: plugin.parse().unwrap(),
            version: version.to_owned(),
            edits: edits.collect(),
        }
    }

    fn shown(broken: Option<Break>) -> String {
        broken.map_or_else(|| "kept".to_owned(), |broken| broken.to_string())
    }

    #[track_caller]
    fn is(before: &Entry, now: &Entry, check: &str, cache: &str) {
        let found = compare(before, now);
        assert_eq!(shown(found.check), check, "check");
        assert_eq!(shown(found.cache), cache, "cache");
    }

    /// A body with one part replaced.
    fn with(from: &str, to: &str) -> String {
        assert!(BODY.contains(from), "{from}");
        BODY.replacen(from, to, 1)
    }

    #[test]
    fn a_change_is_found_where_it_is() {
        let client = |at: &str| format!("at={at}; by=client");
        let (x, y) = (r#"{"name":"x","n":1}"#, r#"{"name":"y"}"#);
        let thinking = r#"{"type":"thinking","signature":"s1"},"#;
        let kept = || "kept".to_owned();
        let table = [
            (BODY.to_owned(), kept(), kept()),
            (
                with("\"b\"", "\"c\""),
                client("/system/1"),
                client("/system/1"),
            ),
            (
                with("one", "eins"),
                client("/messages/0"),
                client("/messages/0"),
            ),
            (
                with(y, r#"{"name":"z"}"#),
                client("/tools"),
                client("/tools"),
            ),
            (
                with(&format!("{x},{y}"), &format!("{y},{x}")),
                kept(),
                client("/tools"),
            ),
            (with(x, r#"{"n":1,"name":"x"}"#), kept(), client("/tools")),
            (with(x, r#"{"name": "x", "n": 1}"#), kept(), kept()),
            (with(thinking, ""), kept(), client("/messages/1")),
            (
                with("s1", "s2"),
                client("/messages/1"),
                client("/messages/1"),
            ),
            // A rewind.
            (
                with(r#",{"role":"user","content":"three"}"#, ""),
                kept(),
                kept(),
            ),
        ];
        for (body, check, cache) in table {
            is(&entry(BODY, BODY), &entry(&body, &body), &check, &cache);
        }
    }

    #[test]
    fn thinking_may_be_left_out_at_either_end_only() {
        let part = |thinking| {
            let mut part = digests(BODY).messages[0];
            part.thinking = thinking;
            part
        };
        let difference = |before: &[u64], now: &[u64]| {
            let parts = |chain: &[u64]| chain.iter().map(|at| part(*at)).collect::<Vec<_>>();
            thinking_difference(&parts(before), &parts(now))
        };
        assert_eq!(difference(&[1, 0, 2, 3], &[1, 0, 2, 3]), None);
        assert_eq!(difference(&[1, 0, 2, 3], &[0, 0, 2, 3]), None);
        assert_eq!(difference(&[1, 0, 2, 3], &[1, 0, 2, 0]), None);
        assert_eq!(difference(&[1, 0, 2, 3], &[0, 0, 0, 0]), None);
        assert_eq!(difference(&[1, 0, 2, 3], &[1, 0, 0, 3]), Some(2));
        assert_eq!(difference(&[0, 0, 2, 3], &[1, 0, 2, 3]), Some(0));
        assert_eq!(difference(&[1, 0, 2, 3], &[1, 0, 4, 3]), Some(2));
    }

    #[test]
    fn the_plugin_whose_edit_differs_there_is_the_culprit() {
        let edited = with("\"b\"", "\"c\"");
        let steady = editor("steady", "1", &[("/system/1/text", 7)]);
        let marks = editor("marks", "1", &[("/system/1/cache_control", 1)]);
        let broken = |before: Vec<Editor>, now: Vec<Editor>| {
            let (mut a, mut b) = (entry(BODY, BODY), entry(BODY, &edited));
            (a.editors, b.editors) = (before, now);
            compare(&a, &b).check.unwrap().by.to_string()
        };
        let late = || editor("late", "1", &[("/messages/0", 3), ("/system", 5)]);
        let other = editor("other", "1", &[("/messages/1", 3)]);
        let all = vec![marks.clone(), steady.clone(), other.clone(), late()];
        assert_eq!(broken(vec![steady.clone()], all), "plugin:late");
        // It no longer edits.
        assert_eq!(
            broken(vec![late()], vec![steady.clone(), other]),
            "plugin:steady"
        );
        assert_eq!(
            broken(vec![late(), steady.clone()], vec![steady.clone()]),
            "plugin:late"
        );
        // Its edit is another one.
        let timed = |digest| editor("timed", "1", &[("/system/1/text", digest)]);
        assert_eq!(
            broken(vec![timed(1)], vec![timed(2), steady.clone()]),
            "plugin:timed"
        );
        let replaced = editor("steady", "2", &[("/system/1/text", 8)]);
        let emptied = editor("steady", "2", &[]);
        assert_eq!(broken(vec![steady.clone()], vec![emptied]), "reload:steady");
        assert_eq!(
            broken(vec![steady.clone()], vec![replaced]),
            "reload:steady"
        );
        assert_eq!(broken(vec![steady.clone()], vec![steady]), "gateway");
    }

    #[test]
    fn a_change_of_the_client_is_not_blamed_on_a_plugin() {
        let mut now = entry(&with("three", "3"), &with("\"b\"", "\"c\""));
        now.editors = vec![editor("late", "1", &[("/system/1/text", 1)])];
        let client = "at=/system/1; by=client";
        is(&entry(BODY, BODY), &now, client, client);
    }

    #[test]
    fn another_upstream_or_model_breaks_what_is_otherwise_kept() {
        let before = entry(BODY, BODY);
        let route = Entry {
            target: "other m".to_owned(),
            ..before.clone()
        };
        is(
            &before,
            &route,
            "at=/model; by=route",
            "at=/model; by=route",
        );
        let client = Entry {
            requested_model: "n".into(),
            target: "up n".to_owned(),
            ..before.clone()
        };
        is(
            &before,
            &client,
            "at=/model; by=client",
            "at=/model; by=client",
        );
    }

    #[test]
    fn edits_for_another_target_are_the_routes() {
        let before = entry(BODY, BODY);
        let mut now = entry(BODY, &with("\"b\"", "\"c\""));
        now.target = "other m".to_owned();
        now.editors = vec![editor("late", "1", &[("/system/1/text", 1)])];
        let route = "at=/system/1; by=route";
        is(&before, &now, route, route);
    }

    #[test]
    fn another_account_loses_the_cache_and_thinking_if_the_upstream_says_so() {
        let of = |account: Option<&str>| Entry {
            account: account.map(|name| name.parse().unwrap()),
            ..entry(BODY, BODY)
        };
        let account = "at=/account; by=account";
        is(&of(Some("ada")), &of(Some("bob")), "kept", account);
        is(&of(Some("ada")), &of(Some("ada")), "kept", "kept");
        is(&of(Some("ada")), &of(None), "kept", "kept");
        let in_organization = |account| Entry {
            organization: Some("red".into()),
            ..of(Some(account))
        };
        is(
            &in_organization("ada"),
            &in_organization("bob"),
            "kept",
            "kept",
        );
        is(&in_organization("ada"), &of(Some("bob")), "kept", account);
        let mut found = compare(&of(Some("ada")), &of(Some("bob")));
        found.thinking_was_bound();
        assert_eq!(shown(found.check), account);
        let mut kept = Comparison::default();
        kept.thinking_was_bound();
        assert_eq!(kept, Comparison::default());
    }

    #[test]
    fn a_growing_conversation_is_kept_however_it_is_written() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..1_000 {
            let mut before = None::<Entry>;
            let mut messages: Vec<String> = Vec::new();
            for turn in 0..random.usize(2..8) {
                messages.push(format!("q{turn}-{}", random.u8(..)));
                let body = written(&messages, random.usize(..=messages.len()));
                let known: Vec<&Digests> = before.iter().map(|entry| &*entry.received).collect();
                let received = Digests::of(&Document::new(body), &known).unwrap();
                let mut now = entry(BODY, BODY);
                now.received = Arc::new(received);
                now.sent = Arc::clone(&now.received);
                if let Some(before) = &before {
                    assert_eq!(compare(before, &now), Comparison::default());
                }
                before = Some(now);
                messages.push(format!("a{turn}-{}", random.u8(..)));
            }
        }
    }

    /// A body whose message with this number has a cache mark.
    fn written(messages: &[String], marked: usize) -> String {
        let each = messages.iter().enumerate().map(|(at, text)| match at == marked {
            true => format!(
                r#"{{"content":[{{"type":"text","text":"{text}","cache_control":{{"type":"ephemeral"}}}}]}}"#
            ),
            false => format!(r#"{{ "content": "{text}" }}"#),
        });
        format!(
            r#"{{"messages":[{}]}}"#,
            each.collect::<Vec<_>>().join(", ")
        )
    }
}
