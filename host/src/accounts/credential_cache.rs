//! Caches a credential that is renewed from time to time. It is kept while it is valid, and only
//! one exchange at a time obtains a new one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tracing::warn;

use crate::{
    config::Access,
    fault::{Blame, Fault, Kind},
    secret::Secret,
};

use super::{
    Account, command,
    credential::{CredentialError, Issued},
    token,
};

/// How long obtaining a credential may take. A helper may have to call a server, while an exchange
/// is waiting.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after an early renewal failed before the next one.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// The credential of one account.
#[derive(Default)]
pub(super) struct CredentialCache {
    current: Mutex<Current>,
    /// Held by the exchange that obtains the next credential.
    in_flight: Arc<tokio::sync::Mutex<InFlight>>,
}

#[derive(Default)]
struct Current {
    issued: Option<Issued>,
    /// The credential replaces a rejected one and has not been accepted yet. If it is rejected too,
    /// it is not renewed again.
    unproven: bool,
    /// The last rejected credential: obtaining it again is a failure.
    rejected: Option<Secret>,
}

/// What one renewal passes on to the next.
#[derive(Default)]
struct InFlight {
    /// The refresh token that the token server issued instead of the configured one.
    refresh_token: Option<Secret>,
    /// The last failure, shared by all exchanges that asked before it.
    failed: Option<(Instant, CredentialError)>,
}

/// The credential of an account that has no fixed key.
///
/// Renewal goes on if the exchange is dropped: the token server may have revoked the old refresh
/// token already.
pub(super) async fn credential(account: &Arc<Account>) -> Result<Secret, Fault> {
    within(account, TIMEOUT).await
}

async fn within(account: &Arc<Account>, limit: Duration) -> Result<Secret, Fault> {
    let cache = &account.availability.credential;
    let asked = Instant::now();
    if let Some(secret) = cache.fresh(asked) {
        return Ok(secret);
    }
    let in_flight = Arc::clone(&cache.in_flight);
    let in_flight = match (in_flight.clone().try_lock_owned(), cache.valid(asked)) {
        (Ok(in_flight), _) => in_flight,
        // Another exchange is renewing it, and it is still valid.
        (Err(_), Some(secret)) => return Ok(secret),
        (Err(_), None) => in_flight.lock_owned().await,
    };
    if let Some(secret) = cache.fresh(Instant::now()) {
        return Ok(secret);
    }
    if let Some((at, error)) = &in_flight.failed
        && asked <= *at
    {
        return Err(fault(account, error));
    }
    let made = tokio::spawn(make(Arc::clone(account), in_flight, limit)).await;
    match made {
        Ok(made) => made.map_err(|error| fault(account, &error)),
        Err(error) => Err(Fault::gateway("could not obtain a credential").from(error)),
    }
}

async fn make(
    account: Arc<Account>,
    mut in_flight: OwnedMutexGuard<InFlight>,
    limit: Duration,
) -> Result<Secret, CredentialError> {
    let cache = &account.availability.credential;
    let issued = issue(&account, &mut in_flight, limit).await;
    let now = Instant::now();
    if account.availability.credential_cooldown_ended(now) {
        cache.forget_rejected();
    }
    let error = match issued.and_then(|issued| cache.accept(issued)) {
        Ok(secret) => {
            in_flight.failed = None;
            account.availability.credential_is_new();
            return Ok(secret);
        }
        Err(error) => error,
    };
    if let Some(secret) = cache.postpone_renewal(now) {
        let (upstream, name) = (&account.upstream, &account.config.name);
        let detail = &error.detail;
        warn!(
            %upstream, account = %name, detail,
            "could not renew the account's credential; still using the old one"
        );
        return Ok(secret);
    }
    start_cooldown(&account, &error, now);
    in_flight.failed = Some((now, error.clone()));
    Err(error)
}

