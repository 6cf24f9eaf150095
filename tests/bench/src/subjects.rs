//! What is measured: nginx, and the gateway in several configurations, all in front of the same
//! mock.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::process::Server;

/// The responses of the mock; chosen by the model of a request, or by the path for nginx.
pub(crate) const ANSWERS: [&str; 7] = [
    "json",
    "sse-10",
    "sse-100",
    "sse-1000",
    "slow-200-20",
    "slow-60-500",
    "timed-40-500",
];

/// The key that clients present.
pub(crate) const KEY: &str = "bench";

/// A server under load.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) server: Server,
    /// The folder for its files.
    pub(crate) folder: PathBuf,
    by_path: bool,
}

/// A configuration of the gateway.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    /// Lines before the first table.
    top: &'static str,
    /// Lines for each upstream.
    upstream: &'static str,
    /// Plugins added to the default ones: this many copies of each.
    plugins: (usize, &'static [&'static str]),
    /// Plugin instances that may exist at the same time.
    instances: usize,
}

const NONE: (usize, &[&str]) = (0, &[]);
/// The default number of instances.
const INSTANCES: usize = 1_000;

/// An upstream for which no rule changes anything. `lacks` is set because each server here has
/// several upstreams, which would lack `foreign-signatures`.
pub(crate) const NONE_FIRES: Setup = Setup {
    name: "witgate",
    top: "",
    upstream: "preset = \"anthropic\"\nlacks = []",
    plugins: NONE,
    instances: INSTANCES,
};

/// The same without the prefix ledger.
pub(crate) const NO_LEDGER: Setup = Setup {
    name: "witgate, no ledger",
    top: "prefix_ledger = false\n",
    ..NONE_FIRES
};

/// An upstream that does not know `cache_control`.
pub(crate) const STRIP_FIRES: Setup = Setup {
    name: "witgate, strip-cache-control",
    top: "",
    upstream: "preset = \"anthropic\"\nlacks = [\"cache_control\"]",
    plugins: NONE,
    instances: INSTANCES,
};

/// The same without the prefix ledger.
pub(crate) const STRIP_NO_LEDGER: Setup = Setup {
    name: "witgate, strip-cache-control, no ledger",
    top: "prefix_ledger = false\n",
    ..STRIP_FIRES
};

/// This many more plugins, whose guards do not match.
pub(crate) const fn more(name: &'static str, count: usize) -> Setup {
    Setup {
        name,
        plugins: (count, TEN_MORE.plugins.1),
        ..NONE_FIRES
    }
}

/// One plugin that holds an instance for as long as a stream lasts, and room for many of them.
pub(crate) const HOLDS: Setup = Setup {
    name: "witgate, a plugin per stream",
    instances: 8_000,
    ..DECLINES
};

/// Ten plugins whose guards do not match.
pub(crate) const TEN_MORE: Setup = Setup {
    name: "witgate, 10 more plugins",
    top: "",
    upstream: "preset = \"anthropic\"\nlacks = []",
    // One whose guard looks at the target, one whose guard searches the body.
    plugins: (10, &["strip-cache-control", "answer-warmup"]),
    instances: INSTANCES,
};

/// One plugin that is called at every hook and declines.
pub(crate) const DECLINES: Setup = Setup {
    name: "witgate, 1 declines",
    top: "",
    upstream: "preset = \"anthropic\"\nlacks = []",
    plugins: (1, &["declines"]),
    instances: INSTANCES,
};

/// Five plugins that are called at every hook and decline.
pub(crate) const FIVE_DECLINE: Setup = Setup {
    name: "witgate, 5 decline",
    top: "",
    upstream: "preset = \"anthropic\"\nlacks = []",
    plugins: (5, &["declines"]),
    instances: INSTANCES,
};

/// A translation to Gemini's protocol.
pub(crate) const GEMINI: Setup = Setup {
    name: "witgate, dialect-gemini",
    top: "",
    upstream: "preset = \"gemini\"",
    plugins: NONE,
    instances: INSTANCES,
};

