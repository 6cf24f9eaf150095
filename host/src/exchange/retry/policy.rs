//! The retry policy: what the end of an attempt means for the exchange. Pure: it never waits.

use std::time::Duration;

use witgate_contract::error_type::is_transient;

use crate::{
    config,
    fault::{Fault, Kind, Retry},
    message::RetryRequest,
};

use crate::exchange::attempt::{AttemptEnd, AttemptError};

/// What the decision depends on besides the attempt's end.
#[derive(Clone, Copy, Debug)]
pub(in crate::exchange) struct RetryContext<'a> {
    /// 1 for the first attempt.
    pub(in crate::exchange) attempt: u32,
    pub(in crate::exchange) limits: &'a config::Retry,
    /// Random, from 0 to 1.
    pub(in crate::exchange) jitter: f64,
}

/// What happens after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exchange) enum RetryDecision {
    /// The client gets this response or error.
    Stop,
    /// Make another attempt, not before `after`. If no target is left, the client gets what there
    /// is.
    Retry {
        after: Duration,
        target: RetryTarget,
    },
}

/// Where the next attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exchange) enum RetryTarget {
    SameAccount,
    /// Another account, or the next upstream. If neither exists, retry the same account after this
    /// delay (if set).
    OtherAccount {
        or_same: Option<Duration>,
    },
    /// Another upstream, because this one is unreachable. If no other exists, retry the same one
    /// after this delay (if set).
    OtherUpstream {
        or_same: Option<Duration>,
    },
    /// The next upstream or model of the route, because this upstream does not have this model.
    NextTarget,
}

/// The first delay before the same account is used again. Shorter than the client's own back-off.
const BACKOFF: Duration = Duration::from_millis(400);

/// Always stops after the last allowed attempt, so an exchange ends.
pub(in crate::exchange) fn decide(end: &AttemptEnd, context: RetryContext<'_>) -> RetryDecision {
    if context.attempt >= context.limits.max_attempts {
        return RetryDecision::Stop;
    }
    match end {
        AttemptEnd::Received(received) if received.is_empty() => {
            let or_same = Some(backoff(context));
            at_once(RetryTarget::OtherAccount { or_same })
        }
        AttemptEnd::Received(_) | AttemptEnd::Answered { .. } | AttemptEnd::Fault(_) => {
            RetryDecision::Stop
        }
        AttemptEnd::Refused { try_next, .. } if *try_next => {
            at_once(RetryTarget::OtherAccount { or_same: None })
        }
        AttemptEnd::Refused { .. } => RetryDecision::Stop,
        AttemptEnd::Error(error) => match error.failure.retry {
            Some(request) => requested_by_plugin(request, context.limits),
            None => after_error(error, context),
        },
    }
}

fn after_error(error: &AttemptError, context: RetryContext<'_>) -> RetryDecision {
    if let Some(fault) = error.fault() {
        return after_fault(fault, context);
    }
    if error.rejected_our_credential() {
        return at_once(match error.renewed {
            true => RetryTarget::SameAccount,
            false => RetryTarget::OtherAccount { or_same: None },
        });
    }
    if error.is_out_of_credit() {
        return at_once(RetryTarget::OtherAccount { or_same: None });
    }
    if error.lacks_the_model() {
        return at_once(RetryTarget::NextTarget);
    }
    let limits = context.limits;
    match (error.failure.status, error.retry_after()) {
        // A cold prompt cache on another account costs more than a brief wait.
        (429, Some(wait)) if wait <= limits.same_account_wait => RetryDecision::Retry {
            after: wait,
            target: RetryTarget::SameAccount,
        },
        (status, wait) if is_transient(status) => {
            let backoff = backoff(context);
            let wait = wait.map_or(backoff, |wait| backoff.max(wait));
            at_once(RetryTarget::OtherAccount {
                or_same: Some(wait).filter(|wait| *wait <= limits.max_cooldown_wait),
            })
        }
        _ => RetryDecision::Stop,
    }
}

/// The decision if there was no usable response.
fn after_fault(fault: &Fault, context: RetryContext<'_>) -> RetryDecision {
    let same = || Some(backoff(context));
    match (&fault.kind, fault.retry) {
        // Another account of an unreachable upstream would not help.
        (Kind::Unreachable, retry) => at_once(RetryTarget::OtherUpstream {
            or_same: same().filter(|_| retry == Retry::Again),
        }),
        (_, Retry::Again) => at_once(RetryTarget::OtherAccount { or_same: same() }),
        (_, Retry::Failover) => at_once(RetryTarget::OtherAccount { or_same: None }),
        (_, Retry::Never) => RetryDecision::Stop,
    }
}

