//! The HTTP server: accepts connections, authenticates and routes requests, and sends responses.

mod admission; // how many connections, and for whom
mod connection; // time limits of client connections
mod auth; // keys, and web pages that call
mod routes; // method and path to route
mod inbound; // reads a request for an exchange
mod body_memory; // the memory of all request bodies
mod open_routes; // which of the other routes are open
mod passthrough; // forwards all other routes
mod batches; // where the results of message batches are
mod models; // `/v1/models`
mod metrics; // `/metrics`
mod cooldowns; // `/cooldowns`
mod files; // the ids of files
mod plugins; // `/plugins`, and the traces of exchanges
mod hops; // requests that come back
mod respond; // responses and errors
mod in_process; // requests that are made in this process

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{Router, body::Body, extract::State, response::Response};
use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, ALLOW, CONNECTION, VARY,
    },
};
use hyper::{
    body::{Body as _, Incoming},
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulConnection, GracefulShutdown},
    },
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tracing::{debug, info, warn};

use crate::{
    config::{AuthMode, Connections},
    exchange::{Ending, Record, Snapshot, exchange},
    fault::{Fault, Kind},
    ids::ExchangeId,
    message::RequestKind,
    pipeline::Runtime,
    shutdown::{self, Stop, Stopping},
    telemetry::Metrics,
};

pub(crate) use in_process::{InProcess, WholeResponse};

use admission::{Admission, Place};
use auth::{AuthRequirement, requires_key};
use body_memory::BodyMemory;
use connection::{RequestBody, Requests, ResponseBody, Socket, Streams, Watched};
use passthrough::Forwarded;
use routes::{NoRoute, Route};

/// The state that requests share. A reload replaces the snapshot, and exchanges in flight keep
/// theirs.
pub(crate) struct Shared {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// The limit of open files of this process.
    pub(crate) open_files: u64,
}

/// The buffer of a connection, in bytes. A smaller one costs reads, a larger one memory.
const BUFFER: usize = 64 * 1024;

/// How long streams may take to send their last event when they are cut at the end.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// The pause after a failed accept, as when file handles run out.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

struct Gateway {
    shared: Arc<Shared>,
    bodies: Arc<BodyMemory>,
    local: SocketAddr,
    /// The address as text, for requests without a host name.
    here: String,
    /// Whether exchanges in flight are cut.
    ending: Stopping,
}

impl Gateway {
    fn record(&self, id: &ExchangeId, kind: &'static str) -> Box<Record> {
        Record::begin(id.clone(), kind, &self.shared.metrics, self.ending.clone())
    }
}

/// Serves until a signal, then waits for exchanges in flight.
///
/// Ends when all of them have ended, when the time to drain is over, or at the second signal.
/// Streams that are cut end with an error event.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stopping: Stopping) {
    // If the socket does not report its address, the configured one is used.
    let local = listener
        .local_addr()
        .unwrap_or_else(|_| shared.snapshot.load().config.listen);
    warn_if_open(&shared, local);
    let (cut, ending) = shutdown::channel();
    let gateway = Arc::new(Gateway {
        shared: Arc::clone(&shared),
        bodies: Arc::default(),
        local,
        here: local.to_string(),
        ending,
    });
    let router = TowerToHyperService::new(Router::new().fallback(handle).with_state(gateway));
    let graceful = GracefulShutdown::new();
    let mut admission = Admission::new(shared.open_files);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next_with_id() => {
                admission.closed(ended.map_or_else(|error| error.id(), |(id, ())| id));
                continue;
            }
            () = stopping.draining() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        // Without a place, the connection is closed here.
        if let Some(place) = admission.admit() {
            let limits = place.limits(shared.snapshot.load().config.connections);
            let requests = Arc::new(Requests::new());
            let connection = connection(stream, &router, place, limits, &requests);
            let watched = Watched::new(graceful.watch(connection), Arc::clone(&requests), limits);
            admission.opened(connections.spawn(watched), requests);
        }
    }
    drop(listener);
    drain(&shared, graceful, connections.len(), stopping, cut).await;
}

/// Waits for exchanges in flight, and cuts those that take too long.
async fn drain(
    shared: &Shared,
    graceful: GracefulShutdown,
    connections: usize,
    mut stopping: Stopping,
    mut cut: Stop,
) {
    let drain = shared.snapshot.load().config.drain;
    info!(
        connections,
        ?drain,
        "shutting down; waiting for exchanges in flight"
    );
    let mut drained = pin!(graceful.shutdown());
    tokio::select! {
        () = &mut drained => return info!("shut down"),
        () = shutdown::elapsed(drain) => warn!("shut down; some exchanges were cut short"),
        () = stopping.ended() => warn!("shut down at the second signal; some exchanges were cut short"),
    }
    cut.end();
    tokio::select! {
        () = drained => {}
        () = shutdown::elapsed(LAST_EVENTS) => {}
    }
}

