//! A credential that is made anew from time to time: kept while it is good, made by one at a time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::OwnedMutexGuard;
use tracing::warn;

use crate::{
    config::Access,
    fault::{Blame, Fault, Kind},
    secret::Secret,
};

use super::{Account, command, token};

/// A helper may have to ask a server of its own; an exchange is waiting meanwhile.
const LIMIT: Duration = Duration::from_secs(30);

/// After a renewal in good time has failed, so long before the next try.
const PAUSE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct CredentialCache {
    current: Mutex<Current>,
    /// Held by the one that makes the next.
    in_flight: Arc<tokio::sync::Mutex<InFlight>>,
}

#[derive(Default)]
struct Current {
    issued: Option<Issued>,
    /// It was made, or shall be, because the one before was refused. A success ends that.
    on_trial: bool,
    /// The last that was refused: to be given it again is a failure.
    refused: Option<Secret>,
}

/// A credential and for how long it is good; without a time, until it is refused.
#[derive(Clone)]
pub(super) struct Issued {
    pub(super) secret: Secret,
    pub(super) expires: Option<Instant>,
    /// Before it expires, so that nobody goes out with one that expires on the way.
    pub(super) renew: Option<Instant>,
}

/// What the makers hand on to each other.
#[derive(Default)]
pub(super) struct InFlight {
    /// In place of the configured one, where the token server gave another.
    pub(super) refresh_token: Option<Secret>,
    /// Those who asked before it failed share the failure.
    failed: Option<(Instant, CredentialError)>,
}

/// Why there is no credential.
#[derive(Clone, Debug)]
pub(super) struct CredentialError {
    /// For everyone.
    pub(super) what: &'static str,
    /// For the log: it may name what is nobody else's business.
    pub(super) detail: String,
    /// Somebody has to do something about it.
    pub(super) lasting: bool,
}

/// The credential of an account that has no fixed one.
///
/// Making one goes on when the asking exchange is dropped: a token server may have taken the old refresh token back already.
pub(super) async fn credential(account: &Arc<Account>) -> Result<Secret, Fault> {
    within(account, LIMIT).await
}

async fn within(account: &Arc<Account>, limit: Duration) -> Result<Secret, Fault> {
    let cache = &account.availability.credential;
    let asked = Instant::now();
    if let Some(secret) = cache.unless_old(asked) {
        return Ok(secret);
    }
    let in_flight = Arc::clone(&cache.in_flight);
    let in_flight = match (in_flight.clone().try_lock_owned(), cache.still_good(asked)) {
        (Ok(in_flight), _) => in_flight,
        // Another exchange renews it in good time.
        (Err(_), Some(secret)) => return Ok(secret),
        (Err(_), None) => in_flight.lock_owned().await,
    };
    if let Some(secret) = cache.unless_old(Instant::now()) {
        return Ok(secret);
    }
    if let Some((at, trouble)) = &in_flight.failed
        && asked <= *at
    {
        return Err(fault(account, trouble));
    }
    let made = tokio::spawn(make(Arc::clone(account), in_flight, limit)).await;
    match made {
        Ok(made) => made.map_err(|trouble| fault(account, &trouble)),
        Err(error) => Err(Fault::gateway("a credential could not be made").from(error)),
    }
}

