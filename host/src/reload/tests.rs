//! Reloads of the configuration file. End-to-end tests cover those of plugins.

use std::{fs, sync::Mutex};

use super::{folder::Folder, *};
use crate::telemetry::Metrics;

/// A reloader of a folder, and what it has published.
struct Given {
    folder: Folder,
    reloader: Reloader,
    published: Arc<Mutex<Vec<Arc<Config>>>>,
    _threads: tokio::runtime::Runtime,
}

impl Given {
    fn config(text: &str) -> Self {
        let folder = Folder::new();
        let file = folder.path().join("witgate.toml");
        fs::write(&file, text).unwrap();
        let threads = tokio::runtime::Runtime::new().unwrap();
        let _entered = threads.enter();
        let (config, _) = Config::load(&file).unwrap();
        let metrics = Arc::new(Metrics::new());
        let runtime = Runtime::new(&config.plugins, Arc::default(), metrics.clone()).unwrap();
        let seen = look(&file, &config);
        let catalog = load(&runtime, &config).catalog.unwrap();
        let published = Arc::new(Mutex::new(Vec::new()));
        let publish = {
            let published = published.clone();
            move |config: &Arc<Config>, _: &Arc<Catalog>| {
                if config
                    .cors_origins
                    .iter()
                    .any(|origin| origin.contains("impossible"))
                {
                    return Err(Fault::gateway("they do not go together"));
                }
                published.lock().unwrap().push(config.clone());
                Ok(())
            }
        };
        let reread = {
            let file = file.clone();
            move || Config::load(&file)
        };
        let running = Reload {
            runtime,
            metrics,
            file,
            config: Arc::new(config),
            catalog,
            seen,
            reread: Box::new(reread),
            publish: Box::new(publish),
        };
        Self {
            folder,
            reloader: Reloader::new(running),
            published,
            _threads: threads,
        }
    }

    /// Writes a file and lets the reloader apply it.
    fn write(&mut self, name: &str, text: &str) {
        // Renamed over the old one, so that it differs even with the same time stamp.
        let next = self.folder.path().join("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.folder.path().join(name)).unwrap();
        self.apply();
    }

    fn apply(&mut self) {
        let _entered = self._threads.enter();
        self.reloader.apply(self.reloader.look(), Woken::default());
    }

    fn limits(&self) -> Vec<usize> {
        self.published
            .lock()
            .unwrap()
            .iter()
            .map(|config| config.body_limit)
            .collect()
    }
}

#[test]
fn a_changed_configuration_is_loaded() {
    let mut given = Given::config("body_limit = \"1KiB\"");
    given.write("witgate.toml", "body_limit = \"2KiB\"");
    assert_eq!(given.limits(), [2048]);
    assert_eq!(given.reloader.running.config.body_limit, 2048);
}

#[test]
fn an_unchanged_configuration_is_not_loaded_again() {
    let mut given = Given::config("");
    given.apply();
    assert_eq!(given.limits(), [0; 0]);
}

#[test]
fn an_invalid_configuration_keeps_the_running_one_until_it_is_valid() {
    let mut given = Given::config("body_limit = \"1KiB\"");
    given.write("witgate.toml", "body_limit = \"lots\"");
    assert_eq!(given.limits(), [0; 0]);
    assert_eq!(given.reloader.running.config.body_limit, 1024);
    given.write("witgate.toml", "body_limit = \"2KiB\"");
    assert_eq!(given.limits(), [2048]);
    assert!(given.reloader.pending.is_none());
}

#[test]
fn a_deleted_configuration_keeps_the_running_one() {
    let mut given = Given::config("body_limit = \"1KiB\"");
    fs::remove_file(given.folder.path().join("witgate.toml")).unwrap();
    given.apply();
    assert_eq!(given.limits(), [0; 0]);
    assert_eq!(given.reloader.running.config.body_limit, 1024);
}

#[test]
fn a_configuration_that_misses_a_file_is_loaded_when_the_file_exists() {
    let mut given = Given::config("");
    given.write(
        "witgate.toml",
        "body_limit = \"2KiB\"\nauth.keys = [\"file:gateway.key\"]",
    );
    assert_eq!(given.limits(), [0; 0]);
    assert!(given.reloader.is_worth_another_try());
    given.write("gateway.key", "sk-1");
    assert_eq!(given.limits(), [2048]);
}

#[test]
fn a_configuration_that_waits_for_the_compiler_is_tried_whenever_something_happens() {
    let mut given = Given::config("");
    let (reason, waits_for) = ("a plugin is being compiled".to_owned(), WaitsFor::Compiler);
    given.reloader.pending = Some(Pending { reason, waits_for });
    // The plugin may have been loaded since, so that no other hint comes.
    assert!(given.reloader.is_worth_another_try());
    given.apply();
    assert!(given.reloader.pending.is_none());
}

#[test]
fn a_changed_key_file_is_a_changed_configuration() {
    let mut given = Given::config("");
    fs::write(given.folder.path().join("gateway.key"), "sk-1").unwrap();
    given.write("witgate.toml", "auth.keys = [\"file:gateway.key\"]");
    given.write("gateway.key", "sk-2");
    let published = given.published.lock().unwrap();
    assert!(published.last().unwrap().auth.keys[0].matches(b"sk-2"));
}

#[test]
fn a_configuration_that_cannot_be_published_is_rejected_as_a_whole() {
    let mut given = Given::config("body_limit = \"1KiB\"");
    let text = "body_limit = \"2KiB\"\ncors_origins = [\"https://impossible\"]";
    given.write("witgate.toml", text);
    assert_eq!(given.limits(), [0; 0]);
    assert_eq!(given.reloader.running.config.body_limit, 1024);
}

#[test]
fn changed_keys_that_need_a_restart_are_named() {
    let first = Config::without_file();
    let mut config = first.clone();
    config.listen.set_port(1);
    config.plugins.instances += 1;
    let keys: Vec<&str> = needs_restart(&first, &config).into_iter().collect();
    assert_eq!(keys, ["listen", "plugins.instances"]);
}

#[test]
fn a_section_for_an_absent_plugin_and_an_unknown_dialect_are_warnings() {
    let mut given = Given::config("");
    given.write(
        "witgate.toml",
        "[plugin.absent]\n[[upstream]]\nname = \"g\"\nbase_url = \"http://x\"\ndialect = \"klingon\"\n",
    );
    let found = warnings(
        &given.reloader.running.config,
        &given.reloader.running.catalog,
        &[],
    );
    assert_eq!(
        found,
        [
            "[plugin.absent] is for a plugin that is not loaded",
            "upstream `g` speaks `klingon`, which no plugin translates"
        ]
    );
}
