//! One call of a hook: it gets the plugin's instance, counts the call, and settles a failure.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use witgate_contract::{guard::Guard, manifest::Hook};

use super::{
    Catalog, Receipt,
    instance::{Instance, PluginError},
    instance_slots::InstanceSlots,
    runtime::Runtime,
    tracer::{Guarded, Measured, Tracer},
};
use crate::{config::OnError, fault::Fault, ids::ExchangeId};

/// The plugins of one exchange, with their instances and what they did.
pub(super) struct HookCalls {
    pub(super) catalog: Arc<Catalog>,
    pub(super) runtime: Arc<Runtime>,
    pub(super) slots: InstanceSlots,
    pub(super) receipt: Receipt,
    /// `None` if this exchange is not traced.
    pub(super) trace: Option<Tracer>,
}

impl HookCalls {
    /// Makes a call with a plugin's instance. `at` is the plugin's index in the catalog.
    pub(super) async fn call<T>(
        &mut self,
        at: usize,
        hook: Hook,
        exchange: &ExchangeId,
        call: impl AsyncFnOnce(&mut Instance) -> Result<T, PluginError>,
    ) -> Result<T, PluginError> {
        let Self {
            catalog,
            runtime,
            slots,
            receipt,
            trace,
        } = self;
        let plugin = &catalog.plugins[at];
        let begun = trace.as_ref().map(|_| (Instant::now(), receipt.instances));
        let instance = slots
            .instance(runtime, at, plugin, exchange, receipt)
            .await?;
        let created = begun.and_then(|(begun, instances)| {
            (receipt.instances > instances).then(|| begun.elapsed())
        });
        let _call = receipt.call(plugin, hook);
        let Some(trace) = trace else {
            return call(instance).await;
        };
        instance.keep_log();
        let begun = Instant::now();
        let outcome = call(&mut *instance).await;
        let measured = measure(instance, begun.elapsed(), created, plugin.memory);
        trace.called(plugin.id(), hook, measured);
        outcome
    }

    /// Records whether a guard holds, if the exchange is traced. `status` is that of a failure.
    pub(super) fn trace_guard(
        &self,
        at: usize,
        hook: Hook,
        status: Option<u16>,
        guarded: impl FnOnce(&Guard) -> Guarded,
    ) {
        let Some(trace) = &self.trace else { return };
        let plugin = &self.catalog.plugins[at];
        let Some(guard) = plugin.guard(hook) else {
            return;
        };
        let guarded = match self.slots.is_out(at) {
            true => Guarded::Failed,
            false => guarded(guard),
        };
        trace.guard(plugin.id(), &plugin.manifest, (hook, status), guarded);
    }

    /// Counts a call that is skipped because the guard does not hold.
    pub(super) fn guarded(&mut self, at: usize, hook: Hook) {
        self.receipt.guarded(&self.catalog.plugins[at], hook);
    }

    /// Records a failed call of a function of the contract. The plugin is not called again; the
    /// exchange ends or continues without it.
    pub(super) fn failed(
        &mut self,
        at: usize,
        function: &'static str,
        error: &PluginError,
        on_error: OnError,
    ) -> Result<(), Fault> {
        self.slots.dismiss(at);
        let plugin = &self.catalog.plugins[at];
        if let Some(trace) = &self.trace {
            trace.failed(plugin.id(), Hook::of_function(function), error.to_string());
        }
        self.receipt.failed(plugin, function, error, on_error)
    }
}

fn measure(
    instance: &mut Instance,
    time: Duration,
    instantiated: Option<Duration>,
    memory_limit: usize,
) -> Measured {
    Measured {
        time,
        deadline: instance.deadline(),
        instantiated,
        memory: instance.memory(),
        memory_limit,
        log: instance.take_log(),
    }
}
