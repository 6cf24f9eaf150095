//! How long an account rests after a failure. Pure: time and chance come in.

use std::time::{Duration, Instant};

/// Most overloads are over in a second or two.
const FIRST: Duration = Duration::from_secs(1);

/// An account that has failed for so long is asked again every few minutes, which costs one attempt.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// A told rest may be a weekly limit; longer than that it is a mistake of the upstream.
const LONGEST_TOLD: Duration = Duration::from_secs(8 * 24 * 3600);

/// After so long without a failure the next one counts as the first.
const FORGOTTEN: Duration = Duration::from_secs(15 * 60);

/// A rest, under way or over, and how many failures in a row led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    failures: u32,
    until: Instant,
}

impl Rest {
    /// The rest after a failure. `chance` is from 0 to 1.
    ///
    /// A failure that comes while the account rests is of an attempt that began before; it tells nothing new, so it does
    /// not escalate, but the upstream's word may make the rest longer. Nothing makes it shorter.
    pub(super) fn after(
        former: Option<Self>,
        told: Option<Duration>,
        chance: f64,
        now: Instant,
    ) -> Self {
        match former.filter(|rest| !rest.is_forgotten(now)) {
            Some(rest) if rest.is_under_way(now) => {
                let until = told.map_or(rest.until, |told| now + told.min(LONGEST_TOLD));
                Self {
                    failures: rest.failures,
                    until: rest.until.max(until),
                }
            }
            former => {
                let failures = former.map_or(0, |rest| rest.failures);
                Self {
                    failures: failures.saturating_add(1),
                    until: now + length(failures, told, chance),
                }
            }
        }
    }

    pub(super) fn until(self) -> Instant {
        self.until
    }

    pub(super) fn is_under_way(self, now: Instant) -> bool {
        now < self.until
    }

    /// So long ago that it means nothing any more.
    pub(super) fn is_forgotten(self, now: Instant) -> bool {
        now.saturating_duration_since(self.until) > FORGOTTEN
    }
}

/// As told, else doubling with each failure before this one, less up to a quarter: exchanges that failed together shall not
/// come back together.
fn length(failures: u32, told: Option<Duration>, chance: f64) -> Duration {
    match told {
        Some(told) => told.min(LONGEST_TOLD),
        None => {
            let doubled = FIRST.saturating_mul(2u32.saturating_pow(failures));
            doubled
                .min(LONGEST)
                .mul_f64(1.0 - chance.clamp(0.0, 1.0) / 4.0)
        }
    }
}
