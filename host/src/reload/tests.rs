//! What becomes of a changed configuration file. What becomes of changed plugins is told by the tests from outside.

use std::{fs, sync::Mutex};

use super::{folder::Folder, *};
use crate::telemetry::Metrics;

/// A reloader over a folder, and what it has put in force.
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
        let catalog = Catalog::load(&runtime, &config, None).catalog.unwrap();
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

    /// Writes a file and lets the reloader take it in.
    fn write(&mut self, name: &str, text: &str) {
        // A file of its own, renamed, so that even within the clock's grain it is another one.
        let next = self.folder.path().join("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.folder.path().join(name)).unwrap();
        self.take_in();
    }

    fn take_in(&mut self) {
        let _entered = self._threads.enter();
        self.reloader.take_in(self.reloader.look());
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
fn a_changed_configuration_comes_in_force() {
    let mut given = Given::config("body_limit = \"1KiB\"");
    given.write("witgate.toml", "body_limit = \"2KiB\"");
    assert_eq!(given.limits(), [2048]);
    assert_eq!(given.reloader.running.config.body_limit, 2048);
}

#[test]
fn an_unchanged_configuration_is_not_put_in_force_again() {
    let mut given = Given::config("");
    given.take_in();
    assert_eq!(given.limits(), [0; 0]);
}

#[test]
fn a_bad_configuration_leaves_the_running_one_until_it_is_good() {
    let mut given = Given::config("body_limit = \"1KiB\"");
    given.write("witgate.toml", "body_limit = \"lots\"");
    assert_eq!(given.limits(), [0; 0]);
    assert_eq!(given.reloader.running.config.body_limit, 1024);
    given.write("witgate.toml", "body_limit = \"2KiB\"");
    assert_eq!(given.limits(), [2048]);
    assert!(given.reloader.pending.is_none());
}

#[test]
fn a_configuration_that_is_deleted_leaves_the_running_one() {
    let mut given = Given::config("body_limit = \"1KiB\"");
    fs::remove_file(given.folder.path().join("witgate.toml")).unwrap();
    given.take_in();
    assert_eq!(given.limits(), [0; 0]);
    assert_eq!(given.reloader.running.config.body_limit, 1024);
}

#[test]
fn a_configuration_that_misses_a_file_comes_in_force_when_the_file_is_there() {
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
fn a_changed_key_file_is_a_changed_configuration() {
    let mut given = Given::config("");
    fs::write(given.folder.path().join("gateway.key"), "sk-1").unwrap();
    given.write("witgate.toml", "auth.keys = [\"file:gateway.key\"]");
    given.write("gateway.key", "sk-2");
    let published = given.published.lock().unwrap();
    assert!(published.last().unwrap().auth.keys[0].matches(b"sk-2"));
}

#[test]
fn a_configuration_that_cannot_be_in_force_is_refused_as_a_whole() {
    let mut given = Given::config("body_limit = \"1KiB\"");
    let text = "body_limit = \"2KiB\"\ncors_origins = [\"https://impossible\"]";
    given.write("witgate.toml", text);
    assert_eq!(given.limits(), [0; 0]);
    assert_eq!(given.reloader.running.config.body_limit, 1024);
}

#[test]
fn keys_that_are_read_once_are_named() {
    let first = Config::without_file();
    let mut config = first.clone();
    config.listen.set_port(1);
    config.plugins.instances += 1;
    let keys: Vec<&str> = needs_restart(&first, &config).into_iter().collect();
    assert_eq!(keys, ["listen", "plugins.instances"]);
}

#[test]
fn a_section_for_an_absent_plugin_and_an_unspoken_dialect_are_remarked() {
    let mut given = Given::config("");
    given.write(
        "witgate.toml",
        "[plugin.nobody]\n[[upstream]]\nname = \"g\"\nbase_url = \"http://x\"\ndialect = \"klingon\"\n",
    );
    let said = remarks(
        &given.reloader.running.config,
        &given.reloader.running.catalog,
    );
    assert_eq!(
        said,
        [
            "[plugin.nobody] is for a plugin that is not there",
            "upstream `g` speaks `klingon`, which no plugin translates"
        ]
    );
}
