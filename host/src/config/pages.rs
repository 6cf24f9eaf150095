//! The host names and web origins that may reach a gateway on a loopback address, besides local
//! ones.

use http::{Uri, uri::Authority};

use super::table::{Source, Table};

/// Names by which containers and virtual machines reach the machine that they run on. No public DNS
/// server can answer for `.internal`, so no web page can use them for DNS rebinding.
const DEFAULT_HOSTS: [&str; 4] = [
    "gateway.docker.internal",
    "host.containers.internal",
    "host.docker.internal",
    "host.lima.internal",
];

/// The default of `hosts`.
pub(super) fn default_hosts() -> Vec<String> {
    DEFAULT_HOSTS.map(str::to_owned).to_vec()
}

/// Whether a `Host` header names this host. The port and a final dot do not matter.
pub(crate) fn matches_host(pattern: &str, host: &str) -> bool {
    let host = without_port(host).trim_end_matches('.');
    below_or_equal(pattern, &host.to_ascii_lowercase())
}

/// Whether an `Origin` header matches a pattern of `cors_origins`.
pub(crate) fn matches_origin(pattern: &str, origin: &str) -> bool {
    let origin = origin.to_ascii_lowercase();
    match (pattern.split_once("://"), origin.split_once("://")) {
        (Some((wanted, pattern)), Some((scheme, host))) => {
            wanted == scheme && (pattern == "*" || below_or_equal(pattern, host))
        }
        _ => pattern == origin,
    }
}

/// Whether a name equals the pattern or, after `*.`, ends with it.
fn below_or_equal(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
        None => name == pattern,
    }
}

/// Returns the host without its port. An IPv6 address has colons of its own, in brackets.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

/// Reads `hosts`; the default if it is not set.
pub(super) fn hosts(source: &Source<'_>, top: &Table<'_>) -> Vec<String> {
    let expected = "a host name without a port, such as `host.docker.internal`";
    patterns(source, top, ("hosts", expected), host_pattern).unwrap_or_else(default_hosts)
}

/// Reads `cors_origins`.
pub(super) fn origins(source: &Source<'_>, top: &Table<'_>) -> Vec<String> {
    let expected = "an origin such as `https://app.example.com`";
    patterns(source, top, ("cors_origins", expected), origin_pattern).unwrap_or_default()
}

/// Reads a list of patterns, and reports each that is not valid.
fn patterns(
    source: &Source<'_>,
    top: &Table<'_>,
    (key, expected): (&str, &str),
    read: impl Fn(&str) -> Option<String>,
) -> Option<Vec<String>> {
    let mut patterns = Vec::new();
    for text in top.texts(key)? {
        match read(&text.value) {
            Some(pattern) => patterns.push(pattern),
            None => {
                let what = format!("got {}, expected {expected}", text.shown());
                source.problem(text.at, &text.key, what);
            }
        }
    }
    Some(patterns)
}

/// A host name or `*.` and one, in lower case.
fn host_pattern(text: &str) -> Option<String> {
    let text = text.trim_end_matches('.').to_ascii_lowercase();
    let name = text.strip_prefix("*.").unwrap_or(&text);
    let authority = name.parse::<Authority>().ok()?;
    (authority.host() == name && !name.contains('*')).then_some(text)
}

/// An origin as browsers send it, in lower case: `null`, `file://`, or a scheme and a host. The
/// host may begin with `*.`. A single `*` matches every host of a scheme that web pages do not
/// have: a webview's host is another one in each session.
fn origin_pattern(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    if matches!(&*text, "null" | "file://") {
        return Some(text);
    }
    let text = text.trim_end_matches('/');
    let (scheme, host) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let is_host = match host {
        "*" => !matches!(scheme, "http" | "https"),
        _ => {
            let host = host.strip_prefix("*.").unwrap_or(host);
            let uri = format!("http://{host}").parse::<Uri>();
            !host.contains(['*', '/', '@', '?', '#']) && uri.is_ok_and(|uri| uri.host().is_some())
        }
    };
    (is_scheme && is_host).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_matched_as_a_whole() {
        let table = [
            ("https://App.example.com/", "https://app.example.com", true),
            (
                "https://app.example.com",
                "https://app.example.com:8443",
                false,
            ),
            ("https://app.example.com", "http://app.example.com", false),
            (
                "https://app.example.com",
                "https://app.example.com.evil.test",
                false,
            ),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("null", "null", true),
            ("null", "https://null", false),
            ("file://", "file://", true),
            ("vscode-webview://*", "vscode-webview://1k2j3h-4", true),
            ("vscode-webview://*", "https://vscode-webview", false),
            (
                "chrome-extension://abcdef",
                "chrome-extension://abcdef",
                true,
            ),
            (
                "chrome-extension://abcdef",
                "chrome-extension://abcdefg",
                false,
            ),
        ];
        for (pattern, origin, expected) in table {
            let pattern = origin_pattern(pattern).unwrap_or_else(|| panic!("{pattern}"));
            assert_eq!(
                matches_origin(&pattern, origin),
                expected,
                "{pattern} {origin}"
            );
        }
    }

    #[test]
    fn a_pattern_for_all_web_pages_or_for_none_is_rejected() {
        for text in [
            "*",
            "https://*",
            "http://*",
            "https://*.",
            "https://a.*.com",
            "https://a/b",
            "https://user@a",
            "app.example.com",
            "https://",
            "",
        ] {
            assert_eq!(origin_pattern(text), None, "{text}");
        }
    }

    #[test]
    fn a_host_is_matched_without_its_port() {
        let table = [
            ("host.docker.internal", "host.docker.internal:8045", true),
            ("Host.Docker.Internal.", "HOST.docker.internal.", true),
            (
                "host.docker.internal",
                "host.docker.internal.evil.test",
                false,
            ),
            ("*.corp.example", "box.corp.example:1", true),
            ("*.corp.example", "corp.example", false),
            ("[fd00::1]", "[fd00::1]:8045", true),
            ("[fd00::1]", "[fd00::1]", true),
        ];
        for (pattern, host, expected) in table {
            let pattern = host_pattern(pattern).unwrap_or_else(|| panic!("{pattern}"));
            assert_eq!(matches_host(&pattern, host), expected, "{pattern} {host}");
        }
        for text in ["*", "", "a:80", "http://a", "a.*", "user@a"] {
            assert_eq!(host_pattern(text), None, "{text}");
        }
    }
}
