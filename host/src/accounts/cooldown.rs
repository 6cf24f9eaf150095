//! How long an account is on cooldown after a failure. Pure: the time and the jitter are arguments.

use std::time::{Duration, Instant};

use witgate_contract::limits::COOLDOWN;

/// The first cooldown. Most overloads are over in a second or two.
const FIRST: Duration = Duration::from_secs(1);

/// The longest cooldown unless the upstream says otherwise. A failing account is tried every
/// minute: that costs one attempt, and a recovered upstream is soon used again.
const LONGEST: Duration = Duration::from_secs(60);

/// This long after a cooldown the next failure counts as the first.
const STALE: Duration = Duration::from_secs(15 * 60);

/// During a longer cooldown the account is tried this often: it may be well again before its end,
/// because it was topped up or its limit was raised.
const PROBE: Duration = Duration::from_secs(60 * 60);

/// A cooldown, active or ended, and how many failures in a row led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cooldown {
    failures: u32,
    until: Instant,
    /// When the account may be tried although the cooldown has not ended.
    probe: Instant,
    /// Whether it was tried. A success then ends the cooldown.
    probed: bool,
}

impl Cooldown {
    /// The cooldown after a failure. `jitter` is from 0 to 1.
    ///
    /// A failure during a cooldown comes from an attempt that began before it, so it does not
    /// escalate the cooldown. A retry-after may extend it. Nothing makes it shorter.
    pub(super) fn after(
        previous: Option<Self>,
        retry_after: Option<Duration>,
        jitter: f64,
        now: Instant,
    ) -> Self {
        match previous.filter(|cooldown| !cooldown.is_stale(now)) {
            Some(cooldown) if cooldown.is_active(now) => {
                let until = retry_after.map_or(cooldown.until, |retry_after| {
                    now + retry_after.min(COOLDOWN)
                });
                Self {
                    until: cooldown.until.max(until),
                    ..cooldown
                }
            }
            previous => {
                let failures = previous.map_or(0, |cooldown| cooldown.failures);
                Self {
                    failures: failures.saturating_add(1),
                    until: now + length(failures, retry_after, jitter),
                    probe: now + PROBE,
                    probed: false,
                }
            }
        }
    }

    /// Whether the account may be used: after the cooldown, and now and then during a long one.
    pub(super) fn allows_use(self, now: Instant) -> bool {
        !self.is_active(now) || self.probe <= now
    }

    /// Notes that the account is used. The next exchange during the cooldown has to wait again.
    pub(super) fn used(&mut self, now: Instant) {
        if self.is_active(now) && self.probe <= now {
            self.probe = now + PROBE;
            self.probed = true;
        }
    }

    /// Whether a success ends it: not the success of an attempt that began before it.
    pub(super) fn ends_by_success(self, now: Instant) -> bool {
        self.probed || !self.is_active(now)
    }

    pub(super) fn until(self) -> Instant {
        self.until
    }

    pub(super) fn is_active(self, now: Instant) -> bool {
        now < self.until
    }

    /// Whether it ended so long ago that it no longer counts.
    pub(super) fn is_stale(self, now: Instant) -> bool {
        now.saturating_duration_since(self.until) > STALE
    }
}

/// The retry-after if there is one, else a time that doubles with each failure before this one,
/// minus up to a quarter of jitter: exchanges that failed together must not retry together.
fn length(failures: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
    match retry_after {
        Some(retry_after) => retry_after.min(COOLDOWN),
        None => {
            let doubled = FIRST.saturating_mul(2u32.saturating_pow(failures));
            doubled
                .min(LONGEST)
                .mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 4.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn cooldown_lengths() {
        let table = [
            // failures before, retry-after, jitter, cooldown
            (0, None, 0.0, SECOND),
            (0, None, 1.0, SECOND * 3 / 4),
            (1, None, 0.0, SECOND * 2),
            (3, None, 0.0, SECOND * 8),
            (3, None, 0.5, SECOND * 7),
            (9, None, 0.0, SECOND * 60),
            (9, None, 1.0, SECOND * 45),
            (u32::MAX, None, 0.0, SECOND * 60),
            // An invalid jitter does no harm.
            (0, None, 7.0, SECOND * 3 / 4),
            (0, Some(SECOND * 90), 1.0, SECOND * 90),
            (9, Some(SECOND), 0.5, SECOND),
            (0, Some(Duration::ZERO), 0.0, Duration::ZERO),
            (0, Some(Duration::MAX), 0.0, COOLDOWN),
        ];
        for (failures, retry_after, jitter, cooldown) in table {
            assert_eq!(
                length(failures, retry_after, jitter),
                cooldown,
                "{failures} {retry_after:?} {jitter}"
            );
        }
    }

    #[test]
    fn failures_of_concurrent_attempts_count_once() {
        let now = Instant::now();
        let one = Cooldown::after(None, None, 0.0, now);
        let two = Cooldown::after(Some(one), None, 0.0, now);
        assert_eq!(one, two);
        let later = now + SECOND;
        let next = Cooldown::after(Some(two), None, 0.0, later);
        assert_eq!(next.until(), later + SECOND * 2);
    }

    #[test]
    fn a_retry_after_extends_an_active_cooldown_and_never_shortens_it() {
        let now = Instant::now();
        let cooldown = Cooldown::after(None, Some(SECOND * 60), 0.0, now);
        let shorter = Cooldown::after(Some(cooldown), Some(SECOND), 0.0, now);
        assert_eq!(shorter.until(), now + SECOND * 60);
        let longer = Cooldown::after(Some(cooldown), Some(SECOND * 90), 0.0, now);
        assert_eq!(longer.until(), now + SECOND * 90);
    }

    #[test]
    fn a_long_cooldown_allows_one_use_an_hour_and_a_success_then_ends_it() {
        let now = Instant::now();
        let mut cooldown = Cooldown::after(None, Some(SECOND * 561_635), 0.0, now);
        let later = now + PROBE;
        assert!(!cooldown.allows_use(later - SECOND) && cooldown.allows_use(later));
        cooldown.used(later - SECOND);
        assert!(!cooldown.ends_by_success(later));
        cooldown.used(later);
        assert!(!cooldown.allows_use(later) && cooldown.allows_use(later + PROBE));
        assert!(cooldown.ends_by_success(later));
        let failed = Cooldown::after(Some(cooldown), Some(SECOND), 0.0, later);
        assert_eq!(failed.until(), now + SECOND * 561_635);
        assert!(!failed.allows_use(later + SECOND));
    }

    #[test]
    fn a_short_cooldown_allows_no_use_before_its_end() {
        let now = Instant::now();
        let cooldown = Cooldown::after(None, Some(PROBE), 0.0, now);
        assert!(!cooldown.allows_use(now + PROBE - SECOND) && cooldown.allows_use(now + PROBE));
        assert!(!cooldown.ends_by_success(now));
    }

    #[test]
    fn a_failure_long_after_a_cooldown_counts_as_the_first() {
        let now = Instant::now();
        let mut cooldown = Cooldown::after(None, None, 0.0, now);
        for _ in 0..20 {
            cooldown = Cooldown::after(Some(cooldown), None, 0.0, cooldown.until());
        }
        let soon = cooldown.until() + STALE;
        let again = Cooldown::after(Some(cooldown), None, 0.0, soon);
        assert_eq!(again.until(), soon + LONGEST);
        let late = soon + SECOND;
        let first = Cooldown::after(Some(cooldown), None, 0.0, late);
        assert_eq!(first.until(), late + SECOND);
    }
}