/// Serves the requests of one connection with the router.
fn connection(
    stream: TcpStream,
    router: &TowerToHyperService<Router>,
    place: Place,
    limits: Connections,
    requests: &Arc<Requests>,
) -> impl GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>> + use<> {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot disable the delay of small packets");
    }
    let (begun, router) = (Arc::clone(requests), router.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let running = begun.begin();
        request.extensions_mut().insert(place);
        let request = request.map(|body| RequestBody::new(body, &limits));
        router.call(request).map(|answered| {
            answered.map(|response| response.map(|body| ResponseBody::new(body, running)))
        })
    });
    let socket = Socket::new(TokioIo::new(stream), &limits);
    http(&limits).serve_connection(socket, service).into_owned()
}

fn http(limits: &Connections) -> auto::Builder<Streams> {
    let mut http = auto::Builder::new(Streams::new(limits));
    http.http1()
        .max_buf_size(BUFFER)
        // `Watched` limits the time for a head in both versions of HTTP.
        .header_read_timeout(None);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.http2_ping)
        .keep_alive_timeout(limits.http2_ping);
    http
}

/// Warns if anyone can use the gateway. `cli/serve.rs` warns if a key is required but none
/// configured.
fn warn_if_open(shared: &Shared, local: SocketAddr) {
    let mode = shared.snapshot.load().config.auth.mode;
    if mode == AuthMode::Off && !local.ip().is_loopback() {
        warn!(%local, "anyone who can reach this address can use the gateway: `auth.mode` is `off`");
    }
}

/// Handles one request, with the snapshot at its arrival.
async fn handle(State(gateway): State<Arc<Gateway>>, request: Request<Body>) -> Response {
    let snapshot = gateway.shared.snapshot.load_full();
    let id = ExchangeId::new();
    let (parts, body) = request.into_parts();
    let loopback = gateway.local.ip().is_loopback();
    if let Err(fault) = hops::check(&parts.headers) {
        return reject(&id, &parts, &fault);
    }
    match auth::check_page(&snapshot.config, loopback, &parts.uri, &parts.headers) {
        Err(fault) => reject(&id, &parts, &fault),
        Ok(None) => route(&gateway, &snapshot, id, parts, body).await,
        Ok(Some(origin)) if is_preflight(&parts) => preflight(&id, origin, &parts.headers),
        Ok(Some(origin)) => {
            let mut response = route(&gateway, &snapshot, id, parts, body).await;
            allow(origin, response.headers_mut());
            response
        }
    }
}

/// Authenticates a request and passes it to its route.
async fn route(
    gateway: &Gateway,
    snapshot: &Arc<Snapshot>,
    id: ExchangeId,
    mut parts: http::request::Parts,
    body: Body,
) -> Response {
    let config = &snapshot.config;
    let host = auth::host(&parts.uri, &parts.headers).unwrap_or(&gateway.here);
    let url = auth::url(host, &parts.headers);
    let route = routes::route(&parts.method, parts.uri.path(), host);
    let requirement = route
        .as_ref()
        .map_or(AuthRequirement::Locked, Route::auth_requirement);
    let loopback = gateway.local.ip().is_loopback();
    let requires_key = requires_key(config.auth.mode, loopback, requirement);
    let own = match auth::authenticate(&config.auth, requires_key, &mut parts.headers) {
        Ok(own) => own,
        Err(fault) => return reject(&id, &parts, &fault),
    };
    let route = match route {
        Ok(route) => route,
        Err(NoRoute { fault, allow }) => {
            let mut response = reject(&id, &parts, &fault);
            if let Some(allow) = allow {
                response
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static(allow));
            }
            return response;
        }
    };
    if parts.extensions.get() == Some(&Place::Operators) && !route.is_for_operators() {
        let what = "all client connections of this gateway are in use";
        return last_of_connection(reject(&id, &parts, &Fault::client(Kind::Overloaded, what)));
    }
    if let Err(fault) = may_serve(snapshot, &route, &parts, &body) {
        return reject(&id, &parts, &fault);
    }
    match route {
        Route::Health => respond::json(&id, r#"{"status":"ok"}"#),
        Route::Metrics => metrics::metrics(&id, &gateway.shared, snapshot, &parts.headers),
        Route::Probe => respond::empty(&id, StatusCode::OK),
        Route::Cooldowns => cooldowns::list(&id, snapshot),
        Route::Plugins => plugins::list(&id, snapshot),
        Route::Trace(exchange) => plugins::trace(&id, &gateway.shared.runtime, &exchange),
        Route::EndCooldowns => cooldowns::end(&id, snapshot, parts.uri.query().unwrap_or_default()),
        Route::Index => respond::text(&id, index(&url)),
        Route::Exchange(kind) => run_exchange(gateway, snapshot, id, kind, parts, body, own).await,
        Route::Passthrough => {
            let record = gateway.record(&id, "passthrough");
            let forwarded = Forwarded {
                gateway: url,
                parts,
                body,
                own,
            };
            let answer = passthrough::forward(snapshot, forwarded, record);
            respond::answer(&id, answer.await, &gateway.ending)
        }
        Route::Models | Route::ClaudeModels | Route::Model(_) => {
            let models = models::union(&gateway.shared.runtime, snapshot, &own).await;
            let list = match &route {
                Route::Model(model) => models::one(snapshot, &models, model, &own)
                    .await
                    .map(|model| model.entry.into()),
                Route::ClaudeModels => Ok(models::plain(&models)),
                _ => models::page(&models, parts.uri.query().unwrap_or_default()),
            };
            match list {
                Ok(list) => respond::json(&id, list.to_string()),
                Err(fault) => respond::fault(&id, &fault),
            }
        }
    }
}

