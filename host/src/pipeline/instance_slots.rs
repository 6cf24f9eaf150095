//! The plugin instances of one exchange and their slots. Each is created on first use, and dropped
//! as soon as no hook can need it any more.

use std::sync::Arc;

use super::{
    Receipt,
    instance::{Instance, PluginError},
    plugin::Plugin,
    runtime::{Runtime, Slot},
};
use crate::{fault::Fault, ids::ExchangeId};

/// A list that is searched, since few plugins take part in one exchange.
#[derive(Default)]
pub(super) struct InstanceSlots(Vec<InstanceSlot>);

struct InstanceSlot {
    /// Index in the catalog.
    plugin: usize,
    state: SlotState,
}

enum SlotState {
    /// It has a slot and no instance yet.
    Reserved(Slot),
    Live(LiveInstance),
    /// It failed, and is not called again in this exchange.
    Out,
}

struct LiveInstance {
    instance: Box<Instance>,
    /// Released with the instance.
    slot: Slot,
}

impl InstanceSlots {
    /// Whether the plugin has failed in this exchange.
    pub(super) fn is_out(&self, plugin: usize) -> bool {
        self.0
            .iter()
            .any(|entry| entry.plugin == plugin && matches!(entry.state, SlotState::Out))
    }

    pub(super) fn has(&self, plugin: usize) -> bool {
        self.0.iter().any(|entry| entry.plugin == plugin)
    }

    /// Takes slots for all of them at once, or for none.
    pub(super) fn reserve(&mut self, runtime: &Runtime, plugins: &[usize]) -> Result<(), Fault> {
        if plugins.is_empty() {
            return Ok(());
        }
        let mut slots = runtime.slots(plugins.len())?;
        for &plugin in plugins {
            if let Some(slot) = slots.split(1) {
                self.0.push(InstanceSlot {
                    plugin,
                    state: SlotState::Reserved(slot),
                });
            }
        }
        Ok(())
    }

    /// The plugin's instance, created if it does not exist yet.
    pub(super) async fn instance(
        &mut self,
        runtime: &Arc<Runtime>,
        at: usize,
        plugin: &Plugin,
        exchange: &ExchangeId,
        receipt: &mut Receipt,
    ) -> Result<&mut Instance, PluginError> {
        let place = match self.0.iter().position(|entry| entry.plugin == at) {
            Some(place) => place,
            None => {
                let slot = runtime.slots(1).map_err(|_| PluginError::NoSlot)?;
                self.0.push(InstanceSlot {
                    plugin: at,
                    state: SlotState::Reserved(slot),
                });
                self.0.len() - 1
            }
        };
        let state = &mut self.0[place].state;
        if let SlotState::Reserved(_) = state {
            let (code, tenant) = (&plugin.code, &plugin.tenant);
            // Boxed, or every future that may call a plugin would reserve room for it.
            let making =
                Instance::new(runtime, code, tenant, plugin.memory, Some(exchange.clone()));
            let made = Box::pin(making).await?;
            receipt.instances += 1;
            // It is `Out` only while the two states are swapped.
            if let SlotState::Reserved(slot) = std::mem::replace(state, SlotState::Out) {
                let instance = Box::new(made);
                *state = SlotState::Live(LiveInstance { instance, slot });
            }
        }
        match state {
            SlotState::Live(live) => Ok(&mut live.instance),
            // Callers check `is_out` first.
            SlotState::Reserved(_) | SlotState::Out => Err(PluginError::NoSlot),
        }
    }

    /// Takes these plugins' slots out, with their instances, until [`Self::put_back`].
    pub(super) fn lend(&mut self, plugins: &[usize]) -> Self {
        let lent = self
            .0
            .extract_if(.., |entry| plugins.contains(&entry.plugin));
        Self(lent.collect())
    }

    pub(super) fn put_back(&mut self, lent: Self) {
        self.0.extend(lent.0);
    }

    /// Drops the instances that were left in the middle of a call, and keeps their slots for
    /// others.
    pub(super) fn drop_unusable(&mut self) {
        for entry in &mut self.0 {
            entry.state = match std::mem::replace(&mut entry.state, SlotState::Out) {
                SlotState::Live(live) if !live.instance.is_usable() => {
                    SlotState::Reserved(live.slot)
                }
                state => state,
            };
        }
    }

    /// Drops the instance of a plugin that failed, which is not called again.
    pub(super) fn dismiss(&mut self, plugin: usize) {
        self.release(plugin);
        self.0.push(InstanceSlot {
            plugin,
            state: SlotState::Out,
        });
    }

    /// Drops an instance that no later hook needs.
    pub(super) fn release(&mut self, plugin: usize) {
        self.0.retain(|entry| entry.plugin != plugin);
    }

    /// Keeps the instances that a later hook may need, and the record of the plugins that failed.
    pub(super) fn keep(&mut self, needed: impl Fn(usize) -> bool) {
        self.0
            .retain(|entry| matches!(entry.state, SlotState::Out) || needed(entry.plugin));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
