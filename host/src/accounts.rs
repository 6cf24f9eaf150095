//! As whom an attempt goes out: which account is ready for a model, and what its credential is.
//!
//! An [`Accounts`] belongs to a snapshot, but what is known of an account (its rests, how busy it is, its present
//! credential) is shared with the snapshots before and after, as long as its configuration stays the same.

mod cooldown; // how long an account rests after a failure
mod availability; // what is known of one account
mod credential_cache; // a credential that is made anew from time to time,
mod command; // by a program,
mod token; // by a token server
mod retry_after; // how long an upstream says to wait
mod thread_affinity; // which account made which message

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use tracing::warn;

use crate::{
    config::{self, Access, Upstream},
    fault::Fault,
    ids::{AccountId, UpstreamId},
    secret::Secret,
};

pub(crate) use retry_after::retry_after;
pub(crate) use token::Fetch;

use availability::{Availability, Load};
use thread_affinity::ThreadAffinity;

/// The accounts of all upstreams.
pub(crate) struct Accounts {
    /// By place in the configuration.
    upstreams: Vec<Held>,
    threads: Arc<ThreadAffinity>,
}

/// An upstream's accounts, in file order.
struct Held {
    name: UpstreamId,
    accounts: Vec<Arc<Account>>,
}

struct Account {
    upstream: UpstreamId,
    config: config::Account,
    credential_cooldown: Duration,
    fetch: Fetch,
    availability: Arc<Availability>,
}

/// What an account is wanted for.
pub(crate) struct AccountQuery<'a> {
    pub(crate) upstream: usize,
    pub(crate) model: &'a str,
    pub(crate) session: Option<&'a str>,
    /// No other will do: it made the message that this one continues.
    pub(crate) only: Option<&'a AccountId>,
    /// Those that failed this exchange already.
    pub(crate) avoid: &'a [AccountId],
}

pub(crate) enum Selection {
    Available(Lease),
    /// All that would do rest, the first of them until then.
    OnCooldown {
        until: Instant,
    },
    /// All are to be avoided, or there is none.
    None,
}

/// An account in use: it counts as busy with one more exchange until this is dropped.
pub(crate) struct Lease {
    account: AccountId,
    _load: Load,
}

/// What an attempt says about its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountOutcome {
    Success,
    /// Limited, overloaded or out of order; for as long as the upstream told, where it did.
    Cooldown {
        retry_after: Option<Duration>,
    },
    /// The upstream refused the credential.
    BadCredential,
    /// Nothing: the client's own error, or a probe.
    Neutral,
}

/// An account that rests, for those who look on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountCooldown {
    pub(crate) upstream: UpstreamId,
    pub(crate) account: AccountId,
    /// None: for all models.
    pub(crate) model: Option<Arc<str>>,
    pub(crate) until: Instant,
}

impl Accounts {
    /// Each upstream comes with what its token requests are sent by. What `previous` knows of an account is kept where the
    /// account's configuration is the same.
    pub(crate) fn new(
        upstreams: Vec<(Upstream, Fetch)>,
        credential_cooldown: Duration,
        previous: Option<&Accounts>,
    ) -> Self {
        let held = |(upstream, fetch): (Upstream, Fetch)| {
            let account = |config: config::Account| {
                let same = previous.and_then(|all| all.same(&upstream.name, &config));
                Arc::new(Account {
                    upstream: upstream.name.clone(),
                    config,
                    credential_cooldown,
                    fetch: Arc::clone(&fetch),
                    availability: same.unwrap_or_default(),
                })
            };
            Held {
                accounts: upstream.accounts.into_iter().map(account).collect(),
                name: upstream.name.clone(),
            }
        };
        Self {
            upstreams: upstreams.into_iter().map(held).collect(),
            threads: previous
                .map(|all| Arc::clone(&all.threads))
                .unwrap_or_default(),
        }
    }

    /// Whether the upstream has accounts at all.
    pub(crate) fn any(&self, upstream: usize) -> bool {
        !self.of(upstream).is_empty()
    }

    pub(crate) fn count(&self, upstream: usize) -> usize {
        self.of(upstream).len()
    }

    /// The one that things belong to which belong to an account.
    pub(crate) fn first(&self, upstream: usize) -> Option<&AccountId> {
        self.of(upstream)
            .first()
            .map(|account| &account.config.name)
    }

    /// The account for the next attempt at an upstream.
    ///
    /// A session keeps its account for as long as it is ready, because the upstream's prompt cache belongs to the account.
    /// Replicas of the gateway agree on it without talking, and an account more or less moves only its own share. Without
    /// a session the least busy goes, the first in the file among equals.
    pub(crate) fn pick(&self, ask: &AccountQuery<'_>, now: Instant) -> Selection {
        let fits = |account: &&Arc<Account>| {
            let name = &account.config.name;
            ask.only.is_none_or(|only| only == name) && !ask.avoid.contains(name)
        };
        let mut soonest = None;
        let mut ready = Vec::new();
        for account in self.of(ask.upstream).iter().filter(fits) {
            match account.availability.cooldown_until(ask.model, now) {
                None => ready.push(account),
                Some(until) => {
                    soonest = Some(soonest.map_or(until, |soonest: Instant| soonest.min(until)));
                }
            }
        }
        let chosen = match ask.session {
            // Where there is no choice nothing need be weighed.
            Some(session) if ready.len() > 1 => ready
                .into_iter()
                .max_by_key(|account| weight(session, &account.config.name)),
            _ => ready
                .into_iter()
                .min_by_key(|account| account.availability.load()),
        };
        match (chosen, soonest) {
            (Some(account), _) => Selection::Available(Lease {
                account: account.config.name.clone(),
                _load: Availability::busy(&account.availability),
            }),
            (None, Some(until)) => Selection::OnCooldown { until },
            (None, None) => Selection::None,
        }
    }

