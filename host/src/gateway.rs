//! HTTP comes in here and leaves from here: the accept loop, and which request goes where.

mod auth;
mod connection;
mod inbound;
mod metrics;
mod models;
mod passthrough;
mod respond;
mod routes;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{Router, body::Body, extract::State, response::Response};
use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, ALLOW, VARY,
    },
};
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, task::JoinSet};
use tracing::{debug, info, warn};

use crate::{
    config::{AuthMode, Connections},
    exchange::{Ending, Record, Snapshot, exchange},
    fault::Fault,
    ids::ExchangeId,
    message::RequestKind,
    pipeline::Runtime,
    shutdown::{self, Stopping},
    telemetry::Metrics,
};

use auth::{AuthRequirement, wants_key};
use connection::{RequestBody, Requests, ResponseBody, Socket, Streams, Watched};
use routes::{NoRoute, Route};

/// What the gateway serves from; a reload swaps the snapshot while exchanges under way keep theirs.
pub(crate) struct Shared {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) snapshot: ArcSwap<Snapshot>,
}

/// What a connection may buffer: a smaller buffer costs reads, a larger one memory per connection.
const BUFFER: usize = 64 * 1024;

/// After an accept failed for want of file handles.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

struct Gateway {
    shared: Arc<Shared>,
    local: SocketAddr,
    /// The address as text, for clients that do not say what they call this gateway.
    here: String,
}

/// Serves until it is told to stop; then ends when all exchanges have, or the time for that is up, or at the second
/// telling.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stopping: Stopping) {
    // A socket that does not tell its address listens where it was told to.
    let local = listener
        .local_addr()
        .unwrap_or_else(|_| shared.snapshot.load().config.listen);
    warn_if_open(&shared, local);
    let gateway = Arc::new(Gateway {
        shared: Arc::clone(&shared),
        local,
        here: local.to_string(),
    });
    let router = TowerToHyperService::new(Router::new().fallback(handle).with_state(gateway));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            () = stopping.draining() => break,
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "a connection sends small packets late");
        }
        let limits = shared.snapshot.load().config.connections;
        let requests = Arc::new(Requests::new());
        let (begun, router) = (Arc::clone(&requests), router.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let running = begun.begin();
            let request = request.map(|body| RequestBody::new(body, &limits));
            router.call(request).map(|answered| {
                answered.map(|response| response.map(|body| ResponseBody::new(body, running)))
            })
        });
        let socket = Socket::new(TokioIo::new(stream), &limits);
        let connection = http(&limits).serve_connection(socket, service).into_owned();
        connections.spawn(Watched::new(graceful.watch(connection), requests, limits));
    }
    drop(listener);
    let drain = shared.snapshot.load().config.drain;
    info!(
        connections = connections.len(),
        ?drain,
        "stopping, exchanges under way may end"
    );
    tokio::select! {
        () = graceful.shutdown() => info!("stopped"),
        () = shutdown::elapsed(drain) => warn!("stopped, some exchanges were cut short"),
        () = stopping.ended() => warn!("stopped at once"),
    }
}

fn http(limits: &Connections) -> auto::Builder<Streams> {
    let mut http = auto::Builder::new(Streams::new(limits));
    http.http1()
        .max_buf_size(BUFFER)
        // `Watched` limits the time for a head, in both versions of HTTP.
        .header_read_timeout(None);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.http2_ping)
        .keep_alive_timeout(limits.http2_ping);
    http
}

/// That no key is configured where one is asked for is said at the start, by whoever reads the configuration.
fn warn_if_open(shared: &Shared, local: SocketAddr) {
    let mode = shared.snapshot.load().config.auth.mode;
    if mode == AuthMode::Off && !local.ip().is_loopback() {
        warn!(%local, "everyone who reaches this address may use the gateway: `auth.mode` is `off`");
    }
}

