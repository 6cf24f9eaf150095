//! An attempt that failed: what hooks and verdict read of it, and what the client gets if it stays the last.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use witgate_contract::{ErrorType, error_type::is_transient};

use crate::{
    accounts::{self, AccountOutcome},
    fault::{Blame, Fault, Kind, Retry},
    ids::UpstreamId,
    message::{Body, Failure, Request, RequestKind, Response, Target, keep_common},
};

use super::{
    kinds::envelope,
    prompt, refusal,
    verdict::{Came, What},
};

/// What came in place of an answer.
#[derive(Debug)]
pub(crate) enum Bad {
    /// An error, by its status or in place of a stream's first event.
    Error {
        status: u16,
        headers: HeaderMap,
        body: Bytes,
    },
    /// An answer that is none, with as much of it as came.
    Broken {
        status: u16,
        headers: HeaderMap,
        body: Bytes,
        fault: Fault,
    },
    /// Nothing.
    Nothing(Fault),
}

pub(crate) struct Failed {
    /// As failure hooks left it.
    pub(crate) failure: Failure,
    /// Where there was no error status, why there is no answer.
    fault: Option<Fault>,
    /// How long the upstream says to wait.
    told: Option<Duration>,
    /// Whether the credential was the gateway's own.
    own_credential: bool,
    /// Whether there may be another credential for the same account.
    pub(crate) renewed: bool,
    /// When the first of the accounts comes back that all rest now.
    pub(crate) comes_back: Option<Instant>,
    upstream: UpstreamId,
    /// Whether the upstream speaks another protocol.
    foreign: bool,
}

impl Failed {
    pub(crate) fn new(bad: Bad, target: &Target) -> Self {
        let (status, headers, body, fault) = match bad {
            Bad::Error {
                status,
                headers,
                body,
            } => (status, headers, body, None),
            Bad::Broken {
                status,
                headers,
                body,
                fault,
            } => (status, headers, body, Some(fault)),
            Bad::Nothing(fault) => (0, HeaderMap::new(), fault.chain().into(), Some(fault)),
        };
        let kind = match &fault {
            Some(_) => ErrorType::Api.as_str().to_owned(),
            None => envelope(&body).map_or_else(
                || ErrorType::from_status(status).as_str().to_owned(),
                |error| error.kind,
            ),
        };
        let told = told(status, &headers);
        let failure = Failure {
            status,
            kind,
            headers,
            body,
            retry: None,
            cooldown: None,
            corrected: false,
        };
        Self {
            failure,
            fault,
            told,
            own_credential: target.account.is_some(),
            renewed: false,
            comes_back: None,
            upstream: target.upstream.clone(),
            foreign: target.is_foreign(),
        }
    }

    /// Whether the upstream refused a credential that the gateway holds, or the account itself.
    ///
    /// A 401 always says so; a 403 only by its error type, or by words that no plugin corrected.
    /// Any other 403 is about the request.
    pub(crate) fn refused_our_credential(&self) -> bool {
        if self.fault().is_some() || !self.own_credential {
            return false;
        }
        let failure = &self.failure;
        match failure.status {
            401 => true,
            403 if failure.kind == ErrorType::Authentication.as_str() => true,
            403 => !failure.corrected && refusal::is_about_the_account(&failure.body),
            _ => false,
        }
    }

    /// For the verdict.
    pub(crate) fn came(&self) -> Came {
        let what = match self.fault() {
            Some(fault) => What::Nothing {
                kind: fault.kind.clone(),
                retry: fault.retry,
            },
            None if self.refused_our_credential() => What::OurCredential {
                renewed: self.renewed,
            },
            None => What::Status {
                status: self.failure.status,
                told: self.failure.cooldown.or(self.told),
            },
        };
        let wish = self.failure.retry;
        Came::Failed { what, wish }
    }

    /// What it says about the account. Probes, and counting, which has limits of its own, say nothing about messages,
    /// whatever their status.
    pub(crate) fn outcome(&self, request: &Request) -> AccountOutcome {
        let told = self.failure.cooldown.or(self.told);
        match self.fault() {
            _ if self.renewed => AccountOutcome::Neutral,
            _ if request.kind != RequestKind::Messages || is_probe(request) => {
                AccountOutcome::Neutral
            }
            None if self.refused_our_credential() => AccountOutcome::BadCredential,
            _ if self.failure.cooldown.is_some() => AccountOutcome::Cooldown { retry_after: told },
            None if is_transient(self.failure.status) => {
                AccountOutcome::Cooldown { retry_after: told }
            }
            // That the gateway cannot ask is not the account's doing either.
            Some(fault) if fault.blame == Blame::Gateway => AccountOutcome::Neutral,
            // An account without a credential rests already.
            Some(fault) if fault.kind == Kind::BadCredential => AccountOutcome::Neutral,
            // That nobody gets through to the upstream is not the account's doing.
            Some(fault) if fault.kind != Kind::Unreachable && fault.retry != Retry::Never => {
                AccountOutcome::Cooldown { retry_after: told }
            }
            _ => AccountOutcome::Neutral,
        }
    }

