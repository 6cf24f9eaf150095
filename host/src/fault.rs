//! What went wrong, whose fault it is, and whether another attempt may help.
//!
//! A fault is decided where it is made, by the one who knows. `gateway/reply.rs` alone turns it into a status and a body.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use crate::ids::PluginId;

type BoxError = Box<dyn Error + Send + Sync>;

/// Something that ends an attempt or an exchange without an answer.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) blame: Blame,
    pub(crate) kind: Kind,
    pub(crate) retry: Retry,
    /// How long the client shall wait, where that is known.
    pub(crate) retry_after: Option<Duration>,
    /// Goes into the error object as `details`, a JSON text.
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

/// What went wrong, in the terms of the one table that makes a status of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request is not well formed, or asks for what cannot be.
    BadRequest,
    /// No key, or a wrong one.
    Unauthenticated,
    /// Right or wrong key, it is not allowed: a foreign origin, a foreign host.
    Forbidden,
    /// No such route, model or thing.
    NotFound,
    /// The route is there, but not with this method.
    MethodNotAllowed,
    /// The body is over the limit.
    TooLarge,
    /// All accounts rest, or the upstream says so.
    RateLimited,
    /// No room: instance slots are used up.
    Overloaded,
    /// No connection to the upstream: refused, no such host, TLS.
    Unreachable,
    /// The upstream did not answer in time.
    TimedOut,
    /// The upstream's answer is none: empty, not JSON, reset.
    InvalidResponse,
    /// The upstream refused the credential that the gateway holds for it.
    BadCredential,
    /// A plugin or the gateway failed.
    Internal,
    /// A plugin refused the request with this status and Anthropic error type.
    Refused { status: u16, kind: String },
}

/// Whether another attempt may help.
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

    /// Adds the cause. The text must not repeat it: [`Fault::chain`] prints both.
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

    /// The text and its causes, joined by colons, as a person reads it.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let more = error.to_string();
            // Some libraries repeat their cause in their own text.
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
