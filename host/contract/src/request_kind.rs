//! The kinds of requests that plugins see.

/// The kind of a request, as `request.kind` and the guard key `kinds` name it.
///
/// New kinds may be added; a plugin leaves alone what it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// `messages`: a request for a message, `POST /v1/messages`.
    Messages,
    /// `count_tokens`: a request for a count, `POST /v1/messages/count_tokens`.
    CountTokens,
    /// `models`: the gateway's own request for the list of models of an upstream that needs a
    /// dialect plugin. It is not part of an exchange.
    Models,
}

impl RequestKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Messages, Self::CountTokens, Self::Models];

    /// The name that plugins and logs use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Models => "models",
        }
    }

    /// The HTTP method: `GET`, with an empty body, for `models`; otherwise `POST`.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::Messages | Self::CountTokens => "POST",
            Self::Models => "GET",
        }
    }

    /// The path below the upstream's base URL before any plugin changes it.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Models => "/v1/models",
        }
    }
}
