//! Translates Google's errors into Anthropic's type and status, with the account's cooldown.

mod wait;

use std::time::Duration;

use serde::Deserialize;
use witgate_plugin::{
    ErrorType, Value,
    dialect::Overflow,
    error_type::is_transient,
    json,
    serde_json::{self, value::RawValue},
};

use crate::learned::Lesson;

/// An error of the upstream in Anthropic's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpstreamError {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    /// The account's cooldown, from the upstream's delay or its quota.
    pub(crate) cooldown: Option<Duration>,
    /// Whether a signature in the history is not one of the upstream's own.
    pub(crate) rejects_signature: bool,
    /// What the error teaches about the model or the upstream.
    pub(crate) lesson: Option<(&'static str, Lesson)>,
    /// Whether only another account can answer the request.
    pub(crate) other_account: bool,
}

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

/// `google.rpc.Status`. A member of another type counts as missing: some servers send the code as
/// text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    code: Value,
    status: Value,
    message: Value,
    details: Value,
}

impl Status {
    fn code(&self) -> Option<u16> {
        let code = self.code.as_u64();
        let code = code.or_else(|| self.code.as_str()?.parse().ok());
        code.and_then(|code| u16::try_from(code).ok())
    }
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
        let details = reported.details.as_array().map_or(&[][..], Vec::as_slice);
        let message = reported.message.as_str().unwrap_or_default().to_owned();
        let word = reported.status.as_str();
        let (status, kind) = match about_account(word, &message, details) {
            Some(kind) => of_type(kind),
            None if is_too_large(&message) => of_type(ErrorType::RequestTooLarge),
            None => match word {
                Some(word) => of_word(word).map_or_else(|| of_status(http), of_type),
                None => of_status(reported.code().unwrap_or(http)),
            },
        };
        let about_signature = status == 400 && is_about_signature(&message);
        let is_missing = about_signature && message.to_lowercase().contains("missing");
        let lesson = match is_missing {
            true => Some(Lesson::SIGNATURES),
            false => Lesson::read(&message).filter(|_| status == 400),
        };
        let rejects_signature = about_signature && !is_missing;
        let cooldown = match kind {
            ErrorType::Billing => Some(wait::LONG_COOLDOWN),
            _ if matches!(status, 429 | 529) => wait::cooldown(&message, details),
            _ => None,
        };
        Self {
            status,
            kind: kind.as_str(),
            cooldown,
            rejects_signature,
            lesson,
            other_account: kind == ErrorType::Billing,
            message: worded(status, rejects_signature, message),
        }
    }

    /// An error that the dialect itself finds in an invalid response.
    pub(crate) fn found(kind: ErrorType, message: impl Into<String>) -> Self {
        Self {
            status: kind.status(),
            kind: kind.as_str(),
            message: message.into(),
            cooldown: None,
            rejects_signature: false,
            lesson: None,
            other_account: false,
        }
    }

    /// The error in Anthropic's envelope.
    pub(crate) fn body(&self) -> Value {
        json!({ "type": "error", "error": { "type": self.kind, "message": self.message } })
    }
}