async fn make(
    account: Arc<Account>,
    mut in_flight: OwnedMutexGuard<InFlight>,
    limit: Duration,
) -> Result<Secret, CredentialError> {
    let cache = &account.availability.credential;
    let making = async {
        match &account.config.access {
            Access::Key(key) => Ok(Issued {
                secret: key.clone(),
                expires: None,
                renew: None,
            }),
            Access::Command(line) => command::run(line).await,
            Access::OAuth2(access) => token::refresh(access, &mut in_flight, &account.fetch).await,
        }
    };
    let made = match tokio::time::timeout(limit, making).await {
        Ok(made) => made,
        Err(_) => Err(CredentialError {
            what: "it did not come in time",
            detail: format!("nothing within {}", humantime::format_duration(limit)),
            lasting: false,
        }),
    };
    let now = Instant::now();
    if account.availability.credential_cooldown_ended(now) {
        cache.forget_refused();
    }
    let trouble = match made.and_then(|issued| cache.accept(issued)) {
        Ok(secret) => {
            in_flight.failed = None;
            account.availability.credential_is_new();
            return Ok(secret);
        }
        Err(trouble) => trouble,
    };
    let upstream = &account.upstream;
    let name = &account.config.name;
    let detail = &trouble.detail;
    if let Some(secret) = cache.put_off(now) {
        warn!(%upstream, account = %name, detail, "the account's credential could not be renewed yet");
        return Ok(secret);
    }
    let cooldown = trouble.lasting.then_some(account.credential_cooldown);
    let begins = account
        .availability
        .start_credential_cooldown(cooldown, fastrand::f64(), now);
    match cooldown.map(humantime::format_duration) {
        _ if !begins => {}
        Some(cooldown) => warn!(
            %upstream, account = %name, detail, %cooldown,
            "the account has no credential and rests: renew it where it comes from"
        ),
        None => warn!(
            %upstream, account = %name, detail,
            "the account has no credential and rests for a while: see that what makes it works"
        ),
    }
    in_flight.failed = Some((now, trouble.clone()));
    Err(trouble)
}

impl CredentialCache {
    /// Tells that this one was refused. True: there may be another one.
    pub(super) fn refused(&self, used: &Secret) -> bool {
        let mut current = self.lock();
        match &current.issued {
            // Another exchange met the refusal first.
            None => true,
            Some(issued) if issued.secret != *used => true,
            Some(_) if current.on_trial => false,
            Some(_) => {
                current.issued = None;
                current.on_trial = true;
                current.refused = Some(used.clone());
                true
            }
        }
    }

    /// The account rests because the present one is no good: the next shall be another.
    pub(super) fn discard_refused(&self) {
        let mut current = self.lock();
        if let Some(issued) = current.issued.take() {
            current.refused = Some(issued.secret);
        }
    }

    /// A key may be revived, so after its rest the account may go out with the refused one again.
    fn forget_refused(&self) {
        self.lock().refused = None;
    }

    pub(super) fn proved_good(&self) {
        self.lock().on_trial = false;
    }

    fn unless_old(&self, now: Instant) -> Option<Secret> {
        self.before(now, |issued| issued.renew)
    }

    fn still_good(&self, now: Instant) -> Option<Secret> {
        self.before(now, |issued| issued.expires)
    }

    fn before(&self, now: Instant, end: fn(&Issued) -> Option<Instant>) -> Option<Secret> {
        let current = self.lock();
        let issued = current.issued.as_ref()?;
        end(issued)
            .is_none_or(|end| now < end)
            .then(|| issued.secret.clone())
    }

    fn accept(&self, issued: Issued) -> Result<Secret, CredentialError> {
        let mut current = self.lock();
        if current.refused.as_ref() == Some(&issued.secret) {
            return Err(CredentialError {
                what: "what came is what the upstream refused",
                detail: "it came again, though the upstream has refused it".to_owned(),
                lasting: true,
            });
        }
        let secret = issued.secret.clone();
        current.issued = Some(issued);
        Ok(secret)
    }

    /// The present one, where it can do for a little longer.
    fn put_off(&self, now: Instant) -> Option<Secret> {
        let secret = self.still_good(now)?;
        if let Some(issued) = &mut self.lock().issued {
            issued.renew = Some(now + PAUSE).min(issued.expires);
        }
        Some(secret)
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        // Nothing in here can be half done.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a text can be a credential: it goes into a header.
pub(super) fn is_credential(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

fn fault(account: &Account, trouble: &CredentialError) -> Fault {
    let what = format!(
        "no credential for an account of upstream `{}`: {}; the gateway's log has more",
        account.upstream, trouble.what
    );
    Fault::new(Blame::Gateway, Kind::BadCredential, what)
}

#[cfg(test)]
mod tests;
