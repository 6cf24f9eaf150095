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

/// What browsers, reverse proxies and CDNs say about the way to this gateway: cookies and the page
/// of its own site, and addresses and identities of its users. The upstream must not learn them,
/// and one that uses the same CDN rejects requests that seem to come from it.
///
/// Headers for tracing, such as `traceparent`, `baggage` and `x-b3-*`, are end-to-end by their
/// standards and are forwarded.
const OF_THE_WAY_HERE: Names = Names {
    exact: &entries([
        "cdn-loop",
        "client-ip",
        "cookie",
        "cookie2",
        "forwarded",
        "origin",
        "referer",
        "remote-user",
        "rndr-id",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-country-code",
        "x-original-host",
        "x-original-method",
        "x-original-uri",
        "x-original-url",
        "x-real-ip",
        "x-real-port",
        "x-remote-user",
        "x-request-start",
        "x-rewrite-url",
        "x-scheme",
    ]),
    prefixes: &entries([
        "akamai-",
        "ali-cdn-",
        "cdn-",
        "cf-",
        "cloudfront-",
        "do-connecting-",
        "fastly-",
        "fly-",
        "incap-",
        "sec-fetch-",
        "tailscale-",
        "x-akamai-",
        "x-amz-cf-",
        "x-amzn-",
        "x-appengine-",
        "x-appgw-",
        "x-arr-",
        "x-auth-request-",
        "x-authentik-",
        "x-azure-",
        "x-cdn-",
        "x-client-data",
        "x-envoy-",
        "x-fastly-",
        "x-fd-",
        "x-forwarded",
        "x-goog-authenticated-user-",
        "x-goog-iap-",
        "x-ms-client-principal",
        "x-ms-token-",
        "x-nf-",
        "x-original-forwarded-",
        "x-pomerium-",
        "x-proxyuser-",
        "x-railway-",
        "x-sucuri-",
        "x-vercel-",
        "x-webauth-",
    ]),
};

/// What an upstream's site says to browsers and its CDN about itself. For a browser, this gateway
/// would be that site.
const OF_THE_UPSTREAMS_SITE: Names = Names {
    exact: &entries([
        "alt-svc",
        "clear-site-data",
        "expect-ct",
        "nel",
        "public-key-pins",
        "refresh",
        "report-to",
        "reporting-endpoints",
        "server-timing",
        "service-worker-allowed",
        "set-cookie",
        "set-cookie2",
        "strict-transport-security",
        "via",
        "x-cache",
        "x-cache-hits",
        "x-served-by",
        "x-timer",
    ]),
    prefixes: &entries([
        "access-control-",
        "akamai-",
        "cdn-",
        "cf-",
        "fly-",
        "x-akamai-",
        "x-amz-cf-",
        "x-azure-ref",
        "x-cdn-",
        "x-envoy-",
        "x-fastly-",
        "x-nf-",
        "x-railway-",
        "x-vercel-",
    ]),
};

/// The receipts of this gateway. An upstream's own would pass for them.
const RECEIPTS: Names = Names {
    exact: &entries(["x-account-email", "x-mapped-model"]),
    prefixes: &entries(["x-witgate-"]),
};

/// A set of header names, each list sorted. Every header of every message is looked up, so names
/// are compared as numbers first.
struct Names {
    exact: &'static [Entry],
    prefixes: &'static [Entry],
}