/// A translation to OpenAI's protocol.
pub(crate) const OPENAI: Setup = Setup {
    name: "witgate, dialect-openai",
    top: "",
    upstream: "preset = \"openai\"",
    plugins: NONE,
    instances: INSTANCES,
};

impl Subject {
    pub(crate) async fn nginx(folder: &Path, mock: u16, buffering: bool) -> io::Result<Self> {
        let name = if buffering {
            "nginx, buffering requests"
        } else {
            "nginx"
        };
        let folder = folder.join(name.replace([',', ' '], ""));
        Ok(Self {
            name,
            server: Server::nginx(&folder, mock, buffering).await?,
            folder,
            by_path: true,
        })
    }

    /// The relay: the gateway's libraries without the gateway.
    pub(crate) async fn relay(mock: u16) -> io::Result<Self> {
        Ok(Self {
            name: "a bare relay",
            server: Server::relay(&std::env::current_exe()?, mock).await?,
            folder: PathBuf::new(),
            by_path: true,
        })
    }

    pub(crate) async fn gateway(folder: &Path, mock: u16, setup: Setup) -> io::Result<Self> {
        let mut config = format!(
            "{}log = \"info\"\n[auth]\nmode = \"strict\"\nkeys = [\"{KEY}\"]\n",
            setup.top
        );
        for answer in ANSWERS {
            config.push_str(&format!(
                "[[upstream]]\nname = \"{answer}\"\n{}\nbase_url = \"http://127.0.0.1:{mock}/{answer}\"\n\
                 accounts = [{{ name = \"bench\", key = \"upstream-key\" }}]\n",
                setup.upstream
            ));
        }
        // The cache is shared by all; the settings are for a plugin that is added later.
        config.push_str(&format!(
            "[plugins]\ncache = \"../cache\"\ninstances = {}\n[plugin.tagger.settings]\nheaders = {{ x-tag = [\"1\"] }}\n",
            setup.instances
        ));
        for answer in ANSWERS {
            config.push_str(&format!(
                "[[route]]\nmodel = \"{answer}\"\nto = \"{answer}\"\n"
            ));
        }
        let folder = folder.join(setup.name.replace([',', ' '], ""));
        let plugins = folder.join("plugins");
        std::fs::create_dir_all(&plugins)?;
        let (count, copied) = setup.plugins;
        for (n, name) in copied.iter().cycle().take(count).enumerate() {
            std::fs::copy(component(name)?, plugins.join(format!("80-copy-{n}.wasm")))?;
        }
        Ok(Self {
            name: setup.name,
            server: Server::gateway(&program()?, &folder, &config).await?,
            folder,
            by_path: false,
        })
    }

    pub(crate) async fn stop(all: impl IntoIterator<Item = Self>) -> io::Result<()> {
        for subject in all {
            subject.server.stop().await?;
        }
        Ok(())
    }

    /// The path of a request for this response.
    pub(crate) fn path(&self, answer: &str) -> String {
        if self.by_path {
            format!("/{answer}/v1/messages")
        } else {
            "/v1/messages".to_owned()
        }
    }
}

/// The gateway as built by `cargo build --release`, which is in the folder of this program.
fn program() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("witgate");
    if program.is_file() {
        return Ok(program);
    }
    let what = format!("{} is not there: cargo build --release", program.display());
    Err(io::Error::other(what))
}

/// A plugin, built the way authors build theirs.
pub(crate) fn component(name: &str) -> io::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = std::process::Command::new(cargo)
        .current_dir(&root)
        .args([
            "build",
            "--quiet",
            "--profile",
            "plugin",
            "--target",
            "wasm32-wasip2",
            "-p",
            name,
        ])
        .status()?;
    let file = root.join(format!(
        "target/wasm32-wasip2/plugin/{}.wasm",
        name.replace('-', "_")
    ));
    if built.success() && file.is_file() {
        return Ok(file);
    }
    Err(io::Error::other(format!(
        "cannot build the plugin `{name}`"
    )))
}
