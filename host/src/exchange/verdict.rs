//! What the end of an attempt means for the exchange. Pure: whoever waits does not decide.

use std::time::Duration;

use witgate_contract::error_type::is_transient;

use crate::{
    config,
    fault::{Kind, Retry},
    message::RetryRequest,
};

/// What an attempt came to, as far as the decision goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// An answer, the upstream's or a plugin's, or a fault of a plugin.
    Final,
    /// A plugin refused this target.
    Refused { try_next: bool },
    /// An error, or no answer.
    Failed {
        what: What,
        /// What a failure hook asks for.
        wish: Option<RetryRequest>,
    },
}

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An error status, and how long it says to wait.
    Status { status: u16, told: Option<Duration> },
    /// The gateway's own credential was refused. `renewed`: there may be another one for the same account now.
    OurCredential { renewed: bool },
    /// No answer, or one that is none.
    Nothing { kind: Kind, retry: Retry },
}

/// What is left to be tried with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chances<'a> {
    /// 1 for the first.
    pub(crate) attempt: u32,
    pub(crate) limits: &'a config::Retry,
    /// From 0 to 1.
    pub(crate) chance: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// What came is what the client gets, an answer or a fault.
    Finish,
    /// Worth another attempt, not before `after`; where nobody is left to make it, what came is what the client gets.
    Again { after: Duration, whom: Whom },
}

/// As whom the next attempt goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The very same account.
    Same,
    /// Another account, or the next upstream. Where there is none, the same again after this time, if there is a time.
    Other { or_same: Option<Duration> },
    /// Another upstream, because this one is not reached. Where there is none, the same again after this time.
    Elsewhere { or_same: Option<Duration> },
}

/// Before the same account is asked a second time. Shorter than the pause that the client would make.
const BACKOFF: Duration = Duration::from_millis(400);

/// Always finishes on the last allowed attempt, so an exchange ends.
pub(crate) fn judge(came: &Came, chances: Chances<'_>) -> Verdict {
    let limits = chances.limits;
    if chances.attempt >= limits.max_attempts {
        return Verdict::Finish;
    }
    let backoff = Some(backoff(chances));
    match came {
        Came::Final | Came::Refused { try_next: false } => Verdict::Finish,
        Came::Refused { try_next: true } => at_once(Whom::Other { or_same: None }),
        Came::Failed {
            wish: Some(wish), ..
        } => granted(*wish, limits),
        Came::Failed { what, wish: None } => match what {
            What::OurCredential { renewed: true } => at_once(Whom::Same),
            What::OurCredential { renewed: false } => at_once(Whom::Other { or_same: None }),
            // The account's cold prompt cache elsewhere costs more than a moment.
            What::Status {
                status: 429,
                told: Some(told),
            } if *told <= limits.short_wait => Verdict::Again {
                after: *told,
                whom: Whom::Same,
            },
            What::Status { status, told } if is_transient(*status) => {
                let or_same = told.map_or(backoff, |told| backoff.max(Some(told)));
                let or_same = or_same.filter(|wait| *wait <= limits.patience);
                at_once(Whom::Other { or_same })
            }
            // Another account of an upstream that is not reached is no help.
            What::Nothing {
                kind: Kind::Unreachable,
                retry,
            } => at_once(Whom::Elsewhere {
                or_same: backoff.filter(|_| *retry == Retry::Again),
            }),
            What::Nothing {
                retry: Retry::Again,
                ..
            } => at_once(Whom::Other { or_same: backoff }),
            What::Nothing {
                retry: Retry::Failover,
                ..
            } => at_once(Whom::Other { or_same: None }),
            What::Status { .. } | What::Nothing { .. } => Verdict::Finish,
        },
    }
}

/// Doubles with each attempt, up to a quarter less: exchanges that failed together shall not come back together.
fn backoff(chances: Chances<'_>) -> Duration {
    let doubled = BACKOFF * 2u32.saturating_pow(chances.attempt.saturating_sub(1).min(4));
    doubled.mul_f64(1.0 - chances.chance.clamp(0.0, 1.0) / 4.0)
}

/// A plugin may not keep the client waiting for longer than the gateway would.
fn granted(wish: RetryRequest, limits: &config::Retry) -> Verdict {
    let (after, whom) = match wish {
        RetryRequest::SameAccount(after) => (after, Whom::Same),
        RetryRequest::OtherAccount(after) => (after, Whom::Other { or_same: None }),
        RetryRequest::Never => return Verdict::Finish,
    };
    if after > limits.patience {
        return Verdict::Finish;
    }
    Verdict::Again { after, whom }
}

