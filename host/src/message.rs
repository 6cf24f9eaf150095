//! Requests, responses and events, as they pass between the gateway, the plugins and the upstreams.

mod headers; // which headers are forwarded

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode};
use witgate_contract::guard;
pub(crate) use witgate_contract::{RequestKind, manifest::ANTHROPIC};
use witgate_document::Document;

use crate::{
    fault::Fault,
    ids::{AccountId, ConversationId, ExchangeId, UpstreamId},
};

pub(crate) use headers::{adapt_to_dialect, keep_common, keep_for_client, keep_for_upstream};

/// The client's request with the edits so far.
///
/// A clone is cheap, because body and headers are shared until they are edited.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: ExchangeId,
    pub(crate) kind: RequestKind,
    pub(crate) method: Method,
    /// The path below the upstream's base URL, such as `/v1/messages`.
    pub(crate) path: String,
    /// Without the question mark. Empty if there is no query.
    pub(crate) query: String,
    /// End-to-end headers without credentials, to be forwarded. Shared until they are edited.
    pub(crate) headers: Arc<HeaderMap>,
    /// The client's own credentials, which only upstreams without accounts get.
    pub(crate) credentials: HeaderMap,
    pub(crate) session: Option<Arc<str>>,
    /// The line of messages that the request continues.
    pub(crate) conversation: ConversationId,
    /// Whether the client requests a stream.
    pub(crate) stream: bool,
    /// The model that the client requested.
    pub(crate) requested_model: Arc<str>,
    pub(crate) body: Document,
}

impl Request {
    /// Returns the model in the current body: the requested one, unless a plugin changed it.
    pub(crate) fn effective_model(&self) -> Arc<str> {
        let edited = self
            .body
            .is_edited()
            .then(|| self.body.top_str("model"))
            .flatten();
        edited.map_or_else(|| Arc::clone(&self.requested_model), Arc::from)
    }
}

/// The target of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) upstream: UpstreamId,
    /// The upstream's index in the configuration.
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
    /// Whether a plugin has to translate for the upstream.
    pub(crate) fn is_foreign(&self) -> bool {
        *self.dialect != *ANTHROPIC
    }

    /// Returns the properties that guards are evaluated against.
    pub(crate) fn facts(&self) -> guard::Target<'_> {
        guard::Target {
            dialect: &self.dialect,
            lacks: &self.lacks,
            attempt: self.attempt,
        }
    }
}

/// The bytes of a response as they arrive. A fault means that the response was truncated.
pub(crate) type BodyStream = BoxStream<'static, Result<Bytes, Fault>>;

/// A response of an upstream, a plugin or the gateway itself.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    /// End-to-end headers, without `content-length`, which the gateway sets.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// The body of a response.
pub(crate) enum Body {
    /// The complete body.
    Whole(Bytes),
    /// A body that arrives piece by piece.
    Stream(BodyStream),
}

/// One event of a stream, as the "server-sent events" section of the HTML standard defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The `event:` field. Empty if there is none.
    pub(crate) name: String,
    /// The `data:` lines, joined by line feeds.
    pub(crate) data: String,
}

/// The failure of an attempt, as corrected by failure hooks.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// 0 if there was no response.
    pub(crate) status: u16,
    /// The Anthropic error type.
    pub(crate) kind: String,
    pub(crate) headers: HeaderMap,
    /// The response's body, or the reason as text.
    pub(crate) body: Bytes,
    /// The retry that a failure hook requests.
    pub(crate) retry: Option<RetryRequest>,
    /// The cooldown of the account for this model.
    pub(crate) cooldown: Option<Duration>,
    /// Whether a hook changed status, kind or body. The client then gets those, not the upstream's
    /// bytes.
    pub(crate) corrected: bool,
}

/// A failure hook's request to retry or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryRequest {
    SameAccount(Duration),
    OtherAccount(Duration),
    Never,
}
