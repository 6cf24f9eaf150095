//! Which account is picked, which is on cooldown, and what a reload changes. Renewed credentials
//! are tested in `credential_cache`.

use std::io;

use parking_lot::Mutex;

use super::*;

const MODEL: &str = "m-1";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// An upstream with accounts of these names and keys.
fn upstream(name: &str, accounts: &[(&str, &str)]) -> Upstream {
    let account = |(name, key): &(&str, &str)| config::Account {
        name: name.parse().unwrap(),
        organization: None,
        access: Access::Key(Secret::new(*key)),
    };
    Upstream {
        accounts: accounts.iter().map(account).collect(),
        ..Upstream::plain(name.parse().unwrap(), "http://127.0.0.1:1")
    }
}

fn accounts(upstreams: Vec<Upstream>, previous: Option<&Accounts>) -> Accounts {
    let fetch: Fetch =
        Arc::new(|_| Box::pin(async { Err(Fault::gateway("no token server in this test")) }));
    let with = |upstream| (upstream, Arc::clone(&fetch));
    Accounts::new(upstreams.into_iter().map(with).collect(), MINUTE, previous)
}

fn named(names: &[&str]) -> Accounts {
    let keys: Vec<_> = names.iter().map(|name| (*name, "sk-test")).collect();
    accounts(vec![upstream("up", &keys)], None)
}

fn id(name: &str) -> AccountId {
    name.parse().unwrap()
}

fn ask(session: Option<&str>) -> AccountQuery<'_> {
    AccountQuery {
        upstream: 0,
        model: MODEL,
        session,
        current: None,
        only: None,
        avoid: &[],
    }
}

#[track_caller]
fn lease(accounts: &Accounts, ask: &AccountQuery<'_>, now: Instant) -> Lease {
    match accounts.pick(ask, now) {
        Selection::Available(lease) => lease,
        Selection::OnCooldown { .. } => panic!("all are on cooldown"),
        Selection::None => panic!("no account suits"),
    }
}

#[track_caller]
fn picked(accounts: &Accounts, ask: &AccountQuery<'_>, now: Instant) -> String {
    lease(accounts, ask, now).account().to_string()
}

#[track_caller]
fn cooldown_until(accounts: &Accounts, ask: &AccountQuery<'_>, now: Instant) -> Instant {
    match accounts.pick(ask, now) {
        Selection::OnCooldown { until } => until,
        Selection::Available(lease) => panic!("{} is available", lease.account()),
        Selection::None => panic!("no account suits"),
    }
}

fn start_cooldown(accounts: &Accounts, account: &str, retry_after: Duration, now: Instant) {
    let outcome = AccountOutcome::Cooldown {
        retry_after: Some(retry_after),
    };
    accounts.report(0, &id(account), MODEL, outcome, now);
}

#[test]
fn without_a_session_the_least_busy_account_is_picked_and_the_first_among_equals() {
    let (accounts, now) = (named(&["ada", "bob"]), Instant::now());
    let one = lease(&accounts, &ask(None), now);
    assert_eq!(one.account().as_str(), "ada");
    let two = lease(&accounts, &ask(None), now);
    assert_eq!(two.account().as_str(), "bob");
    let three = lease(&accounts, &ask(None), now);
    assert_eq!(three.account().as_str(), "ada");
    drop(two);
    assert_eq!(picked(&accounts, &ask(None), now), "bob");
    drop((one, three));
    assert_eq!(picked(&accounts, &ask(None), now), "ada");
}

#[test]
fn another_account_moves_only_its_own_share_of_the_sessions() {
    let two = named(&["ada", "bob"]);
    let three = named(&["ada", "bob", "cyd"]);
    let now = Instant::now();
    let mut moved = 0;
    for session in (0..300).map(|n| format!("session-{n}")) {
        let before = picked(&two, &ask(Some(&session)), now);
        let after = picked(&three, &ask(Some(&session)), now);
        if after == "cyd" {
            moved += 1;
        } else {
            assert_eq!(before, after);
        }
    }
    assert!((60..140).contains(&moved), "{moved} of 300 sessions moved");
}

#[test]
fn a_session_keeps_its_account_however_busy_it_is() {
    let (accounts, now) = (named(&["ada", "bob"]), Instant::now());
    let first = lease(&accounts, &ask(Some("s")), now);
    let many: Vec<_> = (0..9)
        .map(|_| lease(&accounts, &ask(Some("s")), now))
        .collect();
    assert!(many.iter().all(|lease| lease.account() == first.account()));
}

