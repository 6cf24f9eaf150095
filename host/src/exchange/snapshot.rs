//! What one exchange runs on from beginning to end: configuration, plugins, upstreams and accounts of one moment.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    accounts::{Accounts, Fetch},
    config::{self, Config},
    fault::Fault,
    pipeline::Catalog,
    upstream::{Upstream, Upstreams},
};

/// Never changed in place: a reload makes another one.
pub(crate) struct Snapshot {
    pub(crate) config: Arc<Config>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) accounts: Arc<Accounts>,
    /// By upstream: what it lacks alone, and beside others.
    lacks: Vec<[Arc<BTreeSet<String>>; 2]>,
}

impl Snapshot {
    /// What did not change since `previous` is kept: the same configuration keeps upstreams and accounts, another one
    /// keeps the connections of upstreams with the same transport.
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
                with_their_fetch(&upstreams),
                config.retry.credential_cooldown,
                previous.map(|previous| &*previous.accounts),
            )),
        };
        let lacks = upstreams.iter().map(lacks).collect();
        Ok(Self {
            config,
            catalog,
            upstreams,
            accounts,
            lacks,
        })
    }

    /// What an upstream lacks in a route that has other upstreams as well, or has not.
    pub(crate) fn lacks(&self, upstream: usize, beside_others: bool) -> Arc<BTreeSet<String>> {
        let both = self.lacks.get(upstream);
        both.map_or_else(Arc::default, |both| {
            Arc::clone(&both[usize::from(beside_others)])
        })
    }
}

/// The accounts do not know what sends their token requests, and the upstreams not what for.
fn with_their_fetch(upstreams: &Arc<Upstreams>) -> Vec<(config::Upstream, Fetch)> {
    let each = upstreams.iter().enumerate().map(|(index, upstream)| {
        let all = Arc::clone(upstreams);
        let fetch: Fetch = Arc::new(move |request| {
            let all = Arc::clone(&all);
            Box::pin(async move {
                match all.at(index) {
                    Some(upstream) => upstream.fetch(request).await,
                    None => Err(Fault::gateway("the upstream is gone")),
                }
            })
        });
        (upstream.config.clone(), fetch)
    });
    each.collect()
}

fn lacks(upstream: &Upstream) -> [Arc<BTreeSet<String>>; 2] {
    let alone = &upstream.config.lacks;
    let beside = alone
        .union(&upstream.config.lacks_beside_others)
        .cloned()
        .collect();
    [Arc::new(alone.clone()), Arc::new(beside)]
}
