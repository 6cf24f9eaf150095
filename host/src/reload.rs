//! Applies changed files while the gateway runs: a new snapshot, or the old one and a log line.
//!
//! A thread watches the plugin folder and the configuration file. After a change it waits until the
//! files settle, compiles and checks them while the running set serves, and applies all or nothing.

mod scan; // the state of the files, by their metadata
mod watch; // waits for a change, and until it is complete

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf, absolute},
    sync::Arc,
    thread,
};

use tracing::{
    error,
    field::{DisplayValue, display},
    info, warn,
};

pub(crate) use self::scan::Scan;
pub(crate) use self::watch::Hints;
use self::watch::{Place, Watch, Woken};
use crate::{
    config::{Config, Problem, Problems, did_you_mean},
    fault::Fault,
    ids::PluginId,
    message::ANTHROPIC,
    pipeline::{Catalog, Changes, Compile, Evidence, Loaded, Refused, Runtime},
    telemetry::Metrics,
};

/// Reads the configuration again and applies the command line to it.
pub(crate) type Reread = Box<dyn Fn() -> Result<(Config, Vec<Problem>), Problems> + Send>;

/// Publishes a configuration together with a set of plugins, or fails if they do not fit together.
pub(crate) type Publish = Box<dyn Fn(&Arc<Config>, &Arc<Catalog>) -> Result<(), Fault> + Send>;

/// Why a configuration without upstreams is rejected. A full disk and a truncating editor leave
/// such a file, and the echo model would answer real sessions.
const NO_UPSTREAM_LEFT: &str =
    "it has no upstream any more; if that is intended, restart to use the echo model";

/// The running configuration and plugins, and what is needed to replace them.
pub(crate) struct Reload {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) metrics: Arc<Metrics>,
    /// The path of the configuration file, which may not exist.
    pub(crate) file: PathBuf,
    pub(crate) config: Arc<Config>,
    pub(crate) catalog: Arc<Catalog>,
    /// The state of the files before `config` and `catalog` were read.
    pub(crate) seen: Scan,
    pub(crate) reread: Reread,
    pub(crate) publish: Publish,
}

/// Looks at the files that belong to a configuration.
pub(crate) fn look(file: &Path, config: &Config) -> Scan {
    let sources = config.sources.iter().map(PathBuf::as_path);
    Scan::take(std::iter::once(file).chain(sources), &config.plugins.dir)
}

/// Returns warnings about a configuration that does not match the plugins that are loaded, or that
/// are being compiled.
pub(crate) fn warnings(config: &Config, catalog: &Catalog, compiling: &[PluginId]) -> Vec<String> {
    let plugins: Vec<PluginId> = catalog
        .list()
        .into_iter()
        .map(|plugin| plugin.name)
        .collect();
    let absent = config
        .plugin
        .keys()
        .filter(|name| !plugins.contains(name) && !compiling.contains(name))
        .map(|name| {
            let near = did_you_mean(name.as_str(), plugins.iter().map(PluginId::as_str));
            format!("[plugin.{name}] is for a plugin that is not loaded{near}")
        });
    let known = catalog.dialects();
    let unknown = config.upstreams.iter().filter(|upstream| {
        let is_known = |dialect: &String| **dialect == *upstream.dialect;
        *upstream.dialect != *ANTHROPIC && !known.iter().any(is_known)
    });
    let unknown = unknown.map(|upstream| {
        let (name, dialect) = (&upstream.name, &upstream.dialect);
        format!("upstream `{name}` speaks `{dialect}`, which no plugin translates")
    });
    absent.chain(unknown).collect()
}

/// Loads the plugins at start. It waits until they are compiled, so the log has a line before and
/// after.
pub(crate) fn load(runtime: &Arc<Runtime>, config: &Config) -> Loaded {
    info!(folder = %config.plugins.dir.display(), "loading plugins");
    Catalog::load(runtime, config, None, Compile::Wait)
}

/// Logs the set of plugins that is used from now on, and what it changes in the previous one.
pub(crate) fn announce(catalog: &Catalog, previous: Option<&Catalog>) {
    let changes = previous.map(|previous| catalog.changes_since(previous));
    let Changes {
        added,
        replaced,
        removed,
    } = changes.unwrap_or_default();
    info!(
        generation = catalog.generation,
        plugins = catalog.enabled(),
        added = listed(&added),
        replaced = listed(&replaced),
        removed = listed(&removed),
        "plugins loaded"
    );
}

