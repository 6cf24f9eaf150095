//! Finds the route of a request, or an error with the right one. Does no I/O.

use http::Method;
use percent_encoding::percent_decode_str;
use witgate_contract::path;

use crate::{
    fault::{Fault, Kind},
    message::RequestKind,
};

use super::auth::AuthRequirement;

/// The handler of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `POST /v1/messages` and `/v1/messages/count_tokens`.
    Exchange(RequestKind),
    /// `GET /v1/models`.
    Models,
    /// `GET /v1/models/claude`, in the list format of another API.
    ClaudeModels,
    /// `GET /v1/models/{id}`, with the id as in the path.
    Model(String),
    /// `GET /healthz`.
    Health,
    /// `GET /metrics`.
    Metrics,
    /// `GET /cooldowns`.
    Cooldowns,
    /// `DELETE /cooldowns`.
    EndCooldowns,
    /// `GET /plugins`.
    Plugins,
    /// `GET /plugins/traces/{id}`, with the id as in the path.
    Trace(String),
    /// `GET /`, which people open in a browser.
    Index,
    /// `HEAD /` and `HEAD /api/hello`, by which clients open their connection early.
    Probe,
    /// Everything else below `/v1/`.
    Passthrough,
}

impl Route {
    /// Whether operators need it when clients have taken all connections.
    pub(super) fn is_for_operators(&self) -> bool {
        matches!(
            self,
            Self::Health
                | Self::Metrics
                | Self::Cooldowns
                | Self::EndCooldowns
                | Self::Plugins
                | Self::Trace(_)
        )
    }

    pub(super) fn auth_requirement(&self) -> AuthRequirement {
        match self {
            Self::Health | Self::Index => AuthRequirement::Health,
            Self::Probe => AuthRequirement::Open,
            _ => AuthRequirement::Locked,
        }
    }
}

/// The error for a request without a route.
#[derive(Debug)]
pub(super) struct NoRoute {
    pub(super) fault: Fault,
    /// The allowed methods, if only the method is wrong.
    pub(super) allow: Option<&'static str>,
}

/// Finds the route of a request. `host` is the name by which the client reached this gateway.
///
/// The path is compared as it is and never decoded. A path that an upstream could read as another
/// one is rejected, because it would bypass the plugins, routes and limits of that other one.
pub(super) fn route(method: &Method, path: &str, host: &str) -> Result<Route, NoRoute> {
    let no_route = |kind, what| {
        Err(NoRoute {
            fault: Fault::client(kind, what),
            allow: None,
        })
    };
    if let Err(why) = path::check(path) {
        let mut what = format!("`{path}` is not a legal path: {why}");
        if path.starts_with("//") {
            what = format!("{what}; the base URL must not end with a slash: http://{host}");
        }
        return no_route(Kind::BadRequest, what);
    }
    match own(method, path) {
        Some(Ok(route)) => return Ok(route),
        Some(Err(allow)) => {
            let what = format!(
                "method `{method}` is not allowed for `{path}`, expected `{allow}`; {}",
                advice(host)
            );
            return Err(NoRoute {
                fault: Fault::client(Kind::MethodNotAllowed, what),
                allow: Some(allow),
            });
        }
        None => {}
    }
    if path.to_ascii_lowercase().contains("%2f") {
        let what = format!("no route `{method} {path}`: it has an escaped slash (`%2f`)");
        return no_route(Kind::NotFound, what);
    }
    let plain = plain_spelling(path);
    if own(method, &plain).is_some() {
        let what = format!("no route `{method} {path}`; write it as `{plain}`");
        return no_route(Kind::NotFound, what);
    }
    let passes = path
        .strip_prefix("/v1/")
        .is_some_and(|below| !below.is_empty() && !below.ends_with('/'));
    if !passes || plain.strip_prefix("/v1/").is_some_and(is_stacked) {
        let what = format!("no route `{method} {path}`; {}", advice(host));
        return no_route(Kind::NotFound, what);
    }
    Ok(Route::Passthrough)
}

