//! Tests renewed credentials against a token server within the test.

use std::collections::VecDeque;

use futures_util::{FutureExt, future::join_all};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

use crate::{
    accounts::{AccountOutcome, AccountQuery, Accounts, Fetch, Selection},
    config::{self, AuthStyle, Command, OAuth2, Upstream},
    ids::AccountId,
    upstream::Upstreams,
};

use super::*;
use crate::accounts::tests::rejected;

/// Nothing here takes this long unless it hangs.
const LIMIT: Duration = Duration::from_secs(10);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("timed out waiting for {what}"),
    }
}

/// Sends its responses in order, and the last one for ever.
struct TokenServer {
    url: String,
    requests: mpsc::UnboundedReceiver<String>,
}

impl TokenServer {
    async fn start(responses: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let mut responses: VecDeque<(u16, String)> = responses
            .iter()
            .map(|(status, body)| (*status, (*body).to_owned()))
            .collect();
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut seen = Vec::new();
                while !is_whole(&seen) {
                    if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                let (status, body) = match responses.len() {
                    1 => responses[0].clone(),
                    _ => responses.pop_front().unwrap(),
                };
                let _ = sender.send(String::from_utf8(seen).unwrap());
                let response = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n\
                     content-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(response.as_bytes()).await;
            }
        });
        Self { url, requests }
    }

    /// The next request.
    async fn request(&mut self) -> String {
        soon("a token request", self.requests.recv()).await.unwrap()
    }

    #[track_caller]
    fn got_no_other_request(&mut self) {
        assert_eq!(self.requests.try_recv().ok(), None);
    }
}

fn is_whole(seen: &[u8]) -> bool {
    let text = String::from_utf8_lossy(seen);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    body.len() >= length.unwrap_or(0)
}

