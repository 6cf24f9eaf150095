//! It leaves the building: the HTTP clients, whose words become ours here and nowhere else.

mod client;
mod body_stream;
mod echo;
mod error_map;
mod token_request;
mod models;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{
    HeaderMap, HeaderValue, Method,
    header::{ACCEPT_ENCODING, AUTHORIZATION},
};

use crate::{
    config::{self, AuthStyle},
    fault::{Fault, Kind, Retry},
    ids::UpstreamId,
    message::{ANTHROPIC, Body, BodyStream, Request, Response, keep_end_to_end},
    secret::Secret,
};

pub(crate) use models::Model;

use body_stream::UpstreamBody;
use client::Http;

/// All upstreams, by their place in the configuration; the echo upstream where none is configured.
pub(crate) struct Upstreams(Vec<Upstream>);

/// Where models are served.
pub(crate) struct Upstream {
    pub(crate) config: config::Upstream,
    /// Without a byte for so long an answer that has begun is taken for dead.
    idle: Duration,
    transport: Transport,
    /// The list of models and when it was asked for; only lists that were asked for with an account's credential.
    listed: Mutex<Option<(Instant, Arc<[Model]>)>>,
}

enum Transport {
    Http(Arc<Http>),
    Echo,
}

/// As whom a request goes out.
#[derive(Clone, Copy)]
pub(crate) enum Credential<'a> {
    /// An account's, in the header that the upstream wants.
    Account(&'a Secret),
    /// What the client sent, as it came; maybe nothing.
    Client(&'a HeaderMap),
}

/// A request that is streamed through, both ways, without a look into it.
pub(crate) struct PassthroughRequest {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    /// The length of the body, where it is known.
    pub(crate) length: Option<u64>,
    pub(crate) body: BodyStream,
}

impl Upstreams {
    /// The connections of an upstream whose transport did not change are kept.
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
        let former: Vec<&Arc<Http>> = previous
            .map_or(&[][..], |all| &all.0)
            .iter()
            .filter_map(Upstream::http)
            .collect();
        let each = configured.iter().map(|config| {
            let http = Http::new(config, limits, &former)?;
            Ok(Upstream {
                config: config.clone(),
                idle: limits.idle,
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
    /// Sends one attempt. `edits` is what plugins did to it, in a line.
    ///
    /// The fault says whether there was an answer at all; an error status is an answer. Dropping the future or the
    /// answer's body drops the connection's stream.
    pub(crate) async fn send(
        &self,
        request: &Request,
        credential: Credential<'_>,
        edits: &str,
    ) -> Result<Response, Fault> {
        let http = match &self.transport {
            Transport::Echo => return Ok(echo::answer(request, edits)),
            Transport::Http(http) => http,
        };
        let url = http.url(&request.path, &request.query)?;
        let mut headers = HeaderMap::clone(&request.headers);
        // The verdict and the response hooks must read the answer.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        self.sign(&mut headers, credential)?;
        let answer = http
            .send(request.method.clone(), url, headers, request.body.bytes())
            .await;
        answer
            .map(|answer| answered(answer, self.config.name.clone(), self.idle))
            .map_err(|error| error_map::before_answer(&self.config, http.distrust(), error))
    }

    /// Streams a request through and the answer back, compression and all.
    pub(crate) async fn passthrough(
        &self,
        mut request: PassthroughRequest,
        credential: Credential<'_>,
    ) -> Result<Response, Fault> {
        let Transport::Http(http) = &self.transport else {
            let what = format!(
                "the echo upstream has no `{} {}`",
                request.method, request.path
            );
            return Err(Fault::client(Kind::NotFound, what));
        };
        let url = http.url(&request.path, &request.query)?;
        self.sign(&mut request.headers, credential)?;
        let answer = http.passthrough(url, request).await;
        answer
            .map(|answer| answered(answer, self.config.name.clone(), self.idle))
            .map_err(|error| {
                error_map::of_request_body(&error).unwrap_or_else(|| {
                    error_map::before_answer(&self.config, http.distrust(), error)
                })
            })
    }

    /// The upstream's own list of models, as Anthropic shapes it, or the configured one where it has none.
    ///
    /// Never an error: a list that does not come in time is empty or configured.
    pub(crate) async fn models(
        &self,
        credential: Option<Credential<'_>>,
        now: Instant,
    ) -> Arc<[Model]> {
        models::list(self, credential, now).await
    }

    /// As [`Self::models`], for an upstream that speaks another protocol: `asking` gives its list in Anthropic's shape.
    /// `own` says that it asks with an account's credential.
    pub(crate) async fn models_with(
        &self,
        asking: Option<impl Future<Output = Option<Bytes>>>,
        own: bool,
        now: Instant,
    ) -> Arc<[Model]> {
        models::told(self, asking, own, now).await
    }

    fn http(&self) -> Option<&Arc<Http>> {
        match &self.transport {
            Transport::Http(http) => Some(http),
            Transport::Echo => None,
        }
    }

    fn sign(&self, headers: &mut HeaderMap, credential: Credential<'_>) -> Result<(), Fault> {
        if *self.config.dialect == *ANTHROPIC && !headers.contains_key(VERSION) {
            headers.insert(VERSION, HeaderValue::from_static("2023-06-01"));
        }
        let key = match credential {
            Credential::Account(key) => key.expose(),
            Credential::Client(presented) if presented.is_empty() => {
                return Err(self.no_credential());
            }
            Credential::Client(presented) => {
                headers.extend(presented.clone());
                return Ok(());
            }
        };
        let (name, value) = match self.config.auth {
            AuthStyle::XApiKey => ("x-api-key", HeaderValue::from_str(key)),
            AuthStyle::XGoogApiKey => ("x-goog-api-key", HeaderValue::from_str(key)),
            AuthStyle::Bearer => (
                AUTHORIZATION.as_str(),
                HeaderValue::from_str(&format!("Bearer {key}")),
            ),
        };
        // The error would not print the key either, but it has nothing to add.
        let mut value = value.map_err(|_| {
            Fault::gateway(format!(
                "an account's key of upstream `{}` has characters that no header can carry",
                self.config.name
            ))
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    }

    fn no_credential(&self) -> Fault {
        let what = format!(
            "no credential for upstream `{}`: it has no accounts, and the request carries none that is not the \
             gateway's own; configure `accounts` or send the upstream's key",
            self.config.name
        );
        Fault::client(Kind::Unauthenticated, what).retry(Retry::Failover)
    }
}

const VERSION: &str = "anthropic-version";

/// Our words for an answer.
fn answered(mut answer: reqwest::Response, upstream: UpstreamId, idle: Duration) -> Response {
    let mut headers = std::mem::take(answer.headers_mut());
    keep_end_to_end(&mut headers);
    Response {
        status: answer.status(),
        headers,
        body: Body::Stream(UpstreamBody::new(answer, upstream, idle).boxed()),
    }
}
