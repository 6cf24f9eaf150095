//! Account selection: which account is available for a model, and its credential.
//!
//! An [`Accounts`] belongs to a snapshot. The state of an account (its cooldowns, its load, its
//! current credential) is shared with earlier and later snapshots for as long as its configuration
//! is the same.

mod cooldown; // how long an account is on cooldown after a failure (pure)
mod availability; // the state of one account
mod credential; // an issued credential, or why there is none
mod credential_cache; // credentials that are renewed
mod command; // a credential from a program
mod token; // a credential from a token server
mod retry_after; // how long an upstream says to wait (pure)
mod affinity; // which account made what

use std::{
    borrow::Cow,
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

use affinity::{Affinities, Affinity};
use availability::{Availability, Load};

/// The accounts of all upstreams.
pub(crate) struct Accounts {
    /// By the upstream's index in the configuration.
    upstreams: Vec<UpstreamAccounts>,
    affinities: Arc<Affinities>,
}

/// An upstream's accounts, in file order.
struct UpstreamAccounts {
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

/// What an account is needed for.
pub(crate) struct AccountQuery<'a> {
    pub(crate) upstream: usize,
    pub(crate) model: &'a str,
    pub(crate) session: Option<&'a str>,
    /// The account that served the conversation so far.
    pub(crate) current: Option<&'a AccountId>,
    /// The only account that may be used, because it made what the request continues or refers to.
    pub(crate) only: Option<&'a AccountId>,
    /// Accounts that have failed in this exchange.
    pub(crate) avoid: &'a [AccountId],
}

/// What an account made, or serves.
pub(crate) enum Made<'a> {
    /// A message of a thread, by its id.
    Message(&'a str),
    /// The last response of a conversation at an upstream.
    Conversation {
        upstream: &'a UpstreamId,
        conversation: &'a str,
    },
    /// An uploaded file, by its id.
    File(&'a str),
}

impl Made<'_> {
    fn key(&self) -> Cow<'_, str> {
        match self {
            Self::Message(id) | Self::File(id) => Cow::Borrowed(id),
            // No name of an upstream has a slash.
            Self::Conversation {
                upstream,
                conversation,
            } => Cow::Owned(format!("{upstream}/{conversation}")),
        }
    }
}

impl Affinities {
    fn of(&self, what: &Made<'_>) -> &Affinity {
        match what {
            Made::Message(_) => &self.messages,
            Made::Conversation { .. } => &self.conversations,
            Made::File(_) => &self.files,
        }
    }
}

/// The result of an [`AccountQuery`].
pub(crate) enum Selection {
    Available(Lease),
    /// All suitable accounts are on cooldown, the first of them until this time.
    OnCooldown {
        until: Instant,
    },
    /// No account is suitable.
    None,
}

/// An account in use. Until this is dropped, it counts as busy with one more exchange.
pub(crate) struct Lease {
    account: AccountId,
    _load: Load,
}

/// What an attempt says about its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccountOutcome {
    Success,
    /// Rate limited, overloaded or failing; for this long, if the upstream said so.
    Cooldown {
        retry_after: Option<Duration>,
    },
    /// The upstream rejected the credential, or the account itself, for this reason.
    BadCredential {
        reason: String,
    },
    /// The account has no credit left; for this long, if the upstream said so.
    OutOfCredit {
        retry_after: Option<Duration>,
    },
    /// Nothing, such as a client error or a probe.
    Neutral,
}

impl AccountOutcome {
    /// Whether the account goes on cooldown.
    pub(crate) fn starts_cooldown(&self) -> bool {
        !matches!(self, Self::Success | Self::Neutral)
    }
}

/// An account on cooldown, for metrics and the inspector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountCooldown {
    pub(crate) upstream: UpstreamId,
    pub(crate) account: AccountId,
    /// `None` for all models.
    pub(crate) model: Option<Arc<str>>,
    pub(crate) until: Instant,
}

