//! Files change: a new snapshot, or the old one and a reason.
//!
//! One thread of its own watches the plugin folder and the configuration file, lets them settle, compiles and checks what is
//! there beside what runs, and hands over the whole of it or nothing. Whatever goes wrong is a line in the log.

mod scan; // what lies on the disk, by stamps
mod watch; // wait for a change, and for it to be over

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf, absolute},
    sync::Arc,
    thread,
};

use tracing::{error, info, warn};

pub(crate) use self::scan::Scan;
use self::watch::{Place, Watch};
use crate::{
    config::{Config, Problem, Problems, did_you_mean},
    fault::Fault,
    ids::PluginId,
    message::ANTHROPIC,
    pipeline::{Catalog, Evidence, Loaded, Refused, Runtime},
    telemetry::Metrics,
};

/// Reads the configuration again, with what the command line says put over it.
pub(crate) type Reread = Box<dyn Fn() -> Result<(Config, Vec<Problem>), Problems> + Send>;

/// Puts a configuration and a set of plugins in force together, or says why they do not go together.
pub(crate) type Publish = Box<dyn Fn(&Arc<Config>, &Arc<Catalog>) -> Result<(), Fault> + Send>;

/// What runs, and what is needed to replace it.
pub(crate) struct Reload {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) metrics: Arc<Metrics>,
    /// Where the configuration is, or would be.
    pub(crate) file: PathBuf,
    pub(crate) config: Arc<Config>,
    pub(crate) catalog: Arc<Catalog>,
    /// What lay on the disk before `config` and `catalog` were read from it.
    pub(crate) seen: Scan,
    pub(crate) reread: Reread,
    pub(crate) publish: Publish,
}

/// Looks at the files that a configuration is about.
pub(crate) fn look(file: &Path, config: &Config) -> Scan {
    let sources = config.sources.iter().map(PathBuf::as_path);
    Scan::take(std::iter::once(file).chain(sources), &config.plugins.dir)
}

/// What is odd about a configuration in the light of the plugins that there are.
pub(crate) fn remarks(config: &Config, catalog: &Catalog) -> Vec<String> {
    let plugins: Vec<PluginId> = catalog
        .list()
        .into_iter()
        .map(|plugin| plugin.name)
        .collect();
    let absent = config
        .plugin
        .keys()
        .filter(|name| !plugins.contains(name))
        .map(|name| {
            let near = did_you_mean(name.as_str(), plugins.iter().map(PluginId::as_str));
            format!("[plugin.{name}] is for a plugin that is not there{near}")
        });
    let spoken = catalog.dialects();
    let unspoken = config.upstreams.iter().filter(|upstream| {
        *upstream.dialect != *ANTHROPIC && !spoken.iter().any(|known| **known == *upstream.dialect)
    });
    let unspoken = unspoken.map(|upstream| {
        let (name, dialect) = (&upstream.name, &upstream.dialect);
        format!("upstream `{name}` speaks `{dialect}`, which no plugin translates")
    });
    absent.chain(unspoken).collect()
}

/// Compiles and checks the plugins that there are; the log says so before and after, since it may take a while.
pub(crate) fn load(
    runtime: &Arc<Runtime>,
    config: &Config,
    previous: Option<&Arc<Catalog>>,
) -> Loaded {
    info!(folder = %config.plugins.dir.display(), "loading plugins");
    let loaded = Catalog::load(runtime, config, previous);
    if loaded.catalog.is_none() {
        info!("plugins unchanged");
    }
    loaded
}

/// The line that says what holds from now on.
pub(crate) fn announce(catalog: &Catalog) {
    let plugins = catalog
        .list()
        .iter()
        .filter(|plugin| plugin.enabled)
        .count();
    info!(
        generation = catalog.generation,
        plugins, "generation in force"
    );
}

impl Reload {
    /// Begins to watch, on a thread of its own, until the process ends.
    pub(crate) fn spawn(self) -> Result<(), Fault> {
        // Loading may use the timers of the present runtime.
        let runtime = tokio::runtime::Handle::current();
        let watching = thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || {
                let _entered = runtime.enter();
                Reloader::new(self).run();
            });
        let cannot = |error| Fault::gateway("cannot start the thread that reloads").from(error);
        watching.map(|_| ()).map_err(cannot)
    }
}

