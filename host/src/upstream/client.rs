//! One upstream's HTTP client: its settings, its trusted certificates and its URLs.

use std::{
    pin::Pin,
    sync::{Arc, Once, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Method};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use reqwest::{Certificate, Client, ClientBuilder, Proxy, Url};

use crate::{
    config::{Retry, Upstream},
    fault::Fault,
    message::BodyStream,
};

use super::{
    PassthroughBody,
    reuse::{NoteConnections, may_be_sent_again, noting_reuse},
};

/// One upstream's HTTP client.
pub(super) struct Http {
    transport: TransportSettings,
    base: Url,
    /// The URL of nearly all requests, built once.
    messages: Url,
    /// Decodes a response that is compressed although that was not requested.
    client: Client,
    /// For passthrough: leaves responses as they are. Built when first needed.
    verbatim: OnceLock<Client>,
    /// Like `client` and like `verbatim`, without idle connections: for requests that failed on a
    /// stale one. Built when first needed.
    fresh: OnceLock<Client>,
    fresh_verbatim: OnceLock<Client>,
    /// For other addresses: trusts the platform's authorities if `client` does not. Built when
    /// first needed.
    client_for: OnceLock<Client>,
    /// Why no authority could be loaded, if so. Matters only for TLS.
    no_trust: Option<String>,
}

/// What a client is built from. A reload with the same settings keeps the client.
#[derive(Clone, PartialEq, Eq)]
struct TransportSettings {
    base_url: String,
    proxy: Option<String>,
    /// The content of `ca_file`, which may change while its name stays the same.
    authorities: Option<Vec<u8>>,
    connect: Duration,
    /// The read timeout for passthrough; other requests have their own limits.
    idle: Duration,
}

impl Http {
    /// Builds a client, or returns one of `existing` with the same settings.
    pub(super) fn new(
        config: &Upstream,
        limits: &Retry,
        existing: &[&Arc<Self>],
    ) -> Result<Arc<Self>, Fault> {
        let transport = TransportSettings::of(config, limits)?;
        if let Some(same) = existing.iter().find(|http| http.transport == transport) {
            return Ok(Arc::clone(same));
        }
        let bad = |what: String| Fault::gateway(format!("upstream `{}`: {what}", config.name));
        let base = Url::parse(&transport.base_url)
            .map_err(|error| bad("`base_url` is not a URL".to_owned()).from(error))?;
        if base.cannot_be_a_base() {
            return Err(bad(
                "`base_url` must be a URL with a host, such as `https://api.example.com`"
                    .to_owned(),
            ));
        }
        install_crypto();
        let mut no_trust = None;
        let client = transport.client(true).or_else(|error| {
            // A machine without certificates can still reach upstreams without TLS.
            no_trust = Some(failure_text(&error));
            transport.client(false)
        });
        let client = client.map_err(|error| bad(failure_text(&error)))?;
        Ok(Arc::new(Self {
            transport,
            messages: below(&base, MESSAGES)?,
            base,
            client,
            verbatim: OnceLock::new(),
            fresh: OnceLock::new(),
            fresh_verbatim: OnceLock::new(),
            client_for: OnceLock::new(),
            no_trust,
        }))
    }

    /// Sends a request to one of [`Self::url`], again if a reused connection was stale.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> reqwest::Result<reqwest::Response> {
        let build = || {
            let mut request = reqwest::Request::new(method.clone(), url.clone());
            request.headers_mut().clone_from(&headers);
            *request.body_mut() = Some(body.clone().into());
            request
        };
        let (sent, reused) = noting_reuse(self.client.execute(build())).await;
        match sent {
            Err(error) if may_be_sent_again(&error, reused) => self.fresh()?.execute(build()).await,
            sent => sent,
        }
    }

    /// Sends a request to one of [`Self::url`] and leaves the response as it is. A request is sent
    /// again after a stale connection if its body is at hand.
    pub(super) async fn passthrough(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: PassthroughBody,
    ) -> reqwest::Result<reqwest::Response> {
        let (whole, stream) = match body {
            PassthroughBody::Whole(bytes) => (Some(bytes), None),
            PassthroughBody::Stream { length, chunks } => {
                let chunks = Mutex::new(chunks);
                let body = reqwest::Body::wrap(SizedBody { length, chunks });
                (None, Some(body))
            }
        };
        let build = |stream: Option<reqwest::Body>| {
            let mut request = reqwest::Request::new(method.clone(), url.clone());
            request.headers_mut().clone_from(&headers);
            let whole = whole.clone().filter(|bytes| !bytes.is_empty());
            *request.body_mut() = stream.or(whole.map(reqwest::Body::from));
            request
        };
        let (sent, reused) = noting_reuse(self.verbatim()?.execute(build(stream))).await;
        match sent {
            Err(error) if whole.is_some() && may_be_sent_again(&error, reused) => {
                self.fresh_verbatim()?.execute(build(None)).await
            }
            sent => sent,
        }
    }

    /// The client for an address that is not below the base.
    pub(super) fn client_for(&self, tls: bool) -> reqwest::Result<&Client> {
        if !tls || self.transport.needs_tls() {
            return Ok(&self.client);
        }
        built_once(&self.client_for, || self.transport.builder_with(true))
    }

    /// Why no certificate is trusted, if so.
    pub(super) fn no_trust(&self) -> Option<&str> {
        self.no_trust.as_deref()
    }

    /// The URL of a path: below the base URL's own path, without a doubled `/v1`.
    pub(super) fn url(&self, path: &str, query: &str) -> Result<Url, Fault> {
        let mut url = match path {
            MESSAGES => self.messages.clone(),
            path => below(&self.base, path)?,
        };
        if !query.is_empty() {
            url.set_query(Some(query));
        }
        Ok(url)
    }

    fn verbatim(&self) -> reqwest::Result<&Client> {
        built_once(&self.verbatim, || self.verbatim_builder())
    }

    fn fresh(&self) -> reqwest::Result<&Client> {
        let builder = || self.transport.builder(self.no_trust.is_none());
        built_once(&self.fresh, || Ok(builder()?.pool_max_idle_per_host(0)))
    }

    fn fresh_verbatim(&self) -> reqwest::Result<&Client> {
        let builder = || self.verbatim_builder();
        built_once(&self.fresh_verbatim, || {
            Ok(builder()?.pool_max_idle_per_host(0))
        })
    }

    fn verbatim_builder(&self) -> reqwest::Result<ClientBuilder> {
        let builder = self.transport.builder(self.no_trust.is_none())?;
        Ok(builder
            .read_timeout(self.transport.idle)
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd())
    }
}

