//! The loaded set of plugins: immutable, numbered, in call order.
//!
//! Built-in plugins are the lower layer, the plugin folder is the upper one: a file of the same
//! name replaces a plugin, another name adds one, and configuration disables. If a plugin is
//! rejected, its last good version stays.

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
    time::Instant,
};

use sha2::{Digest, Sha256};
use tracing::info;
use witgate_contract::manifest::{Hook, Reload};

use super::{
    Catalog, Evidence, KeptVersions, Loaded, PluginInfo, Refused, Runtime,
    builtin::BUILTIN,
    code::{Code, Hash},
    files::{self, Folder, Unusable},
    plugin::{self, LoadError, Plugin},
};
use crate::{
    config::{Config, PluginConfig},
    fault::Fault,
    ids::PluginId,
};

/// The order of a new plugin whose file name has none.
const MIDDLE: u8 = 50;

/// A plugin of the set, or one that the configuration disables.
#[derive(Clone)]
pub(super) struct Entry {
    order: u8,
    name: PluginId,
    /// `None` for a built-in plugin.
    file: Option<PathBuf>,
    hash: Hash,
    /// `None` if it is disabled.
    pub(super) plugin: Option<Arc<Plugin>>,
}

/// A component that may become a plugin of the set.
struct Candidate {
    order: u8,
    name: PluginId,
    file: Option<PathBuf>,
    content: Result<(Cow<'static, [u8]>, Hash), Unusable>,
}

/// How many components were compiled or cached, for the log.
#[derive(Default)]
struct Tally {
    compiled: usize,
    cached: usize,
}

impl Catalog {
    /// Loads the built-in set and the plugin folder on top of it. It blocks while it compiles, so
    /// it is called on a thread of its own, never on one that runs async tasks.
    pub(crate) fn load(
        runtime: &Arc<Runtime>,
        config: &Config,
        previous: Option<&Arc<Catalog>>,
    ) -> Loaded {
        let started = Instant::now();
        let dir = &config.plugins.dir;
        let mut refused = Vec::new();
        let folder = match files::read(dir) {
            Ok(folder) => folder,
            Err(error) if was_never_created(dir, &error, previous) => Folder::default(),
            Err(error) => {
                refused.push(unlisted(dir, error));
                // Files that cannot be listed do not count as deleted.
                if previous.is_some() {
                    let catalog = None;
                    return Loaded { catalog, refused };
                }
                Folder::default()
            }
        };
        for (file, why) in &folder.refused {
            refused.push(Refused {
                file: file.clone(),
                evidence: Evidence::Metadata,
                fault: Fault::gateway(why.clone()),
                no_memory: false,
            });
        }
        let mut tally = Tally::default();
        let mut entries = Vec::new();
        let generation = previous.map_or(1, |previous| previous.generation + 1);
        let earlier = previous.map_or(&[][..], |previous| &previous.entries);
        for candidate in candidates(folder, earlier) {
            let last = earlier.iter().find(|entry| entry.name == candidate.name);
            let entry = load_entry(runtime, config, &candidate, (last, generation), &mut tally);
            let free = |entry| unless_dialect_taken(entry, &entries).map_err(LoadError::from);
            match entry.and_then(free) {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    refused.push(refusal(&candidate, &error));
                    let last =
                        last.and_then(|last| unless_dialect_taken(last.clone(), &entries).ok());
                    entries.extend(last);
                }
            }
        }
        entries.sort_by(|a, b| a.place().cmp(&b.place()));
        if previous.is_some_and(|previous| same(&previous.entries, &entries)) {
            return Loaded {
                catalog: None,
                refused,
            };
        }
        let versions = previous.map(|previous| Arc::clone(&previous.versions));
        let catalog = Catalog::new(generation, entries, versions.unwrap_or_default());
        info!(
            generation,
            plugins = catalog.plugins.len(),
            compiled = tally.compiled,
            cached = tally.cached,
            elapsed_ms = started.elapsed().as_millis(),
            "plugins compiled"
        );
        Loaded {
            catalog: Some(Arc::new(catalog)),
            refused,
        }
    }

