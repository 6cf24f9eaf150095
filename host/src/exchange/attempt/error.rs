//! A failed attempt: what hooks and the retry policy read of it, and what the client gets if it is
//! the last one.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use witgate_contract::{
    ErrorType,
    error_type::{is_transient, status_of},
};

use crate::{
    accounts::{self, AccountOutcome},
    exchange::causes::Cause,
    fault::{Blame, Fault, Kind, Retry},
    ids::UpstreamId,
    message::{Body, Failure, Request, RequestKind, Response, Target, keep_common},
    secret,
    sse::Frame,
};

use super::{
    envelope::{Envelope, envelope, text},
    foreign_error::foreign_error,
    refusal,
    status::AttemptStatus,
};

/// Why an attempt failed, with everything a decision needs.
#[derive(Debug)]
pub(crate) struct AttemptError {
    /// As failure hooks left it.
    pub(crate) failure: Failure,
    /// Why there is no usable response, if there was no error status.
    fault: Option<Fault>,
    /// How long the upstream asks to wait.
    retry_after: Option<Duration>,
    /// Whether the credential was an account's and not the client's.
    own_credential: bool,
    /// Whether the same account may have another credential now.
    pub(in crate::exchange) renewed: bool,
    /// When the first account becomes available, if all of them are on cooldown now.
    pub(in crate::exchange) available_at: Option<Instant>,
    upstream: UpstreamId,
    /// The model that was sent.
    model: Arc<str>,
    /// Whether the upstream speaks another dialect.
    foreign: bool,
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
    pub(in crate::exchange) fn event(
        target: &Target,
        frame: &Frame,
        mut headers: HeaderMap,
    ) -> Self {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = frame.data().unwrap_or_default();
        let status = match envelope(&body) {
            Some(error) => status_of(&error.kind),
            None => foreign_error(&body).unwrap_or(500),
        };
        Self::status(target, status, headers, body)
    }

    /// An invalid response, with whatever was received of it.
    pub(in crate::exchange) fn invalid_response(
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
    pub(in crate::exchange) fn no_response(target: &Target, fault: Fault) -> Self {
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
            model: Arc::clone(&target.model),
            foreign: target.is_foreign(),
        }
    }

