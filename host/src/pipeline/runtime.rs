//! What plugins run on: the engine, the linker, the deadline clock and the instance slots of the
//! process.

use std::{num::NonZero, path::Path, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{error, warn};
use wasmtime::{
    Cache, CacheConfig, Config, Enabled, Engine, InstanceAllocationStrategy,
    PoolingAllocationConfig, WasmBacktraceDetails, component::Linker,
};
use witgate_contract::limits;

use super::{
    code::{Code, Hash},
    host_functions::{self, Host},
    jobs::{Jobs, Notify},
    ticker::Ticker,
    trace::Trace,
    tracer::{Tracer, Traces},
    trap,
};
use crate::{
    config::{self, Plugins},
    fault::{Blame, Fault, Kind},
    ids::ExchangeId,
    message::RequestKind,
    store::Store,
    telemetry::Metrics,
};

/// Instances for loading plugins, in addition to the slots of exchanges.
const LOAD_SLOTS: u32 = 8;
/// Core instances, memories and tables per plugin instance, on average: a Rust plugin has 3, 1 and
/// 2; one with a JavaScript engine in it 13, 3 and 3.
const CORE_INSTANCES: u32 = 8;
const MEMORIES: u32 = 2;
const TABLES: u32 = 3;
/// The most that one plugin instance may have of each.
const MOST_CORE_INSTANCES: u32 = 40;
const MOST_MEMORIES: u32 = 8;
const MOST_TABLES: u32 = 16;
/// What a slot keeps in memory after use: a small plugin's heap, so that the next one does not
/// fault it in again.
const KEEP_RESIDENT: usize = 64 << 10;
/// What a slot keeps of each table after use: one page, which is at most 512 elements. Faulting it
/// in again costs more than a whole call of a plugin that declines.
const KEEP_TABLE: usize = 4 << 10;

/// At least as many components are compiled at once.
const MIN_COMPILERS: usize = 4;

/// What a memory on demand can grow by without being copied.
const GROWTH: u64 = 1 << 20;

/// What plugins run on; one per process.
pub(crate) struct Runtime {
    pub(super) engine: Engine,
    pub(super) linker: Linker<Host>,
    pub(super) ticker: Ticker,
    pub(super) store: Arc<Store>,
    pub(super) metrics: Arc<Metrics>,
    traces: Traces,
    /// Components that are being compiled, and those that are not loaded.
    pub(super) compiler: Jobs<Hash, Result<Arc<Code>, String>>,
    slots: Arc<Semaphore>,
    instances: usize,
    cache: Option<Cache>,
}

/// How many components are compiled at once. The compiler uses all cores for one, but not in all
/// of its stages; and a small component need not wait for two large ones.
fn compilers() -> usize {
    let cores = std::thread::available_parallelism();
    cores.map_or(MIN_COMPILERS, NonZero::get).max(MIN_COMPILERS)
}

/// Permission for plugin instances, released when dropped.
pub(super) type Slot = OwnedSemaphorePermit;

impl Runtime {
    pub(crate) fn new(
        config: &Plugins,
        store: Arc<Store>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, Fault> {
        let instances = config.instances.clamp(1, limits::INSTANCES);
        let cache = config.cache.as_deref().and_then(open_cache);
        let engine = engine(instances, cache.clone())
            .map_err(|error| Fault::gateway("cannot start the plugin engine").from(error))?;
        let mut linker = Linker::new(&engine);
        host_functions::link(&mut linker)
            .map_err(|error| Fault::gateway("cannot link the plugin interfaces").from(error))?;
        let ticker = Ticker::start(&engine)
            .map_err(|error| Fault::gateway("cannot start the deadline clock").from(error))?;
        Ok(Arc::new(Self {
            engine,
            linker,
            ticker,
            store,
            metrics,
            traces: Traces::default(),
            compiler: Jobs::new(compilers()),
            slots: Arc::new(Semaphore::new(instances as usize)),
            instances: instances as usize,
            cache,
        }))
    }

    /// Restarts the deadline clock if it stands still while plugins run.
    pub(crate) fn check_clock(&self) {
        match self.ticker.check() {
            Ok(false) => {}
            Ok(true) => error!(
                "the clock of plugin deadlines stood still while plugins ran; it was restarted"
            ),
            Err(error) => error!(%error, "cannot restart the clock of plugin deadlines"),
        }
    }

    /// Begins the trace of an exchange. `None` if no traces are kept.
    pub(crate) fn trace(
        &self,
        id: &ExchangeId,
        kind: RequestKind,
        limits: config::Traces,
    ) -> Option<Tracer> {
        self.traces.begin(id, kind, limits)
    }

    /// The trace of an exchange, as far as it has got, if it is one of the latest.
    pub(crate) fn find_trace(&self, id: &str) -> Option<Trace> {
        self.traces.find(id)
    }

    /// Calls this function from now on when a component has been compiled.
    pub(crate) fn on_compiled(&self, notify: Notify) {
        self.compiler.notify(notify);
    }

    /// Takes `count` slots at once, or none.
    pub(super) fn slots(&self, count: usize) -> Result<Slot, Fault> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Arc::clone(&self.slots)
            .try_acquire_many_owned(count)
            .map_err(|_| overloaded())
    }

    /// How many slots are in use, and how many there are.
    pub(crate) fn slots_in_use(&self) -> (usize, usize) {
        let free = self.slots.available_permits();
        (self.instances.saturating_sub(free), self.instances)
    }

    /// How many slots are free.
    #[cfg(test)]
    pub(super) fn free_slots(&self) -> usize {
        self.slots.available_permits()
    }

    /// How many components were taken from the code cache so far.
    pub(super) fn cache_hits(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::cache_hits)
    }
}