    fn new(generation: u64, entries: Vec<Entry>, versions: KeptVersions) -> Self {
        let plugins = entries.iter().filter_map(|entry| entry.plugin.clone());
        let plugins = plugins.collect();
        Self::of(generation, entries.into(), plugins, versions)
    }

    /// This set with other versions of some plugins.
    pub(super) fn with(&self, versions: &[Arc<Plugin>]) -> Self {
        let version_of = |current: &Arc<Plugin>| {
            let mut versions = versions.iter();
            let other = versions.find(|version| version.id() == current.id());
            Arc::clone(other.unwrap_or(current))
        };
        let plugins = self.plugins.iter().map(version_of).collect();
        let (entries, versions) = (Arc::clone(&self.entries), Arc::clone(&self.versions));
        Self::of(self.generation, entries, plugins, versions)
    }

    fn of(
        generation: u64,
        entries: Arc<[Entry]>,
        plugins: Vec<Arc<Plugin>>,
        versions: KeptVersions,
    ) -> Self {
        let with_hook = |hook: Hook| {
            let plugins = plugins.iter().enumerate();
            plugins
                .filter(|(_, plugin)| plugin.guard(hook).is_some())
                .map(|(at, _)| at)
                .collect()
        };
        let hooks = Hook::ALL.map(with_hook);
        let kept_by_conversations = plugins
            .iter()
            .filter(|plugin| plugin.is_kept_by_conversations())
            .map(Plugin::as_version)
            .collect();
        Self {
            generation,
            entries,
            plugins,
            hooks,
            kept_by_conversations,
            versions,
        }
    }

    /// All plugins in call order, disabled ones included.
    pub(crate) fn list(&self) -> Vec<PluginInfo> {
        self.entries.iter().map(Entry::info).collect()
    }

    /// The dialects that the set can speak besides `anthropic`.
    pub(crate) fn dialects(&self) -> Vec<String> {
        self.plugins
            .iter()
            .filter_map(|plugin| plugin.manifest.dialect.clone())
            .collect()
    }
}

/// Whether the folder could not be listed because it was never created. A missing folder that
/// loaded plugins came from did exist, and may come back.
fn was_never_created(dir: &Path, error: &io::Error, previous: Option<&Arc<Catalog>>) -> bool {
    let from_there = |entry: &Entry| {
        let file = entry.file.as_deref();
        file.and_then(Path::parent) == Some(dir)
    };
    error.kind() == io::ErrorKind::NotFound
        && !previous.is_some_and(|previous| previous.entries.iter().any(from_there))
}

fn unlisted(dir: &Path, error: io::Error) -> Refused {
    let what = match error.kind() {
        io::ErrorKind::NotFound => "the plugin folder is missing",
        _ => "the plugin folder cannot be read",
    };
    Refused {
        file: dir.to_owned(),
        evidence: Evidence::Unlisted,
        fault: Fault::gateway(what).from(error),
        no_memory: false,
    }
}

/// Returns the entry, unless another one translates its dialect. The error completes the sentence
/// "plugin X ...".
fn unless_dialect_taken(entry: Entry, others: &[Entry]) -> Result<Entry, String> {
    let Some(dialect) = entry.dialect() else {
        return Ok(entry);
    };
    let same = |other: &&Entry| other.dialect() == Some(dialect);
    match others.iter().find(same) {
        None => Ok(entry),
        Some(Entry { name, .. }) => Err(format!(
            "claims dialect `{dialect}`, which plugin `{name}` translates: name the file `{name}.wasm` to replace \
             that plugin, or disable one of the two, for example with `[plugin.{name}] enabled = false`"
        )),
    }
}

