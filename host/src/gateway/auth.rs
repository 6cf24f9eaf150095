//! Authentication by key, and checks of web pages that call a gateway on a loopback address.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{AUTHORIZATION, HOST, ORIGIN},
};

use crate::{
    config::{Auth, AuthMode, Config, matches_host, matches_origin, without_port},
    fault::{Fault, Kind},
};

/// The headers that may contain a key. None of them is forwarded unchanged.
const KEYS: [HeaderName; 3] = [
    AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// When a route requires a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthRequirement {
    /// Requires a key unless the mode says otherwise.
    Locked,
    /// Requires a key only in mode `strict`.
    Health,
    /// Never requires a key: probes that clients send without credentials.
    Open,
}

/// Whether a request requires a key.
pub(super) fn requires_key(mode: AuthMode, loopback: bool, requirement: AuthRequirement) -> bool {
    match requirement {
        AuthRequirement::Open => false,
        AuthRequirement::Health => mode == AuthMode::Strict,
        AuthRequirement::Locked => mode.requires_key(loopback),
    }
}

/// Checks the key and removes all credentials from the headers.
///
/// Returns the credentials that are not a key of the gateway: they are the client's own. Fails if a
/// key is required and none is valid.
pub(super) fn authenticate(
    auth: &Auth,
    requires_key: bool,
    headers: &mut HeaderMap,
) -> Result<HeaderMap, Fault> {
    let mut own = HeaderMap::new();
    let mut known = false;
    for name in KEYS {
        for value in headers.get_all(&name) {
            // Every key is compared with every value, so that the time reveals nothing.
            let matches = auth.keys.iter().fold(false, |matches, key| {
                matches | key.matches(presented(&name, value))
            });
            known |= matches;
            if !matches {
                own.append(&name, value.clone());
            }
        }
        headers.remove(&name);
    }
    if known || !requires_key {
        return Ok(own);
    }
    let what = match (auth.keys.is_empty(), own.is_empty()) {
        (true, _) => "this gateway requires a key but has none configured: set `auth.keys`",
        (_, false) => "got a key that is not in `auth.keys` of this gateway",
        (_, true) => {
            "this gateway requires a key: send it as `x-api-key` or as `authorization: Bearer`"
        }
    };
    Err(Fault::client(Kind::Unauthenticated, what))
}

/// Returns the key in a header's value.
fn presented<'a>(name: &HeaderName, value: &'a HeaderValue) -> &'a [u8] {
    let value = value.as_bytes();
    match value.split_at_checked(7) {
        Some((scheme, key))
            if *name == AUTHORIZATION && scheme.eq_ignore_ascii_case(b"bearer ") =>
        {
            key.trim_ascii()
        }
        _ => value,
    }
}

/// Rejects requests that foreign web pages could send to a gateway on this machine.
///
/// Returns the origin that may read the response.
pub(super) fn check_page(
    config: &Config,
    loopback: bool,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Option<HeaderValue>, Fault> {
    let forbidden = |what: String| Err(Fault::client(Kind::Forbidden, what));
    let is_allowed = |host: &str| config.hosts.iter().any(|listed| matches_host(listed, host));
    if loopback
        && let Some(host) = host(uri, headers)
        && !is_local(host)
        && !is_allowed(host)
    {
        let name = without_port(host);
        return forbidden(format!(
            "got host `{host}`, expected a local host name, because this gateway listens on a loopback \
             address: to allow it, add `{name}` to `hosts` in the configuration"
        ));
    }
    let Some(origin) = headers.get(ORIGIN) else {
        // Browsers send no origin with the request of an image or a link.
        if loopback
            && headers
                .get(SEC_FETCH_SITE)
                .is_some_and(|site| site == "cross-site")
        {
            return forbidden(
                "a web page of another site may not call this gateway (`sec-fetch-site: cross-site`)"
                    .to_owned(),
            );
        }
        return Ok(None);
    };
    let text = origin.to_str().unwrap_or_default();
    let page = text.split_once("://").map_or("", |(_, host)| host);
    let mut listed = config.cors_origins.iter();
    let listed = listed.any(|listed| matches_origin(listed, text));
    if listed || (loopback && is_local(page)) {
        return Ok(Some(origin.clone()));
    }
    if loopback {
        return forbidden(format!(
            "web pages of `{text}` may not call this gateway: to allow them, add `{text}` to \
             `cors_origins` in the configuration"
        ));
    }
    // Without the header that allows it, the page cannot read the response. Without a key it gets
    // none.
    Ok(None)
}

/// Returns the host name and port by which the client reached this gateway.
pub(super) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let header = || headers.get(HOST).and_then(|host| host.to_str().ok());
    uri.authority()
        .map(|authority| authority.as_str())
        .or_else(header)
}

