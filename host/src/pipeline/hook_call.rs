//! One call of a hook: it gets the plugin's instance, counts the call, and settles a failure.

use std::sync::Arc;

use witgate_contract::manifest::Hook;

use super::{
    Catalog, Receipt,
    instance::{Instance, PluginError},
    instance_slots::InstanceSlots,
    runtime::Runtime,
};
use crate::{config::OnError, fault::Fault, ids::ExchangeId};

/// The plugins of one exchange, with their instances and what they did.
pub(super) struct HookCalls {
    pub(super) catalog: Arc<Catalog>,
    pub(super) runtime: Arc<Runtime>,
    pub(super) slots: InstanceSlots,
    pub(super) receipt: Receipt,
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
        } = self;
        let plugin = &catalog.plugins[at];
        let instance = slots
            .instance(runtime, at, plugin, exchange, receipt)
            .await?;
        let _call = receipt.call(plugin, hook);
        call(instance).await
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
        self.receipt.failed(plugin, function, error, on_error)
    }
}
