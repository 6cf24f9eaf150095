//! Gets an access token for a refresh token (RFC 6749, section 6).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use oauth2::{
    AsyncHttpClient, ClientId, ClientSecret, HttpRequest, HttpResponse, RefreshToken,
    RequestTokenError, Scope, TokenResponse, TokenUrl,
    basic::{BasicClient, BasicErrorResponseType},
};

use crate::{config::OAuth2, fault::Fault, secret::Secret};

use super::credential::{CredentialError, Issued, is_credential};

/// Sends a request to a token server. The caller provides it, so that this module needs no HTTP
/// client.
pub(crate) type Fetch =
    Arc<dyn Fn(HttpRequest) -> BoxFuture<'static, Result<HttpResponse, Fault>> + Send + Sync>;

/// How long before it expires a token is renewed. Longer than a request waits to be sent, and than
/// most clocks differ.
const EARLY: Duration = Duration::from_secs(60);

/// How much of a server's error is quoted, in characters.
const MAX_QUOTED: usize = 200;

/// Requests a new access token. `issued` is the refresh token that the server last issued instead
/// of the configured one; a new one in the response replaces it.
pub(super) async fn refresh(
    access: &OAuth2,
    issued: &mut Option<Secret>,
    fetch: &Fetch,
) -> Result<Issued, CredentialError> {
    let url = TokenUrl::new(access.token_url.clone()).map_err(|error| CredentialError {
        what: "its `token_url` is not a URL",
        detail: error.to_string(),
        lasting: true,
    })?;
    let mut client = BasicClient::new(ClientId::new(access.client_id.clone())).set_token_uri(url);
    if let Some(secret) = &access.client_secret {
        client = client.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
    }
    let current = issued.as_ref().unwrap_or(&access.refresh_token);
    let current = RefreshToken::new(current.expose().to_owned());
    let scopes = access.scopes.iter().cloned().map(Scope::new);
    let http = FetchClient(Arc::clone(fetch));
    let sent = Instant::now();
    let response = client
        .exchange_refresh_token(&current)
        .add_scopes(scopes)
        .request_async(&http)
        .await
        .map_err(credential_error)?;
    if let Some(next) = response.refresh_token() {
        *issued = Some(Secret::new(next.secret()));
    }
    let token = response.access_token().secret();
    if !is_credential(token) {
        return Err(invalid_response(
            "the access token is not a valid header value",
        ));
    }
    let lifetime = response.expires_in();
    // `None` if the sum is out of range: then it never expires.
    let at = |lifetime| sent.checked_add(lifetime);
    Ok(Issued {
        secret: Secret::new(token),
        expires: lifetime.and_then(at),
        renew: lifetime.map(until_renewal).and_then(at),
    })
}

/// A [`Fetch`] as an HTTP client of the `oauth2` library. A closure would do, but the compiler
/// cannot prove that its future is `Send`.
struct FetchClient(Fetch);

impl AsyncHttpClient<'_> for FetchClient {
    type Error = Fault;
    type Future = BoxFuture<'static, Result<HttpResponse, Fault>>;

    fn call(&self, request: HttpRequest) -> Self::Future {
        (self.0)(request)
    }
}

/// How long a token is used before it is renewed.
fn until_renewal(lifetime: Duration) -> Duration {
    lifetime - EARLY.min(lifetime / 10)
}

type TokenError = oauth2::basic::BasicErrorResponse;

fn credential_error(error: RequestTokenError<Fault, TokenError>) -> CredentialError {
    match error {
        RequestTokenError::ServerResponse(error) => {
            let code = error.error().as_ref();
            let description = error.error_description().map_or("", String::as_str);
            // Any other error may be temporary.
            let lasting = matches!(
                error.error(),
                BasicErrorResponseType::InvalidClient
                    | BasicErrorResponseType::InvalidGrant
                    | BasicErrorResponseType::InvalidScope
                    | BasicErrorResponseType::UnauthorizedClient
                    | BasicErrorResponseType::UnsupportedGrantType
            );
            let detail = format!("{code} {description}");
            let detail = detail.trim_end().chars().filter(|c| !c.is_control());
            CredentialError {
                what: "the token server rejected the request",
                detail: detail.take(MAX_QUOTED).collect(),
                lasting,
            }
        }
        RequestTokenError::Request(fault) => CredentialError {
            what: "the token server did not respond",
            detail: fault.chain(),
            lasting: false,
        },
        // The body and the parse error are not quoted: they may contain a token.
        RequestTokenError::Parse(..) => invalid_response("got neither a token nor an error"),
        RequestTokenError::Other(what) => invalid_response(&what),
    }
}

fn invalid_response(detail: &str) -> CredentialError {
    CredentialError {
        what: "the token server sent an invalid response",
        detail: detail.to_owned(),
        lasting: false,
    }
}
