//! Requests, responses and events, as they pass between the gateway, the plugins and the upstreams.

mod headers; // which headers are forwarded

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
    time::Duration,
};

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
    pub(crate) conversation: Conversation,
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

/// The line of messages that a request continues. Few exchanges need its id, so it is found when
/// it is first asked for, and once for all clones.
#[derive(Clone, Debug)]
pub(crate) struct Conversation(Arc<LazyLock<ConversationId, FindConversation>>);

type FindConversation = Box<dyn FnOnce() -> ConversationId + Send>;

impl Conversation {
    /// The conversation whose id `find` returns. What `find` holds is dropped once it was called.
    pub(crate) fn found_by(find: impl FnOnce() -> ConversationId + Send + 'static) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(find))))
    }

    /// The conversation of a request that continues no other.
    pub(crate) fn alone(exchange: ExchangeId) -> Self {
        Self::found_by(move || ConversationId::alone(&exchange))
    }

    pub(crate) fn id(&self) -> &ConversationId {
        &self.0
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
    /// Changes with the upstream's configuration.
    pub(crate) version: u64,
}

impl Target {
    /// Whether a plugin has to translate for the upstream.
    pub(crate) fn is_foreign(&self) -> bool {
        *self.dialect != *ANTHROPIC
    }

    /// Returns the properties that guards are evaluated against.
    pub(crate) fn facts(&self) -> guard::Target<'_> {
        guard::Target {
            upstream: self.upstream.as_str(),
            version: self.version,
            model: &self.model,
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    #[test]
    fn a_conversation_is_found_when_it_is_asked_for_once_for_all_clones() {
        let held = Arc::new(AtomicU32::new(0));
        let holds = Arc::clone(&held);
        let conversation = Conversation::found_by(move || {
            holds.fetch_add(1, Relaxed);
            ConversationId::of_session("s-1", None)
        });
        let clone = conversation.clone();
        assert_eq!((held.load(Relaxed), Arc::strong_count(&held)), (0, 2));
        assert_eq!(clone.id().as_str(), "s-1");
        assert_eq!(conversation.id().as_str(), "s-1");
        assert_eq!(held.load(Relaxed), 1);
        assert_eq!(
            Arc::strong_count(&held),
            1,
            "what it was found in is dropped"
        );
    }
}
