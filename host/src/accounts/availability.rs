//! What is known of one account: for which models it rests, how busy it is, and its present credential.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{cooldown::Cooldown, credential_cache::CredentialCache};

/// Names of models come from clients, so there may be any number. Past this, rests that are over are forgotten.
const MODELS: usize = 256;

#[derive(Default)]
pub(super) struct Availability {
    load: AtomicUsize,
    cooldowns: Mutex<Cooldowns>,
    pub(super) credential: CredentialCache,
}

#[derive(Default)]
struct Cooldowns {
    models: HashMap<Arc<str>, Cooldown>,
    /// For all models, because there is no good credential.
    all: Option<Cooldown>,
}

/// One exchange that an account is busy with.
pub(super) struct Load(Arc<Availability>);

impl Availability {
    /// Until when it rests, if it does.
    pub(super) fn cooldown_until(&self, model: &str, now: Instant) -> Option<Instant> {
        let cooldowns = self.lock();
        let cooldowns = cooldowns
            .models
            .get(model)
            .into_iter()
            .chain(&cooldowns.all);
        cooldowns
            .map(|cooldown| cooldown.until())
            .max()
            .filter(|until| now < *until)
    }

    /// A success ends no rest that is under way: it belongs to an attempt that began before.
    pub(super) fn succeeded(&self, model: &str, now: Instant) {
        let mut cooldowns = self.lock();
        let over = cooldowns
            .models
            .get(model)
            .is_some_and(|cooldown| !cooldown.is_active(now));
        if over {
            cooldowns.models.remove(model);
        }
        cooldowns.all = cooldowns.all.filter(|cooldown| cooldown.is_active(now));
        drop(cooldowns);
        self.credential.proved_good();
    }

    pub(super) fn start_cooldown(
        &self,
        model: &str,
        retry_after: Option<Duration>,
        chance: f64,
        now: Instant,
    ) {
        let mut cooldowns = self.lock();
        let former = cooldowns.models.get(model).copied();
        if former.is_none() && cooldowns.models.len() >= MODELS {
            cooldowns
                .models
                .retain(|_, cooldown| cooldown.is_active(now));
        }
        let cooldown = Cooldown::after(former, retry_after, chance, now);
        cooldowns.models.insert(model.into(), cooldown);
    }

    /// Rests for all models, for so long or escalating. False: it does already, and nothing is changed.
    pub(super) fn start_credential_cooldown(
        &self,
        retry_after: Option<Duration>,
        chance: f64,
        now: Instant,
    ) -> bool {
        let mut cooldowns = self.lock();
        if cooldowns
            .all
            .is_some_and(|cooldown| cooldown.is_active(now))
        {
            return false;
        }
        cooldowns.all = Some(Cooldown::after(cooldowns.all, retry_after, chance, now));
        true
    }

    pub(super) fn credential_cooldown_ended(&self, now: Instant) -> bool {
        self.lock()
            .all
            .is_some_and(|cooldown| !cooldown.is_active(now))
    }

    /// Whether it rests for want of a good credential.
    pub(super) fn on_credential_cooldown(&self, now: Instant) -> bool {
        self.lock()
            .all
            .is_some_and(|cooldown| cooldown.is_active(now))
    }

    pub(super) fn credential_is_new(&self) {
        self.lock().all = None;
    }

    /// All rests under way, of one model each or of all.
    pub(super) fn cooldowns(&self, now: Instant) -> Vec<(Option<Arc<str>>, Instant)> {
        let cooldowns = self.lock();
        let models = cooldowns
            .models
            .iter()
            .map(|(model, cooldown)| (Some(Arc::clone(model)), cooldown.until()));
        let all = cooldowns.all.map(|cooldown| (None, cooldown.until()));
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

    fn lock(&self) -> MutexGuard<'_, Cooldowns> {
        // Nothing in here can be half done.
        self.cooldowns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}
