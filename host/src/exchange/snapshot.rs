//! The configuration, plugins, upstreams and accounts that one exchange uses from beginning to end.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    accounts::{Accounts, Fetch},
    config::{self, Config},
    fault::Fault,
    ledger::Ledger,
    message::Request,
    pipeline::Catalog,
    upstream::{Upstream, Upstreams},
};

use super::causes::Causes;

/// Immutable: a reload makes a new one.
pub(crate) struct Snapshot {
    pub(crate) config: Arc<Config>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) accounts: Arc<Accounts>,
    pub(super) causes: Arc<Causes>,
    /// One for the process.
    pub(super) ledger: Arc<Ledger>,
    /// By upstream: what it lacks.
    lacks: Vec<Arc<BTreeSet<String>>>,
}

impl Snapshot {
    /// Keeps what did not change since `previous`. The same configuration keeps upstreams and
    /// accounts; a new one keeps the connections of upstreams with the same transport settings.
    pub(crate) fn new(
        config: Arc<Config>,
        catalog: Arc<Catalog>,
        previous: Option<&Snapshot>,
    ) -> Result<Self, Fault> {
        let same = previous.filter(|previous| Arc::ptr_eq(&previous.config, &config));
        let upstreams = match same {
            Some(same) => Arc::clone(&same.upstreams),
            None => {
                let previous = previous.map(|previous| &*previous.upstreams);
                Arc::new(Upstreams::new(&config.upstreams, &config.retry, previous)?)
            }
        };
        let accounts = match same {
            Some(same) => Arc::clone(&same.accounts),
            None => Arc::new(Accounts::new(
                with_fetch(&upstreams),
                config.retry.credential_cooldown,
                previous.map(|previous| &*previous.accounts),
            )),
        };
        // A session can move to any other upstream, also by another route.
        let beside_others = upstreams.iter().count() > 1;
        let lacks = upstreams
            .iter()
            .map(|upstream| lacks(upstream, beside_others))
            .collect();
        Ok(Self {
            config,
            catalog,
            upstreams,
            accounts,
            causes: previous
                .map(|previous| Arc::clone(&previous.causes))
                .unwrap_or_default(),
            ledger: previous
                .map(|previous| Arc::clone(&previous.ledger))
                .unwrap_or_default(),
            lacks,
        })
    }

    /// The same, as in a gateway that has just started: without cooldowns and conversations. The
    /// connections stay.
    pub(crate) fn restarted(&self) -> Self {
        let accounts = Accounts::new(
            with_fetch(&self.upstreams),
            self.config.retry.credential_cooldown,
            None,
        );
        Self {
            config: Arc::clone(&self.config),
            catalog: Arc::clone(&self.catalog),
            upstreams: Arc::clone(&self.upstreams),
            accounts: Arc::new(accounts),
            causes: Arc::default(),
            ledger: Arc::default(),
            lacks: self.lacks.clone(),
        }
    }

    /// Fails if a plugin is not loaded that the configuration requires. A reload keeps such
    /// plugins, so this is the second line of defence.
    pub(crate) fn has_required_plugins(&self) -> Result<(), Fault> {
        self.catalog.has_required(&self.config)
    }

    /// The plugins that serve the conversation of this request, some in the version that the
    /// conversation keeps.
    pub(super) fn plugins_for(&self, request: &Request) -> Arc<Catalog> {
        let keep = self.config.plugins.keep_versions;
        let conversation = || request.conversation.id().clone();
        self.catalog.for_conversation(keep, conversation)
    }

    /// What an upstream lacks.
    pub(super) fn lacks(&self, upstream: usize) -> Arc<BTreeSet<String>> {
        self.lacks.get(upstream).cloned().unwrap_or_default()
    }
}

/// Pairs each upstream's configuration with the function that sends token requests through it. So
/// neither `accounts` nor `upstream` depends on the other.
fn with_fetch(upstreams: &Arc<Upstreams>) -> Vec<(config::Upstream, Fetch)> {
    let each = upstreams.iter().enumerate().map(|(index, upstream)| {
        let all = Arc::clone(upstreams);
        let fetch: Fetch = Arc::new(move |request| {
            let all = Arc::clone(&all);
            Box::pin(async move {
                match all.at(index) {
                    Some(upstream) => upstream.fetch(request).await,
                    None => Err(Fault::gateway("the upstream is no longer configured")),
                }
            })
        });
        (upstream.config.clone(), fetch)
    });
    each.collect()
}

fn lacks(upstream: &Upstream, beside_others: bool) -> Arc<BTreeSet<String>> {
    let mut lacks = upstream.config.lacks.clone();
    if beside_others {
        lacks.extend(upstream.config.lacks_beside_others.iter().cloned());
    }
    Arc::new(lacks)
}
