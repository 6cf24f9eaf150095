//! Maps the client library's errors to faults. None of them contains a URL's credentials or a
//! header.

use std::{error::Error, io, time::Duration};

use crate::{
    config::Upstream,
    fault::{Fault, Kind, Retry},
    ids::UpstreamId,
};

use super::client::failure_text;

/// The fault for an error before the response began. `no_trust` says why no certificate is trusted,
/// if so.
pub(super) fn before_response(
    config: &Upstream,
    no_trust: Option<&str>,
    error: reqwest::Error,
) -> Fault {
    let name = &config.name;
    let cause = failure_text(&error);
    let way = match &config.proxy {
        Some(_) => format!("upstream `{name}` through its `proxy`"),
        None => format!("upstream `{name}`"),
    };
    if let Some(what) = of_proxy(config, &error) {
        // Retrying does not change what a proxy allows.
        return Fault::upstream(Kind::Unreachable, what).retry(Retry::Failover);
    }
    if let Some(tls) = of_tls(&error) {
        let what = format!("no TLS connection to {way}: {}", tls_text(tls, no_trust));
        // Retrying does not repair a certificate.
        return Fault::upstream(Kind::Unreachable, what).retry(Retry::Failover);
    }
    if error.is_dns() {
        let host = match &config.proxy {
            Some(_) => "the proxy",
            None => "the host",
        };
        let what = format!("cannot resolve {host} of upstream `{name}`: {cause}");
        return Fault::upstream(Kind::Unreachable, what);
    }
    if error.is_connect() {
        let what = match error.is_timeout() {
            true => format!("timed out connecting to {way}"),
            false => format!("cannot connect to {way}: {cause}"),
        };
        return Fault::upstream(Kind::Unreachable, what);
    }
    if error.is_timeout() {
        let what = format!("upstream `{name}` did not respond in time");
        return Fault::upstream(Kind::TimedOut, what);
    }
    if error.is_builder() {
        return Fault::gateway(format!(
            "cannot build the request to upstream `{name}`: {cause}"
        ));
    }
    let hint = match config.base_url.url.starts_with("http:") && is_unreadable(&error) {
        true => "; if its server expects TLS, write `https://` in `base_url`",
        false => "",
    };
    Fault::upstream(
        Kind::InvalidResponse,
        format!("the connection to upstream `{name}` was lost before its response: {cause}{hint}"),
    )
}

/// What a proxy that does not open a tunnel says. The library has only texts for it.
fn of_proxy(config: &Upstream, error: &reqwest::Error) -> Option<String> {
    config.proxy.as_ref()?;
    let cause = failure_text(error);
    let name = &config.name;
    if cause.contains("proxy authorization required") {
        return Some(format!(
            "the proxy of upstream `{name}` requires a name and a password: write them into \
             `proxy`, as in `http://name:password@host:3128`"
        ));
    }
    cause.contains("tunnel").then(|| {
        format!("the proxy of upstream `{name}` does not connect to its host: {cause}; see `proxy`")
    })
}

/// Whether the response was not HTTP.
fn is_unreadable(error: &reqwest::Error) -> bool {
    causes(error).any(|error| {
        error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse)
    })
}

/// The fault of the client's request body, if that is what failed.
pub(super) fn of_request_body(error: &reqwest::Error) -> Option<Fault> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            let (blame, kind) = (fault.blame.clone(), fault.kind.clone());
            return Some(Fault::new(blame, kind, fault.chain()));
        }
        cause = error.source();
    }
    None
}

/// The error of the TLS handshake, if that failed and not the connection below it.
fn of_tls(error: &reqwest::Error) -> Option<&rustls::Error> {
    causes(error).find_map(|error| error.downcast_ref::<rustls::Error>())
}

/// An error and all its causes. `source` of an I/O error skips the error that it wraps.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    fn next<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        wrapped.map_or_else(|| error.source(), |wrapped| Some(wrapped))
    }
    std::iter::successors(Some(error), |error| next(*error))
}

/// What went wrong in a TLS handshake, and what to do about it.
fn tls_text(error: &rustls::Error, no_trust: Option<&str>) -> String {
    use rustls::{CertificateError as Certificate, Error as Tls};
    if let Some(reason) = no_trust {
        return format!(
            "no certificate authority is known ({reason}); install the system's certificate \
             authorities or set `ca_file`"
        );
    }
    let hint = match error {
        Tls::InvalidCertificate(Certificate::UnknownIssuer) => {
            "set `ca_file` to a PEM file with the certificate of its authority"
        }
        Tls::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => "its certificate is for another host name; check `base_url`",
        Tls::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        ) => "its certificate has to be renewed, or the clock of this machine is wrong",
        Tls::InvalidCertificate(_) => {
            "its certificate is not acceptable; if it is its own authority, set `ca_file` to it"
        }
        Tls::InvalidMessage(_) => {
            "the server does not speak TLS at this port; write `http://` if that is intended"
        }
        _ => "check `base_url`, `proxy` and `ca_file`",
    };
    format!("{error}; {hint}")
}

/// The fault for compressed data that cannot be decoded.
pub(super) fn invalid_gzip(name: &UpstreamId, error: io::Error) -> Fault {
    let what = format!("the compressed response of upstream `{name}` is damaged or cut");
    Fault::upstream(Kind::InvalidResponse, what).from(error)
}

/// The fault for a response that stalls.
pub(super) fn idle(name: &UpstreamId, idle: Duration) -> Fault {
    let idle = idle.as_secs_f64();
    let what = format!("upstream `{name}` sent nothing for {idle} s in the middle of its response");
    Fault::upstream(Kind::TimedOut, what)
}

/// The fault for an error within a response.
pub(super) fn within_response(name: &UpstreamId, error: reqwest::Error) -> Fault {
    let cause = failure_text(&error);
    if error.is_timeout() {
        let what = format!("upstream `{name}` timed out in the middle of its response");
        return Fault::upstream(Kind::TimedOut, what);
    }
    Fault::upstream(
        Kind::InvalidResponse,
        format!("the response of upstream `{name}` was truncated: {cause}"),
    )
}