/// The fault for an exhausted pool. Nothing is broken, so the client may retry.
pub(super) fn overloaded() -> Fault {
    busy("all plugin instances are in use")
}

/// The fault where the system has no memory for another instance.
pub(super) fn out_of_memory() -> Fault {
    busy("there is not enough memory for another plugin instance")
}

fn busy(what: &'static str) -> Fault {
    Fault::new(Blame::Gateway, Kind::Overloaded, what)
}

fn engine(instances: u32, cache: Option<Cache>) -> wasmtime::Result<Engine> {
    let mut config = settings(cache);
    config.allocation_strategy(pool(instances));
    match Engine::new(&config) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            // This happens under `ulimit -v`, in gVisor, or where processes have 39 bits of address
            // space.
            warn!(instances, %error, "cannot reserve memory for the plugin instance pool; creating instances on demand, which is slower");
            on_demand(&mut config);
            Engine::new(&config)
        }
    }
}

/// Creates instances without reserving address space for them, since there is little of it. Memory
/// accesses are checked by code instead of guard pages.
fn on_demand(config: &mut Config) {
    config
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .memory_reservation(0)
        .memory_reservation_for_growth(GROWTH)
        .memory_guard_size(0)
        .guard_before_linear_memory(false);
}

/// Engine settings: deadlines by epoch, and the WebAssembly features that component toolchains
/// emit.
pub(super) fn settings(cache: Option<Cache>) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        // For the location of a trap, if the plugin was built with names. Plugins without them
        // keep nothing for it.
        .wasm_backtrace_max_frames(trap::FRAMES)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .cache(cache);
    config
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let all = instances + LOAD_SLOTS;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(all)
        .total_stacks(all)
        .total_core_instances(all.saturating_mul(CORE_INSTANCES).max(MOST_CORE_INSTANCES))
        .total_memories(all.saturating_mul(MEMORIES).max(MOST_MEMORIES))
        .total_tables(all.saturating_mul(TABLES).max(MOST_TABLES))
        .max_core_instances_per_component(MOST_CORE_INSTANCES)
        .max_memories_per_component(MOST_MEMORIES)
        .max_tables_per_component(MOST_TABLES)
        .table_elements(limits::TABLE_ELEMENTS)
        .max_memory_size(limits::MEMORY)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_TABLE)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Opens wasmtime's code cache. Without it only starting takes longer, so a failure is a warning.
fn open_cache(dir: &Path) -> Option<Cache> {
    let mut config = CacheConfig::new();
    config.with_directory(dir);
    let cache = std::path::absolute(dir)
        .and_then(|dir| {
            config.with_directory(&dir);
            std::fs::create_dir_all(&dir)
        })
        .map_err(wasmtime::Error::from)
        .and_then(|()| Cache::new(config));
    match cache {
        Ok(cache) => {
            if let Err(error) = try_write(cache.directory()) {
                warn!(dir = %dir.display(), %error, "cannot write to the plugin code cache; plugins are compiled again at each start");
            }
            Some(cache)
        }
        Err(error) => {
            warn!(dir = %dir.display(), %error, "cannot open the plugin code cache; plugins are compiled again at each start");
            None
        }
    }
}

/// Checks that the cache can be written. The cache itself silently drops what it cannot write.
fn try_write(dir: &Path) -> std::io::Result<()> {
    let probe = dir.join(format!(".witgate-{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
}