/// A name or prefix with its first eight bytes.
struct Entry(u64, &'static str);

/// The first eight bytes as a number, in the order of the texts. Shorter texts end with zeros.
const fn first_bytes(text: &str) -> u64 {
    let bytes = text.as_bytes();
    if let Some(first) = bytes.first_chunk() {
        return u64::from_be_bytes(*first);
    }
    let mut number = 0;
    let mut at = 0;
    while at < 8 {
        number <<= 8;
        if at < bytes.len() {
            number |= bytes[at] as u64;
        }
        at += 1;
    }
    number
}

const fn entries<const N: usize>(names: [&'static str; N]) -> [Entry; N] {
    let mut entries = [const { Entry(0, "") }; N];
    let mut at = 0;
    while at < N {
        entries[at] = Entry(first_bytes(names[at]), names[at]);
        at += 1;
    }
    entries
}

impl Names {
    fn contains(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        let first = first_bytes(name);
        // The last entries that do not come after the name. No prefix begins with another one, so
        // only one can fit.
        let before = |entries: &'static [Entry]| {
            let end = entries.partition_point(|entry| entry.0 <= first);
            entries[..end].iter().rev()
        };
        let mut same = before(self.exact).take_while(|entry| entry.0 == first);
        same.any(|entry| entry.1 == name)
            || before(self.prefixes)
                .next()
                .is_some_and(|entry| name.starts_with(entry.1))
    }
}

/// Keeps the headers of a client's request that are for the upstream.
pub(crate) fn keep_for_upstream(headers: &mut HeaderMap) {
    keep_end_to_end(headers);
    keep(headers, |_, name| !OF_THE_WAY_HERE.contains(name));
}

/// Keeps the headers of an upstream's response that are for plugins and the client.
pub(crate) fn keep_for_client(headers: &mut HeaderMap) {
    keep_end_to_end(headers);
    keep(headers, |_, name| {
        !OF_THE_UPSTREAMS_SITE.contains(name) && !RECEIPTS.contains(name)
    });
}

/// Removes the headers that must not be forwarded, including those that `connection` names.
fn keep_end_to_end(headers: &mut HeaderMap) {
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
    keep(headers, |_, name| {
        !OF_ONE_CONNECTION.contains(&name.as_str())
    });
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

/// Removes all other headers. A message has few headers, so each of them is compared instead of
/// looking up each name.
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
    fn every_name_is_found_where_it_is_sorted() {
        for names in [OF_THE_WAY_HERE, OF_THE_UPSTREAMS_SITE, RECEIPTS] {
            assert!(names.exact.is_sorted_by(|a, b| a.1 < b.1));
            assert!(names.prefixes.is_sorted_by(|a, b| a.0 < b.0));
            for [Entry(_, a), Entry(_, b)] in names.prefixes.array_windows() {
                assert!(!b.starts_with(a), "{b} begins with {a}");
            }
            let found = |name: &str| names.contains(&name.parse().unwrap());
            for Entry(_, name) in names.exact {
                assert!(found(name), "{name}");
            }
            for Entry(_, prefix) in names.prefixes {
                assert!(found(prefix) && found(&format!("{prefix}z")), "{prefix}");
                assert!(!found(&prefix[..prefix.len() - 1]), "{prefix}");
            }
        }
    }

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
    fn headers_of_the_way_to_the_gateway_are_not_for_the_upstream() {
        let dropped = [
            "cdn-loop",
            "cf-connecting-ip",
            "cf-ray",
            "cookie",
            "fly-client-ip",
            "forwarded",
            "origin",
            "referer",
            "sec-fetch-site",
            "true-client-ip",
            "via",
            "x-amz-cf-id",
            "x-amzn-trace-id",
            "x-appengine-user-ip",
            "x-envoy-external-address",
            "x-forwarded",
            "x-forwarded-for",
            "x-forwarded-user",
            "x-original-forwarded-for",
            "x-real-ip",
            "x-vercel-forwarded-for",
        ];
        let kept = [
            "anthropic-beta",
            "baggage",
            "idempotency-key",
            "traceparent",
            "tracestate",
            "user-agent",
            "x-b3-traceid",
            "x-custom",
            "x-request-id",
            "x-stainless-os",
        ];
        is_kept(keep_for_upstream, &dropped, &kept);
    }

    #[test]
    fn what_an_upstream_says_about_its_site_and_forged_receipts_are_not_for_the_client() {
        let dropped = [
            "access-control-allow-origin",
            "alt-svc",
            "cf-cache-status",
            "cf-ray",
            "clear-site-data",
            "nel",
            "refresh",
            "report-to",
            "set-cookie",
            "strict-transport-security",
            "x-account-email",
            "x-amz-cf-id",
            "x-mapped-model",
            "x-vercel-id",
            "x-witgate-attempts",
            "x-witgate-edits",
        ];
        let kept = [
            "anthropic-organization-id",
            "anthropic-ratelimit-requests-remaining",
            "content-type",
            "request-id",
            "retry-after",
            "server",
            "x-should-retry",
        ];
        is_kept(keep_for_client, &dropped, &kept);
    }

    fn is_kept(keep: fn(&mut HeaderMap), dropped: &[&'static str], kept: &[&'static str]) {
        let each = |name: &&'static str| (*name, "1");
        let all: Vec<_> = dropped.iter().chain(kept).map(each).collect();
        let mut headers = of(&all);
        keep(&mut headers);
        assert_eq!(headers, of(&kept.iter().map(each).collect::<Vec<_>>()));
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