impl Accounts {
    /// Each upstream comes with the function that sends its token requests. The state of an account
    /// is kept from `previous` if the account's configuration is the same.
    pub(crate) fn new(
        upstreams: Vec<(Upstream, Fetch)>,
        credential_cooldown: Duration,
        previous: Option<&Accounts>,
    ) -> Self {
        let accounts = |(upstream, fetch): (Upstream, Fetch)| {
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
            UpstreamAccounts {
                accounts: upstream.accounts.into_iter().map(account).collect(),
                name: upstream.name.clone(),
            }
        };
        Self {
            upstreams: upstreams.into_iter().map(accounts).collect(),
            affinities: previous
                .map(|all| Arc::clone(&all.affinities))
                .unwrap_or_default(),
        }
    }

    /// Whether the upstream has any accounts.
    pub(crate) fn any(&self, upstream: usize) -> bool {
        !self.of(upstream).is_empty()
    }

    pub(crate) fn count(&self, upstream: usize) -> usize {
        self.of(upstream).len()
    }

    /// The account for requests that need any one account, such as a list of models.
    pub(crate) fn first(&self, upstream: usize) -> Option<&AccountId> {
        self.of(upstream)
            .first()
            .map(|account| &account.config.name)
    }

    /// The account of this name.
    pub(crate) fn named(&self, upstream: usize, name: &AccountId) -> Option<&AccountId> {
        Some(&self.find(upstream, name)?.config.name)
    }

    /// The account for the next attempt at an upstream.
    ///
    /// A conversation keeps the account that it has for as long as that is available, because the
    /// upstream's prompt cache belongs to the account, and some thinking does. If it is not, an
    /// account of the same organization is preferred.
    ///
    /// Otherwise the account follows from the session. Replicas of the gateway choose the same
    /// account without communication, and adding or removing an account moves only its own share
    /// of the sessions. Without a session the least busy account is picked, the first in the file
    /// among equals.
    pub(crate) fn pick(&self, query: &AccountQuery<'_>, now: Instant) -> Selection {
        let suits = |account: &&Arc<Account>| {
            let name = &account.config.name;
            query.only.is_none_or(|only| only == name) && !query.avoid.contains(name)
        };
        let mut soonest = None;
        let mut available = Vec::new();
        for account in self.of(query.upstream).iter().filter(suits) {
            match account.availability.cooldown_until(query.model, now) {
                None => available.push(account),
                Some(until) => {
                    soonest = Some(soonest.map_or(until, |soonest: Instant| soonest.min(until)));
                }
            }
        }
        let current = query
            .current
            .and_then(|name| self.find(query.upstream, name));
        if let Some(current) = current {
            prefer(&mut available, |account| {
                account.config.organization.is_some()
                    && account.config.organization == current.config.organization
            });
            prefer(&mut available, |account| Arc::ptr_eq(account, current));
        }
        let chosen = match query.session {
            // A single account needs no hashing.
            Some(session) if available.len() > 1 => available
                .into_iter()
                .max_by_key(|account| weight(session, &account.config.name)),
            _ => available
                .into_iter()
                .min_by_key(|account| account.availability.load()),
        };
        match (chosen, soonest) {
            (Some(account), _) => {
                account.availability.used(query.model, now);
                Selection::Available(Lease {
                    account: account.config.name.clone(),
                    _load: Availability::busy(&account.availability),
                })
            }
            (None, Some(until)) => Selection::OnCooldown { until },
            (None, None) => Selection::None,
        }
    }

