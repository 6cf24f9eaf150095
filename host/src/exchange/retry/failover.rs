//! Failover: the targets of a request's route, and which of them the next attempt uses.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use witgate_contract::ErrorType;

use crate::{
    accounts::{AccountOutcome, AccountQuery, Accounts, Lease, Made, Selection},
    config::{Config, Destination},
    fault::{Blame, Fault, Kind},
    ids::AccountId,
    message::{Request, Target},
    pipeline::Run,
};

use crate::exchange::{
    Snapshot,
    affinity::{self, Conversation},
    attempt::AttemptEnd,
    causes::{Cause, Causes},
    thread::Thread,
};

use super::policy::RetryTarget;

/// The targets of one exchange, which of them is used now, and which are used up.
pub(in crate::exchange) struct Failover {
    /// One for each destination of the route, in order.
    targets: Vec<Target>,
    /// The index of the current target.
    at: usize,
    /// The account of the current attempt; it counts as busy while this is held.
    lease: Option<Lease>,
    attempt: u32,
    /// How many attempts in a row before the current one used the same account.
    repeats: u32,
    /// What was tried: the target's index and the account; `None` is the client's own credential.
    tried: Vec<(usize, Option<AccountId>)>,
    /// Unreachable upstreams.
    unreachable: Vec<usize>,
    /// Targets, by index, whose upstream does not have their model.
    without_model: Vec<usize>,
    /// The only account that may be used, because it made what the request continues or refers to.
    pinned: Option<AccountId>,
    /// Whether other accounts could serve the request if the client sent the whole conversation.
    whole_could_fail_over: bool,
    /// Whether an account was reported as unusable: its credential was rejected, or it is out of
    /// credit.
    reported: bool,
    session: Option<Arc<str>>,
    conversation: Option<Conversation>,
    accounts: Arc<Accounts>,
    causes: Arc<Causes>,
    max_cooldown_wait: Duration,
}

/// There is no target for another attempt.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::exchange) struct NoTarget {
    /// When the first account on cooldown becomes available; `None` if none is on cooldown.
    pub(in crate::exchange) available_at: Option<Instant>,
}

/// What can be used now.
enum Found {
    Available(usize, Option<Lease>),
    OnCooldown(Instant),
    NoTarget,
}

/// Whether any route serves a model.
pub(crate) fn is_routed(config: &Config, model: &str) -> bool {
    !destinations(config, model, 1).is_empty()
}

/// The destinations of a model: those of the first route that matches; without any route, all
/// upstreams in file order.
fn destinations(config: &Config, model: &str, upstreams: usize) -> Vec<Destination> {
    if config.routes.is_empty() {
        return (0..upstreams)
            .map(|upstream| Destination {
                upstream,
                model: None,
            })
            .collect();
    }
    let Some((route, short)) = config.route(model) else {
        return Vec::new();
    };
    let mut destinations = route.to.clone();
    for to in &mut destinations {
        // Only Claude Code knows the suffix that the route does not.
        to.model = to.model.take().or_else(|| short.map(str::to_owned));
    }
    destinations
}

impl Failover {
    /// Picks the first attempt's target, waiting for an account on cooldown if necessary.
    pub(in crate::exchange) async fn begin(
        snapshot: &Snapshot,
        request: &Request,
        run: &mut Run,
    ) -> Result<Self, Fault> {
        let mut failover = Self::plan(snapshot, request)?;
        if let Err(no_target) = failover.go(None).await {
            return Err(failover.all_on_cooldown(&no_target));
        }
        run.reserve(request, &failover.targets)?;
        Ok(failover)
    }

    /// Finds the targets for the model in the body, which a request hook may have changed.
    fn plan(snapshot: &Snapshot, request: &Request) -> Result<Self, Fault> {
        let model = request.effective_model();
        let targets = targets(snapshot, request, &model);
        if targets.is_empty() {
            return Err(Fault::client(Kind::NotFound, format!("model: {model}")));
        }
        let mut failover = Self {
            targets,
            at: 0,
            lease: None,
            attempt: 0,
            repeats: 0,
            tried: Vec::new(),
            unreachable: Vec::new(),
            without_model: Vec::new(),
            pinned: None,
            whole_could_fail_over: false,
            reported: false,
            session: request.session.clone(),
            conversation: None,
            accounts: Arc::clone(&snapshot.accounts),
            causes: Arc::clone(&snapshot.causes),
            max_cooldown_wait: snapshot.config.retry.max_cooldown_wait,
        };
        if failover.choices() > 1 {
            failover.conversation = Some(Conversation::of(request));
            failover.pin_to_stored(request);
        }
        if let Some(Thread::Continues(message)) = Thread::of(request) {
            failover.pin_to_message_account(&message)?;
        }
        Ok(failover)
    }