/// The client in the cell. If there is none, it is built.
fn built_once(
    cell: &OnceLock<Client>,
    builder: impl FnOnce() -> reqwest::Result<ClientBuilder>,
) -> reqwest::Result<&Client> {
    if let Some(client) = cell.get() {
        return Ok(client);
    }
    let client = builder()?.build()?;
    Ok(cell.get_or_init(|| client))
}

const MESSAGES: &str = "/v1/messages";

/// Joins a path to the base URL.
///
/// Paths are checked where they enter the gateway. An illegal one that gets here is an error: the
/// URL library resolves dots and `\`, and the result may be outside of the base URL, where the
/// account's key must not be sent.
fn below(base: &Url, path: &str) -> Result<Url, Fault> {
    let mut url = base.clone();
    let base = base.path().trim_end_matches('/');
    let base = match base.strip_suffix("/v1") {
        Some(shorter) if path.starts_with("/v1/") => shorter,
        _ => base,
    };
    let joined = format!("{base}{path}");
    url.set_path(&joined);
    let is_as_joined = percent_decode_str(url.path()).eq(percent_decode_str(&joined));
    if !path.starts_with('/') || !is_as_joined {
        let what = format!("path `{path}` is outside of the upstream's base URL");
        return Err(Fault::gateway(what));
    }
    Ok(url)
}

impl TransportSettings {
    fn of(config: &Upstream, limits: &Retry) -> Result<Self, Fault> {
        let read = |path| {
            std::fs::read(path).map_err(|error| {
                let what = format!("upstream `{}`: `ca_file` cannot be read", config.name);
                Fault::gateway(what).from(error)
            })
        };
        Ok(Self {
            base_url: config.base_url.url.clone(),
            proxy: config.proxy.clone(),
            authorities: config.ca_file.as_ref().map(read).transpose()?,
            connect: limits.connect,
            idle: limits.answer,
        })
    }

    fn client(&self, trust_platform: bool) -> reqwest::Result<Client> {
        self.builder(trust_platform)?.build()
    }

