//! What a plugin may call: the exchange's resources, its settings, its key-value space and the log.
//!
//! Everything that comes from a plugin is checked here: sizes, names, values. Nothing here waits.

mod failure;
mod request;
mod response;
mod verdict;
mod wasi;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::{debug, error, info, warn};
use wasmtime::{
    ResourceLimiter,
    component::{Linker, Resource, ResourceTable, ResourceTableError},
};
use wasmtime_wasi_io::{
    async_trait,
    poll::Pollable,
    streams::{OutputStream, StreamError},
};
use witgate_contract::{limits, note};

use crate::{
    ids::{ExchangeId, PluginId},
    pipeline::{
        bindings::{EditError, exchange, kv, log, plugin, settings},
        ticker::Allowance,
        trace::LogLine,
        views::TargetView,
    },
    store::Space,
};

/// Resources that one call lends.
const LENT: usize = 4;
/// How much of its standard error is kept, for the text of a panic.
const STDERR_LIMIT: usize = 4 << 10;

/// The plugin that runs in an instance: its name, settings and key-value space.
pub(super) struct Tenant {
    pub(super) id: PluginId,
    /// A JSON object.
    pub(super) settings: Arc<str>,
    pub(super) space: Arc<Space>,
}

/// The host's side of one instance.
pub(super) struct Host {
    pub(super) table: ResourceTable,
    pub(super) limits: Limits,
    pub(super) stderr: Stderr,
    /// The time that the current call has left.
    pub(super) time: Allowance,
    /// Answers and refusals that the plugin has made and not returned.
    drafts: usize,
    /// The zero of the plugin's monotonic clock: its first reading, which most plugins never take.
    clock_zero: Option<Instant>,
    tenant: Arc<Tenant>,
    /// `None` while the plugin is being loaded.
    exchange: Option<ExchangeId>,
    lines: u32,
    /// The lines that the plugin logged in the current call. `None` if they are not kept.
    pub(super) kept_log: Option<Vec<LogLine>>,
}

impl Host {
    pub(super) fn new(
        tenant: Arc<Tenant>,
        exchange: Option<ExchangeId>,
        memory: usize,
        time: Allowance,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::RESOURCES);
        let limits = Limits {
            memory,
            used: 0,
            exceeded: false,
        };
        Self {
            table,
            limits,
            stderr: Stderr::default(),
            time,
            drafts: 0,
            clock_zero: None,
            tenant,
            exchange,
            lines: 0,
            kept_log: None,
        }
    }

    /// Lends the plugin a resource for a call. There is always room for it, whatever the plugin
    /// itself holds.
    pub(super) fn lend<T: Send + 'static>(
        &mut self,
        value: T,
    ) -> Result<Resource<T>, ResourceTableError> {
        self.table.set_max_capacity(limits::RESOURCES + LENT);
        let handle = self.table.push(value);
        self.table.set_max_capacity(limits::RESOURCES);
        handle
    }

    fn exchange(&self) -> &str {
        self.exchange.as_ref().map_or("none", ExchangeId::as_str)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let dropped = self.lines.saturating_sub(limits::LOG_LINES);
        if dropped > 0 {
            warn!(plugin = %self.tenant.id, exchange = self.exchange(), dropped, "log lines dropped");
        }
    }
}

/// Links everything that plugins may call. Linking is the permission: they can call nothing else.
pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    plugin::Plugin::add_to_linker::<_, wasmtime::component::HasSelf<_>>(linker, |host| host)?;
    wasi::link(linker)
}

/// Whether a plugin may import this. The names are those that [`link`] links.
pub(super) fn is_granted(import: &str) -> bool {
    const GRANTED: [&str; 4] = ["wasi:cli/", "wasi:io/", "wasi:random/", "wasi:clocks/"];
    import.starts_with("witgate:plugin/") || GRANTED.iter().any(|name| import.starts_with(name))
}

impl settings::Host for Host {
    fn get(&mut self) -> wasmtime::Result<String> {
        Ok(self.tenant.settings.to_string())
    }
}

impl kv::Host for Host {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, kv::KvError>> {
        let found = self.tenant.space.get(&key, Instant::now());
        Ok(found.map_err(Into::into))
    }

    fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: u32,
    ) -> wasmtime::Result<Result<(), kv::KvError>> {
        let ttl = Duration::from_millis(ttl_ms.into());
        let done = self.tenant.space.set(&key, value, ttl, Instant::now());
        Ok(done.map_err(Into::into))
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), kv::KvError>> {
        Ok(self.tenant.space.delete(&key).map_err(Into::into))
    }

    fn increment(
        &mut self,
        key: String,
        delta: i64,
        ttl_ms: u32,
    ) -> wasmtime::Result<Result<i64, kv::KvError>> {
        let ttl = Duration::from_millis(ttl_ms.into());
        let done = self
            .tenant
            .space
            .increment(&key, delta, ttl, Instant::now());
        Ok(done.map_err(Into::into))
    }
}