    /// Files, containers and the credit for a fallback are only known to the account at which they
    /// were made. Where that is unknown, the upstream decides.
    fn pin_to_stored(&mut self, request: &Request) {
        let made = match affinity::needs_its_account(request) {
            true => self
                .targets
                .iter()
                .find_map(|target| self.current(target).map(|account| (target.index, account))),
            false => None,
        };
        let made = made.or_else(|| {
            let now = Instant::now();
            let files = affinity::file_ids(request, &self.accounts);
            let made = files.iter();
            let mut made = made.filter_map(|id| self.accounts.made(&Made::File(id), now));
            made.find(|(upstream, _)| self.targets.iter().any(|to| to.index == *upstream))
        });
        if let Some((upstream, account)) = made {
            self.targets.retain(|to| to.index == upstream);
            self.pinned = Some(account);
        }
    }

    /// The account that served the conversation at this target so far.
    fn current(&self, target: &Target) -> Option<AccountId> {
        let conversation = self.conversation.as_ref()?;
        if !conversation.may_continue {
            return None;
        }
        let what = conversation.at(target);
        let (_, account) = self.accounts.made(&what, Instant::now())?;
        Some(account)
    }

    /// Remembers that the current account serves the conversation.
    pub(in crate::exchange) fn remember_account(&self) {
        let target = self.target();
        let (Some(conversation), Some(account)) = (&self.conversation, &target.account) else {
            return;
        };
        if !conversation.is_served {
            return;
        }
        if let Some(before) = self.current(target).filter(|before| before != account) {
            self.accounts.warn_of_new_organization(
                target.index,
                &before,
                account,
                &conversation.id,
            );
        }
        let what = conversation.at(target);
        self.accounts
            .remember(&what, target.index, account, Instant::now());
    }

    /// The target of the current attempt.
    pub(in crate::exchange) fn target(&self) -> &Target {
        &self.targets[self.at]
    }

    /// Moves to the next attempt's target, after its wait.
    pub(in crate::exchange) async fn advance(
        &mut self,
        after: Duration,
        target: RetryTarget,
    ) -> Result<(), NoTarget> {
        let account = self.target().account.clone();
        tokio::time::sleep(after).await;
        let or_same = match target {
            RetryTarget::SameAccount => {
                if self.go_again(account.as_ref()) {
                    self.repeats += 1;
                    return Ok(());
                }
                // It went on cooldown meanwhile.
                Some(Duration::ZERO)
            }
            RetryTarget::OtherAccount { or_same } => or_same,
            RetryTarget::OtherUpstream { or_same } => {
                self.unreachable.push(self.target().index);
                or_same
            }
            RetryTarget::NextTarget => {
                self.without_model.push(self.at);
                None
            }
        };
        self.tried.push((self.at, account));
        self.lease = None;
        self.repeats = 0;
        self.go(or_same).await
    }

    /// Whether a rejected credential may be renewed and retried: once, then another account is
    /// used.
    pub(in crate::exchange) fn may_renew(&self) -> bool {
        self.repeats == 0
    }

    /// Reports what the current attempt says about its account.
    ///
    /// Only the first account of an exchange is reported as unusable: if the request itself is the
    /// cause, and the upstream wrongly blames the account, one goes on cooldown and not all of
    /// them. An account without an alternative is never skipped for lack of credit: its upstream
    /// tells the client why, and knows first that the bill is paid.
    pub(in crate::exchange) fn report(&mut self, outcome: AccountOutcome, cause: Option<Cause>) {
        let unusable = matches!(
            outcome,
            AccountOutcome::BadCredential { .. } | AccountOutcome::OutOfCredit { .. }
        );
        let alone = self.choices() == 1;
        let outcome = match outcome {
            _ if unusable && std::mem::replace(&mut self.reported, true) => AccountOutcome::Neutral,
            AccountOutcome::OutOfCredit { .. } if alone => AccountOutcome::Neutral,
            outcome => outcome,
        };
        let target = self.target();
        let Some(account) = &target.account else {
            return;
        };
        if let Some(cause) = cause.filter(|_| outcome.starts_cooldown()) {
            self.causes.remember(target, cause);
        }
        let now = Instant::now();
        self.accounts
            .report(target.index, account, &target.model, outcome, now);
    }