/// Doubles with each attempt, minus up to a quarter of jitter: exchanges that failed together must
/// not retry together.
fn backoff(context: RetryContext<'_>) -> Duration {
    let doubled = BACKOFF * 2u32.saturating_pow(context.attempt.saturating_sub(1).min(4));
    doubled.mul_f64(1.0 - context.jitter.clamp(0.0, 1.0) / 4.0)
}

/// The retry that a plugin requests. It may not make the client wait longer than the gateway would.
fn requested_by_plugin(request: RetryRequest, limits: &config::Retry) -> RetryDecision {
    let (after, target) = match request {
        RetryRequest::SameAccount(after) => (after, RetryTarget::SameAccount),
        RetryRequest::OtherAccount(after) => (after, RetryTarget::OtherAccount { or_same: None }),
        RetryRequest::Never => return RetryDecision::Stop,
    };
    if after > limits.max_cooldown_wait {
        return RetryDecision::Stop;
    }
    RetryDecision::Retry { after, target }
}

fn at_once(target: RetryTarget) -> RetryDecision {
    RetryDecision::Retry {
        after: Duration::ZERO,
        target,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::{
        exchange::attempt::{JsonResponse, Received, test_target},
        ids::PluginId,
        message::Target,
    };

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn status(status: u16) -> AttemptEnd {
        let error = AttemptError::status(&test_target(), status, HeaderMap::new(), Bytes::new());
        AttemptEnd::Error(Box::new(error))
    }

    fn retry_after(status: u16, wait: u64) -> AttemptEnd {
        let headers = [("retry-after-ms", wait * 1000 + u64::from(wait == 0))];
        let headers = headers.into_iter().map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from(value),
            )
        });
        let headers = headers.collect();
        let error = AttemptError::status(&test_target(), status, headers, Bytes::new());
        AttemptEnd::Error(Box::new(error))
    }

    fn rejected(renewed: bool) -> AttemptEnd {
        let target = Target {
            account: Some("ada".parse().unwrap()),
            ..test_target()
        };
        let mut error = AttemptError::status(&target, 401, HeaderMap::new(), Bytes::new());
        error.renewed = renewed;
        AttemptEnd::Error(Box::new(error))
    }

    /// An error of an account.
    fn of_account(status: u16, body: &'static str) -> AttemptEnd {
        let target = Target {
            account: Some("ada".parse().unwrap()),
            ..test_target()
        };
        let error = AttemptError::status(&target, status, HeaderMap::new(), body.into());
        AttemptEnd::Error(Box::new(error))
    }

    /// A message without text or a call.
    fn empty() -> AttemptEnd {
        AttemptEnd::Received(Received::Json(JsonResponse {
            status: http::StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            usage: crate::telemetry::Usage::default(),
            empty: true,
        }))
    }

    fn no_response(kind: Kind, retry: Retry) -> AttemptEnd {
        let fault = Fault::upstream(kind, "x").retry(retry);
        AttemptEnd::Error(Box::new(AttemptError::no_response(&test_target(), fault)))
    }

    fn requested(retry: RetryRequest) -> AttemptEnd {
        let mut error = AttemptError::status(&test_target(), 400, HeaderMap::new(), Bytes::new());
        error.failure.retry = Some(retry);
        AttemptEnd::Error(Box::new(error))
    }

    fn refused(try_next: bool) -> AttemptEnd {
        let plugin: PluginId = "rule".parse().unwrap();
        AttemptEnd::Refused {
            fault: Fault::plugin(&plugin, "no"),
            plugin,
            try_next,
        }
    }

    fn decision(end: &AttemptEnd, attempt: u32) -> RetryDecision {
        let limits = config::Retry::default();
        let context = RetryContext {
            attempt,
            limits: &limits,
            jitter: 0.0,
        };
        decide(end, context)
    }

    const OTHER: RetryDecision = other(None);
    const OTHER_OR_SAME: RetryDecision = other(Some(BACKOFF));
    const OTHER_UPSTREAM: RetryDecision = other_upstream(None);
    const OTHER_UPSTREAM_OR_SAME: RetryDecision = other_upstream(Some(BACKOFF));

    const fn other(or_same: Option<Duration>) -> RetryDecision {
        RetryDecision::Retry {
            after: Duration::ZERO,
            target: RetryTarget::OtherAccount { or_same },
        }
    }

    const fn other_upstream(or_same: Option<Duration>) -> RetryDecision {
        RetryDecision::Retry {
            after: Duration::ZERO,
            target: RetryTarget::OtherUpstream { or_same },
        }
    }

    const fn same(after: Duration) -> RetryDecision {
        RetryDecision::Retry {
            after,
            target: RetryTarget::SameAccount,
        }
    }

    #[test]
    fn decisions_by_attempt_end() {
        let (again, never) = (Retry::Again, Retry::Never);
        let internal = Fault::gateway("x");
        let table = [
            (
                "a fault of the gateway",
                AttemptEnd::Fault(internal),
                RetryDecision::Stop,
            ),
            ("refused, try the next", refused(true), OTHER),
            ("refused", refused(false), RetryDecision::Stop),
            // Transient: about the upstream or the account.
            ("408", status(408), OTHER_OR_SAME),
            ("425", status(425), OTHER_OR_SAME),
            ("429", status(429), OTHER_OR_SAME),
            ("500", status(500), OTHER_OR_SAME),
            ("502", status(502), OTHER_OR_SAME),
            ("503", status(503), OTHER_OR_SAME),
            ("504", status(504), OTHER_OR_SAME),
            ("529", status(529), OTHER_OR_SAME),
            // With a retry-after.
            (
                "429 after 1 ms",
                retry_after(429, 0),
                same(Duration::from_millis(1)),
            ),
            ("429 after 2 s", retry_after(429, 2), same(seconds(2))),
            (
                "429 after 3 s",
                retry_after(429, 3),
                other(Some(seconds(3))),
            ),
            ("429 after 60 s", retry_after(429, 60), OTHER),
            (
                "529 after 1 s",
                retry_after(529, 1),
                other(Some(seconds(1))),
            ),
            ("503 after 60 s", retry_after(503, 60), OTHER),
            // Another attempt would not change these.
            ("400", status(400), RetryDecision::Stop),
            ("402", status(402), RetryDecision::Stop),
            ("403", status(403), RetryDecision::Stop),
            ("404", status(404), RetryDecision::Stop),
            ("409", status(409), RetryDecision::Stop),
            ("413", status(413), RetryDecision::Stop),
            ("422", status(422), RetryDecision::Stop),
            ("302", status(302), RetryDecision::Stop),
            // Another account can pay, and another upstream has the model.
            ("402 of an account", of_account(402, ""), OTHER),
            (
                "400 without credit",
                of_account(400, "Your credit balance is too low"),
                OTHER,
            ),
            (
                "404 for the model",
                of_account(404, "model: claude-x"),
                at_once(RetryTarget::NextTarget),
            ),
            // Nothing of it has been sent.
            ("an empty message", empty(), OTHER_OR_SAME),
            ("401, renewed", rejected(true), same(seconds(0))),
            ("401", rejected(false), OTHER),
            // Connection refused and DNS failure; TLS failure.
            (
                "unreachable",
                no_response(Kind::Unreachable, again),
                OTHER_UPSTREAM_OR_SAME,
            ),
            (
                "TLS",
                no_response(Kind::Unreachable, Retry::Failover),
                OTHER_UPSTREAM,
            ),
            // Reset, empty or HTML 200, truncated JSON or SSE; silence.
            (
                "invalid",
                no_response(Kind::InvalidResponse, again),
                OTHER_OR_SAME,
            ),
            ("timeout", no_response(Kind::TimedOut, again), OTHER_OR_SAME),
            (
                "no credential",
                no_response(Kind::BadCredential, Retry::Failover),
                OTHER,
            ),
            (
                "internal",
                no_response(Kind::Internal, never),
                RetryDecision::Stop,
            ),
            // Failure hooks.
            (
                "hook: same",
                requested(RetryRequest::SameAccount(seconds(1))),
                same(seconds(1)),
            ),
            (
                "hook: too long",
                requested(RetryRequest::SameAccount(seconds(6))),
                RetryDecision::Stop,
            ),
            (
                "hook: other",
                requested(RetryRequest::OtherAccount(seconds(0))),
                OTHER,
            ),
            (
                "hook: never",
                requested(RetryRequest::Never),
                RetryDecision::Stop,
            ),
        ];
        for (name, end, expected) in table {
            assert_eq!(decision(&end, 1), expected, "{name}");
            let last = decision(&end, 3);
            assert_eq!(last, RetryDecision::Stop, "{name} on the last attempt");
        }
    }

    #[test]
    fn the_backoff_grows_and_has_jitter() {
        assert_eq!(decision(&status(500), 2), other(Some(2 * BACKOFF)));
        let limits = config::Retry::default();
        let context = RetryContext {
            attempt: 1,
            limits: &limits,
            jitter: 1.0,
        };
        let expected = other(Some(BACKOFF * 3 / 4));
        assert_eq!(decide(&status(500), context), expected);
    }
}
