//! The plugin instances of one exchange and the slots they take: each made on first use, each dropped as soon as no hook
//! can need it any more.

use std::sync::Arc;

use super::{
    Receipt,
    instance::{Instance, PluginError},
    plugin::Plugin,
    runtime::{Runtime, Slot},
};
use crate::{fault::Fault, ids::ExchangeId};

/// Few plugins care for one exchange, so it is a list to be searched.
#[derive(Default)]
pub(super) struct InstanceSlots(Vec<InstanceSlot>);

struct InstanceSlot {
    /// Place in the catalog.
    plugin: usize,
    state: SlotState,
}

pub(super) enum SlotState {
    /// A slot is kept for it.
    Reserved(Slot),
    Live(LiveInstance),
    /// It failed, and is not called again in this exchange.
    Out,
}

pub(super) struct LiveInstance {
    pub(super) instance: Box<Instance>,
    /// Given back with it.
    slot: Slot,
}

impl LiveInstance {
    /// The slot without the instance, for another one.
    pub(super) fn vacated(self) -> SlotState {
        SlotState::Reserved(self.slot)
    }
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

    /// The plugin's instance, made now if there is none.
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
            // In a box of its own, which is there while it is made: otherwise whatever may call a plugin has room for it.
            let making =
                Instance::new(runtime, code, tenant, plugin.memory, Some(exchange.clone()));
            let made = Box::pin(making).await?;
            receipt.instances += 1;
            // Between the two states it is out, which lasts for this line only.
            if let SlotState::Reserved(slot) = std::mem::replace(state, SlotState::Out) {
                let instance = Box::new(made);
                *state = SlotState::Live(LiveInstance { instance, slot });
            }
        }
        match state {
            SlotState::Live(live) => Ok(&mut live.instance),
            // Whoever calls has asked `is_out`.
            SlotState::Reserved(_) | SlotState::Out => Err(PluginError::NoSlot),
        }
    }

    /// Takes a live instance out, until [`Self::put_back`].
    pub(super) fn lend(&mut self, plugin: usize) -> Option<LiveInstance> {
        let place = self.0.iter().position(|entry| entry.plugin == plugin)?;
        match self.0.swap_remove(place).state {
            SlotState::Live(live) => Some(live),
            SlotState::Reserved(_) | SlotState::Out => None,
        }
    }

    pub(super) fn put_back(&mut self, plugin: usize, state: SlotState) {
        self.0.push(InstanceSlot { plugin, state });
    }

    /// The plugin failed: its instance goes, and it is not called again.
    pub(super) fn dismiss(&mut self, plugin: usize) {
        self.release(plugin);
        self.0.push(InstanceSlot {
            plugin,
            state: SlotState::Out,
        });
    }

    /// No later hook needs it.
    pub(super) fn release(&mut self, plugin: usize) {
        self.0.retain(|entry| entry.plugin != plugin);
    }

    /// Keeps those that a later hook may need, and the memory of those that failed.
    pub(super) fn keep(&mut self, needed: impl Fn(usize) -> bool) {
        self.0
            .retain(|entry| matches!(entry.state, SlotState::Out) || needed(entry.plugin));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