fn at_once(whom: Whom) -> Verdict {
    let after = Duration::ZERO;
    Verdict::Again { after, whom }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn came(what: What) -> Came {
        Came::Failed { what, wish: None }
    }

    fn status(status: u16) -> Came {
        came(What::Status { status, told: None })
    }

    fn told(status: u16, told: Duration) -> Came {
        let told = Some(told);
        came(What::Status { status, told })
    }

    fn nothing(kind: Kind, retry: Retry) -> Came {
        came(What::Nothing { kind, retry })
    }

    fn wished(wish: RetryRequest) -> Came {
        Came::Failed {
            what: What::Status {
                status: 400,
                told: None,
            },
            wish: Some(wish),
        }
    }

    fn verdict(came: &Came, attempt: u32) -> Verdict {
        let limits = config::Retry::default();
        let chances = Chances {
            attempt,
            limits: &limits,
            chance: 0.0,
        };
        judge(came, chances)
    }

    const OTHER: Verdict = Verdict::Again {
        after: Duration::ZERO,
        whom: Whom::Other { or_same: None },
    };
    const OTHER_OR_SAME: Verdict = or_same(BACKOFF);
    const ELSEWHERE: Verdict = Verdict::Again {
        after: Duration::ZERO,
        whom: Whom::Elsewhere { or_same: None },
    };
    const ELSEWHERE_OR_SAME: Verdict = Verdict::Again {
        after: Duration::ZERO,
        whom: Whom::Elsewhere {
            or_same: Some(BACKOFF),
        },
    };

    const fn or_same(wait: Duration) -> Verdict {
        Verdict::Again {
            after: Duration::ZERO,
            whom: Whom::Other {
                or_same: Some(wait),
            },
        }
    }

    const fn same(after: Duration) -> Verdict {
        Verdict::Again {
            after,
            whom: Whom::Same,
        }
    }

    #[test]
    fn the_table() {
        let (again, never) = (Retry::Again, Retry::Never);
        let table = [
            (Came::Final, Verdict::Finish),
            (Came::Refused { try_next: true }, OTHER),
            (Came::Refused { try_next: false }, Verdict::Finish),
            // What passes: the upstream's or the account's state.
            (status(408), OTHER_OR_SAME),
            (status(425), OTHER_OR_SAME),
            (status(429), OTHER_OR_SAME),
            (status(500), OTHER_OR_SAME),
            (status(502), OTHER_OR_SAME),
            (status(503), OTHER_OR_SAME),
            (status(504), OTHER_OR_SAME),
            (status(529), OTHER_OR_SAME),
            // How long they say to wait.
            (told(429, seconds(0)), same(seconds(0))),
            (told(429, seconds(2)), same(seconds(2))),
            (told(429, seconds(3)), or_same(seconds(3))),
            (told(429, seconds(60)), OTHER),
            (told(529, seconds(1)), or_same(seconds(1))),
            (told(503, seconds(60)), OTHER),
            // What another attempt cannot change.
            (status(400), Verdict::Finish),
            (status(401), Verdict::Finish),
            (status(402), Verdict::Finish),
            (status(403), Verdict::Finish),
            (status(404), Verdict::Finish),
            (status(409), Verdict::Finish),
            (status(413), Verdict::Finish),
            (status(422), Verdict::Finish),
            (status(302), Verdict::Finish),
            (
                came(What::OurCredential { renewed: true }),
                same(seconds(0)),
            ),
            (came(What::OurCredential { renewed: false }), OTHER),
            // Connect refused and DNS failure; TLS failure.
            (nothing(Kind::Unreachable, again), ELSEWHERE_OR_SAME),
            (nothing(Kind::Unreachable, Retry::Failover), ELSEWHERE),
            // Reset before or after headers, empty or HTML 200, truncated JSON or SSE; silence.
            (nothing(Kind::InvalidResponse, again), OTHER_OR_SAME),
            (nothing(Kind::TimedOut, again), OTHER_OR_SAME),
            (nothing(Kind::BadCredential, Retry::Failover), OTHER),
            (nothing(Kind::Internal, never), Verdict::Finish),
            // Failure hooks.
            (
                wished(RetryRequest::SameAccount(seconds(1))),
                same(seconds(1)),
            ),
            (
                wished(RetryRequest::SameAccount(seconds(6))),
                Verdict::Finish,
            ),
            (wished(RetryRequest::OtherAccount(seconds(0))), OTHER),
            (wished(RetryRequest::Never), Verdict::Finish),
        ];
        for (came, wanted) in table {
            assert_eq!(verdict(&came, 1), wanted, "{came:?}");
            assert_eq!(
                verdict(&came, 3),
                Verdict::Finish,
                "{came:?} on the last attempt"
            );
        }
    }

    #[test]
    fn the_pause_before_the_same_account_grows_and_differs() {
        assert_eq!(verdict(&status(500), 2), or_same(2 * BACKOFF));
        let limits = config::Retry::default();
        let chances = Chances {
            attempt: 1,
            limits: &limits,
            chance: 1.0,
        };
        assert_eq!(judge(&status(500), chances), or_same(BACKOFF * 3 / 4));
    }
}
