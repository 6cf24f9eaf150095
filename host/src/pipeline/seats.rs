//! The plugin instances of one exchange and the slots they take: each made on first use, each dropped as soon as no hook
//! can need it any more.

use std::sync::Arc;

use super::{
    Receipt,
    instance::{Cause, Instance},
    plugin::Plugin,
    runtime::{Runtime, Slot},
};
use crate::{fault::Fault, ids::ExchangeId};

/// Few plugins care for one exchange, so it is a list to be searched.
#[derive(Default)]
pub(super) struct Seats(Vec<Seat>);

struct Seat {
    /// Place in the catalog.
    plugin: usize,
    state: State,
}

pub(super) enum State {
    /// A slot is kept for it.
    Reserved(Slot),
    Live(Live),
    /// It failed, and is not called again in this exchange.
    Out,
}

pub(super) struct Live {
    pub(super) instance: Box<Instance>,
    /// Given back with it.
    slot: Slot,
}

impl Live {
    /// The slot without the instance, for another one.
    pub(super) fn vacated(self) -> State {
        State::Reserved(self.slot)
    }
}

impl Seats {
    /// Whether the plugin has failed in this exchange.
    pub(super) fn is_out(&self, plugin: usize) -> bool {
        self.0
            .iter()
            .any(|seat| seat.plugin == plugin && matches!(seat.state, State::Out))
    }

    pub(super) fn has(&self, plugin: usize) -> bool {
        self.0.iter().any(|seat| seat.plugin == plugin)
    }

    /// Takes slots for all of them at once, or for none.
    pub(super) fn reserve(&mut self, runtime: &Runtime, plugins: &[usize]) -> Result<(), Fault> {
        if plugins.is_empty() {
            return Ok(());
        }
        let mut slots = runtime.slots(plugins.len())?;
        for &plugin in plugins {
            if let Some(slot) = slots.split(1) {
                self.0.push(Seat {
                    plugin,
                    state: State::Reserved(slot),
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
    ) -> Result<&mut Instance, Cause> {
        let place = match self.0.iter().position(|seat| seat.plugin == at) {
            Some(place) => place,
            None => {
                let slot = runtime.slots(1).map_err(|_| Cause::NoSlot)?;
                self.0.push(Seat {
                    plugin: at,
                    state: State::Reserved(slot),
                });
                self.0.len() - 1
            }
        };
        let state = &mut self.0[place].state;
        if let State::Reserved(_) = state {
            let (code, tenant) = (&plugin.code, &plugin.tenant);
            // In a box of its own, which is there while it is made: otherwise whatever may call a plugin has room for it.
            let making =
                Instance::new(runtime, code, tenant, plugin.memory, Some(exchange.clone()));
            let made = Box::pin(making).await?;
            receipt.instances += 1;
            // Between the two states it is out, which lasts for this line only.
            if let State::Reserved(slot) = std::mem::replace(state, State::Out) {
                let instance = Box::new(made);
                *state = State::Live(Live { instance, slot });
            }
        }
        match state {
            State::Live(live) => Ok(&mut live.instance),
            // Whoever calls has asked `is_out`.
            State::Reserved(_) | State::Out => Err(Cause::NoSlot),
        }
    }

    /// Takes a live instance out, until [`Self::put_back`].
    pub(super) fn lend(&mut self, plugin: usize) -> Option<Live> {
        let place = self.0.iter().position(|seat| seat.plugin == plugin)?;
        match self.0.swap_remove(place).state {
            State::Live(live) => Some(live),
            State::Reserved(_) | State::Out => None,
        }
    }

    pub(super) fn put_back(&mut self, plugin: usize, state: State) {
        self.0.push(Seat { plugin, state });
    }

    /// The plugin failed: its instance goes, and it is not called again.
    pub(super) fn dismiss(&mut self, plugin: usize) {
        self.release(plugin);
        self.0.push(Seat {
            plugin,
            state: State::Out,
        });
    }

    /// No later hook needs it.
    pub(super) fn release(&mut self, plugin: usize) {
        self.0.retain(|seat| seat.plugin != plugin);
    }

    /// Keeps those that a later hook may need, and the memory of those that failed.
    pub(super) fn keep(&mut self, needed: impl Fn(usize) -> bool) {
        self.0
            .retain(|seat| matches!(seat.state, State::Out) || needed(seat.plugin));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