    /// How many accounts could serve the request, counting an upstream without accounts as one.
    fn choices(&self) -> usize {
        let accounts = |target: &Target| self.accounts.count(target.index).max(1);
        self.targets.iter().map(accounts).sum()
    }

    /// The end of an exchange that should be retried but has no target left.
    pub(in crate::exchange) fn give_up(
        &self,
        mut end: AttemptEnd,
        no_target: &NoTarget,
    ) -> AttemptEnd {
        if let Some(lost) = self.lost_thread() {
            return AttemptEnd::Fault(lost);
        }
        if let AttemptEnd::Error(error) = &mut end {
            error.available_at = no_target.available_at;
        }
        end
    }

    /// The error for a message thread whose account cannot be used: any account can continue it
    /// once the client sends the whole conversation.
    fn lost_thread(&self) -> Option<Fault> {
        let lost = self.pinned.is_some() && self.whole_could_fail_over;
        lost.then(thread_not_found)
    }

    /// The account stays busy until the response has ended.
    pub(in crate::exchange) fn into_lease(self) -> Option<Lease> {
        self.lease
    }

    /// Moves to the first untried, available target. Without one, and if `or_same` is set, falls
    /// back to any available target after that delay. Waits for cooldowns up to
    /// `max_cooldown_wait`.
    async fn go(&mut self, or_same: Option<Duration>) -> Result<(), NoTarget> {
        let begun = Instant::now();
        let earliest = begun + or_same.unwrap_or_default();
        loop {
            let now = Instant::now();
            let mut found = self.find(true, now);
            if !matches!(found, Found::Available(..)) && or_same.is_some() {
                found = match self.find(false, now) {
                    Found::Available(..) if now < earliest => Found::OnCooldown(earliest),
                    Found::OnCooldown(until) => Found::OnCooldown(until.max(earliest)),
                    found => found,
                };
            }
            match found {
                Found::Available(at, lease) => {
                    self.take(at, lease);
                    return Ok(());
                }
                Found::OnCooldown(until) if until <= begun + self.max_cooldown_wait => {
                    tokio::time::sleep_until(until.into()).await;
                }
                Found::OnCooldown(until) => {
                    return Err(NoTarget {
                        available_at: Some(until),
                    });
                }
                Found::NoTarget => return Err(NoTarget { available_at: None }),
            }
        }
    }

    /// Uses the current target again, with the same account unless it is on cooldown.
    fn go_again(&mut self, account: Option<&AccountId>) -> bool {
        let Some(account) = account else {
            self.take(self.at, None);
            return true;
        };
        match self.pick(self.at, Some(account), &[], Instant::now()) {
            Selection::Available(lease) => {
                self.take(self.at, Some(lease));
                true
            }
            Selection::OnCooldown { .. } | Selection::None => false,
        }
    }

    fn take(&mut self, at: usize, lease: Option<Lease>) {
        self.attempt += 1;
        self.at = at;
        let target = &mut self.targets[at];
        target.attempt = self.attempt;
        target.account = lease.as_ref().map(|lease| lease.account().clone());
        self.lease = lease;
    }

    fn find(&self, untried: bool, now: Instant) -> Found {
        let mut soonest: Option<Instant> = None;
        for (index, target) in self.targets.iter().enumerate() {
            let unusable =
                self.unreachable.contains(&target.index) || self.without_model.contains(&index);
            if untried && unusable {
                continue;
            }
            let tried = self
                .tried
                .iter()
                .filter(|(tried, _)| untried && *tried == index);
            let tried: Vec<_> = tried.map(|(_, account)| account.clone()).collect();
            if !self.accounts.any(target.index) {
                if tried.is_empty() {
                    return Found::Available(index, None);
                }
                continue;
            }
            let avoid: Vec<AccountId> = tried.into_iter().flatten().collect();
            match self.pick(index, self.pinned.as_ref(), &avoid, now) {
                Selection::Available(lease) => return Found::Available(index, Some(lease)),
                Selection::OnCooldown { until } => {
                    soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
                }
                Selection::None => {}
            }
        }
        soonest.map_or(Found::NoTarget, Found::OnCooldown)
    }

    fn pick(
        &self,
        at: usize,
        only: Option<&AccountId>,
        avoid: &[AccountId],
        now: Instant,
    ) -> Selection {
        let target = &self.targets[at];
        let current = self.current(target);
        let query = AccountQuery {
            upstream: target.index,
            model: &target.model,
            session: self.session.as_deref(),
            current: current.as_ref(),
            only,
            avoid,
        };
        self.accounts.pick(&query, now)
    }

