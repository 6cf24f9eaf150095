//! Who may come in: the key, and on a loopback address the page that calls.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{AUTHORIZATION, HOST, ORIGIN},
};

use crate::{
    config::{Auth, AuthMode, Config},
    fault::{Fault, Kind},
};

/// The headers in which a key may come. None of them goes further as it is.
const KEYS: [HeaderName; 3] = [
    AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// How much of a secret a route is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthRequirement {
    /// Wants a key whenever keys are wanted.
    Locked,
    /// Wants a key only where the mode is `strict`.
    Health,
    /// Never wants one: probes that clients send without credentials.
    Open,
}

/// Whether a request needs a key here.
pub(super) fn wants_key(mode: AuthMode, loopback: bool, door: AuthRequirement) -> bool {
    match door {
        AuthRequirement::Open => false,
        AuthRequirement::Health => mode == AuthMode::Strict,
        AuthRequirement::Locked => mode.requires_key(loopback),
    }
}

/// Takes every credential off the headers and gives back those that are no key of the gateway, which are the client's
/// own; refuses the request if it needs a key and has none.
pub(super) fn admit(
    auth: &Auth,
    wants_key: bool,
    headers: &mut HeaderMap,
) -> Result<HeaderMap, Fault> {
    let mut own = HeaderMap::new();
    let mut known = false;
    for name in KEYS {
        for value in headers.get_all(&name) {
            // Every key is compared with every value, so that the time tells nothing.
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
    if known || !wants_key {
        return Ok(own);
    }
    let what = match (auth.keys.is_empty(), own.is_empty()) {
        (true, _) => "this gateway asks for a key but has none configured: set `auth.keys`",
        (_, false) => "the key is not one of this gateway's",
        (_, true) => {
            "this gateway asks for a key: send it as `x-api-key` or as `authorization: Bearer`"
        }
    };
    Err(Fault::client(Kind::Unauthenticated, what))
}

/// The key in a header's value.
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

/// Refuses what a foreign web page could send to a gateway on this machine. Gives the origin that may read the answer.
pub(super) fn check_page(
    config: &Config,
    loopback: bool,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Option<HeaderValue>, Fault> {
    let forbidden = |what: String| Err(Fault::client(Kind::Forbidden, what));
    if loopback
        && let Some(host) = host(uri, headers)
        && !is_local(host)
    {
        return forbidden(format!(
            "`{host}` is not this machine: a gateway on a loopback address answers only for local host names"
        ));
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(None);
    };
    let text = origin.to_str().unwrap_or_default();
    let page = text.split_once("://").map_or("", |(_, host)| host);
    let listed = config
        .cors_origins
        .iter()
        .any(|listed| listed.eq_ignore_ascii_case(text));
    if listed || (loopback && is_local(page)) {
        return Ok(Some(origin.clone()));
    }
    if loopback {
        return forbidden(format!(
            "pages of `{text}` may not call this gateway: add it to `cors_origins` if they shall"
        ));
    }
    // Without the header that allows it the page cannot read the answer, and without a key it gets none.
    Ok(None)
}

/// What the client calls this gateway, port included.
pub(super) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let header = || headers.get(HOST).and_then(|host| host.to_str().ok());
    uri.authority()
        .map(|authority| authority.as_str())
        .or_else(header)
}

fn is_local(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let address = rest.split(']').next().unwrap_or_default();
        return address
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.is_loopback());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_end_matches('.').to_ascii_lowercase();
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
    fn who_needs_a_key() {
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
        for (mode, loopback, door, wanted) in table {
            assert_eq!(
                wants_key(mode, loopback, door),
                wanted,
                "{mode:?} {loopback} {door:?}"
            );
        }
    }

    #[test]
    fn every_presented_key_is_tried_and_only_foreign_ones_are_kept() {
        let keys = vec![Secret::new("sk-one"), Secret::new("sk-two")];
        let auth = Auth {
            mode: AuthMode::Strict,
            keys,
        };
        // What is presented, whether it is admitted, and what of it is left to forward.
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
        for (presented, admitted, kept) in table {
            let mut left = headers(presented);
            match admit(&auth, true, &mut left) {
                Ok(own) => {
                    assert!(admitted, "{presented:?}");
                    assert_eq!(
                        own.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
                        *kept
                    );
                }
                Err(fault) => {
                    assert!(!admitted, "{presented:?}");
                    assert_eq!(fault.kind, Kind::Unauthenticated);
                }
            }
            assert!(left.is_empty());
        }
    }

    #[test]
    fn without_a_configured_key_nobody_comes_in() {
        let auth = Auth {
            mode: AuthMode::Strict,
            keys: vec![Secret::new("")],
        };
        assert!(admit(&auth, true, &mut headers(&[("x-api-key", "")])).is_err());
        let auth = Auth {
            mode: AuthMode::Strict,
            keys: Vec::new(),
        };
        assert!(admit(&auth, true, &mut headers(&[("x-api-key", "sk")])).is_err());
    }

    #[test]
    fn what_is_this_machine() {
        for host in [
            "localhost",
            "LOCALHOST:8045",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:8045",
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