    /// Reports what an attempt says about its account. Call it once for each attempt that was sent.
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
            AccountOutcome::BadCredential { reason } => {
                account.start_credential_cooldown(&reason, now);
            }
            AccountOutcome::OutOfCredit { retry_after } => {
                account.start_credit_cooldown(model, retry_after, now);
            }
            AccountOutcome::Neutral => {}
        }
    }

    /// The current credential of an account.
    ///
    /// If this fails, the account is on cooldown already: do not report the failure again.
    pub(crate) async fn credential(
        &self,
        upstream: usize,
        account: &AccountId,
    ) -> Result<Secret, Fault> {
        let Some(account) = self.find(upstream, account) else {
            return Err(Fault::gateway("the account is no longer configured"));
        };
        match &account.config.access {
            Access::Key(key) => Ok(key.clone()),
            Access::Command(_) | Access::OAuth2(_) => credential_cache::credential(account).await,
        }
    }

    /// Notes that the upstream rejected this credential of the account. Returns whether
    /// [`Accounts::credential`] may return another one now: then the account is worth one more
    /// attempt before the rejection is reported.
    pub(crate) fn credential_rejected(
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
            Access::Command(_) | Access::OAuth2(_) => {
                account.availability.credential.rejected(used)
            }
        }
    }

    /// Remembers which account made something, or served it last.
    pub(crate) fn remember(
        &self,
        what: &Made<'_>,
        upstream: usize,
        account: &AccountId,
        now: Instant,
    ) {
        if let Some(of_upstream) = self.upstreams.get(upstream) {
            let affinity = self.affinities.of(what);
            affinity.remember(&what.key(), &of_upstream.name, account, now);
        }
    }

    /// The upstream and the account that made something, if they are known and still configured.
    pub(crate) fn made(&self, what: &Made<'_>, now: Instant) -> Option<(usize, AccountId)> {
        let (name, account) = self.affinities.of(what).account_of(&what.key(), now)?;
        let upstream = self.upstreams.iter().position(|of| of.name == name)?;
        self.find(upstream, &account)?;
        Some((upstream, account))
    }

    /// Whether any uploaded file is remembered.
    pub(crate) fn know_files(&self) -> bool {
        !self.affinities.files.is_empty()
    }

    /// The organization of an account, if the configuration names it.
    pub(crate) fn organization(&self, upstream: usize, account: &AccountId) -> Option<Arc<str>> {
        self.find(upstream, account)?.config.organization.clone()
    }

    /// Logs that a conversation goes on with an account of another organization than the one that
    /// served it so far, if it had one.
    pub(crate) fn warn_of_new_organization(
        &self,
        upstream: usize,
        from: &AccountId,
        to: &AccountId,
        conversation: &str,
    ) {
        let find = |name| self.find(upstream, name);
        let (Some(from), Some(to)) = (find(from), find(to)) else {
            return;
        };
        let Some(left) = &from.config.organization else {
            return;
        };
        if to.config.organization.as_ref() != Some(left) {
            warn!(
                upstream = %to.upstream,
                account = %to.config.name,
                previous_account = %from.config.name,
                conversation,
                "the conversation leaves the organization `{left}`: thinking of models that bind it \
                 to the account is lost, and so are its prompt cache, files and containers"
            );
        }
    }

    /// Whether the upstream has accounts and all of them are on cooldown because of their
    /// credential.
    pub(crate) fn all_credentials_rejected(&self, upstream: usize, now: Instant) -> bool {
        let accounts = self.of(upstream);
        let rejected = |account: &Arc<Account>| account.availability.on_credential_cooldown(now);
        !accounts.is_empty() && accounts.iter().all(rejected)
    }

    /// All accounts on cooldown.
    pub(crate) fn cooldowns(&self, now: Instant) -> Vec<AccountCooldown> {
        let mut all = Vec::new();
        for upstream in &self.upstreams {
            for account in &upstream.accounts {
                let cooldowns = account.availability.cooldowns(now).into_iter();
                all.extend(cooldowns.map(|(model, until)| AccountCooldown {
                    upstream: upstream.name.clone(),
                    account: account.config.name.clone(),
                    model,
                    until,
                }));
            }
        }
        all
    }

    /// Ends the cooldowns of the accounts that fit, and returns how many there were. Without a name
    /// every upstream or account fits.
    pub(crate) fn end_cooldowns(
        &self,
        upstream: Option<&str>,
        account: Option<&str>,
        now: Instant,
    ) -> usize {
        let upstreams = self.upstreams.iter();
        let upstreams = upstreams.filter(|of| upstream.is_none_or(|name| name == of.name.as_str()));
        let accounts = upstreams.flat_map(|of| &of.accounts);
        let fits = |of: &&Arc<Account>| account.is_none_or(|name| name == of.config.name.as_str());
        let ended = accounts
            .filter(fits)
            .map(|of| of.availability.end_cooldowns(now));
        ended.sum()
    }

    fn of(&self, upstream: usize) -> &[Arc<Account>] {
        self.upstreams
            .get(upstream)
            .map_or(&[], |upstream| &upstream.accounts)
    }

    fn find(&self, upstream: usize, name: &AccountId) -> Option<&Arc<Account>> {
        self.of(upstream)
            .iter()
            .find(|account| account.config.name == *name)
    }

    /// The state of an account with the same configuration.
    fn same(&self, upstream: &UpstreamId, account: &config::Account) -> Option<Arc<Availability>> {
        let known = self
            .upstreams
            .iter()
            .find(|known| known.name == *upstream)?;
        let mut accounts = known.accounts.iter();
        let same = accounts.find(|known| {
            known.config.name == account.name && known.config.access == account.access
        })?;
        Some(Arc::clone(&same.availability))
    }
}

