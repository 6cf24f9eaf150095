//! The client library's errors in our words. None of them carries a URL's credentials or a header.

use std::{error::Error, time::Duration};

use crate::{
    config::Upstream,
    fault::{Fault, Kind, Retry},
    ids::UpstreamId,
};

use super::client::failure_text;

/// No answer has begun. `distrust` says why nobody's certificate is trusted, where that is so.
pub(super) fn before_answer(
    config: &Upstream,
    distrust: Option<&str>,
    error: reqwest::Error,
) -> Fault {
    let name = &config.name;
    let cause = failure_text(&error);
    if error.is_dns() {
        return Fault::upstream(
            Kind::Unreachable,
            format!("the host of upstream `{name}` is not known: {cause}"),
        );
    }
    if error.is_connect() {
        let mut what = format!("no connection to upstream `{name}`: {cause}");
        if error.is_timeout() {
            what = format!("no connection to upstream `{name}` in time");
        }
        if let Some(reason) = distrust.filter(|_| config.base_url.starts_with("https:")) {
            what.push_str(&format!(
                " ({reason}; install the system's certificate authorities or set `ca_file`)"
            ));
        }
        let fault = Fault::upstream(Kind::Unreachable, what);
        // A certificate does not get better by itself.
        return if is_tls(&error) {
            fault.retry(Retry::Failover)
        } else {
            fault
        };
    }
    if error.is_timeout() {
        let what = format!("upstream `{name}` did not answer in time");
        return Fault::upstream(Kind::TimedOut, what);
    }
    if error.is_builder() {
        return Fault::gateway(format!("upstream `{name}` cannot be asked: {cause}"));
    }
    Fault::upstream(
        Kind::InvalidResponse,
        format!("the connection to upstream `{name}` broke before an answer: {cause}"),
    )
}

/// Why the client's request body could not be read, where that is what failed.
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

/// Whether the handshake failed, and not the connection under it.
fn is_tls(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        // An I/O error hides the one that it wraps from `source`.
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

/// The answer has begun and does not go on.
pub(super) fn silence(name: &UpstreamId, idle: Duration) -> Fault {
    let idle = idle.as_secs_f64();
    let what = format!("upstream `{name}` sent no byte for {idle} s in the middle of its answer");
    Fault::upstream(Kind::TimedOut, what)
}

/// The answer was cut short.
pub(super) fn within_answer(name: &UpstreamId, error: reqwest::Error) -> Fault {
    let cause = failure_text(&error);
    if error.is_timeout() {
        let what = format!("upstream `{name}` fell silent in the middle of its answer");
        return Fault::upstream(Kind::TimedOut, what);
    }
    Fault::upstream(
        Kind::InvalidResponse,
        format!("the answer of upstream `{name}` was cut short: {cause}"),
    )
}