/// Names for a log line. Without any, the field is left out.
fn listed(names: &[PluginId]) -> Option<DisplayValue<String>> {
    let names: Vec<&str> = names.iter().map(PluginId::as_str).collect();
    (!names.is_empty()).then(|| display(names.join(", ")))
}

impl Reload {
    /// Starts a thread that watches until the process ends.
    pub(crate) fn spawn(self, hints: Hints) -> Result<(), Fault> {
        self.runtime.on_compiled(hints.on_compiled());
        // Loading may use the timers of the current runtime.
        let runtime = tokio::runtime::Handle::current();
        let watching = thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || {
                let _entered = runtime.enter();
                Reloader::new(self).run(hints);
            });
        let cannot = |error| Fault::gateway("cannot start the thread that reloads").from(error);
        watching.map(|_| ()).map_err(cannot)
    }
}

/// The state of the thread.
struct Reloader {
    running: Reload,
    /// The configuration at start, of which some keys apply until the process ends.
    first: Arc<Config>,
    /// Why the configuration on disk is not the running one, if it is not.
    pending: Option<Pending>,
    /// Plugins that are being compiled, and loaded when that is done.
    compiling: Vec<PluginId>,
    /// Rejected files, and the folder if it could not be read, with the evidence and the reason.
    rejected: BTreeMap<PathBuf, (Evidence, String)>,
}

#[derive(PartialEq, Eq)]
struct Pending {
    reason: String,
    waits_for: WaitsFor,
}

/// The change that may make a rejected configuration valid.
#[derive(PartialEq, Eq)]
enum WaitsFor {
    /// A change to the file itself.
    OwnChange,
    /// A file that it refers to and that could not be read.
    Files,
    /// The plugin folder, which could not be listed.
    Folder(PathBuf),
    /// A plugin that it requires and that is being compiled.
    Compiler,
}

impl Reloader {
    fn new(running: Reload) -> Self {
        let first = running.config.clone();
        Self {
            running,
            first,
            pending: None,
            compiling: Vec::new(),
            rejected: BTreeMap::new(),
        }
    }

    fn run(mut self, hints: Hints) {
        let mut watch = Watch::new(self.place(), hints);
        loop {
            let Woken { asked, compiled } = watch.wait();
            let compiled = compiled && !self.compiling.is_empty();
            let is_same = self.look() == self.running.seen;
            if asked {
                info!("reload requested by a signal");
            } else if is_same && !compiled && !self.is_worth_another_try() {
                continue;
            }
            let found = match compiled && is_same {
                // No file is being written.
                true => self.running.seen.clone(),
                false => watch.settle(&self.running.seen, || self.look()),
            };
            let why = Woken { asked, compiled };
            // A panic while loading must not end the thread. It does not affect the running set.
            let completed = catch_unwind(AssertUnwindSafe(|| self.apply(found.clone(), why)));
            if completed.is_err() {
                error!("reload failed; keeping the running configuration and plugins");
                self.running.seen = found;
            }
            watch.set_place(self.place());
        }
    }

    fn look(&self) -> Scan {
        look(&self.running.file, &self.running.config)
    }

    fn place(&self) -> Place {
        // Events name files by absolute paths.
        let resolve = |path: &Path| absolute(path).unwrap_or_else(|_| path.to_owned());
        Place {
            plugins: resolve(&self.running.config.plugins.dir),
            config: resolve(&self.running.file),
            poll: self.running.config.plugins.poll,
        }
    }

    /// Whether a failure may be over although no stamp changed: something was missing or
    /// unreadable.
    fn is_worth_another_try(&self) -> bool {
        let pending = self.pending.as_ref().map(|pending| &pending.waits_for);
        let config = match pending {
            None | Some(WaitsFor::OwnChange) => false,
            Some(WaitsFor::Files | WaitsFor::Compiler) => true,
            Some(WaitsFor::Folder(folder)) => Evidence::Unlisted.is_outdated(folder),
        };
        config || self.has_outdated_rejection()
    }

