//! Maps the client library's errors to faults. None of them contains a URL's credentials or a
//! header.

use std::{error::Error, time::Duration};

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
    if error.is_dns() {
        return Fault::upstream(
            Kind::Unreachable,
            format!("cannot resolve the host of upstream `{name}`: {cause}"),
        );
    }
    if error.is_connect() {
        let mut what = format!("cannot connect to upstream `{name}`: {cause}");
        if error.is_timeout() {
            what = format!("timed out connecting to upstream `{name}`");
        }
        if let Some(reason) = no_trust.filter(|_| config.base_url.starts_with("https:")) {
            what.push_str(&format!(
                " ({reason}; install the system's certificate authorities or set `ca_file`)"
            ));
        }
        let fault = Fault::upstream(Kind::Unreachable, what);
        // Retrying does not repair a certificate.
        return if is_tls(&error) {
            fault.retry(Retry::Failover)
        } else {
            fault
        };
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
    Fault::upstream(
        Kind::InvalidResponse,
        format!("the connection to upstream `{name}` was lost before its response: {cause}"),
    )
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

/// Whether the TLS handshake failed, and not the connection below it.
fn is_tls(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        // `source` of an I/O error does not return the error that it wraps.
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || wrapped.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        cause = error.source();
    }
    false
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
