//! Which version of a plugin serves a conversation: the one that it began with, until it is idle.
//! Pure: the time is an argument, and a version may be any value.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    ids::{ConversationId, PluginId},
    recent::Recent,
};

/// How many replaced versions of one plugin may serve conversations.
pub(super) const REPLACED_VERSIONS: usize = 8;

/// How many conversations are remembered: about 3 MB. The one that has been idle the longest is
/// dropped first.
const CONVERSATIONS: usize = 10_000;

/// The number of a plugin's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VersionNumber {
    /// The generation of plugins that it came with.
    pub(super) generation: u64,
    /// The generation that began the line of versions to which it belongs. Conversations keep
    /// versions of the current line only.
    pub(super) line: u64,
}

impl VersionNumber {
    /// The first version of a line.
    pub(super) fn first(generation: u64) -> Self {
        Self {
            generation,
            line: generation,
        }
    }
}

/// A version of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version<V> {
    pub(super) plugin: PluginId,
    pub(super) number: VersionNumber,
    pub(super) loaded: V,
}

/// A version and how many conversations it serves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InUse<V> {
    pub(super) version: Version<V>,
    pub(super) conversations: usize,
}

/// The versions that serve each conversation. They are alive for as long as they are in here.
pub(super) struct Versions<V>(Recent<ConversationId, Vec<Version<V>>>);

impl<V> Default for Versions<V> {
    fn default() -> Self {
        Self(Recent::new(CONVERSATIONS))
    }
}

impl<V: Clone> Versions<V> {
    /// Notes a request of a conversation, and returns the versions that serve it instead of the
    /// current ones.
    pub(super) fn serve(
        &mut self,
        conversation: &ConversationId,
        current: &[Version<V>],
        keep: Duration,
        now: Instant,
    ) -> Vec<V> {
        self.0.forget_idle(keep, now);
        let served = self.0.use_or_insert(conversation.clone(), now, Vec::new);
        let mut chosen: Vec<Version<V>> = current
            .iter()
            .map(|current| kept(&*served, current).unwrap_or(current).clone())
            .collect();
        let replaced = chosen.iter().zip(current);
        let replaced = replaced
            .filter(|(chosen, current)| chosen.number != current.number)
            .map(|(chosen, _)| chosen.loaded.clone())
            .collect();
        // A request that began before a reload does not know the plugins that it added.
        let is_absent =
            |version: &&Version<V>| !current.iter().any(|other| other.plugin == version.plugin);
        chosen.extend(served.iter().filter(is_absent).cloned());
        *served = chosen;
        replaced
    }

    /// Drops the versions that no conversation may keep: of other plugins and lines than the
    /// current ones, and the oldest ones beyond [`REPLACED_VERSIONS`]. Returns the latter, with
    /// their conversations, which continue with the current version.
    pub(super) fn retire(
        &mut self,
        current: &[Version<V>],
        keep: Duration,
        now: Instant,
    ) -> Vec<InUse<V>> {
        self.0.forget_idle(keep, now);
        if current.is_empty() {
            self.0.clear();
        }
        self.retain(|version| current.iter().any(|current| is_of_line(version, current)));
        let mut retired = Vec::new();
        for current in current {
            let mut replaced = self.in_use_of(current);
            replaced.remove(&current.number.generation);
            while replaced.len() > REPLACED_VERSIONS {
                retired.extend(replaced.pop_first().map(|(_, oldest)| oldest));
            }
        }
        let is_retired = |version: &Version<V>| {
            let mut retired = retired.iter();
            retired.any(|InUse { version: old, .. }| {
                old.plugin == version.plugin && old.number == version.number
            })
        };
        self.retain(|version| !is_retired(version));
        retired
    }

    /// The versions of a plugin that serve conversations, the oldest first, and the current one in
    /// any case.
    pub(super) fn list(
        &mut self,
        current: &Version<V>,
        keep: Duration,
        now: Instant,
    ) -> Vec<InUse<V>> {
        self.0.forget_idle(keep, now);
        let mut in_use = self.in_use_of(current);
        in_use
            .entry(current.number.generation)
            .or_insert_with(|| InUse {
                version: current.clone(),
                conversations: 0,
            });
        in_use.into_values().collect()
    }

