//! What the end of an attempt means for the exchange. Pure: whoever waits does not decide.

use std::time::Duration;

use crate::{fault::Retry, message::RetryWish};

/// What an attempt came to, as far as the decision goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// An answer, the upstream's or a plugin's, or a fault of a plugin.
    Final,
    /// A plugin refused this target.
    Refused { try_next: bool },
    /// An error status; `ours` if the gateway's own credential was refused.
    Status {
        status: u16,
        ours: bool,
        wish: Option<RetryWish>,
    },
    /// No answer, or one that is none.
    Nothing {
        retry: Retry,
        connected: bool,
        wish: Option<RetryWish>,
    },
}

/// What else could be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chances {
    /// 1 for the first.
    pub(crate) attempt: u32,
    /// Another account or upstream of the route is left.
    pub(crate) another: bool,
    pub(crate) another_upstream: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// What came is what the client gets, an answer or a fault.
    Finish,
    /// Worth another attempt.
    Again { after: Duration, whom: Whom },
}

/// As whom the next attempt goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Same,
    /// Another account, or the next upstream where none is left.
    Other,
    OtherUpstream,
}

/// Over all accounts and upstreams. More would keep the client waiting longer than its own repeats.
const MAX_ATTEMPTS: u32 = 3;

/// Always finishes on the last allowed attempt, so an exchange ends.
pub(crate) fn judge(came: Came, chances: Chances) -> Verdict {
    if chances.attempt >= MAX_ATTEMPTS {
        return Verdict::Finish;
    }
    match came {
        Came::Final | Came::Refused { try_next: false } => Verdict::Finish,
        Came::Status {
            wish: Some(wish), ..
        }
        | Came::Nothing {
            wish: Some(wish), ..
        } => granted(wish, chances),
        Came::Refused { try_next: true } => other(chances, Duration::ZERO),
        Came::Status { ours: true, .. } => other(chances, Duration::ZERO),
        Came::Status { status, .. } if is_passing(status) => other(chances, Duration::ZERO),
        Came::Nothing {
            retry: Retry::Again | Retry::Elsewhere,
            connected: true,
            ..
        } => other(chances, Duration::ZERO),
        // Another account of an upstream that cannot be reached is no help.
        Came::Nothing {
            retry: Retry::Again | Retry::Elsewhere,
            connected: false,
            ..
        } if chances.another_upstream => Verdict::Again {
            after: Duration::ZERO,
            whom: Whom::OtherUpstream,
        },
        Came::Status { .. } | Came::Nothing { .. } => Verdict::Finish,
    }
}

/// Whether a status tells of the upstream or the account and not of the request.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

fn granted(wish: RetryWish, chances: Chances) -> Verdict {
    match wish {
        RetryWish::Same(after) => Verdict::Again {
            after,
            whom: Whom::Same,
        },
        RetryWish::Other(after) => other(chances, after),
        RetryWish::Never => Verdict::Finish,
    }
}

fn other(chances: Chances, after: Duration) -> Verdict {
    if chances.another {
        Verdict::Again {
            after,
            whom: Whom::Other,
        }
    } else {
        Verdict::Finish
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Chances = Chances {
        attempt: 1,
        another: false,
        another_upstream: false,
    };
    const TWO_ACCOUNTS: Chances = Chances {
        attempt: 1,
        another: true,
        another_upstream: false,
    };
    const TWO_UPSTREAMS: Chances = Chances {
        attempt: 1,
        another: true,
        another_upstream: true,
    };
    const LAST: Chances = Chances {
        attempt: 3,
        ..TWO_UPSTREAMS
    };
    const OTHER: Verdict = Verdict::Again {
        after: Duration::ZERO,
        whom: Whom::Other,
    };

    fn status(status: u16) -> Came {
        Came::Status {
            status,
            ours: false,
            wish: None,
        }
    }

    fn nothing(retry: Retry, connected: bool) -> Came {
        Came::Nothing {
            retry,
            connected,
            wish: None,
        }
    }

    #[test]
    fn the_table() {
        let same = |after| Verdict::Again {
            after,
            whom: Whom::Same,
        };
        let elsewhere = Verdict::Again {
            after: Duration::ZERO,
            whom: Whom::OtherUpstream,
        };
        let second = Duration::from_secs(1);
        let wished = |wish| Came::Status {
            status: 400,
            ours: false,
            wish: Some(wish),
        };
        let table = [
            (Came::Final, TWO_UPSTREAMS, Verdict::Finish),
            (status(429), TWO_UPSTREAMS, OTHER),
            (status(500), TWO_UPSTREAMS, OTHER),
            (status(503), TWO_ACCOUNTS, OTHER),
            (status(529), TWO_ACCOUNTS, OTHER),
            (status(529), ALONE, Verdict::Finish),
            (status(529), LAST, Verdict::Finish),
            (status(400), TWO_UPSTREAMS, Verdict::Finish),
            (status(401), TWO_UPSTREAMS, Verdict::Finish),
            (status(404), TWO_UPSTREAMS, Verdict::Finish),
            (status(413), TWO_UPSTREAMS, Verdict::Finish),
            (
                Came::Status {
                    status: 401,
                    ours: true,
                    wish: None,
                },
                TWO_ACCOUNTS,
                OTHER,
            ),
            (
                Came::Status {
                    status: 403,
                    ours: true,
                    wish: None,
                },
                ALONE,
                Verdict::Finish,
            ),
            (nothing(Retry::Again, false), TWO_ACCOUNTS, Verdict::Finish),
            (nothing(Retry::Again, false), TWO_UPSTREAMS, elsewhere),
            (nothing(Retry::Again, true), TWO_ACCOUNTS, OTHER),
            (nothing(Retry::Never, true), TWO_UPSTREAMS, Verdict::Finish),
            (Came::Refused { try_next: true }, TWO_UPSTREAMS, OTHER),
            (Came::Refused { try_next: true }, ALONE, Verdict::Finish),
            (
                Came::Refused { try_next: false },
                TWO_UPSTREAMS,
                Verdict::Finish,
            ),
            (wished(RetryWish::Same(second)), ALONE, same(second)),
            (wished(RetryWish::Same(second)), LAST, Verdict::Finish),
            (
                wished(RetryWish::Other(Duration::ZERO)),
                TWO_ACCOUNTS,
                OTHER,
            ),
            (
                wished(RetryWish::Other(Duration::ZERO)),
                ALONE,
                Verdict::Finish,
            ),
            (wished(RetryWish::Never), TWO_UPSTREAMS, Verdict::Finish),
        ];
        for (came, chances, verdict) in table {
            assert_eq!(judge(came, chances), verdict, "{came:?} with {chances:?}");
        }
    }
}