    /// What it failed for, in the words of the metrics.
    pub(crate) fn cause(&self) -> &'static str {
        if self.failure.retry.is_some() {
            return "plugin";
        }
        match (self.fault().map(|fault| &fault.kind), self.failure.status) {
            (Some(Kind::Unreachable), _) => "unreachable",
            (Some(Kind::TimedOut), _) => "timed_out",
            (Some(Kind::BadCredential | Kind::Unauthenticated), _) | (None, 401) => "credential",
            (None, 403) if self.refused_our_credential() => "credential",
            (Some(Kind::Internal), _) => "other",
            (Some(_), _) => "broken_answer",
            (None, 429) => "rate_limited",
            (None, 503 | 529) => "overloaded",
            (None, 408 | 425 | 500..=599) => "server_error",
            (None, _) => "other",
        }
    }

    /// Its status, or its cause where there was none.
    pub(crate) fn mark(&self) -> Mark {
        match self.fault() {
            None => Mark::Status(self.failure.status),
            Some(_) => Mark::Word(self.cause()),
        }
    }

    /// Why there is no answer, unless a hook knows better.
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref().filter(|_| !self.failure.corrected)
    }

    /// What the client gets, with the headers of the upstream that go with it.
    pub(crate) fn into_outcome(self) -> (Result<Response, Fault>, HeaderMap) {
        let ours = self.refused_our_credential();
        let Self {
            failure,
            fault,
            told,
            comes_back,
            upstream,
            foreign: is_foreign,
            ..
        } = self;
        let Failure {
            status,
            kind,
            mut headers,
            body,
            cooldown,
            corrected,
            ..
        } = failure;
        if is_foreign {
            keep_common(&mut headers);
        }
        if let Some(until) = comes_back.filter(|_| status == 429) {
            let wait = until.saturating_duration_since(Instant::now());
            let seconds = HeaderValue::from(wait.as_secs() + 1);
            headers.entry(RETRY_AFTER).or_insert(seconds);
        }
        if let Some(cooldown) = cooldown.filter(|_| matches!(status, 429 | 503 | 529)) {
            let seconds = HeaderValue::from(cooldown.as_millis().div_ceil(1000) as u64);
            headers.entry(RETRY_AFTER).or_insert(seconds);
        }
        let in_envelope = envelope(&body);
        let said = match &in_envelope {
            Some(error) => error.message.clone().into(),
            None => String::from_utf8_lossy(&body),
        };
        if let Some(what) =
            prompt::too_long(&said).filter(|_| matches!(status, 400 | 413 | 422 | 500))
        {
            let kind = ErrorType::InvalidRequest.as_str().to_owned();
            let fault = Fault::upstream(Kind::Refused { status: 400, kind }, what);
            return (Err(fault), described(headers));
        }
        if ours {
            let said = in_envelope.map_or_else(|| text(&body), |error| error.message);
            let what = format!(
                "upstream `{upstream}` refused the credential that this gateway holds for it ({status}): {said}"
            );
            // Our upstream's advice on repeating is for us.
            headers.remove("x-should-retry");
            return (
                Err(Fault::upstream(Kind::BadCredential, what)),
                described(headers),
            );
        }
        if corrected {
            // The envelope stands for itself; anything else is put into one under the corrected type.
            let fault = Fault::upstream(Kind::Refused { status, kind }, text(&body));
            return match StatusCode::from_u16(status) {
                Ok(status) if in_envelope.is_some() => {
                    // What the upstream sent may have been anything.
                    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                    (Ok(whole(status, headers, body)), HeaderMap::new())
                }
                _ => (Err(fault), described(headers)),
            };
        }
        if let Some(fault) = fault {
            return (Err(fault), described(headers));
        }
        match (in_envelope, StatusCode::from_u16(status)) {
            (Some(_), Ok(status)) => (Ok(whole(status, headers, body)), HeaderMap::new()),
            _ => (
                Err(foreign(&upstream, status, told, &body)),
                described(headers),
            ),
        }
    }
}

/// How an attempt ended, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Status(u16),
    Word(&'static str),
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// How long the upstream says to wait. The state of its limits is a reason to wait only where one of them was met.
fn told(status: u16, headers: &HeaderMap) -> Option<Duration> {
    let now = SystemTime::now();
    if status == 429 {
        return accounts::retry_after(headers, now);
    }
    let retry_after = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("retry-after"));
    let retry_after = retry_after.map(|(name, value)| (name.clone(), value.clone()));
    accounts::retry_after(&retry_after.collect(), now)
}

/// Clients ask for a single token to see whether a key or a model is good.
fn is_probe(request: &Request) -> bool {
    let most = request.body.top("max_tokens");
    most.is_some_and(|most| most.trim_ascii() == b"1")
}

