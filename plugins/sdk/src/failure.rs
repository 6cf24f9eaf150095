//! A failed attempt, and what happens next.

use std::time::Duration;

use serde_json::Value;

use crate::{edit::EditError, host};

/// A failed attempt: the error response, or why there was no response.
///
/// The setters change what the gateway decides, and what the client gets if there is no further
/// attempt.
#[derive(Debug)]
pub struct Failure<'a> {
    host: &'a host::Failure,
}

/// Which account a retry uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryTarget {
    /// The account of the failed attempt, at the same upstream.
    SameAccount,
    /// Another account of the upstream, or another upstream of the route.
    OtherAccount,
    /// No retry: the failure goes to the client.
    Never,
}

impl<'a> Failure<'a> {
    pub(crate) fn over(host: &'a host::Failure) -> Self {
        Self { host }
    }

    /// The HTTP status of the upstream's response; 0 without one.
    pub fn status(&self) -> u16 {
        self.host.status()
    }

    /// The Anthropic error type, as understood so far: `rate_limit_error`, ...
    pub fn error_type(&self) -> String {
        self.host.error_type()
    }

    /// All values of a header of the upstream's response; the case of the name does not matter.
    pub fn header(&self, name: &str) -> Vec<String> {
        self.host.header(name)
    }

    /// The body of the upstream's response as text, cut at 64 KiB. Without a response, the reason
    /// in words.
    pub fn body(&self) -> String {
        self.host.body()
    }

    /// Sets the status, 400 to 599, that decides about retries and cooldowns. 401, or 403 with the
    /// error type `authentication_error`, means that the upstream refused the account or its
    /// credential: the account goes on cooldown. The client gets a 502, because its own login is
    /// not at fault. Any other 403 is about the request.
    pub fn set_status(&mut self, status: u16) -> Result<(), EditError> {
        self.host.set_status(status)
    }

    /// Sets the error type that the client gets: lower case letters and `_`, at most 64.
    pub fn set_error_type(&mut self, error_type: &str) -> Result<(), EditError> {
        self.host.set_error_type(error_type)
    }

    /// Sets the body that the client gets: an error in Anthropic's envelope, at most 1 MiB.
    pub fn set_body(&mut self, body: impl Into<Value>) -> Result<(), EditError> {
        self.host.set_body(&body.into().to_string())
    }

    /// Decides whether there is another attempt, on which account, and after which delay at the
    /// earliest. The gateway's limit of attempts still holds, and so does its longest wait.
    pub fn set_retry(&mut self, target: RetryTarget, after: Duration) {
        self.host.set_retry(target, milliseconds(after));
    }

    /// Puts the account on cooldown for this model, for eight days at most.
    pub fn set_cooldown(&mut self, cooldown: Duration) {
        self.host.set_cooldown(milliseconds(cooldown));
    }
}

/// The contract's milliseconds. A longer time than they can express exceeds every limit of the
/// gateway.
pub(crate) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
