//! Our own words for requests and answers: what travels between the gateway, the plugins and the upstreams.

mod headers;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode};
use witgate_contract::guard;
pub(crate) use witgate_contract::{RequestKind, manifest::ANTHROPIC};
use witgate_document::Document;

use crate::{
    fault::Fault,
    ids::{AccountId, ExchangeId, UpstreamId},
};

pub(crate) use headers::{keep_common, keep_end_to_end, take_off, take_off_own};

/// The client's request, as edited so far. A clone is cheap: body and headers are shared until they are edited.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: ExchangeId,
    pub(crate) kind: RequestKind,
    pub(crate) method: Method,
    /// Below the upstream's base URL: `/v1/messages`.
    pub(crate) path: String,
    /// Without the question mark; empty when there is none.
    pub(crate) query: String,
    /// End-to-end headers without the credentials; what is left goes upstream. Shared until they are edited.
    pub(crate) headers: Arc<HeaderMap>,
    /// The client's credentials that are no gateway key, forwarded only to upstreams without accounts.
    pub(crate) credentials: HeaderMap,
    pub(crate) session: Option<Arc<str>>,
    /// Whether the client wants a stream.
    pub(crate) stream: bool,
    /// The model that the client asked for.
    pub(crate) requested_model: Arc<str>,
    pub(crate) body: Document,
}

impl Request {
    /// The model in the body as it is now: the requested one, unless a plugin changed it.
    pub(crate) fn effective_model(&self) -> Arc<str> {
        let edited = self
            .body
            .is_edited()
            .then(|| self.body.top_str("model"))
            .flatten();
        edited.map_or_else(|| Arc::clone(&self.requested_model), Arc::from)
    }
}

/// Where one attempt goes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) upstream: UpstreamId,
    /// The upstream's place in the configuration.
    pub(crate) index: usize,
    pub(crate) dialect: Arc<str>,
    pub(crate) account: Option<AccountId>,
    /// The model that is sent.
    pub(crate) model: Arc<str>,
    pub(crate) requested_model: Arc<str>,
    /// 1 for the first attempt.
    pub(crate) attempt: u32,
    pub(crate) lacks: Arc<BTreeSet<String>>,
}

impl Target {
    /// Whether it takes a plugin to speak with it.
    pub(crate) fn is_foreign(&self) -> bool {
        *self.dialect != *ANTHROPIC
    }

    /// What guards are checked against.
    pub(crate) fn facts(&self) -> guard::Target<'_> {
        guard::Target {
            dialect: &self.dialect,
            lacks: &self.lacks,
            attempt: self.attempt,
        }
    }
}

/// The bytes of an answer as they come. A fault in it means that the answer was cut short.
pub(crate) type BodyStream = BoxStream<'static, Result<Bytes, Fault>>;

/// What an upstream, a plugin or the gateway itself answers.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    /// End-to-end headers; never a `content-length`, which is always the gateway's own.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    /// All of it is here.
    Whole(Bytes),
    /// It comes piece by piece.
    Stream(BodyStream),
}

/// One event of a stream, as the "server-sent events" section of the HTML standard defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The `event:` field; empty when there is none.
    pub(crate) name: String,
    /// The `data:` lines, joined by line feeds.
    pub(crate) data: String,
}

/// What came back from an attempt in place of an answer, and what failure hooks made of it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// 0 where there was no answer.
    pub(crate) status: u16,
    /// The Anthropic error type.
    pub(crate) kind: String,
    pub(crate) headers: HeaderMap,
    /// The answer's body, or the reason in words.
    pub(crate) body: Bytes,
    /// What a failure hook asked for.
    pub(crate) retry: Option<RetryRequest>,
    /// How long the account shall rest for this model.
    pub(crate) cooldown: Option<Duration>,
    /// Whether a hook changed status, kind or body: then the client reads those and not the upstream's bytes.
    pub(crate) corrected: bool,
}

/// Whether to try again, as a failure hook wishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryRequest {
    SameAccount(Duration),
    OtherAccount(Duration),
    Never,
}
