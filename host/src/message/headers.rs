//! Which headers travel from end to end, and which belong to one connection only.

use http::{HeaderMap, HeaderName, header::CONNECTION};

/// RFC 9110, section 7.6.1, with the two that hop in practice; and `host` and `content-length`, which whoever sends
/// the message writes anew.
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

/// Takes off what must not be forwarded, the headers that `connection` names included.
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

/// Takes off the headers of these names. There are few in a message, so what is there is compared with what is not wanted,
/// and not what is not wanted looked up.
pub(crate) fn take_off(headers: &mut HeaderMap, unwanted: &[&str]) {
    keep(headers, |_, name| !unwanted.contains(&name.as_str()));
}

/// Takes off what clients of Anthropic's API say about themselves, as far as it is as it `came`: another provider has no
/// use for it, and what it does not get it cannot keep.
pub(crate) fn take_off_own(headers: &mut HeaderMap, came: &HeaderMap) {
    const OWN: [&str; 3] = ["anthropic-", "x-claude-", "x-stainless-"];
    keep(headers, |headers, name| {
        let text = name.as_str();
        let own = text == "x-app" || OWN.iter().any(|own| text.starts_with(own));
        !own || headers.get_all(name) != came.get_all(name)
    });
}

/// Keeps of another provider's answer what means the same to a client of Anthropic's API: when to come again, and by which
/// name to ask the provider about it.
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

fn keep(headers: &mut HeaderMap, wanted: impl Fn(&HeaderMap, &HeaderName) -> bool) {
    let unwanted = |name: &&HeaderName| !wanted(headers, name);
    let unwanted: Vec<HeaderName> = headers.keys().filter(unwanted).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_connection_names_is_not_forwarded() {
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
    fn another_provider_hears_what_a_plugin_says_and_not_what_the_client_said() {
        let came = of(&[
            ("anthropic-beta", "a"),
            ("x-stainless-os", "Linux"),
            ("x-app", "cli"),
            ("user-agent", "u"),
        ]);
        let mut headers = came.clone();
        headers.insert("anthropic-beta", HeaderValue::from_static("b"));
        take_off_own(&mut headers, &came);
        assert_eq!(headers, of(&[("anthropic-beta", "b"), ("user-agent", "u")]));
    }

    #[test]
    fn a_client_is_not_told_of_another_providers_limits() {
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