    /// Whether something that was rejected as unreadable can now be read.
    fn has_outdated_rejection(&self) -> bool {
        let mut rejected = self.rejected.iter();
        rejected.any(|(path, (evidence, _))| evidence.is_outdated(path))
    }

    /// Applies the files that were found, as far as they are valid and compiled.
    fn apply(&mut self, found: Scan, why: Woken) {
        let before = std::mem::replace(&mut self.running.seen, found);
        if let Some(candidate) = self.candidate(&before, why.asked) {
            match self.try_candidate(&candidate, &before) {
                Ok(()) => return,
                Err(pending) => self.reject_config(pending),
            }
        }
        let is_same = before.plugins == self.running.seen.plugins;
        if is_same && !why.compiled && !self.has_outdated_rejection() {
            return;
        }
        let config = self.running.config.clone();
        let loaded = self.load(&config);
        self.report(&loaded.refused);
        if let Some(catalog) = loaded.catalog
            && let Err(fault) = self.publish(&config, catalog)
        {
            warn!(
                "plugins rejected; keeping the running ones: {}",
                fault.chain()
            );
        }
    }

    /// Loads the plugins that can be loaded now, and begins to compile the others.
    fn load(&mut self, config: &Config) -> Loaded {
        let Reload {
            runtime, catalog, ..
        } = &self.running;
        let loaded = Catalog::load(runtime, config, Some(catalog), Compile::Later);
        let is_new = |name: &&PluginId| !self.compiling.contains(name);
        let new: Vec<PluginId> = loaded.compiling.iter().filter(is_new).cloned().collect();
        if let Some(plugins) = listed(&new) {
            info!(
                plugins,
                "compiling plugins; the others stay as they are meanwhile"
            );
        }
        self.compiling.clone_from(&loaded.compiling);
        loaded
    }

    /// Reads the configuration if it may have changed. `None` if it has not, or is invalid.
    fn candidate(&mut self, before: &Scan, asked: bool) -> Option<Arc<Config>> {
        if before.config == self.running.seen.config && self.pending.is_none() && !asked {
            return None;
        }
        match (self.running.reread)() {
            Ok((config, warnings)) => {
                for warning in warnings {
                    warn!("{warning}");
                }
                Some(Arc::new(config))
            }
            Err(problems) => {
                self.reject_config(Pending {
                    reason: problems.to_string(),
                    waits_for: WaitsFor::Files,
                });
                None
            }
        }
    }

    /// Loads the plugins with a new configuration and publishes both, or returns why it cannot.
    fn try_candidate(&mut self, candidate: &Arc<Config>, before: &Scan) -> Result<(), Pending> {
        if candidate.upstreams.is_empty() && !self.running.config.upstreams.is_empty() {
            return Err(Pending {
                reason: NO_UPSTREAM_LEFT.to_owned(),
                waits_for: WaitsFor::OwnChange,
            });
        }
        // It may name another folder and other files. They are scanned before they are loaded, so
        // that no later change is missed.
        let mut seen = look(&self.running.file, candidate);
        seen.config.extend(self.running.seen.config.clone());
        let loaded = self.load(candidate);
        if let Some(pending) = self.objection(candidate, &loaded, before, &seen) {
            return Err(pending);
        }
        self.report(&loaded.refused);
        let catalog = loaded
            .catalog
            .unwrap_or_else(|| self.running.catalog.clone());
        self.publish(candidate, catalog)
            .map_err(|fault| self.unpublished(candidate, &fault))?;

        info!(file = %self.running.file.display(), "configuration loaded");
        self.running.metrics.reload("config", true);
        for warning in warnings(candidate, &self.running.catalog, &self.compiling) {
            warn!("{warning}");
        }
        for key in needs_restart(&self.first, candidate) {
            warn!("`{key}` changed; restart to apply it");
        }
        // Only the files of the new configuration.
        seen.config
            .retain(|file, _| *file == self.running.file || candidate.sources.contains(file));
        self.running.seen = seen;
        self.running.config = candidate.clone();
        self.pending = None;
        Ok(())
    }

