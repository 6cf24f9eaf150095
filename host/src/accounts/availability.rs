//! The state of one account: its cooldowns by model, its load and its current credential.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{cooldown::Cooldown, credential_cache::CredentialCache};

/// How many models are kept before ended cooldowns are dropped. Model names come from clients, so
/// there may be any number.
const MODELS: usize = 256;

/// Shared by the snapshots in which the account's configuration is the same.
#[derive(Default)]
pub(super) struct Availability {
    load: AtomicUsize,
    cooldowns: Mutex<Cooldowns>,
    pub(super) credential: CredentialCache,
}

#[derive(Default)]
struct Cooldowns {
    models: HashMap<Arc<str>, Cooldown>,
    /// For all models, because there is no accepted credential.
    all: Option<Cooldown>,
}

/// Counts one exchange in the account's load until it is dropped.
pub(super) struct Load(Arc<Availability>);

impl Availability {
    /// The end of the account's cooldown for a model, if it must not be used for it now.
    pub(super) fn cooldown_until(&self, model: &str, now: Instant) -> Option<Instant> {
        let cooldowns = self.cooldowns.lock();
        let cooldowns = cooldowns
            .models
            .get(model)
            .into_iter()
            .chain(&cooldowns.all);
        cooldowns
            .filter(|cooldown| !cooldown.allows_use(now))
            .map(|cooldown| cooldown.until())
            .max()
    }

    /// Notes that the account is used for a model.
    pub(super) fn used(&self, model: &str, now: Instant) {
        let mut cooldowns = self.cooldowns.lock();
        let Cooldowns { models, all } = &mut *cooldowns;
        for cooldown in models.get_mut(model).into_iter().chain(all) {
            cooldown.used(now);
        }
    }

    /// Ends all cooldowns. Returns how many were active.
    pub(super) fn end_cooldowns(&self, now: Instant) -> usize {
        let ended = std::mem::take(&mut *self.cooldowns.lock());
        let all = ended.models.values().chain(&ended.all);
        all.filter(|cooldown| cooldown.is_active(now)).count()
    }

    /// Records a success. It ends an active cooldown only if the account was tried during it:
    /// otherwise its attempt began before that.
    pub(super) fn succeeded(&self, model: &str, now: Instant) {
        let mut cooldowns = self.cooldowns.lock();
        let over = cooldowns
            .models
            .get(model)
            .is_some_and(|cooldown| cooldown.ends_by_success(now));
        if over {
            cooldowns.models.remove(model);
        }
        cooldowns.all = cooldowns
            .all
            .filter(|cooldown| !cooldown.ends_by_success(now));
        drop(cooldowns);
        self.credential.accepted();
    }

    /// Starts or extends the cooldown for a model.
    pub(super) fn start_cooldown(
        &self,
        model: &str,
        retry_after: Option<Duration>,
        jitter: f64,
        now: Instant,
    ) {
        let mut cooldowns = self.cooldowns.lock();
        let previous = cooldowns.models.get(model).copied();
        if previous.is_none() && cooldowns.models.len() >= MODELS {
            cooldowns
                .models
                .retain(|_, cooldown| cooldown.is_active(now));
        }
        let cooldown = Cooldown::after(previous, retry_after, jitter, now);
        cooldowns.models.insert(model.into(), cooldown);
    }

    /// Starts a cooldown for all models: this long, or escalating without a time. Returns false and
    /// changes nothing if there is one already.
    pub(super) fn start_credential_cooldown(
        &self,
        retry_after: Option<Duration>,
        jitter: f64,
        now: Instant,
    ) -> bool {
        let mut cooldowns = self.cooldowns.lock();
        if cooldowns
            .all
            .is_some_and(|cooldown| cooldown.is_active(now))
        {
            return false;
        }
        cooldowns.all = Some(Cooldown::after(cooldowns.all, retry_after, jitter, now));
        true
    }

    /// Whether it was on cooldown because of its credential, and no longer is.
    pub(super) fn credential_cooldown_ended(&self, now: Instant) -> bool {
        self.cooldowns
            .lock()
            .all
            .is_some_and(|cooldown| !cooldown.is_active(now))
    }

    /// Whether it is on cooldown because of its credential.
    pub(super) fn on_credential_cooldown(&self, now: Instant) -> bool {
        self.cooldowns
            .lock()
            .all
            .is_some_and(|cooldown| cooldown.is_active(now))
    }

    /// Ends the cooldown because of its credential.
    pub(super) fn credential_is_new(&self) {
        self.cooldowns.lock().all = None;
    }

    /// All active cooldowns, for one model each or for all models.
    pub(super) fn cooldowns(&self, now: Instant) -> Vec<(Option<Arc<str>>, Instant)> {
        let cooldowns = self.cooldowns.lock();
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
        self.cooldowns.lock().models.len()
    }

    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    pub(super) fn busy(this: &Arc<Self>) -> Load {
        this.load.fetch_add(1, Ordering::Relaxed);
        Load(Arc::clone(this))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}
