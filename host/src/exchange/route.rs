//! Which upstreams a model leads to, and who makes the next attempt.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    accounts::{AccountOutcome, AccountQuery, Accounts, Lease, Selection},
    config::{Config, Destination},
    fault::{Blame, Fault, Kind},
    ids::AccountId,
    message::{Request, Target},
    pipeline::Run,
};

use super::{Snapshot, thread::Thread, verdict::Whom};

/// The way of one exchange along its route: where it is, and where else it may go.
pub(crate) struct Way {
    /// One for each destination of the route, in order.
    places: Vec<Target>,
    at: usize,
    /// The account of the present attempt; it counts as busy for as long as this is held.
    lease: Option<Lease>,
    attempt: u32,
    /// How many attempts before the present one were made as the same account, one after the other.
    repeats: u32,
    /// What was tried, by place; None is the client's own credential.
    spent: Vec<(usize, Option<AccountId>)>,
    /// Upstreams that were not reached.
    closed: Vec<usize>,
    /// Only this account will do: it made the message that the request continues.
    pinned: Option<AccountId>,
    /// Whether others could serve the request if it were sent whole.
    whole_could_go_elsewhere: bool,
    /// Whether an account's credential was refused and reported.
    refused: bool,
    session: Option<Arc<str>>,
    accounts: Arc<Accounts>,
    patience: Duration,
}

/// Nobody makes another attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Nobody {
    /// When the first of those who rest comes back; None if nobody rests.
    pub(crate) until: Option<Instant>,
}

/// Who could go now.
enum Found {
    Ready(usize, Option<Lease>),
    OnCooldown(Instant),
    Nobody,
}

/// Whether a model leads anywhere.
pub(crate) fn leads_somewhere(config: &Config, model: &str) -> bool {
    !destinations(config, model, 1).is_empty()
}

/// The destinations of a model: those of the first route that matches; without any route, all upstreams in file order.
fn destinations(config: &Config, model: &str, upstreams: usize) -> Vec<Destination> {
    if config.routes.is_empty() {
        return (0..upstreams)
            .map(|upstream| Destination {
                upstream,
                model: None,
            })
            .collect();
    }
    let route = config
        .routes
        .iter()
        .find(|route| route.model.is_match(model));
    route.map_or_else(Vec::new, |route| route.to.clone())
}

/// The model in the body as it is now, which a plugin may have changed.
pub(crate) fn model_of(request: &Request) -> Arc<str> {
    let edited = request
        .body
        .is_edited()
        .then(|| request.body.top_str("model"))
        .flatten();
    edited.map_or_else(|| Arc::clone(&request.requested_model), Arc::from)
}

impl Way {
    /// The first attempt's target, after a wait for an account that rests if need be.
    pub(crate) async fn begin(
        snapshot: &Snapshot,
        request: &Request,
        run: &mut Run,
    ) -> Result<Self, Fault> {
        let mut way = Self::plan(snapshot, request)?;
        if let Err(nobody) = way.go(None).await {
            return Err(way.all_rest(&nobody));
        }
        run.reserve(request, &way.places)?;
        Ok(way)
    }

    /// The model is that of the body, which a request hook may have changed.
    fn plan(snapshot: &Snapshot, request: &Request) -> Result<Self, Fault> {
        let model = model_of(request);
        let places = places(snapshot, request, &model);
        if places.is_empty() {
            return Err(Fault::client(Kind::NotFound, format!("model: {model}")));
        }
        let mut way = Self {
            places,
            at: 0,
            lease: None,
            attempt: 0,
            repeats: 0,
            spent: Vec::new(),
            closed: Vec::new(),
            pinned: None,
            whole_could_go_elsewhere: false,
            refused: false,
            session: request.session.clone(),
            accounts: Arc::clone(&snapshot.accounts),
            patience: snapshot.config.retry.patience,
        };
        if let Some(Thread::Continues(message)) = Thread::of(request) {
            way.keep_to_maker(&message)?;
        }
        Ok(way)
    }

