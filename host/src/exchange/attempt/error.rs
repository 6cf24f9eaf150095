//! A failed attempt: what hooks and the retry policy read of it, and what the client gets if it is the
//! last one.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use witgate_contract::{
    ErrorType,
    error_type::{is_transient, status_of},
};

use crate::{
    accounts::{self, AccountOutcome},
    fault::{Blame, Fault, Kind, Retry},
    ids::UpstreamId,
    message::{Body, Failure, Request, RequestKind, Response, Target, keep_common},
    sse::Frame,
};

use super::{context_overflow, envelope::envelope, refusal, status::AttemptStatus};

/// Why an attempt failed, with everything a decision needs.
#[derive(Debug)]
pub(crate) struct AttemptError {
    /// As failure hooks left it.
    pub(crate) failure: Failure,
    /// Why there is no usable response, if there was no error status.
    fault: Option<Fault>,
    /// How long the upstream asks to wait.
    retry_after: Option<Duration>,
    /// Whether the credential was the gateway's own.
    own_credential: bool,
    /// Whether there may be another credential for the same account now.
    pub(crate) renewed: bool,
    /// When the first account becomes available, if all of them are on cooldown now.
    pub(crate) available_at: Option<Instant>,
    upstream: UpstreamId,
    /// Whether the upstream speaks another dialect.
    foreign: bool,
}

/// What an error says about the gateway's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialState {
    NotBlamed,
    Rejected,
    /// Rejected, and another one for the same account may be available now.
    Renewed,
}

impl AttemptError {
    /// An error status, or an error as the first event of a stream.
    pub(crate) fn status(target: &Target, status: u16, headers: HeaderMap, body: Bytes) -> Self {
        let kind = envelope(&body).map_or_else(
            || ErrorType::from_status(status).as_str().to_owned(),
            |error| error.kind,
        );
        Self::new(target, (status, kind), headers, body, None)
    }

    /// An error event, as if it had been an error response.
    pub(crate) fn event(target: &Target, frame: &Frame, mut headers: HeaderMap) -> Self {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = frame.data().unwrap_or_default();
        let status = envelope(&body).map_or(500, |error| status_of(&error.kind));
        Self::status(target, status, headers, body)
    }

    /// An invalid response, with whatever was received of it.
    pub(crate) fn invalid_response(
        target: &Target,
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
        fault: Fault,
    ) -> Self {
        let kind = ErrorType::Api.as_str().to_owned();
        Self::new(target, (status.as_u16(), kind), headers, body, Some(fault))
    }

    /// No response at all.
    pub(crate) fn no_response(target: &Target, fault: Fault) -> Self {
        let kind = ErrorType::Api.as_str().to_owned();
        let body = fault.chain().into();
        Self::new(target, (0, kind), HeaderMap::new(), body, Some(fault))
    }

