//! `witgate serve`: from the arguments to a listening gateway, and to its end.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use tokio::{net::TcpSocket, task::spawn_blocking};
use tracing::{debug, info, warn};

use super::{Code, Failure, ServeArgs, refused, tokio_runtime};
use crate::{
    config::{Config, Problem, Problems},
    exchange::Snapshot,
    gateway::{self, Shared},
    pipeline::{Catalog, Runtime},
    reload::{self, Reload, Scan},
    shutdown,
    store::Store,
    telemetry::{self, Log, Metrics},
};

/// Connections that may wait to be accepted while all threads are busy.
const BACKLOG: u32 = 1024;

/// The most open files that the process allows itself. More are of no use, and the commands of
/// accounts inherit the limit: some programs try each file that may be open.
const MOST_OPEN_FILES: u64 = 1 << 20;

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
    // Exchanges that were cut short have written their records.
    log.flush();
    served
}

/// Reads the configuration, with the command line over it.
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
    raise_open_files();
    // The address first: whoever started it twice need not wait for plugins to compile to learn it.
    let socket = bind(config.listen)?;
    let stopping = shutdown::on_signals()?;
    let seen = reload::look(args.config.file(), &config);
    let metrics = Arc::new(Metrics::of(&log));
    let (runtime, catalog) = load_plugins(&config, &metrics).await?;

    let snapshot = Snapshot::new(config.clone(), catalog.clone(), None)
        .map_err(|fault| Failure::new(Code::Config, fault.chain()))?;
    let shared = Arc::new(Shared {
        runtime: runtime.clone(),
        metrics,
        snapshot: ArcSwap::from_pointee(snapshot),
    });
    let listener = socket
        .listen(BACKLOG)
        .map_err(|error| cannot_listen(config.listen, &error))?;
    let address = listener
        .local_addr()
        .map_err(|error| cannot_listen(config.listen, &error))?;

    tell(address, &config, &catalog, &log);
    watch(args, config, runtime, catalog, seen, shared.clone(), log)?;
    gateway::serve(listener, shared, stopping).await;
    Ok(())
}

/// Raises the soft limit of open files, 1,024 in most shells, to the hard one. Each client and each
/// upstream that it is served from takes one.
fn raise_open_files() {
    match rlimit::increase_nofile_limit(MOST_OPEN_FILES) {
        Ok(limit) => debug!(limit, "open files"),
        Err(error) => warn!(%error, "cannot raise the limit of open files"),
    }
}

fn bind(address: SocketAddr) -> Result<TcpSocket, Failure> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let bound = socket.and_then(|socket| {
        // A restart need not wait for the connections of the process before it. Elsewhere it would let two processes in.
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
            format!("{address} is in use by another process"),
        )
        .hint("stop that one, or choose another port with `--listen` or `listen = \"...\"`");
    }
    Failure::new(Code::Listen, format!("cannot listen on {address}: {error}"))
        .hint("choose another address with `--listen` or `listen = \"...\"`")
}

async fn load_plugins(
    config: &Arc<Config>,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<Runtime>, Arc<Catalog>), Failure> {
    let runtime = Runtime::new(&config.plugins, Arc::new(Store::default()), metrics.clone())?;
    let (on, with) = (runtime.clone(), config.clone());
    let loaded = spawn_blocking(move || reload::load(&on, &with, None)).await;
    let loaded = loaded
        .map_err(|error| Failure::new(Code::Other, format!("loading plugins failed: {error}")))?;
    if let Some(failure) = refused(&loaded) {
        return Err(failure);
    }
    let none = || Failure::new(Code::Other, "no set of plugins came of loading");
    Ok((runtime, loaded.catalog.ok_or_else(none)?))
}

/// Lets changes of the files come in force while it serves.
fn watch(
    args: ServeArgs,
    config: Arc<Config>,
    runtime: Arc<Runtime>,
    catalog: Arc<Catalog>,
    seen: Scan,
    shared: Arc<Shared>,
    log: Log,
) -> Result<(), Failure> {
    let file = args.config.file().to_owned();
    let metrics = shared.metrics.clone();
    let publish = move |config: &Arc<Config>, catalog: &Arc<Catalog>| {
        let previous = shared.snapshot.load();
        let next = Snapshot::new(config.clone(), catalog.clone(), Some(&previous))?;
        if previous.config.log != config.log {
            log.filter(&config.log)?;
            debug!(filter = config.log, "log filter in force");
        }
        shared.snapshot.store(Arc::new(next));
        Ok(())
    };
    let reread = move || load(&args);
    let reload = Reload {
        runtime,
        metrics,
        file,
        config,
        catalog,
        seen,
        reread: Box::new(reread),
        publish: Box::new(publish),
    };
    Ok(reload.spawn()?)
}

/// What an operator wants to know at the start. The line with the address comes last, when all of it is ready.
fn tell(address: SocketAddr, config: &Config, catalog: &Catalog, log: &Log) {
    reload::announce(catalog);
    for remark in reload::remarks(config, catalog) {
        warn!("{remark}");
    }
    for upstream in &config.upstreams {
        let accounts = upstream.accounts.len();
        info!(upstream = %upstream.name, url = upstream.base_url, dialect = &*upstream.dialect, accounts, "upstream configured");
    }
    let asks = config.auth.mode.requires_key(address.ip().is_loopback());
    if asks && config.auth.keys.is_empty() {
        warn!(
            "a key is asked for and none is configured: every request is refused; set `keys` in [auth]"
        );
    }
    info!(keys = config.auth.keys.len(), asked = asks, "auth");
    if config.upstreams.is_empty() {
        info!("no upstream is configured: the embedded echo model answers");
    }
    info!(%address, "listening");
    // For a person at a terminal; whoever reads the log has the lines above.
    log.print(&how_to(address, config, asks));
}

fn how_to(address: SocketAddr, config: &Config, asks: bool) -> String {
    let url = format!("http://{}", reachable(address));
    let passes_through = config
        .upstreams
        .iter()
        .any(|upstream| upstream.accounts.is_empty());
    let key = match asks {
        true => " ANTHROPIC_API_KEY='<one of the keys in [auth]>'",
        // The client's own login or key is what such an upstream gets.
        false if passes_through => "",
        // Any will do, but the client wants to have one.
        false => " ANTHROPIC_API_KEY=sk-witgate",
    };
    let mut text = format!("\n  Claude Code:  export ANTHROPIC_BASE_URL={url}{key}; claude\n");
    if config.upstreams.is_empty() {
        text.push_str(GO_LIVE);
    }
    text.push('\n');
    text
}

/// It need not be restarted for it: the file is seen when it is there.
const GO_LIVE: &str = "
  The echo model only says what it received. To go live, write witgate.toml (it is read as soon as it is there):

      [[upstream]]
      preset = \"anthropic\"

      [[upstream.accounts]]
      name = \"me\"
      key = \"sk-ant-...\"     # or env:NAME, or file:PATH
";

/// An address that a client on this machine can use.
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

    fn shown(address: &str, config: &Config, asks: bool) -> String {
        how_to(address.parse().unwrap(), config, asks)
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
    fn auto_asks_for_keys_wherever_others_can_reach_it() {
        let config = Config::without_file();
        let asks = |address: &str| {
            let address: SocketAddr = address.parse().unwrap();
            config.auth.mode.requires_key(address.ip().is_loopback())
        };
        assert!(!asks("127.0.0.1:1") && !asks("[::1]:1"));
        assert!(asks("0.0.0.0:1") && asks("192.0.2.1:1"));
    }
}
