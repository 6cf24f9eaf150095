//! The versions of plugins that conversations keep when a plugin is replaced whose manifest has
//! `"reload": "conversation"`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{
    Catalog, PluginInfo,
    catalog::hexadecimal,
    plugin::Plugin,
    versions::{InUse, REPLACED_VERSIONS, Version},
};
use crate::ids::{ConversationId, PluginId};

/// A version of a plugin that serves conversations.
pub(crate) struct VersionInfo {
    /// The generation of plugins that it came with.
    pub(crate) generation: u64,
    /// As in its manifest.
    pub(crate) version: String,
    /// SHA-256 of the component, hexadecimal.
    pub(crate) hash: String,
    /// Whether it serves new conversations.
    pub(crate) is_current: bool,
    /// How many conversations it serves. `None` if the plugin's conversations are not counted.
    pub(crate) conversations: Option<usize>,
}

impl Catalog {
    /// The set that serves a conversation: this one, with the versions that the conversation keeps.
    ///
    /// `conversation` is called only if there is a plugin of which versions are kept.
    pub(crate) fn for_conversation(
        self: &Arc<Self>,
        keep: Duration,
        conversation: impl FnOnce() -> ConversationId,
    ) -> Arc<Self> {
        let current = &self.kept_by_conversations;
        if current.is_empty() {
            return Arc::clone(self);
        }
        let conversation = conversation();
        let mut versions = self.versions.lock();
        let kept = versions.serve(&conversation, current, keep, Instant::now());
        drop(versions);
        match kept.is_empty() {
            true => Arc::clone(self),
            false => Arc::new(self.with(&kept)),
        }
    }

    /// Drops the versions that no conversation may keep now that this set was published, and logs
    /// what happens to conversations.
    pub(crate) fn retire_versions(&self, keep: Duration) {
        let (current, now) = (&self.kept_by_conversations, Instant::now());
        let mut versions = self.versions.lock();
        let retired = versions.retire(current, keep, now);
        let replaced = |version: &&Version<_>| version.number.generation == self.generation;
        let in_use: Vec<_> = current
            .iter()
            .filter(replaced)
            .map(|current| versions.list(current, keep, now))
            .collect();
        drop(versions);
        for InUse {
            version,
            conversations,
        } in retired
        {
            let Version { plugin, number, .. } = version;
            warn!(
                %plugin, generation = number.generation, conversations,
                "old version of a plugin dropped: more than {REPLACED_VERSIONS} are in use; its conversations continue with the current version"
            );
        }
        for in_use in in_use {
            log_kept(&in_use);
        }
    }

    /// How many versions there are of each plugin whose versions are kept.
    pub(crate) fn versions_in_use(&self, keep: Duration) -> Vec<(PluginId, usize)> {
        let now = Instant::now();
        let mut versions = self.versions.lock();
        let current = self.kept_by_conversations.iter();
        let counted = current.map(|current| {
            let in_use = versions.list(current, keep, now);
            (current.plugin.clone(), in_use.len())
        });
        counted.collect()
    }

    /// All plugins in call order, each with its versions in use, the oldest first. A disabled
    /// plugin has none.
    pub(crate) fn list_versions(&self, keep: Duration) -> Vec<(PluginInfo, Vec<VersionInfo>)> {
        let now = Instant::now();
        let mut versions = self.versions.lock();
        let entries = self.entries.iter().map(|entry| {
            let of_plugin = match &entry.plugin {
                None => Vec::new(),
                Some(plugin) if plugin.is_kept_by_conversations() => {
                    let in_use = versions.list(&plugin.as_version(), keep, now);
                    let each = in_use.into_iter();
                    each.map(
                        |InUse {
                             version,
                             conversations,
                         }| {
                            VersionInfo::of(&version.loaded, plugin, Some(conversations))
                        },
                    )
                    .collect()
                }
                Some(plugin) => vec![VersionInfo::of(plugin, plugin, None)],
            };
            (entry.info(), of_plugin)
        });
        entries.collect()
    }
}

/// Logs how many conversations keep earlier versions of a plugin. The last version is the current
/// one.
fn log_kept(in_use: &[InUse<Arc<Plugin>>]) {
    if let Some((current, earlier)) = in_use.split_last()
        && !earlier.is_empty()
    {
        let conversations: usize = earlier.iter().map(|version| version.conversations).sum();
        info!(
            plugin = %current.version.plugin, generation = current.version.number.generation,
            versions = earlier.len(), conversations,
            "conversations keep earlier versions of a plugin"
        );
    }
}

impl VersionInfo {
    fn of(plugin: &Plugin, current: &Plugin, conversations: Option<usize>) -> Self {
        Self {
            generation: plugin.number.generation,
            version: plugin.manifest.version.clone(),
            hash: hexadecimal(&plugin.code.hash),
            is_current: plugin.number == current.number,
            conversations,
        }
    }
}