/// The thread's state.
struct Reloader {
    running: Reload,
    /// What the process was started with: some of it holds until it ends.
    first: Arc<Config>,
    /// Why the configuration on the disk is not the one in force, if it is not.
    pending: Option<Pending>,
    /// Files that were refused and the folder if it could not be read, with the evidence and the
    /// reason.
    refused: BTreeMap<PathBuf, (Evidence, String)>,
}

#[derive(PartialEq, Eq)]
struct Pending {
    reason: String,
    waits_for: WaitsFor,
}

/// What may make a refused configuration valid.
#[derive(PartialEq, Eq)]
enum WaitsFor {
    /// A change of its own.
    OwnChange,
    /// A file that it refers to. It could not be read.
    Files,
    /// This plugin folder. It could not be listed.
    Folder(PathBuf),
}

impl Reloader {
    fn new(running: Reload) -> Self {
        let first = running.config.clone();
        Self {
            running,
            first,
            pending: None,
            refused: BTreeMap::new(),
        }
    }

    fn run(mut self) {
        let mut watch = Watch::new(self.place());
        loop {
            watch.wait();
            if self.look() == self.running.seen && !self.is_worth_another_try() {
                continue;
            }
            let found = watch.settle(&self.running.seen, || self.look());
            // A panic while loading must not end the reloading; what runs is untouched by it.
            let whole = catch_unwind(AssertUnwindSafe(|| self.take_in(found.clone())));
            if whole.is_err() {
                error!("reloading failed, what runs stays");
                self.running.seen = found;
            }
            watch.turn_to(self.place());
        }
    }

    fn look(&self) -> Scan {
        look(&self.running.file, &self.running.config)
    }

    fn place(&self) -> Place {
        // Events name files by absolute paths.
        let whole = |path: &Path| absolute(path).unwrap_or_else(|_| path.to_owned());
        Place {
            plugins: whole(&self.running.config.plugins.dir),
            config: whole(&self.running.file),
            poll: self.running.config.plugins.poll,
        }
    }

    /// Whether a failure may be over without a stamp that tells: an unreadable file or folder, or a
    /// file that a bad configuration misses.
    fn is_worth_another_try(&self) -> bool {
        let pending = self.pending.as_ref().map(|pending| &pending.waits_for);
        let config = match pending {
            None | Some(WaitsFor::OwnChange) => false,
            Some(WaitsFor::Files) => true,
            Some(WaitsFor::Folder(folder)) => Evidence::Unlisted.is_outdated(folder),
        };
        config || self.has_outdated_refusal()
    }

    /// Whether something that was refused because it could not be read now can be.
    fn has_outdated_refusal(&self) -> bool {
        let mut refused = self.refused.iter();
        refused.any(|(path, (evidence, _))| evidence.is_outdated(path))
    }

    /// Makes what was found the running state, as far as it is good.
    fn take_in(&mut self, found: Scan) {
        let before = std::mem::replace(&mut self.running.seen, found);
        if let Some(candidate) = self.candidate(&before) {
            match self.try_candidate(&candidate, &before) {
                Ok(()) => return,
                Err(pending) => self.refuse_config(pending),
            }
        }
        if before.plugins == self.running.seen.plugins && !self.has_outdated_refusal() {
            return;
        }
        let config = self.running.config.clone();
        let loaded = load(&self.running.runtime, &config, Some(&self.running.catalog));
        self.report(&loaded.refused);
        if let Some(catalog) = loaded.catalog
            && let Err(fault) = self.put_in_force(&config, catalog)
        {
            warn!("plugins refused, the running ones stay: {}", fault.chain());
        }
    }