    /// Hides keys that the upstream repeated, before plugins, the client or the log get its error.
    pub(crate) fn hide<'a>(&mut self, keys: impl IntoIterator<Item = &'a [u8]>) {
        for key in keys {
            if let Some(body) = secret::hide(&self.failure.body, key) {
                self.failure.body = body.into();
            }
            for value in self.failure.headers.values_mut() {
                let hidden = secret::hide(value.as_bytes(), key);
                if let Some(hidden) = hidden.and_then(|hidden| hidden.try_into().ok()) {
                    *value = hidden;
                }
            }
            if let Some(fault) = &mut self.fault {
                fault.hide(key);
            }
        }
    }

    /// The beginning of the upstream's error, on one line.
    pub(crate) fn reason(&self) -> String {
        text(&self.failure.body)
    }

    /// Whether the upstream rejected a credential that the gateway holds, or the account itself.
    ///
    /// A 401 always says so. A 403 says so by its error type, or by its words if no plugin
    /// corrected them; any other 403 is about the request.
    pub(crate) fn rejected_our_credential(&self) -> bool {
        if self.fault().is_some() || !self.own_credential {
            return false;
        }
        let failure = &self.failure;
        match failure.status {
            401 => true,
            403 if failure.kind == ErrorType::Authentication.as_str() => true,
            400 | 403 => !failure.corrected && refusal::is_about_the_account(&failure.body),
            _ => false,
        }
    }

    /// Whether the account cannot pay for the request: out of credit or over a spending limit.
    ///
    /// A 402 and a `billing_error` always say so. A 400 or 403 says so by its words, if no plugin
    /// corrected them.
    pub(in crate::exchange) fn is_out_of_credit(&self) -> bool {
        if self.fault().is_some() || !self.own_credential {
            return false;
        }
        let failure = &self.failure;
        match failure.status {
            402 => true,
            _ if failure.kind == ErrorType::Billing.as_str() => true,
            400 | 403 => !failure.corrected && refusal::is_about_credit(&failure.body),
            _ => false,
        }
    }

    /// Whether the upstream does not have the model.
    pub(in crate::exchange) fn lacks_the_model(&self) -> bool {
        let is_404 = self.fault().is_none() && self.failure.status == 404;
        is_404 && refusal::is_about_the_model(&self.failure.body, &self.model)
    }

    /// Why the account goes on cooldown, for clients that find it so.
    pub(in crate::exchange) fn cooldown_cause(&self) -> Cause {
        let Failure {
            status, kind, body, ..
        } = &self.failure;
        if let Some(fault) = self.fault() {
            return Cause {
                kind: self.cause().to_owned(),
                words: fault.chain(),
            };
        }
        let kind = match self.is_out_of_credit() {
            true => ErrorType::Billing.as_str(),
            false => kind,
        };
        let in_envelope = envelope(body);
        Cause {
            kind: format!("{status} {kind}"),
            words: in_envelope.map_or_else(|| text(body), |error| error.message),
        }
    }

    /// How long to wait: what a failure hook says, else what the upstream says.
    pub(in crate::exchange) fn retry_after(&self) -> Option<Duration> {
        self.failure.cooldown.or(self.retry_after)
    }

    /// What it says about the account. Probes and `count_tokens` requests have limits of their own,
    /// so their errors say nothing about messages, whatever the status.
    pub(in crate::exchange) fn account_outcome(&self, request: &Request) -> AccountOutcome {
        let retry_after = self.retry_after();
        match self.fault() {
            _ if self.renewed => AccountOutcome::Neutral,
            _ if request.kind != RequestKind::Messages || is_probe(request) => {
                AccountOutcome::Neutral
            }
            None if self.rejected_our_credential() => AccountOutcome::BadCredential {
                reason: self.cooldown_cause().words,
            },
            None if self.is_out_of_credit() => AccountOutcome::OutOfCredit { retry_after },
            _ if self.failure.cooldown.is_some() => AccountOutcome::Cooldown { retry_after },
            None if is_transient(self.failure.status) => AccountOutcome::Cooldown { retry_after },
            // The gateway could not send the request: not the account's fault.
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
    pub(in crate::exchange) fn cause(&self) -> &'static str {
        if self.failure.retry.is_some() {
            return "plugin";
        }
        match (self.fault().map(|fault| &fault.kind), self.failure.status) {
            (Some(Kind::Unreachable), _) => "unreachable",
            (Some(Kind::TimedOut), _) => "timeout",
            (Some(Kind::BadCredential | Kind::Unauthenticated), _) | (None, 401) => "credential",
            (None, 400 | 403) if self.rejected_our_credential() => "credential",
            (None, _) if self.is_out_of_credit() => "credit",
            (None, 404) => "model",
            (Some(Kind::Internal), _) => "other",
            (Some(_), _) => "invalid_response",
            (None, 429) => "rate_limited",
            (None, 503 | 529) => "overloaded",
            (None, 408 | 425 | 500..=599) => "server_error",
            (None, _) => "other",
        }
    }

    /// Its status, or its cause if it has none.
    pub(in crate::exchange) fn attempt_status(&self) -> AttemptStatus {
        match self.fault() {
            None => AttemptStatus::Code(self.failure.status),
            Some(_) => AttemptStatus::Word(self.cause()),
        }
    }

    /// Why there is no usable response, unless a failure hook corrected it.
    pub(in crate::exchange) fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref().filter(|_| !self.failure.corrected)
    }

    /// The fault, or one that names the upstream's error status.
    pub(in crate::exchange) fn into_fault(self) -> Fault {
        let Self { failure, fault, .. } = self;
        fault.unwrap_or_else(|| {
            let what = format!("it returned status {}", failure.status);
            Fault::upstream(Kind::NotFound, what)
        })
    }

    /// What the client gets, with the headers of the upstream that go with it.
    pub(crate) fn into_outcome(mut self) -> (Result<Response, Fault>, HeaderMap) {
        self.prepare_headers();
        let in_envelope = envelope(&self.failure.body);
        if self.rejected_our_credential() {
            let fault = self.credential_fault(in_envelope);
            // The upstream's advice on retries is meant for the gateway.
            self.failure.headers.remove("x-should-retry");
            return (Err(fault), without_body_headers(self.failure.headers));
        }
        let Self {
            failure,
            fault,
            retry_after,
            upstream,
            ..
        } = self;
        let Failure {
            status,
            kind,
            mut headers,
            body,
            corrected,
            ..
        } = failure;
        if corrected {
            // A body in the envelope is sent as it is. Any other is wrapped under the corrected
            // type.
            return match StatusCode::from_u16(status) {
                Ok(status) if in_envelope.is_some() => {
                    // The upstream's own body may have had another type.
                    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                    (Ok(whole(status, headers, body)), HeaderMap::new())
                }
                _ => {
                    let fault = Fault::upstream(Kind::Refused { status, kind }, text(&body));
                    (Err(fault), without_body_headers(headers))
                }
            };
        }
        if let Some(fault) = fault {
            return (Err(fault), without_body_headers(headers));
        }
        // A client that followed a redirect would send its key there.
        if let Some(to) = headers
            .remove(LOCATION)
            .filter(|_| (300..400).contains(&status))
        {
            return (
                Err(redirect(&upstream, status, &to)),
                without_body_headers(headers),
            );
        }
        match (in_envelope, StatusCode::from_u16(status)) {
            (Some(_), Ok(status)) => (Ok(whole(status, headers, body)), HeaderMap::new()),
            _ => (
                Err(foreign(&upstream, status, retry_after, &body)),
                without_body_headers(headers),
            ),
        }
    }

    /// Keeps the headers that are for the client, and adds a `retry-after` if the wait is known.
    fn prepare_headers(&mut self) {
        let status = self.failure.status;
        let headers = &mut self.failure.headers;
        if self.foreign {
            keep_common(headers);
        }
        if let Some(until) = self.available_at.filter(|_| status == 429) {
            let wait = until.saturating_duration_since(Instant::now());
            let seconds = HeaderValue::from(wait.as_secs() + 1);
            headers.entry(RETRY_AFTER).or_insert(seconds);
        }
        let cooldown = self.failure.cooldown;
        if let Some(cooldown) = cooldown.filter(|_| matches!(status, 429 | 503 | 529)) {
            let seconds = HeaderValue::from(cooldown.as_millis().div_ceil(1000) as u64);
            headers.entry(RETRY_AFTER).or_insert(seconds);
        }
    }

    fn credential_fault(&self, in_envelope: Option<Envelope>) -> Fault {
        let Failure { status, body, .. } = &self.failure;
        let message = in_envelope.map_or_else(|| text(body), |error| error.message);
        let what = format!(
            "upstream `{}` rejected the credential that this gateway holds for it ({status}): {message}",
            self.upstream
        );
        Fault::upstream(Kind::BadCredential, what)
    }
}