/// The URL by which the client reached this gateway. A reverse proxy says which one it has; the
/// client only misleads itself with a wrong one.
pub(super) fn url(host: &str, headers: &HeaderMap) -> String {
    let forwarded = |name: &str| {
        let text = headers.get(name)?.to_str().ok()?;
        text.split(',').next().map(str::trim)
    };
    let scheme = match forwarded("x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    let host = forwarded("x-forwarded-host").unwrap_or(host);
    format!("{scheme}://{host}")
}

fn is_local(host: &str) -> bool {
    if let Some(bracketed) = host.strip_prefix('[') {
        let address = bracketed.split(']').next().unwrap_or_default();
        return address
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.to_canonical().is_loopback());
    }
    let name = without_port(host)
        .trim_end_matches('.')
        .to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use crate::secret::Secret;

    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        list.iter().map(pair).collect()
    }

    #[test]
    fn the_mode_and_the_route_decide_whether_a_key_is_required() {
        use AuthMode::{AllExceptHealth, Auto, Off, Strict};
        use AuthRequirement::{Health, Locked, Open};
        let table = [
            (Off, false, Locked, false),
            (Strict, true, Locked, true),
            (Strict, true, Health, true),
            (Strict, false, Open, false),
            (AllExceptHealth, true, Locked, true),
            (AllExceptHealth, false, Health, false),
            (Auto, true, Locked, false),
            (Auto, false, Locked, true),
            (Auto, false, Health, false),
            (Auto, false, Open, false),
        ];
        for (mode, loopback, requirement, expected) in table {
            assert_eq!(
                requires_key(mode, loopback, requirement),
                expected,
                "{mode:?} {loopback} {requirement:?}"
            );
        }
    }

    #[test]
    fn every_presented_key_is_checked_and_only_foreign_ones_are_kept() {
        let keys = vec![Secret::new("sk-one"), Secret::new("sk-two")];
        let auth = Auth {
            mode: AuthMode::Strict,
            keys,
        };
        // The presented headers, whether they are accepted, and those left to forward.
        type Row = (
            &'static [(&'static str, &'static str)],
            bool,
            &'static [&'static str],
        );
        let table: &[Row] = &[
            (&[("x-api-key", "sk-two")], true, &[]),
            (&[("authorization", "Bearer sk-one")], true, &[]),
            (&[("authorization", "bEaReR  sk-one")], true, &[]),
            (&[("x-goog-api-key", "sk-one")], true, &[]),
            (
                &[("authorization", "Bearer sk-x"), ("x-api-key", "sk-one")],
                true,
                &["authorization"],
            ),
            (&[("x-api-key", "sk-on")], false, &[]),
            (&[("x-api-key", "")], false, &[]),
            (&[("authorization", "Basic sk-one")], false, &[]),
            (&[], false, &[]),
        ];
        for (presented, accepted, kept) in table {
            let mut left = headers(presented);
            match authenticate(&auth, true, &mut left) {
                Ok(own) => {
                    assert!(accepted, "{presented:?}");
                    assert_eq!(
                        own.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
                        *kept
                    );
                }
                Err(fault) => {
                    assert!(!accepted, "{presented:?}");
                    assert_eq!(fault.kind, Kind::Unauthenticated);
                }
            }
            assert!(left.is_empty());
        }
    }

    #[test]
    fn without_a_configured_key_every_request_is_rejected() {
        let auth = Auth {
            mode: AuthMode::Strict,
            keys: vec![Secret::new("")],
        };
        assert!(authenticate(&auth, true, &mut headers(&[("x-api-key", "")])).is_err());
        let auth = Auth {
            mode: AuthMode::Strict,
            keys: Vec::new(),
        };
        assert!(authenticate(&auth, true, &mut headers(&[("x-api-key", "sk")])).is_err());
    }

    #[test]
    fn the_gateways_url_is_the_one_that_the_client_used() {
        let proxied = [
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "gate.example"),
        ];
        let table: [(&[(&str, &str)], &str); 3] = [
            (&[], "http://h:1"),
            (&[("x-forwarded-proto", "javascript")], "http://h:1"),
            (&proxied, "https://gate.example"),
        ];
        for (sent, expected) in table {
            assert_eq!(url("h:1", &headers(sent)), expected);
        }
    }

    #[test]
    fn local_host_names_are_recognised() {
        for host in [
            "localhost",
            "LOCALHOST:8045",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:8045",
            "[::ffff:127.0.0.1]",
            "a.localhost",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "[::2]",
            "0.0.0.0",
            "",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