#[test]
fn a_session_changes_accounts_during_a_cooldown_and_stays_there() {
    let (accounts, now) = (named(&["ada", "bob"]), Instant::now());
    let home = picked(&accounts, &ask(Some("s")), now);
    start_cooldown(&accounts, &home, MINUTE, now);
    let other = picked(&accounts, &ask(Some("s")), now);
    assert_ne!(other, home);
    let other = id(&other);
    let stays = AccountQuery {
        current: Some(&other),
        ..ask(Some("s"))
    };
    assert_eq!(picked(&accounts, &stays, now + MINUTE), other.as_str());
    // As one of which nothing is remembered.
    assert_eq!(picked(&accounts, &ask(Some("s")), now + MINUTE), home);
}

#[test]
fn a_conversation_prefers_its_account_and_then_its_organization() {
    let now = Instant::now();
    let mut up = upstream(
        "up",
        &[("ada", "a"), ("bob", "b"), ("cyd", "c"), ("dan", "d")],
    );
    for (at, organization) in [(0, "red"), (2, "red")] {
        up.accounts[at].organization = Some(organization.into());
    }
    let accounts = accounts(vec![up], None);
    let pick = |current: &str, session: Option<&str>| {
        let current = id(current);
        let query = AccountQuery {
            current: Some(&current),
            session,
            ..ask(None)
        };
        picked(&accounts, &query, now)
    };
    let busy: Vec<_> = (0..8).map(|_| lease(&accounts, &ask(None), now)).collect();
    drop(
        busy.into_iter()
            .filter(|lease| lease.account().as_str() != "cyd"),
    );
    assert_eq!(pick("cyd", None), "cyd", "however busy it is");
    for session in (0..20).map(|n| format!("session-{n}")) {
        assert_eq!(pick("bob", Some(&session)), "bob");
    }
    start_cooldown(&accounts, "cyd", MINUTE, now);
    start_cooldown(&accounts, "bob", MINUTE, now);
    for session in (0..20).map(|n| format!("session-{n}")) {
        assert_eq!(pick("cyd", Some(&session)), "ada");
    }
    // Accounts without an organization have none in common.
    let moved: std::collections::BTreeSet<String> = (0..20)
        .map(|n| pick("bob", Some(&format!("session-{n}"))))
        .collect();
    assert_eq!(moved.len(), 2, "{moved:?}");
    assert_eq!(pick("gone", None), "ada", "as without an account");
}

#[test]
fn a_cooldown_is_for_one_account_and_one_model() {
    let (accounts, now) = (named(&["ada", "bob"]), Instant::now());
    start_cooldown(&accounts, "ada", MINUTE, now);
    assert_eq!(picked(&accounts, &ask(None), now), "bob");
    let other_model = AccountQuery {
        model: "m-2",
        ..ask(None)
    };
    assert_eq!(picked(&accounts, &other_model, now), "ada");
    start_cooldown(&accounts, "bob", SECOND, now);
    assert_eq!(cooldown_until(&accounts, &ask(None), now), now + SECOND);
    assert_eq!(picked(&accounts, &ask(None), now + SECOND), "bob");
}

#[test]
fn no_account_is_selected_if_all_are_avoided_even_on_cooldown() {
    let (accounts, now) = (named(&["ada", "bob"]), Instant::now());
    start_cooldown(&accounts, "ada", MINUTE, now);
    let avoid = [id("ada"), id("bob")];
    let both = AccountQuery {
        avoid: &avoid,
        ..ask(None)
    };
    assert!(matches!(accounts.pick(&both, now), Selection::None));
    let avoid = [id("bob")];
    let one = AccountQuery {
        avoid: &avoid,
        ..ask(Some("s"))
    };
    assert_eq!(cooldown_until(&accounts, &one, now), now + MINUTE);
    let unknown = AccountQuery {
        upstream: 7,
        ..ask(None)
    };
    assert!(matches!(accounts.pick(&unknown, now), Selection::None));
}

#[test]
fn only_a_pinned_account_is_selected() {
    let (accounts, now) = (named(&["ada", "bob"]), Instant::now());
    let (bob, eve) = (id("bob"), id("eve"));
    let pinned = AccountQuery {
        only: Some(&bob),
        ..ask(None)
    };
    assert_eq!(picked(&accounts, &pinned, now), "bob");
    start_cooldown(&accounts, "bob", MINUTE, now);
    assert_eq!(cooldown_until(&accounts, &pinned, now), now + MINUTE);
    let gone = AccountQuery {
        only: Some(&eve),
        ..ask(None)
    };
    assert!(matches!(accounts.pick(&gone, now), Selection::None));
}

