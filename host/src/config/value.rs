//! Parses single values of a configuration: durations, sizes, addresses, keys.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytesize::ByteSize;
use http::Uri;

use super::table::Text;

pub(super) const DURATION: &str = "a duration such as `15s`";
pub(super) const SIZE: &str = "a size such as `32MiB`";

pub(super) fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

pub(super) fn some_time(text: &str) -> Option<Duration> {
    duration(text).filter(|time| !time.is_zero())
}

pub(super) fn size(text: &str) -> Option<usize> {
    usize::try_from(text.parse::<ByteSize>().ok()?.as_u64()).ok()
}

/// Parses an address to listen on. Replaces `localhost` by `127.0.0.1`, because the name has two
/// addresses and a listener one.
pub(crate) fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::new(
            IpAddr::from([127, 0, 0, 1]),
            port.parse().ok()?,
        )),
        None => text.parse().ok(),
    }
}

pub(super) fn is_web_address(text: &str) -> bool {
    web_host(text).is_some()
}

/// The host and port of an http or https URL; `None` if it is not one.
pub(super) fn web_host(text: &str) -> Option<(String, u16)> {
    let uri = text.parse::<Uri>().ok()?;
    let standard = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return None,
    };
    let authority = uri.authority()?;
    let (_, address) = authority
        .as_str()
        .rsplit_once('@')
        .unwrap_or(("", authority.as_str()));
    let after_brackets = address.rsplit_once(']').map_or(address, |(_, after)| after);
    // The library takes any number for a port.
    let port = match after_brackets.rsplit_once(':') {
        Some((_, port)) => port.parse().ok().filter(|port| *port > 0)?,
        None => standard,
    };
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

/// Whether a host is this machine by its usual names.
pub(super) fn is_loopback_name(host: &str) -> bool {
    let is_loopback = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(is_loopback)
}

/// The problem of a text that is a reference in the notation of another program, such as `$KEY`.
pub(super) fn reference_of_others(text: &Text) -> Option<String> {
    if text.reference().is_some() {
        return None;
    }
    let name = variable_of_others(&text.value)?;
    Some(format!(
        "got {}, which is sent as it is, expected `env:{name}` for the value of the variable",
        text.shown()
    ))
}

/// The name of the variable in `$NAME`, `${NAME}`, `$env:NAME`, `%NAME%`, `os.environ/NAME` and the
/// like.
fn variable_of_others(text: &str) -> Option<&str> {
    const OPENINGS: [(&str, &str); 11] = [
        ("${env:", "}"),
        ("{env:", "}"),
        ("${", "}"),
        ("{{", "}}"),
        ("$env:", ""),
        ("$", ""),
        ("%", "%"),
        ("os.environ/", ""),
        ("process.env.", ""),
        ("ENV:", ""),
        ("env.", ""),
    ];
    let inner = OPENINGS
        .iter()
        .find_map(|(open, close)| text.strip_prefix(open)?.strip_suffix(close).map(str::trim))?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = inner.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (begins && inner.chars().all(is_name)).then_some(inner)
}

/// Checks whether a secret is allowed in a header. The error does not contain the secret.
pub(super) fn header_text(secret: &str) -> Result<(), &'static str> {
    if secret.trim().is_empty() {
        Err("got an empty key, expected a key")
    } else if !secret.chars().all(|c| c.is_ascii_graphic()) {
        Err("got a key with spaces or other characters that are not allowed in a header")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_other_programs_are_recognised_and_keys_are_not() {
        for text in [
            "$KEY",
            "${KEY}",
            "$env:KEY",
            "${env:KEY}",
            "{env:KEY}",
            "{{ KEY }}",
            "%KEY%",
            "os.environ/KEY",
            "process.env.KEY",
            "ENV:KEY",
        ] {
            assert_eq!(variable_of_others(text), Some("KEY"), "{text}");
        }
        for text in [
            "sk-ant-api03-x",
            "$2y$10$abc",
            "${KEY",
            "%41",
            "env.a-b",
            "$",
        ] {
            assert_eq!(variable_of_others(text), None, "{text}");
        }
    }

    #[test]
    fn a_port_must_be_one() {
        let host = |text| web_host(text).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(host("https://x.test"), Some("x.test 443".to_owned()));
        assert_eq!(host("http://[::1]:8045/v1"), Some("::1 8045".to_owned()));
        assert_eq!(host("http://u:p@X.test:1"), Some("x.test 1".to_owned()));
        for text in [
            "https://x.test:99999",
            "https://x.test:0",
            "https://x.test:",
            "https://x.test:one",
            "ftp://x.test",
            "x.test",
        ] {
            assert_eq!(host(text), None, "{text}");
        }
    }
}