/// The message in the words that clients and plugins know.
fn worded(status: u16, rejects_signature: bool, message: String) -> String {
    if message.is_empty() {
        return format!("the upstream returned status {status} without a message");
    }
    if rejects_signature {
        let known = message.to_lowercase();
        let is_known = ["invalid signature", "corrupted thought signature"]
            .iter()
            .any(|words| known.contains(words));
        return match is_known {
            true => message,
            false => format!("{INVALID_SIGNATURE}: {message}"),
        };
    }
    match Overflow::read(&message).filter(|_| matches!(status, 400 | 413 | 422 | 500)) {
        Some(overflow) => overflow.message(),
        None => message,
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

fn is_about_signature(message: &str) -> bool {
    let message = message.to_lowercase().replace('_', " ");
    message.contains("thought signature") || message.contains("thoughtsignature")
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

/// Words about where an account is used from or how it pays, in lower case.
const REJECTED_WORDS: [&str; 9] = [
    "location is not supported",
    "not available in your country",
    "not available in your region",
    "not supported in your country",
    "not supported in your region",
    "free tier is not available",
    "billing is disabled",
    "enable billing",
    "billing to be enabled",
];

/// What a failed precondition is about if it is the account's, in lower case. Others are about the
/// request: a file that is still being processed.
const PRECONDITIONS: [&str; 8] = [
    "location",
    "country",
    "region",
    "territor",
    "billing",
    "free tier",
    "terms of service",
    "organization policy",
];

/// Words about money that is used up, in lower case. "Check your plan and billing details" is part
/// of every message about a quota and says nothing.
const SPENT: [&str; 8] = [
    "spending cap",
    "spend cap",
    "spending limit",
    "spend limit",
    "insufficient balance",
    "insufficient funds",
    "out of credit",
    "insufficient credit",
];

/// The error type of an error about the key, its project or its account. `None` for any other.
///
/// Google reports a wrong key as an invalid argument, and a location that it does not serve as a
/// failed precondition. Most denied permissions concern a single model or file.
fn about_account(word: Option<&str>, message: &str, details: &[Value]) -> Option<ErrorType> {
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| lower.contains(words));
    let is_limit = matches!(
        word,
        None | Some("RESOURCE_EXHAUSTED" | "FAILED_PRECONDITION")
    );
    let credits = lower.contains("credit") && says(&["deplet", "exhaust", "used up", "ran out"]);
    if is_limit && (credits || says(&SPENT)) {
        return Some(ErrorType::Billing);
    }
    let reasons = details.iter().filter_map(|detail| detail.get("reason"));
    let named = reasons
        .filter_map(Value::as_str)
        .any(|reason| reason.starts_with("API_KEY_") || REJECTED_REASONS.contains(&reason));
    let begins = REJECTED_MESSAGES
        .iter()
        .any(|words| message.starts_with(words));
    let refused = matches!(
        word,
        None | Some("INVALID_ARGUMENT" | "PERMISSION_DENIED" | "FAILED_PRECONDITION")
    ) && says(&REJECTED_WORDS);
    let precondition = word == Some("FAILED_PRECONDITION") && says(&PRECONDITIONS);
    (named || begins || refused || precondition).then_some(ErrorType::Authentication)
}

/// Whether the body of the request is too large. The number of tokens has other words.
fn is_too_large(message: &str) -> bool {
    let lower = message.to_lowercase();
    let says = |words: &str| lower.contains(words);
    let exceeds = says("exceed") || says("too large") || says("too big") || says("larger than");
    let body = says("payload size")
        || says("request size")
        || says("request body")
        || says("request payload")
        || says("content length")
        || says("request entity")
        || says("message larger than max");
    exceeds && body && !says("token")
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
    fn a_member_of_another_type_does_not_lose_the_error() {
        let error = read(
            400,
            &json!({ "code": "429", "status": 429, "message": "m", "details": {} }),
        );
        assert_eq!((error.status, error.message.as_str()), (429, "m"));
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
        assert_eq!(cooldown(json!([info, day])), Some(wait::LONG_COOLDOWN));
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
        assert_eq!(missing.lesson, Some(Lesson::SIGNATURES));
        assert!(!missing.rejects_signature);
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

    #[test]
    fn a_location_that_is_not_served_is_the_accounts() {
        let status = |word: &str, message: &str| {
            read(400, &json!({ "status": word, "message": message })).status
        };
        for message in [
            "User location is not supported for the API use.",
            "Gemini API free tier is not available in your country. Please enable billing on your project in Google AI Studio.",
            "The billing account of the project is not active.",
            "This model is not served from the region of your project.",
        ] {
            assert_eq!(status("FAILED_PRECONDITION", message), 401, "{message}");
        }
        let location = "User location is not supported for the API use.";
        assert_eq!(status("INVALID_ARGUMENT", location), 401);
        for message in [
            "The File abc is not in an ACTIVE state and usage is not allowed.",
            "Precondition check failed.",
        ] {
            assert_eq!(status("FAILED_PRECONDITION", message), 400, "{message}");
        }
        let quoted = "Invalid value at 'tools[0].location': \"country\"";
        assert_eq!(status("INVALID_ARGUMENT", quoted), 400);
    }

    #[test]
    fn money_that_is_used_up_is_a_billing_error_of_the_account() {
        let exhausted = |message: &str| {
            read(
                429,
                &json!({ "status": "RESOURCE_EXHAUSTED", "message": message }),
            )
        };
        for message in [
            "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project and billing.",
            "Your project has exceeded its monthly spending cap.",
            "All credits of this account are used up.",
        ] {
            let error = exhausted(message);
            assert_eq!(
                (error.status, error.kind),
                (402, "billing_error"),
                "{message}"
            );
            assert_eq!(error.cooldown, Some(wait::LONG_COOLDOWN));
            assert!(error.other_account);
        }
        let quota = exhausted(
            "You exceeded your current quota, please check your plan and billing details.",
        );
        assert_eq!((quota.status, quota.other_account), (429, false));
    }

    #[test]
    fn a_body_that_is_too_large_is_not_a_prompt_that_is_too_long() {
        let rejected = |message: &str| {
            read(
                400,
                &json!({ "status": "INVALID_ARGUMENT", "message": message }),
            )
        };
        for message in [
            "Request payload size exceeds the limit: 20971520 bytes.",
            "The request body is too large.",
        ] {
            let error = rejected(message);
            assert_eq!((error.status, error.kind), (413, "request_too_large"));
            assert_eq!(error.message, message);
        }
        let vertex = "Unable to submit request because the input token count is 1200000 but model only supports up to 1048576. Reduce the input token count and try again.";
        let public = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).";
        for message in [vertex, public] {
            let error = rejected(message);
            assert_eq!(
                (error.status, error.message.as_str()),
                (400, "prompt is too long: 1200000 tokens > 1048576 maximum")
            );
        }
    }
}
