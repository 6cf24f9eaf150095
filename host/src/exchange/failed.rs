//! An attempt that failed: what hooks and verdict read of it, and what the client gets if it stays the last.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

use crate::{
    fault::{Fault, Kind, Retry},
    ids::UpstreamId,
    message::{Body, Failure, Response, Target},
};

use super::{
    kinds::{envelope, kind_of},
    verdict::Came,
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
    /// Whether the upstream refused a credential that the gateway holds.
    ours: bool,
    upstream: UpstreamId,
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
            Some(_) => "api_error".to_owned(),
            None => envelope(&body).map_or_else(|| kind_of(status).to_owned(), |error| error.kind),
        };
        let failure = Failure {
            status,
            kind,
            headers,
            body,
            retry: None,
            rest: None,
            corrected: false,
        };
        let ours = matches!(status, 401 | 403) && target.account.is_some();
        Self {
            failure,
            fault,
            ours,
            upstream: target.upstream.clone(),
        }
    }

    /// For the verdict.
    pub(crate) fn came(&self) -> Came {
        let wish = self.failure.retry;
        match &self.fault {
            Some(fault) if !self.failure.corrected => {
                let connected = fault.kind != Kind::Unreachable;
                Came::Nothing {
                    retry: fault.retry,
                    connected,
                    wish,
                }
            }
            _ => Came::Status {
                status: self.failure.status,
                ours: self.ours,
                wish,
            },
        }
    }

    /// What it failed for, in the words of the metrics.
    pub(crate) fn cause(&self) -> &'static str {
        if self.failure.retry.is_some() {
            return "plugin";
        }
        let fault = self.fault.as_ref().filter(|_| !self.failure.corrected);
        match (fault.map(|fault| &fault.kind), self.failure.status) {
            (Some(Kind::Unreachable), _) => "unreachable",
            (Some(Kind::TimedOut), _) => "timed_out",
            (Some(_), _) => "broken_answer",
            (None, 401 | 403) => "credential",
            (None, 429) => "rate_limited",
            (None, 503 | 529) => "overloaded",
            (None, 408 | 425 | 500..=599) => "server_error",
            (None, _) => "other",
        }
    }

    /// What the client gets, with the headers of the upstream that go with it.
    pub(crate) fn into_outcome(self) -> (Result<Response, Fault>, HeaderMap) {
        let Self {
            failure,
            fault,
            ours,
            upstream,
        } = self;
        let Failure {
            status,
            kind,
            mut headers,
            body,
            corrected,
            ..
        } = failure;
        let in_envelope = envelope(&body);
        if corrected {
            // The envelope stands for itself; anything else is put into one under the corrected type.
            let fault = Fault::upstream(Kind::Refused { status, kind }, text(&body));
            return match StatusCode::from_u16(status) {
                Ok(status) if in_envelope.is_some() => {
                    (Ok(whole(status, headers, body)), HeaderMap::new())
                }
                _ => (Err(fault), described(headers)),
            };
        }
        if let Some(fault) = fault {
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
        match (in_envelope, StatusCode::from_u16(status)) {
            (Some(_), Ok(status)) => (Ok(whole(status, headers, body)), HeaderMap::new()),
            _ => {
                let told = headers
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.parse().ok());
                (
                    Err(foreign(&upstream, status, told, &body)),
                    described(headers),
                )
            }
        }
    }
}

/// An error that is not in Anthropic's words; `seconds` is how long to wait, where it says so in a number.
fn foreign(upstream: &UpstreamId, status: u16, seconds: Option<u64>, body: &Bytes) -> Fault {
    let said = match text(body) {
        said if said.is_empty() => "with an empty body".to_owned(),
        said => format!("and said: {said}"),
    };
    let what = format!("upstream `{upstream}` answered with status {status} {said}");
    // A redirect is not followed, because it would carry the credential elsewhere.
    if !(400..600).contains(&status) {
        return Fault::upstream(Kind::BrokenAnswer, what).retry(Retry::Never);
    }
    if status == 429 {
        let fault = Fault::upstream(Kind::RateLimited, what);
        return match seconds {
            Some(seconds) => fault.after(Duration::from_secs(seconds)),
            None => fault,
        };
    }
    Fault::upstream(
        Kind::Refused {
            status,
            kind: kind_of(status).to_owned(),
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
            asked_model: "m".into(),
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
}
