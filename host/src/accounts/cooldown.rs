//! How long an account rests after a failure. Pure: time and chance come in.

use std::time::{Duration, Instant};

use witgate_contract::limits::COOLDOWN;

/// Most overloads are over in a second or two.
const FIRST: Duration = Duration::from_secs(1);

/// An account that has failed for so long is asked again every minute: that costs one attempt, and an upstream that is well again is not left alone for long.
const LONGEST: Duration = Duration::from_secs(60);

/// After so long without a failure the next one counts as the first.
const FORGOTTEN: Duration = Duration::from_secs(15 * 60);

/// A rest, under way or over, and how many failures in a row led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cooldown {
    failures: u32,
    until: Instant,
}

impl Cooldown {
    /// The rest after a failure. `chance` is from 0 to 1.
    ///
    /// A failure that comes while the account rests is of an attempt that began before; it tells nothing new, so it does
    /// not escalate, but the upstream's word may make the rest longer. Nothing makes it shorter.
    pub(super) fn after(
        former: Option<Self>,
        retry_after: Option<Duration>,
        chance: f64,
        now: Instant,
    ) -> Self {
        match former.filter(|cooldown| !cooldown.is_stale(now)) {
            Some(cooldown) if cooldown.is_active(now) => {
                let until = retry_after.map_or(cooldown.until, |retry_after| {
                    now + retry_after.min(COOLDOWN)
                });
                Self {
                    failures: cooldown.failures,
                    until: cooldown.until.max(until),
                }
            }
            former => {
                let failures = former.map_or(0, |cooldown| cooldown.failures);
                Self {
                    failures: failures.saturating_add(1),
                    until: now + length(failures, retry_after, chance),
                }
            }
        }
    }

    pub(super) fn until(self) -> Instant {
        self.until
    }

    pub(super) fn is_active(self, now: Instant) -> bool {
        now < self.until
    }

    /// So long ago that it means nothing any more.
    pub(super) fn is_stale(self, now: Instant) -> bool {
        now.saturating_duration_since(self.until) > FORGOTTEN
    }
}

/// As told, else doubling with each failure before this one, less up to a quarter: exchanges that failed together shall not
/// come back together.
fn length(failures: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
    match retry_after {
        Some(retry_after) => retry_after.min(COOLDOWN),
        None => {
            let doubled = FIRST.saturating_mul(2u32.saturating_pow(failures));
            doubled
                .min(LONGEST)
                .mul_f64(1.0 - chance.clamp(0.0, 1.0) / 4.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_table() {
        let table = [
            // failures before, told, chance, the rest
            (0, None, 0.0, SECOND),
            (0, None, 1.0, SECOND * 3 / 4),
            (1, None, 0.0, SECOND * 2),
            (3, None, 0.0, SECOND * 8),
            (3, None, 0.5, SECOND * 7),
            (9, None, 0.0, SECOND * 60),
            (9, None, 1.0, SECOND * 45),
            (u32::MAX, None, 0.0, SECOND * 60),
            // A chance that is none does no harm.
            (0, None, 7.0, SECOND * 3 / 4),
            (0, Some(SECOND * 90), 1.0, SECOND * 90),
            (9, Some(SECOND), 0.5, SECOND),
            (0, Some(Duration::ZERO), 0.0, Duration::ZERO),
            (0, Some(Duration::MAX), 0.0, COOLDOWN),
        ];
        for (failures, retry_after, chance, cooldown) in table {
            assert_eq!(
                length(failures, retry_after, chance),
                cooldown,
                "{failures} {retry_after:?} {chance}"
            );
        }
    }

    #[test]
    fn failures_of_attempts_that_went_out_together_count_once() {
        let now = Instant::now();
        let one = Cooldown::after(None, None, 0.0, now);
        let two = Cooldown::after(Some(one), None, 0.0, now);
        assert_eq!(one, two);
        let later = now + SECOND;
        let next = Cooldown::after(Some(two), None, 0.0, later);
        assert_eq!(next.until(), later + SECOND * 2);
    }

    #[test]
    fn a_rest_under_way_becomes_longer_by_what_is_told_and_never_shorter() {
        let now = Instant::now();
        let cooldown = Cooldown::after(None, Some(SECOND * 60), 0.0, now);
        let shorter = Cooldown::after(Some(cooldown), Some(SECOND), 0.0, now);
        assert_eq!(shorter.until(), now + SECOND * 60);
        let longer = Cooldown::after(Some(cooldown), Some(SECOND * 90), 0.0, now);
        assert_eq!(longer.until(), now + SECOND * 90);
    }

    #[test]
    fn after_a_quiet_while_a_failure_is_the_first_again() {
        let now = Instant::now();
        let mut cooldown = Cooldown::after(None, None, 0.0, now);
        for _ in 0..20 {
            cooldown = Cooldown::after(Some(cooldown), None, 0.0, cooldown.until());
        }
        let soon = cooldown.until() + FORGOTTEN;
        let again = Cooldown::after(Some(cooldown), None, 0.0, soon);
        assert_eq!(again.until(), soon + LONGEST);
        let late = soon + SECOND;
        let first = Cooldown::after(Some(cooldown), None, 0.0, late);
        assert_eq!(first.until(), late + SECOND);
    }
}