impl Entry {
    /// The dialect that it translates. `None` if it is disabled.
    fn dialect(&self) -> Option<&str> {
        self.plugin.as_ref()?.manifest.dialect.as_deref()
    }

    /// The key of the call order: dialects come after the plugins of stage `messages`, and those of
    /// stage `wire` after the dialects. Ties go by name.
    fn place(&self) -> (u8, u8, &PluginId) {
        let rank = match self.plugin.as_deref() {
            Some(plugin) if plugin.is_wire() => 2,
            Some(plugin) if plugin.is_dialect() => 1,
            _ => 0,
        };
        (rank, self.order, &self.name)
    }

    /// Where it sits, for `witgate plugin list`.
    fn stage(&self) -> &'static str {
        match self.plugin.as_deref() {
            Some(plugin) if plugin.is_wire() => "wire",
            Some(plugin) if plugin.is_dialect() => "dialect",
            _ => "messages",
        }
    }

    pub(super) fn info(&self) -> PluginInfo {
        let manifest = self.plugin.as_ref().map(|plugin| &plugin.manifest);
        let hooks = self
            .plugin
            .as_ref()
            .map(|plugin| plugin.code.hooks())
            .unwrap_or_default();
        PluginInfo {
            order: self.order,
            name: self.name.clone(),
            version: manifest
                .map(|manifest| manifest.version.clone())
                .unwrap_or_default(),
            summary: manifest
                .map(|manifest| manifest.summary.clone())
                .unwrap_or_default(),
            reload: manifest.map(|manifest| match manifest.reload {
                Reload::Request => "request",
                Reload::Conversation => "conversation",
            }),
            stage: self.stage(),
            hooks: hooks.into_iter().map(Hook::as_str).collect(),
            guards: manifest
                .map_or_else(|| "{}".to_owned(), |manifest| manifest.guards_text.clone()),
            source: match &self.file {
                None => "built in".to_owned(),
                Some(file) => files::shown(file),
            },
            hash: hexadecimal(&self.hash),
            enabled: self.plugin.is_some(),
        }
    }
}

/// Merges the layers. Plugins that already run come first, so that a new one loses a conflict.
fn candidates(mut folder: Folder, earlier: &[Entry]) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for (order, name, bytes, hash) in builtin() {
        candidates.push(match folder.files.remove(&name) {
            Some(file) => from_file(name, file, order),
            None => Candidate {
                order,
                name,
                file: None,
                content: Ok((bytes.into(), hash)),
            },
        });
    }
    let added = folder
        .files
        .into_iter()
        .map(|(name, file)| from_file(name, file, MIDDLE));
    candidates.extend(added);
    candidates.sort_by_key(|candidate| {
        let ran = earlier.iter().any(|entry| entry.name == candidate.name);
        candidate.file.is_some() && !ran
    });
    candidates
}

fn from_file(name: PluginId, file: files::File, otherwise: u8) -> Candidate {
    let order = file.order.unwrap_or(otherwise);
    let content = file.bytes.map(|bytes| {
        let hash = Sha256::digest(&bytes).into();
        (bytes.into(), hash)
    });
    Candidate {
        order,
        name,
        file: Some(file.path),
        content,
    }
}

/// The built-in plugins; their hashes are computed once.
fn builtin() -> Vec<(u8, PluginId, &'static [u8], Hash)> {
    static HASHES: OnceLock<Vec<Hash>> = OnceLock::new();
    let hashes = HASHES.get_or_init(|| {
        BUILTIN
            .iter()
            .map(|(_, _, bytes)| Sha256::digest(bytes).into())
            .collect()
    });
    let named = BUILTIN
        .iter()
        .zip(hashes)
        .filter_map(|((order, name, bytes), hash)| {
            // A test checks that all of them parse.
            Some((*order, name.parse().ok()?, *bytes, *hash))
        });
    named.collect()
}