/// An error that is not in Anthropic's words; `told` is how long it says to wait.
fn foreign(upstream: &UpstreamId, status: u16, told: Option<Duration>, body: &Bytes) -> Fault {
    let said = match text(body) {
        said if said.is_empty() => "with an empty body".to_owned(),
        said => format!("and said: {said}"),
    };
    let what = format!("upstream `{upstream}` answered with status {status} {said}");
    // A redirect is not followed, because it would carry the credential elsewhere.
    if !(400..600).contains(&status) {
        return Fault::upstream(Kind::InvalidResponse, what).retry(Retry::Never);
    }
    if status == 429 {
        let fault = Fault::upstream(Kind::RateLimited, what);
        return match told {
            Some(told) => fault.after(told),
            None => fault,
        };
    }
    Fault::upstream(
        Kind::Refused {
            status,
            kind: ErrorType::from_status(status).as_str().to_owned(),
        },
        what,
    )
}

fn whole(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response {
    Response {
        status,
        headers,
        body: Body::Whole(body),
    }
}

/// The headers without those that describe a body which is not given.
fn described(mut headers: HeaderMap) -> HeaderMap {
    let of_the_body =
        |name: &HeaderName| *name == CONTENT_TYPE || name.as_str().starts_with("content-");
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| of_the_body(name))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
    headers
}

/// As much of a body as fits into a sentence.
fn text(body: &Bytes) -> String {
    const ENOUGH: usize = 300;
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * ENOUGH)]);
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(ENOUGH) {
        words.truncate(end);
        words.push_str(" ...");
    }
    words
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn target(account: Option<&str>) -> Target {
        Target {
            upstream: "up".parse().unwrap(),
            index: 0,
            dialect: "anthropic".into(),
            account: account.map(|name| name.parse().unwrap()),
            model: "m".into(),
            requested_model: "m".into(),
            attempt: 1,
            lacks: Arc::default(),
        }
    }

    fn error(status: u16, body: &'static str, account: Option<&str>) -> Failed {
        let bad = Bad::Error {
            status,
            headers: HeaderMap::new(),
            body: body.into(),
        };
        Failed::new(bad, &target(account))
    }

    const ENVELOPE: &str =
        r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#;

    #[test]
    fn an_error_in_the_envelope_passes_unmodified() {
        let (outcome, _) = error(529, ENVELOPE, Some("ada")).into_outcome();
        let response = outcome.unwrap();
        assert_eq!(response.status, 529);
        assert!(matches!(response.body, Body::Whole(body) if body == ENVELOPE));
    }

    #[test]
    fn an_error_in_other_words_is_put_into_ours() {
        let failed = error(503, "<html>down\n for now</html>", None);
        assert_eq!(failed.failure.kind, "overloaded_error");
        let fault = failed.into_outcome().0.err().unwrap();
        assert_eq!(
            fault.kind,
            Kind::Refused {
                status: 503,
                kind: "overloaded_error".to_owned()
            }
        );
        assert!(
            fault.to_string().contains("<html>down for now</html>"),
            "{fault}"
        );
    }

    #[test]
    fn our_own_refused_credential_is_no_login_problem_of_the_client() {
        let fault = error(401, ENVELOPE, Some("ada"))
            .into_outcome()
            .0
            .err()
            .unwrap();
        assert_eq!(fault.kind, Kind::BadCredential);
        assert_eq!(
            error(401, ENVELOPE, None)
                .into_outcome()
                .0
                .ok()
                .unwrap()
                .status,
            401
        );
    }

    #[test]
    fn a_403_is_about_the_credential_only_if_it_says_so() {
        let table = [
            (
                r#"{"type":"error","error":{"type":"permission_error","message":"OAuth authentication is currently not allowed for this organization."}}"#,
                true,
            ),
            (
                r#"{"type":"error","error":{"type":"authentication_error","message":"no"}}"#,
                true,
            ),
            (
                r#"{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the specified resource."}}"#,
                false,
            ),
            ("<html><title>Request blocked</title></html>", false),
            ("", false),
        ];
        for (body, is_ours) in table {
            let failed = error(403, body, Some("ada"));
            assert_eq!(failed.refused_our_credential(), is_ours, "{body}");
            assert!(!error(403, body, None).refused_our_credential(), "{body}");
            let outcome = failed.into_outcome().0;
            let is_gateways = matches!(&outcome, Err(fault) if fault.kind == Kind::BadCredential);
            assert_eq!(is_gateways, is_ours, "{body}");
        }
    }

    #[test]
    fn a_plugin_decides_what_a_403_is_about() {
        let suspended =
            r#"{"type":"error","error":{"type":"permission_error","message":"Account suspended"}}"#;
        let mut failed = error(403, suspended, Some("ada"));
        assert!(failed.refused_our_credential());
        failed.failure.corrected = true;
        assert!(!failed.refused_our_credential());
        "authentication_error".clone_into(&mut failed.failure.kind);
        assert!(failed.refused_our_credential());
    }
}
