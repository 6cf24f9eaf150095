//! Translates Google's errors into Anthropic's type and status, with the account's cooldown.

use std::time::Duration;

use serde::Deserialize;
use witgate_plugin::{
    ErrorType, Value,
    error_type::is_transient,
    json,
    serde_json::{self, value::RawValue},
};

/// An error of the upstream in Anthropic's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpstreamError {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    /// The account's cooldown, from the upstream's delay or its quota.
    pub(crate) cooldown: Option<Duration>,
    /// What is wrong with a signature, if the error is about one.
    pub(crate) signature: Option<Signature>,
}

/// Why an upstream rejects a signature in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signature {
    /// A call has no signature, and the model requires one.
    Missing,
    /// The signature is not one of the upstream's own.
    Rejected,
}

/// A daily quota is reset at midnight in California, and Google does not report when that is. One
/// attempt per hour finds out soon enough.
const DAILY_QUOTA_COOLDOWN: Duration = Duration::from_secs(3_600);

/// The words by which plugins/signature-fallback recognises a rejected signature.
const INVALID_SIGNATURE: &str = "Invalid signature";

/// The body of an error, or an event with one: an object, or a list of one (streams without
/// `alt=sse`).
#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    // The list comes first, because it could be read as the members of an envelope in order.
    List([Envelope; 1]),
    One(Envelope),
}

#[derive(Deserialize)]
struct Envelope {
    error: Status,
}

/// `google.rpc.Status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    code: Option<u16>,
    status: Option<String>,
    message: Option<String>,
    details: Option<Vec<Value>>,
}

impl UpstreamError {
    /// Reads the body of a failed response. `None` if it is not in Google's format.
    pub(crate) fn read(status: u16, body: &str) -> Option<Self> {
        let body: Body = serde_json::from_str(body).ok()?;
        let (Body::One(envelope) | Body::List([envelope])) = body;
        Some(Self::of(status, envelope.error))
    }

    /// Reads the error in an event of a stream.
    pub(crate) fn in_stream(error: &RawValue) -> Self {
        let status = serde_json::from_str(error.get()).unwrap_or_default();
        Self::of(500, status)
    }

    fn of(http: u16, reported: Status) -> Self {
        let details = reported.details.unwrap_or_default();
        let message = reported.message.unwrap_or_default();
        let (status, kind) = match reported.status.as_deref() {
            _ if is_rejected_account(&message, &details) => of_type(ErrorType::Authentication),
            Some(word) => of_word(word).map_or_else(|| of_status(http), of_type),
            None => of_status(reported.code.unwrap_or(http)),
        };
        let signature = signature(status, &message);
        let known = message.to_lowercase();
        let known =
            known.contains("invalid signature") || known.contains("corrupted thought signature");
        let message = match message {
            message if signature == Some(Signature::Rejected) && !known => {
                format!("{INVALID_SIGNATURE}: {message}")
            }
            message if message.is_empty() => {
                format!("the upstream returned status {status} without a message")
            }
            message => message,
        };
        Self {
            status,
            kind: kind.as_str(),
            message,
            cooldown: cooldown(status, &details),
            signature,
        }
    }

    /// An error that the dialect itself finds in an invalid response.
    pub(crate) fn found(kind: ErrorType, message: impl Into<String>) -> Self {
        Self {
            status: kind.status(),
            kind: kind.as_str(),
            message: message.into(),
            cooldown: None,
            signature: None,
        }
    }

    /// The error in Anthropic's envelope.
    pub(crate) fn body(&self) -> Value {
        json!({ "type": "error", "error": { "type": self.kind, "message": self.message } })
    }
}

/// The error type of one of Google's status words. `None` if the word is unknown.
fn of_word(word: &str) -> Option<ErrorType> {
    Some(match word {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" | "UNIMPLEMENTED" => {
            ErrorType::InvalidRequest
        }
        "UNAUTHENTICATED" => ErrorType::Authentication,
        "PERMISSION_DENIED" => ErrorType::Permission,
        "NOT_FOUND" => ErrorType::NotFound,
        "RESOURCE_EXHAUSTED" => ErrorType::RateLimit,
        "UNAVAILABLE" => ErrorType::Overloaded,
        "DEADLINE_EXCEEDED" => ErrorType::Timeout,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "ABORTED" | "CANCELLED" => ErrorType::Api,
        _ => return None,
    })
}