/// Returns a route that the gateway handles itself, or the methods that are allowed there.
fn own(method: &Method, path: &str) -> Option<Result<Route, &'static str>> {
    let get = matches!(*method, Method::GET | Method::HEAD);
    Some(match path {
        "/v1/messages" if *method == Method::POST => Ok(Route::Exchange(RequestKind::Messages)),
        "/v1/messages/count_tokens" if *method == Method::POST => {
            Ok(Route::Exchange(RequestKind::CountTokens))
        }
        "/v1/messages" | "/v1/messages/count_tokens" => Err("POST"),
        "/v1/models" if get => Ok(Route::Models),
        "/v1/models/claude" if get => Ok(Route::ClaudeModels),
        "/healthz" if get => Ok(Route::Health),
        "/metrics" if get => Ok(Route::Metrics),
        "/cooldowns" if get => Ok(Route::Cooldowns),
        "/cooldowns" if *method == Method::DELETE => Ok(Route::EndCooldowns),
        "/plugins" if get => Ok(Route::Plugins),
        "/cooldowns" => Err("GET, HEAD, DELETE"),
        "/v1/models" | "/v1/models/claude" | "/healthz" | "/metrics" | "/plugins" => {
            Err("GET, HEAD")
        }
        "/" | "/api/hello" if *method == Method::HEAD => Ok(Route::Probe),
        "/" if *method == Method::GET => Ok(Route::Index),
        "/" => Err("GET, HEAD"),
        "/api/hello" => Err("HEAD"),
        _ => {
            let below = |folder| {
                let id = path.strip_prefix(folder)?;
                (!id.is_empty() && !id.ends_with('/')).then_some(id)
            };
            let route = match (below("/v1/models/"), below("/plugins/traces/")) {
                (Some(id), _) => Route::Model(id.to_owned()),
                (None, Some(id)) => Route::Trace(id.to_owned()),
                (None, None) => return None,
            };
            if get { Ok(route) } else { Err("GET, HEAD") }
        }
    })
}

/// Returns the path as a lenient server could read it: without case, suffixes such as `.json`, and
/// other characters around the first word of a segment.
fn plain_spelling(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let is_other = |c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_';
    let words = decoded
        .split('/')
        .filter_map(|segment| segment.split(is_other).find(|word| !word.is_empty()));
    let mut plain = String::new();
    for word in words {
        plain.push('/');
        plain.push_str(&word.to_ascii_lowercase());
    }
    plain
}

fn is_stacked(below: &str) -> bool {
    below == "v1" || below.starts_with("v1/")
}

