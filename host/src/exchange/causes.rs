//! Why accounts are on cooldown, so that a client that finds all of them on cooldown reads the
//! cause. Shared by successive snapshots.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use witgate_contract::ErrorType;

use crate::{
    ids::{AccountId, UpstreamId},
    message::Target,
};

/// How many causes are kept. Model names come from clients, so there may be any number.
const MAX_CAUSES: usize = 4_096;

/// The error that put an account on cooldown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// The status and the error type, or what happened instead.
    pub(super) kind: String,
    pub(super) words: String,
}

impl Cause {
    /// Whether the account cannot pay for requests.
    pub(super) fn is_billing(&self) -> bool {
        self.kind.ends_with(ErrorType::Billing.as_str())
    }
}

/// An upstream, an account and a model.
type Key = (UpstreamId, AccountId, Arc<str>);

/// The latest cause for each account and model.
#[derive(Default)]
pub(super) struct Causes(Mutex<HashMap<Key, Cause>>);

impl Causes {
    /// Remembers why the target's account is on cooldown.
    pub(super) fn remember(&self, target: &Target, cause: Cause) {
        let Some(account) = &target.account else {
            return;
        };
        let key = (
            target.upstream.clone(),
            account.clone(),
            Arc::clone(&target.model),
        );
        let mut causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if causes.len() >= MAX_CAUSES && !causes.contains_key(&key) {
            causes.clear();
        }
        causes.insert(key, cause);
    }

    /// The causes for the accounts of these targets, each target's in the order of their names.
    pub(super) fn of(&self, targets: &[Target]) -> Vec<Cause> {
        let causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for target in targets {
            let of_target = |((upstream, _, model), _): &(&Key, &Cause)| {
                *upstream == target.upstream && *model == target.model
            };
            let mut of_target: Vec<_> = causes.iter().filter(of_target).collect();
            of_target.sort_by(|(a, _), (b, _)| a.1.as_str().cmp(b.1.as_str()));
            found.extend(of_target.into_iter().map(|(_, cause)| cause.clone()));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::attempt::test_target;

    fn target(account: &str, model: &str) -> Target {
        Target {
            account: Some(account.parse().unwrap()),
            model: model.into(),
            ..test_target()
        }
    }

    fn cause(words: &str) -> Cause {
        Cause {
            kind: "402 billing_error".to_owned(),
            words: words.to_owned(),
        }
    }

    #[test]
    fn the_latest_cause_of_each_account_and_model_is_kept() {
        let causes = Causes::default();
        causes.remember(&test_target(), cause("no account"));
        causes.remember(&target("bob", "m"), cause("bob"));
        causes.remember(&target("ada", "m"), cause("old"));
        causes.remember(&target("ada", "m"), cause("ada"));
        causes.remember(&target("ada", "other"), cause("other"));
        assert_eq!(causes.of(&[test_target()]), [cause("ada"), cause("bob")]);
        assert!(cause("x").is_billing());
    }

    #[test]
    fn causes_are_bounded() {
        let causes = Causes::default();
        for nth in 0..=MAX_CAUSES {
            causes.remember(&target("ada", &nth.to_string()), cause("x"));
        }
        assert_eq!(causes.0.lock().unwrap().len(), 1);
    }
}