    /// Why a configuration cannot be applied to the plugins that were loaded with it.
    fn objection(
        &self,
        candidate: &Config,
        loaded: &Loaded,
        before: &Scan,
        seen: &Scan,
    ) -> Option<Pending> {
        let same_folder = candidate.plugins.dir == self.running.config.plugins.dir;
        let is_unchanged =
            |file: &PathBuf| before.plugins.stamp_of(file) == seen.plugins.stamp_of(file);
        let waits_for = |refused: &Refused| match refused.evidence {
            // Its settings may be for plugins in a folder that cannot be read now.
            Evidence::Unlisted => Some(WaitsFor::Folder(refused.file.clone())),
            // A required plugin. One that runs is kept without its file.
            Evidence::Missing => {
                (!self.has_loaded(&refused.place())).then_some(WaitsFor::OwnChange)
            }
            // An unchanged file that was valid before is rejected because of its new settings.
            Evidence::Content(_) | Evidence::Metadata | Evidence::Unreadable => {
                let was_valid = !self.rejected.contains_key(&refused.file);
                let by_settings = same_folder && is_unchanged(&refused.file) && was_valid;
                by_settings.then_some(WaitsFor::OwnChange)
            }
        };
        let mut objections = loaded.refused.iter().filter_map(|refused| {
            let (file, reason) = (refused.place(), refused.fault.chain());
            let reason = format!("{file}: {reason}");
            let waits_for = waits_for(refused)?;
            Some(Pending { reason, waits_for })
        });
        objections.next()
    }

    /// Why a configuration was not published.
    fn unpublished(&self, candidate: &Config, fault: &Fault) -> Pending {
        let mut compiling = self.compiling.iter();
        match compiling.find(|name| candidate.requires(name)) {
            Some(name) => Pending {
                reason: format!("plugin `{name}` is required and still being compiled"),
                waits_for: WaitsFor::Compiler,
            },
            None => Pending {
                reason: fault.chain(),
                waits_for: WaitsFor::OwnChange,
            },
        }
    }

    /// Publishes a set that has all required plugins.
    fn publish(&mut self, config: &Arc<Config>, catalog: Arc<Catalog>) -> Result<(), Fault> {
        catalog.has_required(config)?;
        (self.running.publish)(config, &catalog)?;
        if catalog.generation != self.running.catalog.generation {
            catalog.retire_versions(config.plugins.keep_versions);
            announce(&catalog, Some(&self.running.catalog));
            self.running.metrics.reload("plugins", true);
        }
        self.running.catalog = catalog;
        Ok(())
    }

    /// Logs the problems, unless they are the same as before.
    fn reject_config(&mut self, pending: Pending) {
        if self.pending.as_ref() != Some(&pending) {
            for line in pending.reason.lines() {
                warn!("configuration rejected; keeping the running one: {line}");
            }
            self.running.metrics.reload("config", false);
        }
        self.pending = Some(pending);
    }

    /// Logs each rejected file, unless the evidence and the reason are the same as before.
    fn report(&mut self, refused: &[Refused]) {
        let mut now = BTreeMap::new();
        for refused in refused {
            let file = &refused.file;
            let entry = (refused.evidence.clone(), refused.fault.chain());
            if self.rejected.get(file) != Some(&entry) {
                let reason = &entry.1;
                let path = refused.place();
                match refused.evidence {
                    Evidence::Unlisted => warn!(
                        folder = %path,
                        "{reason}; its plugins keep running until it can be read, and an empty folder removes them"
                    ),
                    _ if self.has_loaded(&path) => {
                        warn!(file = %path, "plugin rejected; keeping the previous version: {reason}");
                    }
                    _ => warn!(file = %path, "plugin rejected: {reason}"),
                }
                self.running.metrics.reload("plugins", false);
            }
            now.insert(file.clone(), entry);
        }
        self.rejected = now;
    }

    /// Whether a plugin of the running set was loaded from this file.
    fn has_loaded(&self, source: &str) -> bool {
        let plugins = self.running.catalog.list();
        plugins.iter().any(|plugin| plugin.source == source)
    }
}

/// Returns the changed keys that are only read at start.
fn needs_restart(first: &Config, config: &Config) -> BTreeSet<&'static str> {
    [
        ("listen", first.listen != config.listen),
        ("plugins.cache", first.plugins.cache != config.plugins.cache),
        (
            "plugins.instances",
            first.plugins.instances != config.plugins.instances,
        ),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect()
}

#[cfg(test)]
mod folder;

#[cfg(test)]
mod tests;
