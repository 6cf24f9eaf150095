//! Waits for changes, by file events and by slow polling.
//!
//! An event is only a hint. Network file systems, replaced folders and swapped links send no events
//! or wrong ones. Polling finds every change, and events find most of them sooner.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tracing::debug;

use super::scan::Scan;

/// The polling interval when there are no events.
const LOOK: Duration = Duration::from_secs(3);

/// A file that did not change for this long counts as complete.
const QUIET: Duration = Duration::from_millis(200);

/// The same after a removal: some tools delete a file before they write it.
const QUIET_AFTER_REMOVAL: Duration = Duration::from_millis(600);

/// The longest wait. A file still being written is then rejected, and read at its next change.
const MOST: Duration = Duration::from_secs(2);

/// The folder and the file to watch, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) plugins: PathBuf,
    pub(super) config: PathBuf,
    /// Poll this often, without events.
    pub(super) poll: Option<Duration>,
}

/// Why the files may have to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hint {
    /// A file may have changed.
    Changed,
    /// A signal asks for a reload.
    Asked,
    /// A component has been compiled.
    Compiled,
}

/// Why [`Watch::wait`] has returned, besides that files may have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Woken {
    /// A signal asks for a reload, even if no file looks changed.
    pub(super) asked: bool,
    /// A component has been compiled.
    pub(super) compiled: bool,
}

/// The hints to look at the files.
pub(crate) struct Hints {
    sender: Sender<Hint>,
    receiver: Receiver<Hint>,
}

impl Default for Hints {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }
}

impl Hints {
    /// A function that asks for a reload.
    pub(crate) fn asker(&self) -> impl Fn() + Send + use<> {
        self.sends(Hint::Asked)
    }

    /// A function that reports a compiled component.
    pub(super) fn on_compiled(&self) -> Arc<dyn Fn() + Send + Sync> {
        Arc::new(self.sends(Hint::Compiled))
    }

    fn sends(&self, hint: Hint) -> impl Fn() + Send + Sync + use<> {
        let sender = self.sender.clone();
        move || {
            // The receiver is gone while the process ends.
            let _ = sender.send(hint);
        }
    }
}

pub(super) struct Watch {
    place: Place,
    hints: Hints,
    /// The hints since the last call of [`Watch::wait`].
    woken: Woken,
    watcher: Option<RecommendedWatcher>,
    /// The watched folders, with their inodes when the watch was set.
    watched: BTreeSet<(PathBuf, Option<u64>)>,
}

impl Watch {
    pub(super) fn new(place: Place, hints: Hints) -> Self {
        let mut watch = Self {
            place,
            hints,
            woken: Woken::default(),
            watcher: None,
            watched: BTreeSet::new(),
        };
        watch.arm();
        watch
    }

    /// Watches another place from now on.
    pub(super) fn set_place(&mut self, place: Place) {
        if self.place != place {
            self.place = place;
            self.watcher = None;
            self.watched.clear();
        }
        self.arm();
    }

    /// Waits for a hint, or until it is time to poll.
    pub(super) fn wait(&mut self) -> Woken {
        let every = self.place.poll.unwrap_or(LOOK);
        if self.woken == Woken::default() {
            self.hint_within(every);
        }
        self.arm();
        std::mem::take(&mut self.woken)
    }

    /// Waits until `look` returns the same twice without an event in between, for a limited time.
    /// Returns the last result.
    pub(super) fn settle(&mut self, earlier: &Scan, look: impl Fn() -> Scan) -> Scan {
        let begin = Instant::now();
        let mut last = look();
        loop {
            let removed = last.misses_any_of(earlier);
            let is_hinted = self.hint_within(if removed { QUIET_AFTER_REMOVAL } else { QUIET });
            let next = look();
            if (!is_hinted && next == last) || begin.elapsed() >= MOST {
                return next;
            }
            last = next;
        }
    }

