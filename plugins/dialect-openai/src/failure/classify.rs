//! Classifies an upstream's error in Anthropic's terms. Pure.

use witgate_plugin::ErrorType;

use super::upstream_error::UpstreamError;

/// An error as the client gets it, and what it means for further attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Classified {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    pub(crate) next: Next,
}

/// What happens next, as far as the status does not decide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The gateway decides by the status.
    ByStatus,
    /// The account has no credit: it goes on cooldown, and another account is tried.
    OutOfCredit,
    /// Another account may have a larger limit.
    OtherAccount,
}

const OUT_OF_CREDIT: [&str; 6] = [
    "insufficient_quota",
    "insufficient_credits",
    "insufficient_balance",
    "billing_not_active",
    "billing_hard_limit",
    "credit_balance",
];

/// Codes of a 403 that rejects the key or the account. Any other 403 is about the request.
const REJECTED_ACCOUNT: [&str; 6] = [
    "authentication",
    "deactivated",
    "invalid_api_key",
    "organization_restricted",
    "suspended",
    "unauthorized",
];

/// Classifies an error by its status, or by its own words if it has none (in a stream).
pub(crate) fn classify(
    status: Option<u16>,
    reported: &UpstreamError,
    upstream: &str,
) -> Classified {
    let status = status
        .or(reported.status)
        .unwrap_or_else(|| status_in_words(reported));
    let lower = reported.message.to_ascii_lowercase();
    let is = |status, next| Classified {
        status,
        kind: ErrorType::from_status(status).as_str(),
        message: reported.message.clone(),
        next,
    };
    if status == 402 || reported.names(&OUT_OF_CREDIT) || lower.contains("insufficient balance") {
        return is(402, Next::OutOfCredit);
    }
    // Waiting does not help: a request larger than the limit per minute never fits.
    if status == 429 && lower.contains("request too large") {
        return is(413, Next::OtherAccount);
    }
    if status == 403 && (reported.flagged || reported.names(&["content", "moderation"])) {
        return is(400, Next::ByStatus);
    }
    if status == 403 && (reported.names(&["model_not_found"]) || lower.contains("access to model"))
    {
        return is(404, Next::ByStatus);
    }
    let names_key = ["incorrect api key", "invalid api key"];
    if status == 403
        && (reported.names(&REJECTED_ACCOUNT)
            || names_key.iter().any(|words| lower.starts_with(words)))
    {
        return is(401, Next::ByStatus);
    }
    if lower.starts_with("unexpected endpoint")
        || (status == 404 && is_about_path(reported, &lower))
    {
        let hint = format!(
            "{} (is the version missing in the `base_url` of upstream `{upstream}`? Examples: `https://api.openai.com/v1`, `http://localhost:11434/v1`)",
            reported.message
        );
        return Classified {
            message: hint,
            ..is(404, Next::ByStatus)
        };
    }
    is(status, Next::ByStatus)
}

/// Whether a 404 is about the path and not about what was requested there: only then is the
/// `base_url` a likely cause.
fn is_about_path(reported: &UpstreamError, lower: &str) -> bool {
    const PATH: [&str; 9] = [
        "chat/completions",
        "invalid url",
        "request url",
        "unexpected endpoint",
        "unknown endpoint",
        "cannot post",
        "no route",
        "no static resource",
        "does not have this path",
    ];
    const BARE: [&str; 6] = [
        "not found",
        "not_found",
        "404 page not found",
        "page not found",
        "file not found",
        "404 not found",
    ];
    let bare = lower.trim_end_matches(['.', '!']);
    !reported.names(&["model"])
        && (BARE.contains(&bare) || PATH.iter().any(|words| lower.contains(words)))
}