#[test]
fn a_long_cooldown_is_probed_once_an_hour_and_a_success_ends_it() {
    let (accounts, now) = (named(&["ada"]), Instant::now());
    let week = MINUTE * 60 * 24 * 7;
    start_cooldown(&accounts, "ada", week, now);
    let later = now + MINUTE * 61;
    assert_eq!(cooldown_until(&accounts, &ask(None), now), now + week);
    assert_eq!(picked(&accounts, &ask(None), later), "ada");
    assert_eq!(cooldown_until(&accounts, &ask(None), later), now + week);
    let success = AccountOutcome::Success;
    accounts.report(0, &id("ada"), MODEL, success, later);
    assert_eq!(picked(&accounts, &ask(None), later), "ada");
}

#[test]
fn cooldowns_can_be_ended_by_hand() {
    let (accounts, now) = (named(&["ada", "bob"]), Instant::now());
    for name in ["ada", "bob"] {
        start_cooldown(&accounts, name, MINUTE, now);
    }
    accounts.report(0, &id("ada"), MODEL, rejected(), now);
    assert_eq!(accounts.end_cooldowns(Some("other"), None, now), 0);
    assert_eq!(accounts.end_cooldowns(None, Some("ada"), now), 2);
    assert_eq!(picked(&accounts, &ask(None), now), "ada");
    assert_eq!(accounts.end_cooldowns(None, None, now), 1);
    assert!(accounts.cooldowns(now).is_empty());
}

#[test]
fn cooldowns_without_a_retry_after_escalate_until_a_success() {
    let (accounts, ada) = (named(&["ada"]), id("ada"));
    let mut now = Instant::now();
    let cooldown = |outcome, now: Instant| {
        accounts.report(0, &ada, MODEL, outcome, now);
        cooldown_until(&accounts, &ask(None), now) - now
    };
    let failure = AccountOutcome::Cooldown { retry_after: None };
    let mut before = Duration::ZERO;
    for doubled in [1, 2, 4, 8] {
        let length = cooldown(failure.clone(), now);
        assert!(length > before && length <= SECOND * doubled, "{length:?}");
        before = length;
        now += length;
    }
    accounts.report(0, &ada, MODEL, AccountOutcome::Success, now);
    assert!(cooldown(failure, now) <= SECOND);
}

#[test]
fn only_time_ends_a_cooldown_and_neutral_outcomes_start_none() {
    let (accounts, ada, now) = (named(&["ada"]), id("ada"), Instant::now());
    accounts.report(0, &ada, MODEL, AccountOutcome::Neutral, now);
    assert_eq!(picked(&accounts, &ask(None), now), "ada");
    start_cooldown(&accounts, "ada", MINUTE, now);
    // A stream that began before the cooldown has ended.
    accounts.report(0, &ada, MODEL, AccountOutcome::Success, now + SECOND);
    assert_eq!(
        cooldown_until(&accounts, &ask(None), now + SECOND),
        now + MINUTE
    );
}

/// The upstream rejected the credential without a reason.
pub(super) fn rejected() -> AccountOutcome {
    AccountOutcome::BadCredential {
        reason: String::new(),
    }
}

#[test]
fn the_log_says_whether_the_credential_or_the_account_was_rejected_and_why() {
    for (reason, about_the_key) in [
        ("invalid x-api-key", true),
        ("OAuth token has expired.", true),
        ("Request had invalid authentication credentials.", true),
        ("User location is not supported for the API use.", false),
        ("The billing account of the project is not active.", false),
        ("This organization has been disabled.", false),
    ] {
        let (accounts, ada) = (named(&["ada"]), id("ada"));
        let outcome = AccountOutcome::BadCredential {
            reason: reason.to_owned(),
        };
        let log = logged(|| accounts.report(0, &ada, MODEL, outcome, Instant::now()));
        assert!(log.contains(reason), "{log}");
        assert_eq!(log.contains("Put a valid `key`"), about_the_key, "{log}");
        let rejected = "the upstream rejected the account;";
        assert_eq!(log.contains(rejected), !about_the_key, "{log}");
    }
}

#[test]
fn a_rejected_key_is_on_cooldown_for_all_models_and_logged_once() {
    let (accounts, ada, now) = (named(&["ada"]), id("ada"), Instant::now());
    let log = logged(|| {
        accounts.report(0, &ada, MODEL, rejected(), now);
        accounts.report(0, &ada, "m-2", rejected(), now + SECOND);
    });
    assert_eq!(log.lines().count(), 1, "{log}");
    for part in [
        "upstream=up",
        "account=ada",
        "cooldown=1m",
        "Put a valid `key`",
    ] {
        assert!(log.contains(part), "no {part} in {log}");
    }
    assert!(!log.contains("sk-test"), "{log}");
    let other_model = AccountQuery {
        model: "m-3",
        ..ask(None)
    };
    assert_eq!(cooldown_until(&accounts, &other_model, now), now + MINUTE);
    assert_eq!(picked(&accounts, &ask(None), now + MINUTE), "ada");
    assert!(!accounts.credential_rejected(0, &ada, &Secret::new("sk-test")));
}

