//! `witgate serve`: starts the gateway, and runs it until it is stopped.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use tokio::{net::TcpSocket, runtime::Handle, task::spawn_blocking};
use tracing::{debug, info, warn};

#[cfg(unix)]
use super::address_space;
use super::{Code, Failure, ServeArgs, rejected, tokio_runtime};
use crate::{
    config::{Config, Problem, Problems},
    exchange::Snapshot,
    gateway::{self, Shared},
    pipeline::{Catalog, Runtime},
    reload::{self, Hints, Reload, Scan},
    shutdown,
    store::Store,
    telemetry::{self, Log, Metrics},
    watchdog,
};

/// The number of connections that may wait to be accepted while all threads are busy.
const BACKLOG: u32 = 1024;

/// The upper bound for the limit of open files. The commands of accounts inherit the limit, and
/// some programs close every possible file.
const MOST_OPEN_FILES: u64 = 1 << 20;

/// The limit of open files in most shells.
const USUAL_OPEN_FILES: u64 = 1024;

pub(super) fn run(args: ServeArgs) -> Result<(), Failure> {
    let (config, warnings) = load(&args)?;
    let log = telemetry::init(&config.log)
        .map_err(|fault| Failure::new(Code::Config, fault.chain()).hint("try `--log info`"))?;
    for warning in warnings {
        warn!("{warning}");
    }
    let runtime = tokio_runtime()?;
    let served = runtime.block_on(serve(args, Arc::new(config), log.clone()));
    shutdown::end(runtime);
    // The records of exchanges that were cut short are in the queue by now.
    log.flush();
    served
}

/// Reads the configuration and applies the command line to it.
fn load(args: &ServeArgs) -> Result<(Config, Vec<Problem>), Problems> {
    let (mut config, warnings) = args.config.load()?;
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if let Some(log) = &args.log {
        config.log.clone_from(log);
    }
    Ok((config, warnings))
}

async fn serve(args: ServeArgs, config: Arc<Config>, log: Log) -> Result<(), Failure> {
    let open_files = raise_open_files();
    #[cfg(unix)]
    address_space::warn_if_limited();
    // The address first: an address in use is reported before plugins are compiled.
    let socket = bind(config.listen)?;
    let hints = Hints::default();
    let stopping = shutdown::on_signals(hints.asker())?;
    let seen = reload::look(args.config.file(), &config);
    let metrics = Arc::new(Metrics::of(&log));
    let (runtime, catalog) = load_plugins(&config, &metrics).await?;

    let snapshot = Snapshot::new(config.clone(), catalog.clone(), None)
        .map_err(|fault| Failure::new(Code::Config, fault.chain()))?;
    let shared = Arc::new(Shared {
        runtime: runtime.clone(),
        metrics,
        snapshot: ArcSwap::from_pointee(snapshot),
        open_files,
    });
    let listener = socket
        .listen(BACKLOG)
        .map_err(|error| cannot_listen(config.listen, &error))?;
    let address = listener
        .local_addr()
        .map_err(|error| cannot_listen(config.listen, &error))?;

    let clock = runtime.clone();
    watchdog::start(Handle::current(), move || clock.check_clock())?;
    announce(address, &config, &catalog, &log);
    let reload = watch(args, config, runtime, catalog, seen, shared.clone(), log);
    reload.spawn(hints)?;
    gateway::serve(listener, shared, stopping).await;
    Ok(())
}

/// Raises the soft limit of open files, 1,024 in most shells, to the hard one. Each connection to a
/// client or to an upstream takes one. Returns the limit.
fn raise_open_files() -> u64 {
    match rlimit::increase_nofile_limit(MOST_OPEN_FILES) {
        Ok(limit) => {
            debug!(limit, "open files");
            limit
        }
        Err(error) => {
            warn!(%error, "cannot raise the limit of open files");
            USUAL_OPEN_FILES
        }
    }
}