fn status_in_words(reported: &UpstreamError) -> u16 {
    const WORDS: [(u16, &[&str]); 9] = [
        (402, &OUT_OF_CREDIT),
        (429, &["rate_limit", "ratelimit", "too_many_requests"]),
        (529, &["overloaded", "unavailable", "capacity"]),
        (401, &["authentication", "api_key", "unauthorized"]),
        (403, &["permission"]),
        (404, &["not_found", "notfound"]),
        (504, &["timeout", "timed_out"]),
        (413, &["too_large"]),
        (
            400,
            &[
                "invalid",
                "badrequest",
                "bad_request",
                "context_length",
                "context_size",
                "content_policy",
                "content_filter",
                "unsupported",
            ],
        ),
    ];
    let found = WORDS.iter().find(|(_, words)| reported.names(words));
    found.map_or(500, |(status, _)| *status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: Option<u16>, body: &str) -> Classified {
        classify(status, &UpstreamError::parse(body).unwrap(), "up")
    }

    #[test]
    fn errors_are_classified_by_status_and_code() {
        use Next::*;
        let table = [
            (
                429,
                r#"{"error":{"message":"Rate limit reached","type":"tokens","code":"rate_limit_exceeded"}}"#,
                429,
                "rate_limit_error",
                ByStatus,
            ),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                402,
                "billing_error",
                OutOfCredit,
            ),
            (
                402,
                r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","code":"invalid_request_error"}}"#,
                402,
                "billing_error",
                OutOfCredit,
            ),
            (
                429,
                r#"{"error":{"message":"Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 46150.","type":"tokens","code":"rate_limit_exceeded"}}"#,
                413,
                "request_too_large",
                OtherAccount,
            ),
            (
                403,
                r#"{"error":{"code":403,"message":"Input flagged","metadata":{"reasons":["violence"]}}}"#,
                400,
                "invalid_request_error",
                ByStatus,
            ),
            (
                403,
                r#"{"error":{"message":"Project `p` does not have access to model `gpt-9`","type":"invalid_request_error","code":"model_not_found"}}"#,
                404,
                "not_found_error",
                ByStatus,
            ),
            (
                403,
                r#"{"error":{"message":"no","type":"permission_error"}}"#,
                403,
                "permission_error",
                ByStatus,
            ),
            (
                403,
                r#"{"error":{"message":"The account is deactivated","code":"account_deactivated"}}"#,
                401,
                "authentication_error",
                ByStatus,
            ),
            (
                403,
                r#"{"error":{"message":"Incorrect API key provided","type":"forbidden"}}"#,
                401,
                "authentication_error",
                ByStatus,
            ),
            (
                401,
                r#"{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}"#,
                401,
                "authentication_error",
                ByStatus,
            ),
            (
                422,
                r#"{"detail":[{"loc":["body"],"msg":"no"}]}"#,
                422,
                "invalid_request_error",
                ByStatus,
            ),
            (
                503,
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                503,
                "overloaded_error",
                ByStatus,
            ),
            (
                408,
                r#"{"error":{"code":408,"message":"late"}}"#,
                408,
                "timeout_error",
                ByStatus,
            ),
            (
                409,
                r#"{"error":{"code":409,"message":"busy"}}"#,
                409,
                "conflict_error",
                ByStatus,
            ),
            (
                404,
                r#"{"error":{"message":"model \"x\" not found, try pulling it first","type":"not_found_error"}}"#,
                404,
                "not_found_error",
                ByStatus,
            ),
        ];
        for (status, body, wanted, kind, next) in table {
            let classified = of(Some(status), body);
            assert_eq!(
                (classified.status, classified.kind, classified.next),
                (wanted, kind, next),
                "{body}"
            );
            assert_eq!(
                classified.message,
                UpstreamError::parse(body).unwrap().message
            );
        }
    }

    #[test]
    fn an_error_without_a_status_is_classified_by_its_words() {
        let table = [
            (
                r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#,
                429,
            ),
            (
                r#"{"error":{"message":"m","type":"insufficient_quota"}}"#,
                402,
            ),
            (r#"{"error":{"message":"m","type":"BadRequestError"}}"#, 400),
            (
                r#"{"error":{"message":"m","type":"exceed_context_size_error"}}"#,
                400,
            ),
            (r#"{"error":{"message":"m","type":"NotFoundError"}}"#, 404),
            (
                r#"{"error":{"message":"m","type":"unavailable_error"}}"#,
                529,
            ),
            (r#"{"error":{"message":"m","code":502}}"#, 502),
            (r#"{"error":{"message":"m","code":"server_error"}}"#, 500),
            (r#"{"error":"m"}"#, 500),
        ];
        for (body, status) in table {
            assert_eq!(of(None, body).status, status, "{body}");
        }
    }

    #[test]
    fn a_missing_path_hints_at_the_version_and_a_missing_model_does_not() {
        for body in [
            r#"{"detail":"Not Found"}"#,
            r#"{"error":{"message":"Invalid URL (POST /chat/completions)","type":"invalid_request_error"}}"#,
            r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#,
        ] {
            assert!(
                of(Some(404), body)
                    .message
                    .contains("`base_url` of upstream `up`"),
                "{body}"
            );
        }
        // LM Studio, with status 200.
        let classified = of(
            None,
            r#"{"error":"Unexpected endpoint or method. (POST /chat/completions)"}"#,
        );
        assert_eq!(
            (classified.status, classified.message.contains("/v1")),
            (404, true)
        );
        let model = of(
            Some(404),
            r#"{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}"#,
        );
        assert!(!model.message.contains("base_url"));
        for message in [
            "No endpoints found that support tool use. To learn more about provider routing, visit: https://openrouter.ai/docs/provider-routing",
            "The deployment for this resource does not exist",
            "Project p is not found",
        ] {
            let body = format!(r#"{{"error":{{"message":"{message}","code":404}}}}"#);
            assert_eq!(of(Some(404), &body).message, message);
        }
    }
}