impl log::Host for Host {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.lines = self.lines.saturating_add(1);
        if self.lines > limits::LOG_LINES {
            return Ok(());
        }
        let message = note::log_line(&message);
        if let Some(kept) = &mut self.kept_log {
            kept.push(LogLine {
                level: level_name(level).to_owned(),
                line: message.clone().into_owned(),
            });
        }
        let (plugin, exchange) = (&self.tenant.id, self.exchange());
        match level {
            log::Level::Debug => debug!(%plugin, exchange, "{message}"),
            log::Level::Info => info!(%plugin, exchange, "{message}"),
            log::Level::Warn => warn!(%plugin, exchange, "{message}"),
            log::Level::Error => error!(%plugin, exchange, "{message}"),
        }
        Ok(())
    }
}

fn level_name(level: log::Level) -> &'static str {
    match level {
        log::Level::Debug => "debug",
        log::Level::Info => "info",
        log::Level::Warn => "warn",
        log::Level::Error => "error",
    }
}

/// The result of a query or an edit, as the contract has it.
type Edited<T> = wasmtime::Result<Result<T, EditError>>;

fn edited<T>(outcome: Result<T, witgate_contract::EditError>) -> Edited<T> {
    Ok(outcome.map_err(EditError::from))
}

impl exchange::Host for Host {}

impl exchange::HostTarget for Host {
    fn upstream(&mut self, target: Resource<TargetView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&target)?.0.upstream.to_string())
    }

    fn dialect(&mut self, target: Resource<TargetView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&target)?.0.dialect.to_string())
    }

    fn account(&mut self, target: Resource<TargetView>) -> wasmtime::Result<Option<String>> {
        Ok(self
            .table
            .get(&target)?
            .0
            .account
            .as_ref()
            .map(ToString::to_string))
    }

    fn mapped_model(&mut self, target: Resource<TargetView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&target)?.0.model.to_string())
    }

    fn requested_model(&mut self, target: Resource<TargetView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&target)?.0.requested_model.to_string())
    }

    fn attempt(&mut self, target: Resource<TargetView>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&target)?.0.attempt)
    }

    fn lacks(&mut self, target: Resource<TargetView>, feature: String) -> wasmtime::Result<bool> {
        Ok(self.table.get(&target)?.0.lacks.contains(&feature))
    }

    fn key(&mut self, target: Resource<TargetView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&target)?.0.facts().key())
    }

    fn drop(&mut self, target: Resource<TargetView>) -> wasmtime::Result<()> {
        self.table.delete(target)?;
        Ok(())
    }
}

/// The memory and table limits of an instance.
pub(super) struct Limits {
    pub(super) memory: usize,
    used: usize,
    /// Whether memory was asked for beyond the limit.
    pub(super) exceeded: bool,
}

impl Limits {
    /// The memory in use, in bytes.
    pub(super) fn used(&self) -> usize {
        self.used
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // All memories of a plugin together; a language run-time may have several.
        let used = self.used + desired.saturating_sub(current);
        if used > self.memory {
            self.exceeded = true;
            // A trap, not a failed allocation: languages differ in what they do after one.
            return Err(wasmtime::Error::msg("memory limit reached"));
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= limits::TABLE_ELEMENTS)
    }
}

/// The end of what a plugin wrote to its standard error, where a Rust panic writes its text.
#[derive(Clone, Default)]
pub(super) struct Stderr(Arc<Mutex<Vec<u8>>>);

impl Stderr {
    /// The text of the last panic in it, in one line: where it happened and what it said.
    pub(super) fn panic(&self) -> Option<String> {
        let kept = self.0.lock();
        panic_text(&String::from_utf8_lossy(&kept))
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.0.lock();
        kept.extend_from_slice(bytes);
        if kept.len() > STDERR_LIMIT {
            let over = kept.len() - STDERR_LIMIT;
            kept.drain(..over);
        }
    }
}

fn panic_text(stderr: &str) -> Option<String> {
    let (_, text) = stderr.rsplit_once("panicked at ")?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<_> = lines
        .take_while(|line| !line.starts_with("note: "))
        .collect();
    Some(
        lines
            .join(" ")
            .chars()
            .filter(|c| !c.is_control())
            .take(500)
            .collect(),
    )
}

#[async_trait]
impl Pollable for Stderr {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Stderr {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.keep(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(STDERR_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_reported_in_one_line() {
        let text = "earlier\n\nthread '<unnamed>' (1) panicked at src/lib.rs:7:5:\nboom:\n  two lines\n\
                    note: run with `RUST_BACKTRACE=1`\n";
        assert_eq!(
            panic_text(text).as_deref(),
            Some("src/lib.rs:7:5: boom: two lines")
        );
        assert_eq!(panic_text("no panic here"), None);
    }

    #[test]
    fn only_the_end_of_standard_error_is_kept() {
        let stderr = Stderr::default();
        stderr.keep(&vec![b'x'; 3 * STDERR_LIMIT]);
        stderr.keep(b"panicked at a.rs:1:1:\nlast");
        assert_eq!(stderr.panic().as_deref(), Some("a.rs:1:1: last"));
        assert!(stderr.0.lock().len() <= STDERR_LIMIT);
    }

    #[test]
    fn only_granted_interfaces_may_be_imported() {
        assert!(is_granted("wasi:cli/stderr@0.2.6"));
        assert!(is_granted("witgate:plugin/kv@0.2.0"));
        for import in [
            "wasi:filesystem/types@0.2.6",
            "wasi:sockets/tcp@0.2.6",
            "wasi:http/types@0.2.6",
        ] {
            assert!(!is_granted(import), "{import}");
        }
    }
}