    /// The present attempt's.
    pub(crate) fn target(&self) -> &Target {
        &self.places[self.at]
    }

    /// The next attempt's target, after whatever wait.
    pub(crate) async fn advance(&mut self, after: Duration, whom: Whom) -> Result<(), Nobody> {
        let account = self.target().account.clone();
        tokio::time::sleep(after).await;
        let or_same = match whom {
            Whom::Same => {
                if self.go_as(account.as_ref()) {
                    self.repeats += 1;
                    return Ok(());
                }
                // Meanwhile it was told to rest.
                Some(Duration::ZERO)
            }
            Whom::Other { or_same } => or_same,
            Whom::Elsewhere { or_same } => {
                self.closed.push(self.target().index);
                or_same
            }
        };
        self.spent.push((self.at, account));
        self.lease = None;
        self.repeats = 0;
        self.go(or_same).await
    }

    /// Whether a refused credential may be tried once more with a fresh one: once, then it is another account's turn.
    pub(crate) fn may_renew(&self) -> bool {
        self.repeats == 0
    }

    /// Tells what the present attempt says about its account.
    ///
    /// Of refused credentials only the first counts: a request that is refused for its own sake, in
    /// words that blame the credential, takes one account out and not all of them.
    pub(crate) fn report(&mut self, outcome: AccountOutcome) {
        let outcome = match outcome {
            AccountOutcome::BadCredential if std::mem::replace(&mut self.refused, true) => {
                AccountOutcome::Neutral
            }
            outcome => outcome,
        };
        let target = self.target();
        if let Some(account) = &target.account {
            let now = Instant::now();
            self.accounts
                .report(target.index, account, &target.model, outcome, now);
        }
    }

    /// What an exchange comes to for which nobody is left, if that is not its last failure: a message thread goes on
    /// with any account once it is sent whole.
    pub(crate) fn lost_thread(&self) -> Option<Fault> {
        let lost = self.pinned.is_some() && self.whole_could_go_elsewhere;
        lost.then(thread_not_found)
    }

    /// The account stays busy until the answer has ended.
    pub(crate) fn into_lease(self) -> Option<Lease> {
        self.lease
    }

    /// Goes to the first that is ready and was not tried; where there is none, and `or_same` is some time, to the first
    /// that is ready at all, but not before that time. Waits for those who rest, within its patience.
    async fn go(&mut self, or_same: Option<Duration>) -> Result<(), Nobody> {
        let begun = Instant::now();
        let earliest = begun + or_same.unwrap_or_default();
        loop {
            let now = Instant::now();
            let mut found = self.find(true, now);
            if !matches!(found, Found::Ready(..)) && or_same.is_some() {
                found = match self.find(false, now) {
                    Found::Ready(..) if now < earliest => Found::OnCooldown(earliest),
                    Found::OnCooldown(until) => Found::OnCooldown(until.max(earliest)),
                    found => found,
                };
            }
            match found {
                Found::Ready(place, lease) => {
                    self.take(place, lease);
                    return Ok(());
                }
                Found::OnCooldown(until) if until <= begun + self.patience => {
                    tokio::time::sleep_until(until.into()).await;
                }
                Found::OnCooldown(until) => return Err(Nobody { until: Some(until) }),
                Found::Nobody => return Err(Nobody { until: None }),
            }
        }
    }

