//! The client library's errors in our words. None of them carries a URL's credentials or a header.

use crate::{
    config::Upstream,
    fault::{Fault, Kind},
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
        if let Some(reason) = distrust.filter(|_| config.base_url.starts_with("https:")) {
            what.push_str(&format!(
                " ({reason}; install the system's certificate authorities or set `ca_file`)"
            ));
        }
        return Fault::upstream(Kind::Unreachable, what);
    }
    if error.is_timeout() {
        let what = format!("upstream `{name}` did not answer in time");
        return Fault::upstream(Kind::TimedOut, what);
    }
    if error.is_builder() {
        return Fault::gateway(format!("upstream `{name}` cannot be asked: {cause}"));
    }
    Fault::upstream(
        Kind::BrokenAnswer,
        format!("the connection to upstream `{name}` broke before an answer: {cause}"),
    )
}

/// The answer was cut short.
pub(super) fn within_answer(name: &UpstreamId, error: reqwest::Error) -> Fault {
    let cause = failure_text(&error);
    if error.is_timeout() {
        let what = format!("upstream `{name}` fell silent in the middle of its answer");
        return Fault::upstream(Kind::TimedOut, what);
    }
    Fault::upstream(
        Kind::BrokenAnswer,
        format!("the answer of upstream `{name}` was cut short: {cause}"),
    )
}