fn advice(host: &str) -> String {
    format!(
        "set the base URL to http://{host}, without /v1, or to http://{host}/v1 if the client expects it"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            (
                Method::GET,
                "/plugins/traces/req_1",
                Route::Trace("req_1".to_owned()),
            ),
            (Method::GET, "/healthz", Route::Health),
            (Method::GET, "/metrics", Route::Metrics),
            (Method::HEAD, "/metrics", Route::Metrics),
            (Method::HEAD, "/", Route::Probe),
            (Method::GET, "/", Route::Index),
            (Method::HEAD, "/api/hello", Route::Probe),
            (Method::POST, "/v1/messages/batches", Route::Passthrough),
            (Method::DELETE, "/v1/files/file_1", Route::Passthrough),
        ];
        for (method, path, expected) in table {
            assert_eq!(
                route(&method, path, "h").unwrap(),
                expected,
                "{method} {path}"
            );
        }
    }

    #[test]
    fn an_unknown_path_or_method_gets_the_right_one() {
        let table = [
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
            (Method::POST, "/", Kind::MethodNotAllowed, Some("GET, HEAD")),
        ];
        for (method, path, kind, allow) in table {
            let NoRoute {
                fault,
                allow: methods,
            } = route(&method, path, "127.0.0.1:8045").unwrap_err();
            assert_eq!(fault.kind, kind, "{method} {path}");
            assert_eq!(methods, allow, "{method} {path}");
            assert!(
                fault
                    .to_string()
                    .contains("http://127.0.0.1:8045, without /v1")
            );
        }
    }

    #[test]
    fn another_spelling_of_an_own_route_is_rejected() {
        let table = [
            (
                "//v1/messages",
                Kind::BadRequest,
                "must not end with a slash: http://h",
            ),
            (
                "/v1/messages/",
                Kind::NotFound,
                "write it as `/v1/messages`",
            ),
            ("/healthz/", Kind::NotFound, "write it as `/healthz`"),
            ("/v1//messages", Kind::BadRequest, "empty segment"),
            ("/v1/x/../messages", Kind::BadRequest, "dots"),
            ("/v1/%6dessages", Kind::BadRequest, "escaped letter"),
            ("/v1/messages;a=b", Kind::BadRequest, "path parameter"),
            (
                "/v1/messages%2fcount_tokens",
                Kind::NotFound,
                "escaped slash",
            ),
            ("/v1/files/a%2Fb", Kind::NotFound, "escaped slash"),
            ("/v1/Messages", Kind::NotFound, "write it as `/v1/messages`"),
            (
                "/v1/messages.json",
                Kind::NotFound,
                "write it as `/v1/messages`",
            ),
            (
                "/v1/messages%20",
                Kind::NotFound,
                "write it as `/v1/messages`",
            ),
            (
                "/v1/messages/COUNT_TOKENS",
                Kind::NotFound,
                "write it as `/v1/messages/count_tokens`",
            ),
            ("/v1/V1/messages", Kind::NotFound, "without /v1"),
        ];
        for (path, kind, why) in table {
            let NoRoute { fault, .. } = route(&Method::POST, path, "h").unwrap_err();
            assert_eq!(fault.kind, kind, "{path}");
            assert!(fault.to_string().contains(why), "{path}: {fault}");
        }
    }

    /// Returns the segments that a lenient server could read. It decodes repeatedly, takes `\` for
    /// `/`, drops parameters and suffixes, resolves dots and merges slashes.
    fn lenient(path: &str) -> Vec<String> {
        let mut path = path.to_owned();
        loop {
            let decoded = percent_decode_str(&path).decode_utf8_lossy().into_owned();
            if decoded == path {
                break;
            }
            path = decoded;
        }
        let mut segments: Vec<String> = Vec::new();
        for segment in path.split(['/', '\\']) {
            let segment = segment.split(';').next().unwrap_or_default().trim();
            match segment {
                "" | "." => {}
                ".." => {
                    segments.pop();
                }
                _ => {
                    let stem = segment.split(['.', '\0']).find(|stem| !stem.is_empty());
                    segments.push(stem.unwrap_or_default().to_ascii_lowercase());
                }
            }
        }
        segments
    }

    fn pieces() -> impl Strategy<Value = Vec<&'static str>> {
        let piece = proptest::sample::select(vec![
            "/",
            "//",
            "\\",
            "%2f",
            "%5C",
            ".",
            "..",
            "%2e",
            "%2E%2e",
            "%252e",
            "%c0%ae",
            ";a=b",
            "%3b",
            "%00",
            "%20",
            "%",
            "v1",
            "V1",
            "messages",
            "%6dessages",
            "Messages",
            "messages.json",
            "count_tokens",
            "count%5ftokens",
            "batches",
            "models",
            "files",
            "file_abc",
            "content",
        ]);
        proptest::collection::vec(piece, 0..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_passthrough_path_is_never_another_spelling_of_an_own_route(
            pieces in pieces(),
            joined in proptest::bool::ANY,
        ) {
            let path = format!("/v1/{}", pieces.join(if joined { "/" } else { "" }));
            for method in [Method::POST, Method::GET] {
                let Ok(Route::Passthrough) = route(&method, &path, "h") else {
                    continue;
                };
                let read = lenient(&path);
                prop_assert_eq!(read.first().map(String::as_str), Some("v1"), "{}", path);
                let second = read.get(1).map(String::as_str);
                prop_assert!(second != Some("v1") && second != Some("models"), "{}", path);
                let hooked = second == Some("messages")
                    && read.get(2).is_none_or(|third| read.len() == 3 && third == "count_tokens");
                prop_assert!(!hooked, "{}", path);
                // The number of segments is the same: none was resolved, split or merged.
                prop_assert_eq!(read.len(), path.split('/').skip(1).count(), "{}", path);
            }
        }
    }
}
