//! An attempt that failed, and what becomes of it.

use std::time::Duration;

use serde_json::Value;

use crate::{edit::EditError, host};

/// An attempt that failed: what came back in place of an answer.
///
/// The setters change what the gateway decides, and what the client reads if this stays the last attempt.
#[derive(Debug)]
pub struct Failure<'a> {
    host: &'a host::Failure,
}

/// As whom to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// With the same account.
    Same,
    /// With another account or upstream.
    Other,
    /// Not at all.
    Never,
}

impl<'a> Failure<'a> {
    pub(crate) fn over(host: &'a host::Failure) -> Self {
        Self { host }
    }

    /// The HTTP status of the upstream's answer; 0 if there was none.
    pub fn status(&self) -> u16 {
        self.host.status()
    }

    /// The Anthropic error type, as the gateway understands the failure so far: `rate_limit_error`, ...
    pub fn kind(&self) -> String {
        self.host.kind()
    }

    /// All values of a header of the upstream's answer.
    pub fn header(&self, name: &str) -> Vec<String> {
        self.host.header(name)
    }

    /// The body of the upstream's answer as text, up to 64 KiB; without an answer, the reason in words.
    pub fn body(&self) -> String {
        self.host.body()
    }

    /// Corrects the status that counts: 400 to 599. 401, or 403 of kind `authentication_error`, says that the upstream
    /// refused the account or its credential: then the account is put on cooldown, and the client, whose login is not
    /// the matter, reads a 502. Any other 403 is about the request.
    pub fn set_status(&mut self, status: u16) -> Result<(), EditError> {
        self.host.set_status(status)
    }

    /// Corrects the error type that the client reads.
    pub fn set_kind(&mut self, kind: &str) -> Result<(), EditError> {
        self.host.set_kind(kind)
    }

    /// Corrects the body that the client reads: an error in Anthropic's envelope.
    pub fn set_body(&mut self, body: impl Into<Value>) -> Result<(), EditError> {
        self.host.set_body(&body.into().to_string())
    }

    /// Says whether to try again, as whom, and not before how long. The gateway's limit of attempts still holds.
    pub fn set_retry(&mut self, whom: Retry, after: Duration) -> Result<(), EditError> {
        self.host.set_retry(whom.word(), milliseconds(after))
    }

    /// Says that the account rests for this model for so long.
    pub fn set_rest(&mut self, how_long: Duration) -> Result<(), EditError> {
        self.host.set_rest(milliseconds(how_long))
    }
}

impl Retry {
    fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Other => "other",
            Self::Never => "never",
        }
    }
}

/// A duration longer than the contract can say is as good as for ever.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
