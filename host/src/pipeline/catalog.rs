//! The loaded set of plugins: immutable, numbered, in call order.
//!
//! Built-in plugins are the lower layer, the plugin folder is the upper one: a file of the same
//! name replaces a plugin, another name adds one, and configuration disables. If a plugin is
//! rejected, its last good version stays.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
    time::Instant,
};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tracing::info;
use witgate_contract::manifest::{Hook, Reload};

use super::{
    Catalog, Changes, Compile, Evidence, KeptVersions, Loaded, PluginInfo, Refused, Runtime,
    builtin::BUILTIN,
    code::{Code, Hash},
    files::{self, Folder, Unusable},
    plugin::{self, LoadError, Plugin},
};
use crate::{
    config::{Config, PluginConfig, did_you_mean},
    fault::{Blame, Fault, Kind},
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
    content: Result<(Bytes, Hash), Unusable>,
}

/// A set in the making.
struct Loading<'a> {
    runtime: &'a Arc<Runtime>,
    config: &'a Config,
    /// The set that it replaces.
    earlier: &'a [Entry],
    generation: u64,
    entries: Vec<Entry>,
    refused: Vec<Refused>,
    compiling: Vec<PluginId>,
}

impl Catalog {
    /// Loads the built-in set and the plugin folder on top of it. It blocks while it calls plugins,
    /// so it is called on a thread of its own, never on one that runs async tasks.
    pub(crate) fn load(
        runtime: &Arc<Runtime>,
        config: &Config,
        previous: Option<&Arc<Catalog>>,
        compile: Compile,
    ) -> Loaded {
        let (started, hits) = (Instant::now(), runtime.cache_hits());
        let mut refused = Vec::new();
        let Some(folder) = read_folder(config, previous, &mut refused) else {
            return Loaded {
                catalog: None,
                refused,
                compiling: Vec::new(),
            };
        };
        let earlier = previous.map_or(&[][..], |previous| &previous.entries);
        let mut candidates = candidates(folder, earlier);
        keep_required(config, earlier, &mut candidates, &mut refused);
        let begun = begin_compiling(runtime, config, &candidates, earlier);
        if compile == Compile::Wait {
            runtime.compiler.wait(&begun);
        }
        let mut loading = Loading {
            runtime,
            config,
            earlier,
            generation: previous.map_or(1, |previous| previous.generation + 1),
            entries: Vec::new(),
            refused,
            compiling: Vec::new(),
        };
        for candidate in &candidates {
            loading.add(candidate);
        }
        if compile == Compile::Wait {
            let cached = runtime.cache_hits() - hits;
            let compiled = begun.len().saturating_sub(cached);
            let (generation, elapsed_ms) = (loading.generation, started.elapsed().as_millis());
            info!(generation, compiled, cached, elapsed_ms, "plugins compiled");
        }
        loading.loaded(previous)
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
        let added_rule = entries.iter().find_map(Entry::added_rule);
        let kept_by_conversations = plugins
            .iter()
            .filter(|plugin| plugin.is_kept_by_conversations())
            .map(Plugin::as_version)
            .collect();
        Self {
            generation,
            added_rule: added_rule.cloned(),
            entries,
            plugins,
            hooks,
            kept_by_conversations,
            versions,
        }
    }

    /// How many plugins are not disabled.
    pub(crate) fn enabled(&self) -> usize {
        self.plugins.len()
    }

    /// What this set changes in another one.
    pub(crate) fn changes_since(&self, previous: &Self) -> Changes {
        let of = |catalog: &Self| -> BTreeMap<PluginId, (*const Plugin, Option<PathBuf>)> {
            let enabled = catalog.entries.iter().filter_map(|entry| {
                let plugin = Arc::as_ptr(entry.plugin.as_ref()?);
                Some((entry.name.clone(), (plugin, entry.file.clone())))
            });
            enabled.collect()
        };
        changes(&of(previous), &of(self))
    }

    /// All plugins in call order, disabled ones included.
    pub(crate) fn list(&self) -> Vec<PluginInfo> {
        self.entries.iter().map(Entry::info).collect()
    }

    /// Fails if a plugin that the configuration requires is not in the set.
    pub(crate) fn has_required(&self, config: &Config) -> Result<(), Fault> {
        let is_loaded = |name: &PluginId| self.plugins.iter().any(|plugin| plugin.id() == name);
        let mut required = required(config);
        match required.find(|name| !is_loaded(name)) {
            None => Ok(()),
            Some(name) => {
                let what = format!(
                    "plugin `{name}` is required and not loaded, and nothing is forwarded without it: \
                     the log of the gateway says why it is not"
                );
                Err(Fault::new(Blame::Gateway, Kind::Unavailable, what))
            }
        }
    }

    /// A plugin with a request or attempt hook that the operator has added or requires. Its rule
    /// may be one that every prompt has to pass. A dialect is called only for its own upstreams, to
    /// which no other route leads.
    pub(crate) fn added_rule(&self) -> Option<&PluginId> {
        self.added_rule.as_ref()
    }

