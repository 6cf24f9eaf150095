//! Which upstreams a model leads to, and in which order they are tried.

use std::{sync::Arc, time::Instant};

use crate::{
    accounts::{Accounts, Ask, Pick},
    config::{Config, Destination},
    fault::{Fault, Kind},
    ids::AccountId,
    message::{Request, Target},
};

use super::{Snapshot, verdict::Whom};

/// The way of one exchange along its route: where it is, and where else it may go.
pub(crate) struct Way {
    /// One for each destination of the route, in order; the account is that of the present attempt.
    targets: Vec<Target>,
    at: usize,
    /// Accounts of the present upstream that were tried.
    spent: Vec<AccountId>,
    accounts: Arc<Accounts>,
    session: Option<Arc<str>>,
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
    edited.map_or_else(|| Arc::clone(&request.asked_model), Arc::from)
}

impl Way {
    /// The model is that of the body, which a request hook may have changed.
    pub(crate) fn plan(snapshot: &Snapshot, request: &Request) -> Result<Self, Fault> {
        let model = model_of(request);
        let destinations =
            destinations(&snapshot.config, &model, snapshot.upstreams.iter().count());
        let first = destinations.first().map(|to| to.upstream);
        let beside_others = destinations.iter().any(|to| Some(to.upstream) != first);
        let mut targets = Vec::with_capacity(destinations.len());
        for (place, to) in destinations.into_iter().enumerate() {
            // The client's own credential goes to the first upstream only, so another without accounts has none.
            if place > 0 && Some(to.upstream) != first && !snapshot.accounts.any(to.upstream) {
                continue;
            }
            let Some(upstream) = snapshot.upstreams.at(to.upstream) else {
                continue;
            };
            targets.push(Target {
                upstream: upstream.config.name.clone(),
                index: to.upstream,
                dialect: Arc::clone(&upstream.config.dialect),
                account: None,
                model: to.model.map_or_else(|| Arc::clone(&model), Arc::from),
                asked_model: Arc::clone(&request.asked_model),
                attempt: 1,
                lacks: snapshot.lacks(to.upstream, beside_others),
            });
        }
        if targets.is_empty() {
            return Err(Fault::client(Kind::NotFound, format!("model: {model}")));
        }
        let accounts = Arc::clone(&snapshot.accounts);
        let session = request.session.clone();
        let mut way = Self {
            targets,
            at: 0,
            spent: Vec::new(),
            accounts,
            session,
        };
        way.targets[0].account = way.account();
        Ok(way)
    }

    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    pub(crate) fn target(&self) -> &Target {
        &self.targets[self.at]
    }

    /// Whether there is another account of this upstream, or another upstream.
    pub(crate) fn has_another(&self) -> bool {
        let spent: Vec<_> = self
            .spent
            .iter()
            .chain(&self.target().account)
            .cloned()
            .collect();
        self.pick(&spent).is_some() || self.at + 1 < self.targets.len()
    }

    pub(crate) fn has_another_upstream(&self) -> bool {
        let here = self.target().index;
        self.targets[self.at..]
            .iter()
            .any(|target| target.index != here)
    }

    /// Goes to the next attempt's target. Where there is no other, it stays.
    pub(crate) fn advance(&mut self, whom: Whom) {
        let attempt = self.target().attempt + 1;
        let here = self.target().index;
        match whom {
            Whom::Same => {}
            Whom::Other => {
                self.spent.extend(self.target().account.clone());
                match self.account().filter(|_| self.accounts.any(here)) {
                    Some(account) => self.targets[self.at].account = Some(account),
                    None => self.move_on(|_| true),
                }
            }
            Whom::OtherUpstream => self.move_on(|target| target.index != here),
        }
        self.targets[self.at].attempt = attempt;
    }

    fn move_on(&mut self, fits: impl Fn(&Target) -> bool) {
        if let Some(step) = self.targets[self.at + 1..].iter().position(fits) {
            self.at += 1 + step;
            self.spent.clear();
            self.targets[self.at].account = self.account();
        }
    }

    fn account(&self) -> Option<AccountId> {
        self.pick(&self.spent)
    }

    fn pick(&self, spent: &[AccountId]) -> Option<AccountId> {
        let target = self.target();
        let ask = Ask {
            upstream: target.index,
            model: &target.model,
            session: self.session.as_deref(),
            only: None,
            avoid: spent,
        };
        match self.accounts.pick(&ask, Instant::now()) {
            Pick::Ready(lease) => Some(lease.account().clone()),
            Pick::Resting { .. } | Pick::None => None,
        }
    }
}