/// Whether a request of this route may be served by the plugins that are loaded.
fn may_serve(
    snapshot: &Snapshot,
    route: &Route,
    parts: &http::request::Parts,
    body: &Body,
) -> Result<(), Fault> {
    match route {
        Route::Exchange(_) => snapshot.has_required_plugins(),
        Route::Passthrough => {
            snapshot.has_required_plugins()?;
            open_routes::check(&open_routes::Asked {
                method: &parts.method,
                path: parts.uri.path(),
                has_body: body.size_hint().exact() != Some(0),
                config: &snapshot.config.passthrough,
                rule: snapshot.catalog.added_rule(),
            })
        }
        _ => Ok(()),
    }
}

/// What a person reads who opens the gateway in a browser.
fn index(url: &str) -> String {
    format!(
        "This is Witgate, a gateway for the Anthropic Messages API.\n\n\
         Set the base URL of your client to {url}, without /v1.\n"
    )
}

/// Closes the connection after this response.
fn last_of_connection(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

/// Reads the request, runs the exchange and sends its response.
async fn run_exchange(
    gateway: &Gateway,
    snapshot: &Arc<Snapshot>,
    id: ExchangeId,
    kind: RequestKind,
    parts: http::request::Parts,
    body: Body,
    own: HeaderMap,
) -> Response {
    let mut record = gateway.record(&id, kind.as_str());
    let (config, bodies) = (&snapshot.config, &gateway.bodies);
    let request = match inbound::read(id.clone(), kind, parts, body, own, config, bodies).await {
        Ok(request) => request,
        Err(fault) => {
            let response = respond::fault(&id, &fault);
            record.status = response.status().as_u16();
            record.note = Some(fault.chain());
            record.end(Ending::Error);
            return response;
        }
    };
    record.request(&request);
    let (runtime, snapshot) = (&gateway.shared.runtime, Arc::clone(snapshot));
    // Boxed, because it is by far the largest future of a request and would be moved with all
    // others.
    let exchange = Box::pin(exchange(Arc::clone(runtime), snapshot, request, record));
    respond::answer(&id, exchange.await, &gateway.ending)
}

/// Responds to a request that does not become an exchange, and logs it.
fn reject(id: &ExchangeId, parts: &http::request::Parts, fault: &Fault) -> Response {
    let response = respond::fault(id, fault);
    let status = response.status().as_u16();
    info!(%id, status, method = %parts.method, path = parts.uri.path(), reason = %fault, "request rejected");
    response
}

fn is_preflight(parts: &http::request::Parts) -> bool {
    parts.method == Method::OPTIONS && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Responds to the preflight request of a web page. It needs no key and reveals nothing.
fn preflight(id: &ExchangeId, origin: HeaderValue, requested: &HeaderMap) -> Response {
    let mut response = respond::empty(id, StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    allow(origin, headers);
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    // All requested headers are allowed, since every beta adds some.
    if let Some(names) = requested.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Lets the pages of this origin read the response.
fn allow(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    headers.append(VARY, HeaderValue::from_static("origin"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, PluginConfig},
        pipeline::tests::Fixture,
    };

    #[tokio::test]
    async fn without_a_required_plugin_no_request_is_served_but_those_of_operators() {
        let mut config = Config::without_file();
        let required = PluginConfig {
            required: true,
            ..PluginConfig::default()
        };
        config.plugin.insert("redact".parse().unwrap(), required);
        let catalog = Fixture::new().load().catalog.unwrap();
        let snapshot = Snapshot::new(Arc::new(config), catalog, None).unwrap();
        let request = Request::new(Body::empty());
        let (parts, body) = request.into_parts();
        for route in [
            Route::Exchange(RequestKind::Messages),
            Route::Exchange(RequestKind::CountTokens),
            Route::Passthrough,
        ] {
            let fault = may_serve(&snapshot, &route, &parts, &body).unwrap_err();
            assert_eq!(fault.kind, Kind::Unavailable, "{route:?}");
            let text = fault.to_string();
            assert!(text.starts_with("plugin `redact` is required"), "{text}");
        }
        for route in [Route::Health, Route::Metrics, Route::Plugins, Route::Models] {
            assert!(may_serve(&snapshot, &route, &parts, &body).is_ok());
        }
    }
}