    /// Waits for a hint, and returns whether one arrived in this time.
    fn hint_within(&mut self, time: Duration) -> bool {
        match self.hints.receiver.recv_timeout(time) {
            Ok(first) => {
                // One changed file causes several events, which count as one hint.
                let others = self.hints.receiver.try_iter();
                for hint in std::iter::once(first).chain(others) {
                    self.woken.asked |= hint == Hint::Asked;
                    self.woken.compiled |= hint == Hint::Compiled;
                }
                true
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => false,
        }
    }

    /// Sets the watches again if a folder was added, removed or replaced. A watch stays with the
    /// old folder.
    fn arm(&mut self) {
        if self.place.poll.is_some() {
            return;
        }
        let folders: BTreeSet<_> = [self.place.plugins.as_path(), self.config_folder()]
            .into_iter()
            .filter(|folder| folder.is_dir())
            .map(|folder| (folder.to_owned(), inode(folder)))
            .collect();
        if folders == self.watched && self.watcher.is_some() {
            return;
        }
        self.watcher = self.watcher_of(&folders);
        self.watched = folders;
    }

    /// `None` if the platform has no events, or no more watches. Then only polling finds changes.
    fn watcher_of(&self, folders: &BTreeSet<(PathBuf, Option<u64>)>) -> Option<RecommendedWatcher> {
        let (hint, place) = (self.hints.sender.clone(), self.place.clone());
        let notify = move |event: notify::Result<Event>| {
            if event.map_or(true, |event| place.concerns(&event)) {
                // The receiver is gone while the process ends.
                let _ = hint.send(Hint::Changed);
            }
        };
        let watcher = notify::recommended_watcher(notify).and_then(|mut watcher| {
            for (folder, _) in folders {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        watcher
            .inspect_err(|error| debug!(%error, "no file events; polling instead"))
            .ok()
    }

    fn config_folder(&self) -> &Path {
        self.place.config.parent().unwrap_or(Path::new("/"))
    }
}

impl Place {
    /// Whether an event may be about our files. Other files in the configuration's folder may
    /// change often.
    fn concerns(&self, event: &Event) -> bool {
        let read_only = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            // Reading the files causes these.
            EventKind::Access(_) => true,
            _ => false,
        };
        let ours = |path: &PathBuf| {
            path.starts_with(&self.plugins)
                || path == &self.config
                // Container managers swap all files of a mounted folder by such a link.
                || path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."))
        };
        !read_only && (event.paths.is_empty() || event.paths.iter().any(ours))
    }
}

#[cfg(unix)]
fn inode(folder: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    folder.metadata().ok().map(|metadata| metadata.ino())
}

#[cfg(not(unix))]
fn inode(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use notify::event::{CreateKind, DataChange, ModifyKind};

    use super::{super::folder::Folder, *};

    /// Far longer than an event takes.
    const LIMIT: Duration = Duration::from_secs(20);

    fn watch(folder: &Folder) -> Watch {
        Watch::new(
            Place {
                plugins: folder.path().join("plugins"),
                config: folder.path().join("witgate.toml"),
                poll: None,
            },
            Hints::default(),
        )
    }

    #[test]
    fn a_component_a_configuration_and_a_folder_made_later_cause_hints() {
        let folder = Folder::new();
        let mut watch = watch(&folder);
        fs::write(folder.path().join("witgate.toml"), "").unwrap();
        assert!(watch.hint_within(LIMIT), "the configuration");
        fs::create_dir(folder.path().join("plugins")).unwrap();
        assert!(watch.hint_within(LIMIT), "the folder");
        watch.arm();
        fs::write(folder.path().join("plugins/a.wasm"), "").unwrap();
        assert!(watch.hint_within(LIMIT), "the component");
    }

    #[test]
    fn a_replaced_folder_is_watched_again() {
        let folder = Folder::new();
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        let mut watch = watch(&folder);
        fs::create_dir(folder.path().join("next")).unwrap();
        fs::rename(&plugins, folder.path().join("former")).unwrap();
        fs::rename(folder.path().join("next"), &plugins).unwrap();
        assert!(watch.hint_within(LIMIT), "the replacement");
        let before = watch.watched.clone();
        watch.arm();
        assert_ne!(watch.watched, before);
        fs::write(plugins.join("a.wasm"), "").unwrap();
        assert!(watch.hint_within(LIMIT), "the component in the new folder");
    }

    #[test]
    fn settling_ends_with_what_is_there_after_the_last_change() {
        let folder = Folder::new();
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        let mut watch = watch(&folder);
        let look = || {
            // The file grows at each of the first three looks.
            let length = fs::read(plugins.join("a.wasm")).map_or(0, |bytes| bytes.len());
            if length < 3 {
                fs::write(plugins.join("a.wasm"), vec![0; length + 1]).unwrap();
            }
            Scan::take([], &plugins)
        };
        let settled = watch.settle(&Scan::default(), look);
        assert_eq!(fs::read(plugins.join("a.wasm")).unwrap().len(), 3);
        assert_eq!(settled, Scan::take([], &plugins));
    }

    #[test]
    fn reading_and_foreign_files_are_no_hints() {
        let place = Place {
            plugins: "/w/plugins".into(),
            config: "/w/w.toml".into(),
            poll: None,
        };
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert!(place.concerns(&event(written, "/w/plugins/a.wasm")));
        assert!(place.concerns(&event(written, "/w/w.toml")));
        assert!(place.concerns(&event(EventKind::Create(CreateKind::Any), "/w/..data")));
        assert!(
            place.concerns(&Event::new(EventKind::Other)),
            "events were lost"
        );
        let closed = |mode| EventKind::Access(AccessKind::Close(mode));
        assert!(place.concerns(&event(closed(AccessMode::Write), "/w/plugins/a.wasm")));
        assert!(!place.concerns(&event(closed(AccessMode::Read), "/w/plugins/a.wasm")));
        assert!(!place.concerns(&event(written, "/w/witgate.log")));
    }

    #[test]
    fn polling_does_without_events() {
        let folder = Folder::new();
        let mut watch = watch(&folder);
        let poll = Some(Duration::from_millis(100));
        watch.set_place(Place {
            poll,
            ..watch.place.clone()
        });
        assert!(watch.watcher.is_none());
    }
}
