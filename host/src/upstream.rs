//! HTTP clients to the upstreams. The client library's types and errors do not leave this module.

mod client; // one upstream's HTTP client and URLs
mod reuse; // whether a stale connection was reused
mod body_stream; // a response body, with an idle timeout
mod gunzip; // compression that the client library leaves
mod additions; // what the operator adds to every request
mod error_map; // the client library's errors as faults
mod token_request; // requests to token servers
mod models; // lists of models
mod echo; // the built-in upstream that works offline
mod gateway; // requests of the command line to a running gateway

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH},
};

use parking_lot::Mutex;

use crate::{
    config::{self, AuthStyle},
    fault::{Fault, Kind, Retry},
    ids::UpstreamId,
    message::{ANTHROPIC, Body, BodyStream, Request, RequestKind, Response, keep_for_client},
    secret::Secret,
};

pub(crate) use gateway::get_from_gateway;
pub(crate) use models::Model;

use body_stream::UpstreamBody;
use client::Http;
use gunzip::Gunzip;
pub(crate) use gunzip::decoded;

/// What the echo upstream responds to this body.
pub(crate) fn echo_response(kind: RequestKind, stream: bool, body: &[u8]) -> Response {
    echo::respond(kind, stream, body, "")
}

/// All upstreams, by their index in the configuration; the echo upstream if none is configured.
pub(crate) struct Upstreams(Vec<Upstream>);

/// One upstream: its configuration and its HTTP client.
pub(crate) struct Upstream {
    pub(crate) config: config::Upstream,
    /// A response body that is silent for this long has failed.
    idle: Duration,
    transport: Transport,
    /// The list of models and when it was requested. Only lists that were requested with an
    /// account's credential are kept.
    listed: Mutex<Option<(Instant, Arc<[Model]>)>>,
}

enum Transport {
    Http(Arc<Http>),
    Echo,
}