    /// The dialects that the set can speak besides `anthropic`.
    pub(crate) fn dialects(&self) -> Vec<String> {
        self.plugins
            .iter()
            .filter_map(|plugin| plugin.manifest.dialect.clone())
            .collect()
    }
}

/// Compares two sets of named things.
fn changes<T: PartialEq>(before: &BTreeMap<PluginId, T>, after: &BTreeMap<PluginId, T>) -> Changes {
    let mut changes = Changes::default();
    for (name, now) in after {
        match before.get(name) {
            None => changes.added.push(name.clone()),
            Some(then) if then != now => changes.replaced.push(name.clone()),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    changes.removed.extend(gone.cloned());
    changes
}

/// The plugins without which nothing is served.
fn required(config: &Config) -> impl Iterator<Item = &PluginId> {
    let plugins = config.plugin.iter();
    plugins.filter_map(|(name, plugin)| plugin.required.then_some(name))
}

/// Reads the plugin folder. `None` if it cannot be listed: then its files do not count as deleted.
fn read_folder(
    config: &Config,
    previous: Option<&Arc<Catalog>>,
    refused: &mut Vec<Refused>,
) -> Option<Folder> {
    let dir = &config.plugins.dir;
    let mut folder = match files::read(dir) {
        Ok(folder) => folder,
        Err(error) if was_never_created(dir, &error, previous) => Folder::default(),
        Err(error) => {
            refused.push(unlisted(dir, error));
            return previous.is_none().then(Folder::default);
        }
    };
    let by_name = std::mem::take(&mut folder.refused).into_iter();
    refused.extend(by_name.map(|(file, why)| Refused {
        file,
        evidence: Evidence::Metadata,
        fault: Fault::gateway(why),
        no_memory: false,
    }));
    Some(folder)
}

/// Adds the required plugins whose files are gone, and rejects those that never had one.
fn keep_required(
    config: &Config,
    earlier: &[Entry],
    candidates: &mut Vec<Candidate>,
    refused: &mut Vec<Refused>,
) {
    for name in required(config) {
        if candidates.iter().any(|candidate| candidate.name == *name) {
            continue;
        }
        let runs = |entry: &&Entry| entry.name == *name && entry.plugin.is_some();
        let last = earlier.iter().find(runs);
        refused.push(missing(name, &config.plugins.dir, last, candidates));
        candidates.extend(last.map(Candidate::without_file));
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

/// A required plugin has no file, or no longer has the one that it was loaded from.
fn missing(name: &PluginId, dir: &Path, last: Option<&Entry>, candidates: &[Candidate]) -> Refused {
    let what = match last {
        Some(_) => format!(
            "plugin `{name}` is required and its file is gone: put it back, or set `required = \
             false` in [plugin.{name}]"
        ),
        None => {
            let names = candidates.iter().map(|candidate| candidate.name.as_str());
            let near = did_you_mean(name.as_str(), names);
            format!("plugin `{name}` is required, and the plugin folder has no file for it{near}")
        }
    };
    Refused {
        file: last
            .and_then(|last| last.file.clone())
            .unwrap_or_else(|| dir.to_owned()),
        evidence: Evidence::Missing,
        fault: Fault::gateway(what),
        no_memory: false,
    }
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

    /// Its name, if the operator has added or requires it and it handles requests.
    fn added_rule(&self) -> Option<&PluginId> {
        let plugin = self.plugin.as_deref()?;
        let is_chosen = self.file.is_some() || plugin.config.required;
        let handles = |hook| plugin.guard(hook).is_some();
        let handles_requests = handles(Hook::Request) || handles(Hook::Attempt);
        (is_chosen && handles_requests && !plugin.is_dialect()).then_some(&self.name)
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
                content: Ok((Bytes::from_static(bytes), hash)),
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

impl Candidate {
    /// A plugin whose file is gone. It runs on with the code that is loaded.
    fn without_file(last: &Entry) -> Self {
        Self {
            order: last.order,
            name: last.name.clone(),
            file: last.file.clone(),
            content: Ok((Bytes::new(), last.hash)),
        }
    }
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

/// Begins to compile the candidates whose code is not there, and forgets what is no longer needed.
/// Returns the hashes of those that it has begun.
fn begin_compiling(
    runtime: &Arc<Runtime>,
    config: &Config,
    candidates: &[Candidate],
    earlier: &[Entry],
) -> Vec<Hash> {
    let enabled = |name| config.plugin.get(name).is_none_or(|plugin| plugin.enabled);
    let mut wanted: BTreeMap<Hash, (&PluginId, &Bytes)> = BTreeMap::new();
    for candidate in candidates {
        let Ok((bytes, hash)) = &candidate.content else {
            continue;
        };
        if enabled(&candidate.name) && loaded_code(earlier, hash).is_none() {
            wanted.insert(*hash, (&candidate.name, bytes));
        }
    }
    runtime.compiler.retain(|hash| wanted.contains_key(hash));
    let begin = |(hash, (name, bytes)): (Hash, (&PluginId, &Bytes))| {
        plugin::begin_compiling(runtime, name, bytes.clone(), hash).then_some(hash)
    };
    wanted.into_iter().filter_map(begin).collect()
}

/// The code of a component that runs, whatever its name.
fn loaded_code(earlier: &[Entry], hash: &Hash) -> Option<Arc<Code>> {
    let mut plugins = earlier.iter().filter_map(|entry| entry.plugin.as_ref());
    let plugin = plugins.find(|plugin| plugin.code.hash == *hash)?;
    Some(Arc::clone(&plugin.code))
}

impl Loading<'_> {
    /// Adds what a candidate is now: a plugin, or the one that it was until it is compiled, or
    /// because it is rejected.
    fn add(&mut self, candidate: &Candidate) {
        let last = self
            .earlier
            .iter()
            .find(|entry| entry.name == candidate.name);
        let entry = self.entry(candidate, last).and_then(|entry| match entry {
            Some(entry) => unless_dialect_taken(entry, &self.entries)
                .map(Some)
                .map_err(LoadError::from),
            None => Ok(None),
        });
        match entry {
            Ok(Some(entry)) => return self.entries.push(entry),
            Ok(None) => self.compiling.push(candidate.name.clone()),
            Err(error) => self.refused.push(refusal(candidate, &error)),
        }
        let last = last.and_then(|last| unless_dialect_taken(last.clone(), &self.entries).ok());
        self.entries.extend(last);
    }

    /// The result: a set, unless it equals the previous one.
    fn loaded(mut self, previous: Option<&Arc<Catalog>>) -> Loaded {
        self.entries.sort_by(|a, b| a.place().cmp(&b.place()));
        let is_same = same(self.earlier, &self.entries) && previous.is_some();
        let catalog = (!is_same).then(|| {
            let versions = previous.map(|previous| Arc::clone(&previous.versions));
            let versions = versions.unwrap_or_default();
            Arc::new(Catalog::new(self.generation, self.entries, versions))
        });
        Loaded {
            catalog,
            refused: self.refused,
            compiling: self.compiling,
        }
    }

    /// Makes an entry of a candidate, with as little work as possible. `last` is the entry that it
    /// replaces. `None` while it is compiled.
    fn entry(
        &self,
        candidate: &Candidate,
        last: Option<&Entry>,
    ) -> Result<Option<Entry>, LoadError> {
        let unconfigured = PluginConfig::default();
        let wanted = self.config.plugin.get(&candidate.name);
        let wanted = wanted.unwrap_or(&unconfigured);
        let entry = |hash, plugin| Entry {
            order: candidate.order,
            name: candidate.name.clone(),
            file: candidate.file.clone(),
            hash,
            plugin,
        };
        if !wanted.enabled {
            let content = candidate.content.as_ref();
            let hash = content.map_or([0; 32], |(_, hash)| *hash);
            return Ok(Some(entry(hash, None)));
        }
        let content = candidate.content.as_ref();
        let (_, hash) = content.map_err(|unusable| unusable.why.clone())?;
        let replaced = last.and_then(|last| last.plugin.as_ref());
        let running = replaced.filter(|plugin| plugin.code.hash == *hash);
        if let Some(plugin) = running.filter(|plugin| plugin.config == *wanted) {
            return Ok(Some(entry(*hash, Some(Arc::clone(plugin)))));
        }
        let code = match loaded_code(self.earlier, hash) {
            Some(code) => code,
            None => match self.runtime.compiler.finished(hash) {
                Some(outcome) => outcome?,
                None => return Ok(None),
            },
        };
        let plugin = load_plugin(self.runtime, &code, &candidate.name, wanted)?;
        let plugin = plugin.replacing(replaced.map(|plugin| &**plugin), self.generation);
        Ok(Some(entry(*hash, Some(Arc::new(plugin)))))
    }
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
    fn a_new_set_says_what_it_adds_replaces_and_removes() {
        let set = |plugins: &[(&str, u32)]| -> BTreeMap<PluginId, u32> {
            let plugins = plugins.iter();
            plugins
                .map(|(name, version)| (name.parse().unwrap(), *version))
                .collect()
        };
        let before = set(&[("kept", 1), ("changed", 1), ("gone", 1)]);
        let after = set(&[("kept", 1), ("changed", 2), ("new", 1)]);
        let names = |name: &str| vec![name.parse().unwrap()];
        let expected = Changes {
            added: names("new"),
            replaced: names("changed"),
            removed: names("gone"),
        };
        assert_eq!(changes(&before, &after), expected);
        assert_eq!(changes(&before, &before), Changes::default());
    }

    #[test]
    fn every_built_in_name_is_a_plugin_name() {
        for (_, name, _) in BUILTIN {
            assert!(name.parse::<PluginId>().is_ok(), "{name}");
        }
    }
}