    /// What became of an attempt. Call it once for each attempt that was sent.
    pub(crate) fn report(
        &self,
        upstream: usize,
        account: &AccountId,
        model: &str,
        outcome: AccountOutcome,
        now: Instant,
    ) {
        let Some(account) = self.find(upstream, account) else {
            return;
        };
        let availability = &account.availability;
        match outcome {
            AccountOutcome::Success => availability.succeeded(model, now),
            AccountOutcome::Cooldown { retry_after } => {
                availability.start_cooldown(model, retry_after, fastrand::f64(), now)
            }
            AccountOutcome::BadCredential => account.credential_refused_cooldown(now),
            AccountOutcome::Neutral => {}
        }
    }

    /// The credential of an account as it is now.
    ///
    /// Without one the account rests already when the fault comes: do not report that again.
    pub(crate) async fn credential(
        &self,
        upstream: usize,
        account: &AccountId,
    ) -> Result<Secret, Fault> {
        let Some(account) = self.find(upstream, account) else {
            return Err(Fault::gateway("the account is gone from the configuration"));
        };
        match &account.config.access {
            Access::Key(key) => Ok(key.clone()),
            Access::Command(_) | Access::OAuth2(_) => credential_cache::credential(account).await,
        }
    }

    /// Tells that the upstream refused this credential of the account. True: [`Accounts::credential`] may have another
    /// one now, so the account is worth one more attempt before it is reported.
    pub(crate) fn credential_refused(
        &self,
        upstream: usize,
        account: &AccountId,
        used: &Secret,
    ) -> bool {
        let Some(account) = self.find(upstream, account) else {
            return false;
        };
        match &account.config.access {
            Access::Key(_) => false,
            Access::Command(_) | Access::OAuth2(_) => account.availability.credential.refused(used),
        }
    }

    /// Remembers which account made a message.
    pub(crate) fn remember_message(
        &self,
        message_id: &str,
        upstream: usize,
        account: &AccountId,
        now: Instant,
    ) {
        if let Some(held) = self.upstreams.get(upstream) {
            self.threads
                .remember_message(message_id, held.name.clone(), account.clone(), now);
        }
    }

    /// The account that made a message, where that is known and the account still there.
    pub(crate) fn account_of_message(
        &self,
        message_id: &str,
        now: Instant,
    ) -> Option<(usize, AccountId)> {
        let (name, account) = self.threads.account_of_message(message_id, now)?;
        let upstream = self.upstreams.iter().position(|held| held.name == name)?;
        self.find(upstream, &account)?;
        Some((upstream, account))
    }

    /// Whether each account of an upstream, of which there is one at least, rests for want of a good credential.
    pub(crate) fn all_credentials_refused(&self, upstream: usize, now: Instant) -> bool {
        let accounts = self.of(upstream);
        let refused = |account: &Arc<Account>| account.availability.on_credential_cooldown(now);
        !accounts.is_empty() && accounts.iter().all(refused)
    }

    pub(crate) fn cooldowns(&self, now: Instant) -> Vec<AccountCooldown> {
        let mut all = Vec::new();
        for held in &self.upstreams {
            for account in &held.accounts {
                let cooldowns = account.availability.cooldowns(now).into_iter();
                all.extend(cooldowns.map(|(model, until)| AccountCooldown {
                    upstream: held.name.clone(),
                    account: account.config.name.clone(),
                    model,
                    until,
                }));
            }
        }
        all
    }

    fn of(&self, upstream: usize) -> &[Arc<Account>] {
        self.upstreams
            .get(upstream)
            .map_or(&[], |held| &held.accounts)
    }

    fn find(&self, upstream: usize, name: &AccountId) -> Option<&Arc<Account>> {
        self.of(upstream)
            .iter()
            .find(|account| account.config.name == *name)
    }

    fn same(&self, upstream: &UpstreamId, account: &config::Account) -> Option<Arc<Availability>> {
        let held = self.upstreams.iter().find(|held| held.name == *upstream)?;
        let mut accounts = held.accounts.iter();
        let same = accounts.find(|known| {
            known.config.name == account.name && known.config.access == account.access
        })?;
        Some(Arc::clone(&same.availability))
    }
}

impl Account {
    /// The upstream refused the credential, so other models are no use either.
    fn credential_refused_cooldown(&self, now: Instant) {
        let cooldowns =
            self.availability
                .start_credential_cooldown(Some(self.credential_cooldown), 0.0, now);
        self.availability.credential.discard_refused();
        // One line for all exchanges that met the refusal.
        if cooldowns {
            warn!(
                upstream = %self.upstream,
                account = %self.config.name,
                cooldown = %humantime::format_duration(self.credential_cooldown),
                "the upstream refused the account's credential and the account rests: {}",
                self.config.access.way_out()
            );
        }
    }
}

impl Access {
    /// What somebody has to do when the credential is refused.
    fn way_out(&self) -> &'static str {
        match self {
            Self::Key(_) => "put a valid `key` into the configuration",
            Self::Command(_) => "see that its `command` prints a valid key",
            Self::OAuth2(_) => "sign in anew and put the `refresh_token` into the configuration",
        }
    }
}

impl Lease {
    pub(crate) fn account(&self) -> &AccountId {
        &self.account
    }
}

/// Rendezvous hashing: the account with the highest weight has the session. SHA-256, because the standard library's
/// hash may change between releases, and then replicas would disagree.
fn weight(session: &str, account: &AccountId) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(session.as_bytes());
    hash.update([0]);
    hash.update(account.as_str().as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