    /// The configuration as it is now, if it is not the one in force and is good.
    fn candidate(&mut self, before: &Scan) -> Option<Arc<Config>> {
        if before.config == self.running.seen.config && self.pending.is_none() {
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
                self.refuse_config(Pending {
                    reason: problems.to_string(),
                    waits_for: WaitsFor::Files,
                });
                None
            }
        }
    }

    /// Loads the plugins by a new configuration and puts both in force, or says why the configuration cannot be.
    fn try_candidate(&mut self, candidate: &Arc<Config>, before: &Scan) -> Result<(), Pending> {
        // It may name another folder and other files. Looked at before they are loaded, so that no later change is missed.
        let mut seen = look(&self.running.file, candidate);
        seen.config.extend(self.running.seen.config.clone());
        let same_folder = candidate.plugins.dir == self.running.config.plugins.dir;

        let loaded = load(
            &self.running.runtime,
            candidate,
            Some(&self.running.catalog),
        );
        let by = |refused: &Refused| {
            let (file, reason) = (refused.file.display(), refused.fault.chain());
            format!("{file}: {reason}")
        };
        // Its settings may be for plugins that cannot be seen now.
        let unlisted = |refused: &&Refused| refused.evidence == Evidence::Unlisted;
        if let Some(refused) = loaded.refused.iter().find(unlisted) {
            return Err(Pending {
                reason: by(refused),
                waits_for: WaitsFor::Folder(refused.file.clone()),
            });
        }
        let unchanged =
            |file: &PathBuf| before.plugins.stamp_of(file) == seen.plugins.stamp_of(file);
        // A file that was good and is the same is refused now for its new settings.
        let by_settings = |refused: &&Refused| {
            same_folder && unchanged(&refused.file) && !self.refused.contains_key(&refused.file)
        };
        if let Some(refused) = loaded.refused.iter().find(by_settings) {
            return Err(Pending {
                reason: by(refused),
                waits_for: WaitsFor::OwnChange,
            });
        }
        self.report(&loaded.refused);
        let catalog = loaded
            .catalog
            .unwrap_or_else(|| self.running.catalog.clone());
        self.put_in_force(candidate, catalog)
            .map_err(|fault| Pending {
                reason: fault.chain(),
                waits_for: WaitsFor::OwnChange,
            })?;

        info!(file = %self.running.file.display(), "configuration in force");
        self.running.metrics.reload("config", true);
        for remark in remarks(candidate, &self.running.catalog) {
            warn!("{remark}");
        }
        for key in needs_restart(&self.first, candidate) {
            warn!("`{key}` was changed, which takes a restart to come in force");
        }
        // Only what the new configuration is about.
        seen.config
            .retain(|file, _| *file == self.running.file || candidate.sources.contains(file));
        self.running.seen = seen;
        self.running.config = candidate.clone();
        self.pending = None;
        Ok(())
    }

    fn put_in_force(&mut self, config: &Arc<Config>, catalog: Arc<Catalog>) -> Result<(), Fault> {
        (self.running.publish)(config, &catalog)?;
        if catalog.generation != self.running.catalog.generation {
            announce(&catalog);
            self.running.metrics.reload("plugins", true);
        }
        self.running.catalog = catalog;
        Ok(())
    }

    /// Says so, but not again while nothing is different.
    fn refuse_config(&mut self, pending: Pending) {
        if self.pending.as_ref() != Some(&pending) {
            for line in pending.reason.lines() {
                warn!("configuration refused, the running one stays: {line}");
            }
            self.running.metrics.reload("config", false);
        }
        self.pending = Some(pending);
    }

    /// One line per refused file, not repeated while the evidence and the reason are the same.
    fn report(&mut self, refused: &[Refused]) {
        let mut now = BTreeMap::new();
        for refused in refused {
            let file = &refused.file;
            let entry = (refused.evidence.clone(), refused.fault.chain());
            if self.refused.get(file) != Some(&entry) {
                match refused.evidence {
                    Evidence::Unlisted => warn!(
                        folder = %file.display(),
                        "{}; the plugins that run from it stay until it can be read, an empty folder removes them",
                        entry.1
                    ),
                    _ => {
                        warn!(file = %file.display(), "plugin refused, what ran before stays: {}", entry.1)
                    }
                }
                self.running.metrics.reload("plugins", false);
            }
            now.insert(file.clone(), entry);
        }
        self.refused = now;
    }
}

/// Keys that are read once, at the start.
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
