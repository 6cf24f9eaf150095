//! Which request goes where. Pure; what leads nowhere is told the right way.

use http::Method;

use crate::{
    fault::{Fault, Kind},
    message::RequestKind,
};

use super::auth::Door;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `POST /v1/messages` and `/v1/messages/count_tokens`.
    Exchange(RequestKind),
    /// `GET /v1/models`.
    Models,
    /// `GET /v1/models/claude`, in the shape of another maker.
    ClaudeModels,
    /// `GET /v1/models/{id}`, the id as it stands in the path.
    Model(String),
    /// `GET /healthz`.
    Health,
    /// `GET /metrics`.
    Metrics,
    /// `HEAD /` and `HEAD /api/hello`: clients warm up their connection.
    Probe,
    /// Everything else below `/v1/`.
    Pass,
}

impl Route {
    pub(super) fn door(&self) -> Door {
        match self {
            Self::Health => Door::Health,
            Self::Probe => Door::Open,
            _ => Door::Locked,
        }
    }
}

/// A way that leads nowhere.
#[derive(Debug)]
pub(super) struct NoRoute {
    pub(super) fault: Fault,
    /// The methods that are there, where only the method is wrong.
    pub(super) allow: Option<&'static str>,
}

/// `host` is what the client calls this gateway.
pub(super) fn route(method: &Method, path: &str, host: &str) -> Result<Route, NoRoute> {
    let wrong_method = |allow: &'static str| {
        let what = format!(
            "{method} is not possible for `{path}`, only {allow}; {}",
            advice(host)
        );
        Err(NoRoute {
            fault: Fault::client(Kind::MethodNotAllowed, what),
            allow: Some(allow),
        })
    };
    let get = matches!(*method, Method::GET | Method::HEAD);
    match path {
        "/v1/messages" if *method == Method::POST => Ok(Route::Exchange(RequestKind::Messages)),
        "/v1/messages/count_tokens" if *method == Method::POST => {
            Ok(Route::Exchange(RequestKind::CountTokens))
        }
        "/v1/messages" | "/v1/messages/count_tokens" => wrong_method("POST"),
        "/v1/models" if get => Ok(Route::Models),
        "/v1/models/claude" if get => Ok(Route::ClaudeModels),
        "/v1/models" | "/v1/models/claude" => wrong_method("GET, HEAD"),
        "/healthz" if get => Ok(Route::Health),
        "/metrics" if get => Ok(Route::Metrics),
        "/healthz" | "/metrics" => wrong_method("GET, HEAD"),
        "/" | "/api/hello" if *method == Method::HEAD => Ok(Route::Probe),
        "/" | "/api/hello" => wrong_method("HEAD"),
        _ => match path.strip_prefix("/v1/") {
            Some(rest) if !rest.is_empty() && !rest.ends_with('/') && !is_stacked(rest) => {
                match rest.strip_prefix("models/") {
                    Some(id) if get => Ok(Route::Model(id.to_owned())),
                    Some(_) => wrong_method("GET, HEAD"),
                    None => Ok(Route::Pass),
                }
            }
            _ => {
                let what = format!("no route `{method} {path}`; {}", advice(host));
                Err(NoRoute {
                    fault: Fault::client(Kind::NotFound, what),
                    allow: None,
                })
            }
        },
    }
}

fn is_stacked(rest: &str) -> bool {
    rest == "v1" || rest.starts_with("v1/")
}

fn advice(host: &str) -> String {
    format!(
        "set the base URL to http://{host}, without /v1; clients that want it with /v1 use http://{host}/v1"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_found() {
        let table = [
            (
                Method::POST,
                "/v1/messages",
                Route::Exchange(RequestKind::Messages),
            ),
            (
                Method::POST,
                "/v1/messages/count_tokens",
                Route::Exchange(RequestKind::CountTokens),
            ),
            (Method::GET, "/v1/models", Route::Models),
            (Method::GET, "/v1/models/claude", Route::ClaudeModels),
            (
                Method::GET,
                "/v1/models/a/b",
                Route::Model("a/b".to_owned()),
            ),
            (Method::GET, "/healthz", Route::Health),
            (Method::GET, "/metrics", Route::Metrics),
            (Method::HEAD, "/metrics", Route::Metrics),
            (Method::HEAD, "/", Route::Probe),
            (Method::HEAD, "/api/hello", Route::Probe),
            (Method::POST, "/v1/messages/batches", Route::Pass),
            (Method::DELETE, "/v1/files/file_1", Route::Pass),
        ];
        for (method, path, wanted) in table {
            assert_eq!(
                route(&method, path, "h").unwrap(),
                wanted,
                "{method} {path}"
            );
        }
    }

    #[test]
    fn a_wrong_way_is_told_the_right_one() {
        let table = [
            (Method::POST, "/v1/messages/", Kind::NotFound, None),
            (Method::POST, "/v1/v1/messages", Kind::NotFound, None),
            (Method::POST, "/messages", Kind::NotFound, None),
            (Method::GET, "/v1/", Kind::NotFound, None),
            (Method::GET, "/v1", Kind::NotFound, None),
            (Method::GET, "/favicon.ico", Kind::NotFound, None),
            (
                Method::GET,
                "/v1/messages",
                Kind::MethodNotAllowed,
                Some("POST"),
            ),
            (
                Method::DELETE,
                "/v1/models/m",
                Kind::MethodNotAllowed,
                Some("GET, HEAD"),
            ),
            (Method::GET, "/", Kind::MethodNotAllowed, Some("HEAD")),
        ];
        for (method, path, kind, allow) in table {
            let NoRoute { fault, allow: told } =
                route(&method, path, "127.0.0.1:8045").unwrap_err();
            assert_eq!(fault.kind, kind, "{method} {path}");
            assert_eq!(told, allow, "{method} {path}");
            assert!(
                fault
                    .to_string()
                    .contains("http://127.0.0.1:8045, without /v1")
            );
        }
    }
}