    /// A client that does nothing by itself: no redirects, no proxy from the environment, no
    /// retries.
    fn builder(&self, trust_platform: bool) -> reqwest::Result<ClientBuilder> {
        // Loading the platform's certificates takes a while, and plain HTTP does not need them.
        self.builder_with(trust_platform && self.needs_tls())
    }

    fn builder_with(&self, platform: bool) -> reqwest::Result<ClientBuilder> {
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // The limit as well: the library copies the request as long as a retry is possible.
            .retry(reqwest::retry::never().max_retries_per_request(0))
            .referer(false)
            .no_proxy()
            .connector_layer(NoteConnections)
            .connect_timeout(self.connect);
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(Proxy::all(proxy)?);
        }
        let extra = match &self.authorities {
            Some(pem) => Certificate::from_pem_bundle(pem)?,
            None => Vec::new(),
        };
        Ok(if platform {
            builder.tls_certs_merge(extra)
        } else {
            builder.tls_certs_only(extra)
        })
    }

    fn needs_tls(&self) -> bool {
        let tls = |url: &String| url.starts_with("https:");
        tls(&self.base_url) || self.proxy.as_ref().is_some_and(tls)
    }
}

/// Installs the crypto provider of the process.
pub(super) fn install_crypto() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // It fails if there is one already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The innermost cause of an error, which has the useful message.
pub(super) fn failure_text(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A passthrough body with its length, if it is known.
struct SizedBody {
    length: Option<u64>,
    /// Never locked: the mutex makes the stream `Sync`, as the client library requires.
    chunks: Mutex<BodyStream>,
}

impl http_body::Body for SizedBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        let next = this.chunks.get_mut().poll_next_unpin(cx);
        if let (Some(length), Poll::Ready(Some(Ok(chunk)))) = (&mut this.length, &next) {
            *length = length.saturating_sub(chunk.len() as u64);
        }
        next.map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn leads(base: &str, path: &str, to: &str) {
        let http = Http {
            transport: TransportSettings {
                base_url: base.into(),
                proxy: None,
                authorities: None,
                connect: Duration::from_secs(1),
                idle: Duration::from_secs(1),
            },
            messages: below(&Url::parse(base).unwrap(), MESSAGES).unwrap(),
            base: Url::parse(base).unwrap(),
            client: Client::new(),
            verbatim: OnceLock::new(),
            fresh: OnceLock::new(),
            fresh_verbatim: OnceLock::new(),
            client_for: OnceLock::new(),
            no_trust: None,
        };
        assert_eq!(
            http.url(path, "beta=true").unwrap().as_str(),
            format!("{to}?beta=true")
        );
    }

    #[test]
    fn the_base_path_is_kept_and_v1_is_not_doubled() {
        install_crypto();
        leads("http://a.test", "/v1/messages", "http://a.test/v1/messages");
        leads(
            "http://a.test/",
            "/v1/messages",
            "http://a.test/v1/messages",
        );
        leads(
            "http://a.test/v1",
            "/v1/messages",
            "http://a.test/v1/messages",
        );
        leads(
            "http://a.test/v1/",
            "/v1/messages",
            "http://a.test/v1/messages",
        );
        leads(
            "http://a.test/api/anthropic",
            "/v1/models",
            "http://a.test/api/anthropic/v1/models",
        );
        leads(
            "http://a.test/v1",
            "/chat/completions",
            "http://a.test/v1/chat/completions",
        );
        leads(
            "http://a.test/api",
            "/v1/files/a%20b/\u{e9}",
            "http://a.test/api/v1/files/a%20b/%C3%A9",
        );
    }

    #[test]
    fn paths_outside_of_the_base_are_rejected() {
        for base in ["http://a.test", "http://a.test/v1/", "http://a.test/api/x"] {
            let base = Url::parse(base).unwrap();
            for path in [
                "",
                "v1/files",
                "/v1/../../admin",
                "/v1/./messages",
                "/v1/x/..",
                "/v1/messages/.",
                "/v1/%2e%2E/admin",
                "/v1\\..\\admin",
                "/v1/.\t./admin",
            ] {
                let url = below(&base, path).map(|url| url.to_string());
                assert!(url.is_err(), "{base} {path}: {url:?}");
            }
        }
    }
}