#[test]
fn cooldowns_survive_a_reload_unless_the_credential_changes() {
    let now = Instant::now();
    let before = accounts(vec![upstream("up", &[("ada", "a"), ("bob", "b")])], None);
    start_cooldown(&before, "ada", MINUTE, now);
    before.report(0, &id("bob"), MODEL, rejected(), now);
    let busy = lease(&before, &ask(None), now + MINUTE);
    assert_eq!(busy.account().as_str(), "ada");
    // Another order in the file, another upstream before it, and a new key for one account.
    let other = upstream("other", &[("ada", "a")]);
    let same = upstream("up", &[("bob", "b2"), ("ada", "a")]);
    let after = accounts(vec![other, same], Some(&before));
    let at = |upstream, only| AccountQuery {
        upstream,
        only: Some(only),
        ..ask(None)
    };
    let (ada, bob) = (id("ada"), id("bob"));
    assert_eq!(cooldown_until(&after, &at(1, &ada), now), now + MINUTE);
    assert_eq!(picked(&after, &at(1, &bob), now), "bob");
    assert_eq!(picked(&after, &at(0, &ada), now), "ada");
    // Exchanges on the old configuration that report the old key do not affect the new key.
    before.report(
        0,
        &bob,
        MODEL,
        AccountOutcome::Cooldown {
            retry_after: Some(MINUTE),
        },
        now,
    );
    assert_eq!(picked(&after, &at(1, &bob), now), "bob");
    // If the key is the same, they do.
    start_cooldown(&before, "ada", MINUTE * 2, now);
    assert_eq!(cooldown_until(&after, &at(1, &ada), now), now + MINUTE * 2);
    let without = accounts(vec![upstream("up", &[("bob", "b2")])], Some(&after));
    assert_eq!(without.cooldowns(now), []);
}

#[test]
fn cooldowns_are_listed_with_their_model() {
    let (accounts, now) = (named(&["ada", "bob", "cyd"]), Instant::now());
    start_cooldown(&accounts, "ada", MINUTE, now);
    start_cooldown(&accounts, "cyd", SECOND, now);
    logged(|| accounts.report(0, &id("bob"), MODEL, rejected(), now));
    let listed = |account, model: Option<&str>| AccountCooldown {
        upstream: "up".parse().unwrap(),
        account: id(account),
        model: model.map(Arc::from),
        until: now + MINUTE,
    };
    let all = accounts.cooldowns(now + SECOND);
    assert_eq!(all, [listed("ada", Some(MODEL)), listed("bob", None)]);
}

#[test]
fn the_number_of_remembered_models_is_bounded() {
    let (accounts, ada, now) = (named(&["ada"]), id("ada"), Instant::now());
    let outcome = AccountOutcome::Cooldown {
        retry_after: Some(SECOND),
    };
    for n in 0..1000 {
        accounts.report(
            0,
            &ada,
            &format!("m-{n}"),
            outcome.clone(),
            now + SECOND * n,
        );
    }
    assert!(accounts.upstreams[0].accounts[0].availability.remembered() <= 256);
}

#[test]
fn the_account_of_a_message_is_known_after_a_reload() {
    let now = Instant::now();
    let up = || upstream("up", &[("ada", "a")]);
    let before = accounts(vec![up()], None);
    before.remember(&Made::Message("msg_1"), 0, &id("ada"), now);
    assert_eq!(
        before.made(&Made::Message("msg_1"), now),
        Some((0, id("ada")))
    );
    let after = accounts(vec![upstream("other", &[]), up()], Some(&before));
    assert_eq!(
        after.made(&Made::Message("msg_1"), now),
        Some((1, id("ada")))
    );
    let without = accounts(vec![upstream("up", &[])], Some(&after));
    assert_eq!(without.made(&Made::Message("msg_1"), now), None);
}

#[tokio::test]
async fn a_key_is_its_own_credential() {
    let accounts = named(&["ada"]);
    let key = accounts.credential(0, &id("ada")).await.unwrap();
    assert!(key.matches(b"sk-test"));
    assert!(accounts.credential(0, &id("eve")).await.is_err());
}

/// What is logged during the call, without colours.
pub(super) fn logged(act: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut all = self.0.lock();
            all.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, act);
    let all = sink.0.lock().clone();
    String::from_utf8(all).unwrap()
}