    /// A message thread continues at the account that made its last message. If that account is
    /// unknown and there are several, the client must send the whole conversation.
    fn pin_to_message_account(&mut self, message: &str) -> Result<(), Fault> {
        let supports = |target: &Target| !target.lacks.contains("message-threads");
        if !self.targets.iter().any(supports) {
            // A plugin or the upstream answers the request.
            return Ok(());
        }
        let accounts = |target: &Target| self.accounts.count(target.index).max(1);
        let supporting = self.targets.iter().filter(|target| supports(target));
        let choices: usize = supporting.map(accounts).sum();
        self.whole_could_fail_over = choices > 1 || !self.targets.iter().all(supports);
        match self.accounts.made(&Made::Message(message), Instant::now()) {
            Some((upstream, account)) if self.targets.iter().any(|to| to.index == upstream) => {
                self.targets.retain(|to| to.index == upstream);
                self.pinned = Some(account);
            }
            _ if choices > 1 => return Err(thread_not_found()),
            _ => self.targets.retain(supports),
        }
        Ok(())
    }

    /// The error if no target is available for the first attempt. It says what put the accounts on
    /// cooldown, and until when.
    fn all_on_cooldown(&self, no_target: &NoTarget) -> Fault {
        if let Some(lost) = self.lost_thread() {
            return lost;
        }
        let names = self.upstream_names();
        let now = Instant::now();
        // Waiting does not help if every key is wrong, and a waiting client would seem to hang.
        let rejected = |to: &Target| self.accounts.all_credentials_rejected(to.index, now);
        if self.targets.iter().all(rejected) {
            let what =
                format!("no account of {names} has an accepted credential; see the gateway's log");
            return Fault::upstream(Kind::BadCredential, what);
        }
        let count = self.choices();
        let mut what = match count {
            1 => format!("the account of {names} is"),
            _ => format!("all {count} accounts of {names} are"),
        };
        what.push_str(&format!(" on cooldown for model `{}`", self.target().model));
        let wait = no_target
            .available_at
            .map(|until| until.saturating_duration_since(now));
        if let Some(wait) = wait {
            // Rounded up, like the `retry-after`.
            let wait = humantime::format_duration(Duration::from_secs(wait.as_secs() + 1));
            what.push_str(&format!("; the first is available in {wait}"));
        }
        let causes = self.causes.of(&self.targets);
        if let Some(Cause { kind, words }) = causes.first() {
            what.push_str(&format!("; the last error was {kind}: {words}"));
        }
        let kind = match !causes.is_empty() && causes.iter().all(Cause::is_billing) {
            true => Kind::Refused {
                status: ErrorType::Billing.status(),
                kind: ErrorType::Billing.as_str().to_owned(),
            },
            false => Kind::RateLimited,
        };
        let fault = Fault::new(Blame::Upstream, kind, what);
        match wait {
            Some(wait) => fault.after(wait),
            None => fault,
        }
    }

    /// The upstreams of the route: `a`, `b`.
    fn upstream_names(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for target in &self.targets {
            let name = format!("`{}`", target.upstream);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    }
}

/// The error by which clients know that they must send the whole conversation.
fn thread_not_found() -> Fault {
    let what = "thread: the account that made `previous_message_id` is unknown or unavailable; send all messages \
                again with `thread: {\"type\": \"create\"}`";
    Fault::client(Kind::NotFound, what)
        .with_details(r#"{"error_code":"thread_not_found"}"#.to_owned())
}

/// The targets of a model's destinations, without accounts.
fn targets(snapshot: &Snapshot, request: &Request, model: &Arc<str>) -> Vec<Target> {
    let destinations = destinations(&snapshot.config, model, snapshot.upstreams.iter().count());
    let first = destinations.first().map(|to| to.upstream);
    let targets = destinations.into_iter().filter_map(|to| {
        // The client's own credential is sent to the first upstream only, so any other upstream
        // needs accounts.
        if Some(to.upstream) != first && !snapshot.accounts.any(to.upstream) {
            return None;
        }
        let upstream = snapshot.upstreams.at(to.upstream)?;
        Some(Target {
            upstream: upstream.config.name.clone(),
            index: to.upstream,
            dialect: Arc::clone(&upstream.config.dialect),
            account: None,
            model: to.model.map_or_else(|| Arc::clone(model), Arc::from),
            requested_model: Arc::clone(&request.requested_model),
            attempt: 1,
            lacks: snapshot.lacks(to.upstream),
            version: upstream.config.version,
        })
    });
    targets.collect()
}
