//! The headers that are forwarded, and those that belong to one connection or provider.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT, CONNECTION, CONTENT_TYPE},
};
use witgate_contract::RequestKind;

/// The headers of one connection: those of RFC 9110, section 7.6.1, two more that proxies use, and
/// `host` and `content-length`, which every sender sets itself.
const OF_ONE_CONNECTION: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Removes the headers that must not be forwarded, including those that `connection` names.
pub(crate) fn keep_end_to_end(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    take_off(headers, &OF_ONE_CONNECTION);
}

/// Removes the headers with these names. A message has few headers, so each of them is compared
/// instead of looking up each name.
pub(crate) fn take_off(headers: &mut HeaderMap, unwanted: &[&str]) {
    keep(headers, |_, name| !unwanted.contains(&name.as_str()));
}

/// Removes headers by which clients of Anthropic's API describe themselves, unless a plugin changed
/// them.
///
/// `original` has the client's headers. Another provider has no use for them.
fn take_off_own(headers: &mut HeaderMap, original: &HeaderMap) {
    const OWN: [&str; 3] = ["anthropic-", "x-claude-", "x-stainless-"];
    keep(headers, |headers, name| {
        let text = name.as_str();
        let own = text == "x-app" || OWN.iter().any(|own| text.starts_with(own));
        !own || headers.get_all(name) != original.get_all(name)
    });
}

/// Adapts the headers to an upstream with another dialect: `accept` and `content-type` describe its
/// dialect, and what the client says about itself to Anthropic is removed. Headers that differ from
/// those of `original` were set by plugins and are kept.
pub(crate) fn adapt_to_dialect(headers: &mut HeaderMap, original: &HeaderMap, kind: RequestKind) {
    take_off_own(headers, original);
    let accept = match kind {
        RequestKind::Messages => "text/event-stream, application/json",
        RequestKind::CountTokens | RequestKind::Models => "application/json",
    };
    // A translated body is JSON, whatever content type the client sent.
    for (name, value) in [(ACCEPT, accept), (CONTENT_TYPE, "application/json")] {
        let applies = name == ACCEPT || kind != RequestKind::Models;
        if applies && headers.get(&name) == original.get(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

/// Keeps only the headers of another provider's response that mean the same in Anthropic's API:
/// when to retry, and the id of the request.
pub(crate) fn keep_common(headers: &mut HeaderMap) {
    const COMMON: [&str; 6] = [
        "content-type",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "request-id",
        "x-request-id",
    ];
    keep(headers, |_, name| COMMON.contains(&name.as_str()));
}

/// Removes all other headers.
fn keep(headers: &mut HeaderMap, is_kept: impl Fn(&HeaderMap, &HeaderName) -> bool) {
    let unwanted = |name: &&HeaderName| !is_kept(headers, name);
    let unwanted: Vec<HeaderName> = headers.keys().filter(unwanted).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_connection_names_are_not_forwarded() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("close, X-Hop"));
        headers.insert("x-hop", HeaderValue::from_static("1"));
        headers.insert("content-length", HeaderValue::from_static("7"));
        headers.insert("anthropic-beta", HeaderValue::from_static("a,b"));

        keep_end_to_end(&mut headers);

        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["anthropic-beta"]
        );
    }

    #[test]
    fn another_provider_gets_headers_of_a_plugin_but_not_of_the_client() {
        let original = of(&[
            ("anthropic-beta", "a"),
            ("x-stainless-os", "Linux"),
            ("x-app", "cli"),
            ("user-agent", "u"),
        ]);
        let mut headers = original.clone();
        headers.insert("anthropic-beta", HeaderValue::from_static("b"));
        take_off_own(&mut headers, &original);
        assert_eq!(headers, of(&[("anthropic-beta", "b"), ("user-agent", "u")]));
    }

    #[test]
    fn a_client_does_not_get_another_providers_limits() {
        let mut headers = of(&[
            ("retry-after", "7"),
            ("x-ratelimit-limit-tokens", "9"),
            ("alt-svc", "h3=\":443\""),
        ]);
        keep_common(&mut headers);
        assert_eq!(headers, of(&[("retry-after", "7")]));
    }

    fn of(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let one = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        headers.iter().map(one).collect()
    }
}