    fn new(
        target: &Target,
        (status, kind): (u16, String),
        headers: HeaderMap,
        body: Bytes,
        fault: Option<Fault>,
    ) -> Self {
        Self {
            retry_after: retry_after(status, &headers),
            failure: Failure {
                status,
                kind,
                headers,
                body,
                retry: None,
                cooldown: None,
                corrected: false,
            },
            fault,
            own_credential: target.account.is_some(),
            renewed: false,
            available_at: None,
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

    /// What it says about the gateway's credential.
    pub(crate) fn credential(&self) -> CredentialState {
        match (self.refused_our_credential(), self.renewed) {
            (false, _) => CredentialState::NotBlamed,
            (true, false) => CredentialState::Rejected,
            (true, true) => CredentialState::Renewed,
        }
    }

    /// How long to wait: as a failure hook says, or the upstream.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.failure.cooldown.or(self.retry_after)
    }

    /// What it says about the account. Probes and `count_tokens` requests, which have limits of their
    /// own, say nothing about messages, whatever their status.
    pub(crate) fn account_outcome(&self, request: &Request) -> AccountOutcome {
        let retry_after = self.retry_after();
        match self.fault() {
            _ if self.renewed => AccountOutcome::Neutral,
            _ if request.kind != RequestKind::Messages || is_probe(request) => {
                AccountOutcome::Neutral
            }
            None if self.refused_our_credential() => AccountOutcome::BadCredential,
            _ if self.failure.cooldown.is_some() => AccountOutcome::Cooldown { retry_after },
            None if is_transient(self.failure.status) => AccountOutcome::Cooldown { retry_after },
            // The gateway could not send: not the account's fault.
            Some(fault) if fault.blame == Blame::Gateway => AccountOutcome::Neutral,
            // An account without a credential is on cooldown already.
            Some(fault) if fault.kind == Kind::BadCredential => AccountOutcome::Neutral,
            // An unreachable upstream is not the account's fault.
            Some(fault) if fault.kind != Kind::Unreachable && fault.retry != Retry::Never => {
                AccountOutcome::Cooldown { retry_after }
            }
            _ => AccountOutcome::Neutral,
        }
    }

    /// The cause of a retry, as a metrics label.
    pub(crate) fn cause(&self) -> &'static str {
        if self.failure.retry.is_some() {
            return "plugin";
        }
        match (self.fault().map(|fault| &fault.kind), self.failure.status) {
            (Some(Kind::Unreachable), _) => "unreachable",
            (Some(Kind::TimedOut), _) => "timeout",
            (Some(Kind::BadCredential | Kind::Unauthenticated), _) | (None, 401) => "credential",
            (None, 403) if self.refused_our_credential() => "credential",
            (Some(Kind::Internal), _) => "other",
            (Some(_), _) => "invalid_response",
            (None, 429) => "rate_limited",
            (None, 503 | 529) => "overloaded",
            (None, 408 | 425 | 500..=599) => "server_error",
            (None, _) => "other",
        }
    }

    /// Its status, or its cause if there was none.
    pub(crate) fn attempt_status(&self) -> AttemptStatus {
        match self.fault() {
            None => AttemptStatus::Code(self.failure.status),
            Some(_) => AttemptStatus::Word(self.cause()),
        }
    }

    /// Why there is no usable response, unless a failure hook corrected it.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref().filter(|_| !self.failure.corrected)
    }

    /// The fault, or one that says what status the upstream answered with.
    pub(crate) fn into_fault(self) -> Fault {
        let Self { failure, fault, .. } = self;
        fault.unwrap_or_else(|| {
            let what = format!("it answered with status {}", failure.status);
            Fault::upstream(Kind::NotFound, what)
        })
    }

    /// What the client gets, with the headers of the upstream that go with it.
    pub(crate) fn into_outcome(self) -> (Result<Response, Fault>, HeaderMap) {
        let ours = self.refused_our_credential();
        let Self {
            failure,
            fault,
            retry_after,
            available_at,
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
        if let Some(until) = available_at.filter(|_| status == 429) {
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
            context_overflow::too_long(&said).filter(|_| matches!(status, 400 | 413 | 422 | 500))
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
                Err(foreign(&upstream, status, retry_after, &body)),
                described(headers),
            ),
        }
    }
}

/// How long the upstream asks to wait. The state of its limits matters only if one of them was reached.
fn retry_after(status: u16, headers: &HeaderMap) -> Option<Duration> {
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

/// An error outside Anthropic's envelope.
fn foreign(
    upstream: &UpstreamId,
    status: u16,
    retry_after: Option<Duration>,
    body: &Bytes,
) -> Fault {
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
        return match retry_after {
            Some(wait) => fault.after(wait),
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
    use super::*;
    use crate::exchange::attempt::test_target;

    fn error(status: u16, body: &'static str, account: Option<&str>) -> AttemptError {
        let target = Target {
            account: account.map(|name| name.parse().unwrap()),
            ..test_target()
        };
        AttemptError::status(&target, status, HeaderMap::new(), body.into())
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