    /// The present place again, as this account if it does not rest.
    fn go_as(&mut self, account: Option<&AccountId>) -> bool {
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

    fn take(&mut self, place: usize, lease: Option<Lease>) {
        self.attempt += 1;
        self.at = place;
        let target = &mut self.places[place];
        target.attempt = self.attempt;
        target.account = lease.as_ref().map(|lease| lease.account().clone());
        self.lease = lease;
    }

    fn find(&self, untried: bool, now: Instant) -> Found {
        let mut soonest: Option<Instant> = None;
        for (place, target) in self.places.iter().enumerate() {
            if untried && self.closed.contains(&target.index) {
                continue;
            }
            let spent = self.spent.iter().filter(|(at, _)| untried && *at == place);
            let spent: Vec<_> = spent.map(|(_, account)| account.clone()).collect();
            if !self.accounts.any(target.index) {
                if spent.is_empty() {
                    return Found::Ready(place, None);
                }
                continue;
            }
            let avoid: Vec<AccountId> = spent.into_iter().flatten().collect();
            match self.pick(place, self.pinned.as_ref(), &avoid, now) {
                Selection::Available(lease) => return Found::Ready(place, Some(lease)),
                Selection::OnCooldown { until } => {
                    soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
                }
                Selection::None => {}
            }
        }
        soonest.map_or(Found::Nobody, Found::OnCooldown)
    }

    fn pick(
        &self,
        place: usize,
        only: Option<&AccountId>,
        avoid: &[AccountId],
        now: Instant,
    ) -> Selection {
        let target = &self.places[place];
        let ask = AccountQuery {
            upstream: target.index,
            model: &target.model,
            session: self.session.as_deref(),
            only,
            avoid,
        };
        self.accounts.pick(&ask, now)
    }

    /// A message thread goes on where its last message was made. Where that is not known it can only be where there is
    /// no choice; elsewhere the client is told to send the conversation whole.
    fn keep_to_maker(&mut self, message: &str) -> Result<(), Fault> {
        let can = |target: &Target| !target.lacks.contains("message-threads");
        if !self.places.iter().any(can) {
            // A plugin has an answer to that, or the upstream.
            return Ok(());
        }
        let number = |target: &Target| self.accounts.count(target.index).max(1);
        let choices: usize = self
            .places
            .iter()
            .filter(|place| can(place))
            .map(number)
            .sum();
        self.whole_could_go_elsewhere = choices > 1 || !self.places.iter().all(can);
        match self.accounts.account_of_message(message, Instant::now()) {
            Some((upstream, account))
                if self.places.iter().any(|place| place.index == upstream) =>
            {
                self.places.retain(|place| place.index == upstream);
                self.pinned = Some(account);
            }
            _ if choices > 1 => return Err(thread_not_found()),
            _ => self.places.retain(can),
        }
        Ok(())
    }

    fn all_rest(&self, nobody: &Nobody) -> Fault {
        if let Some(lost) = self.lost_thread() {
            return lost;
        }
        let mut names: Vec<String> = Vec::new();
        for place in &self.places {
            let name = format!("`{}`", place.upstream);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let names = names.join(", ");
        let now = Instant::now();
        // Waiting does not help against a wrong key, and a client that is told to wait would look as if it hung.
        let refused = |place: &Target| self.accounts.all_credentials_refused(place.index, now);
        if self.places.iter().all(refused) {
            let what = format!(
                "no account of {names} has a credential that is accepted; the gateway's log says why"
            );
            return Fault::upstream(Kind::BadCredential, what);
        }
        let what = format!(
            "all accounts of {names} rest for model `{}`",
            self.target().model
        );
        let fault = Fault::new(Blame::Upstream, Kind::RateLimited, what);
        match nobody.until {
            Some(until) => fault.after(until.saturating_duration_since(now)),
            None => fault,
        }
    }
}

/// The words by which clients know that they must send the conversation whole.
fn thread_not_found() -> Fault {
    let what = "thread: the account that made `previous_message_id` is not known or not ready; send all messages \
                again with `thread: {\"type\": \"create\"}`";
    Fault::client(Kind::NotFound, what)
        .with_details(r#"{"error_code":"thread_not_found"}"#.to_owned())
}

/// The targets of a model's destinations, without their accounts.
fn places(snapshot: &Snapshot, request: &Request, model: &Arc<str>) -> Vec<Target> {
    let destinations = destinations(&snapshot.config, model, snapshot.upstreams.iter().count());
    let first = destinations.first().map(|to| to.upstream);
    let beside_others = destinations.iter().any(|to| Some(to.upstream) != first);
    let places = destinations.into_iter().filter_map(|to| {
        // The client's own credential goes to the first upstream only, so another without accounts has none.
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
            lacks: snapshot.lacks(to.upstream, beside_others),
        })
    });
    places.collect()
}