/// Gets a new credential from where the account has it from.
async fn issue(
    account: &Account,
    in_flight: &mut InFlight,
    limit: Duration,
) -> Result<Issued, CredentialError> {
    let issuing = async {
        match &account.config.access {
            Access::Key(key) => Ok(Issued {
                secret: key.clone(),
                expires: None,
                renew: None,
            }),
            Access::Command(line) => command::run(line).await,
            Access::OAuth2(access) => {
                token::refresh(access, &mut in_flight.refresh_token, &account.fetch).await
            }
        }
    };
    match tokio::time::timeout(limit, issuing).await {
        Ok(issued) => issued,
        Err(_) => Err(CredentialError {
            what: "it took too long",
            detail: format!("got nothing within {}", humantime::format_duration(limit)),
            lasting: false,
        }),
    }
}

/// Puts an account without a credential on cooldown for all models.
fn start_cooldown(account: &Account, error: &CredentialError, now: Instant) {
    let cooldown = error.lasting.then_some(account.credential_cooldown);
    let started = account
        .availability
        .start_credential_cooldown(cooldown, fastrand::f64(), now);
    let (upstream, name) = (&account.upstream, &account.config.name);
    let detail = &error.detail;
    match cooldown.map(humantime::format_duration) {
        _ if !started => {}
        Some(cooldown) => warn!(
            %upstream, account = %name, detail, %cooldown,
            "could not obtain a credential; account is on cooldown. {}",
            account.config.access.remedy()
        ),
        None => warn!(
            %upstream, account = %name, detail,
            "could not obtain a credential; account is on cooldown. Check its `command` or `oauth2` settings"
        ),
    }
}

impl CredentialCache {
    /// Notes that this credential was rejected. Returns whether there may be another one.
    pub(super) fn rejected(&self, used: &Secret) -> bool {
        let mut current = self.current.lock();
        match &current.issued {
            // Another exchange noted it first.
            None => true,
            Some(issued) if issued.secret != *used => true,
            Some(_) if current.unproven => false,
            Some(_) => {
                current.issued = None;
                current.unproven = true;
                current.rejected = Some(used.clone());
                true
            }
        }
    }

    /// Discards the current credential as rejected, so the next one must differ.
    pub(super) fn discard_rejected(&self) {
        let mut current = self.current.lock();
        if let Some(issued) = current.issued.take() {
            current.rejected = Some(issued.secret);
        }
    }

    /// Allows the rejected credential again after the cooldown, since a key may be reactivated.
    fn forget_rejected(&self) {
        self.current.lock().rejected = None;
    }

    /// Notes that the upstream accepted the credential.
    pub(super) fn accepted(&self) {
        self.current.lock().unproven = false;
    }

    /// The current credential, unless it is time to renew it.
    fn fresh(&self, now: Instant) -> Option<Secret> {
        self.before(now, |issued| issued.renew)
    }

    /// The current credential, unless it has expired.
    fn valid(&self, now: Instant) -> Option<Secret> {
        self.before(now, |issued| issued.expires)
    }

    fn before(&self, now: Instant, end: fn(&Issued) -> Option<Instant>) -> Option<Secret> {
        let current = self.current.lock();
        let issued = current.issued.as_ref()?;
        end(issued)
            .is_none_or(|end| now < end)
            .then(|| issued.secret.clone())
    }

    fn accept(&self, issued: Issued) -> Result<Secret, CredentialError> {
        let mut current = self.current.lock();
        if current.rejected.as_ref() == Some(&issued.secret) {
            return Err(CredentialError {
                what: "got the credential that the upstream rejected",
                detail: "got the same credential again, which the upstream has rejected".to_owned(),
                lasting: true,
            });
        }
        let secret = issued.secret.clone();
        current.issued = Some(issued);
        Ok(secret)
    }

    /// The current credential if it is still valid; its renewal is tried again later.
    fn postpone_renewal(&self, now: Instant) -> Option<Secret> {
        let secret = self.valid(now)?;
        if let Some(issued) = &mut self.current.lock().issued {
            issued.renew = Some(now + RENEWAL_PAUSE).min(issued.expires);
        }
        Some(secret)
    }
}

fn fault(account: &Account, error: &CredentialError) -> Fault {
    let what = format!(
        "no credential for an account of upstream `{}`: {}; see the gateway's log",
        account.upstream, error.what
    );
    Fault::new(Blame::Gateway, Kind::BadCredential, what)
}

#[cfg(test)]
mod tests;
