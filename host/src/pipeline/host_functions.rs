//! What a plugin may call: the exchange's resources, its settings, its key-value space and the log.
//!
//! Everything that comes from a plugin is checked here: sizes, names, values. Nothing here waits.

mod failure;
mod inert;
mod output;
mod request;
mod response;
mod verdict;
mod wasi;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{debug, error, info, warn};
use wasmtime::{
    ResourceLimiter,
    component::{Component, Linker, Resource, ResourceTable, ResourceTableError},
};
use witgate_contract::{limits, note};

use self::output::{Output, Stream, Written};
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
    pub(super) written: Arc<Written>,
    /// The time that the current call has left.
    pub(super) time: Allowance,
    /// Answers and refusals that the plugin has made and not returned.
    drafts: usize,
    /// The zero of the plugin's monotonic clock: its first reading, which most plugins never take.
    clock_zero: Option<Instant>,
    tenant: Arc<Tenant>,
    /// `None` while the plugin is being loaded.
    exchange: Option<ExchangeId>,
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
            written: Arc::default(),
            time,
            drafts: 0,
            clock_zero: None,
            tenant,
            exchange,
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

    fn output(&self, stream: Stream) -> Output {
        Output {
            stream,
            tenant: Arc::clone(&self.tenant),
            exchange: self.exchange.clone(),
            written: Arc::clone(&self.written),
            line: Vec::new(),
        }
    }

    fn exchange(&self) -> &str {
        self.exchange.as_ref().map_or("none", ExchangeId::as_str)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let dropped = self.written.dropped();
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

/// The linker for this component: with the interfaces that it imports and that do nothing.
pub(super) fn linker_for<'a>(
    linker: &'a Linker<Host>,
    component: &Component,
) -> wasmtime::Result<Cow<'a, Linker<Host>>> {
    let shape = component.component_type();
    let mut imports = shape.imports(linker.engine());
    if !imports.any(|(name, _)| inert::is_inert(name)) {
        return Ok(Cow::Borrowed(linker));
    }
    let mut own = linker.clone();
    inert::link(&mut own, component)?;
    Ok(Cow::Owned(own))
}

/// Whether a plugin may import this. The names are those that [`link`] and [`linker_for`] link.
pub(super) fn is_granted(import: &str) -> bool {
    const WASI: [&str; 4] = ["wasi:cli/", "wasi:io/", "wasi:random/", "wasi:clocks/"];
    let is_wasi = inert::is_inert(import) || WASI.iter().any(|name| import.starts_with(name));
    import.starts_with("witgate:plugin/") || is_wasi && import.contains("@0.2.")
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

    fn set_if_absent(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, kv::KvError>> {
        let ttl = Duration::from_millis(ttl_ms.into());
        let space = &self.tenant.space;
        let kept = space.set_if_absent(&key, value, ttl, Instant::now());
        Ok(kept.map_err(Into::into))
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
        if !self.written.has_room_for_line() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_granted_interfaces_may_be_imported() {
        for import in [
            "wasi:cli/stderr@0.2.6",
            "wasi:filesystem/types@0.2.0",
            "wasi:sockets/tcp@0.2.6",
            "witgate:plugin/kv@0.2.0",
        ] {
            assert!(is_granted(import), "{import}");
        }
        for import in [
            "wasi:cli/stderr@0.3.0",
            "wasi:keyvalue/store@0.2.0",
            "other:package/interface",
            "read",
        ] {
            assert!(!is_granted(import), "{import}");
        }
    }
}
