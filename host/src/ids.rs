//! Validated names: a value of one of these types needs no further check.

use std::{
    fmt::{self, Write},
    str::FromStr,
    sync::{Arc, LazyLock},
};

use http::HeaderName;
use sha2::{Digest, Sha256};

/// The name of a plugin: lower-case letters, digits and hyphens, as in `merge-roles`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PluginId(Arc<str>);

/// The name of an upstream in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UpstreamId(Arc<str>);

/// The name of an account in the configuration; often an e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AccountId(Arc<str>);

/// The id of one exchange, in the log and in `request-id`: `req_` and 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExchangeId(Arc<str>);

/// The id of a conversation: one line of messages within a session.
///
/// It is opaque: equal for the requests of one conversation, and short enough for a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConversationId(Arc<str>);

/// The error for a text that is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}, expected {expected}")]
pub(crate) struct BadId {
    what: &'static str,
    text: String,
    expected: &'static str,
}

impl FromStr for PluginId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let simple = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > 64 || !text.chars().all(simple) {
            return Err(BadId {
                what: "plugin name",
                text: text.to_owned(),
                expected: "1 to 64 lower-case letters, digits and hyphens",
            });
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for UpstreamId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        // A slash would make `to = "upstream/model"` ambiguous.
        let simple = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > 64 || !text.chars().all(simple) {
            return Err(BadId {
                what: "upstream name",
                text: text.to_owned(),
                expected: "1 to 64 letters, digits, `-`, `_` and `.`",
            });
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for AccountId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        // It is sent in a header unchanged.
        let printable = |c: char| c.is_ascii_graphic() || c == ' ';
        if text.trim().is_empty() || text.len() > 128 || !text.chars().all(printable) {
            return Err(BadId {
                what: "account name",
                text: text.to_owned(),
                expected: "1 to 128 printable ASCII characters",
            });
        }
        Ok(Self(text.into()))
    }
}

impl ConversationId {
    /// The longest text that is used as it is, in bytes. A longer one is replaced by its digest.
    const LONGEST: usize = 256;

    /// The conversation of a session's agent, or of the session itself.
    pub(crate) fn of_session(session: &str, agent: Option<&str>) -> Self {
        let text = match agent {
            Some(agent) => format!("{session}/{agent}"),
            None => session.to_owned(),
        };
        if text.len() <= Self::LONGEST {
            return Self(text.into());
        }
        Self::of_digest("session", &Sha256::digest(text).into())
    }

    /// The conversation that begins with a text of this digest.
    pub(crate) fn of_opening(digest: &[u8; 32]) -> Self {
        Self::of_digest("opening", digest)
    }

    /// The conversation of a request that continues no other.
    pub(crate) fn alone(exchange: &ExchangeId) -> Self {
        Self(Arc::clone(&exchange.0))
    }

    fn of_digest(what: &str, digest: &[u8; 32]) -> Self {
        let mut text = format!("{what}-");
        for byte in &digest[..16] {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text.into())
    }
}

impl ExchangeId {
    /// Makes a new id that cannot be guessed.
    pub(crate) fn new() -> Self {
        // From the thread's generator: the kernel's would cost a system call each.
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        Self(format!("req_{}", id.simple()).into())
    }
}

/// The header in which each gateway that a request passes puts its id.
pub(crate) const HOPS: HeaderName = HeaderName::from_static("x-witgate-hop");

/// The id of this process, which cannot be guessed.
pub(crate) fn gateway_id() -> &'static str {
    static ID: LazyLock<String> = LazyLock::new(|| {
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        id.simple().to_string()
    });
    &ID
}

macro_rules! text {
    ($($name:ident)*) => {$(
        impl $name {
            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text!(PluginId UpstreamId AccountId ExchangeId ConversationId);