fn of_type(kind: ErrorType) -> (u16, ErrorType) {
    (kind.status(), kind)
}

/// Anthropic's status and type for an HTTP status. A status that is retried (425) is kept if
/// Anthropic's would not be retried.
fn of_status(http: u16) -> (u16, ErrorType) {
    let (status, kind) = of_type(ErrorType::from_status(http));
    if is_transient(http) && !is_transient(status) {
        return (http, kind);
    }
    (status, kind)
}

fn signature(status: u16, message: &str) -> Option<Signature> {
    let message = message.to_lowercase().replace('_', " ");
    let about = message.contains("thought signature") || message.contains("thoughtsignature");
    if status != 400 || !about {
        return None;
    }
    Some(if message.contains("missing") {
        Signature::Missing
    } else {
        Signature::Rejected
    })
}

/// Reasons that concern the key's project or account.
const REJECTED_REASONS: [&str; 6] = [
    "ACCOUNT_STATE_INVALID",
    "BILLING_DISABLED",
    "CONSUMER_INVALID",
    "CONSUMER_SUSPENDED",
    "SERVICE_DISABLED",
    "USER_PROJECT_DENIED",
];

/// How the message about a rejected key, project or account begins.
const REJECTED_MESSAGES: [&str; 6] = [
    "API key expired",
    "API key not valid",
    "Permission denied: Consumer",
    "Your API key was reported as leaked",
    "Your project has been denied access",
    "Gemini has been disabled in this account",
];

/// Whether the key or its account is rejected.
///
/// Google reports a wrong key as an invalid argument. Most denied permissions concern a single
/// model or file.
fn is_rejected_account(message: &str, details: &[Value]) -> bool {
    let reasons = details.iter().filter_map(|detail| detail.get("reason"));
    let named = reasons
        .filter_map(Value::as_str)
        .any(|reason| reason.starts_with("API_KEY_") || REJECTED_REASONS.contains(&reason));
    named
        || REJECTED_MESSAGES
            .iter()
            .any(|words| message.starts_with(words))
}

/// The cooldown from `RetryInfo` and `QuotaFailure`, for rate limits and overload.
fn cooldown(status: u16, details: &[Value]) -> Option<Duration> {
    if !matches!(status, 429 | 529) {
        return None;
    }
    let delays = details.iter().filter_map(|detail| detail.get("retryDelay"));
    let delay = delays.filter_map(Value::as_str).filter_map(seconds).max();
    let violations = details.iter().filter_map(|detail| detail.get("violations"));
    let mut quotas = violations
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|violation| {
            violation
                .get("quotaId")
                .or_else(|| violation.get("quotaMetric"))
        });
    let of_day = quotas.any(|quota| {
        quota
            .as_str()
            .is_some_and(|id| id.contains("PerDay") || id.contains("per_day"))
    });
    // The delay is for the quota per minute. After it, the daily quota is still used up.
    delay.max(of_day.then_some(DAILY_QUOTA_COOLDOWN))
}