impl Account {
    /// Puts the account on cooldown for all models, because the upstream rejected its credential or
    /// the account itself.
    fn start_credential_cooldown(&self, reason: &str, now: Instant) {
        let started =
            self.availability
                .start_credential_cooldown(Some(self.credential_cooldown), 0.0, now);
        self.availability.credential.discard_rejected();
        // One line for all exchanges that had this credential rejected.
        if started {
            let (what, remedy) = match is_about_the_credential(reason) {
                true => ("the account's credential", self.config.access.remedy()),
                false => (
                    "the account",
                    "The reason says what to change at the upstream",
                ),
            };
            warn!(
                upstream = %self.upstream,
                account = %self.config.name,
                cooldown = %humantime::format_duration(self.credential_cooldown),
                reason,
                "the upstream rejected {what}; account is on cooldown. {remedy}"
            );
        }
    }

    /// Puts the account on cooldown for a model, because it has no credit for it.
    fn start_credit_cooldown(&self, model: &str, retry_after: Option<Duration>, now: Instant) {
        let cooldown = retry_after.unwrap_or(self.credential_cooldown);
        // One line for all exchanges that find the account without credit.
        if self.availability.cooldown_until(model, now).is_none() {
            warn!(
                upstream = %self.upstream,
                account = %self.config.name,
                model,
                cooldown = %humantime::format_duration(cooldown),
                "the account is out of credit; account is on cooldown for the model"
            );
        }
        self.availability
            .start_cooldown(model, Some(cooldown), 0.0, now);
    }
}

/// Whether an upstream's reason for a rejection is about the credential and not about the account's
/// location, billing or state. A rejection without a reason is.
fn is_about_the_credential(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    let words = ["key", "token", "credential", "authent", "authoriz"];
    reason.is_empty() || words.iter().any(|word| reason.contains(word))
}

impl Access {
    /// What to do about a rejected credential.
    fn remedy(&self) -> &'static str {
        match self {
            Self::Key(_) => "Put a valid `key` into the configuration",
            Self::Command(_) => "Make its `command` print a valid key",
            Self::OAuth2(_) => {
                "Sign in again and put the new `refresh_token` into the configuration"
            }
        }
    }
}

impl Lease {
    pub(crate) fn account(&self) -> &AccountId {
        &self.account
    }
}

/// Keeps only the accounts that are preferred, if there are any.
fn prefer(accounts: &mut Vec<&Arc<Account>>, preferred: impl Fn(&Arc<Account>) -> bool) {
    if accounts.iter().any(|account| preferred(account)) {
        accounts.retain(|account| preferred(account));
    }
}

/// Rendezvous hashing: the account with the highest weight gets the session. SHA-256, because the
/// standard library's hash may change between releases, and then replicas would disagree.
fn weight(session: &str, account: &AccountId) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(session.as_bytes());
    hash.update([0]);
    hash.update(account.as_str().as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
