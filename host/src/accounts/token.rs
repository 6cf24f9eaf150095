//! An access token for a refresh token (RFC 6749, section 6).

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

use super::credential_cache::{CredentialError, InFlight, Issued, is_credential};

/// Sends a request to a token server. It comes from outside, since how is not this module's business.
pub(crate) type Fetch =
    Arc<dyn Fn(HttpRequest) -> BoxFuture<'static, Result<HttpResponse, Fault>> + Send + Sync>;

/// Longer than a request waits to be sent, and any two clocks differ.
const EARLY: Duration = Duration::from_secs(60);

/// What is told of a server's complaint.
const SHOWN: usize = 200;

/// Asks for a new access token. Another refresh token that comes along takes the place of the one before.
pub(super) async fn refresh(
    access: &OAuth2,
    in_flight: &mut InFlight,
    fetch: &Fetch,
) -> Result<Issued, CredentialError> {
    let url = TokenUrl::new(access.token_url.clone()).map_err(|error| CredentialError {
        what: "its `token_url` is no URL",
        detail: error.to_string(),
        lasting: true,
    })?;
    let mut client = BasicClient::new(ClientId::new(access.client_id.clone())).set_token_uri(url);
    if let Some(secret) = &access.client_secret {
        client = client.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
    }
    let current = in_flight
        .refresh_token
        .as_ref()
        .unwrap_or(&access.refresh_token);
    let current = RefreshToken::new(current.expose().to_owned());
    let scopes = access.scopes.iter().cloned().map(Scope::new);
    let by = By(Arc::clone(fetch));
    let asked = Instant::now();
    let answer = client
        .exchange_refresh_token(&current)
        .add_scopes(scopes)
        .request_async(&by)
        .await
        .map_err(trouble)?;
    if let Some(next) = answer.refresh_token() {
        in_flight.refresh_token = Some(Secret::new(next.secret()));
    }
    let token = answer.access_token().secret();
    if !is_credential(token) {
        return Err(broken("its access token cannot stand in a header"));
    }
    let lifetime = answer.expires_in();
    // No clock of ours reaches further than the sum.
    let at = |lifetime| asked.checked_add(lifetime);
    Ok(Issued {
        secret: Secret::new(token),
        expires: lifetime.and_then(at),
        renew: lifetime.map(until_renewal).and_then(at),
    })
}

/// A [`Fetch`] as the library wants it. It takes closures too, but the compiler cannot see that those may change threads.
struct By(Fetch);

impl AsyncHttpClient<'_> for By {
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

type Refusal = oauth2::basic::BasicErrorResponse;

fn trouble(error: RequestTokenError<Fault, Refusal>) -> CredentialError {
    match error {
        RequestTokenError::ServerResponse(refusal) => {
            let code = refusal.error().as_ref();
            let said = refusal.error_description().map_or("", String::as_str);
            // Anything else may be a passing trouble of the server.
            let lasting = matches!(
                refusal.error(),
                BasicErrorResponseType::InvalidClient
                    | BasicErrorResponseType::InvalidGrant
                    | BasicErrorResponseType::InvalidScope
                    | BasicErrorResponseType::UnauthorizedClient
                    | BasicErrorResponseType::UnsupportedGrantType
            );
            let said = format!("{code} {said}");
            let shown = said.trim_end().chars().filter(|c| !c.is_control());
            CredentialError {
                what: "the token server refused to give one",
                detail: shown.take(SHOWN).collect(),
                lasting,
            }
        }
        RequestTokenError::Request(fault) => CredentialError {
            what: "the token server did not answer",
            detail: fault.chain(),
            lasting: false,
        },
        // Neither the body nor what is wrong with it, since it may be a token that is not understood.
        RequestTokenError::Parse(..) => broken("its answer is neither a token nor an error"),
        RequestTokenError::Other(what) => broken(&what),
    }
}

fn broken(detail: &str) -> CredentialError {
    CredentialError {
        what: "the token server's answer is none",
        detail: detail.to_owned(),
        lasting: false,
    }
}
