//! Waits for something to change: file events where they come, and a look from time to time where they do not.
//!
//! An event is a hint and no more. Network file systems, folders that are made later or replaced, and links that are swapped
//! further up send none or the wrong ones, so the slow look is what makes it certain and events are what makes it quick.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tracing::debug;

use super::scan::Scan;

/// How often the files are looked at although no event came.
const LOOK: Duration = Duration::from_secs(3);

/// A file that was not touched for so long is taken to be complete.
const QUIET: Duration = Duration::from_millis(200);

/// What is gone may come back under the same name: some tools delete before they write.
const QUIET_AFTER_REMOVAL: Duration = Duration::from_millis(600);

/// A file that is written for longer is looked at while it is; it is then refused and comes again with its next change.
const MOST: Duration = Duration::from_secs(2);

/// Where to look, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) plugins: PathBuf,
    pub(super) config: PathBuf,
    /// Look this often, and do without events.
    pub(super) poll: Option<Duration>,
}

pub(super) struct Watch {
    place: Place,
    hints: Receiver<()>,
    /// Kept, so that waiting without a watcher is no error.
    hint: Sender<()>,
    watcher: Option<RecommendedWatcher>,
    /// The folders under watch, as they were when the watch was set.
    watched: BTreeSet<(PathBuf, Option<u64>)>,
}

impl Watch {
    pub(super) fn new(place: Place) -> Self {
        let (hint, hints) = channel();
        let mut watch = Self {
            place,
            hints,
            hint,
            watcher: None,
            watched: BTreeSet::new(),
        };
        watch.arm();
        watch
    }

    /// Looks elsewhere, or otherwise, from now on.
    pub(super) fn turn_to(&mut self, place: Place) {
        if self.place != place {
            self.place = place;
            self.watcher = None;
            self.watched.clear();
        }
        self.arm();
    }

    /// Waits for a hint, or until it is time to look anyway.
    pub(super) fn wait(&mut self) {
        let every = self.place.poll.unwrap_or(LOOK);
        self.stirred_within(every);
        self.arm();
    }

    /// Waits until `look` sees the same twice in a row with no event between, but not for ever, and returns what it saw.
    pub(super) fn settle(&mut self, earlier: &Scan, look: impl Fn() -> Scan) -> Scan {
        let begin = Instant::now();
        let mut last = look();
        loop {
            let removed = last.misses_any_of(earlier);
            let stirred = self.stirred_within(if removed { QUIET_AFTER_REMOVAL } else { QUIET });
            let next = look();
            if (!stirred && next == last) || begin.elapsed() >= MOST {
                return next;
            }
            last = next;
        }
    }

    /// Whether a hint came in this time; returns with the first one.
    fn stirred_within(&self, time: Duration) -> bool {
        match self.hints.recv_timeout(time) {
            Ok(()) => {
                // One file makes several events; they are one hint.
                while self.hints.try_recv().is_ok() {}
                true
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => false,
        }
    }

    /// Sets the watches anew where a folder came, went or was replaced: a watch follows the old one into its grave.
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

    /// `None` where the platform has no events to give, or no more of them; then the slow look has to do.
    fn watcher_of(&self, folders: &BTreeSet<(PathBuf, Option<u64>)>) -> Option<RecommendedWatcher> {
        let (hint, place) = (self.hint.clone(), self.place.clone());
        let told = move |event: notify::Result<Event>| {
            if event.map_or(true, |event| place.concerns(&event)) {
                // Nobody is there to hear it while the process ends.
                let _ = hint.send(());
            }
        };
        let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
            for (folder, _) in folders {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        watcher
            .inspect_err(|error| debug!(%error, "no file events, looking from time to time"))
            .ok()
    }

    fn config_folder(&self) -> &Path {
        self.place.config.parent().unwrap_or(Path::new("/"))
    }
}

impl Place {
    /// Whether an event may mean a change for us. The configuration's folder is often a busy one.
    fn concerns(&self, event: &Event) -> bool {
        let read_only = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            // Our own looking and reading makes these.
            EventKind::Access(_) => true,
            _ => false,
        };
        let ours = |path: &PathBuf| {
            path.starts_with(&self.plugins)
                || path == &self.config
                // How container managers swap all files of a mounted folder at once.
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

    /// Far more than an event takes, far less than a person waits.
    const LIMIT: Duration = Duration::from_secs(20);

    fn watch(folder: &Folder) -> Watch {
        Watch::new(Place {
            plugins: folder.path().join("plugins"),
            config: folder.path().join("witgate.toml"),
            poll: None,
        })
    }

    #[test]
    fn a_component_a_configuration_and_a_folder_made_later_give_hints() {
        let folder = Folder::new();
        let mut watch = watch(&folder);
        fs::write(folder.path().join("witgate.toml"), "").unwrap();
        assert!(watch.stirred_within(LIMIT), "the configuration");
        fs::create_dir(folder.path().join("plugins")).unwrap();
        assert!(watch.stirred_within(LIMIT), "the folder");
        watch.arm();
        fs::write(folder.path().join("plugins/a.wasm"), "").unwrap();
        assert!(watch.stirred_within(LIMIT), "the component");
    }

    #[test]
    fn a_replaced_folder_is_watched_anew() {
        let folder = Folder::new();
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        let mut watch = watch(&folder);
        fs::create_dir(folder.path().join("next")).unwrap();
        fs::rename(&plugins, folder.path().join("former")).unwrap();
        fs::rename(folder.path().join("next"), &plugins).unwrap();
        assert!(watch.stirred_within(LIMIT), "the replacement");
        let before = watch.watched.clone();
        watch.arm();
        assert_ne!(watch.watched, before);
        fs::write(plugins.join("a.wasm"), "").unwrap();
        assert!(
            watch.stirred_within(LIMIT),
            "the component in the new folder"
        );
    }

    #[test]
    fn settling_ends_with_what_is_there_after_the_last_change() {
        let folder = Folder::new();
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        let mut watch = watch(&folder);
        let look = || {
            // It grows under the eyes of whoever looks, three times.
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
        watch.turn_to(Place {
            poll,
            ..watch.place.clone()
        });
        assert!(watch.watcher.is_none());
    }
}