fn token(access: &str, more: &str) -> String {
    format!(r#"{{"access_token":"{access}","token_type":"bearer"{more}}}"#)
}

const ADA: &str = "ada";

fn ada() -> AccountId {
    ADA.parse().unwrap()
}

fn upstream(access: Access) -> Upstream {
    Upstream {
        auth: AuthStyle::Bearer,
        accounts: vec![config::Account {
            name: ada(),
            organization: None,
            access,
        }],
        ..Upstream::plain("up".parse().unwrap(), "http://127.0.0.1:1")
    }
}

fn refreshed_at(url: &str) -> Access {
    Access::OAuth2(OAuth2 {
        token_url: url.to_owned(),
        client_id: "witgate".to_owned(),
        client_secret: None,
        refresh_token: Secret::new("refresh-1"),
        scopes: vec!["messages".to_owned()],
    })
}

/// With the HTTP client that the gateway uses.
fn accounts(access: Access) -> Accounts {
    with_cooldown(access, Duration::from_secs(600))
}

fn with_cooldown(access: Access, credential_cooldown: Duration) -> Accounts {
    let upstream = upstream(access);
    let all = Upstreams::new(
        std::slice::from_ref(&upstream),
        &config::Retry::default(),
        None,
    )
    .unwrap();
    let all = Arc::new(all);
    let fetch: Fetch = Arc::new(move |request| {
        let all = Arc::clone(&all);
        Box::pin(async move { all.at(0).unwrap().fetch(request).await })
    });
    Accounts::new(vec![(upstream, fetch)], credential_cooldown, None)
}

async fn secret(accounts: &Accounts) -> Secret {
    let id = ada();
    let credential = accounts.credential(0, &id);
    soon("a credential", credential).await.unwrap()
}

async fn credential_fault(accounts: &Accounts) -> Fault {
    let id = ada();
    let credential = accounts.credential(0, &id);
    soon("a fault", credential).await.unwrap_err()
}

/// The remaining cooldown for all models.
fn cooldown(accounts: &Accounts) -> Option<Duration> {
    let ask = AccountQuery {
        upstream: 0,
        model: "any",
        session: None,
        current: None,
        only: None,
        avoid: &[],
    };
    let now = Instant::now();
    match accounts.pick(&ask, now) {
        Selection::OnCooldown { until } => Some(until - now),
        Selection::Available(_) | Selection::None => None,
    }
}

#[tokio::test]
async fn concurrent_exchanges_share_one_token_request() {
    let response = token("at-1", r#","expires_in":3600"#);
    let mut server = TokenServer::start(&[(200, &response)]).await;
    let accounts = accounts(refreshed_at(&server.url));
    let all = join_all((0..20).map(|_| secret(&accounts))).await;
    assert!(all.iter().all(|secret| secret.matches(b"at-1")));
    let request = server.request().await;
    assert!(request.starts_with("POST /token "), "{request}");
    for part in [
        "grant_type=refresh_token",
        "refresh_token=refresh-1",
        "client_id=witgate",
        "scope=messages",
    ] {
        assert!(request.contains(part), "no {part} in {request}");
    }
    assert!(secret(&accounts).await.matches(b"at-1"));
    server.got_no_other_request();
}

#[tokio::test]
async fn concurrent_exchanges_share_one_failure() {
    let mut server = TokenServer::start(&[(503, "busy")]).await;
    let accounts = accounts(refreshed_at(&server.url));
    let all = join_all((0..20).map(|_| credential_fault(&accounts))).await;
    assert!(all.iter().all(|fault| fault.kind == Kind::BadCredential));
    server.request().await;
    server.got_no_other_request();
    // A temporary error: available again soon.
    assert!(cooldown(&accounts).unwrap() <= Duration::from_secs(1));
}

#[tokio::test]
async fn a_new_refresh_token_is_used_the_next_time() {
    let first = token("at-1", r#","expires_in":0,"refresh_token":"refresh-2""#);
    let second = token("at-2", r#","expires_in":3600"#);
    let mut server = TokenServer::start(&[(200, &first), (200, &second)]).await;
    let accounts = accounts(refreshed_at(&server.url));
    assert!(secret(&accounts).await.matches(b"at-1"));
    assert!(secret(&accounts).await.matches(b"at-2"));
    assert!(server.request().await.contains("refresh_token=refresh-1"));
    assert!(server.request().await.contains("refresh_token=refresh-2"));
}

#[tokio::test]
async fn a_rejected_token_is_renewed_once_before_the_account_goes_on_cooldown() {
    let responses = ["at-1", "at-2", "at-3"].map(|access| token(access, r#","expires_in":3600"#));
    let responses: Vec<_> = responses.iter().map(|body| (200, body.as_str())).collect();
    let mut server = TokenServer::start(&responses).await;
    let accounts = accounts(refreshed_at(&server.url));
    let first = secret(&accounts).await;
    assert!(accounts.credential_rejected(0, &ada(), &first));
    // Another exchange that used the same token.
    assert!(accounts.credential_rejected(0, &ada(), &first));
    let second = secret(&accounts).await;
    assert!(second.matches(b"at-2"));
    // One more that comes late: there is a new token already.
    assert!(accounts.credential_rejected(0, &ada(), &first));
    assert!(!accounts.credential_rejected(0, &ada(), &second));
    accounts.report(0, &ada(), "any", rejected(), Instant::now());
    assert!(cooldown(&accounts).is_some());
    for _ in 0..2 {
        server.request().await;
    }
    server.got_no_other_request();
    // An exchange that gets another token nevertheless ends the cooldown.
    assert!(secret(&accounts).await.matches(b"at-3"));
    assert_eq!(cooldown(&accounts), None);
}

#[tokio::test]
async fn a_rejected_token_is_renewed_again_after_a_success() {
    let responses = ["at-1", "at-2", "at-3"].map(|access| token(access, ""));
    let responses: Vec<_> = responses.iter().map(|body| (200, body.as_str())).collect();
    let server = TokenServer::start(&responses).await;
    let accounts = accounts(refreshed_at(&server.url));
    let first = secret(&accounts).await;
    assert!(accounts.credential_rejected(0, &ada(), &first));
    let second = secret(&accounts).await;
    accounts.report(0, &ada(), "any", AccountOutcome::Success, Instant::now());
    assert!(accounts.credential_rejected(0, &ada(), &second));
    assert!(secret(&accounts).await.matches(b"at-3"));
}

#[tokio::test]
async fn a_lasting_error_of_the_token_server_starts_the_long_cooldown() {
    let error = r#"{"error":"invalid_grant","error_description":"refresh-1 was revoked"}"#;
    let server = TokenServer::start(&[(400, error)]).await;
    let accounts = accounts(refreshed_at(&server.url));
    let fault = credential_fault(&accounts).await;
    let text = fault.chain();
    assert!(
        text.contains("upstream `up`: the token server rejected"),
        "{text}"
    );
    // Clients see neither the account's name nor the server's words.
    assert!(!text.contains(ADA) && !text.contains("refresh-1"), "{text}");
    assert!(cooldown(&accounts).unwrap() > Duration::from_secs(590));
}

#[tokio::test]
async fn an_invalid_token_response_is_a_fault() {
    for body in [
        "{}",
        "<html>",
        r#"{"access_token":"a b","token_type":"bearer"}"#,
    ] {
        let server = TokenServer::start(&[(200, body)]).await;
        let accounts = accounts(refreshed_at(&server.url));
        let fault = credential_fault(&accounts).await;
        assert!(
            fault.to_string().contains("an invalid response"),
            "{body}: {fault}"
        );
        assert!(cooldown(&accounts).unwrap() <= Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_renewal_outlives_the_exchange_that_began_it() {
    let response = token("at-1", r#","expires_in":3600"#);
    let mut server = TokenServer::start(&[(200, &response)]).await;
    let accounts = accounts(refreshed_at(&server.url));
    let id = ada();
    assert!(accounts.credential(0, &id).now_or_never().is_none());
    server.request().await;
    assert!(secret(&accounts).await.matches(b"at-1"));
    server.got_no_other_request();
}

#[tokio::test]
async fn a_failed_renewal_is_harmless_while_the_old_token_is_valid() {
    let mut server = TokenServer::start(&[(503, "busy")]).await;
    let accounts = accounts(refreshed_at(&server.url));
    let now = Instant::now();
    let account = accounts.find(0, &ada()).unwrap();
    account.availability.credential.current.lock().issued = Some(Issued {
        secret: Secret::new("at-0"),
        expires: Some(now + Duration::from_secs(60)),
        renew: Some(now),
    });
    assert!(secret(&accounts).await.matches(b"at-0"));
    server.request().await;
    assert_eq!(cooldown(&accounts), None);
    // The next renewal waits for a moment.
    assert!(secret(&accounts).await.matches(b"at-0"));
    server.got_no_other_request();
}

#[tokio::test]
async fn a_silent_token_server_times_out() {
    let fetch: Fetch = Arc::new(|_| Box::pin(std::future::pending()));
    let upstream = upstream(refreshed_at("http://127.0.0.1:1/token"));
    let accounts = Accounts::new(vec![(upstream, fetch)], Duration::from_secs(600), None);
    let account = accounts.find(0, &ada()).unwrap();
    let credential = within(account, Duration::from_millis(5));
    let fault = soon("a fault", credential).await.unwrap_err();
    assert!(fault.to_string().contains("it took too long"), "{fault}");
}

fn shell(script: &str) -> Access {
    Access::Command(Command {
        program: "sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        ttl: Duration::from_secs(600),
    })
}

#[tokio::test]
async fn a_command_runs_once_for_all_exchanges_and_again_after_a_rejection() {
    // The process id differs each time.
    let accounts = accounts(shell("echo sk-$$"));
    let all = join_all((0..5).map(|_| secret(&accounts))).await;
    assert!(all.iter().all(|secret| *secret == all[0]));
    assert!(accounts.credential_rejected(0, &ada(), &all[0]));
    assert!(secret(&accounts).await != all[0]);
}

#[tokio::test]
async fn a_command_that_prints_the_rejected_key_again_is_a_failure() {
    let accounts = accounts(shell("echo sk-always"));
    let first = secret(&accounts).await;
    assert!(accounts.credential_rejected(0, &ada(), &first));
    let fault = credential_fault(&accounts).await;
    assert!(
        fault.to_string().contains("that the upstream rejected"),
        "{fault}"
    );
    assert!(!fault.chain().contains("sk-always"), "{fault}");
    assert!(cooldown(&accounts).unwrap() > Duration::from_secs(590));
    // Another exchange does not end the cooldown.
    accounts.report(0, &ada(), "any", rejected(), Instant::now());
    credential_fault(&accounts).await;
    assert!(cooldown(&accounts).unwrap() > Duration::from_secs(590));
}

#[tokio::test]
async fn a_rejected_key_is_tried_again_after_the_cooldown() {
    let accounts = with_cooldown(shell("echo sk-always"), Duration::from_millis(20));
    let first = secret(&accounts).await;
    accounts.report(0, &ada(), "any", rejected(), Instant::now());
    let over = async {
        while cooldown(&accounts).is_some() {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of the cooldown", over).await;
    assert_eq!(secret(&accounts).await, first);
}
