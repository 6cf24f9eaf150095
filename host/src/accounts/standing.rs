//! What is known of one account: for which models it rests, how busy it is, and its present credential.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{cooldown::Rest, fresh::Fresh};

/// Names of models come from clients, so there may be any number. Past this, rests that are over are forgotten.
const MODELS: usize = 256;

#[derive(Default)]
pub(super) struct Standing {
    load: AtomicUsize,
    rests: Mutex<Rests>,
    pub(super) fresh: Fresh,
}

#[derive(Default)]
struct Rests {
    models: HashMap<Arc<str>, Rest>,
    /// For all models, because there is no good credential.
    all: Option<Rest>,
}

/// One exchange that an account is busy with.
pub(super) struct Load(Arc<Standing>);

impl Standing {
    /// Until when it rests, if it does.
    pub(super) fn rests(&self, model: &str, now: Instant) -> Option<Instant> {
        let rests = self.lock();
        let rests = rests.models.get(model).into_iter().chain(&rests.all);
        rests
            .map(|rest| rest.until())
            .max()
            .filter(|until| now < *until)
    }

    /// A success ends no rest that is under way: it belongs to an attempt that began before.
    pub(super) fn succeeded(&self, model: &str, now: Instant) {
        let mut rests = self.lock();
        let over = rests
            .models
            .get(model)
            .is_some_and(|rest| !rest.is_under_way(now));
        if over {
            rests.models.remove(model);
        }
        rests.all = rests.all.filter(|rest| rest.is_under_way(now));
        drop(rests);
        self.fresh.proved_good();
    }

    pub(super) fn rest(&self, model: &str, told: Option<Duration>, chance: f64, now: Instant) {
        let mut rests = self.lock();
        let former = rests.models.get(model).copied();
        if former.is_none() && rests.models.len() >= MODELS {
            rests.models.retain(|_, rest| rest.is_under_way(now));
        }
        let rest = Rest::after(former, told, chance, now);
        rests.models.insert(model.into(), rest);
    }

    /// Rests for all models, for so long or escalating. False: it does already, and nothing is changed.
    pub(super) fn without_credential(
        &self,
        told: Option<Duration>,
        chance: f64,
        now: Instant,
    ) -> bool {
        let mut rests = self.lock();
        if rests.all.is_some_and(|rest| rest.is_under_way(now)) {
            return false;
        }
        rests.all = Some(Rest::after(rests.all, told, chance, now));
        true
    }

    pub(super) fn has_rested_for_its_credential(&self, now: Instant) -> bool {
        self.lock().all.is_some_and(|rest| !rest.is_under_way(now))
    }

    /// Whether it rests for want of a good credential.
    pub(super) fn wants_credential(&self, now: Instant) -> bool {
        self.lock().all.is_some_and(|rest| rest.is_under_way(now))
    }

    pub(super) fn credential_is_new(&self) {
        self.lock().all = None;
    }

    /// All rests under way, of one model each or of all.
    pub(super) fn resting(&self, now: Instant) -> Vec<(Option<Arc<str>>, Instant)> {
        let rests = self.lock();
        let models = rests
            .models
            .iter()
            .map(|(model, rest)| (Some(Arc::clone(model)), rest.until()));
        let all = rests.all.map(|rest| (None, rest.until()));
        models
            .chain(all)
            .filter(|(_, until)| now < *until)
            .collect()
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.lock().models.len()
    }

    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    pub(super) fn busy(this: &Arc<Self>) -> Load {
        this.load.fetch_add(1, Ordering::Relaxed);
        Load(Arc::clone(this))
    }

    fn lock(&self) -> MutexGuard<'_, Rests> {
        // Nothing in here can be half done.
        self.rests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}