/// Makes an entry of a candidate, with as little work as possible. `last` is the entry that it
/// replaces, in the set of this generation.
fn load_entry(
    runtime: &Arc<Runtime>,
    config: &Config,
    candidate: &Candidate,
    (last, generation): (Option<&Entry>, u64),
    tally: &mut Tally,
) -> Result<Entry, LoadError> {
    let unconfigured = PluginConfig::default();
    let wanted = config.plugin.get(&candidate.name).unwrap_or(&unconfigured);
    let entry = |hash, plugin| Entry {
        order: candidate.order,
        name: candidate.name.clone(),
        file: candidate.file.clone(),
        hash,
        plugin,
    };
    if !wanted.enabled {
        let hash = candidate
            .content
            .as_ref()
            .map_or([0; 32], |(_, hash)| *hash);
        return Ok(entry(hash, None));
    }
    let content = candidate.content.as_ref();
    let (bytes, hash) = content.map_err(|unusable| unusable.why.clone())?;
    let replaced = last.and_then(|last| last.plugin.as_ref());
    let running = replaced.filter(|plugin| plugin.code.hash == *hash);
    if let Some(plugin) = running.filter(|plugin| plugin.config == *wanted) {
        return Ok(entry(*hash, Some(Arc::clone(plugin))));
    }
    let code = match running {
        Some(plugin) => Arc::clone(&plugin.code),
        None => compile(runtime, bytes, *hash, tally)?,
    };
    let plugin = load_plugin(runtime, &code, &candidate.name, wanted)?;
    let plugin = plugin.replacing(replaced.map(|plugin| &**plugin), generation);
    runtime.compiled.forget(hash);
    Ok(entry(*hash, Some(Arc::new(plugin))))
}

fn compile(
    runtime: &Runtime,
    bytes: &[u8],
    hash: Hash,
    tally: &mut Tally,
) -> Result<Arc<Code>, String> {
    let hits = runtime.cache_hits();
    let code = plugin::compile(runtime, bytes, hash)?;
    if runtime.cache_hits() > hits {
        tally.cached += 1;
    } else {
        tally.compiled += 1;
    }
    Ok(code)
}

/// Loads a plugin on a thread and an async runtime of its own, because loading calls into the
/// component and must not share a thread with exchanges.
fn load_plugin(
    runtime: &Arc<Runtime>,
    code: &Arc<Code>,
    name: &PluginId,
    config: &PluginConfig,
) -> Result<Plugin, LoadError> {
    let load = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| format!("could not be loaded: {error}"))?
            .block_on(plugin::load(runtime, code, name, config))
    };
    thread::scope(|scope| scope.spawn(load).join()).unwrap_or_else(|_| {
        let why = "could not be loaded: the gateway panicked while loading it";
        Err(why.to_owned().into())
    })
}

fn refusal(candidate: &Candidate, error: &LoadError) -> Refused {
    let why = &error.why;
    let name = &candidate.name;
    Refused {
        file: candidate
            .file
            .clone()
            .unwrap_or_else(|| format!("{name} (built in)").into()),
        evidence: match &candidate.content {
            Ok((_, hash)) => Evidence::Content(*hash),
            Err(unusable) => unusable.evidence.clone(),
        },
        fault: Fault::plugin(name, format!("plugin `{name}` {why}")),
        no_memory: error.no_memory,
    }
}

/// A hash as text.
pub(super) fn hexadecimal(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn same(before: &[Entry], after: &[Entry]) -> bool {
    let same = |(before, after): (&Entry, &Entry)| {
        let plugin = match (&before.plugin, &after.plugin) {
            (None, None) => true,
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            _ => false,
        };
        let place = before.place() == after.place() && before.file == after.file;
        plugin && place && before.hash == after.hash
    };
    before.len() == after.len() && before.iter().zip(after).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_name_is_a_plugin_name() {
        for (_, name, _) in BUILTIN {
            assert!(name.parse::<PluginId>().is_ok(), "{name}");
        }
    }
}
