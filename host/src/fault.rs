//! Errors of attempts and exchanges: what went wrong, whose fault it is, and whether to retry.
//!
//! The code that makes a fault decides all of this. Only `gateway/respond.rs` maps it to a status
//! and a body.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use crate::{ids::PluginId, secret};

type BoxError = Box<dyn Error + Send + Sync>;

/// An error that ends an attempt or an exchange without a response.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) blame: Blame,
    pub(crate) kind: Kind,
    pub(crate) retry: Retry,
    /// How long the client should wait, if known.
    pub(crate) retry_after: Option<Duration>,
    /// JSON text for `details` in the error object.
    pub(crate) details: Option<String>,
    what: Cow<'static, str>,
    source: Option<BoxError>,
}

/// Whose fault it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Blame {
    Client,
    Gateway,
    Plugin(PluginId),
    Upstream,
}

/// What went wrong. `gateway/respond.rs` maps each kind to a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request is malformed or asks for something impossible.
    BadRequest,
    /// The key is missing or invalid.
    Unauthenticated,
    /// The origin or the host of the request is not allowed.
    Forbidden,
    /// The route, model or other resource does not exist.
    NotFound,
    /// The route exists, but not with this method.
    MethodNotAllowed,
    /// The body is over the limit.
    TooLarge,
    /// All accounts are on cooldown, or the upstream limits the rate.
    RateLimited,
    /// All instance slots are in use.
    Overloaded,
    /// A plugin without which nothing is served is not loaded.
    Unavailable,
    /// No connection to the upstream: refused, unknown host, TLS.
    Unreachable,
    /// The upstream, or the client with its request, took too long.
    TimedOut,
    /// The upstream's response is not usable: empty, not JSON, reset.
    InvalidResponse,
    /// The upstream rejected the gateway's credential.
    BadCredential,
    /// A plugin or the gateway failed.
    Internal,
    /// A plugin or an upstream refused the request with this status and Anthropic error type.
    Refused { status: u16, kind: String },
}

/// Whether another attempt may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    Never,
    /// With the same account or another one.
    Again,
    /// Only with another account or upstream.
    Failover,
}

impl Fault {
    pub(crate) fn new(blame: Blame, kind: Kind, what: impl Into<Cow<'static, str>>) -> Self {
        let retry = match kind {
            Kind::Unreachable | Kind::TimedOut | Kind::InvalidResponse | Kind::RateLimited => {
                Retry::Again
            }
            Kind::BadCredential => Retry::Failover,
            _ => Retry::Never,
        };
        Self {
            blame,
            kind,
            retry,
            retry_after: None,
            details: None,
            what: what.into(),
            source: None,
        }
    }

    pub(crate) fn client(kind: Kind, what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Blame::Client, kind, what)
    }

    pub(crate) fn gateway(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Blame::Gateway, Kind::Internal, what)
    }

    pub(crate) fn plugin(id: &PluginId, what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Blame::Plugin(id.clone()), Kind::Internal, what)
    }

    pub(crate) fn upstream(kind: Kind, what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Blame::Upstream, kind, what)
    }

    /// Adds the cause. [`Fault::chain`] prints it after the text, so the text must not repeat it.
    pub(crate) fn from(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    pub(crate) fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    pub(crate) fn with_details(mut self, json: String) -> Self {
        self.details = Some(json);
        self
    }

    /// Hides a key that an upstream repeated in the text.
    pub(crate) fn hide(&mut self, key: &[u8]) {
        let hidden = |text: &str| {
            let hidden = secret::hide(text.as_bytes(), key)?;
            Some(String::from_utf8_lossy(&hidden).into_owned())
        };
        if let Some(what) = hidden(&self.what) {
            self.what = what.into();
        }
        if let Some(details) = self.details.as_deref().and_then(hidden) {
            self.details = Some(details);
        }
    }

    /// Returns the text and its causes, joined by colons.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let more = error.to_string();
            // Some libraries include their cause in their own text.
            if !text.ends_with(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