/// Parses a duration such as `34.074824224s`.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(http: u16, error: &Value) -> UpstreamError {
        UpstreamError::read(http, &json!({ "error": error }).to_string()).unwrap()
    }

    #[test]
    fn each_status_of_google_becomes_one_of_anthropics() {
        let table = [
            (400, "INVALID_ARGUMENT", 400, "invalid_request_error"),
            (401, "UNAUTHENTICATED", 401, "authentication_error"),
            (403, "PERMISSION_DENIED", 403, "permission_error"),
            (404, "NOT_FOUND", 404, "not_found_error"),
            (429, "RESOURCE_EXHAUSTED", 429, "rate_limit_error"),
            (503, "UNAVAILABLE", 529, "overloaded_error"),
            (504, "DEADLINE_EXCEEDED", 504, "timeout_error"),
            (500, "INTERNAL", 500, "api_error"),
            (418, "NEW_WORD", 400, "invalid_request_error"),
            (408, "NEW_WORD", 504, "timeout_error"),
            (409, "NEW_WORD", 409, "conflict_error"),
            (425, "NEW_WORD", 425, "invalid_request_error"),
        ];
        for (http, word, status, kind) in table {
            let error = read(
                http,
                &json!({ "code": http, "message": "m", "status": word }),
            );
            assert_eq!(
                (error.status, error.kind, error.message.as_str()),
                (status, kind, "m")
            );
        }
    }

    #[test]
    fn a_wrong_key_is_an_authentication_error() {
        let reason = json!([{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID" }]);
        let error = json!({ "code": 400, "status": "INVALID_ARGUMENT", "message": "no", "details": reason });
        assert_eq!(read(400, &error).status, 401);
    }

    #[test]
    fn a_denied_permission_concerns_the_account_only_if_it_says_so() {
        let denied = |message: &str, reason: &str| {
            let details =
                json!([{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason }]);
            let error = json!({ "code": 403, "status": "PERMISSION_DENIED", "message": message, "details": details });
            read(403, &error).status
        };
        let consumer = "Permission denied: Consumer 'api_key:x' has been suspended.";
        for (message, reason, status) in [
            (consumer, "", 401),
            ("Your project has been denied access.", "", 401),
            (
                "Permission denied on resource project p.",
                "CONSUMER_INVALID",
                401,
            ),
            (
                "Generative Language API is disabled.",
                "SERVICE_DISABLED",
                401,
            ),
            ("Requests are blocked.", "API_KEY_SERVICE_BLOCKED", 401),
            (
                "Permission 'aiplatform.endpoints.predict' denied on resource 'm'.",
                "IAM_PERMISSION_DENIED",
                403,
            ),
            ("You do not have permission to access the File f.", "", 403),
        ] {
            assert_eq!(denied(message, reason), status, "{message}");
        }
    }

    #[test]
    fn a_cooldown_follows_the_delay_and_is_longer_for_a_daily_quota() {
        let info =
            json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s" });
        let failure = |id| json!({ "violations": [{ "quotaId": id }] });
        let cooldown = |details: Value| {
            read(
                429,
                &json!({ "status": "RESOURCE_EXHAUSTED", "details": details }),
            )
            .cooldown
        };
        assert_eq!(cooldown(json!([info])), Some(Duration::from_millis(34_500)));
        let minute = failure("GenerateRequestsPerMinutePerProjectPerModel");
        assert_eq!(cooldown(json!([minute])), None);
        let day = failure("GenerateRequestsPerDayPerProjectPerModel-FreeTier");
        assert_eq!(cooldown(json!([info, day])), Some(DAILY_QUOTA_COOLDOWN));
        assert_eq!(seconds("-1s"), None);
    }

    #[test]
    fn a_rejected_signature_gets_the_words_that_are_recognised() {
        let rejected = |message| {
            read(
                400,
                &json!({ "status": "INVALID_ARGUMENT", "message": message }),
            )
        };
        assert_eq!(
            rejected("Thought signature is not valid").message,
            "Invalid signature: Thought signature is not valid"
        );
        assert_eq!(
            rejected("Corrupted thought signature.").message,
            "Corrupted thought signature."
        );
        let missing =
            rejected("Function call is missing a thought_signature in functionCall parts.");
        assert_eq!(missing.signature, Some(Signature::Missing));
        assert!(missing.message.starts_with("Function call"));
    }

    #[test]
    fn a_list_of_one_error_is_read_and_other_bodies_are_not() {
        let list = r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#;
        let error = UpstreamError::read(503, list).unwrap();
        assert_eq!((error.status, error.message.as_str()), (529, "m"));
        for other in ["<html>", "{}", r#"{"error":"x"}"#, "[]"] {
            assert_eq!(UpstreamError::read(500, other), None, "{other}");
        }
    }
}