/// One request, on the snapshot of the moment it came.
async fn handle(State(gateway): State<Arc<Gateway>>, request: Request<Body>) -> Response {
    let snapshot = gateway.shared.snapshot.load_full();
    let id = ExchangeId::new();
    let (parts, body) = request.into_parts();
    let loopback = gateway.local.ip().is_loopback();
    match auth::check_page(&snapshot.config, loopback, &parts.uri, &parts.headers) {
        Err(fault) => refuse(&id, &parts, &fault),
        Ok(None) => answer(&gateway, &snapshot, id, parts, body).await,
        Ok(Some(origin)) if is_preflight(&parts) => preflight(&id, origin, &parts.headers),
        Ok(Some(origin)) => {
            let mut response = answer(&gateway, &snapshot, id, parts, body).await;
            allow(origin, response.headers_mut());
            response
        }
    }
}

async fn answer(
    gateway: &Gateway,
    snapshot: &Arc<Snapshot>,
    id: ExchangeId,
    mut parts: http::request::Parts,
    body: Body,
) -> Response {
    let config = &snapshot.config;
    let host = auth::host(&parts.uri, &parts.headers).unwrap_or(&gateway.here);
    let route = routes::route(&parts.method, parts.uri.path(), host);
    let door = route.as_ref().map_or(AuthRequirement::Locked, Route::door);
    let wants_key = wants_key(config.auth.mode, gateway.local.ip().is_loopback(), door);
    let own = match auth::admit(&config.auth, wants_key, &mut parts.headers) {
        Ok(own) => own,
        Err(fault) => return refuse(&id, &parts, &fault),
    };
    let route = match route {
        Ok(route) => route,
        Err(NoRoute { fault, allow }) => {
            let mut response = refuse(&id, &parts, &fault);
            if let Some(allow) = allow {
                response
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static(allow));
            }
            return response;
        }
    };
    match route {
        Route::Health => respond::json(&id, r#"{"status":"ok"}"#),
        Route::Metrics => metrics::metrics(&id, &gateway.shared, snapshot),
        Route::Probe => respond::empty(&id, StatusCode::OK),
        Route::Exchange(kind) => converse(gateway, snapshot, id, kind, parts, body, own).await,
        Route::Passthrough => {
            let record = Record::begin(id.clone(), "pass", &gateway.shared.metrics);
            respond::answer(
                &id,
                passthrough::pass(snapshot, parts, body, own, record).await,
            )
        }
        Route::Models | Route::ClaudeModels | Route::Model(_) => {
            let models = models::union(&gateway.shared.runtime, snapshot, &own).await;
            let list = match &route {
                Route::Model(model) => {
                    models::one(&models, model).map(|model| model.entry.clone().into())
                }
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

/// An exchange: in, around the loop, out.
async fn converse(
    gateway: &Gateway,
    snapshot: &Arc<Snapshot>,
    id: ExchangeId,
    kind: RequestKind,
    parts: http::request::Parts,
    body: Body,
    own: HeaderMap,
) -> Response {
    let mut record = Record::begin(id.clone(), kind.as_str(), &gateway.shared.metrics);
    let request = inbound::read(id.clone(), kind, parts, body, own, &snapshot.config).await;
    let request = match request {
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
    // By far the largest of what a request waits for: everything above would move it along with itself.
    let exchange = Box::pin(exchange(Arc::clone(runtime), snapshot, request, record));
    respond::answer(&id, exchange.await)
}

/// A fault before there was an exchange; it has no record.
fn refuse(id: &ExchangeId, parts: &http::request::Parts, fault: &Fault) -> Response {
    let response = respond::fault(id, fault);
    let status = response.status().as_u16();
    info!(%id, status, method = %parts.method, path = parts.uri.path(), reason = %fault, "refused");
    response
}

fn is_preflight(parts: &http::request::Parts) -> bool {
    parts.method == Method::OPTIONS && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// A page asks whether it may ask. It carries no key, and nothing is given away.
fn preflight(id: &ExchangeId, origin: HeaderValue, asked: &HeaderMap) -> Response {
    let mut response = respond::empty(id, StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    allow(origin, headers);
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    // Which headers there are changes with every beta.
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

fn allow(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    headers.append(VARY, HeaderValue::from_static("origin"));
}