fn bind(address: SocketAddr) -> Result<TcpSocket, Failure> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let bound = socket.and_then(|socket| {
        // A restart then need not wait for connections of the previous process. On Windows the
        // option would let two processes share the address.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    });
    bound.map_err(|error| cannot_listen(address, &error))
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AddrInUse {
        return Failure::new(
            Code::Listen,
            format!("cannot bind `{address}`: it is in use by another process"),
        )
        .hint("stop that process, or choose another port with `--listen` or `listen = \"...\"`");
    }
    Failure::new(Code::Listen, format!("cannot bind `{address}`: {error}"))
        .hint("choose another address with `--listen` or `listen = \"...\"`")
}

async fn load_plugins(
    config: &Arc<Config>,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<Runtime>, Arc<Catalog>), Failure> {
    let runtime = Runtime::new(&config.plugins, Arc::new(Store::default()), metrics.clone())?;
    let (on, with) = (runtime.clone(), config.clone());
    let loaded = spawn_blocking(move || reload::load(&on, &with)).await;
    let loaded = loaded
        .map_err(|error| Failure::new(Code::Other, format!("loading plugins failed: {error}")))?;
    if let Some(failure) = rejected(&loaded) {
        return Err(failure);
    }
    let missing = || Failure::new(Code::Other, "loading plugins returned no plugins");
    Ok((runtime, loaded.catalog.ok_or_else(missing)?))
}

/// What the thread that applies changed files works with.
fn watch(
    args: ServeArgs,
    config: Arc<Config>,
    runtime: Arc<Runtime>,
    catalog: Arc<Catalog>,
    seen: Scan,
    shared: Arc<Shared>,
    log: Log,
) -> Reload {
    let file = args.config.file().to_owned();
    let metrics = shared.metrics.clone();
    let publish = move |config: &Arc<Config>, catalog: &Arc<Catalog>| {
        let previous = shared.snapshot.load();
        let next = Snapshot::new(config.clone(), catalog.clone(), Some(&previous))?;
        if previous.config.log != config.log {
            log.filter(&config.log)?;
            debug!(filter = config.log, "log filter changed");
        }
        shared.snapshot.store(Arc::new(next));
        Ok(())
    };
    let reread = move || load(&args);
    Reload {
        runtime,
        metrics,
        file,
        config,
        catalog,
        seen,
        reread: Box::new(reread),
        publish: Box::new(publish),
    }
}

/// Logs what an operator wants to know at start. The line with the address comes last.
fn announce(address: SocketAddr, config: &Config, catalog: &Catalog, log: &Log) {
    reload::announce(catalog, None);
    for warning in reload::warnings(config, catalog, &[]) {
        warn!("{warning}");
    }
    for upstream in &config.upstreams {
        let accounts = upstream.accounts.len();
        info!(upstream = %upstream.name, url = upstream.base_url.shown, dialect = &*upstream.dialect, accounts, "upstream configured");
    }
    let requires_key = config.auth.mode.requires_key(address.ip().is_loopback());
    if requires_key && config.auth.keys.is_empty() {
        warn!(
            "a key is required and none is configured: every request is rejected; set `keys` in [auth]"
        );
    }
    info!(keys = config.auth.keys.len(), asked = requires_key, "auth");
    if config.upstreams.is_empty() {
        info!("no upstream is configured: the built-in echo model responds");
    }
    info!(%address, "listening");
    // For a person at a terminal; the lines above are for readers of the log.
    log.print(&how_to(address, config, requires_key));
}

fn how_to(address: SocketAddr, config: &Config, requires_key: bool) -> String {
    let url = format!("http://{}", reachable(address));
    let forwards_credentials = config
        .upstreams
        .iter()
        .any(|upstream| upstream.accounts.is_empty());
    let key = match requires_key {
        true => " ANTHROPIC_API_KEY='<one of the keys in [auth]>'",
        // Such an upstream gets the client's own login or key.
        false if forwards_credentials => "",
        // The client requires a key, and any will do.
        false => " ANTHROPIC_API_KEY=sk-witgate",
    };
    let mut text = format!("\n  Claude Code:  export ANTHROPIC_BASE_URL={url}{key}; claude\n");
    if config.upstreams.is_empty() {
        text.push_str(GO_LIVE);
    }
    text.push('\n');
    text
}

/// How to configure an upstream. The gateway loads the file as soon as it exists.
const GO_LIVE: &str = "
  The echo model only describes what it received. To use a real model, write witgate.toml, which is
  loaded as soon as it exists:

      [[upstream]]
      preset = \"anthropic\"

      [[upstream.accounts]]
      name = \"me\"
      key = \"sk-ant-...\"     # or env:NAME, or file:PATH
";

/// Returns an address that a client on this machine can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &str, config: &Config, requires_key: bool) -> String {
        how_to(address.parse().unwrap(), config, requires_key)
    }

    #[test]
    fn without_an_upstream_the_way_to_go_live_is_shown() {
        let text = shown("127.0.0.1:8045", &Config::without_file(), false);
        let claude =
            "export ANTHROPIC_BASE_URL=http://127.0.0.1:8045 ANTHROPIC_API_KEY=sk-witgate; claude";
        assert!(text.contains(claude), "{text}");
        assert!(text.contains(GO_LIVE), "{text}");
    }

    #[test]
    fn the_shown_address_can_be_called_and_no_configured_key_is_in_it() {
        let mut config = Config::without_file();
        config
            .auth
            .keys
            .push(crate::secret::Secret::new("sk-secret"));
        let text = shown("0.0.0.0:8045", &config, true);
        assert!(text.contains("http://127.0.0.1:8045 "), "{text}");
        assert!(!text.contains("sk-secret"), "{text}");
        assert!(shown("[::]:1", &config, true).contains("http://[::1]:1 "));
    }

    #[test]
    fn auto_requires_keys_if_others_can_reach_it() {
        let config = Config::without_file();
        let requires_key = |address: &str| {
            let address: SocketAddr = address.parse().unwrap();
            config.auth.mode.requires_key(address.ip().is_loopback())
        };
        assert!(!requires_key("127.0.0.1:1") && !requires_key("[::1]:1"));
        assert!(requires_key("0.0.0.0:1") && requires_key("192.0.2.1:1"));
    }
}
