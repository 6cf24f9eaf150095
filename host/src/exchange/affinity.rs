//! What ties a request to an account, which served its conversation or holds what the request
//! refers to.

use std::sync::LazyLock;

use serde::{Deserialize, de::IgnoredAny};
use witgate_document::Path;

use crate::{
    accounts::{Accounts, Made},
    message::{Request, RequestKind, Target},
};

/// The conversation of a request, as far as accounts go.
pub(super) struct Conversation {
    pub(super) id: String,
    /// Whether an account may have served it before.
    pub(super) may_continue: bool,
    /// Whether the response continues it. Counting tokens does not.
    pub(super) is_served: bool,
}

impl Conversation {
    /// All agents of a session share an account, so its session identifies the conversation.
    /// Without one its opening does, and then requests with the same opening are not one
    /// conversation before there is a response to it.
    pub(super) fn of(request: &Request) -> Self {
        let id = match &request.session {
            Some(session) => session.to_string(),
            None => request.conversation.id().to_string(),
        };
        let goes_on = || matches!(request.body.get("/messages/1"), Ok(Some(_)));
        Self {
            id,
            may_continue: request.session.is_some() || goes_on(),
            is_served: request.kind == RequestKind::Messages,
        }
    }

    pub(super) fn at<'a>(&'a self, target: &'a Target) -> Made<'a> {
        Made::Conversation {
            upstream: &target.upstream,
            conversation: &self.id,
        }
    }
}

/// Whether the request refers to something from an earlier response that only the account of that
/// response knows: a container, or the credit for a fallback.
pub(super) fn needs_its_account(request: &Request) -> bool {
    #[derive(Deserialize)]
    struct Container {
        id: Option<IgnoredAny>,
    }
    let is_known = |container: &[u8]| {
        // Without an id, a new one is made.
        let read = serde_json::from_slice::<Container>(container);
        container.starts_with(b"\"") || read.is_ok_and(|container| container.id.is_some())
    };
    let top = |name| request.body.top(name);
    top("container").is_some_and(|container| is_known(&container))
        || top("fallback_credit_token").is_some_and(|token| *token != *b"null")
}

/// The ids of files in the messages. They are only looked for if any file is remembered.
pub(super) fn file_ids(request: &Request, accounts: &Accounts) -> Vec<String> {
    static FILES: LazyLock<Option<Path>> =
        LazyLock::new(|| Path::parse("$.messages..file_id").ok());
    let Some(path) = FILES.as_ref().filter(|_| accounts.know_files()) else {
        return Vec::new();
    };
    // What is not JSON is for the upstream to report.
    let nodes = request.body.read(path).unwrap_or_default();
    let ids = nodes.iter();
    ids.filter_map(|node| serde_json::from_slice(&node.value).ok())
        .collect()
}
