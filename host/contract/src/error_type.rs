//! Anthropic's error types and the one table between them and HTTP statuses.
//!
//! Source: the page `api/errors` of Anthropic's API documentation, which lists eleven types with a
//! status each, and says of `invalid_request_error`: it "may also" be used "for other 4XX status
//! codes". Three statuses need a decision of our own:
//!
//! - **408** is [`ErrorType::Timeout`]. The page lists only 504 for it, but the meaning is the
//!   same: time ran out, the request is not at fault. Retried, as Anthropic's SDKs do.
//! - **409** is [`ErrorType::Conflict`], as listed. Not retried here: it says that the request
//!   conflicts with the state of a resource, and another account does not change that state. The
//!   client receives the 409; Anthropic's SDKs and Claude Code retry it themselves.
//! - **425** is not listed, so it is [`ErrorType::InvalidRequest`] like other 4xx. Retried all the
//!   same: RFC 8470, section 5.2, says that the request can be sent again. The SDKs do not do it.

use std::fmt;

/// An error type of the Messages API: the `type` in the error object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// 400 `invalid_request_error`, and any other 4xx without a type of its own.
    InvalidRequest,
    /// 401 `authentication_error`.
    Authentication,
    /// 402 `billing_error`.
    Billing,
    /// 403 `permission_error`.
    Permission,
    /// 404 `not_found_error`.
    NotFound,
    /// 409 `conflict_error`.
    Conflict,
    /// 413 `request_too_large`.
    RequestTooLarge,
    /// 429 `rate_limit_error`.
    RateLimit,
    /// 500 `api_error`, and any other status without a type of its own.
    Api,
    /// 504 `timeout_error`; also 408.
    Timeout,
    /// 529 `overloaded_error`; also 503.
    Overloaded,
}

/// Each type with its name and its own status, in the order of the enum.
const TABLE: [(ErrorType, &str, u16); 11] = [
    (ErrorType::InvalidRequest, "invalid_request_error", 400),
    (ErrorType::Authentication, "authentication_error", 401),
    (ErrorType::Billing, "billing_error", 402),
    (ErrorType::Permission, "permission_error", 403),
    (ErrorType::NotFound, "not_found_error", 404),
    (ErrorType::Conflict, "conflict_error", 409),
    (ErrorType::RequestTooLarge, "request_too_large", 413),
    (ErrorType::RateLimit, "rate_limit_error", 429),
    (ErrorType::Api, "api_error", 500),
    (ErrorType::Timeout, "timeout_error", 504),
    (ErrorType::Overloaded, "overloaded_error", 529),
];

impl ErrorType {
    /// Every type, in the order of their statuses.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.into_iter().map(|(error, _, _)| error)
    }

    /// The name in the error object: `rate_limit_error`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The status that Anthropic documents for this type.
    #[must_use]
    pub const fn status(self) -> u16 {
        TABLE[self as usize].2
    }

    /// The type of an error of which only the status is known. See the [module](self) for 408, 409
    /// and 425.
    #[must_use]
    pub fn from_status(status: u16) -> Self {
        let own = TABLE.iter().find(|(_, _, own)| *own == status);
        match (own, status) {
            (Some((error, _, _)), _) => *error,
            (None, 408) => Self::Timeout,
            (None, 503) => Self::Overloaded,
            (None, 400..=499) => Self::InvalidRequest,
            (None, _) => Self::Api,
        }
    }

    /// The type with this name; `None` if Anthropic documents no such type.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let own = TABLE.iter().find(|(_, own, _)| *own == name);
        own.map(|(error, _, _)| *error)
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The status of an error of which only the type's name is known, as in the first event of a
/// stream. A name that is not documented means 500.
#[must_use]
pub fn status_of(name: &str) -> u16 {
    ErrorType::from_name(name)
        .unwrap_or(ErrorType::Api)
        .status()
}

/// Whether an error with this status is likely to go away: the gateway makes another attempt.
///
/// 408, 425, 429 and every 5xx, which includes 529. See the [module](self) for the sources.
#[must_use]
pub const fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_at_its_own_place_in_the_table() {
        for (place, (error, name, status)) in TABLE.into_iter().enumerate() {
            assert_eq!(error as usize, place, "{name}");
            assert_eq!((error.as_str(), error.status()), (name, status));
            assert_eq!(ErrorType::from_name(name), Some(error));
            assert_eq!(ErrorType::from_status(status), error);
            assert_eq!(status_of(name), status);
        }
    }

    #[test]
    fn statuses_without_a_type_of_their_own_have_a_fixed_one() {
        let table = [
            (0, "api_error"),
            (200, "api_error"),
            (405, "invalid_request_error"),
            (408, "timeout_error"),
            (418, "invalid_request_error"),
            (422, "invalid_request_error"),
            (425, "invalid_request_error"),
            (502, "api_error"),
            (503, "overloaded_error"),
            (599, "api_error"),
        ];
        for (status, name) in table {
            assert_eq!(ErrorType::from_status(status).as_str(), name, "{status}");
        }
        assert_eq!(status_of("teapot_error"), 500);
        assert_eq!(ErrorType::from_name("teapot_error"), None);
    }

    #[test]
    fn transient_statuses_are_408_425_429_and_5xx() {
        for status in [408, 425, 429, 500, 503, 504, 529, 599] {
            assert!(is_transient(status), "{status}");
        }
        for status in [0, 200, 400, 401, 402, 403, 404, 409, 413, 422, 499, 600] {
            assert!(!is_transient(status), "{status}");
        }
    }
}