/// How long the upstream asks to wait. The headers about its rate limits are read only after a 429.
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

/// Whether the request only checks a key or a model: clients ask for a single token for that.
fn is_probe(request: &Request) -> bool {
    let max_tokens = request.body.top("max_tokens");
    max_tokens.is_some_and(|max_tokens| max_tokens.trim_ascii() == b"1")
}

/// The fault for an error outside Anthropic's envelope.
fn foreign(
    upstream: &UpstreamId,
    status: u16,
    retry_after: Option<Duration>,
    body: &Bytes,
) -> Fault {
    let what = match text(body) {
        text if text.is_empty() => {
            format!("upstream `{upstream}` returned status {status} with an empty body")
        }
        text => format!("upstream `{upstream}` returned status {status}: {text}"),
    };
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

/// The fault for a redirect. A query is left out, because it may contain a signature.
fn redirect(upstream: &UpstreamId, status: u16, to: &HeaderValue) -> Fault {
    let to = String::from_utf8_lossy(to.as_bytes());
    let to = to.split(['?', '#']).next().unwrap_or_default();
    let what = format!(
        "upstream `{upstream}` returned status {status}, a redirect to `{to}`: redirects are not \
         followed, so set `base_url` to where it leads"
    );
    Fault::upstream(Kind::InvalidResponse, what).retry(Retry::Never)
}

fn whole(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response {
    Response {
        status,
        headers,
        body: Body::Whole(body),
    }
}

/// The headers without those that describe the upstream's body, which is not sent.
fn without_body_headers(mut headers: HeaderMap) -> HeaderMap {
    let describes_body =
        |name: &HeaderName| *name == CONTENT_TYPE || name.as_str().starts_with("content-");
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| describes_body(name))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
    headers
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
    fn an_error_in_the_envelope_is_sent_unmodified() {
        let (outcome, _) = error(529, ENVELOPE, Some("ada")).into_outcome();
        let response = outcome.unwrap();
        assert_eq!(response.status, 529);
        assert!(matches!(response.body, Body::Whole(body) if body == ENVELOPE));
    }

    #[test]
    fn an_error_outside_the_envelope_is_wrapped() {
        let attempt_error = error(503, "<html>down\n for now</html>", None);
        assert_eq!(attempt_error.failure.kind, "overloaded_error");
        let fault = attempt_error.into_outcome().0.err().unwrap();
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
    fn a_redirect_names_its_target_and_passes_no_location_on() {
        let mut attempt_error = error(302, "", Some("ada"));
        let to = HeaderValue::from_static("https://other.test/v1?signature=s");
        attempt_error.failure.headers.insert(LOCATION, to);
        let (outcome, headers) = attempt_error.into_outcome();
        let fault = outcome.err().unwrap();
        assert_eq!(fault.kind, Kind::InvalidResponse);
        let text = fault.to_string();
        assert!(text.contains("`https://other.test/v1`"), "{text}");
        assert!(headers.is_empty(), "{headers:?}");
    }

    #[test]
    fn a_key_that_the_upstream_repeats_is_hidden() {
        let body = r#"{"type":"error","error":{"type":"x","message":"no key sk-of-ada"}}"#;
        let mut attempt_error = error(400, body, Some("ada"));
        let value = HeaderValue::from_static("Bearer sk-of-ada");
        attempt_error.failure.headers.insert("x-seen", value);
        attempt_error.hide([&b"sk-of-ada"[..]]);
        assert_eq!(attempt_error.failure.headers["x-seen"], "Bearer [secret]");
        let response = attempt_error.into_outcome().0.ok().unwrap();
        let hidden = body.replace("sk-of-ada", "[secret]");
        assert!(matches!(response.body, Body::Whole(body) if body == hidden));
    }

    #[test]
    fn a_rejected_account_credential_is_not_blamed_on_the_client() {
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
        for (body, expected) in table {
            let attempt_error = error(403, body, Some("ada"));
            assert_eq!(attempt_error.rejected_our_credential(), expected, "{body}");
            assert!(!error(403, body, None).rejected_our_credential(), "{body}");
            let outcome = attempt_error.into_outcome().0;
            let blamed = matches!(&outcome, Err(fault) if fault.kind == Kind::BadCredential);
            assert_eq!(blamed, expected, "{body}");
        }
    }

    #[test]
    fn a_plugin_decides_what_a_403_is_about() {
        let suspended =
            r#"{"type":"error","error":{"type":"permission_error","message":"Account suspended"}}"#;
        let mut attempt_error = error(403, suspended, Some("ada"));
        assert!(attempt_error.rejected_our_credential());
        attempt_error.failure.corrected = true;
        assert!(!attempt_error.rejected_our_credential());
        "authentication_error".clone_into(&mut attempt_error.failure.kind);
        assert!(attempt_error.rejected_our_credential());
    }
}
