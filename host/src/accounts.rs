//! As whom an attempt goes out.

use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::{
    config::{Account, Upstream},
    ids::AccountId,
    secret::Secret,
};

/// The accounts of all upstreams.
pub(crate) struct Accounts {
    /// By place of the upstream in the configuration, in file order.
    of: Vec<Vec<Account>>,
}

impl Accounts {
    pub(crate) fn new(upstreams: &[Upstream]) -> Self {
        Self {
            of: upstreams
                .iter()
                .map(|upstream| upstream.accounts.clone())
                .collect(),
        }
    }

    /// Whether the upstream has accounts at all.
    pub(crate) fn any(&self, upstream: usize) -> bool {
        self.of
            .get(upstream)
            .is_some_and(|accounts| !accounts.is_empty())
    }

    /// The one that things belong to which belong to an account.
    pub(crate) fn first(&self, upstream: usize) -> Option<&Account> {
        self.of.get(upstream)?.first()
    }

    /// The credential of an account.
    pub(crate) fn key(&self, upstream: usize, name: &AccountId) -> Option<&Secret> {
        let account = self
            .of
            .get(upstream)?
            .iter()
            .find(|account| account.name == *name)?;
        Some(&account.key)
    }

    /// The account for the next attempt at an upstream; none where all are to be avoided.
    ///
    /// A session keeps its account for as long as it may, because the upstream's prompt cache belongs to the account.
    /// Replicas of the gateway agree on it without talking, and an account more or less moves only its own share.
    pub(crate) fn pick(
        &self,
        upstream: usize,
        session: Option<&str>,
        _now: Instant,
        avoid: &[AccountId],
    ) -> Option<&Account> {
        let mut ready = self
            .of
            .get(upstream)?
            .iter()
            .filter(|account| !avoid.contains(&account.name));
        match session {
            Some(session) => ready.max_by_key(|account| weight(session, &account.name)),
            None => ready.next(),
        }
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
mod tests {
    use super::*;

    fn accounts(names: &[&str]) -> Accounts {
        let account = |name: &&str| Account {
            name: name.parse().unwrap(),
            key: Secret::new("sk-test"),
        };
        Accounts {
            of: vec![names.iter().map(account).collect()],
        }
    }

    fn picked(accounts: &Accounts, session: Option<&str>, avoid: &[AccountId]) -> Option<String> {
        let account = accounts.pick(0, session, Instant::now(), avoid)?;
        Some(account.name.to_string())
    }

    #[test]
    fn without_a_session_the_first_of_the_file_goes() {
        let accounts = accounts(&["ada", "bob"]);
        assert_eq!(picked(&accounts, None, &[]).unwrap(), "ada");
        assert_eq!(
            picked(&accounts, None, &["ada".parse().unwrap()]).unwrap(),
            "bob"
        );
        let both = ["ada".parse().unwrap(), "bob".parse().unwrap()];
        assert_eq!(picked(&accounts, None, &both), None);
    }

    #[test]
    fn a_session_keeps_its_account_when_another_leaves() {
        let three = accounts(&["ada", "bob", "cyd"]);
        let two = accounts(&["ada", "bob"]);
        let mut moved = 0;
        for session in (0..300).map(|n| format!("session-{n}")) {
            let before = picked(&three, Some(&session), &[]).unwrap();
            let after = picked(&two, Some(&session), &[]).unwrap();
            if before == "cyd" {
                moved += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        assert!(
            (60..140).contains(&moved),
            "{moved} of 300 sessions were with cyd"
        );
    }
}