/// The credential that a request is sent with.
#[derive(Clone, Copy)]
pub(crate) enum Credential<'a> {
    /// An account's key, in the header that the upstream expects.
    Account(&'a Secret),
    /// The client's own headers, unchanged; may be empty.
    Client(&'a HeaderMap),
}

/// A passthrough request: request and response are streamed without inspecting them.
pub(crate) struct PassthroughRequest {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    /// The length of the body, if it is known.
    pub(crate) length: Option<u64>,
    pub(crate) body: BodyStream,
}

/// The body of a passthrough request.
enum PassthroughBody {
    /// A short body, which can be sent again.
    Whole(Bytes),
    Stream {
        length: Option<u64>,
        chunks: BodyStream,
    },
}

/// The longest passthrough body that is read before it is sent, in bytes.
const WHOLE: u64 = 256 * 1024;

impl PassthroughBody {
    async fn of(length: Option<u64>, mut chunks: BodyStream) -> Result<Self, Fault> {
        if length.is_none_or(|length| length > WHOLE) {
            return Ok(Self::Stream { length, chunks });
        }
        let mut whole = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(Self::Whole(whole.freeze()))
    }
}

impl Upstreams {
    /// Keeps the connections of upstreams whose transport settings did not change since `previous`.
    pub(crate) fn new(
        configured: &[config::Upstream],
        limits: &config::Retry,
        previous: Option<&Upstreams>,
    ) -> Result<Self, Fault> {
        if configured.is_empty() {
            let listed = Mutex::default();
            return Ok(Self(vec![Upstream {
                config: echo::config(),
                idle: limits.idle,
                transport: Transport::Echo,
                listed,
            }]));
        }
        let existing: Vec<&Arc<Http>> = previous
            .map_or(&[][..], |all| &all.0)
            .iter()
            .filter_map(Upstream::http)
            .collect();
        let each = configured.iter().map(|config| {
            let http = Http::new(config, limits, &existing)?;
            Ok(Upstream {
                config: config.clone(),
                idle: config.idle.unwrap_or(limits.idle),
                transport: Transport::Http(http),
                listed: Mutex::default(),
            })
        });
        each.collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Upstream> {
        self.0.iter()
    }

    pub(crate) fn at(&self, index: usize) -> Option<&Upstream> {
        self.0.get(index)
    }
}

impl Upstream {
    /// Sends one attempt. `edits` is a one-line summary of the edits by plugins.
    ///
    /// A fault means that there is no response; an error status is a response. Dropping the future
    /// or the response body cancels the request.
    pub(crate) async fn send(
        &self,
        request: &Request,
        credential: Credential<'_>,
        edits: &str,
    ) -> Result<Response, Fault> {
        let http = match &self.transport {
            Transport::Echo => {
                let body = request.body.bytes();
                return Ok(echo::respond(request.kind, request.stream, &body, edits));
            }
            Transport::Http(http) => http,
        };
        let url = http.url(&request.path, &self.query(&request.query))?;
        let mut headers = HeaderMap::clone(&request.headers);
        self.prepare(&mut headers, credential)?;
        let response = http
            .send(request.method.clone(), url, headers, request.body.bytes())
            .await;
        response
            .map(|response| convert(response, self.config.name.clone(), self.idle))
            .map_err(|error| error_map::before_response(&self.config, http.no_trust(), error))
    }

    /// Streams a request to the upstream and its response back. Compressed bodies stay compressed,
    /// and the response keeps its `content-length`.
    pub(crate) async fn passthrough(
        &self,
        mut request: PassthroughRequest,
        credential: Credential<'_>,
    ) -> Result<Response, Fault> {
        let Transport::Http(http) = &self.transport else {
            let what = format!(
                "the echo upstream does not serve `{} {}`",
                request.method, request.path
            );
            return Err(Fault::client(Kind::NotFound, what));
        };
        let url = http.url(&request.path, &self.query(&request.query))?;
        self.add_headers(&mut request.headers);
        self.sign(&mut request.headers, credential)?;
        let body = PassthroughBody::of(request.length, request.body).await?;
        let response = http
            .passthrough(request.method, url, request.headers, body)
            .await;
        response
            .map(|response| {
                let length = response.headers().get(CONTENT_LENGTH).cloned();
                let mut response = verbatim(response, self.config.name.clone(), self.idle);
                // The body is not decoded, so its length is still right.
                response
                    .headers
                    .extend(length.map(|length| (CONTENT_LENGTH, length)));
                response
            })
            .map_err(|error| {
                error_map::of_request_body(&error).unwrap_or_else(|| {
                    error_map::before_response(&self.config, http.no_trust(), error)
                })
            })
    }

    /// The upstream's list of models in Anthropic's shape, or the configured one if it has none.
    ///
    /// Never an error: after a failure or a timeout the configured list is used, which may be
    /// empty.
    pub(crate) async fn models(
        &self,
        credential: Option<Credential<'_>>,
        now: Instant,
    ) -> Arc<[Model]> {
        match &self.transport {
            Transport::Echo => echo::models().into(),
            Transport::Http(http) => models::list(self, http, credential, now).await,
        }
    }

    /// Like [`Self::models`], for an upstream with another dialect: `request` yields its list in
    /// Anthropic's shape. `from_account` says that it was requested with an account's credential.
    pub(crate) async fn models_with(
        &self,
        request: Option<impl Future<Output = Option<Bytes>>>,
        from_account: bool,
        now: Instant,
    ) -> Arc<[Model]> {
        models::list_with(self, request, from_account, now).await
    }

    fn http(&self) -> Option<&Arc<Http>> {
        match &self.transport {
            Transport::Http(http) => Some(http),
            Transport::Echo => None,
        }
    }

    /// A model by its id or an alias of it, as the upstream describes it.
    pub(crate) async fn model(&self, credential: Credential<'_>, id: &str) -> Option<Model> {
        match &self.transport {
            Transport::Http(http) if *self.config.dialect == *ANTHROPIC => {
                models::one(self, http, credential, id).await
            }
            Transport::Http(_) | Transport::Echo => None,
        }
    }

    /// Adds all headers of a request whose response is read here.
    fn prepare(&self, headers: &mut HeaderMap, credential: Credential<'_>) -> Result<(), Fault> {
        // Retry decisions and response hooks must be able to read the response.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        self.add_headers(headers);
        self.sign(headers, credential)
    }

    /// Sets the credential's header, and `anthropic-version` if it is missing.
    fn sign(&self, headers: &mut HeaderMap, credential: Credential<'_>) -> Result<(), Fault> {
        if *self.config.dialect == *ANTHROPIC && !headers.contains_key(VERSION) {
            headers.insert(VERSION, HeaderValue::from_static("2023-06-01"));
        }
        let key = match credential {
            Credential::Account(key) => key.expose(),
            Credential::Client(presented) if presented.is_empty() => {
                return Err(self.no_credential());
            }
            Credential::Client(presented) => match self.key_to_rewrite(presented) {
                Some(key) => key,
                None => {
                    headers.extend(presented.clone());
                    return Ok(());
                }
            },
        };
        let (name, value) = match &self.config.auth {
            AuthStyle::XApiKey => (X_API_KEY, HeaderValue::from_str(key)),
            AuthStyle::XGoogApiKey => (X_GOOG_API_KEY, HeaderValue::from_str(key)),
            AuthStyle::Bearer => {
                let value = HeaderValue::from_str(&format!("Bearer {key}"));
                (AUTHORIZATION, value)
            }
            AuthStyle::Header(name) => (name.clone(), HeaderValue::from_str(key)),
        };
        // The error has nothing to add: it does not contain the key.
        let mut value = value.map_err(|_| {
            Fault::gateway(format!(
                "the key of an account of upstream `{}` has characters that are not valid in a header",
                self.config.name
            ))
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    }

    /// The client's own key, if it has to go into another header than the client used.
    ///
    /// Upstreams with Anthropic's dialect read a key and a login where Anthropic's clients put
    /// them. Others read one header only.
    fn key_to_rewrite<'a>(&self, presented: &'a HeaderMap) -> Option<&'a str> {
        let own = match &self.config.auth {
            AuthStyle::XApiKey | AuthStyle::Bearer if *self.config.dialect == *ANTHROPIC => {
                return None;
            }
            AuthStyle::XApiKey => X_API_KEY,
            AuthStyle::Bearer => AUTHORIZATION,
            AuthStyle::XGoogApiKey => X_GOOG_API_KEY,
            AuthStyle::Header(name) => name.clone(),
        };
        // The upstream's own header first: the client may have put another key elsewhere.
        let names = [own, X_GOOG_API_KEY, X_API_KEY, AUTHORIZATION];
        names.iter().find_map(|name| {
            let value = presented.get(name)?.to_str().ok()?;
            match *name == AUTHORIZATION {
                true => bearer(value),
                false => Some(value),
            }
        })
    }

    fn no_credential(&self) -> Fault {
        let what = format!(
            "no credential for upstream `{}`: it has no accounts, and the request has no key besides the \
             gateway's; configure `accounts` or send the upstream's key",
            self.config.name
        );
        Fault::client(Kind::Unauthenticated, what).retry(Retry::Failover)
    }
}

const VERSION: &str = "anthropic-version";
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// The token of an `authorization` header.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Converts the client library's response, and decodes its body.
fn convert(mut response: reqwest::Response, upstream: UpstreamId, idle: Duration) -> Response {
    let gunzip = Gunzip::of(response.headers_mut());
    into_response(response, upstream, idle, gunzip)
}

/// Converts the client library's response, and leaves its body as it is.
fn verbatim(response: reqwest::Response, upstream: UpstreamId, idle: Duration) -> Response {
    into_response(response, upstream, idle, Gunzip::Plain)
}

fn into_response(
    mut response: reqwest::Response,
    upstream: UpstreamId,
    idle: Duration,
    gunzip: Gunzip,
) -> Response {
    let mut headers = std::mem::take(response.headers_mut());
    keep_for_client(&mut headers);
    Response {
        status: response.status(),
        headers,
        body: Body::Stream(UpstreamBody::new(response, upstream, idle, gunzip).boxed()),
    }
}