    /// The versions of a plugin that serve conversations, by generation.
    fn in_use_of(&self, current: &Version<V>) -> BTreeMap<u64, InUse<V>> {
        let mut in_use = BTreeMap::new();
        let versions = self.0.values().flatten();
        for version in versions.filter(|version| is_of_line(version, current)) {
            let counted = in_use
                .entry(version.number.generation)
                .or_insert_with(|| InUse {
                    version: version.clone(),
                    conversations: 0,
                });
            counted.conversations += 1;
        }
        in_use
    }

    fn retain(&mut self, keep: impl Fn(&Version<V>) -> bool) {
        for served in self.0.values_mut() {
            served.retain(&keep);
        }
    }
}

/// The version that a conversation keeps, if it began with another one than the current.
///
/// Of the same version, the current one is used, since limits such as its deadline may differ.
fn kept<'a, V>(served: &'a [Version<V>], current: &Version<V>) -> Option<&'a Version<V>> {
    let mut served = served.iter();
    served.find(|version| is_of_line(version, current) && version.number != current.number)
}

/// Whether a conversation may keep a version when this one is current.
fn is_of_line<V>(version: &Version<V>, current: &Version<V>) -> bool {
    version.plugin == current.plugin && version.number.line == current.number.line
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn conversation(name: &str) -> ConversationId {
        ConversationId::of_session(name, None)
    }

    /// A version whose value is its generation.
    fn version(plugin: &str, generation: u64, line: u64) -> Version<u64> {
        Version {
            plugin: plugin.parse().unwrap(),
            number: VersionNumber { generation, line },
            loaded: generation,
        }
    }

    /// The conversations of each version of plugin `p`.
    fn counts(versions: &mut Versions<u64>, current: &Version<u64>, now: Instant) -> String {
        let list = versions.list(current, HOUR, now);
        let each = list
            .iter()
            .map(|used| format!("{}:{}", used.version.loaded, used.conversations));
        each.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_conversation_keeps_a_version_of_the_current_line_only() {
        let table = [
            ("the same version", version("p", 1, 1), vec![]),
            ("the next version", version("p", 2, 1), vec![1]),
            ("a version of another line", version("p", 2, 2), vec![]),
            ("another plugin", version("q", 2, 1), vec![]),
        ];
        for (what, current, expected) in table {
            let mut versions = Versions::default();
            let (now, a) = (Instant::now(), conversation("a"));
            versions.serve(&a, &[version("p", 1, 1)], HOUR, now);
            for _ in 0..2 {
                let replaced = versions.serve(&a, std::slice::from_ref(&current), HOUR, now);
                assert_eq!(replaced, expected, "{what}");
            }
            let begun = versions.serve(&conversation("b"), &[current], HOUR, now);
            assert_eq!(begun, Vec::<u64>::new(), "{what}");
        }
    }

    #[test]
    fn each_plugin_of_a_conversation_has_its_own_version() {
        let mut versions = Versions::default();
        let (now, a) = (Instant::now(), conversation("a"));
        versions.serve(&a, &[version("p", 1, 1)], HOUR, now);
        let two = [version("p", 2, 1), version("q", 2, 2)];
        assert_eq!(versions.serve(&a, &two, HOUR, now), [1]);
        let three = [version("p", 3, 1), version("q", 3, 2)];
        assert_eq!(versions.serve(&a, &three, HOUR, now), [1, 2]);
    }

    #[test]
    fn a_request_that_began_before_a_plugin_was_added_forgets_nothing() {
        let mut versions = Versions::default();
        let (now, a) = (Instant::now(), conversation("a"));
        let before = [version("p", 1, 1)];
        let after = [version("p", 1, 1), version("q", 2, 2)];
        versions.serve(&a, &after, HOUR, now);
        versions.serve(&a, &before, HOUR, now);
        let next = [version("p", 1, 1), version("q", 3, 2)];
        assert_eq!(versions.serve(&a, &next, HOUR, now), [2]);
    }

    #[test]
    fn the_same_version_with_other_limits_is_used_with_the_new_ones() {
        let mut versions = Versions::default();
        let (now, a) = (Instant::now(), conversation("a"));
        versions.serve(&a, &[version("p", 1, 1)], HOUR, now);
        let relimited = Version {
            loaded: 100,
            ..version("p", 1, 1)
        };
        versions.serve(&a, &[relimited], HOUR, now);
        assert_eq!(
            versions.serve(&a, &[version("p", 2, 1)], HOUR, now),
            [100],
            "what it had last is kept"
        );
    }

    #[test]
    fn an_idle_conversation_is_forgotten_with_its_version() {
        let table = [
            (HOUR, Duration::from_secs(3599), vec![1], "1:1 2:0"),
            (HOUR, HOUR, vec![], "2:1"),
            (Duration::ZERO, Duration::ZERO, vec![], "2:1"),
        ];
        for (keep, pause, expected, counted) in table {
            let mut versions = Versions::default();
            let (begun, a) = (Instant::now(), conversation("a"));
            versions.serve(&a, &[version("p", 1, 1)], keep, begun);
            let (later, current) = (begun + pause, version("p", 2, 1));
            let replaced = versions.serve(&a, std::slice::from_ref(&current), keep, later);
            assert_eq!(replaced, expected, "{pause:?}");
            assert_eq!(counts(&mut versions, &current, later), counted, "{pause:?}");
        }
    }

    #[test]
    fn each_request_keeps_a_conversation_for_longer() {
        let mut versions = Versions::default();
        let (begun, a) = (Instant::now(), conversation("a"));
        versions.serve(&a, &[version("p", 1, 1)], HOUR, begun);
        for request in 1..10 {
            let now = begun + request * Duration::from_secs(3000);
            assert_eq!(versions.serve(&a, &[version("p", 2, 1)], HOUR, now), [1]);
        }
    }

    #[test]
    fn the_oldest_version_beyond_the_limit_is_retired_with_its_conversations() {
        let mut versions = Versions::default();
        let now = Instant::now();
        // One conversation begins with each version, and a second one with the first.
        versions.serve(&conversation("first"), &[version("p", 1, 1)], HOUR, now);
        for generation in 1..=9 {
            let current = version("p", generation, 1);
            let retired = versions.retire(std::slice::from_ref(&current), HOUR, now);
            assert_eq!(retired, [], "generation {generation}");
            let name = format!("c{generation}");
            versions.serve(&conversation(&name), &[current], HOUR, now);
        }
        let current = version("p", 10, 1);
        let retired = versions.retire(std::slice::from_ref(&current), HOUR, now);
        let oldest = InUse {
            version: version("p", 1, 1),
            conversations: 2,
        };
        assert_eq!(retired, [oldest]);
        let mut serve = |name| {
            let current = std::slice::from_ref(&current);
            versions.serve(&conversation(name), current, HOUR, now)
        };
        assert_eq!(serve("first"), Vec::<u64>::new());
        assert_eq!(serve("c2"), [2]);
        assert_eq!(
            counts(&mut versions, &current, now),
            "2:1 3:1 4:1 5:1 6:1 7:1 8:1 9:1 10:1"
        );
    }

    #[test]
    fn a_plugin_that_was_removed_or_began_another_line_is_retired_at_once() {
        let mut versions = Versions::default();
        let (now, a) = (Instant::now(), conversation("a"));
        let first = version("p", 1, 1);
        for without in [vec![], vec![version("q", 2, 2)], vec![version("p", 2, 2)]] {
            versions.serve(&a, std::slice::from_ref(&first), HOUR, now);
            assert_eq!(counts(&mut versions, &first, now), "1:1");
            assert_eq!(versions.retire(&without, HOUR, now), []);
            assert_eq!(counts(&mut versions, &first, now), "1:0", "{without:?}");
        }
    }

    #[test]
    fn the_number_of_conversations_is_bounded() {
        let mut versions = Versions::default();
        let (now, current) = (Instant::now(), version("p", 1, 1));
        for number in 0..=CONVERSATIONS {
            let current = std::slice::from_ref(&current);
            versions.serve(&conversation(&number.to_string()), current, HOUR, now);
        }
        assert_eq!(versions.0.values().count(), CONVERSATIONS);
    }
}
